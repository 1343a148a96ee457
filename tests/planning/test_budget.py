"""The plan follows the budget and the machine by stated rules, and is exact where the recipe is."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from groundup import recipe as recipes
from groundup.errors import GroundupError, RequestError
from groundup.models.config import ModelConfig
from groundup.planning import budget, hardware

MACHINE = {"cores": 2, "memory_gib": 24.0, "fp32_gflops": 150.0, "bf16_gflops": 5.0, "compiler": "g++"}
FIXED = {"model": {"layers": 2, "width": 64, "heads": 2, "context": 64}, "training": {"steps": 100, "batch_tokens": 512}}


@pytest.fixture(autouse=True)
def _measured_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine whose training steps reach 60 % of its peak, always."""

    def rate(config: ModelConfig, rows: int, precision: str, *, compiled: bool) -> float:
        return 0.6 * 150e9 / budget.training_flops_per_token(config)

    monkeypatch.setattr(budget, "tokens_per_second", rate)


def derived(train_tokens: int = 50_000_000, machine: dict[str, Any] = MACHINE, vocabulary: int = 4096, **sections: Any) -> dict[str, Any]:
    recipe = recipes.parse({"name": "x", "sources": [{"kind": "files", "path": "here"}], **sections})
    return budget.derive(recipe, vocabulary=vocabulary, train_tokens=train_tokens, machine=machine)


def test_a_fixed_recipe_gives_the_same_plan_on_any_machine() -> None:
    other = {**MACHINE, "cores": 64, "fp32_gflops": 120.0}
    plans = [derived(machine=machine, **FIXED) for machine in (MACHINE, other)]
    for plan in plans:
        for of_the_machine in ("machine", "peak_gflops", "reasons"):
            del plan[of_the_machine]
    assert plans[0] == plans[1]
    assert plans[0]["steps"] == 100 and plans[0]["measured_tokens_per_second"] is None


def test_a_larger_budget_trains_a_larger_model_within_its_time() -> None:
    sizes = []
    for minutes in (1, 10, 100, 1000):
        plan = derived(training={"minutes": minutes})
        sizes.append(plan["parameters"])
        seconds = plan["steps"] * plan["batch_tokens"] * plan["flops_per_token"] / (0.6 * 150e9)
        assert 0.85 * 60 * minutes < seconds <= 60 * minutes + plan["batch_tokens"]
        assert plan["steps"] * plan["batch_tokens"] >= 0.9 * budget.TOKENS_PER_PARAMETER * plan["parameters"] * 0.8
    assert sizes == sorted(sizes) and sizes[0] < sizes[-1]


def test_little_text_ends_the_run_before_the_budget() -> None:
    plan = derived(train_tokens=100_000, training={"minutes": 600, "max_epochs": 8})
    assert plan["steps"] * plan["batch_tokens"] == pytest.approx(800_000, rel=0.02)
    assert any("8 passes" in reason for reason in plan["reasons"])


def test_a_step_is_what_was_asked_or_an_error() -> None:
    plan = derived(model={"context": 64}, training={"steps": 10, "batch_tokens": 1024, "micro_batch": 4})
    assert (plan["micro_batch"], plan["micro_batches"], plan["batch_tokens"]) == (4, 4, 1024)
    with pytest.raises(RequestError, match=r"no multiple of the context 64.*Set it to 960 or 1024"):
        derived(model={"context": 64}, training={"steps": 10, "batch_tokens": 1000})
    with pytest.raises(RequestError, match="do not divide into micro-batches of 5"):
        derived(model={"context": 64}, training={"steps": 10, "batch_tokens": 1024, "micro_batch": 5})


def test_bf16_only_where_it_was_measured_faster() -> None:
    assert derived(**FIXED)["precision"] == "fp32"
    assert derived(machine={**MACHINE, "bf16_gflops": 400.0}, **FIXED)["precision"] == "bf16"
    assert derived(machine={**MACHINE, "bf16_gflops": 170.0}, **FIXED)["precision"] == "fp32"


def test_compile_only_where_it_pays_and_can() -> None:
    assert not derived(training={"minutes": 10})["compile"]
    assert derived(training={"minutes": 100})["compile"]
    assert not derived(training={"minutes": 100}, machine={**MACHINE, "compiler": None})["compile"]
    assert derived(training={"minutes": 1, "compile": True})["compile"]


def test_too_little_text_and_odd_shapes_are_refused() -> None:
    with pytest.raises(GroundupError, match="shorter than one context"):
        derived(train_tokens=100)
    with pytest.raises(RequestError, match="width 100 is not divisible by 3 heads"):
        derived(model={"width": 100, "heads": 3, "layers": 1}, training={"steps": 5})


def test_every_rung_of_the_ladder_is_sound_and_larger_than_the_one_before() -> None:
    sizes = [width * width * layers for layers, width, _ in budget.LADDER]
    assert sizes == sorted(set(sizes))
    for layers, width, heads in budget.LADDER:
        ModelConfig(vocabulary=512, context=64, layers=layers, width=width, heads=heads, kv_heads=heads, feedforward=width)


def test_the_probe_measures_something_plausible() -> None:
    rate = hardware.matmul_gflops(torch.float32, (256, 256, 256), 0.02)
    assert 0.1 < rate < 1e6


def test_a_real_step_is_timed(monkeypatch: pytest.MonkeyPatch, tiny: ModelConfig) -> None:
    monkeypatch.undo()
    assert budget.tokens_per_second(tiny, 2, "fp32", compiled=False) > 10
