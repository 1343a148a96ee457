"""What is learned: an objective maps (model, batch) to sums; the trainer divides once by the global weight sum.

Shapes: B batch, T time, D model width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from torch import Tensor

from groundup.models.decoder import Decoder
from groundup.training.cross_entropy import head_loss

Batch = dict[str, Tensor]
"""`tokens`, `targets`, `weights` (0 = not trained on), `positions`, `segments`; each (B, T)."""


@dataclass(frozen=True)
class Sums:
    """Sums over a batch: of weighted losses (nats), of weights, and of anything worth logging."""

    loss_sum: Tensor
    weight_sum: Tensor
    metrics: dict[str, Tensor] = field(default_factory=dict)
    """Further sums; logged divided by `weight_sum`."""


Objective = Callable[[Decoder, Batch], Sums]


@dataclass(frozen=True)
class NextToken:
    """Weighted cross-entropy of each target; with weights of 0 and 1 the usual language-model loss.

    Pretraining weighs every token within a document 1; supervised tuning weighs the answers alone.
    """

    label_smoothing: float = 0.0
    z_loss: float = 0.0

    def __call__(self, model: Decoder, batch: Batch) -> Sums:
        """The sums; where smoothing or the z-loss is on, `metrics` has the plain cross-entropy beside it."""
        segments = batch["segments"]
        whole = bool((segments == segments[:, :1]).all())  # rows of one document each need no mask, which costs time
        x_BTD = model.hidden(batch["tokens"], batch["positions"], None if whole else segments)
        weights = batch["weights"].flatten()
        loss = head_loss(
            x_BTD.flatten(0, 1), model.head_weight, batch["targets"].flatten(), weights,
            softcap=model.config.softcap, label_smoothing=self.label_smoothing, z_loss=self.z_loss,
        )  # fmt: skip
        plain = {"cross_entropy": loss.nll_sum} if self.label_smoothing or self.z_loss else {}
        return Sums(loss.loss_sum, weights.sum(), plain)


next_token = NextToken()
"""Plain cross-entropy."""
