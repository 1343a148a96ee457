"""LLaMA and what grew out of it: Mistral (windows), Mixtral (experts), Qwen 2 (biases of queries, keys, values), Qwen 3 (their norms)."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from groundup.errors import RequestError
from groundup.models.config import ModelConfig, resolved
from groundup.models.huggingface.asked import Json, activation, expect, rotary
from groundup.models.huggingface.names import Pair, same, stacked
from groundup.models.huggingface.stock import stock


def read(theirs: Json, tensors: Mapping[str, Tensor]) -> ModelConfig:
    """Our config of theirs."""
    kind, width, heads = theirs["model_type"], theirs["hidden_size"], theirs["num_attention_heads"]
    if kind == "llama":
        expect(theirs, mlp_bias=bool(theirs.get("attention_bias")) and theirs.get("mlp_bias"))
    elif kind != "qwen3":
        expect(theirs, attention_bias=kind == "qwen2", mlp_bias=False)
    head = theirs.get("head_dim")
    more: Json = {}
    if kind == "mixtral":
        more = {"experts": theirs["num_local_experts"], "experts_a_token": theirs["num_experts_per_tok"]}
    biased = theirs.get("attention_bias") and kind in ("llama", "qwen3")
    return resolved(
        "moe" if kind == "mixtral" else "llama", vocabulary=theirs["vocab_size"], context=theirs["max_position_embeddings"],
        layers=theirs["num_hidden_layers"], width=width, heads=heads, kv_heads=theirs.get("num_key_value_heads") or heads,
        head_size=head if head and head * heads != width else None, feedforward=theirs["intermediate_size"],
        activation=activation(theirs, "hidden_act", "silu"), norm_eps=theirs["rms_norm_eps"], tied=bool(theirs.get("tie_word_embeddings", False)),
        bias=bool(biased and theirs.get("mlp_bias")), attention_bias="qkv" if kind == "qwen2" else "all" if biased and not theirs.get("mlp_bias") else None,
        qk_norm_scale=kind == "qwen3", windows=_windows(theirs), **rotary(theirs, 1e6 if kind == "mixtral" else 10_000.0), **more,
    )  # fmt: skip


def _windows(theirs: Json) -> tuple[int, ...]:
    """By layer, all layers' alike said once. A window counts the token itself, there as here."""
    window, layers = theirs.get("sliding_window"), theirs["num_hidden_layers"]
    kind = theirs["model_type"]
    if not window or kind == "llama" or (kind in ("qwen2", "qwen3") and not theirs.get("use_sliding_window")):
        return ()
    if kind in ("mistral", "mixtral"):
        return (int(window),)
    kinds = theirs.get("layer_types") or ["sliding_attention" if n >= theirs.get("max_window_layers", 28) else "full_attention" for n in range(layers)]
    if unknown := sorted(set(kinds) - {"sliding_attention", "full_attention"}):
        raise RequestError(f"layers of the kind {', '.join(unknown)}, which are not computed here", where="config.json", do="Name another model.")
    found = tuple(int(window) if one == "sliding_attention" else 0 for one in kinds)
    return () if not any(found) else found[:1] if len(set(found)) == 1 else found


def write(ours: ModelConfig) -> Json:
    """Their config.json of our config."""
    near = stock(ours)
    kind = near.model_type
    found: Json = {
        "vocab_size": ours.vocabulary, "max_position_embeddings": ours.context, "num_hidden_layers": ours.layers, "hidden_size": ours.width,
        "num_attention_heads": ours.heads, "num_key_value_heads": ours.kv_heads, "intermediate_size": ours.feedforward,
        "hidden_act": near.activations[ours.activation], "rms_norm_eps": ours.norm_eps, "tie_word_embeddings": ours.tied,
        "attention_dropout": ours.attention_dropout, "initializer_range": ours.init_std, "rope_theta": ours.rope_base, "rope_scaling": scaling(ours),
    }  # fmt: skip
    if kind != "qwen2" or ours.head_size:
        found["head_dim"] = ours.head_width
    windows = [ours.window(layer) for layer in range(ours.layers)]
    if kind == "llama":
        found |= {"attention_bias": ours.qkv_bias, "mlp_bias": ours.bias}
    elif kind in ("mistral", "mixtral"):
        found["sliding_window"] = max(windows) or None
    else:
        found |= {
            "use_sliding_window": any(windows), "sliding_window": max(windows) or None, "max_window_layers": ours.layers,
            "layer_types": ["sliding_attention" if window else "full_attention" for window in windows],
        }  # fmt: skip
    if kind == "qwen3":
        found["attention_bias"] = ours.qkv_bias
    if kind == "mixtral":
        found |= {"num_local_experts": ours.experts, "num_experts_per_tok": ours.experts_a_token}
    return found


def scaling(ours: ModelConfig) -> Json | None:
    """`rope_scaling` of our rotary fields."""
    if ours.rope_wavelengths is not None:
        short, long = ours.rope_wavelengths
        return {
            "rope_type": "llama3", "factor": ours.rope_scaling, "low_freq_factor": 1.0, "high_freq_factor": long / short,
            "original_max_position_embeddings": int(long) if long == int(long) else long,
        }  # fmt: skip
    return {"rope_type": "linear", "factor": ours.rope_scaling} if ours.rope_scaling != 1.0 else None


def names(ours: ModelConfig) -> list[Pair]:
    """The table of names."""
    outer, inner, wide = ours.heads * ours.head_width, ours.kv_heads * ours.head_width, ours.feedforward
    found = same("embedding", "model.embed_tokens") + same("norm", "model.norm")
    for layer in range(ours.layers):
        a, b = f"blocks.{layer}", f"model.layers.{layer}"
        found += same(f"{a}.attention_norm", f"{b}.input_layernorm") + same(f"{a}.feedforward_norm", f"{b}.post_attention_layernorm")
        found += stacked(f"{a}.attention.qkv", (f"{b}.self_attn.{name}_proj" for name in "qkv"), (outer, inner, inner), bias=ours.qkv_bias)
        found += same(f"{a}.attention.out", f"{b}.self_attn.o_proj", bias=ours.out_bias)
        if ours.qk_norm_scale:
            found += same(f"{a}.attention.q_norm", f"{b}.self_attn.q_norm") + same(f"{a}.attention.k_norm", f"{b}.self_attn.k_norm")
        if ours.experts:
            found += same(f"{a}.feedforward.router", f"{b}.block_sparse_moe.gate")
            for expert in range(ours.experts):
                c, d = f"{a}.feedforward.experts.{expert}", f"{b}.block_sparse_moe.experts.{expert}"
                found += stacked(f"{c}.gate_up", (f"{d}.w1", f"{d}.w3"), (wide, wide)) + same(f"{c}.down", f"{d}.w2")
        else:
            found += stacked(f"{a}.feedforward.gate_up", (f"{b}.mlp.gate_proj", f"{b}.mlp.up_proj"), (wide, wide), bias=ours.bias)
            found += same(f"{a}.feedforward.down", f"{b}.mlp.down_proj", bias=ours.bias)
    return found if ours.tied else found + same("head", "lm_head")
