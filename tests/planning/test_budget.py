"""The plan follows the budget and the machine by stated rules, and is exact where the recipe is."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from groundup import recipe as recipes
from groundup.errors import GroundupError, RequestError
from groundup.models.config import ModelConfig
from groundup.planning import budget, hardware, here
from groundup.training.optimizers import OptimizerSettings

MACHINE = {"cores": 2, "memory_gib": 24.0, "fp32_gflops": 150.0, "bf16_gflops": 5.0, "compiler": "g++"}
FIXED = {"model": {"layers": 2, "width": 64, "heads": 2, "context": 64}, "training": {"steps": 100, "batch_tokens": 512}}


@pytest.fixture(autouse=True)
def _measured_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine whose training steps reach 60 % of its peak, always, and which compiles for 20 s."""

    def rate(config: ModelConfig, *arguments: object, compiles: bool, **options: object) -> tuple[float, float]:
        return 0.6 * 150e9 / budget.training_flops_per_token(config), 20.0 if compiles else 0.0

    monkeypatch.setattr(budget, "tokens_per_second", rate)
    monkeypatch.setattr(here, "free_bytes", lambda: 1e15)
    monkeypatch.setattr(here, "pace", lambda *_, **__: here.Pace(0.1, 0.01))


def derived(train_tokens: int = 50_000_000, machine: dict[str, Any] = MACHINE, vocabulary: int = 4096, **sections: Any) -> dict[str, Any]:
    recipe = recipes.parse({"name": "x", "sources": [{"kind": "files", "path": "here"}], **sections})
    return budget.derive(recipe, vocabulary=vocabulary, train_tokens=train_tokens, machine=machine)


def test_a_fixed_recipe_gives_the_same_plan_on_any_machine() -> None:
    other = {**MACHINE, "cores": 64, "fp32_gflops": 120.0}
    plans = [derived(machine=machine, **FIXED) for machine in (MACHINE, other)]
    for plan in plans:
        for of_the_machine in ("machine", "peak_gflops", "reasons", "predicted_memory_gib"):
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
    assert not derived(training={"minutes": 4})["compile"]
    assert derived(training={"minutes": 100})["compile"]
    assert not derived(training={"minutes": 100}, machine={**MACHINE, "compiler": None})["compile"]
    assert derived(training={"minutes": 1, "compile": True})["compile"]


def test_compiling_is_part_of_the_minutes() -> None:
    fixed = {"layers": 2, "width": 64, "heads": 2}
    whole, less = (derived(model=fixed, training={"minutes": 10, "compile": compiles})["tokens"] for compiles in (False, True))
    assert less / whole == pytest.approx(1 - 25 / 600, abs=0.002)


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
    assert budget.tokens_per_second(tiny, 2, 16, 1, "fp32", OptimizerSettings(), compiles=False)[0] > 10


def test_each_family_is_what_the_recipe_and_the_family_say() -> None:
    plain = derived(training={"steps": 5})["model"]
    assert (plain["family"], plain["activation"], plain["tied"], plain["ngram_rows"]) == ("llama", "swiglu", True, ())
    fast = derived(model={"family": "fast", "width": 128, "layers": 2}, training={"steps": 5})["model"]
    assert (fast["activation"], fast["tied"], fast["qk_norm"], fast["feedforward"]) == ("relu2", False, True, 512)
    assert fast["ngram_rows"] == (262_144, 262_144)
    letters = derived(vocabulary=267, model={"family": "fast", "width": 128, "layers": 2}, training={"steps": 5})["model"]
    assert letters["ngram_rows"] == (131_072,) * 4
    for train_tokens, rate in ((50_000_000, 0.1), (1000, 0.01)):
        plan = derived(train_tokens, model={"family": "fast", "width": 128, "layers": 2, "context": 64}, training={"steps": 50, "batch_tokens": 512})
        assert plan["optimizer"]["sparse_learning_rate"] == rate
    changed = derived(model={"family": "fast", "softcap": 5, "tied": True, "ngram_rows": [100], "dropout": 0.1}, training={"steps": 5})["model"]
    assert (changed["softcap"], changed["tied"], changed["ngram_rows"]) == (5, True, (100,))
    assert changed["embedding_dropout"] == changed["attention_dropout"] == changed["residual_dropout"] == 0.1


