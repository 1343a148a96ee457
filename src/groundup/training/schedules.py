"""How the learning rate moves over a run: its share of the peak as a function of the run's progress.

Progress is the share of the run's tokens seen, so that a schedule keeps its form when the batch grows on the way. A
step goes from `before` to `after`, both in [0, 1]; with a constant batch they are step / steps and (step + 1) / steps.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from groundup.recipe import Training

Kind = Literal["constant", "step", "exponential", "linear", "cosine", "inverse_sqrt", "wsd", "one_cycle"]
Shape = Literal["linear", "sqrt", "cosine"]
ONE_CYCLE_START = 1 / 25  # of the peak, as in torch's OneCycleLR


@dataclass(frozen=True)
class Schedule:
    """The learning rate's share of the peak: a linear warm-up, then the kind's own course.

    With x the share of the way from the end of the warm-up to the end of the run and f the `final_share`:

    - constant: 1
    - step: `step_factor` to the power of how many of `step_at` are behind (He et al. 2016)
    - exponential: f^x
    - linear: 1 - (1 - f) x
    - cosine: f + (1 - f) (1 + cos(pi x)) / 2 (Loshchilov & Hutter 2017; GPT-3, LLaMA: f = 0.1)
    - inverse_sqrt: sqrt(warmup / progress) (Vaswani et al. 2017)
    - wsd: 1, then over the last `cooldown` of the run down to f, as a line, as 1 - sqrt(x) (Hägele et al. 2024) or as a
      half cosine (trapezoid; warm-up, stable, decay: Hu et al. 2024)
    - one_cycle: up from 1/25 and down to f, both as half cosines (Smith & Topin 2018)
    """

    kind: Kind = "cosine"
    warmup: float = 0.02
    final_share: float = 0.1
    cooldown: float = 0.4
    cooldown_shape: Shape = "linear"
    step_at: tuple[float, ...] = (0.5, 0.75)
    step_factor: float = 0.1

    @classmethod
    def of(cls, training: Training) -> Schedule:
        """The schedule that a recipe's training section asks for."""
        return cls(
            training.schedule, training.warmup, training.falls_to, training.cooldown, training.cooldown_shape,
            tuple(training.step_at), training.step_factor,
        )  # fmt: skip

    def __call__(self, before: float, after: float) -> float:
        """Share of the peak for the step that goes from `before` to `after`."""
        if self.kind == "one_cycle":
            if before < self.warmup:
                return _cosine(ONE_CYCLE_START, 1.0, before / self.warmup)
            return _cosine(1.0, self.final_share, (before - self.warmup) / (1 - self.warmup))
        if before < self.warmup and after < self.warmup:
            return after / self.warmup  # the first step moves already
        if self.kind == "constant":
            return 1.0
        if self.kind == "step":
            return self.step_factor ** sum(before >= place for place in self.step_at)
        if self.kind == "inverse_sqrt":
            return math.sqrt(min(1.0, max(self.warmup, after - before) / after))
        if self.kind == "wsd":
            begin = 1 - self.cooldown
            return 1.0 if before <= begin else self._cool((before - begin) / self.cooldown)
        x = max(0.0, before - self.warmup) / (1 - self.warmup)
        if self.kind == "exponential":
            return float(self.final_share**x)
        if self.kind == "linear":
            return 1 - (1 - self.final_share) * x
        return _cosine(1.0, self.final_share, x)

    def _cool(self, x: float) -> float:
        if self.cooldown_shape == "cosine":
            return _cosine(1.0, self.final_share, x)
        return 1 - (1 - self.final_share) * (math.sqrt(x) if self.cooldown_shape == "sqrt" else x)


def _cosine(first: float, last: float, x: float) -> float:
    return last + (first - last) * 0.5 * (1 + math.cos(math.pi * min(1.0, x)))
