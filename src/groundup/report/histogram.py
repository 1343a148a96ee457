"""How documents scored at a step: a histogram as inline SVG, those that were kept above its line, those dropped below.

Heights are square roots, so that the few can be seen beside the many; where a bar has two parts they share its height as they
share its documents. Scores come with two digits: bins are so wide that each holds about as many of those as the next.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from markupsafe import Markup, escape

from groundup.report.words import count, short

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 440, 210, 8, 432, 20, 26
LOGARITHMIC = 50  # largest score from which on the axis is logarithmic
TENTH = 0.1  # of a decade: a bin there
AGREE = 0.995  # share of documents that a threshold must divide as the step did, to be drawn


class Axis:
    """Where a score lies on the axis, and in which bin."""

    def __init__(self, scores: Sequence[float]) -> None:
        low, high = min(scores), max(scores)
        self.logarithmic = low >= 0 and high > LOGARITHMIC
        if self.logarithmic:
            self.low, self.step = math.floor(math.log10(1 + low) / TENTH) * TENTH, TENTH
            self.bins = max(5, math.floor((math.log10(1 + high) - self.low) / TENTH + 1e-9) + 1)
            return
        span = _round(max(high, -low, 1e-9))
        self.low, wide = (-span if low < 0 else 0.0), (2 * span if low < 0 else span)
        # two digits: between 1 and 2 there are 10 scores, between 1 and 5 there are 40, between 1 and 10 there are 90
        self.bins = (20 if f"{span:e}"[0] == "2" else 50) * (2 if low < 0 else 1)
        self.step = wide / self.bins

    def bin(self, score: float) -> int:
        """The bin of a score."""
        return min(self.bins - 1, max(0, math.floor((self._along(score) - self.low) / self.step + 1e-6)))

    def place(self, score: float) -> float:
        """Across the drawing."""
        return self._at((self._along(score) - self.low) / self.step)

    def _at(self, bins: float) -> float:
        return LEFT + (RIGHT - LEFT) * bins / self.bins

    def _along(self, score: float) -> float:
        return math.log10(1 + score) if self.logarithmic else score

    def ticks(self) -> list[tuple[float, str]]:
        """(place across, words)."""
        if self.logarithmic:
            top = self.low + self.bins * self.step
            values = [0.0, *(10.0**power for power in range(0, 16))]
            return [(self.place(value), short(value)) for value in values if self.low - 1e-9 <= math.log10(1 + value) <= top + 1e-9]
        return [(self._at(self.bins * part / 4), f"{self.low + self.step * self.bins * part / 4:g}") for part in range(5)]


def _round(value: float) -> float:
    """The next of 1, 2, 5, 10, ... times a power of ten."""
    power = 10.0 ** math.floor(math.log10(value))
    return next(power * digit for digit in (1, 2, 5, 10) if value <= power * digit * (1 + 1e-9))


def histogram(scores: Mapping[str, Sequence[int]], above: Sequence[tuple[int, str]], below: Sequence[tuple[int, str]], label: str) -> Markup:
    """Draw scores (to two digits -> numbers of documents). `above` and `below`: (which of the numbers, class of its part of a bar)."""
    values = [float(score) for score in scores]
    axis = Axis(values)
    bins = [[0] * len(next(iter(scores.values()))) for _ in range(axis.bins)]
    for value, numbers in zip(values, scores.values(), strict=True):
        for place, number in enumerate(numbers):
            bins[axis.bin(value)][place] += number
    sides = [[sum(one[place] for place, _ in side) for one in bins] for side in (above, below)]
    tall = [math.sqrt(max(side)) for side in sides]
    room = HEIGHT - TOP - BOTTOM - 14
    scale = room / max(sum(tall), 1e-9)
    line = TOP + tall[0] * scale
    drawn: list[str] = []
    for place, one in enumerate(bins):
        left, right = axis._at(place) + 0.5, axis._at(place + 1) - 0.5
        for side, up in ((above, True), (below, False)):
            total = sum(one[which] for which, _ in side)
            height, at = (max(1.5, math.sqrt(total) * scale) if total else 0.0), 0.0
            for which, name in side:
                part = height * one[which] / total if total else 0.0
                if part:
                    y = line - at - part if up else line + at
                    said = f"about {axis_words(axis, place)}: {count(one[which])}"
                    drawn.append(f'<rect class="{name}" x="{left:.1f}" y="{y:.1f}" width="{right - left:.1f}" height="{part:.1f}"><title>{said}</title></rect>')
                at += part
    drawn.append(f'<line class="axis" x1="{LEFT}" x2="{RIGHT}" y1="{line:.1f}" y2="{line:.1f}"/>')
    foot = line + tall[1] * scale
    for x, said in axis.ticks():
        anchor = "start" if x < LEFT + 10 else "end" if x > RIGHT - 10 else "middle"
        drawn.append(f'<text class="tick" x="{x:.1f}" y="{foot + 16:.1f}" text-anchor="{anchor}">{said}</text>')
    if (cut := threshold(scores, [which for which, _ in above], [which for which, _ in below])) is not None:
        x = axis.place(cut)
        drawn.append(f'<line class="threshold" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP - 4}" y2="{foot + 3:.1f}"/>')
        anchor, shift = ("end", -5) if x > WIDTH / 2 else ("start", 5)
        drawn.append(f'<text class="name" x="{x + shift:.1f}" y="{TOP - 8}" text-anchor="{anchor}">threshold, about {axis_number(cut)}</text>')
    view = f'<svg class="chart scores" viewBox="0 0 {WIDTH} {foot + 22:.0f}" role="img" aria-label="{escape(label)}">'
    return Markup(view + "".join(drawn) + "</svg>")


def axis_number(value: float) -> str:
    """A score of two digits, without an exponent where it is short."""
    return count(value) if abs(value) >= 10 else f"{value:.2g}"


def axis_words(axis: Axis, place: int) -> str:
    """The scores of a bin, in words."""
    low, high = (axis.low + axis.step * at for at in (place, place + 1))
    low, high = (10**low - 1, 10**high - 1) if axis.logarithmic else (low, high)
    return f"{axis_number(low)} to {axis_number(high)}"


def threshold(scores: Mapping[str, Sequence[int]], above: Sequence[int], below: Sequence[int]) -> float | None:
    """The score that divides what was kept from what was dropped; None where no one score does.

    It may lie among those of two equal digits, some of which were kept and some dropped.
    """
    rows = sorted((float(score), sum(numbers[which] for which in above), sum(numbers[which] for which in below)) for score, numbers in scores.items())
    kept, dropped = sum(row[1] for row in rows), sum(row[2] for row in rows)
    if not kept or not dropped:
        return None
    found: list[tuple[int, float]] = []
    before, through = (0, 0), (0, 0)
    for at, (score, up, down) in enumerate(rows):
        before, through = through, (through[0] + up, through[1] + down)
        if up and down:
            found.append((up + down + max(before[0] + dropped - through[1], before[1] + kept - through[0]), score))
        elif at + 1 < len(rows):
            found.append((max(through[0] + dropped - through[1], through[1] + kept - through[0]), (score + rows[at + 1][0]) / 2))
    best, cut = max(found, key=lambda one: one[0])
    return cut if best >= AGREE * (kept + dropped) else None
