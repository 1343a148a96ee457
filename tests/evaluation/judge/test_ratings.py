"""Ratings: strengths that made the matches are found again; intervals hold them; closed forms for two models."""

from __future__ import annotations

import math

import numpy as np
import pytest

from groundup.errors import RequestError
from groundup.evaluation.judge.ratings import Match, bradley_terry, elo, expected

STRENGTHS = {"strong": 1150.0, "middle": 1000.0, "weak": 850.0}


def matches(questions: int, seed: int, ties: float = 0.2) -> list[Match]:
    draw = np.random.default_rng(seed)
    models = list(STRENGTHS)
    made = []
    for question in range(questions):
        for place, one in enumerate(models):
            for other in models[place + 1 :]:
                first, second = (one, other) if draw.random() < 0.5 else (other, one)
                share = expected(STRENGTHS[first], STRENGTHS[second])
                tie = min(ties, 2 * min(share, 1 - share))  # ties take as much from wins as from losses
                luck = draw.random()
                made.append(Match(str(question), first, second, 0.5 if luck < tie else float(luck < tie + share - tie / 2)))
    return made


@pytest.mark.parametrize("rate", [bradley_terry, elo])
def test_known_strengths_are_found(rate) -> None:
    ratings = rate(matches(600, seed=0), draws=50)
    assert [rating.model for rating in ratings] == ["strong", "middle", "weak"]
    for rating in ratings:
        assert rating.points == pytest.approx(STRENGTHS[rating.model], abs=40)
        assert rating.interval[0] < rating.points < rating.interval[1] and rating.matches == 1200
    assert sum(rating.points for rating in ratings) == pytest.approx(3000)


def test_intervals_hold_the_truth_most_of_the_time() -> None:
    held = 0
    for seed in range(40):
        for rating in bradley_terry(matches(60, seed), draws=100, seed=seed):
            held += rating.interval[0] <= STRENGTHS[rating.model] <= rating.interval[1]
    assert 0.88 <= held / 120 <= 1.0


def test_two_models_in_closed_form() -> None:
    """30 wins, 10 losses; with the drawn match of each against the mean: symmetric, so points are 1000 +- d, and d solves the equation."""
    played = [Match(str(n), "a", "b", float(n < 30)) for n in range(40)]
    high, low = bradley_terry(played, draws=10)
    d = high.points - 1000
    assert (high.model, low.points) == ("a", pytest.approx(1000 - d))
    strength = 10 ** (d / 400)
    assert 40 * strength / (strength + 1 / strength) + strength / (strength + 1) == pytest.approx(30.5, abs=1e-3)


def test_whoever_never_lost_stays_finite() -> None:
    ratings = bradley_terry([Match(str(n), "a", "b", 1.0) for n in range(20)], draws=20)
    assert all(math.isfinite(rating.points) for rating in ratings) and ratings[0].model == "a"


def test_order_does_not_matter_to_bradley_terry() -> None:
    played = matches(30, seed=3)
    forwards, backwards = bradley_terry(played, draws=5), bradley_terry(played[::-1], draws=5)
    assert [rating.points for rating in forwards] == pytest.approx([rating.points for rating in backwards], abs=1e-4)


def test_the_scale_is_that_of_chess() -> None:
    assert expected(1400, 1000) == pytest.approx(10 / 11) and expected(1000, 1000) == 0.5 and expected(1100, 1000) == pytest.approx(0.64, abs=0.001)


@pytest.mark.parametrize("wrong", [[], [Match("1", "a", "a", 1.0)], [Match("1", "a", "b", 0.7)]])
def test_no_matches(wrong) -> None:
    with pytest.raises(RequestError):
        bradley_terry(wrong)
