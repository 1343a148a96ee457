"""A model spread over processes computes what one process computes: weights after three steps, in float64."""

from __future__ import annotations

from typing import Any

import pytest
from together import compare, together

SAME = 1e-9
PIPELINES = ("gpipe", "1f1b", "interleaved-1f1b", "looped-bfs", "zero-bubble", "zbv", "dualpipe-v")
Case = tuple[str, dict[str, Any], int, int, str]
"""Family, plan, processes, micro-batches, optimizer."""

QUICK: list[Case] = [
    ("llama", {"zero": 3}, 2, 4, "adamw"),
    ("llama", {"zero": 1}, 2, 4, "muon"),
    ("llama", {"tp": 2, "sequence": False}, 2, 2, "adamw"),
    ("llama", {"tp": 2}, 2, 2, "adamw"),
    ("llama", {"tp": 4}, 4, 1, "muon"),  # more processes than kv-heads
    ("falcon", {"tp": 2}, 2, 1, "adamw"),
    ("bert", {"tp": 2}, 2, 1, "adamw"),
    ("t5", {"tp": 2}, 2, 1, "adamw"),
    *(("llama", {"pp": 2, "schedule": schedule}, 2, 4, "adamw") for schedule in PIPELINES),
    ("fast", {"pp": 2, "schedule": "zbv"}, 2, 4, "muon"),
    ("bert", {"pp": 2}, 2, 2, "adamw"),
    ("t5", {"pp": 4}, 4, 4, "adamw"),
    ("moe", {"ep": 2}, 2, 2, "adamw"),
    ("moe", {"pp": 2, "schedule": "zero-bubble"}, 2, 4, "adamw"),
    ("llama", {"zero": 2}, 2, 3, "adamw"),  # one process has a micro-batch less
    ("llama", {"tp": 2, "recompute": "full"}, 2, 1, "adamw"),
    ("llama", {"zero": 3, "recompute": "selective"}, 2, 2, "adamw"),
    ("llama", {"pp": 2, "tp": 2, "zero": 2}, 8, 4, "adamw"),
]
SLOW: list[Case] = [
    *((family, {"tp": 2}, 2, 2, "adamw") for family in ("gpt1", "gpt2", "gpt3", "fast", "falcon-rw", "palm", "moe", "transformer")),
    *((family, {"tp": 2, "sequence": False}, 2, 2, "adamw") for family in ("gpt2", "falcon", "fast", "moe", "bert")),
    *((family, {"zero": 3}, 2, 2, "adamw") for family in ("gpt2", "fast", "moe", "bert", "t5", "transformer", "xlnet")),
    *((family, {"pp": 2}, 2, 2, "adamw") for family in ("gpt2", "falcon", "palm", "fast", "moe", "transformer", "t5")),
    *(("llama", {"pp": 2, "zero": 2, "schedule": schedule}, 4, 8, "adamw") for schedule in PIPELINES),
    *(("llama", {"pp": 2, "zero": 3, "schedule": schedule}, 4, 8, "adamw") for schedule in ("gpipe", "1f1b", "interleaved-1f1b", "looped-bfs")),
    *(("llama", {"pp": 2, "tp": 2, "schedule": schedule}, 4, 4, "adamw") for schedule in PIPELINES),
    *((family, {"pp": 2, "tp": 2, "zero": 2}, 8, 4, "adamw") for family in ("gpt2", "falcon", "bert", "t5", "moe")),
    ("fast", {"pp": 2, "tp": 2, "zero": 2, "schedule": "zbv"}, 8, 4, "muon"),
    ("llama", {"pp": 2, "tp": 2, "zero": 3, "schedule": "interleaved-1f1b"}, 8, 8, "muon"),
    ("llama", {"zero": 3, "replicate": 2}, 4, 4, "adamw"),
    ("moe", {"ep": 2, "zero": 2}, 2, 4, "adamw"),
    ("moe", {"ep": 2, "zero": 3}, 4, 4, "adamw"),
    ("moe", {"ep": 2, "zero": 2, "replicate": 2}, 4, 4, "adamw"),
    ("moe", {"ep": 2, "tp": 2}, 4, 4, "adamw"),
    ("moe", {"ep": 2, "tp": 2, "pp": 2, "zero": 2}, 8, 4, "adamw"),
    ("moe", {"tp": 2, "recompute": "selective"}, 2, 2, "adamw"),
    *(("llama", {"zero": 2}, 2, 2, optimizer) for optimizer in ("sgd", "lion", "adam")),
]


def named(case: Case) -> str:
    family, plan, size, _, optimizer = case
    return f"{family}-{'-'.join(f'{name}{value}' for name, value in plan.items())}-on{size}-{optimizer}"


def check(case: Case) -> None:
    family, plan, size, micros, optimizer = case
    weights, losses = together(size, compare, family, plan, micros, optimizer, {})[0]
    assert weights < SAME
    assert losses < (1e-7 if family == "moe" else SAME)  # routers' losses are in float32


@pytest.mark.parametrize("case", QUICK, ids=named)
def test_many_processes_compute_what_one_does(case: Case) -> None:
    check(case)


@pytest.mark.slow
@pytest.mark.parametrize("case", SLOW, ids=named)
def test_every_axis_with_every_other(case: Case) -> None:
    check(case)


@pytest.mark.parametrize("family, more", [("llama", {"parallel": "two-norms"}), ("llama", {"residual": "rezero"}), ("llama", {"position": "relative"}),
                                          ("gpt2", {"windows": (0, 4)}), ("llama", {"tied": False}),
                                          ("llama", {"qk_norm_scale": True, "attention_bias": "qkv"})], ids=str)  # fmt: skip
def test_parts_that_few_families_have(family: str, more: dict[str, Any]) -> None:
    weights, losses = together(4, compare, family, {"pp": 2, "tp": 2}, 2, "adamw", more)[0]
    assert weights < SAME
    assert losses < SAME


def test_norms_of_queries_and_keys_learn_from_all_heads() -> None:
    """Each process has some heads and the whole scale; more processes than kv-heads too, and a stream that is not cut."""
    for plan, size in (({"tp": 2, "sequence": False}, 2), ({"tp": 4}, 4)):
        weights, losses = together(size, compare, "llama", plan, 1, "adamw", {"qk_norm_scale": True})[0]
        assert weights < SAME
        assert losses < SAME
