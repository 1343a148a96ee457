"""Input-output pairs: rows of T tokens cut from the joined documents, each token with the one that follows it.

    stream     E  a  a  a  E  b  b  b  b  E  c ...      E is <|end_of_text|>
    tokens     E  a  a  a  E  b  b  b                   one row, T = 8
    targets    a  a  a  E  b  b  b  b                   what comes next
    segments   0  0  0  0  1  1  1  1                   E begins the next document: its first token is learned from E
    positions  0  1  2  3  0  1  2  3

Each epoch the stream is cut anew, shifted by a random number of tokens, and its rows are shuffled; both follow from
(seed, epoch) alone. A batch is therefore a pure function of its step, and there is no state to save.

Shapes: B rows, T time.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from groundup.errors import GroundupError
from groundup.tokens.shards import TokenSplit


class Loader:
    """A batch source over one split."""

    def __init__(self, split: TokenSplit, context: int, rows: int, micro_batches: int, seed: int) -> None:
        self.split, self.context, self.rows, self.micro_batches, self.seed = split, context, rows, micro_batches, seed
        if len(split.tokens) < context + 1:
            raise GroundupError(
                f"{len(split.tokens):,} tokens are fewer than one context of {context}", where="tokens",
                do="Add text, or set model.context lower.",
            )  # fmt: skip
        # a shift of up to a context must leave as many rows in every epoch
        self._shifts = min(context, len(split.tokens) - context)
        self.rows_per_epoch = (len(split.tokens) - self._shifts) // context
        self._epoch, self._shift = -1, 0
        self._order: npt.NDArray[np.int64] = np.empty(0, np.int64)

    def __call__(self, step: int, micro: int) -> dict[str, Tensor]:
        """The micro-batch `micro` of step `step`, five tensors of (B, T)."""
        first = (step * self.micro_batches + micro) * self.rows
        rows = np.stack([self._row(number) for number in range(first, first + self.rows)])
        return batch(rows, self.split.end_of_text)

    def _row(self, number: int) -> npt.NDArray[Any]:
        """T + 1 ids of the row that is `number`-th over all epochs."""
        epoch, place = divmod(number, self.rows_per_epoch)
        if epoch != self._epoch:
            generator = np.random.Generator(np.random.PCG64([self.seed, epoch]))
            self._shift = int(generator.integers(self._shifts))
            self._order = generator.permutation(self.rows_per_epoch)
            self._epoch = epoch
        start = self._shift + int(self._order[place]) * self.context
        return self.split.tokens[start : start + self.context + 1]


def batch(rows: npt.NDArray[Any], end_of_text: int) -> dict[str, Tensor]:
    """Rows of T + 1 ids as tokens, targets, weights, positions and segments, each (B, T)."""
    ids = rows.astype(np.int64)
    tokens = ids[:, :-1]
    begins = tokens == end_of_text
    places = np.broadcast_to(np.arange(tokens.shape[1]), tokens.shape)
    last_begin = np.maximum.accumulate(np.where(begins, places, 0), axis=1)
    return {
        "tokens": torch.from_numpy(np.ascontiguousarray(tokens)),
        "targets": torch.from_numpy(np.ascontiguousarray(ids[:, 1:])),
        "weights": torch.ones(tokens.shape),
        "positions": torch.from_numpy(places - last_begin),
        "segments": torch.from_numpy(np.cumsum(begins, axis=1)),
    }
