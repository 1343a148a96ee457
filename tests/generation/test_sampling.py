"""Filters against closed forms, draws against the distribution they claim."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from groundup.errors import RequestError
from groundup.generation.sampling import (
    SamplingSettings,
    adjusted,
    filtered,
    keep_min_p,
    keep_top_k,
    keep_top_p,
    keep_typical,
    penalise_repetition,
    sample,
)

PLAIN = SamplingSettings(temperature=1.0, min_p=0.0)
logits = st.lists(st.floats(-8, 8, width=32), min_size=2, max_size=30, unique=True)


def kept(filtered_BV: torch.Tensor) -> list[int]:
    return [index for index, value in enumerate(filtered_BV[0].tolist()) if value != -math.inf]


def settings(**values: object) -> SamplingSettings:
    return SamplingSettings(**{"temperature": 1.0, "min_p": 0.0, **values})  # type: ignore[arg-type]


@given(logits, st.integers(1, 40))
def test_top_k_keeps_the_k_most_likely(scores: list[float], k: int) -> None:
    best = sorted(range(len(scores)), key=lambda i: -scores[i])[:k]
    assert kept(keep_top_k(torch.tensor([scores]).double(), k)) == sorted(best)


@given(logits, st.floats(0.01, 0.999))
def test_top_p_keeps_the_smallest_set_that_reaches_p(scores: list[float], p: float) -> None:
    weights = [math.exp(score) for score in scores]
    expected: set[int] = set()
    for index in sorted(range(len(scores)), key=lambda i: -scores[i]):
        if sum(weights[i] for i in expected) / sum(weights) >= p - 1e-12:
            break
        expected.add(index)
    assert kept(keep_top_p(torch.tensor([scores]).double(), p)) == sorted(expected)


@given(logits, st.floats(0.01, 1))
def test_min_p_keeps_what_is_at_least_p_times_the_best(scores: list[float], p: float) -> None:
    best = max(scores)
    assume(all(score == best or abs(math.exp(score - best) - p) > 1e-6 for score in scores))  # rounding decides
    expected = [i for i, score in enumerate(scores) if math.exp(score - best) >= p * (1 - 1e-9)]
    assert kept(keep_min_p(torch.tensor([scores]).double(), p)) == expected


@given(logits, st.floats(0.05, 0.99))
def test_typical_keeps_what_transformers_keeps(scores: list[float], p: float) -> None:
    from transformers import TypicalLogitsWarper

    row = torch.tensor([scores]).double()
    log = row.log_softmax(-1)
    apart = (-log - -(log.exp() * log).sum()).abs()[0].sort()
    mass = log.exp()[0][apart.indices].cumsum(0)
    if (apart.values.diff() < 1e-9).any() or ((mass - p).abs() < 1e-9).any():
        return  # a tie, or a sum that is p itself, which they decide otherwise
    assert kept(keep_typical(row, p)) == kept(TypicalLogitsWarper(p)(None, row))


def test_presence_and_frequency_are_taken_from_what_was_written() -> None:
    scores, counts = torch.tensor([[3.0, 2.0, 1.0]]), torch.tensor([[2.0, 1.0, 0.0]])
    assert adjusted(scores, settings(presence_penalty=0.5), None, counts).tolist() == [[2.5, 1.5, 1.0]]
    assert adjusted(scores, settings(frequency_penalty=0.5), None, counts).tolist() == [[2.0, 1.5, 1.0]]
    assert adjusted(scores, settings(logit_bias={2: 1.5, 0: -math.inf}), None, None).tolist() == [
        [-math.inf, 2.0, 2.5]
    ]


def test_the_short_cut_of_top_k_draws_what_the_long_way_draws() -> None:
    scores = torch.randn(64, 400, generator=torch.Generator().manual_seed(0)) * 3
    for chosen in (
        settings(top_k=20, top_p=0.9),
        settings(top_k=50, min_p=0.05),
        settings(top_k=8, typical_p=0.8),
    ):
        long = filtered(scores.double(), chosen).softmax(-1).cumsum(-1)
        uniform = torch.stack(
            [
                torch.rand(1, generator=torch.Generator().manual_seed(row), dtype=torch.float64)
                for row in range(64)
            ]
        )
        expected = torch.searchsorted(long, uniform * long[:, -1:], right=True).squeeze(-1)
        assert torch.equal(
            sample(scores, chosen, None, [torch.Generator().manual_seed(row) for row in range(64)]), expected
        )


def test_filters_work_in_the_stated_order() -> None:
    """Probabilities .4 .3 .2 .1: top-k 3 leaves .444 .333 .222, of which top-p .75 keeps two; the other way round three."""
    scores = torch.tensor([[0.4, 0.3, 0.2, 0.1]]).double().log()
    assert kept(filtered(scores, settings(top_k=3, top_p=0.75))) == [0, 1]
    assert kept(keep_top_k(keep_top_p(scores, 0.75), 3)) == [0, 1, 2]
    # temperature comes first: at 0.5 the squares 16 9 4 1 (of 30) rule, so the best alone reaches p = 0.5
    assert kept(filtered(scores, settings(temperature=0.5, top_p=0.5))) == [0]
    assert kept(filtered(scores, settings(top_p=0.5))) == [0, 1]


def test_top_p_stops_exactly_where_p_is_reached() -> None:
    assert kept(keep_top_p(torch.tensor([[0.25, 0.5, 0.25]]).double().log(), 0.5)) == [1]


def test_penalty_lowers_seen_tokens_of_either_sign_and_no_other() -> None:
    scores, seen = torch.tensor([[2.0, -2.0, 2.0, -2.0]]), torch.tensor([[True, True, False, False]])
    assert penalise_repetition(scores, seen, 2.0).tolist() == [[1.0, -4.0, 2.0, -2.0]]


def test_temperature_zero_is_the_most_likely_after_the_penalty() -> None:
    scores, seen = torch.tensor([[3.0, 2.0, 1.0]]), torch.tensor([[True, False, False]])
    assert sample(scores, settings(temperature=0.0, top_k=3), seen, []).tolist() == [0]
    assert sample(scores, settings(temperature=0.0, repetition_penalty=2.0), seen, []).tolist() == [1]


@pytest.mark.parametrize(
    "chosen",
    [
        settings(),
        settings(temperature=0.7),
        settings(top_p=0.8),
        settings(top_k=3, min_p=0.2),
        settings(typical_p=0.7),
    ],
)
def test_draws_follow_the_filtered_distribution(chosen: SamplingSettings) -> None:
    scores = torch.tensor([1.0, 0.5, 0.0, -0.5, -1.0, -2.0])
    expected = filtered(scores[None].double(), chosen).softmax(-1)[0]
    rows, rounds = 500, 40
    generators = [torch.Generator().manual_seed(row) for row in range(rows)]
    counts = torch.zeros(len(scores), dtype=torch.float64)
    for _ in range(rounds):
        counts += torch.bincount(
            sample(scores.expand(rows, -1), chosen, None, generators), minlength=len(scores)
        )
    possible = expected > 0
    assert counts[~possible].sum() == 0
    mean = expected[possible] * rows * rounds
    chi_square = float(((counts[possible] - mean) ** 2 / mean).sum())
    assert chi_square < 25.7  # the 0.9999 quantile at 5 degrees of freedom


def test_samples_have_unrelated_randomness_and_seeds_repeat() -> None:
    def numbers(n: int, seed: int | None) -> list[float]:
        return [float(torch.rand(1, generator=g)) for g in settings(seed=seed, n=n).generators()]

    assert numbers(3, 1) == numbers(5, 1)[:3]  # a sample does not depend on how many there are
    assert len(set(numbers(5, 1) + numbers(5, 2))) == 10  # neighbours' seeds share nothing
    assert numbers(1, None) != numbers(1, None)


@pytest.mark.parametrize(
    "wrong",
    [{"temperature": -1}, {"temperature": math.nan}, {"top_k": -1}, {"top_p": 0.0}, {"top_p": 1.5}, {"min_p": 2.0},
     {"repetition_penalty": 0.0}, {"stop": ("",)}, {"n": 0}, {"max_tokens": 0}],
)  # fmt: skip
def test_wrong_settings_are_refused_by_name(wrong: dict[str, object]) -> None:
    with pytest.raises(RequestError, match=next(iter(wrong))):
        settings(**wrong)
