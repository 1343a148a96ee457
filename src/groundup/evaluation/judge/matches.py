"""Matches: two models' answers before a judge, each pair in both orders; one model's answers marked; marks beside a reference model's.

Judges favour a place, often the first (Wang et al. 2023, arXiv 2305.17926; Zheng et al. 2023, arXiv 2306.05685, section 3.3). So each pair is
put twice with the places changed: a win counts where both verdicts name the same model, everything else is a tie.

    order A B says A, order B A says B     the same model both times     it wins
    order A B says A, order B A says A     the first place both times    a tie, and `consistent` is False

The relative score is the one of Vicuna's report and of OpenChat's "105.7 % of ChatGPT": both answers are marked from 1 to 10 side by side, and
the sum of the model's marks over all questions is divided by the sum of the reference's, in per cent; here again in both orders.
A judge is a function from conversations to its text on each, whatever stands behind it: it gets all that there is to judge at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from groundup.errors import GroundupError, RequestError
from groundup.evaluation.judge import prompts
from groundup.evaluation.judge.questions import Answers, Question
from groundup.evaluation.judge.verdicts import Verdict, pair_verdict, single_score, two_scores
from groundup.evaluation.scoring import Figure, mean

Ask = Callable[[Sequence[prompts.Messages]], list[str]]
Winner = Literal["first", "second", "tie"]


@dataclass(frozen=True)
class PairVerdict:
    """One question, two models."""

    question: str
    category: str
    winner: Winner
    consistent: bool
    """Whether both orders name the same winner, or both a tie."""
    texts: tuple[str, str]
    """What the judge said, in both orders."""


@dataclass(frozen=True)
class Marks:
    """Marks by question; where two models are marked side by side, the first one's and the second one's."""

    by_question: dict[str, tuple[float, ...]]
    unread: list[str]
    """Questions for which the judge gave no verdict that can be read; they count nowhere."""


def judge_pair(questions: Sequence[Question], first: Answers, second: Answers, ask: Ask) -> tuple[list[PairVerdict], list[str]]:
    """The verdicts, and the questions for which the judge gave none in one order or the other."""
    verdicts: list[PairVerdict] = []
    unread: list[str] = []
    for question, texts in zip(questions, _both_orders(questions, first, second, prompts.pair, ask), strict=True):
        straight, turned = map(pair_verdict, texts)
        if straight is None or turned is None:
            unread.append(question.name)
            continue
        winners: tuple[Winner, Winner] = _winner(straight, "first", "second"), _winner(turned, "second", "first")
        consistent = winners[0] == winners[1]
        verdicts.append(PairVerdict(question.name, question.category, winners[0] if consistent else "tie", consistent, texts))
    return verdicts, _some(unread, questions)


def judge_single(questions: Sequence[Question], answers: Answers, ask: Ask) -> Marks:
    """Each answer's mark, 1 to 10."""
    marks: dict[str, tuple[float, ...]] = {}
    unread: list[str] = []
    texts = ask([prompts.single(question, _answer(question, answers)) for question in questions])
    for question, text in zip(questions, texts, strict=True):
        score = single_score(text)
        if score is None:
            unread.append(question.name)
        else:
            marks[question.name] = (score,)
    return Marks(marks, _some(unread, questions))


def judge_relative(questions: Sequence[Question], answers: Answers, reference: Answers, ask: Ask) -> Marks:
    """The model's and the reference's marks side by side, each the mean of both orders."""
    marks: dict[str, tuple[float, ...]] = {}
    unread: list[str] = []
    for question, texts in zip(questions, _both_orders(questions, answers, reference, prompts.scores, ask), strict=True):
        straight, turned = map(two_scores, texts)
        if straight is None or turned is None:
            unread.append(question.name)
        else:
            marks[question.name] = ((straight[0] + turned[1]) / 2, (straight[1] + turned[0]) / 2)
    return Marks(marks, _some(unread, questions))


def _both_orders(
    questions: Sequence[Question], first: Answers, second: Answers,
    prompt: Callable[[Question, Sequence[str], Sequence[str]], prompts.Messages], ask: Ask,
) -> list[tuple[str, str]]:  # fmt: skip
    """What the judge says of each question, the first one's answer first, and the second one's."""
    pairs = [(question, _answer(question, first), _answer(question, second)) for question in questions]
    said = ask([prompt(question, *order) for question, one, other in pairs for order in ((one, other), (other, one))])
    return list(zip(said[::2], said[1::2], strict=True))


def relative_per_cent(marks: Marks) -> Figure:
    """The sum of the model's marks over the reference's, per cent; standard error of a ratio by the delta method."""
    pairs = list(marks.by_question.values())
    theirs = sum(pair[1] for pair in pairs)
    ratio = sum(pair[0] for pair in pairs) / theirs
    residual = mean([pair[0] - ratio * pair[1] for pair in pairs])
    error = None if residual.standard_error is None else 100 * residual.standard_error * len(pairs) / theirs
    return Figure(100 * ratio, error, len(pairs))


def win_rate(verdicts: Iterable[PairVerdict]) -> Figure:
    """The first model's share of wins, a tie half a win."""
    return mean([{"first": 1.0, "tie": 0.5, "second": 0.0}[verdict.winner] for verdict in verdicts])


def _winner(verdict: Verdict, a: Winner, b: Winner) -> Winner:
    return "tie" if verdict == "tie" else a if verdict == "A" else b


def _answer(question: Question, answers: Answers) -> tuple[str, ...]:
    if question.name not in answers:
        raise RequestError(f"question {question.name} has no answer", where="judge", do="Answer all questions first, or leave it out.")
    found = answers[question.name]
    if len(found) < len(question.turns):
        raise RequestError(f"question {question.name} has {len(question.turns)} turns and {len(found)} answers", where="judge", do="Answer all turns.")
    return found[: len(question.turns)]


def _some(unread: list[str], questions: Sequence[Question]) -> list[str]:
    """The unread ones, unless they are all of them."""
    if questions and len(unread) == len(questions):
        raise GroundupError("the judge gave no verdict that can be read, for any question", where="judge", do="Take a model that follows instructions as a judge.")
    return unread
