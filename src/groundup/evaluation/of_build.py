"""The tasks that a recipe asks for: put to the finished model, and to the model while it trains.

Their files are read before anything is trained: what is missing or malformed is said then, and not after a night.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from groundup.errors import RequestError
from groundup.evaluation import exam
from groundup.evaluation.contamination import contaminated
from groundup.evaluation.exam import Limits, Marked, Paper
from groundup.evaluation.subject import of_model
from groundup.models.build import Model
from groundup.models.config import ModelConfig
from groundup.recipe import Recipe
from groundup.run import digest
from groundup.tokens.tokenizer import Tokenizer


def papers(recipe: Recipe, *, while_training: bool = False) -> list[Paper]:
    """What is asked at the end of a build, or while it trains. Raises RequestError for what is not there."""
    wish = recipe.evaluation
    asked = wish.while_training if while_training else wish
    return exam.read_papers(asked.tasks, [Path(path) for path in asked.own_tasks], Path(wish.data) if wish.data else None, wish.shots, hub=wish.hub)


def content(asked: Sequence[Paper]) -> str:
    """A digest of all that is asked."""
    return digest([[paper.name, paper.missing, [[task.name, task.prompt_hash] for task in paper.tasks]] for paper in asked])


def put(asked: Sequence[Paper], model: Model, words: Tokenizer, recipe: Recipe, name: str, seconds: float | None, texts: Callable[[], Iterable[str]]) -> list[Marked]:
    """The tasks put to a finished model, and searched in its corpus (`texts`)."""
    wish = recipe.evaluation
    marked = exam.sit(asked, of_model(model, words, recipe.name, name), Limits(seconds, seed=recipe.seed, run_code=wish.run_code))
    exam.search(marked, lambda tasks: contaminated(tasks, texts(), recipe.clean.decontaminate))
    return marked


class WhileTraining:
    """Tasks put to a model as it is at a step: call it with the model and the step."""

    def __init__(self, asked: Sequence[Paper], recipe: Recipe, words: Tokenizer, config: ModelConfig, steps: int) -> None:
        """Raises RequestError where a model of this kind cannot be asked, now or at the end."""
        self._papers, self._recipe, self._words, self._steps = asked, recipe, words, steps
        wish = recipe.evaluation.while_training
        asks = bool(asked or recipe.evaluation.tasks or recipe.evaluation.own_tasks)
        if asks and config.kind != "decoder":
            raise RequestError(
                f"a model of kind {config.kind} gives no likelihood of what follows a text", where="evaluation.tasks",
                do="Take the tasks out of the recipe, or train a decoder.",
            )  # fmt: skip
        looks = recipe.training.evaluations
        self._between = wish.every * math.ceil(steps / looks) if looks else steps

    def __call__(self, model: Model, step: int) -> dict[str, float]:
        """Figures by `<task>_<metric>`, with `<task>_<metric>_error`, and the suites' means; none where it is not time for them."""
        if not self._papers or (step % self._between and step != self._steps):
            return {}
        wish = self._recipe.evaluation.while_training
        limits = Limits(wish.seconds, wish.items, self._recipe.seed)
        found = exam.as_json(exam.sit(self._papers, of_model(model, self._words, self._recipe.name, "training"), limits))
        figures: dict[str, float | None] = {}
        for row in found["rows"]:
            name = f"{row['task']}_{row['metric']}"
            figures |= {name: row["score"], f"{name}_error": row["standard_error"]}
        figures |= {f"{suite['suite'].replace('-', '_')}_mean": suite["mean"] for suite in found["suites"]}
        return {name: round(value, 5) for name, value in figures.items() if value is not None}
