"""XLNet with its language-model head."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from groundup.models.config import ModelConfig, resolved
from groundup.models.huggingface.asked import Json, activation, expect
from groundup.models.huggingface.names import Pair, bare, same
from groundup.models.huggingface.stock import stock


def read(theirs: Json, tensors: Mapping[str, Tensor]) -> ModelConfig:
    """Our config of theirs; their class has no limit of length, and says none."""
    expect(theirs, attn_type="bi", same_length=False, clamp_len=-1, bi_data=False, tie_word_embeddings=True)
    return resolved(
        "xlnet", vocabulary=theirs["vocab_size"], context=512, layers=theirs["n_layer"], width=theirs["d_model"], heads=theirs["n_head"],
        kv_heads=theirs["n_head"], feedforward=theirs["d_inner"], norm_eps=theirs["layer_norm_eps"], activation=activation(theirs, "ff_activation", "gelu"),
    )  # fmt: skip


def write(ours: ModelConfig) -> Json:
    """Their config.json of our config; no memory is kept between calls unless one asks for it."""
    return {
        "vocab_size": ours.vocabulary, "n_layer": ours.layers, "d_model": ours.width, "n_head": ours.heads, "d_inner": ours.feedforward,
        "layer_norm_eps": ours.norm_eps, "ff_activation": stock(ours).activations[ours.activation], "initializer_range": ours.init_std,
        "dropout": ours.residual_dropout, "attn_type": "bi", "mem_len": None,
    }  # fmt: skip


def names(ours: ModelConfig) -> list[Pair]:
    """The table of names."""
    hidden = Pair("hidden_token", ("transformer.mask_emb",), lambda found: found[0].reshape(-1), lambda tensor: [tensor.reshape(1, 1, -1)])
    found = [*same("embedding", "transformer.word_embedding"), hidden, bare("head_bias", "lm_loss.bias")]
    for layer in range(ours.layers):
        a, b = f"blocks.{layer}", f"transformer.layer.{layer}"
        found += [bare(f"{a}.attention.{name}", f"{b}.rel_attn.{name}") for name in "qkvor"]
        biases = {"content_bias": "r_w_bias", "distance_bias": "r_r_bias", "segment_bias": "r_s_bias", "segments": "seg_embed"}
        found += [bare(f"{a}.attention.{mine}", f"{b}.rel_attn.{other}") for mine, other in biases.items()]
        for mine, other in (("attention_norm", "rel_attn.layer_norm"), ("feedforward_norm", "ff.layer_norm"), ("up", "ff.layer_1"), ("down", "ff.layer_2")):
            found += same(f"{a}.{mine}", f"{b}.{other}", bias=True)
    return found
