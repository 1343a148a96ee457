"""The budget: an order decided beforehand, lots that are finished once begun, a sample without bias."""

from __future__ import annotations

import random
import statistics

import pytest

from groundup.evaluation.budget import FIRST, LARGEST, WHOLE, lots, order


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def asked(items: int, seconds: float | None, seed: int, cost) -> list[int]:
    """Places asked where a place takes `cost(place)` seconds."""
    clock, found = Clock(), []
    for lot in lots(items, seconds, seed, clock=clock):
        found += lot
        clock.now += sum(map(cost, lot))
    return found


def test_without_a_limit_all_are_asked_in_their_own_order() -> None:
    assert asked(WHOLE + 10, None, 0, lambda place: 1.0) == list(range(WHOLE + 10))


def test_the_order_depends_on_the_seed_and_the_number_alone() -> None:
    assert order(100, 1) == order(100, 1) != order(100, 2)
    assert sorted(order(100, 1)) == list(range(100))
    short, long = asked(5000, 3.0, 1, lambda place: 0.01), asked(5000, 9.0, 1, lambda place: 0.01)
    assert order(5000, 1)[: len(long)] == long and long[: len(short)] == short


@pytest.mark.parametrize("seconds", [0.1, 1.0, 5.0, 20.0])
def test_the_time_is_kept_and_used(seconds: float) -> None:
    spent = len(asked(10_000, seconds, 3, lambda place: 0.002)) * 0.002
    assert spent <= max(seconds * 1.001, FIRST * 0.002) and spent > 0.95 * min(seconds, 20.0) - 0.01


def test_the_first_lot_is_asked_whatever_the_time() -> None:
    assert len(asked(1000, 0.001, 0, lambda place: 1.0)) == FIRST
    assert len(asked(3, 0.001, 0, lambda place: 1.0)) == 3
    assert max(map(len, lots(10**5, 10**9, 0, clock=Clock()))) <= LARGEST


def test_the_sample_is_unbiased_though_right_answers_take_longer() -> None:
    """Right items take ten times the time: a sample that dropped what was not ready in time would have too few of them."""
    draw = random.Random(0)
    right = [draw.random() < 0.4 for _ in range(2000)]
    truth = statistics.fmean(right)
    means = [statistics.fmean(right[place] for place in asked(2000, 4.0, seed, lambda place: 0.1 if right[place] else 0.01)) for seed in range(400)]
    error = statistics.stdev(means) / len(means) ** 0.5
    assert abs(statistics.fmean(means) - truth) < 4 * error + 0.01
