"""The funnel's page: what became of the text, step by step and source by source, with everything the funnel has.

`funnel.html` stands beside `report.html`, which shows a short form of it. All samples are text that was thrown away: foreign,
often hostile. The template escapes it.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from groundup.corpus.token_estimate import bytes_per_token
from groundup.report import contamination, copies, groups, sections, words
from groundup.report.histogram import histogram
from groundup.report.marked import marked
from groundup.report.material import Material
from groundup.report.sheet import template
from groundup.run import Run, write_atomic

Row = dict[str, Any]

ALL_SAMPLES = 20
SHOWN_COUNTS = 12  # of what a step counted; the rest is folded
MATRIX_SOURCES = 6  # columns of the table of sources by steps


def write(run: Run) -> Path | None:
    """Write `funnel.html` into the run folder, beside it the page on tests, and return its path; None where no corpus is finished."""
    html = render(run)
    if html is None:
        return None
    contamination.write(run)
    path = run.path / "funnel.html"
    write_atomic(path, html)
    return path


def render(run: Run) -> str | None:
    """The page's HTML; None where no corpus is finished."""
    material = Material.of(run)
    drawn = sections.funnel(material, samples=ALL_SAMPLES)
    if drawn is None:
        return None
    per_token, source = bytes_per_token(run)
    seconds = material.counts("clean").get("seconds_by_step") or {}
    rows = [
        row | _more(step, per_token, seconds.get(step.get("step"))) | {"id": f"step-{place}"}
        for place, (row, step) in enumerate(zip(drawn["rows"], sections.cleaning_steps(material), strict=True))
    ]
    return template("funnel.html.j2").render(
        name=material.name, finished_at=_ended(run), inputs=material.funnel.get("inputs") or {}, rows=rows, splits=drawn["splits"],
        verdict=verdict(rows), standing=standing(rows), tiles=tiles(rows, per_token, source, seconds),
        copies=copies.section(material.funnel.get("duplicates") or {}, seconds, material.counts("clean").get("peak_bytes_by_step") or {}),
        tests=contamination.found(material, run), groups=groups.section(material.funnel["steps"]), sources=sources(rows, per_token), matrix_sources=MATRIX_SOURCES, shown_counts=SHOWN_COUNTS,
        per_token=per_token, per_token_source=source,
        telling=[row for row in rows if row["telling"]], silent=[row["name"] for row in rows if not row["telling"]],
        skipped=grouped(material.funnel.get("skipped") or [], "reason"), notes=grouped(material.funnel.get("notes") or [], "note"),
    )  # fmt: skip


def _ended(run: Run) -> float | None:
    """When cleaning ended, as logged: the same folder gives the same page."""
    return max((line["time"] for line in run.events("stage") if line.get("stage") == "clean" and "time" in line), default=None)


def _more(step: Row, per_token: float, seconds: float | None) -> Row:
    """What the page shows of a step beyond its bars."""
    found: Row = {
        "changed": step.get("changed") or 0, "seconds": seconds,
        "tokens": {side: round((step.get(f"bytes_{side}") or 0) / per_token) for side in ("in", "out")},
        "sources": step.get("sources") or {}, "changes": [changed(one) for one in step.get("changes") or []],
        "counts": bars(step.get("counts") or {}), "scores": None,
    }  # fmt: skip
    scores = step.get("scores") or {}
    kept, dropped = (sum(row[place] for row in scores.values()) for place in (0, 1))
    if kept:  # where only what was dropped has scores, they are of several rules and lie on no one axis
        said = f"Scores at the step {words.label(step.get('step', ''))}: {kept:,} documents kept, {dropped:,} dropped, from {min(map(float, scores)):g} to {max(map(float, scores)):g}."
        found["scores"] = histogram(scores, [(0, "kept")], [(1, "dropped")], said)
        found["scored"] = {"kept": kept, "dropped": dropped}
    found["telling"] = bool(step.get("reasons") or found["changes"] or found["counts"] or found["scores"])
    return found


def changed(sample: Row) -> Row:
    """A sample of a change with its difference marked."""
    before, after = marked(sample.get("before") or "", sample.get("after") or "")
    return {**sample, "before": before, "after": after}


def bars(counts: dict[str, int]) -> list[Row]:
    """Counts as bars, shares of the largest."""
    most = max(counts.values(), default=0) or 1
    return [{"name": name, "count": number, "bar": 100 * number / most} for name, number in counts.items()]


