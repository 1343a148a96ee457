"""Two pages of two things side by side: what a change of the recipe would do, and two corpora."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from groundup.report import words
from groundup.report.funnel import changed
from groundup.report.histogram import histogram
from groundup.report.sheet import template
from groundup.run import write_atomic

Row = dict[str, Any]
SHOWN_LANGUAGES = 15


def write_preview(found: Row, path: Path) -> None:
    """Write the page of a preview, as `corpus.preview.preview` gives it."""
    write_atomic(path, render_preview(found))


def render_preview(found: Row) -> str:
    """The page of a preview."""
    now, then = found["now"], found["then"]
    lots = [
        {
            "id": name, "title": title, "documents": lot["documents"], "bytes": lot["bytes"],
            "reasons": [
                {
                    "reason": f"{words.label(reason['step'])}: {reason['reason']}", "count": reason["documents"],
                    "samples": [sample for sample in lot["samples"] if (sample["step"], sample["reason"]) == (reason["step"], reason["reason"])],
                }
                for reason in lot["reasons"]
            ],
        }
        for name, title, lot in (("dropped", "Newly dropped", found["newly_dropped"]), ("kept", "Newly kept", found["newly_kept"]))
    ]  # fmt: skip
    scores = found["scores"]
    drawing = None
    if scores:
        sums = [sum(row[place] for row in scores.values()) for place in range(4)]
        said = f"Scores at the step {words.label(found['step'])}: {sums[0]:,} kept both times, {sums[1]:,} newly dropped, {sums[2]:,} newly kept, {sums[3]:,} dropped both times."
        drawing = {"svg": histogram(scores, [(0, "kept"), (2, "won")], [(1, "dropped"), (3, "still")], said), "sums": sums}
    return template("preview.html.j2").render(
        name=found["name"], changes={key: [_value(value) for value in values] for key, values in found["changes"].items()},
        verdict=_said(found), again=[words.label(step) for step in found["steps_run_again"]], seconds=found["seconds"],
        sides=pairs({"Documents": (now["documents"], then["documents"], "count"), "Bytes": (now["bytes"], then["bytes"], "size")}),
        sources=[{"name": name, **sides, "kept": sides["then"]["bytes"] / sides["now"]["bytes"] if sides["now"]["bytes"] else None} for name, sides in found["sources"].items()],
        steps=[{"name": words.label(step), **sides} for step, sides in found["dropped_by"].items()],
        lots=lots, step=words.label(found["step"]), drawing=drawing,
        changed=found["changed"]["documents"], samples=[changed(sample) for sample in found["changed"]["samples"]],
    )  # fmt: skip


def _said(found: Row) -> str:
    """The preview in one sentence."""
    dropped, kept, other = found["newly_dropped"]["documents"], found["newly_kept"]["documents"], found["changed"]["documents"]
    parts = [f"drop {dropped:,} of {found['now']['documents']:,} documents"] * bool(dropped)
    parts += [f"keep {kept:,}{'' if parts else ' documents'} that are dropped now"] * bool(kept)
    parts += [f"change the text of {other:,}{'' if parts else ' documents'}"] * bool(other)
    if not parts:
        return "This change would drop nothing, keep nothing more and change no text."
    return f"This change would {', '.join(parts[:-1])}{' and ' if parts[1:] else ''}{parts[-1]}."


def _value(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def pairs(rows: dict[str, tuple[float | None, float | None, str]]) -> list[Row]:
    """Pairs of figures with bars, each pair to its own scale: name -> (one, other, filter)."""
    found = []
    for name, (one, other, form) in rows.items():
        most = max(one or 0, other or 0) or 1
        found.append({"name": name, "form": form, "values": [{"value": value, "bar": 100 * (value or 0) / most} for value in (one, other)]})
    return found


def write_comparison(found: Row, path: Path) -> None:
    """Write the page of a comparison, as `corpus.compare.compare` gives it."""
    write_atomic(path, render_comparison(found))


def render_comparison(found: Row) -> str:
    """The page of a comparison."""
    one, other = found["one"], found["other"]
    sizes = {"documents": ("Documents", "count"), "bytes": ("Bytes", "size"), "characters": ("Characters", "short"), "estimated_tokens": ("Tokens, estimated", "short")}
    lengths = {f"{at} %" if at not in ("0", "50", "100") else {"0": "shortest", "50": "half", "100": "longest"}[at]: at for at in one["characters_at_percent"]}
    return template("comparison.html.j2").render(
        one=one, other=other, names=_names(found), per_token=found["bytes_per_token"], per_token_source=found["bytes_per_token_source"],
        sizes=pairs({title: (one[key], other[key], form) for key, (title, form) in sizes.items()}),
        sources=pairs(_both(one["sources"], other["sources"])), languages=pairs(dict(list(_both(one["languages"], other["languages"]).items())[:SHOWN_LANGUAGES])),
        lengths=[{"name": name, "values": [one["characters_at_percent"][at], other["characters_at_percent"].get(at)]} for name, at in lengths.items()],
        shared=found["shared_texts"], alone=[(side, _share(side)) for side in (one, other)],
        words=[_words(found["words"][side]) for side in ("one", "other")], recipes={key: [_value(value) for value in values] for key, values in found["recipes_differ"].items()},
        steps=[{"name": words.label(step["step"]), "sides": [_kept(step[side]) for side in ("one", "other")]} for step in found["steps"]],
        verdict=_compared(found),
    )  # fmt: skip


def _names(found: Row) -> list[str]:
    """What the two are called: by name, where those differ, else by folder."""
    names = [found[side]["name"] for side in ("one", "other")]
    return names if names[0] != names[1] else [found[side]["folder"] for side in ("one", "other")]


def _compared(found: Row) -> str:
    one, other = found["one"], found["other"]
    names = _names(found)
    if one["bytes"] == other["bytes"] and not one["alone"]["documents"] and not other["alone"]["documents"]:
        return f"{names[0]} and {names[1]} hold the same texts."
    times = max(one["bytes"], other["bytes"]) / max(1, min(one["bytes"], other["bytes"]))
    larger, smaller = names if one["bytes"] >= other["bytes"] else names[::-1]
    size = f"{larger} holds {times:.2f} times as much text as {smaller}" if times >= 1.005 else f"{names[0]} and {names[1]} are of one size"
    return f"{size}; {found['shared_texts']:,} {'text is' if found['shared_texts'] == 1 else 'texts are'} in both."


def _both(one: Row, other: Row) -> dict[str, tuple[float | None, float | None, str]]:
    names = sorted({*one, *other}, key=lambda name: (-max(side.get(name, {}).get("bytes", 0) for side in (one, other)), name))
    return {name: (one.get(name, {}).get("bytes"), other.get(name, {}).get("bytes"), "size") for name in names}


def _share(side: Row) -> float:
    return side["alone"]["documents"] / side["documents"] if side["documents"] else 0.0


def _words(rows: list[Row]) -> list[Row]:
    most = max((row["standard_errors"] for row in rows), default=1.0)
    return [{**row, "bar": 100 * row["standard_errors"] / most} for row in rows]


def _kept(step: Row | None) -> Row | None:
    if step is None:
        return None
    return {**step, **{f"{unit}_kept": step[f"{unit}_out"] / step[f"{unit}_in"] if step[f"{unit}_in"] else 1.0 for unit in ("documents", "bytes")}}
