"""Agreement: complete, by chance, and beyond what habits alone would give."""

from __future__ import annotations

import random

import pytest

from groundup.errors import RequestError
from groundup.evaluation.judge.agreement import agreement, majority


def test_complete_and_none() -> None:
    people = {"1": "first", "2": "second", "3": "tie"}
    found = agreement(people, people)
    assert found.agreement.value == 1 and found.kappa == pytest.approx(1) and found.agreement_no_ties.value == 1
    assert found.table["first"] == {"first": 1, "second": 0, "tie": 0}
    other = agreement({"1": "second", "2": "first", "3": "first"}, people)
    assert other.agreement.value == 0 and other.kappa < 0


def test_guessing_agrees_by_a_third_and_a_half_and_kappa_is_0() -> None:
    draw = random.Random(0)
    judge, people = ({str(n): draw.choice(["first", "second", "tie"]) for n in range(9000)} for _ in range(2))
    found = agreement(judge, people)
    assert found.agreement.value == pytest.approx(1 / 3, abs=0.02) and found.agreement_no_ties.value == pytest.approx(1 / 2, abs=0.02)
    assert found.kappa == pytest.approx(0, abs=0.03)


def test_always_saying_the_same_is_no_agreement() -> None:
    people = {str(n): "first" if n % 10 else "second" for n in range(100)}
    found = agreement(dict.fromkeys(people, "first"), people)
    assert found.agreement.value == 0.9 and found.kappa == pytest.approx(0)


def test_only_ties_and_only_different_pairs() -> None:
    assert agreement({"1": "tie"}, {"1": "tie"}).agreement_no_ties is None
    with pytest.raises(RequestError, match="judged by both"):
        agreement({"1": "tie"}, {"2": "tie"})


@pytest.mark.parametrize(
    ("votes", "winner"), [(["first", "first", "second"], "first"), (["first", "second"], "tie"), ([], "tie"), (["first", "second", "tie"], "tie"), (["tie", "tie", "first"], "tie")]
)
def test_majorities(votes, winner: str) -> None:
    assert majority(votes) == winner
