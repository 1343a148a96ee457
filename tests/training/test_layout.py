"""Plans that cannot be are refused before anything starts, with the nearest that can."""

from __future__ import annotations

from typing import Any

import pytest

from groundup.errors import RequestError
from groundup.models.config import resolved
from groundup.models.presets import named
from groundup.recipe.parallel import Parallel
from groundup.tokens.loader import BatchPhase
from groundup.training.layout import cuts, layout

LLAMA: dict[str, Any] = {"vocabulary": 64, "context": 16, "layers": 4, "width": 32, "heads": 4}


def planned(world: int, parallel: dict[str, Any], family: str = "llama", micros: int = 8, **more: Any) -> Any:
    config = resolved(family, **{**LLAMA, **more})  # type: ignore[arg-type]
    return layout(Parallel(**parallel), config, [BatchPhase(1, config.context, 2, micros)], world)


@pytest.mark.parametrize(
    "world, parallel, more, words",
    [
        (8, {"tp": 8}, {"heads": 71, "width": 71 * 64}, "71 heads do not go evenly over 8 processes. Set 1 (a prime number: only 1 fits)"),
        (8, {"tp": 8}, {"heads": 12, "width": 96, "feedforward": 256}, "Set 6"),
        (3, {"tp": 3}, {"heads": 6, "width": 48, "kv_heads": 2}, "2 kv_heads go neither evenly over 3"),
        (2, {"tp": 2}, {"feedforward": 97}, "Set model.feedforward=96"),
        (3, {}, {"micros": 8}, "8 micro-batches, no multiple of dp 3. Set training.batch_tokens to 288"),
        (8, {"pp": 8}, {}, "8 x 1 stages for 4 layers. Set parallel.pp=4"),
        (4, {"pp": 4, "schedule": "zbv"}, {}, "4 x 2 stages for 4 layers. Set parallel.pp=2"),
        (6, {"tp": 4}, {}, "6 processes for tp 4 x pp 1"),
        (1, {"tp": 2}, {}, "1 process for tp 2 x pp 1. Start a multiple of 2: torchrun --nproc-per-node 2"),
        (8, {"dp": 4}, {}, "Start 4 processes or set parallel.dp=8"),
        (4, {"ep": 2}, {}, "has no experts"),
        (4, {"ep": 4}, {"family": "moe", "experts": 6}, "6 experts do not go evenly over 4 processes. Set 3"),
        (4, {"replicate": 3}, {}, "3 copies do not divide dp 4. Set 2"),
        (2, {"pp": 2, "schedule": "zero-bubble", "zero": 3}, {}, "Set 2, or choose 1f1b"),
        (2, {"pp": 2}, {"family": "xlnet"}, "Use dp with parallel.zero"),
        (4, {"pp": 4, "schedule": "dualpipe-v"}, {"micros": 4, "layers": 8}, "dualpipe-v needs 8 micro-batches"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_with_the_nearest(world: int, parallel: dict[str, Any], more: dict[str, Any], words: str) -> None:
    with pytest.raises(RequestError) as refused:
        planned(world, parallel, **more)
    assert words in str(refused.value)


def test_falcon_40b_as_it_was_trained() -> None:
    falcon = named("falcon-40b", "model.like")
    config = resolved("falcon", **{"context": 2048, "vocabulary": 65_024, **falcon.model})
    plan = layout(Parallel(tp=8, pp=4, zero=1), config, [BatchPhase(1, 2048, 1, 12 * 96)], 384)
    assert (plan.tp, plan.pp, plan.dp, plan.world) == (8, 4, 12, 384)
    assert len(plan.cuts) == 3


def test_one_process_needs_no_plan() -> None:
    assert not planned(1, {}).cut
    assert not planned(4, {}).cut  # copies that add up their gradients
    assert planned(4, {"zero": 1}).cut


def test_a_run_that_goes_on_may_have_any_number_of_processes() -> None:
    config = resolved("llama", **LLAMA)
    assert layout(Parallel(), config, [BatchPhase(1, 16, 2, 8)], 3, begun=True).dp == 3


def test_stages_are_cut_by_cost() -> None:
    even = resolved("llama", **{**LLAMA, "layers": 12})
    assert cuts(even, 4) == (3, 6, 9)
    head = resolved("llama", **{**LLAMA, "layers": 12, "vocabulary": 1024})  # a head as dear as three layers
    assert cuts(head, 4)[-1] > 9
    t5 = resolved("t5", **{**LLAMA, "layers": 6})
    assert cuts(t5, 2)[0] > 6  # decoder layers look at the source too, the encoder's half is longer
