"""Suites and tasks put to a model one after the other, within a time: rows, and each suite's mean.

    names, files ──read──> papers (a suite's tasks) ──sit──> rows and means

What is left of the time is divided among the tasks that are left, so what a quick one did not need goes to the others. A suite's task whose
files are not there is left out and named, and then the suite has no mean: one over fewer tasks would look like the others.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from groundup.errors import RequestError
from groundup.evaluation.measure import SEED, Measured, measure
from groundup.evaluation.scoring import Figure, core, mean_of_means, quoted
from groundup.evaluation.subject import Subject
from groundup.evaluation.tasks.catalogue import READERS, SUITES, WITHOUT_SHOTS, read_task, suite
from groundup.evaluation.tasks.core import core as core_tasks
from groundup.evaluation.tasks.hub import fetch
from groundup.evaluation.tasks.item import Metric, Task
from groundup.evaluation.tasks.jsonl import own_task
from groundup.evaluation.tasks.rows import Data, MissingError
from groundup.evaluation.writer import Writer, write
from groundup.progress import say

CORE = "core"


@dataclass(frozen=True)
class Paper:
    """A suite, or a task by itself."""

    name: str
    tasks: list[Task]
    averaged: list[bool]
    """Whether each counts for the suite's mean."""
    missing: list[str] = field(default_factory=list)
    """Tasks whose files are not there."""


@dataclass(frozen=True)
class Limits:
    """How much is asked."""

    seconds: float | None = None
    """Of all tasks together."""
    items: int | None = None
    """Of each task at most, drawn at random."""
    seed: int = SEED
    run_code: bool = False
    """Whether programs that the model wrote may be run (HumanEval)."""


@dataclass(frozen=True)
class Marked:
    """A paper with what a model got."""

    paper: Paper
    measured: list[Measured]

    @property
    def mean(self) -> Figure | None:
        """Of a suite whose tasks are all there."""
        if self.paper.name == CORE and self.measured:  # its authors' mean, over what is there
            return core({one.task.name: (one.figures()[quoted(one.task)], one.task.chance) for one in self.measured})
        if self.paper.name not in SUITES or self.paper.missing:
            return None
        counted = [one.figures()[quoted(one.task)] for one, counts in zip(self.measured, self.paper.averaged, strict=True) if counts]
        return mean_of_means(counted)


def read_papers(names: Sequence[str], own: Sequence[Path] = (), data: Path | None = None, shots: int | None = None, *, hub: bool = False) -> list[Paper]:
    """Suites and tasks by name, and files of one's own. `data`: the folder (or file) of the tasks' files; `shots`: in place of the usual ones,
    of tasks that have examples; `hub`: files that are not in the folder are fetched into it from the Hugging Face hub.

    Raises RequestError for an unknown name, a task by itself whose files are missing, a suite of which nothing is there, and malformed files;
    GroundupError for what cannot be fetched.
    """
    papers: list[Paper] = []
    for name in names:
        if name != CORE and name not in SUITES and name not in READERS:
            raise RequestError(f"no suite or task is called '{name}'", where="evaluation", do=f"Name one of {', '.join((*SUITES, CORE, *READERS))}; or a .jsonl file.")
        if data is None:
            raise RequestError("where are the tasks' files?", where="evaluation", do="Name their folder: --data on the command line, evaluation.data in a recipe.")
        if hub:
            _make(data)
        if name in READERS:
            papers.append(Paper(name, [_task(name, data, _shots(name, shots), hub)], [False]))
        else:
            papers.append(_core(Data(data), shots) if name == CORE else _suite(name, data, shots, hub))
    papers += [Paper(path.stem, [own_task(path.stem, path, shots or 0)], [False]) for path in own]
    return papers


def _make(data: Path) -> None:
    """The folder that files are fetched into."""
    if data.is_file():
        raise RequestError("files are fetched into a folder, and this is a file", where=f"--data {data}", do="Name a folder, or leave --hub out.")
    data.mkdir(parents=True, exist_ok=True)


