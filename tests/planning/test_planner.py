"""The planner says what published runs took, finds layouts that fit, and turns money into a model."""

from __future__ import annotations

import itertools
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from groundup.errors import RequestError
from groundup.models.presets import PRESETS
from groundup.planning import answer, devices
from groundup.planning.compute_optimal import EPOCH, HOFFMANN, shape
from groundup.planning.devices import DEVICES, device
from groundup.planning.known import known, table
from groundup.planning.memory import memory
from groundup.planning.planner import USABLE, Job, active_parameters, best, figures, one, settle
from groundup.recipe.parallel import Parallel
from groundup.report.plan import one_forward_one_backward


@pytest.mark.parametrize("row", list(known()), ids=lambda row: row.what)
def test_published_figures_come_out_within_two_percent(row: object) -> None:
    assert abs(row.off) <= 0.02  # type: ignore[attr-defined]


def test_the_docs_show_the_table_as_it_is() -> None:
    page = (Path(__file__).parents[2] / "docs" / "planning.md").read_text()
    assert table() in page and devices.table() in page


def falcon(**more: object) -> Job:
    return replace(Job("falcon-40b", PRESETS["falcon-40b"].config(), device("a100-40gb"), 384, 1e12, 1152 * 2048), **more)  # type: ignore[arg-type]


def test_best_is_no_slower_than_what_falcon_ran_and_fits() -> None:
    job = falcon()
    theirs = one(job, Parallel(tp=8, pp=4, dp=12, zero=1), 1)
    found = best(job)
    assert theirs.fits and theirs.layout.dp == 12 and theirs.micros == 96
    assert all(plan.fits and plan.memory.total <= USABLE * 40 * 2**30 for plan in found)
    rates = [plan.tokens_a_step / plan.time.total for plan in found]
    assert rates == sorted(rates, reverse=True) and rates[0] >= theirs.tokens_a_step / theirs.time.total
    days = figures(job, theirs)["days"]
    assert 45 < days < 75  # they took two months


def test_no_stage_of_a_plan_that_fits_is_too_full() -> None:
    job = falcon()
    for plan in best(job):
        totals = [
            memory(job.config, plan.layout, plan.rows, job.context, plan.micros, pp_rank=rank, device=job.device).total for rank in range(plan.layout.pp)
        ]
        assert max(totals) == pytest.approx(plan.memory.total) and totals.index(max(totals)) == plan.fullest_rank
        assert max(totals) <= USABLE * 40 * 2**30


def test_a_given_speed_is_taken_and_recomputation_counted() -> None:
    job = falcon(mfu=0.4)
    plain, again = (figures(job, one(job, Parallel(tp=8, pp=4, zero=1, recompute=how), 1)) for how in ("none", "full"))  # type: ignore[arg-type]
    assert plain["mfu"] == pytest.approx(0.4) and plain["days"] == pytest.approx(again["days"])
    job = falcon(flops_per_device=100e12, price_usd=3.0)
    plain, again = (figures(job, one(job, Parallel(tp=8, pp=4, zero=1, recompute=how), 1)) for how in ("none", "full"))  # type: ignore[arg-type]
    assert again["days"] == pytest.approx(4 / 3 * plain["days"])
    assert plain["cost_usd"] == pytest.approx(3 * plain["device_hours"]) and plain["speed"] == "given"


def test_what_fits_nowhere_is_said_with_what_would() -> None:
    job = Job("gpt3-175b", PRESETS["gpt3-175b"].config(), device("a100-80gb"), 2, 300e9, 2048 * 64)
    (only,) = settle(job, search=True)
    assert not only.fits
    assert re.search(r"\d+ of these hold it", answer._instead(job))


def test_experts_that_a_token_does_not_take_cost_no_flops() -> None:
    config = PRESETS["mixtral-8x7b"].config()
    assert active_parameters(config) == pytest.approx(12.9e9, rel=0.02)


