"""What the closed form says a layer keeps is what autograd keeps; what it says a process holds is what its real code would."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from groundup.models.build import build
from groundup.models.config import Family, ModelConfig, resolved
from groundup.planning.memory import in_flight, korthikanti, memory, state_bytes, token_bytes
from groundup.planning.trace import Live, counted
from groundup.recipe.parallel import Parallel
from groundup.tokens.loader import BatchPhase
from groundup.training.layout import Layout, layout
from groundup.training.precision import Precision, autocast
from groundup.training.stage import layers_in, recompute
from groundup.training.task import measured_objective, random_batch

ROWS, TIME = 3, 128


def small(family: Family, **more: Any) -> ModelConfig:
    return resolved(family, **{"layers": 5, "width": 192, "heads": 6, "context": TIME, "vocabulary": 300, **({"ngram_rows": ()} if family == "fast" else {}), **more})


def kept(config: ModelConfig, precision: Precision, how: str) -> float:
    """Bytes a token that one more layer keeps, matrices' copies apart."""
    found = {}
    for layers in (1, 5):
        model = build(config.model_copy(update={"layers": layers}), seed=0)
        for layer in layers_in(model):
            recompute(layer, how)
        objective, batch = measured_objective(config), random_batch(config, ROWS, TIME)
        batch["segments"][:, TIME // 2 :] = 1
        torch.manual_seed(0)  # BERT hides the same tokens
        batch = objective.prepare(batch)
        live = Live()
        live.leave_out([*model.parameters(), *model.buffers(), *batch.values()])
        with live:
            with autocast(precision):
                sums = objective.sums(model, objective.states(model, batch), batch)
            casts = 2 * sum(p.numel() for p in model.parameters() if p.ndim == 2 and len(p) != 300) if precision == "bf16" and how == "none" else 0
            found[layers] = live.current - casts
        del sums
    return (found[5] - found[1]) / 4 / (ROWS * TIME)


@pytest.mark.parametrize("how", ["none", "selective", "full"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("family", ["llama", "fast", "gpt1", "gpt2", "falcon", "falcon-rw", "palm", "moe", "bert"])
def test_a_layer_keeps_what_the_closed_form_says(family: Family, precision: Precision, how: str) -> None:
    if how == "selective" and family == "moe":
        pytest.skip("a router's choice of tokens is kept by index, which no formula has")
    config = small(family)
    assert token_bytes(config, TIME, precision, recompute=how) == pytest.approx(kept(config, precision, how), rel=0.04)  # type: ignore[arg-type]


def test_kinds_without_a_closed_form_are_counted() -> None:
    layer, _ = counted(small("llama"), TIME)
    assert layer == pytest.approx(token_bytes(small("llama"), TIME, "fp32"), rel=0.03)
    for family in ("t5", "transformer", "xlnet"):
        plain, again = (counted(small(family), TIME, how=how)[0] for how in ("none", "full"))  # type: ignore[arg-type]
        assert plain > again > 0


def test_published_states_and_activations() -> None:
    assert [round(state_bytes(7.5e9, 64, zero) / 1e9, 1) for zero in range(4)] == [120, 31.4, 16.6, 1.9]
    assert korthikanti(1, 2048, 12_288, 96) / 2**30 == pytest.approx(2.672, abs=1e-3)
    assert korthikanti(1, 2048, 12_288, 96, 8, sequence=True, recompute="selective") == pytest.approx(34 * 2048 * 12_288 / 8)


def test_micro_batches_in_flight() -> None:
    def flying(schedule: str, rank: int, micros: int = 12, stages: int = 1) -> float:
        return in_flight(Layout(pp=4, schedule=schedule, stages=stages), micros, rank)

    assert [flying("1f1b", rank) for rank in range(4)] == [4, 3, 2, 1]
    assert flying("gpipe", 3) == 12 and in_flight(Layout(), 12, 0) == 1
    assert flying("interleaved-1f1b", 0, stages=2) == pytest.approx((2 * 3 + 4 + 1) / 2)
    assert flying("1f1b", 0, micros=2) == 2


def test_more_sharing_needs_less_and_more_micro_batches_no_less() -> None:
    config = small("llama", layers=8, width=512, heads=8)
    phases = [BatchPhase(1, TIME, 1, 16)]

    def total(**wish: Any) -> float:
        made = layout(Parallel(**wish), config, phases, 8)
        return memory(config, made, 1, TIME, 16 // made.dp, pp_rank=0).total

    assert total(zero=3) < total(zero=1) < total(zero=0)
    assert total(tp=2, zero=0) < total(zero=0)
    assert total(pp=4) < total()
    assert total(recompute="full") < total(recompute="selective") < total()
    assert torch.get_default_dtype() == torch.float32