def _task(name: str, data: Path, shots: int | None, hub: bool) -> Task:
    """A task from its files, which are fetched where they are missing and may be."""
    try:
        return read_task(name, Data(data), shots)
    except MissingError:
        if not hub:
            raise
    fetch(name, data)
    return read_task(name, Data(data), shots)


def _suite(name: str, data: Path, shots: int | None, hub: bool) -> Paper:
    paper = Paper(name, [], [])
    trouble = None
    for part in suite(name):
        try:
            paper.tasks.append(_task(part.task, data, part.shots if (said := _shots(part.task, shots)) is None else said, hub))
        except MissingError as error:
            paper.missing.append(part.task)
            trouble = error
        else:
            paper.averaged.append(part.averaged)
    if trouble is not None and not paper.tasks:
        raise trouble
    if trouble is not None:
        say(f"evaluation: {name} without {', '.join(paper.missing)}, whose files are not there")
    return paper


def _shots(task: str, wished: int | None) -> int | None:
    """What is wished, of a task that can have examples."""
    return None if task in WITHOUT_SHOTS else wished


def _core(data: Data, shots: int | None) -> Paper:
    if shots is not None:
        raise RequestError("CORE's tasks have their own numbers of examples", where="--shots", do="Leave it out.")
    tasks, missing = core_tasks(data)
    if not tasks:
        raise RequestError("none of CORE's files is there", where=str(data.path), do="Put the gauntlet's files there, and DCLM's eval_meta_data.csv.")
    if missing:
        say(f"evaluation: CORE without {len(missing)} of its {len(tasks) + len(missing)} tasks: {', '.join(missing)}")
    return Paper(CORE, tasks, [True] * len(tasks), missing)


def sit(papers: Sequence[Paper], subject: Subject, limits: Limits = Limits()) -> list[Marked]:
    """Put all tasks to a model."""
    left = sum(len(paper.tasks) for paper in papers)
    ends = None if limits.seconds is None else time.monotonic() + limits.seconds
    writer: Writer | None = None
    marked: list[Marked] = []
    for paper in papers:
        measured: list[Measured] = []
        for task in paper.tasks:
            seconds = None if ends is None else max(0.0, ends - time.monotonic()) / left
            if task.kind == "generate":
                writer = writer or subject.writer()
                one = write(task, writer, seconds, limits.items, limits.seed, run_code=limits.run_code)
            else:
                one = measure(task, subject.scorer, subject.encoder, seconds, limits.items, limits.seed)
            measured.append(one)
            left -= 1
        marked.append(Marked(paper, measured))
    return marked


def search(marked: Sequence[Marked], contaminated: Callable[[Sequence[Task]], Sequence[frozenset[int]]]) -> None:
    """Note which items stand in the model's training text."""
    measured = [one for its in marked for one in its.measured]
    for one, places in zip(measured, contaminated([one.task for one in measured]), strict=True):
        one.contaminated = places


def as_json(marked: Sequence[Marked]) -> dict[str, Any]:
    """`rows`, one a task, and `suites`, which name their rows by place."""
    rows: list[dict[str, Any]] = []
    suites: list[dict[str, Any]] = []
    for its in marked:
        places = list(range(len(rows), len(rows) + len(its.measured)))
        rows += [one.row() for one in its.measured]
        if its.paper.name == CORE or its.paper.name in SUITES:
            mean = its.mean
            suites.append({
                "suite": its.paper.name, "mean": mean.value if mean else None, "standard_error": mean.standard_error if mean else None, "rows": places,
                "missing": its.paper.missing,
            })  # fmt: skip
    return {"rows": rows, "suites": suites}


def item_values(marked: Sequence[Marked]) -> dict[str, dict[str, dict[Metric, float]]]:
    """By task and item, what the item got by each metric: what two models are compared by."""
    return {
        one.task.name: {one.task.items[result.place].name: {**result.values} for result in one.results} for its in marked for one in its.measured
    }  # fmt: skip
