"""What a judge is asked. The wording is ours; the marks at the end ([[A]], [[7]]) are those that the field's judges are used to.

Every prompt asks for reasons before the verdict: a verdict that comes first is a guess that the reasons then defend.
"""

from __future__ import annotations

from collections.abc import Sequence

from groundup.evaluation.judge.questions import Question

Messages = list[dict[str, str]]
"""As chat APIs take them: `role` and `content`."""

_FAIR = (
    "Judge by what helps the person who asked: whether it is correct, does what was asked, goes deep enough and leaves out what is beside the "
    "point. Length by itself is no merit, nor is the order in which answers stand, nor a confident tone."
)
PAIR = (
    f"You are the referee between two assistants, A and B, who answered the same person. {_FAIR} First say in a few sentences how the answers "
    "differ where it matters. Then give the verdict on a line of its own: [[A]] if A's answer is better, [[B]] if B's is, [[C]] if neither is."
)
SINGLE = (
    f"You mark an assistant's answer. {_FAIR} First say in a few sentences what is good and what is wrong. Then give the mark on a line of its "
    "own as a whole number from 1 (useless) to 10 (could not be better), in this form: [[5]]."
)
SCORES = (
    f"You mark the answers of two assistants, A and B, to the same person. {_FAIR} First say in a few sentences what is good and what is wrong "
    "with each. Then give both marks on a line of their own, from 1 (useless) to 10 (could not be better), A's first, in this form: [[6, 7]]."
)


def pair(question: Question, first: Sequence[str], second: Sequence[str]) -> Messages:
    """Which of two answers is better?"""
    return _messages(PAIR, question, {"A": first, "B": second})


def single(question: Question, answer: Sequence[str]) -> Messages:
    """How good is an answer?"""
    return _messages(SINGLE, question, {"": answer})


def scores(question: Question, first: Sequence[str], second: Sequence[str]) -> Messages:
    """How good is each of two answers?"""
    return _messages(SCORES, question, {"A": first, "B": second})


def _messages(system: str, question: Question, answers: dict[str, Sequence[str]]) -> Messages:
    several = len(question.turns) > 1
    parts = []
    for number, turn in enumerate(question.turns):
        which = f" {number + 1}" if several else ""
        parts.append(f"<question{which}>\n{turn}\n</question{which}>")
        if number < len(question.references):
            parts.append(f"<right answer{which}>\n{question.references[number]}\n</right answer{which}>")
    for name, turns in answers.items():
        for number, turn in enumerate(turns):
            label = " ".join(filter(None, ("answer", str(number + 1) if several else "", f"of assistant {name}" if name else "")))
            parts.append(f"<{label}>\n{turn}\n</{label}>")
    if several:
        parts.append("Judge the last answer above all, in the light of what went before.")
    return [{"role": "system", "content": system}, {"role": "user", "content": "\n\n".join(parts)}]
