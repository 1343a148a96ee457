"""Which text each slot of the engine holds, and which of it a new prompt can go on from.

A slot that is given back keeps its text until it is needed: a chat's next turn begins with the turns before it, and
prompts with one system message begin alike, so what was computed for the one serves the other.

    slot 0   busy   S y s t e m . U : a ? A : b        new prompt   S y s t e m . U : c ?
    slot 1   free   S y s t e m . U : c                goes on in slot 1 after 10 tokens, 2 remain to be read
    slot 2   free   (empty)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

WORTH_COPYING = 8  # tokens; fewer are computed as fast as they are copied


class Slots:
    """`count` slots for texts of at most `context` tokens.

    `copy(source, target, length)` moves what was computed for the first tokens of one slot to another; None where
    nothing can be shared (each text is read anew, or hangs on more than its tokens).
    """

    def __init__(self, count: int, context: int, copy: Callable[[int, int, int], None] | None) -> None:
        self.count, self.context = count, context
        self._copy = copy
        self.tokens = np.zeros((count, context), dtype=np.int64)
        self.lengths = [0] * count
        self._busy = [False] * count
        self._used = list(range(-count, 0))
        self._clock = 0

    @property
    def free(self) -> int:
        """Slots that nobody uses."""
        return self._busy.count(False)

    def text(self, slot: int) -> list[int]:
        """The tokens a slot holds."""
        held: list[int] = self.tokens[slot, : self.lengths[slot]].tolist()
        return held

    def write(self, slot: int, tokens: Sequence[int]) -> int:
        """Put tokens after those that are there; returns the place of the first."""
        start = self.lengths[slot]
        self.lengths[slot] = end = start + len(tokens)
        self.tokens[slot, start:end] = tokens
        return start

    def cut(self, slot: int, length: int) -> None:
        """Forget what comes after `length` tokens."""
        self.lengths[slot] = min(length, self.lengths[slot])

    def take(self, prompt: Sequence[int]) -> tuple[int, int]:
        """A free slot for a prompt and how many of its first tokens are already in it; never all, since the last one's scores
        are wanted. There has to be a free slot."""
        free = [slot for slot in range(self.count) if not self._busy[slot]]
        shared = self._shared(prompt)
        best = (
            max(range(self.count), key=lambda slot: (shared[slot], not self._busy[slot]))
            if shared
            else free[0]
        )
        kept = shared[best] if shared else 0
        if kept < WORTH_COPYING:
            slot, kept = self._oldest(free), 0
        elif not self._busy[best] and 2 * kept >= self.lengths[best]:
            slot = best  # little is lost of what it holds
        else:
            slot = self._oldest(free)
            if slot != best:
                self.duplicate(best, slot, kept)
        self.lengths[slot] = kept
        self._busy[slot] = True
        return slot, kept

    def duplicate(self, source: int, target: int, length: int | None = None) -> None:
        """The first `length` tokens (all) of one slot, and what was computed for them, in place of another's."""
        assert self._copy is not None, "nothing can be shared here"
        length = self.lengths[source] if length is None else length
        self._copy(source, target, length)
        self.tokens[target, :length] = self.tokens[source, :length]
        self.lengths[target] = length

    def give_back(self, slot: int) -> None:
        """Nobody uses it any more; its text stays until the slot is needed."""
        self._clock += 1
        self._busy[slot], self._used[slot] = False, self._clock

    def shares(self, prompt: Sequence[int], other: Sequence[int]) -> int:
        """How many tokens two prompts begin with alike, if anything can be shared at all; the last of the first is not counted."""
        return 0 if self._copy is None else _common(np.array(prompt[:-1]), np.array(other))

    def _shared(self, prompt: Sequence[int]) -> list[int]:
        if self._copy is None:
            return []
        wanted = np.array(prompt[:-1], dtype=np.int64)
        return [_common(wanted, self.tokens[slot, : self.lengths[slot]]) for slot in range(self.count)]

    def _oldest(self, free: list[int]) -> int:
        """An empty slot, else the one given back longest ago; the lowest of several, so that busy ones lie together."""
        return min(
            free, key=lambda slot: (self.lengths[slot] > 0, self._used[slot] if self.lengths[slot] else slot)
        )


def _common(one: np.ndarray[Any, Any], other: np.ndarray[Any, Any]) -> int:
    length = min(len(one), len(other))
    differs = one[:length] != other[:length]
    return int(differs.argmax()) if differs.any() else length
