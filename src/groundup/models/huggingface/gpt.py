"""GPT-1 (`openai-gpt`: norms after the sums) and GPT-2."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from groundup.models.config import ModelConfig, resolved
from groundup.models.huggingface.asked import Json, activation, expect
from groundup.models.huggingface.names import Pair, same, turned
from groundup.models.huggingface.stock import stock


def read(theirs: Json, tensors: Mapping[str, Tensor]) -> ModelConfig:
    """Our config of theirs."""
    first = theirs["model_type"] == "openai-gpt"
    expect(theirs, scale_attn_weights=True, scale_attn_by_inverse_layer_idx=False, add_cross_attention=False)
    width = theirs["n_embd"]
    return resolved(
        "gpt1" if first else "gpt2", vocabulary=theirs["vocab_size"], context=theirs["n_positions"], layers=theirs["n_layer"], width=width,
        heads=theirs["n_head"], kv_heads=theirs["n_head"], feedforward=theirs.get("n_inner") or 4 * width, norm_eps=theirs["layer_norm_epsilon"],
        activation=activation(theirs, "afn", "gelu") if first else activation(theirs, "activation_function", "gelu_new"),
        tied=bool(theirs.get("tie_word_embeddings", True)),
    )  # fmt: skip


def write(ours: ModelConfig) -> Json:
    """Their config.json of our config."""
    near = stock(ours)
    found: Json = {
        "vocab_size": ours.vocabulary, "n_positions": ours.context, "n_ctx": ours.context, "n_layer": ours.layers, "n_embd": ours.width,
        "n_head": ours.heads, "layer_norm_epsilon": ours.norm_eps, "initializer_range": ours.init_std, "tie_word_embeddings": ours.tied,
        "embd_pdrop": ours.embedding_dropout, "attn_pdrop": ours.attention_dropout, "resid_pdrop": ours.residual_dropout,
    }  # fmt: skip
    if near.model_type == "openai-gpt":
        return {**found, "afn": near.activations[ours.activation]}
    return {**found, "n_inner": ours.feedforward, "activation_function": near.activations[ours.activation]}


def names(ours: ModelConfig) -> list[Pair]:
    """The table of names."""
    first = stock(ours).model_type == "openai-gpt"
    tokens, places = ("tokens_embed", "positions_embed") if first else ("wte", "wpe")
    found = same("embedding", f"transformer.{tokens}") + same("places", f"transformer.{places}")
    for layer in range(ours.layers):
        a, b = f"blocks.{layer}", f"transformer.h.{layer}"
        found += same(f"{a}.attention_norm", f"{b}.ln_1", bias=True) + same(f"{a}.feedforward_norm", f"{b}.ln_2", bias=True)
        found += turned(f"{a}.attention.qkv", f"{b}.attn.c_attn") + turned(f"{a}.attention.out", f"{b}.attn.c_proj")
        found += turned(f"{a}.feedforward.up", f"{b}.mlp.c_fc") + turned(f"{a}.feedforward.down", f"{b}.mlp.c_proj")
    if not first:
        found += same("norm", "transformer.ln_f", bias=True)
    return found if ours.tied else found + same("head", "lm_head")
