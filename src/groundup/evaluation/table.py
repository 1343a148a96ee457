"""Results as lines of text: a row a task, the suites' means, published rows, and two models side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from groundup.errors import RequestError
from groundup.evaluation.reference_rows import TASKS, CoreReference, Reference
from groundup.evaluation.statistics import paired

SHORT = 8  # digits of a digest that are shown
HEAD = ("task", "shots", "metric", "score", "+-", "chance", "items", "cut", "seconds", "prompts")


def as_text(found: Mapping[str, Any], beside: Sequence[Reference] = (), beside_core: Sequence[CoreReference] = ()) -> str:
    """The result of an evaluation (`exam.as_json` and what the command adds), and published rows below."""
    lines = [list(HEAD)]
    for row in found["rows"]:
        of = row["items"]
        asked = f"{row['n']:,}" if row["n"] == of else f"{row['n']:,} of {of:,}"
        for metric in _metrics(row):
            figure, quoted = row["figures"][metric], metric == row["metric"]
            lines.append([
                row["task"] if quoted else "", str(row["shots"]) if quoted else "", metric, _score(figure["value"]), _score(figure["standard_error"]),
                _score(row["chance"]) if quoted else "", asked if quoted else "", f"{row['prompts_cut']:,}" if quoted else "",
                f"{row['seconds']:.1f}" if quoted else "", row["prompt_hash"][:SHORT] if quoted else "",
            ])  # fmt: skip
    said = _aligned(lines)
    for suite in found["suites"]:
        missing = f"; not there: {', '.join(suite['missing'])}" if suite["missing"] else ""
        mean = "no mean" if suite["mean"] is None else f"mean {_score(suite['mean'])} +- {_score(suite['standard_error'])}"
        said.append(f"{suite['suite']}: {mean}{missing}")
    for row in found["rows"]:
        if (its := row["contamination"]) is not None and its["items"]:
            said.append(
                f"{row['task']}: {its['items']:,} of {row['n']:,} items stand in the training text, score {_score(its['score_of_hits'])}; "
                f"without them {_score(its['score_without_hits'])} +- {_score(its['standard_error_without_hits'])}"
            )
    if beside:
        said += ["", "published, in per cent:", *_aligned([["model", *TASKS, "mean", "source"], *map(_reference, beside)])]
    if beside_core:
        said += ["", "published CORE:", *_aligned([["model", "core", "source"], *([row.model, _score(row.core), row.source] for row in beside_core)])]
    return "\n".join(said)


def against(found: Mapping[str, Any], other: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Of each task that both results have: the quoted metric's difference over the items that both were asked, by the paired bootstrap.

    Raises RequestError where no task is common, or the same task was put with other prompts.
    """
    if not {"rows", "items"} <= other.keys():
        raise RequestError("not the result of an evaluation", where="--against", do="Name a file that --out wrote.")
    theirs = {row["task"]: row for row in other["rows"]}
    rows: list[dict[str, Any]] = []
    for row in found["rows"]:
        name = row["task"]
        if name not in theirs or name not in other["items"]:
            continue
        if theirs[name]["prompt_hash"] != row["prompt_hash"]:
            raise RequestError("the two were put with other prompts", where=name, do="Evaluate both models with the same files and shots.")
        mine, its = found["items"][name], other["items"][name]
        metric = row["metric"].removesuffix("_by_group")
        common = [item for item in mine if item in its]
        if common:
            apart = paired([mine[item][metric] for item in common], [its[item][metric] for item in common])
            rows.append({"task": name, "metric": metric, "difference": apart.value, "interval": list(apart.interval), "p_value": apart.p_value, "n": apart.n})
    if not rows:
        raise RequestError("the two results have no task in common", where="--against", do="Name a file that --out wrote, of the same tasks.")
    return rows


def against_as_text(rows: Sequence[Mapping[str, Any]]) -> str:
    """The differences, a line each."""
    lines = [["task", "metric", "difference", "95 %", "p", "items"]]
    for row in rows:
        low, high = row["interval"]
        lines.append([row["task"], row["metric"], f"{row['difference']:+.4f}", f"{low:+.4f} to {high:+.4f}", f"{row['p_value']:.4f}", f"{row['n']:,}"])
    return "\n".join(_aligned(lines))


def _metrics(row: Mapping[str, Any]) -> list[str]:
    """The quoted one, then the others, without means over groups of what is not quoted."""
    quoted = row["metric"]
    return [quoted, *(name for name in row["figures"] if name != quoted and not name.endswith("_by_group"))]


def _reference(row: Reference) -> list[str]:
    note = f" ({row.note})" if row.note else ""
    unsure = "" if row.verified else "unverified: "
    return [row.model, *(f"{getattr(row, task):.1f}" for task in TASKS), f"{row.mean:.1f}", f"{unsure}{row.source}{note}"]


def _score(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}" if value < 1000 else f"{value:,.0f}"


def _aligned(lines: Sequence[Sequence[str]]) -> list[str]:
    """Columns, the first and the last to the left, others to the right."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    last = len(widths) - 1
    return [
        "  ".join(cell.ljust(width) if place in (0, last) else cell.rjust(width) for place, (cell, width) in enumerate(zip(line, widths, strict=True))).rstrip()
        for line in lines
    ]  # fmt: skip
