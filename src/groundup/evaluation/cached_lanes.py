"""The engine's lean program as lanes: what a decoder has read stays in its slot, and a slot goes back by forgetting its end."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from groundup.errors import RequestError
from groundup.evaluation.prefix_scorer import Ahead, PrefixScorer
from groundup.generation.cache import Piece
from groundup.generation.runner import CachedRunner
from groundup.generation.weights import Precision
from groundup.models.build import Model
from groundup.models.decoder import Decoder


class CachedLanes:
    """`Lanes` of a decoder; `lay_out` before each set of requests.

    In fp32 and where the kernels know the model its own weights are read, but for queries and keys that a rotation turns, whose
    rows are copied in another order. So a model that is trained on needs new lanes.
    """

    def __init__(self, model: Decoder, precision: Precision = "fp32") -> None:
        self._runner = CachedRunner(model, 0, precision, 1, 1)  # a decoder has no use for the padding token

    def lay_out(self, count: int, capacity: int) -> CachedLanes:
        """So many lanes of so many tokens, all empty."""
        self._runner.lay_out(count, capacity)
        return self

    def forward(self, pieces: Sequence[Ahead]) -> Tensor:
        """Scores (W, V) of the wanted places."""
        for piece in pieces:
            self._runner.slots.cut(piece.lane, piece.start)
        return self._runner.forward([Piece(piece.lane, piece.tokens, piece.wanted) for piece in pieces])


def scorer_of(model: Model, precision: Precision = "fp32") -> PrefixScorer:
    """What says how likely a model's continuations are. Raises RequestError for one that does not read from left to right."""
    if not isinstance(model, Decoder):
        raise RequestError(
            f"a model of kind {model.config.kind} gives no likelihood of what follows a text", where="evaluation",
            do="Evaluate a decoder (gpt, llama, falcon, ...); its own objective is measured at the end of its build.",
        )  # fmt: skip
    return PrefixScorer(CachedLanes(model, precision).lay_out, model.config.context, model.config.vocabulary)