def test_phases_share_the_tokens_and_each_step_is_what_was_asked() -> None:
    phases = [{"until": 0.25, "batch_tokens": 512, "context": 16}, {"until": 1.0, "batch_tokens": 1024}]
    plan = derived(model={"context": 64}, training={"minutes": 1, "phases": phases})
    first, second = plan["phases"]
    assert (first["context"], first["rows"] * first["micro_batches"]) == (16, 32)
    assert (second["context"], second["rows"] * second["micro_batches"]) == (64, 16)
    assert first["steps"] * 512 / plan["tokens"] == pytest.approx(0.25, abs=0.01)
    assert plan["steps"] == first["steps"] + second["steps"]
    with pytest.raises(RequestError, match="no divisor of the model's 64"):
        derived(model={"context": 64}, training={"steps": 5, "phases": [{"until": 1.0, "context": 24}]})
    with pytest.raises(RequestError, match=r"phases end at .*must rise and the last one end at 1"):
        derived(training={"phases": [{"until": 0.5}, {"until": 0.4}]})


def test_the_largest_batch_is_found_by_trying(monkeypatch: pytest.MonkeyPatch, tiny: ModelConfig) -> None:
    """A machine whose memory takes up to 16 rows: the try that would not fit is not made."""
    tried: list[int] = []
    taken = [0]

    class Usage:
        @property
        def ru_maxrss(self) -> int:
            return taken[0]

    def batch(config: ModelConfig, rows: int, context: int, seed: int = 0) -> dict[str, torch.Tensor]:
        tried.append(rows)
        taken[0] += rows * 1024  # 1 MiB a row
        return real(config, rows, context)

    real = budget.random_batch
    monkeypatch.setattr(budget, "random_batch", batch)
    monkeypatch.setattr(budget.resource, "getrusage", lambda who: Usage())
    monkeypatch.setattr(budget.psutil, "virtual_memory", lambda: type("Memory", (), {"available": 30 * 2**20}))
    assert budget.most_rows(tiny, "fp32") == 16
    assert tried == [1, 2, 4, 8, 16]  # 16 takes twice the 8 MiB of the last, within 70 % of 30; 32 would not fit


def test_auto_fills_a_step_with_what_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budget, "most_rows", lambda config, precision: 32)
    plan = derived(model={"context": 64}, training={"steps": 5, "batch_tokens": "auto"})
    assert (plan["batch_tokens"], plan["micro_batch"], plan["micro_batches"]) == (2048, 32, 1)
    plan = derived(model={"context": 64}, training={"steps": 5, "batch_tokens": 8192, "micro_batch": "auto"})
    assert (plan["micro_batch"], plan["micro_batches"]) == (32, 4)


def test_what_does_not_fit_is_refused_with_what_would(monkeypatch: pytest.MonkeyPatch) -> None:
    config = {"layers": 8, "width": 512, "heads": 8, "context": 512}
    wish = {"model": config, "training": {"steps": 10, "batch_tokens": 32 * 512, "micro_batch": 32}}
    enough = derived(**wish)  # type: ignore[arg-type]
    assert enough["predicted_seconds"] == pytest.approx(10 * 0.11) and enough["predicted_memory_gib"] > 1
    monkeypatch.setattr(here, "free_bytes", lambda: 2.0 * 2**30)
    with pytest.raises(RequestError) as refused:
        derived(**wish)  # type: ignore[arg-type]
    assert "GiB" in str(refused.value)
    advice = str(refused.value)
    assert "training.micro_batch=" in advice or "parallel.recompute=" in advice
    if "parallel.recompute=" in advice:
        derived(**wish, parallel={"recompute": advice.split("parallel.recompute=")[1].split(":")[0].split()[0]})  # type: ignore[arg-type]
    monkeypatch.setattr(here, "free_bytes", lambda: 1000.0)
    with pytest.raises(RequestError, match="smaller model"):
        derived(**wish)  # type: ignore[arg-type]
