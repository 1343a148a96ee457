"""A GGUF file read back: keys, tokens, tensors; and, where transformers reads GGUF itself, what its own classes then say."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small import tokenizer_text
from torch import Tensor

from groundup.dialogue.template import CHAT_TEMPLATE
from groundup.errors import RequestError
from groundup.export import export
from groundup.export.gguf import neighbours
from groundup.models.config import ModelConfig
from groundup.run import Run
from groundup.tokens.tokenizer import Tokenizer
from groundup.training import checkpoint

gguf = pytest.importorskip("gguf")
MakeRun = Callable[..., Run]
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("llama", {"family": "llama", "kv_heads": 2}),
    "llama with biases, slowed": ("llama", {"family": "llama", "bias": True, "tied": False, "rope_scaling": 8.0, "rope_wavelengths": (12.0, 90.0)}),
    "llama scaled": ("llama", {"family": "llama", "rope_scaling": 4.0, "windows": (96,)}),
    "qwen2": ("qwen2", {"family": "llama", "attention_bias": "qkv", "kv_heads": 2}),
    "qwen3": ("qwen3", {"family": "llama", "qk_norm_scale": True, "kv_heads": 2, "head_size": 32}),
    "moe": ("llama", {"family": "moe", "experts": 4, "tied": False}),
    "gpt2": ("gpt2", {"family": "gpt2"}),
    "gpt3": ("gpt2", {"family": "gpt3", "tied": False}),
    "falcon": ("falcon", {"family": "falcon", "activation": "gelu_tanh"}),
    "falcon 40B": ("falcon", {"family": "falcon", "kv_heads": 2, "parallel": "two-norms"}),
}  # fmt: skip


def written(run: Run, path: Path, **more: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """(keys, tensors by name) of a file."""
    export(run, "gguf", path, **more)
    reader = gguf.GGUFReader(path)
    return {name: field.contents() for name, field in reader.fields.items()}, {tensor.name: tensor for tensor in reader.tensors}


def numbers(tensor: Any) -> Tensor:
    """What a tensor of a file stands for."""
    return torch.from_numpy(np.array(gguf.quants.dequantize(tensor.data, tensor.tensor_type))).reshape(*map(int, reversed(tensor.shape)))


def model_of(run: Run) -> Any:
    return checkpoint.load_model(run.path / "checkpoints" / "step-0000007")


@pytest.mark.parametrize("name", list(FAMILIES))
def test_keys_and_tensors(name: str, make_run: MakeRun, tmp_path: Path) -> None:
    arch, more = FAMILIES[name]
    run = make_run(**more)
    keys, tensors = written(run, tmp_path / "model.gguf")
    model = model_of(run)
    config: ModelConfig = model.config
    said = {key.partition(".")[2]: value for key, value in keys.items() if key.startswith(f"{arch}.")}
    assert keys["general.architecture"] == arch and keys["general.name"] == "small" and keys["general.file_type"] == 1
    wanted = {
        "context_length": 96, "embedding_length": 64, "block_count": 2, "feed_forward_length": 96, "attention.head_count": 4,
        "attention.head_count_kv": config.kv_heads, "vocab_size": config.vocabulary,
    }  # fmt: skip
    assert {key: said[key] for key in wanted} == wanted
    assert said["attention.layer_norm_rms_epsilon" if config.norm == "rms" else "attention.layer_norm_epsilon"] == pytest.approx(1e-5)
    if config.position == "rotary":
        assert (said["rope.dimension_count"], said["rope.freq_base"]) == (config.head_width, 10_000.0)
    assert (said.get("rope.scaling.type"), said.get("rope.scaling.factor")) == (("linear", 4.0) if name == "llama scaled" else (None, None))
    assert ("rope_freqs.weight" in tensors) == (config.rope_wavelengths is not None)
    counted = sum(tensor.n_elements for one, tensor in tensors.items() if one != "rope_freqs.weight")
    assert counted == sum(parameter.numel() for parameter in model.parameters())
    assert {tensor.tensor_type.name for tensor in tensors.values()} == {"F32", "F16"}
    assert all(tensor.tensor_type.name == "F32" for tensor in tensors.values() if len(tensor.shape) == 1)


@pytest.mark.parametrize("quantization, worst", [("f16", 2**-11), ("q8_0", 0.5 / 127 + 2**-11), ("q4_0", 1 / 8 + 2**-11)])
def test_each_number_is_as_near_as_its_format_allows(quantization: str, worst: float, make_run: MakeRun, tmp_path: Path) -> None:
    """Errors as shares of the largest number of each block of 32; its scale is an f16, right to 2^-11."""
    run = make_run(kv_heads=2, tied=False)
    keys, tensors = written(run, tmp_path / "model.gguf", quantize=quantization)
    assert keys["general.file_type"] == {"f16": 1, "q8_0": 7, "q4_0": 2}[quantization]
    weights = model_of(run).state_dict()
    q, k, v = weights["blocks.1.attention.qkv.weight"].split([64, 32, 32])
    gate, up = weights["blocks.0.feedforward.gate_up.weight"].chunk(2)
    for name, value in {
        "token_embd.weight": weights["embedding.weight"], "output.weight": weights["head.weight"], "output_norm.weight": weights["norm.weight"],
        "blk.1.attn_q.weight": neighbours(q, 4), "blk.1.attn_k.weight": neighbours(k, 2), "blk.1.attn_v.weight": v, "blk.0.ffn_gate.weight": gate,
        "blk.0.ffn_up.weight": up, "blk.1.ffn_down.weight": weights["blocks.1.feedforward.down.weight"],
        "blk.0.attn_output.weight": weights["blocks.0.attention.out.weight"], "blk.0.ffn_norm.weight": weights["blocks.0.feedforward_norm.weight"],
    }.items():  # fmt: skip
        found = numbers(tensors[name])
        assert found.shape == value.shape, name
        if value.ndim == 1:
            assert torch.equal(found, value)
            continue
        allowed = 0.5 / 127 + 2**-11 if quantization == "q4_0" and name in ("token_embd.weight", "output.weight") else worst
        blocks, other = value.reshape(-1, 32), found.reshape(-1, 32)
        assert ((blocks - other).abs() <= allowed * blocks.abs().amax(1, keepdim=True) + 1e-7).all(), name


def test_neighbours_turned_give_the_scores_of_halves_turned() -> None:
    """Queries and keys from permuted rows, rotated in pairs (2i, 2i + 1), have the scalar products of ours, rotated in pairs (i, i + H/2)."""
    draw = torch.Generator().manual_seed(0)
    q, k = (torch.randn(3 * 8, 5, generator=draw, dtype=torch.float64) for _ in range(2))
    x, y = (torch.randn(5, generator=draw, dtype=torch.float64) for _ in range(2))
    angles = 1.7 * torch.arange(1, 5, dtype=torch.float64)

    def turned(rows: Tensor, seen: Tensor, at: int, *, halves: bool) -> Tensor:
        heads = (rows @ seen).view(3, 8)
        first, second = heads.chunk(2, dim=1) if halves else (heads[:, ::2], heads[:, 1::2])
        cosine, sine = (at * angles).cos(), (at * angles).sin()
        return torch.cat((first * cosine - second * sine, second * cosine + first * sine), dim=1)

    ours = (turned(q, x, 7, halves=True) * turned(k, y, 3, halves=True)).sum(1)
    theirs = (turned(neighbours(q, 3), x, 7, halves=False) * turned(neighbours(k, 3), y, 3, halves=False)).sum(1)
    torch.testing.assert_close(ours, theirs)


READ_BY_TRANSFORMERS: dict[str, dict[str, Any]] = {  # whose reader takes some sizes for granted
    "llama": {"family": "llama", "kv_heads": 2}, "qwen2": {"family": "llama", "attention_bias": "qkv", "kv_heads": 2},
    "qwen3": {"family": "llama", "qk_norm_scale": True, "kv_heads": 2, "head_size": 128}, "gpt2": {"family": "gpt2", "context": 1024, "feedforward": 256},
    "falcon": {"family": "falcon", "feedforward": 256},
}  # fmt: skip


@torch.no_grad()
@pytest.mark.parametrize("name", list(READ_BY_TRANSFORMERS))
def test_transformers_reads_the_file_and_says_the_same(name: str, make_run: MakeRun, tmp_path: Path) -> None:
    """Its reader is not ours: names, keys and the order of rows are what others expect. f16 is exact here: weights are rounded first."""
    transformers = pytest.importorskip("transformers")
    run = make_run(**READ_BY_TRANSFORMERS[name])
    export(run, "gguf", tmp_path / "model.gguf")
    from transformers.modeling_gguf_pytorch_utils import load_gguf_checkpoint

    # by hand: from_pretrained would want accelerate for this
    other = transformers.AutoModelForCausalLM.from_config(transformers.AutoConfig.from_pretrained(tmp_path, gguf_file="model.gguf")).float().eval()
    state = load_gguf_checkpoint(str(tmp_path / "model.gguf"), return_tensors=True, model_to_load=other)["tensors"]
    missing, unexpected = other.load_state_dict(state, strict=False)
    assert set(missing) <= {"lm_head.weight"} and not unexpected  # the head is the embedding
    model = model_of(run)
    for part, parameter in model.named_parameters():
        if parameter.ndim > 1 and part != "places.weight":  # learned positions stay f32
            parameter.copy_(parameter.half())
    read = torch.randint(model.config.vocabulary, (2, 40), generator=torch.Generator().manual_seed(3))
    torch.testing.assert_close(other(read).logits, model(read, torch.arange(40).expand_as(read)), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("pattern, pre", [("gpt2", "gpt-2"), ("llama3", "llama-bpe"), ("qwen2", "qwen2")])
def test_the_tokenizer_goes_with_it(pattern: str, pre: str, make_run: MakeRun, tmp_path: Path) -> None:
    words, file = Tokenizer(tokenizer_text(pattern)), json.loads(tokenizer_text(pattern))
    run = make_run(kind=pattern, tuned=True, vocabulary=words.size + 5)
    keys, _ = written(run, tmp_path / "model.gguf")
    found = {key.removeprefix("tokenizer.ggml."): value for key, value in keys.items() if key.startswith("tokenizer.ggml.")}
    assert (found["model"], found["pre"], found["merges"]) == ("gpt2", pre, [" ".join(merge) for merge in file["model"]["merges"]])
    names, types = found["tokens"], found["token_type"]
    assert len(names) == len(types) == words.size + 5
    assert all(names[token] == name for name, token in file["model"]["vocab"].items())
    controls = {token for token, kind in enumerate(types) if kind == 3}
    assert controls == set(words.special.values()) and types[-5:] == [5] * 5 and set(types) == {1, 3, 5}
    assert (found["eos_token_id"], found["eot_token_id"], found["padding_token_id"]) == (
        words.special["<|end_of_turn|>"], words.special["<|end_of_turn|>"], words.special["<|pad|>"],
    )  # fmt: skip
    assert (found["add_bos_token"], found["add_eos_token"], keys["tokenizer.chat_template"]) == (False, False, CHAT_TEMPLATE)


@pytest.mark.parametrize("kind", ["unigram", "wordpiece", "characters", "bytes"])
def test_a_tokenizer_that_llama_cpp_would_read_otherwise_is_refused(kind: str, make_run: MakeRun, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"would read otherwise.*tokens.kind=bpe"):
        export(make_run(kind=kind), "gguf", tmp_path / "model.gguf")
    assert not (tmp_path / "model.gguf").exists()


@pytest.mark.parametrize(
    "more, why",
    [
        ({"family": "bert"}, "class BertForPreTraining is not written"), ({"family": "gpt1", "feedforward": 256}, "class OpenAIGPTLMHeadModel is not written"),
        ({"family": "falcon-rw"}, "position=alibi, parallel=no, bias=True"), ({"family": "llama", "windows": (8,)}, "windows"),
        ({"family": "llama", "activation": "geglu"}, "activation=geglu"), ({"family": "fast"}, "no stock class"),
        ({"family": "llama", "qk_norm_scale": True, "attention_bias": "all"}, "attention_bias"), ({"family": "t5"}, "class T5"),
    ],
)  # fmt: skip
def test_a_model_that_llama_cpp_does_not_compute_is_refused(more: dict[str, Any], why: str, make_run: MakeRun, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=why):
        export(make_run(**more), "gguf", tmp_path / "model.gguf")
    assert not list(tmp_path.glob("*model*"))


def test_without_the_package_one_line_says_what_to_install(make_run: MakeRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "gguf", None)
    with pytest.raises(RequestError, match=r"the package gguf is not installed.*groundup\[export\]"):
        export(make_run(), "gguf", tmp_path / "model.gguf")
