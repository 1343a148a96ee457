"""What stops a run before it wastes time: each cause has its own sentence."""

from __future__ import annotations

import math

from groundup.errors import GroundupError

FIRST_LOSS_SLACK = 1.0  # nats; a sensible initialisation starts within a few hundredths of ln(vocabulary)


def check_first_loss(loss: float, vocabulary: int) -> None:
    """A fresh model knows nothing: its loss must be near ln(vocabulary)."""
    expected = math.log(vocabulary)
    if abs(loss - expected) > FIRST_LOSS_SLACK:
        raise GroundupError(
            f"the first loss is {loss:.3f} nats, far from ln(vocabulary) = {expected:.3f}", where="step 0",
            do="The initialisation or the data is wrong: lower model.init_std, or look at the tokens.",
        )


def check_finite(loss: float, gradient_norm: float, step: int, rows: str) -> None:
    """A loss or gradient that is not a number ends the run; the last checkpoint is from before it."""
    for name, value in (("loss", loss), ("gradient norm", gradient_norm)):
        if not math.isfinite(value):
            raise GroundupError(
                f"the {name} is {value}", where=f"step {step}, {rows}",
                do="The last good checkpoint is kept. Lower training.learning_rate or training.clip, and start again.",
            )


def check_weights(weight_sum: float, step: int) -> None:
    """A batch with nothing to learn from would divide by zero and teach nothing."""
    if weight_sum <= 0:
        raise GroundupError(
            "every target is masked: the batch has no token to learn from", where=f"step {step}",
            do="Look at the data: answers may be empty or cut off by the context.",
        )
