"""T5, and T5 1.1: a gated sublayer, a head of its own whose input is not scaled.

Their `tie_word_embeddings` says whether the head's input is scaled; whether head and embedding are one shows in the weights: transformers
5 ties them where the file has one tensor, or two equal ones.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from groundup.models.config import ModelConfig, resolved
from groundup.models.huggingface.asked import Json, activation
from groundup.models.huggingface.names import Pair, bare, same, stacked
from groundup.models.huggingface.stock import stock


def read(theirs: Json, tensors: Mapping[str, Tensor]) -> ModelConfig:
    """Our config of theirs."""
    width = theirs["d_model"]
    head, shared = tensors.get("lm_head.weight"), tensors.get("shared.weight")
    tied = head is None or (shared is not None and torch.equal(head, shared))
    scaled = theirs.get("scale_decoder_outputs", theirs.get("tie_word_embeddings", True))
    return resolved(
        "t5", vocabulary=theirs["vocab_size"], context=theirs.get("n_positions", 512), layers=theirs["num_layers"],
        decoder_layers=theirs.get("num_decoder_layers") or theirs["num_layers"], width=width, heads=theirs["num_heads"], kv_heads=theirs["num_heads"],
        head_size=theirs["d_kv"], feedforward=theirs["d_ff"], norm_eps=theirs["layer_norm_epsilon"],
        activation=activation(theirs, "feed_forward_proj", "relu"), relative_buckets=theirs["relative_attention_num_buckets"],
        relative_distance=theirs.get("relative_attention_max_distance", 128), tied=tied, logits_scale=width**-0.5 if scaled else 1.0,
    )  # fmt: skip


def write(ours: ModelConfig) -> Json:
    """Their config.json of our config."""
    return {
        "vocab_size": ours.vocabulary, "n_positions": ours.context, "num_layers": ours.layers, "num_decoder_layers": ours.decoder_layers or ours.layers,
        "d_model": ours.width, "num_heads": ours.heads, "d_kv": ours.head_width, "d_ff": ours.feedforward, "layer_norm_epsilon": ours.norm_eps,
        "feed_forward_proj": stock(ours).activations[ours.activation], "relative_attention_num_buckets": ours.relative_buckets,
        "relative_attention_max_distance": ours.relative_distance, "dropout_rate": ours.residual_dropout,
        "tie_word_embeddings": ours.logits_scale != 1.0, "is_encoder_decoder": True,
    }  # fmt: skip


def names(ours: ModelConfig) -> list[Pair]:
    """The table of names. Where one tensor is both, but the head's input is not scaled, older transformers look for two."""
    outer, wide = ours.heads * ours.head_width, ours.feedforward
    found = [bare("embedding.weight", "shared.weight", copies=("lm_head.weight",) if ours.tied and ours.logits_scale == 1.0 else ())]
    for side, layers in (("encoder", ours.layers), ("decoder", ours.decoder_layers or ours.layers)):
        found.append(bare(f"{side}.distance.weight", f"{side}.block.0.layer.0.SelfAttention.relative_attention_bias.weight"))
        found += same(f"{side}.norm", f"{side}.final_layer_norm")
        for layer in range(layers):
            a, b = f"{side}.blocks.{layer}", f"{side}.block.{layer}.layer"
            found += same(f"{a}.attention_norm", f"{b}.0.layer_norm") + same(f"{a}.attention.out", f"{b}.0.SelfAttention.o")
            found += stacked(f"{a}.attention.qkv", (f"{b}.0.SelfAttention.{name}" for name in "qkv"), (outer,) * 3)
            last = 1
            if side == "decoder":
                last, cross = 2, f"{b}.1.EncDecAttention"
                found += same(f"{a}.cross_norm", f"{b}.1.layer_norm") + same(f"{a}.cross.query", f"{cross}.q") + same(f"{a}.cross.out", f"{cross}.o")
                found += stacked(f"{a}.cross.key_value", (f"{cross}.{name}" for name in "kv"), (outer,) * 2)
            found += same(f"{a}.feedforward_norm", f"{b}.{last}.layer_norm")
            dense = f"{b}.{last}.DenseReluDense"
            found += stacked(f"{a}.feedforward.gate_up", (f"{dense}.wi_0", f"{dense}.wi_1"), (wide, wide)) if ours.gated else same(f"{a}.feedforward.up", f"{dense}.wi")
            found += same(f"{a}.feedforward.down", f"{dense}.wo")
    return found if ours.tied else found + same("head", "lm_head")
