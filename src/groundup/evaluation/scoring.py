"""From likelihoods to scores: what an item gets, what a task gets, and how sure that is.

    acc               the likeliest answer is right                                    summed log-probability
    acc_norm          the same per character of the answer, the blank before it not counted
    acc_bytes         the same per UTF-8 byte
    mc1, mc2          TruthfulQA's: acc with one true answer; the share of probability on the true ones
    gold_probability  the right answer's share of the probability of all answers: moves where accuracy is still at chance
    perplexity        exp of the mean -log p of LAMBADA's last word
    exact_match       of a text that the model wrote

The rules and their ties (the first of equals) are those of lm-eval 0.4.13, `api/task.py` and `api/metrics.py`. A mean's standard error is the
sample's standard deviation over the root of n, as there; a mean of means has the root of the summed squares of theirs, over their
number; the perplexity's is its own value times that of the mean log (delta method; lm-eval resamples).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np
from numpy.typing import NDArray

from groundup.evaluation.scorer import Scored
from groundup.evaluation.tasks.gsm8k import flexible, same_number, strict
from groundup.evaluation.tasks.item import Metric, Task

Values = dict[Metric, float]
"""What one item gets, by metric; under `perplexity` stands the log-likelihood that it is made of."""


@dataclass(frozen=True)
class Result:
    """What became of one item."""

    place: int
    """Its place in the task."""
    values: Values
    chosen: int | None = None
    """The request that the quoted metric chose."""


@dataclass(frozen=True)
class Figure:
    """A score."""

    value: float
    standard_error: float | None
    """None where there are fewer than two items."""
    n: int
    """Items; of a mean of means: of all of them."""


def score(task: Task, place: int, scored: Sequence[Scored], tokens: Sequence[int]) -> Result:
    """What the item at a place gets for the likelihoods of its requests; `tokens`: how many each continuation has."""
    item = task.items[place]
    logs = np.array([log for log, _ in scored])
    if task.kind == "greedy":
        values: Values = {"acc": float(scored[0][1]), "perplexity": float(logs[0])}
        return Result(place, {name: values[name] for name in task.metrics})
    share = np.exp(logs - logs.max())
    share /= share.sum()
    gold = list(item.gold)
    if task.kind == "truthful":
        return Result(place, {"mc2": float(share[gold].sum())}, int(logs.argmax()))
    if task.kind == "average":
        chosen = int((logs / np.array(tokens)).argmax())
        return Result(place, {"acc": float(chosen in gold)}, chosen)
    measures: dict[Metric, NDArray[np.float64]] = {"acc": logs, "mc1": logs}
    if item.choices:
        measures["acc_norm"] = logs / np.array([len(choice) for choice in item.choices])
        measures["acc_bytes"] = logs / np.array([len(choice.encode()) for choice in item.choices])
    values = {"gold_probability": float(share[gold].sum())}
    values |= {name: float(int(measure.argmax()) in gold) for name, measure in measures.items()}
    return Result(place, {name: values[name] for name in task.metrics}, int(measures[task.metrics[0]].argmax()))


def score_text(task: Task, place: int, text: str) -> Result:
    """What the item at a place gets for a text that the model wrote."""
    item = task.items[place]
    if "exact_match_flexible" in task.metrics:
        found: Values = {
            "exact_match": float(same_number(strict(text), item.answer)), "exact_match_flexible": float(same_number(flexible(text), item.answer)),
        }  # fmt: skip
        return Result(place, found)
    return Result(place, {"exact_match": float(text.strip() == item.answer.strip())})


def mean(values: Sequence[float]) -> Figure:
    """The mean of items' values."""
    n = len(values)
    middle = fmean(values)
    error = math.sqrt(sum((value - middle) ** 2 for value in values) / (n - 1) / n) if n > 1 else None
    return Figure(middle, error, n)


def mean_of_means(figures: Sequence[Figure]) -> Figure:
    """The plain mean of independent means, such as MMLU's subjects or a suite's tasks: each counts alike, whatever its size."""
    errors = [figure.standard_error for figure in figures]
    known = [error for error in errors if error is not None]
    error = math.sqrt(sum(error**2 for error in known)) / len(figures) if len(known) == len(errors) else None
    return Figure(fmean(figure.value for figure in figures), error, sum(figure.n for figure in figures))


def perplexity(log_likelihoods: Sequence[float]) -> Figure:
    """exp of the mean of -log p."""
    logs = mean(log_likelihoods)
    value = math.exp(min(-logs.value, 700.0))
    return Figure(value, None if logs.standard_error is None else value * logs.standard_error, logs.n)


def centred(figure: Figure, baseline: float) -> Figure:
    """Moved so that chance is 0 and all right is 1 (CORE)."""
    room = 1 - baseline
    return Figure((figure.value - baseline) / room, None if figure.standard_error is None else figure.standard_error / room, figure.n)


def core(tasks: Mapping[str, tuple[Figure, float]]) -> Figure:
    """CORE: the mean of the centred scores; by label, each task's accuracy and baseline."""
    return mean_of_means([centred(figure, baseline) for figure, baseline in tasks.values()])


def figures(task: Task, results: Sequence[Result]) -> dict[str, Figure]:
    """Every metric of a task over the items that have a result; with groups also `<metric>_by_group`, the mean over these."""
    found: dict[str, Figure] = {}
    for metric in task.metrics:
        values = [result.values[metric] for result in results]
        found[metric] = perplexity(values) if metric == "perplexity" else mean(values)
        if task.macro:
            found[f"{metric}_by_group"] = mean_of_means(_sure(list(groups(task, results, metric).values()), mean(values)))
    return found


def _sure(figures: Sequence[Figure], whole: Figure) -> list[Figure]:
    """Groups of one item, as samples have them, with the spread of all items: rather too large an error than none."""
    if whole.standard_error is None:
        return list(figures)
    spread = whole.standard_error * math.sqrt(whole.n)
    return [one if one.standard_error is not None else Figure(one.value, spread / math.sqrt(one.n), one.n) for one in figures]


def groups(task: Task, results: Sequence[Result], metric: Metric) -> dict[str, Figure]:
    """A metric by group, over the items that have a result."""
    by_group: dict[str, list[float]] = {}
    for result in results:
        by_group.setdefault(task.items[result.place].group, []).append(result.values[metric])
    return {group: mean(by_group[group]) for group in sorted(by_group)}


def quoted(task: Task) -> str:
    """The name of the figure that stands for the task."""
    return f"{task.metrics[0]}_by_group" if task.macro else task.metrics[0]

