"""What comes after pretraining: sections `dialogue` and `evaluation`."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, model_validator

from groundup.recipe.methods import BEFORE, LowRank, Stage, Supervised
from groundup.recipe.strict import Strict


class Dialogue(Strict):
    """From a base model to an assistant: a chain of stages, by default supervised tuning on question-answer pairs alone.

    A list in its place stands for its stages: `dialogue: [sft, reward, ppo]`.
    """

    stages: Annotated[list[Stage], Field(min_length=1)] = [Supervised()]
    """In order, each from the one before it: a method's name, or `{method: ppo, kl: 0.05}` with its settings. See docs/dialogue.md."""
    pairs: list[str] = ["reference-pages"]
    """What sft, lima and openchat learn: `reference-pages`, pairs derived from definition lists (signature, description) of the crawled
    training pages; or paths of files of conversations in any of the forms of docs/dialogue.md, relative ones counted from the
    recipe's folder."""
    preferences: list[str] = []
    """What reward, dpo, ipo, kto, orpo and simpo learn: paths of files of rankings, pairs, or (kto) labelled answers."""
    prompts: list[str] = []
    """What ppo, grpo and rloo write answers to: paths of files of prompts, with rules (`verify`) or without. When not given, ppo takes
    the prompts of `preferences`."""
    format: Annotated[str, Field(pattern="^(plain|chatml|llama-2|llama-3|openchat|zephyr)$")] | None = None
    """How conversations are written down; not given: `openchat` for the method of that name, what an imported tokenizer has the marks
    of, else `plain`."""
    lora: LowRank | None = None
    """Every stage learns corrections of low rank instead of all weights; they are merged when the model is used or exported."""
    minutes: Annotated[float, Field(gt=0)] | None = 1.0
    """Of sft: tuning time the steps are derived from, at the speed of pretraining; ignored when `steps` is given (minutes)."""
    steps: Annotated[int, Field(ge=1)] | None = None
    """Of sft: optimizer steps, exactly."""
    max_epochs: Annotated[float, Field(gt=0)] = 4.0
    """Of sft: passes over the pairs at most when steps are derived: small sets are learned by heart soon after."""
    learning_rate_share: Annotated[float, Field(gt=0)] = 0.3
    """Of sft: peak as a share of pretraining's peak; the demo's small model, which has facts to learn, takes 1."""
    questions: list[str] = []
    """Put to the model before and after tuning, and after each stage; the answers stand in the report."""

    @model_validator(mode="before")
    @classmethod
    def _names(cls, data: Any) -> Any:
        """Methods by their names alone."""
        if not isinstance(data, dict) or not isinstance(data.get("stages"), list):
            return data
        return {**data, "stages": [{"method": one} if isinstance(one, str) else one for one in data["stages"]]}

    def until(self, method: str) -> Dialogue:
        """The chain up to a method where the recipe has it, else what the method builds on and the method itself."""
        methods = [stage.method for stage in self.stages]
        if method in methods:
            return self.model_copy(update={"stages": self.stages[: methods.index(method) + 1]})
        return Dialogue.model_validate({**self.model_dump(), "stages": [*BEFORE.get(method, ()), method]})


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
