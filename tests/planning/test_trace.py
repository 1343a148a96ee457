"""A process traced without numbers holds what the closed form says, and its state to the byte."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import pytest

from groundup.errors import RequestError
from groundup.models.config import ModelConfig, resolved
from groundup.planning.memory import memory
from groundup.planning.shapes import pieces
from groundup.planning.trace import Trace, trace
from groundup.recipe.parallel import Parallel
from groundup.tokens.loader import BatchPhase
from groundup.training.layout import Layout, layout

TIME, MICROS = 256, 8


def large(family: Any = "llama") -> ModelConfig:
    """Large enough that what a layer holds outweighs odds and ends."""
    return resolved(family, layers=8, width=1024, heads=16, context=TIME, vocabulary=8192)


def traced(config: ModelConfig, made: Layout, rank: int) -> Trace:
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(trace, config, made, rank, 4, TIME, MICROS).result(timeout=120)


@pytest.mark.parametrize("family, wish, processes, rank", [
    ("llama", {}, 1, 0),
    ("gpt2", {"tp": 2, "pp": 2, "zero": 1}, 8, 0),
    pytest.param("llama", {"zero": 3}, 8, 5, marks=pytest.mark.slow),
    pytest.param("falcon", {"tp": 4, "pp": 2, "zero": 2, "recompute": "selective"}, 16, 15, marks=pytest.mark.slow),
    pytest.param("llama", {"tp": 2, "pp": 4, "recompute": "full"}, 8, 2, marks=pytest.mark.slow),
    pytest.param("llama", {"tp": 2, "zero": 2}, 8, 3, marks=pytest.mark.slow),
], ids=str)  # fmt: skip
def test_the_formula_is_what_the_code_would_hold(family: str, wish: dict[str, Any], processes: int, rank: int) -> None:
    config = large(family)
    made = layout(Parallel(**wish), config, [BatchPhase(1, TIME, 4, MICROS * (processes // (wish.get("tp", 1) * wish.get("pp", 1))))], processes)
    found = traced(config, made, rank)
    pp_rank = rank // (made.dp * made.tp)
    formula = memory(config, made, 4, TIME, MICROS, pp_rank=pp_rank)
    assert found.peak == pytest.approx(formula.total, rel=0.15)
    assert found.optimizer == pytest.approx(formula.optimizer, rel=0.01)
    shards = made.dp if made.zero else 1
    own = sum(-(-piece.rows // shards) * (piece.numel // piece.rows) for piece in pieces(config, made, pp_rank))
    assert found.weights == pytest.approx(4 * own, rel=0.01)  # the tables of positions beside them


def test_what_cannot_be_traced_says_so() -> None:
    with pytest.raises(RequestError, match="--trace"):
        trace(resolved("moe", layers=2, width=64, heads=2, context=64, vocabulary=300), Layout(), 0, 1, 64, 1)
