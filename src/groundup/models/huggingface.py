"""Weights of Hugging Face folders into this kit: gpt2, openai-gpt, llama, falcon, bert, t5, xlnet.

Each family has one function from (its config.json, its tensors) to (our config, our tensors). The names on the left are
ours; what stands on the right says where they come from and how they are turned:

    linear     as it is; Hugging Face's Conv1D (GPT-1, GPT-2) is transposed
    qkv        three matrices one above the other, or taken out of one that mixes them by head or group (Falcon)
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from groundup.errors import RequestError
from groundup.models.build import Model, build
from groundup.models.config import ModelConfig, resolved
from groundup.recipe.model import Family

Tensors = dict[str, Tensor]


def load(folder: Path) -> Model:
    """The model of a Hugging Face folder. Raises RequestError where it is none of ours or its files are damaged."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        tensors: Tensors = {}
        for path in sorted(folder.glob("*.safetensors")):
            tensors |= load_file(path)
    except (OSError, ValueError, SafetensorError) as error:
        raise RequestError(f"no readable model ({error})", where=str(folder), do="Name a folder with config.json and *.safetensors.") from None
    if not tensors:
        raise RequestError("no *.safetensors here", where=str(folder), do="Convert its weights to safetensors first.")
    ours, weights = translate(config, tensors)
    model = build(ours)
    fill(model, weights, str(folder))
    return model


def translate(config: dict[str, Any], tensors: Tensors) -> tuple[ModelConfig, Tensors]:
    """Our config and weights. Raises RequestError for a type of model that is not known."""
    kind = config.get("model_type")
    if kind not in READERS:
        raise RequestError(f"a model of type '{kind}'", where="config.json", do=f"These are known: {', '.join(READERS)}.")
    return READERS[kind](config, tensors)


def fill(model: nn.Module, weights: Tensors, where: str) -> None:
    """Put the weights in; every one of the model's has to be there, in its shape. Raises RequestError."""
    own = dict(model.named_parameters())
    missing, extra = sorted(own.keys() - weights.keys()), sorted(weights.keys() - own.keys())
    wrong = [name for name in own.keys() & weights.keys() if own[name].shape != weights[name].shape]
    if missing or extra or wrong:
        named = f"missing {missing[:3]}" if missing else f"left over {extra[:3]}" if extra else f"of another shape {wrong[:3]}"
        raise RequestError(f"the weights do not fit the model: {named}", where=where, do="config.json belongs to other weights.")
    with torch.no_grad():
        for name, parameter in own.items():
            parameter.copy_(weights[name])


class _From:
    """The tensors of one source, some prefix taken off, each to be asked for once."""

    def __init__(self, tensors: Tensors, *prefixes: str) -> None:
        self._tensors = {}
        for name, tensor in tensors.items():
            for prefix in prefixes:
                name = name.removeprefix(prefix)
            self._tensors[name] = tensor

    def __call__(self, name: str) -> Tensor:
        if name not in self._tensors:
            raise RequestError(f"the weights lack {name}", where="*.safetensors", do="config.json belongs to other weights.")
        return self._tensors[name]

    def both(self, ours: str, theirs: str, *, turned: bool = False) -> Tensors:
        """weight and bias; `turned`: of a Conv1D."""
        weight = self(f"{theirs}.weight")
        return {f"{ours}.weight": weight.T if turned else weight, f"{ours}.bias": self(f"{theirs}.bias")}

    def stacked(self, ours: str, *theirs: str, bias: bool = False) -> Tensors:
        """Several maps one above the other."""
        found = {f"{ours}.weight": torch.cat([self(f"{name}.weight") for name in theirs])}
        if bias:
            found[f"{ours}.bias"] = torch.cat([self(f"{name}.bias") for name in theirs])
        return found


def _config(family: Family, **more: Any) -> ModelConfig:
    return resolved(family, **more)


