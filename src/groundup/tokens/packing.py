"""Packing: how documents become rows of equal length.

Each document is read from the <|end_of_text|> before it, which says "a document begins here", to its own last token;
it is asked for each of its tokens and for the <|end_of_text|> that ends it:

    stream       a1 a2 a3 #  b1 b2 #  c1 c2 ...          # is <|end_of_text|>
    tokens       #  a1 a2 a3 #  b1 b2 #  c1              what the model reads
    targets      a1 a2 a3 #  b1 b2 #  c1 c2              what it is asked for
    segments     0  0  0  0  1  1  1  2  2               attention stays within a segment
    positions    0  1  2  3  0  1  2  0  1               restart with each

The last token of a document sees nothing of the next one and is asked for #; the # that opens a document sees nothing
of the last one and is asked for a first token. So none is asked for from another document's text, and a document's
first token is learned from the same context that evaluation gives it. What differs is where rows begin:

    concatenate    rows are cut from the stream. No place is wasted; a document runs on in another row, where its
                   beginning is not seen. The stream is a ring, and each pass cuts it at another random place.
    best-fit       no document that fits into a row is cut (Ding et al. 2024, arXiv 2404.10830): longer ones are cut into
                   whole rows and a rest, and each piece goes where it leaves the least room. What stays empty is padding.
    one-document   a row holds one document, or one piece of a long one.

No packing drops a token but `concatenate`, which leaves the last N % context of a pass to the next one.

Shapes: B rows, T time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np

from groundup.tokens.mixing import Numbers
from groundup.tokens.shards import TokenSplit

NDArray = np.ndarray[Any, np.dtype[np.int64]]
Packing = Literal["concatenate", "best-fit", "one-document"]
CHUNK = 1 << 22  # pieces packed together: bounds the memory, and nothing is left to gain beyond


@dataclass(frozen=True)
class Block:
    """Rows of T places."""

    tokens: NDArray
    """(B, T)"""
    targets: NDArray
    """(B, T)"""
    weights: np.ndarray[Any, np.dtype[np.float32]]
    """(B, T); 0 where nothing is asked: padding, and what a transform only shows."""
    opens: np.ndarray[Any, np.dtype[np.bool_]]
    """(B, T); where a segment begins."""


class Rows(Protocol):
    """A split's documents as rows."""

    count: int
    """Rows a pass has."""

    def read(self, rows: Numbers, shifts: Numbers) -> Block:
        """These rows; `shifts`: a number in [0, 2^62) of each one's pass, which moves the cuts of a ring."""

    def pieces(self, row: int, shift: int) -> list[NDArray]:
        """The documents, and parts of documents, of a row; each with the target of its last place, so one longer."""


def segments_and_positions(opens_BT: np.ndarray[Any, np.dtype[np.bool_]]) -> tuple[NDArray, NDArray]:
    """Number of the segment within its row and place within the segment, each (B, T).

    A row that begins within a document counts from its own first token.
    """
    opens_BT[:, 0] = True
    segments_BT = np.cumsum(opens_BT, axis=1, dtype=np.int64) - 1
    places_T = np.arange(opens_BT.shape[1], dtype=np.int64)
    first_BT = np.maximum.accumulate(np.where(opens_BT, places_T, 0), axis=1)
    return segments_BT, places_T - first_BT


class Concatenated:
    """Rows cut from the ring of all documents."""

    def __init__(self, split: TokenSplit, context: int) -> None:
        self._tokens = np.asarray(split.tokens)
        self._context, self._end = context, split.end_of_text
        self.count = len(self._tokens) // context

    def read(self, rows: Numbers, shifts: Numbers) -> Block:
        """See Rows."""
        stretch = np.empty((len(rows), self._context + 1), dtype=np.int64)
        for at, (row, shift) in enumerate(zip(rows.tolist(), shifts.tolist(), strict=True)):
            self._stretch(row, shift, stretch[at])
        tokens = np.ascontiguousarray(stretch[:, :-1])
        return Block(tokens, np.ascontiguousarray(stretch[:, 1:]), np.ones(tokens.shape, dtype=np.float32), tokens == self._end)

    def pieces(self, row: int, shift: int) -> list[NDArray]:
        """See Rows."""
        stretch = np.empty(self._context + 1, dtype=np.int64)
        self._stretch(row, shift, stretch)
        borders = (np.flatnonzero(stretch[1:-1] == self._end) + 1).tolist()
        return [stretch[begin : end + 1] for begin, end in zip([0, *borders], [*borders, self._context], strict=True)]

    def _stretch(self, row: int, shift: int, into: NDArray) -> None:
        """The token before the row's first target and the `context` tokens from there on, around the ring."""
        tokens, context = self._tokens, self._context
        start = (shift + row * context) % len(tokens)
        head = tokens[start : start + context]
        into[0] = tokens[start - 1]  # of the first token, the last one: <|end_of_text|>
        into[1 : 1 + len(head)] = head
        into[1 + len(head) :] = tokens[: context - len(head)]


