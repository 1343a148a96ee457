"""BERT with both its heads: the hidden token's and the next sentence's."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from groundup.models.config import ModelConfig, resolved
from groundup.models.huggingface.asked import Json, activation, expect
from groundup.models.huggingface.names import Pair, bare, same, stacked


def read(theirs: Json, tensors: Mapping[str, Tensor]) -> ModelConfig:
    """Our config of theirs."""
    expect(theirs, position_embedding_type="absolute", is_decoder=False, add_cross_attention=False, tie_word_embeddings=True)
    return resolved(
        "bert", vocabulary=theirs["vocab_size"], context=theirs["max_position_embeddings"], layers=theirs["num_hidden_layers"],
        width=theirs["hidden_size"], heads=theirs["num_attention_heads"], kv_heads=theirs["num_attention_heads"],
        feedforward=theirs["intermediate_size"], norm_eps=theirs["layer_norm_eps"], token_types=theirs["type_vocab_size"],
        activation=activation(theirs, "hidden_act", "gelu"),
    )  # fmt: skip


def write(ours: ModelConfig) -> Json:
    """Their config.json of our config."""
    return {
        "vocab_size": ours.vocabulary, "max_position_embeddings": ours.context, "num_hidden_layers": ours.layers, "hidden_size": ours.width,
        "num_attention_heads": ours.heads, "intermediate_size": ours.feedforward, "layer_norm_eps": ours.norm_eps, "type_vocab_size": ours.token_types,
        "hidden_act": "gelu", "initializer_range": ours.init_std, "hidden_dropout_prob": ours.residual_dropout,
        "attention_probs_dropout_prob": ours.attention_dropout,
    }  # fmt: skip


def names(ours: ModelConfig) -> list[Pair]:
    """The table of names."""
    width = ours.width
    found = [bare("head_bias", "cls.predictions.bias")]
    for mine, other in (("embedding", "word_embeddings"), ("places", "position_embeddings"), ("types", "token_type_embeddings")):
        found += same(mine, f"bert.embeddings.{other}")
    for mine, other in (
        ("embedding_norm", "bert.embeddings.LayerNorm"), ("transform", "cls.predictions.transform.dense"),
        ("transform_norm", "cls.predictions.transform.LayerNorm"), ("pooler", "bert.pooler.dense"), ("next_sentence", "cls.seq_relationship"),
    ):  # fmt: skip
        found += same(mine, other, bias=True)
    for layer in range(ours.layers):
        a, b = f"blocks.{layer}", f"bert.encoder.layer.{layer}"
        found += stacked(f"{a}.attention.qkv", (f"{b}.attention.self.{name}" for name in ("query", "key", "value")), (width,) * 3, bias=True)
        for mine, other in (
            ("attention.out", "attention.output.dense"), ("attention_norm", "attention.output.LayerNorm"), ("feedforward.up", "intermediate.dense"),
            ("feedforward.down", "output.dense"), ("feedforward_norm", "output.LayerNorm"),
        ):  # fmt: skip
            found += same(f"{a}.{mine}", f"{b}.{other}", bias=True)
    return found
