"""In which order to read many texts so that what they have in common is read once: a plan, no tensors.

A lane is a place in the cache that holds the keys and values of one text. It reads its texts in sorted order; before each it goes back to
where the next one leaves the last, and reads on from there:

    examples, question 1, answer A      reads  e e e e e e q q q A A
    examples, question 1, answer B      back to                  | B B
    examples, question 1, answer C                               | C
    examples, question 2, answer A      back to      | r r A A

So sorted order is a walk through the tree of all beginnings, and what a lane holds is the path from its root. Nothing is copied, and
the memory is that of the lanes, whatever the number of texts. What one lane reads in one go is a Piece. Scores at a place may be asked
for by texts that come later and share it; all is known beforehand, so each piece says which of its last scores are wanted, and who
reads which.

Lanes work side by side: a step is one piece of each of several lanes, all in one row, without padding. The shorter go first, and a step is
full as soon as a larger one would be no faster a token: so short pieces never go alone. Texts are dealt out in runs that share little
with their neighbours; a run that would keep one lane busy alone is cut, which costs reading its beginning twice.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

Tokens = np.ndarray[Any, np.dtype[np.uint32]]

FULL = 1024  # tokens of a step: more are no faster a token, and hardly fewer are slower (docs/measurements.md)
FRESH = 20  # a text that shares at most 1/20 of itself with the one before it may be read by another lane at no loss
TWICE = 10  # a run is cut where what must be read again is at most 1/10 of what it has read


@dataclass(frozen=True)
class Text:
    """What is read, and which next tokens are asked for: `targets` follow its last `len(targets)` tokens, one each."""

    tokens: Tokens
    targets: Sequence[int]


@dataclass(frozen=True)
class Read:
    """A text's use of a piece's scores."""

    text: int
    first: int
    """The place in the piece of the first score it reads."""
    targets: Sequence[int]
    """The tokens whose scores it takes there, one place after the other."""


@dataclass
class Piece:
    """What a lane reads in one go."""

    start: int
    """How much of what the lane holds stays: the lane goes back to there first."""
    tokens: Tokens
    reads: list[Read] = field(default_factory=list)
    lane: int = -1

    @property
    def wanted(self) -> int:
        """Of how many of its last tokens the scores are wanted."""
        return len(self.tokens) - min((read.first for read in self.reads), default=len(self.tokens))


@dataclass(frozen=True)
class Budget:
    """What a step may take at most; a single piece may always be read."""

    lanes: int
    tokens: int
    """Of all pieces of a step."""
    scores: int
    """Places whose scores are wanted, over all pieces of a step: each is as wide as the vocabulary."""


def plan(texts: Sequence[Text], budget: Budget) -> Iterator[list[Piece]]:
    """The steps, one after the other; each reads pieces of different lanes. Every target of every text is read exactly once."""
    order = sorted(range(len(texts)), key=lambda place: texts[place].tokens.astype(">u4").tobytes())
    runs = [_pieces(texts, run) for run in _runs(texts, order, budget.lanes)]
    runs.sort(key=_cost)
    lanes: list[deque[Piece]] = [deque() for _ in range(budget.lanes)]
    while True:
        for lane in lanes:
            if not lane and runs:
                lane.extend(runs.pop())
        step = _step(lanes, budget)
        if not step:
            return
        yield step


def _step(lanes: Sequence[deque[Piece]], budget: Budget) -> list[Piece]:
    """The next pieces of those lanes whose next pieces are the shortest, by lane."""
    waiting = sorted((number for number, lane in enumerate(lanes) if lane), key=lambda number: len(lanes[number][0].tokens))
    step: list[Piece] = []
    read = wanted = 0
    for number in waiting:
        piece = lanes[number][0]
        read, wanted = read + len(piece.tokens), wanted + piece.wanted
        if step and (read > budget.tokens or wanted > budget.scores):
            break
        piece.lane = number
        step.append(lanes[number].popleft())
        if read >= FULL:
            break
    return sorted(step, key=lambda piece: piece.lane)


def _pieces(texts: Sequence[Text], run: Sequence[int]) -> list[Piece]:
    """What a lane reads for a run of texts in sorted order."""
    pieces: list[Piece] = []
    held: list[tuple[Piece, int]] = []  # pieces that the lane holds, and up to where
    last: Tokens = np.zeros(0, np.uint32)
    for place in run:
        text = texts[place]
        same = shared(last, text.tokens)
        held = [(piece, min(end, same)) for piece, end in held if piece.start < same]
        if same < len(text.tokens):
            piece = Piece(same, text.tokens[same:])
            pieces.append(piece)
            held.append((piece, len(text.tokens)))
        first = len(text.tokens) - len(text.targets)
        for piece, end in held:
            begin = max(first, piece.start)
            if begin < end:
                piece.reads.append(Read(place, begin - piece.start, text.targets[begin - first : end - first]))
        last = text.tokens
    return pieces


def _runs(texts: Sequence[Text], order: Sequence[int], lanes: int) -> list[list[int]]:
    """The sorted texts, dealt into runs."""
    same = [0, *(shared(texts[one].tokens, texts[other].tokens) for one, other in zip(order, order[1:], strict=False))]
    most = sum(len(texts[place].tokens) - common for place, common in zip(order, same, strict=True)) / (2 * lanes)
    runs: list[list[int]] = []
    cost = 0
    for place, common in zip(order, same, strict=True):
        size = len(texts[place].tokens)
        if not runs or common * FRESH <= size or (cost >= most and common * TWICE <= cost):
            runs.append([])
            cost = common = 0
        runs[-1].append(place)
        cost += size - common
    return runs


def _cost(pieces: Sequence[Piece]) -> int:
    return sum(len(piece.tokens) for piece in pieces)


def shared(one: Tokens, other: Tokens) -> int:
    """How many tokens two texts begin with in common."""
    length = min(len(one), len(other))
    differ = np.flatnonzero(one[:length] != other[:length])
    return int(differ[0]) if len(differ) else length