def _gpt(config: dict[str, Any], tensors: Tensors) -> tuple[ModelConfig, Tensors]:
    first = config["model_type"] == "openai-gpt"
    D = config["n_embd"]
    ours = _config(
        "gpt1" if first else "gpt2", vocabulary=config["vocab_size"], context=config["n_positions"], layers=config["n_layer"], width=D,
        heads=config["n_head"], kv_heads=config["n_head"], feedforward=config.get("n_inner") or 4 * D, norm_eps=config["layer_norm_epsilon"],
    )  # fmt: skip
    get = _From(tensors, "transformer.")
    weights: Tensors = {
        "embedding.weight": get("tokens_embed.weight" if first else "wte.weight"),
        "places.weight": get("positions_embed.weight" if first else "wpe.weight"),
    }
    for layer in range(ours.layers):
        a, b = f"blocks.{layer}", f"h.{layer}"
        weights |= get.both(f"{a}.attention_norm", f"{b}.ln_1") | get.both(f"{a}.feedforward_norm", f"{b}.ln_2")
        weights |= get.both(f"{a}.attention.qkv", f"{b}.attn.c_attn", turned=True) | get.both(f"{a}.attention.out", f"{b}.attn.c_proj", turned=True)
        weights |= get.both(f"{a}.feedforward.up", f"{b}.mlp.c_fc", turned=True) | get.both(f"{a}.feedforward.down", f"{b}.mlp.c_proj", turned=True)
    if not first:
        weights |= get.both("norm", "ln_f")
    return ours, weights


def _llama(config: dict[str, Any], tensors: Tensors) -> tuple[ModelConfig, Tensors]:
    rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
    ours = _config(
        "llama", vocabulary=config["vocab_size"], context=config["max_position_embeddings"], layers=config["num_hidden_layers"],
        width=config["hidden_size"], heads=config["num_attention_heads"], kv_heads=config.get("num_key_value_heads") or config["num_attention_heads"],
        feedforward=config["intermediate_size"], norm_eps=config["rms_norm_eps"], tied=config.get("tie_word_embeddings", False),
        rope_base=config.get("rope_theta") or rope.get("rope_theta") or 10_000.0,
    )  # fmt: skip
    get = _From(tensors, "model.")
    weights: Tensors = {"embedding.weight": get("embed_tokens.weight"), "norm.weight": get("norm.weight")}
    for layer in range(ours.layers):
        a, b = f"blocks.{layer}", f"layers.{layer}"
        weights[f"{a}.attention_norm.weight"] = get(f"{b}.input_layernorm.weight")
        weights[f"{a}.feedforward_norm.weight"] = get(f"{b}.post_attention_layernorm.weight")
        weights |= get.stacked(f"{a}.attention.qkv", *(f"{b}.self_attn.{name}_proj" for name in "qkv"))
        weights[f"{a}.attention.out.weight"] = get(f"{b}.self_attn.o_proj.weight")
        weights |= get.stacked(f"{a}.feedforward.gate_up", f"{b}.mlp.gate_proj", f"{b}.mlp.up_proj")
        weights[f"{a}.feedforward.down.weight"] = get(f"{b}.mlp.down_proj.weight")
    if not ours.tied:
        weights["head.weight"] = get("lm_head.weight")
    return ours, weights


