"""What fast scoring is held against: every request read whole and alone; and lanes that keep tokens, not keys and values."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from groundup.evaluation.encoding import Pair
from groundup.evaluation.prefix_scorer import Ahead
from groundup.evaluation.scorer import Scored


class PlainScorer:
    """A `Scorer` that shares nothing: one forward pass a request."""

    def __init__(self, model: nn.Module, context: int) -> None:
        self.model, self.context = model, context

    @torch.inference_mode()
    def log_likelihoods(self, pairs: Sequence[Pair]) -> list[Scored]:
        found: list[Scored] = []
        for before, after in pairs:
            tokens_1T = torch.tensor([[*before, *after[:-1]]])
            positions_1T = torch.arange(tokens_1T.shape[1])[None]
            logs_TV = self.model(tokens_1T, positions_1T, None)[0].float().log_softmax(-1)[-len(after) :]
            targets_T = torch.tensor(after)
            total = float(logs_TV.gather(1, targets_T[:, None]).double().sum())
            found.append((total, bool((logs_TV.argmax(-1) == targets_T).all())))
        return found


class UncachedLanes:
    """`Lanes` over `model(tokens, positions, segments)`: a lane holds its tokens, and all of them are read each time."""

    def __init__(self, model: nn.Module, count: int, capacity: int) -> None:
        self.model, self.capacity = model, capacity
        self.held: list[list[int]] = [[] for _ in range(count)]
        self.read = 0
        self.steps: list[list[int]] = []

    def forward(self, pieces: Sequence[Ahead]) -> Tensor:
        lanes = [piece.lane for piece in pieces]
        assert sorted(set(lanes)) == lanes, "a lane twice in a step, or out of order"
        rows: list[Tensor] = []
        self.steps.append([len(piece.tokens) for piece in pieces])
        for piece in pieces:
            assert piece.start <= len(self.held[piece.lane]), "a lane goes on from where it never was"
            assert len(piece.tokens) > 0 and 0 <= piece.wanted <= len(piece.tokens)
            self.held[piece.lane] = [*self.held[piece.lane][: piece.start], *piece.tokens]
            assert len(self.held[piece.lane]) <= self.capacity
            self.read += len(piece.tokens)
            tokens_1T = torch.tensor([self.held[piece.lane]])
            scores_TV = self.model(tokens_1T, torch.arange(tokens_1T.shape[1])[None], None)[0]
            rows.append(scores_TV[len(scores_TV) - piece.wanted :])
        return torch.cat(rows)


def shared_pairs(seed: int, vocabulary: int, groups: int = 3, questions: int = 4, choices: int = 4, examples: int = 12, question: int = 6) -> list[Pair]:
    """Pairs as tasks make them: a long beginning a group, a question each, some choices, shuffled."""
    draw = np.random.default_rng(seed)

    def tokens(size: int) -> list[int]:
        return draw.integers(0, vocabulary, size).tolist()

    pairs: list[Pair] = []
    for _ in range(groups):
        shown = tokens(int(draw.integers(1, examples + 1)))
        for _ in range(questions):
            asked = [*shown, *tokens(int(draw.integers(1, question + 1)))]
            pairs += [(asked, tokens(int(draw.integers(1, 4)))) for _ in range(int(draw.integers(1, choices + 1)))]
            if draw.random() < 0.3:
                pairs.append((asked, [*pairs[-1][1], *tokens(2)]))  # an answer that begins like another
    return [pairs[place] for place in draw.permutation(len(pairs))]
