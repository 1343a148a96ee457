"""Maps in 16 and 8 bits stay within their format's error of the exact one."""

from __future__ import annotations

import pytest
import torch

from groundup.generation import Engine, SamplingSettings, runner
from groundup.generation import weights as maps
from groundup.generation.weights import FEW_ROWS, Blocked, Rounded, chosen, packed


@pytest.mark.parametrize("blocks", [False, True, "rows"])
@pytest.mark.parametrize("rows", [1, 5, FEW_ROWS + 3])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("precision, error", [("fp32", 1e-6), ("bf16", 6e-3), ("int8", 1.5e-2)])
def test_a_map_keeps_to_its_formats_error(
    rows: int, bias: bool, precision: maps.Precision, error: float, blocks: bool | str, monkeypatch
) -> None:
    monkeypatch.setattr(maps, "WORTH_BLOCKS", 1 if blocks is True else 10**9)
    draw = torch.Generator().manual_seed(0)
    x, weight = torch.randn(rows, 96, generator=draw), torch.randn(64, 96, generator=draw)
    added, stream = (torch.randn(64, generator=draw) if bias else None), torch.randn(rows, 64, generator=draw)
    exact = x.double() @ weight.double().T + (0 if added is None else added.double())
    one = packed(weight, added, precision, rows=blocks == "rows")
    if precision == "fp32" and blocks != "rows":
        assert isinstance(one, Blocked) == (blocks and maps.has_blocks())
    for found, wanted in ((one(x), exact), (one.onto(stream, x), exact + stream)):
        assert found.dtype == torch.float32
        assert float((found - wanted).norm() / wanted.norm()) < error


def test_int8_scales_are_exact_in_bf16() -> None:
    weight = torch.randn(32, 64, generator=torch.Generator().manual_seed(1))
    one = Rounded(weight, None, int8=True)
    assert one.scale is not None
    assert (
        float((one.weight * one.scale.float()[:, None] - weight).abs().max())
        <= float(one.scale.float().max()) * 0.51
    )
    assert Rounded(torch.zeros(4, 8), None, int8=True)(torch.ones(1, 8)).abs().max() == 0


@pytest.mark.parametrize("known", [True, False], ids=["kernels", "torch"])
@pytest.mark.parametrize("precision", ["bf16", "int8"])
def test_the_engine_writes_nearly_the_same_in_fewer_bits(model, words, precision, known, monkeypatch) -> None:
    if not known:
        monkeypatch.setattr(runner, "suits", lambda model: False)
    settings = SamplingSettings(temperature=0.0, max_tokens=1, logprobs=0)
    for prompt in ("ab", "a longer prompt of many more letters than that"):
        (exact,) = Engine(model, words).generate(prompt, settings)
        (near,) = Engine(model, words, precision=precision).generate(prompt, settings)
        assert near.logprobs is not None and exact.logprobs is not None
        assert near.logprobs[0].logprob == pytest.approx(exact.logprobs[0].logprob, abs=0.4)


def test_auto_is_exact_for_small_models_and_where_bf16_would_be_emulated(monkeypatch) -> None:
    monkeypatch.setattr(maps, "multiplies_bf16", lambda: True)
    assert [chosen("auto", size, kernels=False) for size in (10**6, 10**9)] == ["fp32", "bf16"]
    monkeypatch.setattr(maps, "multiplies_bf16", lambda: False)
    assert [chosen("auto", 10**9, kernels=known) for known in (False, True)] == ["fp32", "bf16"]
    assert chosen("int8", 10**6, kernels=False) == "int8"
