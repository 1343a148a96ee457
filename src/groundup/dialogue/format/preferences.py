"""Rows of every published shape as rankings of answers to one prompt, and as single answers that were liked or not.

    ours             prompt, answers, ranks
    hh-rlhf          chosen, rejected: whole dialogues as text; they part at the last answer
    dialogues        chosen, rejected: lists of messages that part at the last answer
    pairs            prompt, question, messages or conversations, and chosen, rejected: a text or a message
    Alpaca pairs     instruction, input, chosen, rejected
    StackExchange    question, response_j (preferred), response_k
    OpenAssistant    a tree: one ranking for every message that has two ranked answers or more
    KTO              prompt, answer or completion, good or label (true or false); or messages and label

A ranking of two answers is a pair. Rows of rankings and of labels are read by functions of their own: what a row is
for is asked for, not guessed.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from groundup.dialogue.format.conversations import (
    ANSWERS,
    QUESTIONS,
    Misread,
    answer_of,
    children,
    filled,
    joined,
    message_of,
    messages_of,
    prompt_of,
    transcript,
)
from groundup.dialogue.format.record import Labelled, Message, Ranking, order_problem
from groundup.dialogue.format.rows import Bad, Row, refuse, rows

YES, NO = (True, 1, "true", "True", "1", "yes"), (False, 0, "false", "False", "0", "no")


def read_rankings(path: Path, bad: Bad | None = None) -> Iterator[tuple[int, Ranking]]:
    """(row number, ranking) of a file; a tree may hold several. Raises RequestError, or puts the errors into `bad`."""
    for number, row in rows(path, bad):
        try:
            found = rankings(row)
            for one in found:
                _checked(one.prompt)
                if not one.pairs:
                    raise Misread("no answer is better than another", "Give at least two answers of different rank, or take the row out.")
        except Misread as error:
            refuse(error.at(path, number), bad)
            continue
        for one in found:
            yield number, one if one.source else Ranking(one.prompt, one.answers, one.ranks, path.name)


def read_labelled(path: Path, bad: Bad | None = None) -> Iterator[tuple[int, Labelled]]:
    """(row number, labelled answer) of a file. Raises RequestError, or puts the errors into `bad`."""
    for number, row in rows(path, bad):
        try:
            one = labelled(row)
            _checked(one.prompt)
        except Misread as error:
            refuse(error.at(path, number), bad)
            continue
        yield number, one if one.source else Labelled(one.prompt, one.answer, one.good, path.name)


def rankings(row: Row) -> list[Ranking]:
    """The rankings of a row. Raises Misread."""
    source = row["source"] if isinstance(row.get("source"), str) else ""
    if isinstance(row.get("prompt"), dict):
        return [Ranking(one.prompt, one.answers, one.ranks, source) for one in _of_tree(row["prompt"], ())]
    if "answers" in row:
        return [_ranked(row, source)]
    if {"response_j", "response_k"} <= row.keys():
        better, worse = row["response_j"], row["response_k"]
    elif {"chosen", "rejected"} <= row.keys():
        better, worse = row["chosen"], row["rejected"]
    else:
        names = ", ".join(map(str, row)) or "none"
        raise Misread(f"no known shape of preference; the fields are {names[:200]}", "Name the fields `prompt`, `chosen` and `rejected`, or `answers` and `ranks`.")
    prompt = prompt_in(row)
    if prompt is None:
        return [_parted(_dialogue(better), _dialogue(worse), source)]
    return [Ranking(prompt, (_answer(better), _answer(worse)), (1, 2), source)]


def labelled(row: Row) -> Labelled:
    """The labelled answer of a row. Raises Misread."""
    label = row.get("good", row.get("label"))
    if label not in YES and label not in NO:
        raise Misread(f"the label {label!r} is neither true nor false", "Give `good` (or `label`) as true or false.")
    source = row["source"] if isinstance(row.get("source"), str) else ""
    answer = next((row[name] for name in ANSWERS if name in row), None)
    if answer is None and "messages" in row:
        *prompt, last = messages_of(row["messages"])
        if last.role != "assistant":
            raise Misread(f"the last message is the {last.role}'s", "Let the answer that is labelled come last.")
        return Labelled(tuple(prompt), last.content, label in YES, source)
    prompt_messages = prompt_in(row)
    if answer is None or prompt_messages is None:
        raise Misread("no prompt with an answer", "Name the fields `prompt`, `answer` and `good`.")
    return Labelled(prompt_messages, _answer(answer), label in YES, source)


def _checked(prompt: tuple[Message, ...]) -> None:
    if problem := order_problem(prompt, last="user"):
        raise Misread(f"of the prompt {problem}", "After an optional system message, let user and assistant take turns, the user last.")


def prompt_in(row: Row) -> tuple[Message, ...] | None:
    """What was asked; None where the answers are whole dialogues."""
    if "instruction" in row:
        return (Message("user", joined(row["instruction"], row.get("input"))),)
    name = next((name for name in ("messages", "conversations", *QUESTIONS) if row.get(name)), None)
    if name is None:
        return None
    value = row[name]
    if isinstance(value, str) and value.startswith("\n\nHuman:"):
        return transcript(value.removesuffix("\n\nAssistant:"))
    messages = messages_of(prompt_of(value) if isinstance(value, str) else value, name)
    system = row.get("system")
    return (Message("system", system), *messages) if isinstance(system, str) and system.strip() and messages[0].role != "system" else messages


def _answer(value: Any) -> str:
    """The text of an answer: a text, a message, or a list that ends with one (after a prompt that is known already)."""
    if isinstance(value, list):
        value = value[-1] if value else None
    if isinstance(value, dict):
        message = message_of(value)
        if message.role != "assistant":
            raise Misread(f"the answer is the {message.role}'s", "Give what the assistant says.")
        return message.content
    return answer_of(value)


def _dialogue(value: Any) -> tuple[Message, ...]:
    return transcript(value) if isinstance(value, str) else messages_of(value, "chosen")


def _parted(better: tuple[Message, ...], worse: tuple[Message, ...], source: str) -> Ranking:
    prompt = better[:-1]
    if prompt != worse[:-1] or better[-1].role != "assistant" or worse[-1].role != "assistant":
        raise Misread("chosen and rejected part before the last answer", "Give two answers to one prompt.")
    return Ranking(prompt, (better[-1].content, worse[-1].content), (1, 2), source)


def _ranked(row: Row, source: str) -> Ranking:
    prompt, answers, ranks = prompt_in(row), row["answers"], row.get("ranks")
    if prompt is None or not isinstance(answers, list):
        raise Misread("`answers` without a prompt, or no list", "Give `prompt`, `answers` and `ranks`.")
    if not isinstance(ranks, list) or len(ranks) != len(answers) or not all(isinstance(one, int) and not isinstance(one, bool) for one in ranks):
        raise Misread("`ranks` are not a whole number for each answer", "Give as many ranks as answers, 1 for the best.")
    return Ranking(prompt, tuple(_answer(one) for one in answers), tuple(ranks), source)


def _of_tree(node: Row, before: tuple[Message, ...]) -> Iterator[Ranking]:
    """A ranking for each message of a user to which two answers or more have a rank."""
    here = (*before, message_of(node))
    replies = children(node)
    ranked = [one for one in replies if isinstance(one.get("rank"), int) and message_of(one).role == "assistant"]
    if len(ranked) > 1:
        yield Ranking(here, tuple(filled(one.get("text"), "an answer has") for one in ranked), tuple(one["rank"] for one in ranked))
    for one in replies:
        yield from _of_tree(one, here)
