"""Falcon in its three shapes, which transformers keeps in one class:

                      norms                   keys and values of          names of theirs
    RW                before each sublayer    all heads, or one           multi_query, not parallel_attn
    7B                one, for both           one                         multi_query, parallel_attn
    40B, 180B         one for each            a group of heads            new_decoder_architecture
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from groundup.models.config import ModelConfig, resolved
from groundup.models.huggingface.asked import Json, activation, rotary
from groundup.models.huggingface.llama import scaling
from groundup.models.huggingface.names import Pair, grouped, same
from groundup.models.huggingface.stock import stock


def read(theirs: Json, tensors: Mapping[str, Tensor]) -> ModelConfig:
    """Our config of theirs."""
    width, heads, new = theirs["hidden_size"], theirs["num_attention_heads"], theirs["new_decoder_architecture"]
    beside = "two-norms" if new and theirs.get("num_ln_in_parallel_attn") != 1 else "one-norm" if new or theirs["parallel_attn"] else "no"
    return resolved(
        "falcon-rw" if theirs["alibi"] else "falcon", vocabulary=theirs["vocab_size"], context=theirs.get("max_position_embeddings") or 2048,
        layers=theirs["num_hidden_layers"], width=width, heads=heads, kv_heads=theirs["num_kv_heads"] if new else 1 if theirs["multi_query"] else heads,
        feedforward=theirs.get("ffn_hidden_size") or 4 * width, norm_eps=theirs["layer_norm_epsilon"], bias=theirs["bias"],
        tied=bool(theirs.get("tie_word_embeddings", True)), parallel=beside, activation=activation(theirs, "activation", "gelu"),
        **({} if theirs["alibi"] else rotary(theirs)),
    )  # fmt: skip


def write(ours: ModelConfig) -> Json:
    """Their config.json of our config."""
    new = _new(ours)
    alibi = ours.position == "alibi"
    return {
        "vocab_size": ours.vocabulary, "max_position_embeddings": ours.context, "num_hidden_layers": ours.layers, "hidden_size": ours.width,
        "num_attention_heads": ours.heads, "num_kv_heads": ours.kv_heads, "ffn_hidden_size": ours.feedforward, "layer_norm_epsilon": ours.norm_eps,
        "bias": ours.bias, "tie_word_embeddings": ours.tied, "alibi": alibi, "parallel_attn": ours.parallel != "no", "multi_query": ours.kv_heads == 1,
        "new_decoder_architecture": new, "num_ln_in_parallel_attn": (2 if ours.parallel == "two-norms" else 1) if new else None,
        "activation": stock(ours).activations[ours.activation], "initializer_range": ours.init_std, "hidden_dropout": ours.residual_dropout,
        "attention_dropout": ours.attention_dropout, **({} if alibi else {"rope_theta": ours.rope_base, "rope_scaling": scaling(ours)}),
    }  # fmt: skip


def _new(ours: ModelConfig) -> bool:
    """Whether only the architecture of the 40B model has this."""
    return ours.parallel == "two-norms" or (ours.parallel == "one-norm" and ours.kv_heads > 1)


def names(ours: ModelConfig) -> list[Pair]:
    """The table of names. With one head of keys and values ours and theirs are in the same order."""
    found = same("embedding", "transformer.word_embeddings") + same("norm", "transformer.ln_f", bias=True)
    first, second = ("ln_attn", "ln_mlp") if ours.parallel == "two-norms" else ("input_layernorm", "post_attention_layernorm")
    for layer in range(ours.layers):
        a, b = f"blocks.{layer}", f"transformer.h.{layer}"
        found += same(f"{a}.attention_norm", f"{b}.{first}", bias=True)
        if ours.parallel != "one-norm":
            found += same(f"{a}.feedforward_norm", f"{b}.{second}", bias=True)
        found += grouped(
            f"{a}.attention.qkv", f"{b}.self_attention.query_key_value", ours.heads, ours.kv_heads, ours.head_width, bias=ours.bias
        )
        for mine, other in (("attention.out", "self_attention.dense"), ("feedforward.up", "mlp.dense_h_to_4h"), ("feedforward.down", "mlp.dense_4h_to_h")):
            found += same(f"{a}.{mine}", f"{b}.{other}", bias=ours.bias)
    return found if ours.tied else found + same("head", "lm_head")
