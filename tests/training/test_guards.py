"""What is a spike, what is divergence, and what is neither."""

from __future__ import annotations

import json
import math
import random

import pytest

from groundup.errors import GroundupError
from groundup.training.guards import SpikeGuard


def noisy(count: int, seed: int = 0) -> list[float]:
    draw = random.Random(seed)
    return [5 - 2 * step / count + draw.gauss(0, 0.1) for step in range(count)]


def test_ordinary_noise_is_never_a_spike() -> None:
    guard = SpikeGuard(6.0)
    assert [guard.reason_to_skip(loss, 1.0 + 0.1 * loss, step) for step, loss in enumerate(noisy(2000))] == [None] * 2000


@pytest.mark.parametrize(("loss", "norm", "named"), [(20.0, 1.0, "loss 20.000"), (3.0, 80.0, "gradient norm 80.000"), (math.nan, 1.0, "loss is nan"), (3.0, math.inf, "norm is inf")])
def test_a_spike_is_named_and_training_goes_on(loss: float, norm: float, named: str) -> None:
    guard = SpikeGuard(6.0)
    for step, value in enumerate(noisy(300)):
        assert guard.reason_to_skip(value, 1.0, step) is None
    reason = guard.reason_to_skip(loss, norm, 300)
    assert reason is not None and named in reason
    assert guard.skipped == 1 and not guard.climbing
    assert guard.reason_to_skip(3.0, 1.0, 301) is None


def test_the_first_steps_are_not_judged_but_for_what_is_no_number() -> None:
    guard = SpikeGuard(6.0)
    assert guard.reason_to_skip(100.0, 1.0, 0) is None
    assert guard.reason_to_skip(1.0, 1.0, 1) is None
    assert guard.reason_to_skip(math.nan, 1.0, 2) is not None


def test_without_sigmas_only_what_is_no_number() -> None:
    guard = SpikeGuard(None)
    for step in range(200):
        assert guard.reason_to_skip(1.0, 1.0, step) is None
    assert guard.reason_to_skip(30.0, 1.0, 200) is None


def test_a_slow_climb_is_divergence() -> None:
    guard = SpikeGuard(6.0)
    with pytest.raises(GroundupError, match=r"diverges: the loss rose from .* Lower training.learning_rate"):
        for step in range(2000):
            guard.reason_to_skip(3.0 + max(0, step - 300) * 0.01 + 0.05 * math.sin(step), 1.0, step)
    assert guard.climbing


def test_gradients_that_grow_for_good_are_followed() -> None:
    """A loss that leaves its plateau: the norm is seven times what it was, and stays there."""
    guard, draw = SpikeGuard(6.0), random.Random(0)
    skipped = [guard.reason_to_skip(3.0, (1 if step < 200 else 7) * draw.uniform(0.8, 1.2), step) is not None for step in range(400)]
    assert 1 <= sum(skipped) <= 6 and not any(skipped[210:])


def test_its_state_goes_through_json() -> None:
    guard, other = SpikeGuard(6.0), SpikeGuard(6.0)
    losses = noisy(400)
    for step, value in enumerate(losses[:200]):
        guard.reason_to_skip(value, value, step)
    other.load(json.loads(json.dumps(guard.state())))
    for step, value in enumerate(losses[200:]):
        assert guard.reason_to_skip(value, value, step) == other.reason_to_skip(value, value, step)
    assert guard.state() == other.state()
