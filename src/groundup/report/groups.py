"""Whom filtering took away: groups of people before and after the steps, from the counts of `bias_before` and `bias_after`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from groundup.corpus import bias

BEFORE, AFTER = "bias_before", "bias_after"
"""The steps that count; they change and drop nothing."""
ERRORS = 2.0  # standard errors from 0 below which an association says nothing
EVEN = 0.05  # a group whose share left is so near to all text's lost no more and no less


def section(steps: Iterable[dict[str, Any]]) -> dict[str, Any] | None:
    """The section on groups, from a funnel's steps; None where the recipe does not count them, or nobody is mentioned."""
    counts = {step.get("step"): step.get("counts") or {} for step in steps}
    if BEFORE not in counts or AFTER not in counts:
        return None
    errors = {(row.group, f"{row.first} - {row.second}"): row.error for row in bias.associations(counts[BEFORE])}
    return of(bias.compare(counts[BEFORE], counts[AFTER]), errors, counts[AFTER].get("words", 0) / max(1, counts[BEFORE].get("words", 0)))


def of(changes: Iterable[bias.Change], errors: Mapping[tuple[str, str], float], words_kept: float) -> dict[str, Any] | None:
    """Rows and columns: mentions, the share of them that is left beside the share of all words, associations before and after.

    `errors`: standard error of each group's association before (bits).
    """
    rows = list(changes)
    if not rows:
        return None
    pairs = list(dict.fromkeys(name for row in rows for name in row.effects))
    return {
        "words_kept": words_kept, "pairs": [{"first": first, "second": second} for first, _, second in (name.partition(" - ") for name in pairs)],
        "rows": [
            {
                "group": row.group, "before": row.before, "after": row.after, "kept": row.kept, "bar": 100 * min(1.0, row.kept),
                "points": 100 * (row.kept - words_kept), "fate": _fate(row.ratio),
                "effects": [_effect(row.effects.get(name), errors.get((row.group, name), 0.0)) for name in pairs],
            }
            for row in rows
        ],
    }  # fmt: skip


def _fate(ratio: float) -> str:
    return "less" if ratio < 1 - EVEN else "more" if ratio > 1 + EVEN else "even"


def _effect(pair: tuple[float, float] | None, error: float) -> dict[str, Any] | None:
    return None if pair is None else {"before": pair[0], "after": pair[1], "sure": max(map(abs, pair)) >= ERRORS * error}
