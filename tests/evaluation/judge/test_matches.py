"""Matches: a judge that favours a place gives ties, one that knows gives its favourite; marks and their ratio; prompts and verdicts."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from groundup.errors import GroundupError, RequestError
from groundup.evaluation.judge import prompts
from groundup.evaluation.judge.matches import (
    Ask,
    judge_pair,
    judge_relative,
    judge_single,
    relative_per_cent,
    win_rate,
)
from groundup.evaluation.judge.questions import Question
from groundup.evaluation.judge.verdicts import pair_verdict, single_score, two_scores

QUESTIONS = [Question(str(number), (f"Question {number}?",), "writing") for number in range(10)]
GOOD = {question.name: (f"good answer {question.name}",) for question in QUESTIONS}
BAD = {question.name: (f"bad answer {question.name}",) for question in QUESTIONS}


def places(messages: prompts.Messages) -> list[str]:
    """Which kinds of answers stand first and second."""
    return re.findall(r"(good|bad) answer", messages[-1]["content"])


def knows(messages: prompts.Messages) -> str:
    return f"Reasons.\n[[{'AB'[places(messages).index('good')]}]]"


def each(say: Callable[[prompts.Messages], str]) -> Ask:
    """A judge that says this of every conversation."""
    return lambda several: [say(messages) for messages in several]


def test_a_judge_that_knows() -> None:
    verdicts, unread = judge_pair(QUESTIONS, GOOD, BAD, each(knows))
    assert [verdict.winner for verdict in verdicts] == ["first"] * 10 and all(verdict.consistent for verdict in verdicts) and unread == []
    turned, _ = judge_pair(QUESTIONS, BAD, GOOD, each(knows))
    assert [verdict.winner for verdict in turned] == ["second"] * 10
    assert win_rate(verdicts).value == 1.0 and win_rate(turned).value == 0.0


@pytest.mark.parametrize("mark", ["[[A]]", "[[B]]"])
def test_a_judge_that_favours_a_place_gives_ties(mark: str) -> None:
    verdicts, _ = judge_pair(QUESTIONS, GOOD, BAD, each(lambda messages: mark))
    assert {(verdict.winner, verdict.consistent) for verdict in verdicts} == {("tie", False)}
    assert win_rate(verdicts).value == 0.5


def test_ties_in_both_orders_are_consistent() -> None:
    verdicts, _ = judge_pair(QUESTIONS[:1], GOOD, BAD, each(lambda messages: "[[C]]"))
    assert verdicts[0].winner == "tie" and verdicts[0].consistent


def test_verdicts_that_cannot_be_read_are_left_out_and_named() -> None:
    def now_and_then(messages: prompts.Messages) -> str:
        return "I will not say." if "Question 3?" in messages[-1]["content"] else knows(messages)

    verdicts, unread = judge_pair(QUESTIONS, GOOD, BAD, each(now_and_then))
    assert len(verdicts) == 9 and unread == ["3"]
    with pytest.raises(GroundupError, match="no verdict that can be read"):
        judge_pair(QUESTIONS, GOOD, BAD, each(lambda messages: "hm"))


def test_missing_answers_and_turns() -> None:
    with pytest.raises(RequestError, match="question 0 has no answer"):
        judge_single(QUESTIONS, {}, each(knows))
    with pytest.raises(RequestError, match="2 turns and 1 answers"):
        judge_single([Question("0", ("a", "b"))], {"0": ("x",)}, each(knows))


def test_marks() -> None:
    found = judge_single(QUESTIONS, GOOD, each(lambda messages: "Fine. [[8]]" if "Question 0?" in messages[-1]["content"] else "[[6.5]]"))
    assert found.by_question["0"] == (8.0,) and found.by_question["1"] == (6.5,) and found.unread == []


def test_the_relative_score_is_a_ratio_of_sums_over_both_orders() -> None:
    def judge(messages: prompts.Messages) -> str:
        marks = [9 if kind == "good" else 6 for kind in places(messages)]
        return f"[[{marks[0] + 1}, {marks[1] - 1}]]"  # the first place is favoured: over both orders that cancels

    figure = relative_per_cent(judge_relative(QUESTIONS, GOOD, BAD, each(judge)))
    assert figure.value == pytest.approx(150.0) and figure.standard_error == pytest.approx(0.0, abs=1e-9) and figure.n == 10
    assert relative_per_cent(judge_relative(QUESTIONS, BAD, BAD, each(judge))).value == pytest.approx(100.0)


@pytest.mark.parametrize(
    ("text", "verdict"),
    [("so [[A]]", "A"), ("[[B]] is better", "B"), ("[[C]]", "tie"), ("first [[A]], but no: [[B]]", "B"), ("[A]", "A"), ("A", None), ("[[D]]", None), ("", None), ("[[ A ]]", "A")],
)
def test_pair_verdicts(text: str, verdict: str | None) -> None:
    assert pair_verdict(text) == verdict


@pytest.mark.parametrize(
    ("text", "mark"), [("Rating: [[5]]", 5.0), ("[[7.5]]", 7.5), ("[[8/10]]", 8.0), ("[6]", 6.0), ("[[0]]", None), ("[[11]]", None), ("5", None), ("[[3]] or [[4]]", 4.0)]
)
def test_marks_in_texts(text: str, mark: float | None) -> None:
    assert single_score(text) == mark


@pytest.mark.parametrize(("text", "marks"), [("[[6, 8]]", (6.0, 8.0)), ("[[6,8.5]]", (6.0, 8.5)), ("[6, 8]", (6.0, 8.0)), ("[[6, 12]]", None), ("[[6]]", None)])
def test_two_marks_in_texts(text: str, marks: tuple[float, float] | None) -> None:
    assert two_scores(text) == marks


def test_prompts_hold_all_turns_and_the_right_answers() -> None:
    question = Question("1", ("First?", "Second?"), "math", ("right one", "right two"))
    messages = prompts.pair(question, ("a1", "a2"), ("b1", "b2"))
    assert [message["role"] for message in messages] == ["system", "user"]
    for text in ("First?", "Second?", "right one", "right two", "a1", "a2", "b1", "b2", "assistant A", "assistant B"):
        assert text in messages[1]["content"]
    assert "assistant" not in prompts.single(Question("1", ("Q?",)), ("an answer",))[1]["content"]
