"""A judge's text read: which verdict it gives, or None where it gives none.

    "... B forgets the units.\\n[[A]]"     -> "A"
    "Rating: [[7.5]]"                       -> 7.5
    "[[6, 8]]"                              -> (6.0, 8.0)

The last mark counts: judges weigh several before they settle. Marks in single brackets count where there are none in double ones.
"""

from __future__ import annotations

import re
from typing import Literal

Verdict = Literal["A", "B", "tie"]
_NUMBER = r"(\d+(?:\.\d+)?)"
_LETTERS = (re.compile(r"\[\[\s*([ABC])\s*\]\]"), re.compile(r"\[\s*([ABC])\s*\]"))
_ONE = (re.compile(rf"\[\[\s*{_NUMBER}(?:\s*/\s*10)?\s*\]\]"), re.compile(rf"\[\s*{_NUMBER}(?:\s*/\s*10)?\s*\]"))
_TWO = (re.compile(rf"\[\[\s*{_NUMBER}\s*,\s*{_NUMBER}\s*\]\]"), re.compile(rf"\[\s*{_NUMBER}\s*,\s*{_NUMBER}\s*\]"))
LOWEST, HIGHEST = 1.0, 10.0


def pair_verdict(text: str) -> Verdict | None:
    """Who is better."""
    found = _last(_LETTERS, text)
    return None if found is None else "tie" if found[1] == "C" else "A" if found[1] == "A" else "B"


def single_score(text: str) -> float | None:
    """The mark; None also for one outside 1 to 10."""
    found = _last(_ONE, text)
    return None if found is None else _mark(found[1])


def two_scores(text: str) -> tuple[float, float] | None:
    """Both marks."""
    found = _last(_TWO, text)
    if found is None:
        return None
    first, second = _mark(found[1]), _mark(found[2])
    return None if first is None or second is None else (first, second)


def _last(patterns: tuple[re.Pattern[str], ...], text: str) -> re.Match[str] | None:
    for pattern in patterns:
        matches = list(pattern.finditer(text))
        if matches:
            return matches[-1]
    return None


def _mark(text: str) -> float | None:
    value = float(text)
    return value if LOWEST <= value <= HIGHEST else None
