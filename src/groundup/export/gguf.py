"""One file that llama.cpp loads: keys, tokens and tensors, written by the `gguf` package.

    class here                     architecture    queries and keys
    llama, mistral, moe (Mixtral)  llama           rows of each head in another order: llama.cpp rotates neighbours, not halves
    qwen2, qwen3                   qwen2, qwen3    as they are
    gpt2, gpt3                     gpt2            as they are, in one tensor with the values
    falcon                         falcon          as they are, in one tensor with the values

Matrices are quantised, but not vectors, the router and learned positions; q4_0 keeps the embedding and the head in q8_0, which costs little
and decides much. A matrix whose rows are no multiple of 32 stays f16. llama.cpp computes every GELU by its tanh form: for Falcon,
whose own is exact, that is a difference of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from groundup.errors import RequestError
from groundup.export import gguf_tokens
from groundup.export.leaving import Leaving
from groundup.models.config import ModelConfig
from groundup.models.huggingface.stock import check
from groundup.models.parts.position import slowed

QUANTIZATIONS = ("f16", "q8_0", "q4_0")
BLOCK = 32  # numbers that share a scale in q8_0 and q4_0
ARCHITECTURES = {
    "llama": "llama", "mistral": "llama", "mixtral": "llama", "qwen2": "qwen2", "qwen3": "qwen3", "gpt2": "gpt2", "falcon": "falcon",
}  # fmt: skip
"""Of the model types of Hugging Face."""
_NAMES = {
    "attention.qkv": "attn_qkv", "attention.out": "attn_output", "attention.q_norm": "attn_q_norm", "attention.k_norm": "attn_k_norm",
    "attention_norm": "attn_norm", "feedforward_norm": "ffn_norm", "feedforward.up": "ffn_up", "feedforward.down": "ffn_down",
    "feedforward.router": "ffn_gate_inp",
}  # fmt: skip


def write(leaving: Leaving, path: Path, quantization: str) -> None:
    """Write the file. Raises RequestError where llama.cpp has no equal of the model or of its tokenizer."""
    library = _library()
    config = leaving.config
    arch = architecture(config)
    tokens = gguf_tokens.of(leaving.words, leaving.tokenizer_text, config.vocabulary)
    writer = library.GGUFWriter(path, arch)
    writer.add_type("model")
    writer.add_name(leaving.run.recipe.name)
    keys(writer, config, library)
    writer.add_quantization_version(library.GGML_QUANT_VERSION)
    writer.add_file_type({"f16": library.LlamaFileType.MOSTLY_F16, "q8_0": library.LlamaFileType.MOSTLY_Q8_0, "q4_0": library.LlamaFileType.MOSTLY_Q4_0}[quantization])
    gguf_tokens.write(writer, tokens, leaving)
    for name, tensor in tensors(config, leaving.weights, arch):
        kind = library.GGMLQuantizationType[kind_of(name, tensor, quantization)]
        writer.add_tensor(name, library.quants.quantize(tensor.float().contiguous().numpy(), kind), raw_dtype=kind)
    try:
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
    finally:
        writer.close()


def architecture(config: ModelConfig) -> str:
    """llama.cpp's name of what computes the same. Raises RequestError where nothing does."""
    near = check(config)
    arch = ARCHITECTURES.get(near.model_type)
    if arch is None:
        raise RequestError(
            f"a model of the class {near.name} is not written for llama.cpp", where=f"a model of the {config.family} family",
            do="Families that are: llama, moe, gpt2, gpt3 without windows, falcon. Or export --to hf.",
        )  # fmt: skip
    wrong = []
    if any(0 < window < config.context for window in config.windows):
        wrong.append(f"windows={config.windows}")
    known = {"gpt2": ("gelu_tanh",), "falcon": ("gelu", "gelu_tanh")}.get(arch, ("swiglu",))
    if config.activation not in known:
        wrong.append(f"activation={config.activation}")
    if arch != "llama" and config.rope_wavelengths is not None:
        wrong.append("rope_wavelengths")
    if arch == "qwen3" and config.qkv_bias:
        wrong.append("attention_bias")
    if arch == "falcon":
        wrong += [f"{name}={value}" for name, value in (("position", config.position), ("parallel", config.parallel), ("bias", config.bias)) if value in ("alibi", "no", True)]
    if wrong:
        raise RequestError(
            f"llama.cpp's {arch} has no {', '.join(wrong)}", where=f"a model of the {config.family} family", do="Train it without, or export --to hf.",
        )  # fmt: skip
    return arch


