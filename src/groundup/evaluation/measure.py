"""A task put to a model: encode, score, count; what was cut and how long it took stands in the result.

    task, seconds ──lots──> items ──encode──> pairs ──fit──> scorer ──> likelihoods ──> what each item gets ──> figures
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from groundup.errors import RequestError
from groundup.evaluation.budget import lots
from groundup.evaluation.encoding import Encoder, Pair, fit
from groundup.evaluation.scorer import Scored, Scorer
from groundup.evaluation.scoring import Figure, Result, figures, groups, quoted, score
from groundup.evaluation.tasks.item import Task
from groundup.progress import bar
from groundup.run import digest_file

SEED = 1234


@dataclass
class Measured:
    """What a model got in a task."""

    task: Task
    results: list[Result] = field(default_factory=list)
    """Of the items that were asked, by their place."""
    seconds: float = 0.0
    prompts: int = 0
    """Requests put."""
    prompts_cut: int = 0
    """Of these, longer than the context: their beginnings were cut off."""
    contaminated: frozenset[int] | None = None
    """Places of the items that stand in the model's training text; None where nobody searched."""

    def figures(self) -> dict[str, Figure]:
        """By metric."""
        return figures(self.task, self.results)

    def row(self) -> dict[str, Any]:
        """The result for a program: JSON-able, keys with their units."""
        found, task = self.figures(), self.task
        main = found[quoted(task)]
        return {
            "task": task.name,
            "metric": quoted(task),
            "score": main.value,
            "standard_error": main.standard_error,
            "chance": task.chance,
            "n": main.n,
            "items": len(task.items),
            "shots": task.shots,
            "figures": {name: {"value": one.value, "standard_error": one.standard_error} for name, one in found.items()},
            "groups": {name: {"value": one.value, "standard_error": one.standard_error, "n": one.n} for name, one in groups(task, self.results, task.metrics[0]).items()} if task.macro else None,
            "contamination": self._contamination(),
            "prompts_cut": self.prompts_cut,
            "prompt_hash": task.prompt_hash,
            "dataset_digest": [digest_file(path) for path in task.files],
            "seconds": round(self.seconds, 3),
        }

    def _contamination(self) -> dict[str, Any] | None:
        """The quoted score of the items that stand in the training text, and of the others."""
        if self.contaminated is None:
            return None
        hits = [result for result in self.results if result.place in self.contaminated]
        others = [result for result in self.results if result.place not in self.contaminated]
        name = quoted(self.task)
        alone, without = (figures(self.task, its)[name] if its else None for its in (hits, others))
        return {
            "items": len(hits), "score_of_hits": alone.value if alone else None, "score_without_hits": without.value if without else None,
            "standard_error_without_hits": without.standard_error if without else None,
        }  # fmt: skip


def measure(
    task: Task, scorer: Scorer, encoder: Encoder, seconds: float | None = None, limit: int | None = None, seed: int = SEED
) -> Measured:
    """Put a task of likelihoods to a model; with `seconds`, to as many of its items, drawn at random, as that allows; with `limit`, to so
    many of the same at most.

    Raises RequestError for a task without items, or one in which the model is to write.
    """
    if not task.items:
        raise RequestError("the task has no items", where=task.name, do="Name a file with items.")
    if task.kind == "generate":
        raise RequestError("this task has the model write; it has no likelihoods to compare", where=task.name, do="Evaluate it with an engine that writes.")

    def ask(places: Sequence[int]) -> tuple[list[Result], int, int]:
        items = [task.items[place] for place in places]
        # CORE's authors read the last token too, so of what is too long one token less is left
        pairs, cut = _fitted(encoder.pairs(items, task.pairing), scorer.context - (task.pairing == "common"))
        flat = [pair for its in pairs for pair in its]
        scored = iter(scorer.log_likelihoods(flat))
        results = []
        for place, its in zip(places, pairs, strict=True):
            mine: list[Scored] = [next(scored) for _ in its]
            results.append(score(task, place, mine, [len(after) for _, after in its]))
        return results, len(flat), cut

    return collect(task, seconds, limit, seed, ask)


def collect(
    task: Task, seconds: float | None, limit: int | None, seed: int, ask: Callable[[Sequence[int]], tuple[list[Result], int, int]]
) -> Measured:
    """Ask lot after lot; `ask` returns the results of items, how many prompts these were, and how many of them were cut."""
    measured = Measured(task)
    begun = time.monotonic()
    with bar(task.name, min(len(task.items), limit or len(task.items))) as running:
        for places in lots(len(task.items), seconds, seed, limit):
            results, prompts, cut = ask(places)
            measured.results += results
            measured.prompts += prompts
            measured.prompts_cut += cut
            running.advance(len(places))
    measured.results.sort(key=lambda result: result.place)
    measured.seconds = time.monotonic() - begun
    return measured


def _fitted(items: Sequence[Sequence[Pair]], context: int) -> tuple[list[list[Pair]], int]:
    """The pairs within the context, and how many were cut."""
    cut = 0
    fitted: list[list[Pair]] = []
    for pairs in items:
        fitted.append([])
        for pair in pairs:
            whole, shorter = fit(pair, context)
            fitted[-1].append(whole)
            cut += shorter
    return fitted, cut