class Planned:
    """Rows made of whole pieces, the rest of a row padding."""

    def __init__(self, split: TokenSplit, context: int, pad: int, *, together: bool) -> None:
        self._tokens = np.asarray(split.tokens)
        self._context, self._pad = context, pad
        starts, lengths = cut(split.starts, split.ends + 1, context)
        rows = best_fit(lengths, context) if together else np.arange(len(lengths))
        order = np.argsort(rows, kind="stable")
        self._starts, self._lengths = starts[order], lengths[order]
        self.count = int(rows.max(initial=-1)) + 1
        self._first = np.searchsorted(rows[order], np.arange(self.count + 1))
        self.padding = 1 - float(lengths.sum()) / max(1, self.count * context)
        """Share of the places that hold nothing."""

    def read(self, rows: Numbers, shifts: Numbers) -> Block:
        """See Rows."""
        shape = len(rows), self._context
        block = Block(np.full(shape, self._pad), np.full(shape, self._pad), np.zeros(shape, np.float32), np.zeros(shape, bool))
        for at, row in enumerate(rows.tolist()):
            place = 0
            for number in range(self._first[row], self._first[row + 1]):
                start, length = int(self._starts[number]), int(self._lengths[number])
                end = place + length
                # a piece's first place reads the token before its first target; of the first of all that is the last one, #
                block.tokens[at, place] = self._tokens[start - 1]
                block.tokens[at, place + 1 : end] = self._tokens[start : start + length - 1]
                block.targets[at, place:end] = self._tokens[start : start + length]
                block.weights[at, place:end] = 1
                block.opens[at, place] = True
                place = end
            if place < self._context:
                block.opens[at, place] = True
        return block

    def pieces(self, row: int, shift: int) -> list[NDArray]:
        """See Rows."""
        found = []
        for number in range(self._first[row], self._first[row + 1]):
            start, length = int(self._starts[number]), int(self._lengths[number])
            found.append(np.concatenate(([self._tokens[start - 1]], self._tokens[start : start + length])).astype(np.int64))
        return found


def rows_of(split: TokenSplit, context: int, packing: Packing) -> Concatenated | Planned:
    """A split's documents as rows of `context` places."""
    if packing == "concatenate":
        return Concatenated(split, context)
    return Planned(split, context, split.pad, together=packing == "best-fit")


def cut(starts: NDArray, ends: NDArray, context: int) -> tuple[NDArray, NDArray]:
    """(first target, length) of the pieces of all documents: whole rows of `context`, and a rest.

    `starts` and `ends`: first target of each document and one past its last, the <|end_of_text|> that ends it.
    """
    parts = -(-(ends - starts) // context)
    document = np.repeat(np.arange(len(starts)), parts)
    within = np.arange(len(document)) - np.repeat(np.cumsum(parts) - parts, parts)
    first = starts[document] + within * context
    return first, np.minimum(context, ends[document] - first)


def best_fit(lengths: NDArray, context: int) -> NDArray:
    """The row of each piece, by best-fit decreasing: longest first, each into the row with the least room that takes it.

    All pieces of one length are placed at once, so the work grows with the lengths there are, not with the pieces.
    Raises ValueError for a piece longer than a row.
    """
    if len(lengths) and lengths.max() > context:
        raise ValueError(f"a piece of {lengths.max()} is longer than a row of {context}")
    row = np.empty(len(lengths), dtype=np.int64)
    rows = 0
    for begin in range(0, len(lengths), CHUNK):
        rows = _best_fit(lengths[begin : begin + CHUNK], context, rows, row[begin : begin + CHUNK])
    return row


def _best_fit(lengths: NDArray, context: int, rows: int, into: NDArray) -> int:
    """Fill `into` with rows numbered from `rows` on; returns how many there are now."""
    order = np.argsort(-lengths, kind="stable")
    room: list[list[NDArray]] = [[] for _ in range(context + 1)]  # rows by the room they have
    some = np.zeros(context + 1, dtype=bool)
    borders = np.flatnonzero(np.diff(lengths[order])) + 1
    for group in np.split(order, borders):
        if not len(group):
            continue
        length = int(lengths[group[0]])
        while len(group):
            least = length + int(np.argmax(some[length:]))
            if some[least]:
                free = np.concatenate(room[least])
                room[least] = []
                some[least] = False
            else:
                least = context
                free = np.arange(rows, rows + -(-len(group) // (context // length)))
                rows += len(free)
            each = least // length  # pieces of this length that such a row takes
            used = free[: -(-len(group) // each)]
            placed = np.repeat(used, each)[: len(group)]
            into[group[: len(placed)]] = placed
            group = group[len(placed) :]
            full = len(placed) // each  # rows that took as many as they can; one more may have taken fewer
            for left, some_rows in (
                (least - each * length, used[:full]), (least - (len(placed) - full * each) * length, used[full:]), (least, free[len(used) :]),
            ):  # fmt: skip
                if left and len(some_rows):
                    room[left].append(some_rows)
                    some[left] = True
    return rows


Transform = Callable[[NDArray, np.random.Generator], tuple[NDArray, np.ndarray[Any, np.dtype[np.float32]]]]
"""A piece, (n + 1,), to another with the weights of its targets, (m + 1,) and (m,); see transforms.py."""


def transformed(rows: Rows, wanted: Numbers, shifts: Numbers, context: int, pad: int, transform: Transform, draws: Sequence[np.random.Generator]) -> Block:
    """Rows whose pieces are rewritten, each with its row's own draws; what grows over the end of the row is cut off."""
    shape = len(wanted), context
    block = Block(np.full(shape, pad), np.full(shape, pad), np.zeros(shape, np.float32), np.zeros(shape, bool))
    for at, (row, shift, draw) in enumerate(zip(wanted.tolist(), shifts.tolist(), draws, strict=True)):
        place = 0
        for piece in rows.pieces(row, shift):
            if place == context:
                break
            sequence, weights = transform(piece, draw)
            length = min(len(weights), context - place)
            end = place + length
            block.tokens[at, place:end] = sequence[:length]
            block.targets[at, place:end] = sequence[1 : length + 1]
            block.weights[at, place:end] = weights[:length]
            block.opens[at, place] = True
            place = end
        if place < context:
            block.opens[at, place] = True
    return block
