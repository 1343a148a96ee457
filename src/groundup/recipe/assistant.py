"""What comes after pretraining: sections `dialogue` and `evaluation`."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from groundup.recipe.strict import Strict


class Dialogue(Strict):
    """Supervised tuning on question-answer pairs; the loss is on the answers alone."""

    pairs: list[str] = ["reference-pages"]
    """`reference-pages`: pairs derived from definition lists (signature, description) of the crawled training
    pages; or paths of JSON-lines files with `messages` or `question` and `answer`, relative ones counted from the
    recipe's folder."""
    minutes: Annotated[float, Field(gt=0)] | None = 1.0
    """Tuning time the steps are derived from, at the speed of pretraining; ignored when `steps` is given (minutes)."""
    steps: Annotated[int, Field(ge=1)] | None = None
    """Optimizer steps, exactly."""
    max_epochs: Annotated[float, Field(gt=0)] = 4.0
    """Passes over the pairs at most when steps are derived: small sets are learned by heart soon after."""
    learning_rate_share: Annotated[float, Field(gt=0)] = 0.3
    """Peak as a share of pretraining's peak; the demo's small model, which has facts to learn, takes 1."""
    questions: list[str] = []
    """Put to the model before and after tuning; the answers stand in the report."""


class Evaluation(Strict):
    """How good it is: bits per byte beside baselines, samples, a quiz."""

    stride: Annotated[float, Field(gt=0, le=1)] = 0.5
    """Step of the sliding window as a share of the context: at 0.5 each scored token has at least half a
    context before it (but at a document's start)."""
    baselines: bool = True
    """Byte n-gram (order 5, Kneser-Ney) and xz on the same bytes."""
    quiz_questions: Annotated[int, Field(ge=0)] = 200
    """Four-way questions made of held-out reference pages, at most; 0 where the corpus has none."""
    prompts: list[str] = []
    """Completed by the model for the report; taken from held-out text when empty."""
