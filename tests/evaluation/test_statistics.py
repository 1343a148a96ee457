"""Intervals cover what they promise to cover, in simulations of known truth; the bootstrap against closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest

from groundup.errors import RequestError
from groundup.evaluation.scoring import mean
from groundup.evaluation.statistics import normal, paired, resampled_means, wilson


@pytest.mark.parametrize(("accuracy", "items"), [(0.25, 400), (0.5, 100), (0.7, 1000), (0.9, 400)])
def test_95_per_cent_of_intervals_hold_the_truth(accuracy: float, items: int) -> None:
    """2,000 evaluations of a model whose accuracy is known; 95 % +- 2 (four standard errors of the share)."""
    draw = np.random.default_rng(items)
    by_error = by_wilson = 0
    for right in draw.random((2000, items)) < accuracy:
        figure = mean(right.astype(float).tolist())
        low, high = normal(figure.value, figure.standard_error)
        by_error += low <= accuracy <= high
        low, high = wilson(int(right.sum()), items)
        by_wilson += low <= accuracy <= high
    assert 0.93 <= by_error / 2000 <= 0.97
    assert 0.93 <= by_wilson / 2000 <= 0.97


def test_wilson_near_the_ends_and_against_its_formula() -> None:
    assert wilson(0, 10)[0] == 0.0 and wilson(10, 10)[1] == 1.0 and wilson(0, 10)[1] < 0.31
    low, high = wilson(15, 20)  # the ends solve |p - 0.75| = z sqrt(p (1 - p) / n)
    for end in (low, high):
        assert abs(end - 0.75) == pytest.approx(1.959964 * math.sqrt(end * (1 - end) / 20), rel=1e-5)
    with pytest.raises(ValueError):
        wilson(3, 2)


def test_a_paired_interval_covers_the_true_difference() -> None:
    """Two models that share most of their luck: 300 pairs of evaluations, difference 0.03."""
    draw = np.random.default_rng(1)
    held = 0
    for seed in range(300):
        luck = draw.random(300)
        other = np.where(draw.random(300) < 0.7, luck, draw.random(300))
        found = paired((luck < 0.53).astype(float).tolist(), (other < 0.50).astype(float).tolist(), draws=400, seed=seed)
        held += found.interval[0] <= 0.03 <= found.interval[1]
    assert 0.91 <= held / 300 <= 0.985


def test_paired_is_surer_than_apart() -> None:
    draw = np.random.default_rng(2)
    first = (draw.random(1000) < 0.6).astype(float)
    second = first.copy()
    second[:40] = 0.0  # wrong in up to forty more
    found = paired(first.tolist(), second.tolist())
    assert found.certain and found.p_value < 0.01 and found.value == pytest.approx(first.mean() - second.mean())
    apart = math.hypot(mean(first.tolist()).standard_error, mean(second.tolist()).standard_error)
    assert 1.96 * apart > found.value  # the two intervals overlap


def test_equal_models_do_not_differ() -> None:
    values = [0.0, 1.0] * 50
    found = paired(values, values)
    assert found.value == 0 and found.interval == (0.0, 0.0) and not found.certain and found.p_value == 1.0


def test_resampling_has_the_spread_of_the_standard_error() -> None:
    values = np.random.default_rng(3).random(500)
    means = resampled_means(values, 4000, seed=0)
    assert len(means) == 4000 and means.std() == pytest.approx(mean(values.tolist()).standard_error, rel=0.05)


def test_different_items_are_not_compared() -> None:
    with pytest.raises(RequestError, match="item by item"):
        paired([1.0], [1.0, 0.0])
