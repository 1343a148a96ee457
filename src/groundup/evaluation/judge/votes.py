"""Verdicts and votes as JSON lines, in the form in which Chatbot Arena and MT-bench publish people's:

    {"question_id": "81", "model_a": "mine", "model_b": "gpt-4", "winner": "model_b"}       or model_a, or tie, also "tie (bothbad)"

A judge's verdicts are written like that, so that both can be rated, and compared with each other. Further fields are let be: of MT-bench's
votes on either turn all count for the question.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from groundup.evaluation.judge.agreement import majority
from groundup.evaluation.judge.matches import PairVerdict, Winner
from groundup.evaluation.judge.ratings import Match
from groundup.evaluation.tasks.rows import read
from groundup.run import write_atomic

_WINNERS: dict[str, Winner] = {"model_a": "first", "model_b": "second", "tie": "tie", "tie (bothbad)": "tie", "tie (inconsistent)": "tie"}
_TURNED: dict[Winner, Winner] = {"first": "second", "second": "first", "tie": "tie"}
_SCORES: dict[Winner, float] = {"first": 1.0, "tie": 0.5, "second": 0.0}


@dataclass(frozen=True)
class Vote:
    """Who is better at a question."""

    question: str
    first: str
    second: str
    winner: Winner

    @property
    def match(self) -> Match:
        """As ratings take it."""
        return Match(self.question, self.first, self.second, _SCORES[self.winner])


def read_votes(path: Path) -> list[Vote]:
    """The votes of a file. Raises RequestError for one that names no winner, or a model against itself."""
    votes: list[Vote] = []
    for row in read(path):
        winner = row.text("winner")
        if winner not in _WINNERS:
            raise row.wrong(f"`winner` is '{winner}'", f"Write one of {', '.join(_WINNERS)}.")
        first, second = row.text("model_a"), row.text("model_b")
        if first == second:
            raise row.wrong(f"{first} stands against itself")
        votes.append(Vote(str(row.values.get("question_id", row.number)), first, second, _WINNERS[winner]))
    return votes


def votes_of(verdicts: Sequence[PairVerdict], first: str, second: str) -> list[Vote]:
    """A judge's verdicts on two models."""
    return [Vote(verdict.question, first, second, verdict.winner) for verdict in verdicts]


def write_verdicts(path: Path, judged: Iterable[tuple[str, str, Sequence[PairVerdict]]]) -> None:
    """Write (first, second, verdicts), with what the judge said."""
    names = {winner: name for name, winner in reversed(_WINNERS.items())}
    lines = [
        {
            "question_id": one.question, "category": one.category, "model_a": first, "model_b": second, "winner": names[one.winner],
            "consistent": one.consistent, "judgments": list(one.texts),
        }
        for first, second, verdicts in judged for one in verdicts
    ]  # fmt: skip
    write_atomic(path, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))


def by_pair(votes: Iterable[Vote]) -> dict[str, Winner]:
    """The majority's verdict of each question and pair of models, whichever stands first: a name that two sets of votes have in common."""
    gathered: dict[str, list[Winner]] = {}
    for vote in votes:
        low, high = sorted((vote.first, vote.second))
        winner = vote.winner if low == vote.first else _TURNED[vote.winner]
        gathered.setdefault(json.dumps([vote.question, low, high]), []).append(winner)
    return {name: majority(winners) for name, winners in gathered.items()}