@pytest.mark.parametrize("law, flops, parameters, tokens", [
    (EPOCH, 5.76e23, 72.3e9, 1.33e12), (EPOCH, 1e21, 2.778e9, 6.0e10), (EPOCH, 1e18, 8.05e7, 2.07e9),
])  # fmt: skip
def test_compute_optimal_sizes(law: object, flops: float, parameters: float, tokens: float) -> None:
    n, d = law.optimum(flops)  # type: ignore[attr-defined]
    assert n == pytest.approx(parameters, rel=0.01) and d == pytest.approx(tokens, rel=0.01)
    for factor in (0.9, 1.1):
        assert law.loss(n, d) < law.loss(n * factor, d / factor)  # type: ignore[attr-defined]


def test_hoffmanns_constants_want_more_tokens_a_parameter() -> None:
    n, d = HOFFMANN.optimum(5.76e23)
    assert d / n == pytest.approx(59.1, rel=0.02)


@pytest.mark.parametrize("parameters", [5e7, 3e8, 1e9, 7e9, 70e9])
def test_a_shape_has_about_the_parameters_asked_for(parameters: float) -> None:
    layers, width, heads = shape(parameters)
    assert 12 * layers * width**2 + 64_000 * width == pytest.approx(parameters, rel=0.1)
    assert width % heads == 0 and 60 <= width / layers <= 160


def test_money_and_days_buy_the_same_when_they_are_the_same() -> None:
    by_money = answer.affordable("h100", 8, budget_usd=5000, days=None)
    by_days = answer.affordable("h100", 8, budget_usd=None, days=by_money["days"])
    assert by_days["parameters"] == pytest.approx(by_money["parameters"]) and by_days["cost_usd"] == pytest.approx(5000)
    assert by_money["flops"] == pytest.approx(6 * by_money["parameters"] * by_money["tokens"])
    assert json.dumps(by_money)
    with pytest.raises(RequestError, match="--price"):
        answer.affordable("apple-m4-max", 1, budget_usd=100, days=None)


@pytest.mark.parametrize("text, value", [("1T", 1e12), ("140B", 1.4e11), ("3e11", 3e11), ("300_000", 3e5), ("2.5k", 2500)])
def test_numbers_as_people_write_them(text: str, value: float) -> None:
    assert answer.number(text, "--tokens") == value
    assert answer.dollars(f"{text}usd") == value


@pytest.mark.parametrize("text", ["", "many", "1X", "--3"])
def test_other_numbers_are_refused(text: str) -> None:
    with pytest.raises(RequestError, match="--tokens"):
        answer.number(text, "--tokens")


def test_unknown_hardware_names_the_nearest() -> None:
    with pytest.raises(RequestError, match="a100-40gb"):
        device("a100-40")


def test_every_device_says_where_its_figures_are_from() -> None:
    for row in DEVICES.values():
        assert row.source and row.priced and row.peak_flops > 1e12 and 0 < row.sustained < 1
        assert row.network <= row.link or row.node == 1


@pytest.mark.parametrize("ranks, micros", list(itertools.product((1, 2, 4, 8), (1, 3, 8, 16))))
def test_the_drawn_pipeline_is_1f1b(ranks: int, micros: int) -> None:
    spans = one_forward_one_backward(ranks, micros)
    assert len(spans) == 2 * ranks * micros
    end = max(stop for *_, stop in spans)
    assert end == pytest.approx(3 * micros + 3 * (ranks - 1))  # the bubble is (p - 1) of m + p - 1
    for rank in range(ranks):
        own = sorted((start, stop) for at, _, _, start, stop in spans if at == rank)
        assert all(first[1] <= second[0] + 1e-9 for first, second in itertools.pairwise(own))
        flying = most = 0
        for _, back in sorted((start, back) for at, _, back, start, _ in spans if at == rank):
            flying += -1 if back else 1
            most = max(most, flying)
        assert most == min(micros, ranks - rank)