def keys(writer: Any, config: ModelConfig, library: Any) -> None:
    """Sizes and constants."""
    writer.add_vocab_size(config.vocabulary)
    writer.add_context_length(config.context)
    writer.add_embedding_length(config.width)
    writer.add_block_count(config.layers)
    writer.add_feed_forward_length(config.feedforward)
    writer.add_head_count(config.heads)
    writer.add_head_count_kv(config.kv_heads)
    if config.norm == "rms":
        writer.add_layer_norm_rms_eps(config.norm_eps)
    else:
        writer.add_layer_norm_eps(config.norm_eps)
    if config.head_size:
        writer.add_key_length(config.head_width)
        writer.add_value_length(config.head_width)
    if config.position == "rotary":
        writer.add_rope_dimension_count(config.head_width)
        writer.add_rope_freq_base(config.rope_base)
        if config.rope_scaling != 1.0 and config.rope_wavelengths is None:
            writer.add_rope_scaling_type(library.RopeScalingType.LINEAR)
            writer.add_rope_scaling_factor(config.rope_scaling)
    if config.experts:
        writer.add_expert_count(config.experts)
        writer.add_expert_used_count(config.experts_a_token)
    if config.family == "falcon":
        writer.add_tensor_data_layout("jploski")  # queries, keys, values one block each; what every Falcon file says


def tensors(config: ModelConfig, weights: Mapping[str, Tensor], arch: str) -> Iterator[tuple[str, Tensor]]:
    """Their names and tensors of our weights, one after the other."""
    yield "token_embd.weight", weights["embedding.weight"]
    if config.position == "learned":
        yield "position_embd.weight", weights["places.weight"]
    if config.rope_wavelengths is not None:
        frequencies = config.rope_base ** (-torch.arange(0, config.head_width, 2, dtype=torch.float64) / config.head_width)
        yield "rope_freqs.weight", slowed(frequencies, config.rope_scaling, config.rope_wavelengths)
    for layer in range(config.layers):
        yield from _layer(config, weights, arch, f"blocks.{layer}.", f"blk.{layer}.")
    for ours, theirs in (("norm", "output_norm"), ("head", "output")):
        for kind in ("weight", "bias"):
            if f"{ours}.{kind}" in weights:
                yield f"{theirs}.{kind}", weights[f"{ours}.{kind}"]


def _layer(config: ModelConfig, weights: Mapping[str, Tensor], arch: str, ours: str, theirs: str) -> Iterator[tuple[str, Tensor]]:
    names = dict(_NAMES)
    if config.parallel == "two-norms":  # Falcon 40B: the norm of the feed-forward sublayer is the first one there
        names |= {"attention_norm": "attn_norm_2", "feedforward_norm": "attn_norm"}
    outer, inner = config.heads * config.head_width, config.kv_heads * config.head_width
    for kind in ("weight", "bias"):
        for mine, other in names.items():
            tensor = weights.get(f"{ours}{mine}.{kind}")
            if tensor is None:
                continue
            if mine == "attention.qkv" and arch not in ("gpt2", "falcon"):
                q, k, v = torch.split(tensor, [outer, inner, inner])
                if arch == "llama":
                    q, k = neighbours(q, config.heads), neighbours(k, config.kv_heads)
                yield f"{theirs}attn_q.{kind}", q
                yield f"{theirs}attn_k.{kind}", k
                yield f"{theirs}attn_v.{kind}", v
            else:
                yield f"{theirs}{other}.{kind}", tensor
        if (both := weights.get(f"{ours}feedforward.gate_up.{kind}")) is not None:
            gate, up = both.chunk(2)
            yield f"{theirs}ffn_gate.{kind}", gate
            yield f"{theirs}ffn_up.{kind}", up
    if config.experts:
        experts = [f"{ours}feedforward.experts.{number}" for number in range(config.experts)]
        yield f"{theirs}ffn_gate_exps.weight", torch.stack([weights[f"{one}.gate_up.weight"].chunk(2)[0] for one in experts])
        yield f"{theirs}ffn_up_exps.weight", torch.stack([weights[f"{one}.gate_up.weight"].chunk(2)[1] for one in experts])
        yield f"{theirs}ffn_down_exps.weight", torch.stack([weights[f"{one}.down.weight"] for one in experts])


def neighbours(rows: Tensor, heads: int) -> Tensor:
    """Rows of each head from (i, i + H/2) turned together to (2i, 2i + 1) turned together."""
    return rows.reshape(heads, 2, -1, *rows.shape[1:]).transpose(1, 2).reshape(rows.shape)


def kind_of(name: str, tensor: Tensor, wanted: str) -> str:
    """How a tensor is written."""
    if tensor.ndim == 1 or name == "position_embd.weight" or ".ffn_gate_inp." in name:
        return "F32"
    if wanted == "f16" or tensor.shape[-1] % BLOCK:
        return "F16"
    return "Q8_0" if wanted == "q8_0" or name in ("token_embd.weight", "output.weight") else "Q4_0"


def _library() -> Any:
    try:
        import gguf
    except ImportError:
        raise RequestError("the package gguf is not installed", where="--to gguf", do="Install it: pip install 'groundup[export]'.") from None
    return gguf