def verdict(rows: list[Row]) -> str:
    """What is left, in one sentence."""
    first, last = rows[0], rows[-1]
    read, left = first["documents"]["before"], last["documents"]["after"]
    if not first["bytes"]["before"]:
        return f"{left:,} documents are left of {read:,}."
    return (
        f"{words.size(last['bytes']['after'])} of text in {left:,} {'document' if left == 1 else 'documents'} are left of "
        f"{words.size(first['bytes']['before'])} in {read:,}."
    )


def standing(rows: list[Row]) -> str:
    """Where most of it went."""
    worst = max(rows, key=lambda row: sum(reason["count"] for reason in row["reasons"]))
    said = []
    if worst["reasons"]:
        number = sum(reason["count"] for reason in worst["reasons"])
        why = ("above all: " if len(worst["reasons"]) > 1 else "") + worst["reasons"][0]["reason"]
        said.append(f"{worst['name']} dropped the most documents, {number:,} ({why})")
    heaviest = max(rows, key=lambda row: row["bytes"]["dropped"])
    if heaviest["bytes"]["dropped"]:
        its = "took" if heaviest is not worst else "which took"
        said.append(f"{heaviest['name'] + ' ' if heaviest is not worst else ''}{its} the most bytes, {words.size(heaviest['bytes']['dropped'])}")
    return "; ".join(said) + "." if said else "Nothing was dropped."


def tiles(rows: list[Row], per_token: float, source: str, seconds: dict[str, float]) -> list[Row]:
    """Key figures."""
    first, last = rows[0], rows[-1]
    made: list[Row] = []
    for unit, form, what in (("documents", words.count, "documents left"), ("bytes", words.size, "of text left")):
        before, after = first[unit]["before"], last[unit]["after"]
        share = f"{words.percent(after / before)} of what was read" if before and after <= before else f"{form(before)} were read"
        made.append({"value": form(after), "what": what, "remark": share})
    made.append({"value": words.short(last["tokens"]["out"]), "what": "tokens, estimated", "remark": f"{per_token:.3g} bytes each, {source}"})
    if total := sum(seconds.values()):
        speed = first["documents"]["before"] / total
        made.append({"value": words.duration(total), "what": "of processor time", "remark": f"{words.short(speed)} documents a second" if all(seconds.values()) else "for the steps run again"})
    return made


def sources(rows: list[Row], per_token: float) -> list[Row]:
    """Each source through the steps, the largest first."""
    names = {name: part["bytes_in"] for row in reversed(rows) for name, part in row["sources"].items()}
    found = []
    for name in sorted(names, key=lambda name: (-names[name], name)):
        steps = [_through(row, row["sources"].get(name), per_token) for row in rows]
        there = [step for step in steps if step["documents_in"]]
        left = steps[-1]
        found.append({
            "name": name, "steps": steps, "documents_in": there[0]["documents_in"] if there else 0, "bytes_in": there[0]["bytes_in"] if there else 0,
            "documents_out": left["documents_out"], "bytes_out": left["bytes_out"], "tokens_out": left["tokens_out"],
            "kept": left["bytes_out"] / there[0]["bytes_in"] if there and there[0]["bytes_in"] else 0.0,
        })  # fmt: skip
    return found


def _through(row: Row, part: Row | None, per_token: float) -> Row:
    """One source at one step; `heat`: how deep the colour is, the square root of the share dropped (per cent)."""
    part = part or dict.fromkeys(("documents_in", "documents_out", "bytes_in", "bytes_out"), 0)
    kept = part["documents_out"] / part["documents_in"] if part["documents_in"] else None
    return {
        **part, "name": row["name"], "kept": kept, "heat": 0 if kept is None else round(100 * max(0.0, 1 - kept) ** 0.5),
        "tokens_out": round(part["bytes_out"] / per_token),
    }  # fmt: skip


def grouped(entries: Iterable[Row], field: str) -> list[Row]:
    """Inputs by what is said of them, the most frequent first, with a few names."""
    found: dict[str, list[str]] = {}
    for entry in entries:
        found.setdefault(str(entry.get(field)), []).append(str(entry.get("name")))
    return [{"said": said, "count": len(names), "names": names[:ALL_SAMPLES]} for said, names in sorted(found.items(), key=lambda item: (-len(item[1]), item[0]))]
