"""What saves a run from bad data and bad settings: each cause has its own sentence."""

from __future__ import annotations

import math
from collections import deque
from typing import Any

from groundup.errors import GroundupError

FIRST_LOSS_SLACK = 1.0  # nats; a sensible initialisation starts within a few hundredths of ln(vocabulary)
SELF_CONFIDENT = ("palm", "t5")  # unit embeddings shared with the head: a fresh model is sure that the token it reads comes again
WINDOW = 128  # steps; of OLMo-core's SkipStepAdamW, as is the rule that half of it must be there
LEAST_SPREAD = 0.01  # of the mean: a loss that hardly moves has no sigmas to speak of
MOST_SKIPPED = 10  # steps in a row, then it is no spike
TREND = 64  # steps averaged to see where the loss goes
CLIMBED, DIVERGED = 0.5, 1.0  # nats above the lowest average: no checkpoint is written; the run ends


def check_first_loss(loss: float, vocabulary: int) -> None:
    """A fresh model knows nothing: its loss must be near ln(vocabulary)."""
    expected = math.log(vocabulary)
    if abs(loss - expected) > FIRST_LOSS_SLACK:
        raise GroundupError(
            f"the first loss is {loss:.3f} nats, far from ln(vocabulary) = {expected:.3f}", where="step 0",
            do="The initialisation or the data is wrong: lower model.init_std, or look at the tokens.",
        )


def check_weights(weight_sum: float, step: int) -> None:
    """A batch with nothing to learn from would divide by zero and teach nothing."""
    if weight_sum <= 0:
        raise GroundupError(
            "every target is masked: the batch has no token to learn from", where=f"step {step}",
            do="Look at the data: answers may be empty or cut off by the context.",
        )


def check_processes(bad: dict[int, int], step: int, processes: int) -> None:
    """A number that is none on one of several processes is a broken machine or broken data: all stop, and it is named."""
    if processes == 1 or not bad:
        return
    named = ", ".join(f"process {rank} in its micro-batch {micro}" for rank, micro in sorted(bad.items()))
    raise GroundupError(
        f"a loss that is no number: {named}", where=f"step {step}",
        do="The last good checkpoint is kept. Look at that machine and at that batch (groundup tokens show --batch).",
    )


class SpikeGuard:
    """Judges each step before its update.

    A step is skipped when its loss or gradient norm is no number, or lies more than `sigmas` standard deviations above
    the mean of the last 128 (the rule of OLMo-core's SkipStepAdamW; from 64 steps on). Skipped steps count among them, as
    there: where gradients grow for good, as when a loss leaves its plateau, a few steps are skipped and then no more. Ten
    in a row, or a mean of 64 losses one nat above the lowest such mean, is no spike but divergence: it ends the run.
    """

    def __init__(self, sigmas: float | None, *, falls: bool = True) -> None:
        """`falls`: whether the loss is one that learning makes smaller; a policy's is not."""
        self.sigmas, self._falls = sigmas, falls
        self._losses: deque[float] = deque(maxlen=WINDOW)
        self._norms: deque[float] = deque(maxlen=WINDOW)
        self._taken: deque[float] = deque(maxlen=TREND)
        self._in_a_row = 0
        self._lowest = math.inf
        self.skipped = 0
        """Steps skipped so far."""

    def reason_to_skip(self, loss: float, norm: float, step: int) -> str | None:
        """Why this step must not be taken, or None; then it counts as taken. Raises GroundupError on divergence."""
        reason = self._judge("loss", loss, self._losses) or self._judge("gradient norm", norm, self._norms)
        if math.isfinite(loss) and math.isfinite(norm):
            self._losses.append(loss)
            self._norms.append(norm)
        if reason is not None:
            self.skipped += 1
            self._in_a_row += 1
            if self._in_a_row >= MOST_SKIPPED:
                raise _diverged(f"{MOST_SKIPPED} steps in a row were skipped, the last because {reason}", step)
            return reason
        self._in_a_row = 0
        self._taken.append(loss)
        if self._falls and len(self._taken) >= TREND:
            self._lowest = min(self._lowest, self._trend())
            if self._trend() > self._lowest + DIVERGED:
                raise _diverged(f"the loss rose from {self._lowest:.3f} to {self._trend():.3f} (means of {TREND} steps)", step)
        return None

    @property
    def climbing(self) -> bool:
        """Whether the loss stands so far above its lowest that a checkpoint is not worth keeping."""
        return self._falls and len(self._taken) >= TREND and self._trend() > self._lowest + CLIMBED

    def state(self) -> dict[str, Any]:
        """For the checkpoint: plain JSON."""
        return {
            "losses": list(self._losses), "norms": list(self._norms), "taken": list(self._taken), "in_a_row": self._in_a_row, "skipped": self.skipped,
            "lowest": None if math.isinf(self._lowest) else self._lowest,
        }  # fmt: skip

    def load(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint's state."""
        self._losses.extend(state["losses"])
        self._norms.extend(state["norms"])
        self._taken.extend(state.get("taken", state["losses"][-TREND:]))  # checkpoints of before had taken steps alone
        self._in_a_row, self.skipped = state["in_a_row"], state["skipped"]
        self._lowest = math.inf if state["lowest"] is None else state["lowest"]

    def _trend(self) -> float:
        return sum(self._taken) / TREND

    def _judge(self, name: str, value: float, window: deque[float]) -> str | None:
        if not math.isfinite(value):
            return f"the {name} is {value}"
        if self.sigmas is None or len(window) < WINDOW // 2:
            return None
        mean = sum(window) / len(window)
        sigma = math.sqrt(sum((one - mean) ** 2 for one in window) / (len(window) - 1))
        limit = mean + self.sigmas * max(sigma, LEAST_SPREAD * abs(mean))
        if value > limit:
            return f"the {name} {value:.3f} is above {limit:.3f}, {self.sigmas:g} standard deviations over the last {len(window)} steps"
        return None


def _diverged(what: str, step: int) -> GroundupError:
    return GroundupError(
        f"training diverges: {what}", where=f"step {step}",
        do="The last good checkpoint is kept. Lower training.learning_rate (with muon: matrix_learning_rate) or raise training.warmup.",
    )