def _falcon(config: dict[str, Any], tensors: Tensors) -> tuple[ModelConfig, Tensors]:
    D, K, new = config["hidden_size"], config["num_attention_heads"], config["new_decoder_architecture"]
    H = D // K
    G = config["num_kv_heads"] if new else 1 if config["multi_query"] else K
    bias = config["bias"]
    ours = _config(
        "falcon-rw" if config["alibi"] else "falcon", vocabulary=config["vocab_size"], context=config.get("max_position_embeddings") or 2048,
        layers=config["num_hidden_layers"], width=D, heads=K, kv_heads=G, feedforward=config.get("ffn_hidden_size") or 4 * D,
        norm_eps=config["layer_norm_epsilon"], bias=bias, tied=config.get("tie_word_embeddings", True),
        parallel="two-norms" if new and config.get("num_ln_in_parallel_attn") != 1 else "one-norm" if new or config["parallel_attn"] else "no",
    )  # fmt: skip

    def qkv(mixed: Tensor) -> Tensor:
        """Queries, keys, values, one block each; Falcon has them by group: some queries, a key, a value."""
        if not new and config["multi_query"]:
            return mixed
        grouped = mixed.view(G, K // G + 2, H, *mixed.shape[1:])
        parts = grouped[:, :-2], grouped[:, -2:-1], grouped[:, -1:]
        return torch.cat([part.reshape(-1, *mixed.shape[1:]) for part in parts])

    get = _From(tensors, "transformer.")
    weights: Tensors = {"embedding.weight": get("word_embeddings.weight"), **get.both("norm", "ln_f")}
    for layer in range(ours.layers):
        a, b = f"blocks.{layer}", f"h.{layer}"
        if ours.parallel == "two-norms":
            weights |= get.both(f"{a}.attention_norm", f"{b}.ln_attn") | get.both(f"{a}.feedforward_norm", f"{b}.ln_mlp")
        else:
            weights |= get.both(f"{a}.attention_norm", f"{b}.input_layernorm")
            if ours.parallel == "no":
                weights |= get.both(f"{a}.feedforward_norm", f"{b}.post_attention_layernorm")
        for mine, theirs in (
            ("attention.qkv", "self_attention.query_key_value"), ("attention.out", "self_attention.dense"),
            ("feedforward.up", "mlp.dense_h_to_4h"), ("feedforward.down", "mlp.dense_4h_to_h"),
        ):  # fmt: skip
            for kind in ("weight", "bias") if bias else ("weight",):
                tensor = get(f"{b}.{theirs}.{kind}")
                weights[f"{a}.{mine}.{kind}"] = qkv(tensor) if mine == "attention.qkv" else tensor
    if not ours.tied:
        weights["head.weight"] = get("lm_head.weight")
    return ours, weights


def _bert(config: dict[str, Any], tensors: Tensors) -> tuple[ModelConfig, Tensors]:
    ours = _config(
        "bert", vocabulary=config["vocab_size"], context=config["max_position_embeddings"], layers=config["num_hidden_layers"],
        width=config["hidden_size"], heads=config["num_attention_heads"], kv_heads=config["num_attention_heads"],
        feedforward=config["intermediate_size"], norm_eps=config["layer_norm_eps"], token_types=config["type_vocab_size"],
    )  # fmt: skip
    get = _From(tensors, "bert.")
    weights: Tensors = {
        "embedding.weight": get("embeddings.word_embeddings.weight"), "places.weight": get("embeddings.position_embeddings.weight"),
        "types.weight": get("embeddings.token_type_embeddings.weight"), "head_bias": get("cls.predictions.bias"),
        **get.both("embedding_norm", "embeddings.LayerNorm"), **get.both("transform", "cls.predictions.transform.dense"),
        **get.both("transform_norm", "cls.predictions.transform.LayerNorm"), **get.both("pooler", "pooler.dense"),
        **get.both("next_sentence", "cls.seq_relationship"),
    }  # fmt: skip
    for layer in range(ours.layers):
        a, b = f"blocks.{layer}", f"encoder.layer.{layer}"
        weights |= get.stacked(f"{a}.attention.qkv", *(f"{b}.attention.self.{name}" for name in ("query", "key", "value")), bias=True)
        weights |= get.both(f"{a}.attention.out", f"{b}.attention.output.dense") | get.both(f"{a}.attention_norm", f"{b}.attention.output.LayerNorm")
        weights |= get.both(f"{a}.feedforward.up", f"{b}.intermediate.dense") | get.both(f"{a}.feedforward.down", f"{b}.output.dense")
        weights |= get.both(f"{a}.feedforward_norm", f"{b}.output.LayerNorm")
    return ours, weights


def _t5(config: dict[str, Any], tensors: Tensors) -> tuple[ModelConfig, Tensors]:
    D, gated = config["d_model"], config.get("feed_forward_proj", "relu").startswith("gated")
    # T5 1.1 has a head of its own; transformers 5 ties all the same and says separately whether the head's input is scaled
    tied = "lm_head.weight" not in tensors
    scaled = config.get("scale_decoder_outputs", config.get("tie_word_embeddings", True))
    ours = _config(
        "t5", vocabulary=config["vocab_size"], context=config.get("n_positions", 512), layers=config["num_layers"],
        decoder_layers=config.get("num_decoder_layers") or config["num_layers"], width=D, heads=config["num_heads"], kv_heads=config["num_heads"],
        head_size=config["d_kv"], feedforward=config["d_ff"], norm_eps=config["layer_norm_epsilon"], activation="geglu_tanh" if gated else "relu",
        relative_buckets=config["relative_attention_num_buckets"], relative_distance=config.get("relative_attention_max_distance", 128),
        tied=tied, logits_scale=D**-0.5 if scaled else 1.0,
    )  # fmt: skip
    get = _From(tensors)
    weights: Tensors = {"embedding.weight": get("shared.weight")}
    for side, layers in (("encoder", ours.layers), ("decoder", ours.decoder_layers or ours.layers)):
        weights[f"{side}.distance.weight"] = get(f"{side}.block.0.layer.0.SelfAttention.relative_attention_bias.weight")
        weights[f"{side}.norm.weight"] = get(f"{side}.final_layer_norm.weight")
        for layer in range(layers):
            a, b = f"{side}.blocks.{layer}", f"{side}.block.{layer}.layer"
            weights[f"{a}.attention_norm.weight"] = get(f"{b}.0.layer_norm.weight")
            weights |= get.stacked(f"{a}.attention.qkv", *(f"{b}.0.SelfAttention.{name}" for name in "qkv"))
            weights[f"{a}.attention.out.weight"] = get(f"{b}.0.SelfAttention.o.weight")
            last = 1
            if side == "decoder":
                last = 2
                weights[f"{a}.cross_norm.weight"] = get(f"{b}.1.layer_norm.weight")
                weights[f"{a}.cross.query.weight"] = get(f"{b}.1.EncDecAttention.q.weight")
                weights |= get.stacked(f"{a}.cross.key_value", *(f"{b}.1.EncDecAttention.{name}" for name in "kv"))
                weights[f"{a}.cross.out.weight"] = get(f"{b}.1.EncDecAttention.o.weight")
            weights[f"{a}.feedforward_norm.weight"] = get(f"{b}.{last}.layer_norm.weight")
            dense = f"{b}.{last}.DenseReluDense"
            weights |= get.stacked(f"{a}.feedforward.gate_up", f"{dense}.wi_0", f"{dense}.wi_1") if gated else {f"{a}.feedforward.up.weight": get(f"{dense}.wi.weight")}
            weights[f"{a}.feedforward.down.weight"] = get(f"{dense}.wo.weight")
    if not tied:
        weights["head.weight"] = get("lm_head.weight")
    return ours, weights


def _xlnet(config: dict[str, Any], tensors: Tensors) -> tuple[ModelConfig, Tensors]:
    ours = _config(
        "xlnet", vocabulary=config["vocab_size"], context=config.get("max_position_embeddings") or 512, layers=config["n_layer"], width=config["d_model"],
        heads=config["n_head"], kv_heads=config["n_head"], feedforward=config["d_inner"], norm_eps=config["layer_norm_eps"],
    )  # fmt: skip
    get = _From(tensors, "transformer.")
    weights: Tensors = {
        "embedding.weight": get("word_embedding.weight"), "hidden_token": get("mask_emb").reshape(-1), "head_bias": get("lm_loss.bias"),
    }  # fmt: skip
    for layer in range(ours.layers):
        a, b = f"blocks.{layer}", f"layer.{layer}"
        weights |= {f"{a}.attention.{name}": get(f"{b}.rel_attn.{name}") for name in "qkvor"}
        for mine, theirs in (("content_bias", "r_w_bias"), ("distance_bias", "r_r_bias"), ("segment_bias", "r_s_bias"), ("segments", "seg_embed")):
            weights[f"{a}.attention.{mine}"] = get(f"{b}.rel_attn.{theirs}")
        weights |= get.both(f"{a}.attention_norm", f"{b}.rel_attn.layer_norm") | get.both(f"{a}.feedforward_norm", f"{b}.ff.layer_norm")
        weights |= get.both(f"{a}.up", f"{b}.ff.layer_1") | get.both(f"{a}.down", f"{b}.ff.layer_2")
    return ours, weights


READERS: dict[str, Callable[[dict[str, Any], Tensors], tuple[ModelConfig, Tensors]]] = {
    "gpt2": _gpt, "openai-gpt": _gpt, "llama": _llama, "falcon": _falcon, "bert": _bert, "t5": _t5, "xlnet": _xlnet,
}  # fmt: skip
