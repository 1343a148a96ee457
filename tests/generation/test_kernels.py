"""The compiled kernels: exact sums of any shape, rows that do not see each other, and what happens where there is no compiler."""

from __future__ import annotations

import subprocess
from ctypes import addressof
from pathlib import Path

import pytest
import torch
from torch import Tensor

from groundup.generation import Engine, SamplingSettings, kernels
from groundup.generation.cache import KVCache, Piece
from groundup.generation.few_rows import MOST_ROWS, FewRows, suits
from groundup.generation.layout import Layout
from groundup.generation.runner import CachedRunner
from groundup.generation.weights import Precision, Rows, packed
from groundup.models.build import build
from groundup.models.config import ModelConfig

needs_kernels = pytest.mark.skipif(kernels.library() is None, reason="no C compiler")


def product(map_: Rows, x: Tensor, threads: int) -> Tensor:
    """x W^T + b by the kernels."""
    (outputs, inputs), n = map_.weight.shape, len(x)
    y, scratch = torch.empty(n, outputs), torch.empty(threads, inputs + kernels.PRODUCT)
    frame = kernels.Frame(kernels.Norm(None, None, 0.0, kernels.NORMS["none"]), 0.0, 1.0, 0, inputs)
    one = kernels.Map(*map(kernels.address, (map_.weight, map_.scale, map_.bias)), outputs, inputs, kernels.FORMATS[map_.weight.dtype])
    given = kernels.Pass(n=n, scratch=scratch.data_ptr(), floats=scratch.shape[1], threads=threads)
    kernels.library().head(addressof(frame), addressof(one), addressof(given), x.data_ptr(), y.data_ptr())
    return y


@needs_kernels
@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("precision", ["fp32", "bf16", "int8"])
@pytest.mark.parametrize("outputs, inputs", [(1, 1), (3, 7), (37, 12), (130, 33), (64, 2100), (1100, 40)])
def test_a_product_is_exact_for_the_weights_it_reads_and_each_row_the_same_whatever_stands_beside_it(
    outputs: int, inputs: int, precision: Precision, threads: int
) -> None:
    draw = torch.Generator().manual_seed(outputs + inputs)
    one = packed(torch.randn(outputs, inputs, generator=draw), torch.randn(outputs, generator=draw), precision, rows=True)
    assert isinstance(one, Rows) and one.bias is not None
    x = torch.randn(MOST_ROWS, inputs, generator=draw)
    held = one.weight.double() * (1.0 if one.scale is None else one.scale.double()[:, None])
    exact = x.double() @ held.T + one.bias.double()
    alone = torch.cat([product(one, x[row : row + 1], threads) for row in range(len(x))])
    size = x.double().abs() @ held.abs().T + 1
    assert float(((alone.double() - exact).abs() / size).max()) < 1e-6
    for rows in (2, 3, 4, 5, 7, 16, MOST_ROWS):
        assert torch.equal(product(one, x[:rows], threads), alone[:rows])


@needs_kernels
def test_a_text_s_numbers_are_the_same_to_the_last_bit_whoever_its_neighbours_are() -> None:
    shape = ModelConfig(vocabulary=270, context=64, layers=2, width=48, heads=4, kv_heads=2, feedforward=100, init_std=0.3)
    model = build(shape, seed=0).eval()
    texts = torch.randint(0, 270, (9, 30), generator=torch.Generator().manual_seed(0)).tolist()
    together, alone = (CachedRunner(model, 0, "fp32", 9, 64) for _ in range(2))
    for start, end in ((0, 5), (5, 6), (6, 9), (9, 10)):
        many = together.forward([Piece(slot, text[start:end]) for slot, text in enumerate(texts)])
        for slot, text in enumerate(texts):
            assert torch.equal(alone.forward([Piece(slot, text[start:end])])[0], many[slot])


@needs_kernels
def test_a_cache_in_bf16_is_read_and_written() -> None:
    """As on processors that multiply bf16: queries meet rounded keys and values."""
    model = build(ModelConfig(vocabulary=270, context=32, layers=2, width=48, heads=4, kv_heads=2, feedforward=100, init_std=0.3), seed=0).eval()
    found = []
    for dtype in (torch.float32, torch.bfloat16):
        cache = KVCache(model.config, 2, 1, dtype, torch.device("cpu"))
        cache.reserve(1, 12)
        with torch.inference_mode():
            few = FewRows(model, Layout(model, "fp32", rows=True), cache)
            tokens = torch.arange(20, 32)
            pieces = torch.stack((tokens, torch.arange(12), torch.zeros(12, dtype=torch.long)))
            found.append(few.logits(few(model.embedding(tokens), pieces)))
    exact, rounded = found
    assert 0 < float((exact - rounded).norm() / exact.norm()) < 1e-2


def test_without_a_compiler_or_with_one_that_fails_there_are_none_and_decoding_goes_on(model, words, monkeypatch, tmp_path: Path, capsys) -> None:
    settings = SamplingSettings(temperature=0.0, max_tokens=8)
    with_kernels = Engine(model, words).generate("some text", settings)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    broken = tmp_path / "cc"
    broken.write_text("#!/bin/sh\n[ \"$1\" = --version ] && exit 0\necho no such flag >&2; exit 1\n")
    broken.chmod(0o755)
    try:
        for compiler in ("no-such-compiler", str(broken)):
            kernels.library.cache_clear()
            monkeypatch.setenv("CC", compiler)
            assert kernels.library() is None and not suits(model)
            assert Engine(model, words).generate("some text", settings) == with_kernels
        assert "no such flag" in capsys.readouterr().err
    finally:
        kernels.library.cache_clear()


@needs_kernels
def test_they_are_compiled_once(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    compiler = ["gcc"]
    first = kernels._compiled(compiler)
    asked: list[list[str]] = []
    run = subprocess.run
    monkeypatch.setattr(subprocess, "run", lambda command, **more: asked.append(command) or run(command, **more))
    assert kernels._compiled(compiler) == first and asked == [["gcc", "--version"]]
    assert [path.name for path in first.parent.iterdir()] == [first.name]
