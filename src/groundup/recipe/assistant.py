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


class WhileTraining(Strict):
    """Tasks put to the model while it trains, after the step's checkpoint is written; the figures stand in `log.jsonl`."""

    tasks: list[str] = []
    """As `evaluation.tasks`; of the same folder."""
    own_tasks: list[str] = []
    """As `evaluation.own_tasks`."""
    every: Annotated[int, Field(ge=1)] = 1
    """At every so many of `training.evaluations`, and at the last."""
    items: Annotated[int, Field(ge=1)] = 256
    """Of each task at most: drawn at random, the same ones each time, so that the points of a curve compare."""
    seconds: Annotated[float, Field(gt=0)] = 20.0
    """Of all tasks together, each time."""


class Evaluation(Strict):
    """How good it is: bits per byte beside baselines, samples, a quiz, and the tasks that others quote."""

    stride: Annotated[float, Field(gt=0, le=1)] = 0.5
    """Step of the sliding window as a share of the context: at 0.5 each scored token has at least half a
    context before it (but at a document's start)."""
    baselines: bool = True
    """Byte n-gram (order 5, Kneser-Ney) and xz on the same bytes."""
    quiz_questions: Annotated[int, Field(ge=0)] = 200
    """Four-way questions made of held-out reference pages, at most; 0 where the corpus has none."""
    prompts: list[str] = []
    """Completed by the model for the report; taken from held-out text when empty."""
    tasks: list[str] = []
    """Suites (open-llm-v1, core, zero-shot, tiny) and tasks (hellaswag, mmlu, ...; docs/evaluation.md) put to the finished model, before
    and after tuning."""
    own_tasks: list[str] = []
    """Tasks of your own: .jsonl files, relative to the recipe's folder."""
    data: str | None = None
    """Folder of the tasks' files, relative to the recipe's."""
    hub: bool = False
    """Whether files that are not in `data` are fetched into it from the Hugging Face hub, before anything is built."""
    shots: Annotated[int, Field(ge=0)] | None = None
    """Examples before each question; each task's usual number when not given."""
    seconds: Annotated[float, Field(gt=0)] | None = None
    """Of all tasks together: as many items, drawn at random, as it allows; all of them when not given."""
    run_code: bool = False
    """Whether programs that the model wrote may be run (HumanEval), with limits; no wall against an attacker."""
    while_training: WhileTraining = WhileTraining()
