"""The schedule against its closed form."""

import itertools
import math

import pytest

from groundup.training.schedules import cosine


def test_warm_up_is_linear_and_the_cosine_meets_its_ends() -> None:
    shares = [cosine(step, 110, 10, 0.1) for step in range(110)]
    assert shares[:10] == pytest.approx([(step + 1) / 10 for step in range(10)])
    assert shares[10] == pytest.approx(1.0)
    assert shares[60] == pytest.approx(0.55)  # half-way down
    assert shares[109] == pytest.approx(0.1 + 0.9 * (1 + math.cos(math.pi * 0.99)) / 2)
    assert all(later < earlier for earlier, later in itertools.pairwise(shares[10:]))


def test_a_single_step_is_fine() -> None:
    assert cosine(0, 1, 1, 0.1) == 1.0
    assert cosine(0, 1, 0, 0.1) == 1.0
