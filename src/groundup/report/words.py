"""Numbers, times and foreign text as a person reads them; the filters of the page."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

from markupsafe import Markup, escape

MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December",
)  # fmt: skip
# C0 and C1 controls but tab and newline; direction overrides, which would turn the rest of the page around
_INVISIBLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]")


def visible(value: Any) -> Any:
    """What stands in the page: foreign text with every character that HTML forbids or that hides shown as U+FFFD."""
    if isinstance(value, Markup) or not isinstance(value, str):
        return "" if value is None else value
    return _INVISIBLE.sub("\ufffd", value.replace("\r\n", "\n"))


def count(value: float) -> str:
    """12345 -> 12,345"""
    return f"{value:,.0f}"


def short(value: float) -> str:
    """6812160 -> 6.81 M"""
    for size, unit in ((1e12, "T"), (1e9, "B"), (1e6, "M")):
        if value >= 0.9995 * size:
            return f"{_three(value / size)} {unit}"
    return f"{value:,.0f}"


def size(value: float) -> str:
    """Bytes, decimal: 12712345 -> 12.7 MB"""
    for unit_size, unit in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if value >= 0.9995 * unit_size:
            return f"{_three(value / unit_size)} {unit}"
    return f"{value:,.0f} bytes"


def _three(value: float) -> str:
    """Three significant digits, no exponent."""
    return f"{value:.2f}" if value < 9.995 else f"{value:.1f}" if value < 99.95 else f"{value:,.0f}"


def score(value: float) -> str:
    """A figure that a step judged by: 0.04567 -> 0.0457; 1234567 -> 1,234,567"""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def duration(seconds: float) -> str:
    """4000 -> 1 h 7 min; 75 -> 1 min 15 s; 3.21 -> 3.2 s"""
    whole = round(seconds)
    if whole >= 3600:
        return f"{whole // 3600} h {whole % 3600 // 60} min"
    if whole >= 60:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole} s" if seconds >= 9.95 else f"{seconds:.1f} s"


def percent(share: float) -> str:
    """0.1234 -> 12 %; below ten with one decimal, and never 0 or 100 by rounding alone"""
    value = 100 * share
    if 0 < value < 0.1:
        return "< 0.1 %"
    if 99.9 < value < 100:
        return "> 99.9 %"
    return f"{value:.0f} %" if value in (0.0, 100.0) or 9.95 <= value < 99.5 else f"{value:.1f} %"


def day(seconds: float) -> str:
    """Seconds since 1970 -> 23 November 2026, 03:01 UTC"""
    when = datetime.fromtimestamp(seconds, UTC)
    return f"{when.day} {MONTHS[when.month - 1]} {when.year}, {when:%H:%M} UTC"


NAMES = {"html": "HTML", "url": "URL", "urls": "URLs", "fineweb": "FineWeb"}


def label(name: str) -> str:
    """exact_duplicates -> Exact duplicates; html -> HTML"""
    words = " ".join(NAMES.get(word, word) for word in name.replace("_", " ").replace("-", " ").split())
    return words[:1].upper() + words[1:]


def code(text: str) -> Markup:
    """Text with `backticks` as code: What does `json.dumps` do?"""
    parts = [escape(visible(part)) for part in text.split("`")]
    if len(parts) % 2 == 0:  # an odd backtick is a backtick
        return Markup("`").join(parts)
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if place % 2 else part for place, part in enumerate(parts)
    )


def clip(text: str, most: int) -> str:
    """A text of at most so many characters."""
    return text if len(text) <= most else text[: most - 1].rstrip() + "…"


def folded(text: str) -> str:
    """A model's text with a long run of empty lines said in words, as weak models write many; never empty."""
    text = re.sub(r"(?:[ \t]*\n){4,}", lambda run: f"\n[{run[0].count(chr(10)) - 1} empty lines]\n", text)
    return text if text.strip() else "[blank space alone]" if text else "[nothing]"


def blanks(text: str) -> str:
    """A token with its blanks shown: a leading space is a part of it."""
    return text.replace(" ", "·").replace("\n", "↵").replace("\t", "⇥").replace("\r", "␍")
