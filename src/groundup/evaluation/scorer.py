"""What a scorer is: token sequences in, likelihoods out. Tasks know nothing of models, models nothing of tasks.

    pairs    ([17, 4, 90], [8, 2])            context, continuation
    scored   (-3.2, False)                    ln p(8 | 17 4 90) + ln p(2 | 17 4 90 8); whether 8 and 2 were each the likeliest
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from groundup.evaluation.encoding import Pair

Scored = tuple[float, bool]
"""Summed log-probability of the continuation (nats), and whether each of its tokens was the likeliest."""


class Scorer(Protocol):
    """A model that can say how likely a continuation is."""

    @property
    def context(self) -> int:
        """Tokens it reads at once: a pair may have one more, since its last is not read."""
        ...

    def log_likelihoods(self, pairs: Sequence[Pair]) -> list[Scored]:
        """Of each pair, in their order."""
        ...
