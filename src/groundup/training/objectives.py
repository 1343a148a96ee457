"""What is learned: an objective maps (model, batch) to sums; the trainer divides once by the global weight sum.

Shapes: B batch, T time, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor
from torch.nn import functional as F

Batch = dict[str, Tensor]
"""`tokens`, `targets`, `weights` (0 = not trained on), `positions`, `segments`; each (B, T)."""


@dataclass(frozen=True)
class Sums:
    """Sums over a batch: of weighted losses (nats), of weights, and of anything worth logging."""

    loss_sum: Tensor
    weight_sum: Tensor
    metrics: dict[str, Tensor] = field(default_factory=dict)


Forward = Callable[..., Any]
"""A model, compiled or not: (tokens, positions, segments) to logits."""

Objective = Callable[[Forward, Batch], Sums]


def next_token(model: Forward, batch: Batch) -> Sums:
    """Weighted cross-entropy of each target; with weights of 0 and 1 the usual language-model loss.

    Pretraining weighs every token within a document 1; supervised tuning weighs the answers alone.
    """
    logits_BTV = model(batch["tokens"], batch["positions"], batch["segments"])
    losses = F.cross_entropy(logits_BTV.flatten(0, 1), batch["targets"].flatten(), reduction="none")
    weights = batch["weights"].flatten()
    return Sums((losses * weights).sum(), weights.sum())
