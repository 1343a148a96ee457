"""Batches of packed rows, each a pure function of its step: a run goes on from any step with the very same data.

A pass visits all rows (`packing.py`) in a random order (`mixing.py`), each pass in another. Several sources with weights
of their own pass at their own pace. What comes n-th does not depend on how many processes read, how many threads
fetch ahead, or where the run began.

A run may have phases with batches and contexts of their own; a phase with a shorter context cuts the same rows into
shorter ones, so the passes go on across phases.

Shapes: B rows, T time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from groundup.errors import GroundupError
from groundup.tokens.mixing import Mixture, Numbers, Shuffle
from groundup.tokens.packing import Block, Packing, Transform, rows_of, segments_and_positions, transformed
from groundup.tokens.shards import TokenSplit

Batch = dict[str, Tensor]
FAR = 64  # steps that are looked ahead for a process's next share


@dataclass(frozen=True)
class BatchPhase:
    """A stretch of steps with the same batch: `micro_batches` of `rows` rows of `context` tokens."""

    steps: int
    context: int
    rows: int
    micro_batches: int = 1

    @property
    def tokens(self) -> int:
        """Places a step has."""
        return self.context * self.rows * self.micro_batches


def phase_at(phases: Sequence[BatchPhase], step: int) -> BatchPhase:
    """The phase of a step; the last one goes on past its end."""
    for phase in phases:
        if step < phase.steps:
            return phase
        step -= phase.steps
    return phases[-1]


class Loader:
    """A batch source: `loader(step, micro)` gives the tensors of one micro-batch.

    `weights` (by source) mix the sources in these shares; without them each token comes once a pass. `separate`: whether
    attention stays within a document and positions restart with it. The last phase goes on past its end. Raises
    GroundupError where there is no whole row or a weight is missing, ValueError where a phase's micro-batches are no
    whole number of rows of the longest context.
    """

    def __init__(
        self, split: TokenSplit, phases: Sequence[BatchPhase], seed: int, *, packing: Packing = "concatenate",
        weights: Mapping[str, float] | None = None, separate: bool = True, transform: Transform | None = None,
    ) -> None:  # fmt: skip
        self.split, self.phases, self.seed = split, list(phases), seed
        self.context = max(phase.context for phase in phases)
        """Places of the longest row."""
        for phase in phases:
            if self.context % phase.context or phase.rows * phase.context % self.context:
                raise ValueError(f"{phase.rows} rows of {phase.context} tokens are no whole number of windows of {self.context}")
        self._separate, self._transform = separate, transform
        self.sources = _mixed(split, weights) if weights else {"": (split, 1.0)}
        """Split and share of each source that is mixed in."""
        self._rows = [rows_of(one, self.context, packing) for one, _ in self.sources.values()]
        for name, rows in zip(self.sources, self._rows, strict=True):
            if rows.count == 0:
                text = f"the source {name}" if name else "the text"
                tokens = len(self.sources[name][0].tokens)
                raise GroundupError(
                    f"{text} has {tokens:,} tokens, fewer than one context of {self.context:,}", where="tokens",
                    do="Add text, set model.context lower, or set tokens.packing=best-fit.",
                )  # fmt: skip
        self._mixture = Mixture([share for _, share in self.sources.values()])
        self._shuffles = [Shuffle(rows.count, seed + number) for number, rows in enumerate(self._rows)]
        self._shift = lru_cache(maxsize=64)(self._draw_shift)

    @property
    def windows(self) -> int:
        """Rows that all sources have together."""
        return sum(rows.count for rows in self._rows)

    def parts(self, step: int) -> int:
        """Micro-batches a step is cut into."""
        return self._place(step)[0].micro_batches

    def __call__(self, step: int, micro: int) -> Batch:
        """The micro-batch: tokens, targets, positions and segments int64, weights float32; each (B, T)."""
        phase, before = self._place(step)
        windows = phase.rows * phase.context // self.context
        first = before + micro * windows
        block = self._read(np.arange(first, first + windows))
        shape = phase.rows, phase.context
        if self._separate:
            segments_BT, positions_BT = segments_and_positions(block.opens.reshape(shape))
        else:
            segments_BT = np.zeros(shape, dtype=np.int64)
            positions_BT = np.broadcast_to(np.arange(phase.context), shape).copy()
        return {
            "tokens": torch.from_numpy(block.tokens.reshape(shape)),
            "targets": torch.from_numpy(block.targets.reshape(shape)),
            "weights": torch.from_numpy(block.weights.reshape(shape)),
            "positions": torch.from_numpy(positions_BT),
            "segments": torch.from_numpy(segments_BT),
        }

    def _place(self, step: int) -> tuple[BatchPhase, int]:
        """The step's phase, and the rows that all steps before it read."""
        begin = before = 0
        for number, phase in enumerate(self.phases):
            windows = phase.tokens // self.context
            if step < begin + phase.steps or number + 1 == len(self.phases):
                return phase, before + (step - begin) * windows
            begin, before = begin + phase.steps, before + phase.steps * windows
        raise AssertionError("a run has at least one phase")

    def _read(self, numbers: Numbers) -> Block:
        """The run's rows of these numbers."""
        if len(self._rows) == 1:
            return self._read_source(0, numbers, numbers)
        source, visits = self._mixture(numbers)
        shape = len(numbers), self.context
        whole = Block(np.empty(shape, np.int64), np.empty(shape, np.int64), np.empty(shape, np.float32), np.empty(shape, bool))
        for one in np.unique(source).tolist():
            chosen = source == one
            part = self._read_source(one, visits[chosen], numbers[chosen])
            whole.tokens[chosen], whole.targets[chosen] = part.tokens, part.targets
            whole.weights[chosen], whole.opens[chosen] = part.weights, part.opens
        return whole

    def _read_source(self, source: int, visits: Numbers, numbers: Numbers) -> Block:
        """Rows of one source, by how many of it came before; `numbers` are the run's own, for draws."""
        passes, rows = self._shuffles[source](visits)
        shifts = np.array([self._shift(source, number) for number in passes.tolist()], dtype=np.int64)
        if self._transform is None:
            return self._rows[source].read(rows, shifts)
        draws = [np.random.Generator(np.random.PCG64([self.seed % 2**64, 1, number])) for number in numbers.tolist()]
        return transformed(self._rows[source], rows, shifts, self.context, self.split.pad, self._transform, draws)

    def _draw_shift(self, source: int, number: int) -> int:
        """Where pass `number` cuts the source's ring."""
        return int(np.random.Generator(np.random.PCG64([self.seed % 2**64, 0, source, number])).integers(2**62))


