"""Each schedule against its closed form, and one-cycle against torch's own."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from groundup.training.schedules import Kind, Schedule, Shape

KINDS: tuple[Kind, ...] = ("constant", "step", "exponential", "linear", "cosine", "inverse_sqrt", "wsd", "one_cycle")


def course(schedule: Schedule, steps: int = 200) -> list[float]:
    return [schedule(step / steps, (step + 1) / steps) for step in range(steps)]


@pytest.mark.parametrize("kind", KINDS)
def test_every_schedule_warms_up_to_the_peak_and_stays_within_it(kind: Kind) -> None:
    shares = course(Schedule(kind, warmup=0.1, final_share=0.1))
    assert all(0 < share <= 1 for share in shares)
    assert max(shares) == pytest.approx(1.0)
    assert all(earlier < later for earlier, later in itertools.pairwise(shares[:19]))
    if kind != "one_cycle":
        assert shares[:19] == pytest.approx([(step + 1) / 20 for step in range(19)])


@pytest.mark.parametrize("kind", KINDS)
def test_none_rises_after_its_peak(kind: Kind) -> None:
    shares = course(Schedule(kind, warmup=0.1, final_share=0.1))
    assert all(later <= earlier + 1e-12 for earlier, later in itertools.pairwise(shares[20:]))


def test_constant() -> None:
    assert set(course(Schedule("constant", warmup=0.0))) == {1.0}


def test_step_drops_by_its_factor_at_its_places() -> None:
    shares = course(Schedule("step", warmup=0.0, step_at=(0.25, 0.5), step_factor=0.2))
    assert shares == pytest.approx([1.0] * 50 + [0.2] * 50 + [0.04] * 100)


def test_exponential_loses_the_same_factor_each_step() -> None:
    shares = course(Schedule("exponential", warmup=0.0, final_share=0.01))
    assert [later / earlier for earlier, later in itertools.pairwise(shares)] == pytest.approx([0.01 ** (1 / 200)] * 199)
    assert shares[-1] == pytest.approx(0.01 ** (199 / 200))


def test_linear_is_a_line_to_the_final_share() -> None:
    shares = course(Schedule("linear", warmup=0.0, final_share=0.2))
    assert shares == pytest.approx([1 - 0.8 * step / 200 for step in range(200)])


def test_cosine_meets_its_ends_and_its_middle() -> None:
    shares = course(Schedule("cosine", warmup=0.0, final_share=0.1))
    assert (shares[0], shares[100]) == pytest.approx((1.0, 0.55))
    assert shares[199] == pytest.approx(0.1 + 0.9 * (1 + math.cos(math.pi * 199 / 200)) / 2)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    torchs = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 200, eta_min=0.1)
    for share in shares:
        assert share == pytest.approx(torchs.get_last_lr()[0])
        optimizer.step()
        torchs.step()


def test_inverse_sqrt_is_vaswanis() -> None:
    warm, steps = 40, 200
    shares = course(Schedule("inverse_sqrt", warmup=warm / steps), steps)
    expected = [min((step + 1) ** -0.5, (step + 1) * warm**-1.5) for step in range(steps)]  # section 5.3, but for d_model
    assert shares == pytest.approx([value / warm**-0.5 for value in expected])


@pytest.mark.parametrize(
    ("shape", "middle"), [("linear", 0.55), ("sqrt", 1 - 0.9 * math.sqrt(0.5)), ("cosine", 0.55)]
)
def test_wsd_is_flat_and_then_cools_down_in_its_shape(shape: Shape, middle: float) -> None:
    shares = course(Schedule("wsd", warmup=0.1, final_share=0.1, cooldown=0.4, cooldown_shape=shape))
    assert shares[19:121] == pytest.approx([1.0] * 102)
    assert shares[160] == pytest.approx(middle)
    assert Schedule("wsd", 0.1, 0.1, 0.4, shape)(1.0, 1.0) == pytest.approx(0.1)


def test_one_cycle_is_torchs() -> None:
    steps, rise = 101, 0.3
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    torchs = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=1.0, total_steps=steps, pct_start=(rise * 100 + 1) / steps, final_div_factor=40.0, cycle_momentum=False
    )
    ours = Schedule("one_cycle", warmup=rise, final_share=1 / 1000)
    for step in range(steps):
        assert ours(step / 100, (step + 1) / 100) == pytest.approx(torchs.get_last_lr()[0], abs=1e-9)
        optimizer.step()
        if step + 1 < steps:
            torchs.step()


@pytest.mark.parametrize("kind", KINDS)
def test_a_single_step_is_at_the_peak_or_starts_a_cycle(kind: Kind) -> None:
    share = Schedule(kind, warmup=0.3)(0.0, 1.0)
    assert share == pytest.approx(1 / 25 if kind == "one_cycle" else 1.0)


def test_progress_by_tokens_not_steps() -> None:
    """Half the tokens in large steps: the schedule is half-way when half the tokens are seen."""
    schedule = Schedule("linear", warmup=0.0, final_share=0.0)
    assert schedule(0.5, 0.51) == pytest.approx(0.5)
