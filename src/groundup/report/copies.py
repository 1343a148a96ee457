"""The funnel page's section on copies: clusters by size with samples, and what is repeated most."""

from __future__ import annotations

from typing import Any

from groundup.report import words

Row = dict[str, Any]

SHOWN = 10  # clusters and repeated pieces that are not folded


def section(duplicates: dict[str, Row], seconds: dict[str, float], memory: dict[str, int]) -> list[Row]:
    """What each step that looked for copies has to show; those without copies are left out."""
    found: list[Row] = []
    for step, report in duplicates.items():
        sizes, repeated = report.get("sizes") or {}, report.get("repeated") or []
        if sizes or repeated:
            cost = [words.duration(seconds[step]) + " of processor time"] if seconds.get(step) else []
            cost += [f"{words.size(memory[step])} of memory at most"] if memory.get(step) else []
            found.append({
                "name": words.label(step), "cost": " and ".join(cost), "sizes": _sizes(sizes), "clusters": report.get("clusters") or [], "repeated": [{**one, "text": " ".join(one["text"].split())} for one in repeated], "shown": SHOWN,
                "told": {"clusters": sum(sizes.values()), "documents": sum(int(size) * number for size, number in sizes.items())},
            })  # fmt: skip
    return found


def _sizes(sizes: dict[str, int]) -> list[Row]:
    """Clusters by size, the large ones in ranges of powers of two, as bars."""
    ranges: dict[tuple[int, int], int] = {}
    for size, number in sizes.items():
        low = int(size) if int(size) < 8 else 1 << (int(size).bit_length() - 1)
        high = low if low < 8 else 2 * low - 1
        ranges[low, high] = ranges.get((low, high), 0) + number
    most = max(ranges.values(), default=1)
    return [
        {"name": f"{low:,} documents" if low == high else f"{low:,} to {high:,} documents", "count": number, "bar": 100 * number / most}
        for (low, high), number in sorted(ranges.items())
    ]