def _mixed(split: TokenSplit, weights: Mapping[str, float]) -> dict[str, tuple[TokenSplit, float]]:
    """The sources that have both text and a weight above 0."""
    if missing := [name for name in split.sources if name not in weights]:
        raise GroundupError(f"no weight for the source {missing[0]}", where="sources", do="Give each source a weight, or none.")
    empty = [name for name, weight in weights.items() if weight > 0 and name not in split.sources]
    if empty:
        raise GroundupError(f"the source {empty[0]} left no training text to mix in", where="sources", do="Add text to it, or set its weight to 0.")
    return {name: (split.source(name), weights[name]) for name in split.sources if weights[name] > 0}


class Batches(Protocol):
    """A batch source as the trainer calls it."""

    def __call__(self, step: int, micro: int) -> Batch:
        """One micro-batch."""

    def parts(self, step: int) -> int:
        """Micro-batches a step is cut into."""


class Ahead:
    """A batch source read ahead by `workers` threads, in the order in which one process asks for batches.

    `share` says which of a step's micro-batches this process takes. Asked for another batch than the next one, it begins
    anew there.
    """

    def __init__(self, batches: Batches, workers: int, share: Callable[[int], range] = range) -> None:
        self._batches, self._share = batches, share
        self._workers = workers
        self._pool = ThreadPoolExecutor(workers, "batches")
        self._waiting: deque[tuple[tuple[int, int], Future[Batch]]] = deque()
        self._next: tuple[int, int] | None = None

    def parts(self, step: int) -> int:
        """Micro-batches a step is cut into."""
        return self._batches.parts(step)

    def __call__(self, step: int, micro: int) -> Batch:
        """One micro-batch."""
        if not self._waiting or self._waiting[0][0] != (step, micro):
            for _, future in self._waiting:
                future.cancel()
            self._waiting.clear()
            self._next = (step, micro)
        while self._next is not None and len(self._waiting) < 2 * self._workers:
            self._waiting.append((self._next, self._pool.submit(self._batches, *self._next)))
            self._next = self._after(*self._next)
        return self._waiting.popleft()[1].result()

    def close(self) -> None:
        """Let the threads go."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _after(self, step: int, micro: int) -> tuple[int, int] | None:
        """The batch that this process asks for next; None where it has no share in the next steps."""
        later = [one for one in self._share(self.parts(step)) if one > micro]
        for following in range(step + 1, step + 1 + FAR):
            if later:
                return step, later[0]
            step, later = following, list(self._share(self.parts(following)))
        return (step, later[0]) if later else None
