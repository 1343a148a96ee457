"""The section of tasks: from the rows of an evaluation (`evaluation/measure.py`) to words and a chart; in the report, or a page of its own.

`results.json` has them by model, `{"base": {"rows": [...], "suites": [...]}, "tuned": ... or null}`; a task's row stands in one line with both.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from groundup.evaluation import reference_rows
from groundup.report import plots, words
from groundup.report.sheet import template
from groundup.run import write_atomic

Row = dict[str, Any]


def write(path: Path, found: Row) -> None:
    """Write the page of one model's evaluation, as `groundup evaluate` has it."""
    write_atomic(path, render(found))


def render(found: Row) -> str:
    """The page's HTML."""
    return template("evaluation.html.j2").render(found=found, tasks=section({"this": found}), against=found.get("against"))


def section(results: Mapping[str, Row | None] | None) -> Row | None:
    """Tasks by row with each model's score, the suites' means, published rows beside them, and the distance from chance as a chart."""
    asked = {model: its for model, its in (results or {}).items() if its}
    by_model = {model: {row["task"]: row for row in its["rows"]} for model, its in asked.items()}
    names = list(dict.fromkeys(name for rows in by_model.values() for name in rows))
    if not names:
        return None
    rows: list[Row] = []
    for name in names:
        its = [found.get(name) for found in by_model.values()]
        one = next(row for row in its if row is not None)
        rows.append({
            **{key: one[key] for key in ("task", "metric", "chance", "shots", "items")}, "n": [row["n"] if row else None for row in its],
            "scores": [_score(row["score"], row["standard_error"]) if row else None for row in its],
            "hits": next((row["contamination"]["items"] for row in its if row and row.get("contamination")), None),
            "without": [_without(row.get("contamination")) if row else None for row in its],
            "above": [_above(row) if row else None for row in its],
            "over_items": [_over_items(row) if row and row["groups"] else None for row in its],
            "groups": _groups(its),
        })  # fmt: skip
    return {
        "models": [words.label(f"{model} model") for model in asked], "rows": rows, "searched": any(row["hits"] is not None for row in rows),
        "suites": [(words.label(f"{model} model"), suite) for model, its in asked.items() for suite in its["suites"]],
        "chart": plots.above_chance("tasks", "Scores above chance: " + "; ".join(_told(row, list(asked)) for row in rows), [(words.clip(row["task"], 18), row["above"]) for row in rows]),
        "leaderboard": _leaderboard({model: found for model, found in by_model.items() if all(task in found for task in reference_rows.TASKS)}),
    }  # fmt: skip


def _score(value: float | None, error: float | None) -> Row | None:
    """A share in per cent, or a figure that is none, with its standard error."""
    if value is None:
        return None
    return {"value": f"{100 * value:.1f}", "error": None if error is None else f"{100 * error:.1f}"}


def _over_items(row: Row) -> Row | None:
    """Of a score that is a mean over groups, the same over items."""
    figure = row["figures"].get(row["metric"].removesuffix("_by_group"))
    return _score(figure["value"], figure["standard_error"]) if figure else None


def _groups(its: list[Row | None]) -> list[Row]:
    """Each group of a task with every model's score in it."""
    names = list(dict.fromkeys(name for row in its if row for name in row["groups"] or {}))
    found = []
    for name in names:
        ones = [(row["groups"] or {}).get(name) if row else None for row in its]
        scores = [_score(one["value"], one["standard_error"]) if one else None for one in ones]
        found.append({"name": words.label(name), "n": max(one["n"] for one in ones if one), "scores": scores})
    return found


def _without(contamination: Row | None) -> Row | None:
    """The score of the items that the training text does not hold, where it holds some."""
    if not contamination or not contamination["items"]:
        return None
    return _score(contamination["score_without_hits"], contamination["standard_error_without_hits"])


def _above(row: Row) -> tuple[float, float]:
    """How far from chance to all right a score has come, and its standard error on that scale."""
    room = 1 - row["chance"]
    return (row["score"] - row["chance"]) / room, (row["standard_error"] or 0.0) / room


def _told(row: Row, models: list[str]) -> str:
    """A row of the chart in words."""
    return f"{row['task']} " + ", ".join(f"{model} {100 * above[0]:+.0f} %" for model, above in zip(models, row["above"], strict=True) if above is not None)


def _leaderboard(by_model: dict[str, dict[str, Row]]) -> list[Row]:
    """These models among published rows, the best last; nothing where they were not asked all four tasks."""
    if not by_model:
        return []
    published: list[Row] = [{**vars(row), "mean": row.mean, "mine": False} for row in reference_rows.beside()]
    for model, found in by_model.items():
        values = {task: 100 * found[task]["score"] for task in reference_rows.TASKS}
        published.append({"model": f"{model} model", **values, "mean": sum(values.values()) / len(values), "source": "", "note": "", "mine": True})
    return sorted(published, key=lambda row: row["mean"])
