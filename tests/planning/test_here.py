"""What this machine is asked: no pass is tried that takes too long, nothing is left out of what is not tried."""

from __future__ import annotations

from typing import Any

import pytest

from groundup.models.config import ModelConfig, resolved
from groundup.planning import here
from groundup.planning.memory import memory
from groundup.training.layout import Layout
from groundup.training.optimizers import OptimizerSettings

CONFIG = resolved("llama", layers=8, width=128, heads=4, context=64, vocabulary=300)
MUON = OptimizerSettings(name="muon")


def paced(monkeypatch: pytest.MonkeyPatch, peak: float, rows: int = 16) -> tuple[here.Pace, list[tuple[int, int]]]:
    """The pace where a row takes 0.01 s a layer and an update 0.1 s a layer, and which layers and rows were tried."""
    tried: list[tuple[int, int]] = []

    def timed(config: ModelConfig, rows: int, *_: Any, **__: Any) -> tuple[here.Pace, float]:
        tried.append((config.layers, rows))
        return here.Pace(0.01 * config.layers * rows, 0.1 * config.layers), 0.0

    monkeypatch.setattr(here, "timed", timed)
    monkeypatch.setattr(here, "free_bytes", lambda: 1e15)
    return here.pace(CONFIG, rows, 64, precision="fp32", settings=MUON, peak=peak), tried


def test_passes_too_long_are_tried_with_fewer_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    for peak, rows in ((1e15, 16), (6e8, 8)):  # a row of four layers is about 0.4 GFLOP
        found, tried = paced(monkeypatch, peak)
        assert [layers for layers, _ in tried] == [2, 4] and all(0 < row <= 16 for _, row in tried)
        assert (tried[0][1] < 16) == (rows < 16)
        assert found.micro == pytest.approx(0.01 * 8 * 16) and found.update == pytest.approx(0.1 * 8)


def test_what_cannot_be_tried_is_worked_out_with_its_update(monkeypatch: pytest.MonkeyPatch) -> None:
    found, tried = paced(monkeypatch, 1e6)
    assert not tried and found.micro > 0
    # qkv 384 x 128, out 128 x 128, the gated pair and the way down: five steps each
    assert found.update == pytest.approx(here.update_flops(CONFIG, "muon") / 0.6e6) and found.update > 0
    assert here.update_flops(CONFIG, "adamw") == 0


def test_what_the_c_library_takes_beside_is_more_among_gradients() -> None:
    def slack(micros: int, how: str = "none") -> float:
        asked: dict[str, Any] = {"precision": "fp32", "optimizer": "muon"}
        made = Layout(recompute=how)
        found = memory(CONFIG, made, 4, 64, micros, **asked)
        again = found.weights if how == "none" else 0  # the last checkpoint is read beside what is kept
        return (here.needs(CONFIG, made, 4, 64, micros, **asked) - again) / found.total

    assert 1 < slack(1) < slack(2)
    assert slack(2, "full") == pytest.approx(1)  # large blocks are given back
