"""Batches of packed rows, each a pure function of its step: a run goes on from any step with the very same data.

An epoch cuts the stream of N tokens into N // context windows and visits them in a random order. The stream is a ring
(it ends with the <|end_of_text|> that opens its first document), and each epoch cuts it at another random place, so
the borders of the windows differ from epoch to epoch. Within an epoch every token is a target exactly once, but for
the N % context tokens before the cut.

A run may have phases with batches and contexts of their own; a phase with a shorter context cuts the same windows into
shorter rows, so the epochs go on across phases.

Shapes: B rows, T time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from groundup.errors import GroundupError
from groundup.tokens.packing import segments_and_positions
from groundup.tokens.shards import TokenSplit


@dataclass(frozen=True)
class BatchPhase:
    """A stretch of steps with the same batch: `micro_batches` of `rows` rows of `context` tokens."""

    steps: int
    context: int
    rows: int
    micro_batches: int = 1

    @property
    def tokens(self) -> int:
        """Tokens a step sees."""
        return self.context * self.rows * self.micro_batches


class Loader:
    """A batch source: `loader(step, micro)` gives the tensors of one micro-batch.

    The last phase goes on past its end. Raises GroundupError where the split is shorter than one row, ValueError where a
    phase's micro-batches are no whole number of windows of the longest context.
    """

    def __init__(self, split: TokenSplit, phases: Sequence[BatchPhase], seed: int) -> None:
        self.split, self.phases, self.seed = split, list(phases), seed
        self.context = max(phase.context for phase in phases)
        """Tokens of a window (the longest row)."""
        for phase in phases:
            if self.context % phase.context or phase.rows * phase.context % self.context:
                raise ValueError(f"{phase.rows} rows of {phase.context} tokens are no whole number of windows of {self.context}")
        self.windows = len(split.tokens) // self.context
        """Windows an epoch has."""
        if self.windows == 0:
            raise GroundupError(
                f"the text has {len(split.tokens):,} tokens, fewer than one context of {self.context:,}", where="tokens",
                do="Add text, or set model.context lower.",
            )  # fmt: skip
        self._epoch = lru_cache(maxsize=2)(self._draw)  # a batch may straddle two epochs

    def parts(self, step: int) -> int:
        """Micro-batches a step is cut into."""
        return self._place(step)[0].micro_batches

    def __call__(self, step: int, micro: int) -> dict[str, Tensor]:
        """The micro-batch: tokens, targets, positions and segments int64, weights float32 (all ones); each (B, T)."""
        phase, before = self._place(step)
        windows = phase.rows * phase.context // self.context
        first = before + micro * windows
        cuts = self.context // phase.context
        stretch = np.empty(self.context + 1, dtype=np.int64)
        stretch_BT = np.empty((phase.rows, phase.context + 1), dtype=np.int64)
        for window in range(windows):
            self._read(self._start(first + window), stretch)
            for cut in range(cuts):
                stretch_BT[window * cuts + cut] = stretch[cut * phase.context : (cut + 1) * phase.context + 1]
        tokens_BT = np.ascontiguousarray(stretch_BT[:, :-1])
        segments_BT, positions_BT = segments_and_positions(tokens_BT, self.split.end_of_text)
        return {
            "tokens": torch.from_numpy(tokens_BT),
            "targets": torch.from_numpy(np.ascontiguousarray(stretch_BT[:, 1:])),
            "weights": torch.ones(tokens_BT.shape),
            "positions": torch.from_numpy(positions_BT),
            "segments": torch.from_numpy(segments_BT),
        }

    def _place(self, step: int) -> tuple[BatchPhase, int]:
        """The step's phase, and the windows that all steps before it read."""
        begin = before = 0
        for number, phase in enumerate(self.phases):
            windows = phase.tokens // self.context
            if step < begin + phase.steps or number + 1 == len(self.phases):
                return phase, before + (step - begin) * windows
            begin, before = begin + phase.steps, before + phase.steps * windows
        raise AssertionError("a run has at least one phase")

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
