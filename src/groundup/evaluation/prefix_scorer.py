"""Likelihoods from a decoder that keeps what it has read: what requests share is computed once (`prefix_plan.py` says in which order).

The model is behind a small interface, a cache of lanes that can go back and read on:

    lanes.forward([Ahead(lane=0, start=0, tokens=[5, 9, 9, 2], wanted=1), Ahead(lane=3, start=812, tokens=[7], wanted=1)])
        -> scores of each next token, one row for each wanted place, in that order

Only rows that somebody asked for are multiplied with the head, so of a prompt of a thousand tokens and an answer of one there is one row.

Shapes: W wanted places of a step, R reads among them, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from groundup.evaluation.encoding import Pair
from groundup.evaluation.prefix_plan import Budget, Piece, Text, plan
from groundup.evaluation.scorer import Scored

BATCH_TOKENS = 8192  # of a step
CACHE_TOKENS = BATCH_TOKENS  # of all lanes
MOST_LANES = 256
SCORE_BYTES = 1 << 28  # of a step's scores: 1,300 places of a vocabulary of 50,000 in float32


@dataclass(frozen=True)
class Ahead:
    """A lane goes back to `start` tokens and reads on; the scores after its last `wanted` tokens are returned."""

    lane: int
    start: int
    tokens: list[int]
    wanted: int


class Lanes(Protocol):
    """A model's cache, cut into lanes of a fixed capacity."""

    def forward(self, pieces: Sequence[Ahead]) -> Tensor:
        """Scores (W, V) of each next token after each wanted place. Lanes are all different, in their order; one without wanted places reads only."""
        ...


class PrefixScorer:
    """A `Scorer`. `lanes(count, capacity)` makes the cache for a set of requests: `count` texts of `capacity` tokens at most."""

    def __init__(
        self, lanes: Callable[[int, int], Lanes], context: int, vocabulary: int, *, batch_tokens: int = BATCH_TOKENS, cache_tokens: int = CACHE_TOKENS
    ) -> None:
        self._lanes, self.context, self._batch_tokens, self._cache_tokens = lanes, context, batch_tokens, cache_tokens
        self._scores = max(1, SCORE_BYTES // (4 * vocabulary))
        self.tokens_asked = self.tokens_read = 0
        """What the requests have together, and what was read for them."""

    @torch.inference_mode()
    def log_likelihoods(self, pairs: Sequence[Pair]) -> list[Scored]:
        """Of each pair, in their order; pairs must fit (`encoding.fit`). Summed in float64."""
        if not pairs:
            return []
        texts = [Text(np.array([*before, *after[:-1]], dtype=np.uint32), after) for before, after in pairs]
        longest = max(len(text.tokens) for text in texts)
        count = max(1, min(self._cache_tokens // longest, MOST_LANES, len(texts)))
        lanes = self._lanes(count, longest)
        totals, greedy = np.zeros(len(texts)), np.ones(len(texts), dtype=bool)
        for step in plan(texts, Budget(count, self._batch_tokens, self._scores)):
            scores_WV = lanes.forward([Ahead(piece.lane, piece.start, piece.tokens.tolist(), piece.wanted) for piece in step])
            _read(step, scores_WV, totals, greedy)
            self.tokens_read += sum(len(piece.tokens) for piece in step)
        self.tokens_asked += sum(len(text.tokens) for text in texts)
        return list(zip(totals.tolist(), greedy.tolist(), strict=True))


def _read(step: Sequence[Piece], scores_WV: Tensor, totals: NDArray[np.float64], greedy: NDArray[np.bool_]) -> None:
    """Give each text what it reads of a step's scores."""
    rows: list[int] = []
    targets: list[int] = []
    owners: list[int] = []
    done = 0
    for piece in step:
        begin = done - (len(piece.tokens) - piece.wanted)  # row of the piece's place 0, were all its places wanted
        for read in piece.reads:
            rows += range(begin + read.first, begin + read.first + len(read.targets))
            targets += read.targets
            owners += [read.text] * len(read.targets)
        done += piece.wanted
    if not rows:
        return
    row_R, target_R = torch.tensor(rows, device=scores_WV.device), torch.tensor(targets, device=scores_WV.device)
    scores_WV = scores_WV.float()
    log_sum_W, likeliest_W = scores_WV.logsumexp(dim=-1), scores_WV.argmax(dim=-1)
    found_R = (scores_WV[row_R, target_R] - log_sum_W[row_R]).double().cpu().numpy()
    right_R = (likeliest_W[row_R] == target_R).cpu().numpy()
    np.add.at(totals, owners, found_R)
    np.logical_and.at(greedy, owners, right_R)
