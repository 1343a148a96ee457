"""Batches of packed rows, each a pure function of its step: a run goes on from any step with the very same data.

An epoch cuts the stream of N tokens into N // context windows and visits them in a random order. The stream is a ring
(it ends with the <|end_of_text|> that opens its first document), and each epoch cuts it at another random place, so
the borders of the windows differ from epoch to epoch. Within an epoch every token is a target exactly once, but for
the N % context tokens before the cut.

Shapes: B rows, T time.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from groundup.errors import GroundupError
from groundup.tokens.packing import segments_and_positions
from groundup.tokens.shards import TokenSplit


class Loader:
    """A batch source: `loader(step, micro)` gives the tensors of one micro-batch.

    `context`: tokens a row (T); `rows`: rows a micro-batch (B); `micro_batches`: micro-batches a step. Raises
    GroundupError where the split is shorter than one row.
    """

    def __init__(self, split: TokenSplit, context: int, rows: int, micro_batches: int, seed: int) -> None:
        self.split, self.context, self.rows, self.micro_batches, self.seed = split, context, rows, micro_batches, seed
        self.windows = len(split.tokens) // context
        """Rows an epoch has."""
        if self.windows == 0:
            raise GroundupError(
                f"the text has {len(split.tokens):,} tokens, fewer than one context of {context:,}", where="tokens",
                do="Add text, or set model.context lower.",
            )  # fmt: skip
        self._epoch = lru_cache(maxsize=2)(self._draw)  # a batch may straddle two epochs

    @property
    def steps_per_epoch(self) -> float:
        """Optimizer steps that see each window once."""
        return self.windows / (self.rows * self.micro_batches)

    def __call__(self, step: int, micro: int) -> dict[str, Tensor]:
        """The micro-batch: tokens, targets, positions and segments int64, weights float32 (all ones); each (B, T)."""
        first = (step * self.micro_batches + micro) * self.rows
        stretch_BT = np.empty((self.rows, self.context + 1), dtype=np.int64)
        for row in range(self.rows):
            self._read(self._start(first + row), stretch_BT[row])
        tokens_BT = np.ascontiguousarray(stretch_BT[:, :-1])
        segments_BT, positions_BT = segments_and_positions(tokens_BT, self.split.end_of_text)
        return {
            "tokens": torch.from_numpy(tokens_BT),
            "targets": torch.from_numpy(np.ascontiguousarray(stretch_BT[:, 1:])),
            "weights": torch.ones(tokens_BT.shape),
            "positions": torch.from_numpy(positions_BT),
            "segments": torch.from_numpy(segments_BT),
        }

    def _start(self, number: int) -> int:
        """Place in the stream of the first target of the run's row `number`."""
        epoch, place = divmod(number, self.windows)
        shift, order = self._epoch(epoch)
        return (shift + int(order[place]) * self.context) % len(self.split.tokens)

    def _draw(self, epoch: int) -> tuple[int, np.ndarray[Any, np.dtype[np.int64]]]:
        """Where an epoch cuts the ring, and the order of its windows."""
        generator = np.random.Generator(np.random.PCG64([self.seed % 2**64, epoch]))
        return int(generator.integers(len(self.split.tokens))), generator.permutation(self.windows)

    def _read(self, start: int, into: np.ndarray[Any, np.dtype[np.int64]]) -> None:
        """The token before `start` and the `context` tokens from there on, around the ring."""
        tokens = self.split.tokens
        head = tokens[start : start + self.context]
        into[0] = tokens[start - 1]  # of the first token, the last one: <|end_of_text|>
        into[1 : 1 + len(head)] = head
        into[1 + len(head) :] = tokens[: self.context - len(head)]
