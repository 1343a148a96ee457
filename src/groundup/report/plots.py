"""Curves as inline SVG: drawn by matplotlib, coloured and set by the page.

matplotlib knows no CSS, so a chart is drawn in stand-in colours, and each is then replaced by a variable of the page
(`#000011` becomes `var(--ink)`): one drawing serves light and dark. Text stays text in the page's own font. A drawing is
440 units wide with 13-unit letters and takes the width of its column, so they are about 11 px on a telephone and 15 px
on a desk. The same data give the same bytes.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Sequence
from typing import Any

import matplotlib
from markupsafe import Markup, escape
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

INK, SOFT, RULE, MODEL, FAINT, SECOND = "#000011", "#000022", "#000033", "#000044", "#000055", "#000066"
_VARIABLES = {
    INK: "--ink",
    SOFT: "--soft",
    RULE: "--rule",
    MODEL: "--model",
    FAINT: "--model-faint",
    SECOND: "--dropped",
}
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "groundup",  # else ids are random
    "font.size": 13,
    "text.color": INK,
    "axes.edgecolor": RULE,
    "axes.labelcolor": SOFT,
    "xtick.color": RULE,
    "ytick.color": RULE,
    "xtick.labelcolor": SOFT,
    "ytick.labelcolor": SOFT,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": RULE,
    "grid.linewidth": 0.8,
}
LEFT, WIDTH, HEIGHT = 0.11, 0.565, 0.735  # of the axes within the drawing; at their right is room for names
_POINTS = 300  # of a raw curve; more than there are pixels to show them


def smooth(values: Sequence[float], share: float = 0.03) -> list[float]:
    """Exponential moving average over about `share` of the curve; over less at its beginning, where a loss falls so fast
    that an average would lag behind it."""
    mean, result = 0.0, []
    for place, value in enumerate(values):
        mean += (value - mean) / max(1.0, min(share * len(values), 0.2 * (place + 1)))
        result.append(mean)
    return result


def loss(
    name: str,
    label: str,
    steps: list[int],
    losses: list[float],
    unit: str = "loss (nats a token)",
    *,
    unseen: tuple[list[int], list[float]] | None = None,
) -> Markup:
    """A training loss, raw and smoothed; `unseen` is a second, sparse curve of the same loss on text not trained on."""
    axes = _axes("step", unit)
    smoothed = smooth(losses)
    axes.plot(*_thinned(steps, losses), color=FAINT, linewidth=1)
    axes.plot(*_thinned(steps, smoothed), color=MODEL, linewidth=2.2)
    ends = [(smoothed[-1], f"training {smoothed[-1]:.2f}", MODEL)]
    shown = [*smoothed, *losses[len(losses) // 50 :]]  # the first losses alone would squeeze the rest
    if unseen:
        places, values = unseen
        axes.plot(places, values, color=SECOND, linewidth=1.6, marker="o", markersize=4.5)
        ends.append((values[-1], f"unseen {values[-1]:.2f}", SECOND))
        shown += values
    low, high = min(shown), max(shown)
    axes.set_ylim(low - 0.08 * (high - low or 1), high + 0.06 * (high - low or 1))
    _name(axes, ends)
    return _svg(axes, name, label)


def course(
    name: str,
    label: str,
    up: str,
    steps: list[int],
    values: list[float],
    what: str,
    *,
    unseen: tuple[list[int], list[float]] | None = None,
) -> Markup:
    """Any figure of training, raw and smoothed; `unseen`: the same on what nothing is learned from, with points."""
    axes = _axes("step", up)
    smoothed = smooth(values)
    axes.plot(*_thinned(steps, values), color=FAINT, linewidth=1)
    axes.plot(*_thinned(steps, smoothed), color=MODEL, linewidth=2.2)
    ends = [(smoothed[-1], f"{what} {smoothed[-1]:.3g}", MODEL)]
    shown = list(values)
    if unseen:
        axes.plot(*unseen, color=SECOND, linewidth=1.6, marker="o", markersize=4.5)
        ends.append((unseen[1][-1], f"unseen {unseen[1][-1]:.3g}", SECOND))
        shown += unseen[1]
    low, high = min(shown), max(shown)
    axes.set_ylim(low - 0.08 * (high - low or 1), high + 0.06 * (high - low or 1))
    _name(axes, ends)
    return _svg(axes, name, label)


def story(what: str, steps: list[int], values: list[float]) -> str:
    """A chart in words, for who cannot see it."""
    return f"{what}: {values[0]:.2f} at step {steps[0]:,}, {values[-1]:.2f} at step {steps[-1]:,}, lowest {min(values):.2f}."


def held_out(
    name: str, label: str, steps: list[int], values: list[float], marks: Sequence[tuple[str, float]]
) -> Markup:
    """Held-out bits per byte on the way, and what the baselines need as lines: (name, bits per byte)."""
    axes = _axes("step", "bits per byte")
    low = min([*values, *(mark for _, mark in marks)])
    high = max([*values, *(mark for _, mark in marks)])
    axes.set_ylim(low - 0.08 * (high - low or 1), high + 0.06 * (high - low or 1))
    for _, mark in marks:
        axes.axhline(mark, color=SOFT, linewidth=1.2, linestyle=(0, (4, 3)))
    axes.plot(steps, values, color=MODEL, linewidth=2.2, marker="o", markersize=5)
    _name(
        axes,
        [
            *((mark, f"{words} {mark:.2f}", SOFT) for words, mark in marks),
            (values[-1], f"this model {values[-1]:.2f}", MODEL),
        ],
    )
    return _svg(axes, name, label)


def gradient(name: str, label: str, steps: list[int], norms: list[float], clip: float) -> Markup:
    """The gradient's norm before clipping, on a logarithmic scale, and the norm it is clipped to."""
    axes = _axes("step", "norm of the gradient")
    axes.set_yscale("log")
    axes.plot(*_thinned(steps, norms), color=FAINT, linewidth=1)
    smoothed = [math.exp(mean) for mean in smooth([math.log(max(norm, 1e-12)) for norm in norms])]
    axes.plot(*_thinned(steps, smoothed), color=MODEL, linewidth=2.2)
    axes.axhline(clip, color=SOFT, linewidth=1.2, linestyle=(0, (4, 3)))
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_locator(NullLocator())
    _name(axes, [(smoothed[-1], f"norm {smoothed[-1]:.2f}", MODEL), (clip, f"clipped to {clip:g}", SOFT)])
    return _svg(axes, name, label)


def above_chance(name: str, label: str, rows: Sequence[tuple[str, Sequence[tuple[float, float] | None]]]) -> Markup:
    """Scores as bars from chance (0) towards all right (1): of each row its name and, for each model, value and standard error.

    The whisker is the 95 % interval. The last model is drawn in full colour, one before it pale.
    """
    models = max(len(values) for _, values in rows)
    height = 62 + len(rows) * (18 + 16 * models)  # of the drawing
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(440 / 72, height / 72))
        axes = figure.add_axes((0.32, 40 / height, 0.6, 1 - 52 / height))
    thick = 14 / (18 + 16 * models)
    shown = [0.0]
    for place, (_, values) in enumerate(rows):
        for number, found in enumerate(values):
            if found is None:
                continue
            value, reach = found[0], 1.96 * found[1]
            at = place + (number - (len(values) - 1) / 2) * (thick + 0.04)
            axes.barh(at, value, thick, color=MODEL if number == len(values) - 1 else FAINT)
            axes.plot([value - reach, value + reach], [at, at], color=INK, linewidth=1.4, marker="|", markersize=7, markeredgewidth=1.4)
            shown += [value - reach, value + reach]
    low, high = min(shown), max(*shown, 0.1)
    axes.set_xlim(low - 0.03 * (high - low), high + 0.03 * (high - low))
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.axvline(0, color=SECOND, linewidth=1.6)
    axes.set_yticks(range(len(rows)), [task for task, _ in rows], color=INK)
    axes.tick_params(length=0, pad=7)
    axes.grid(axis="x")
    axes.spines["left"].set_visible(False)
    axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: "chance" if abs(value) < 1e-9 else f"{100 * value:+.3g} %"))
    return _svg(axes, name, label)


def _axes(across: str, up: str) -> Axes:
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(440 / 72, 280 / 72))
        axes = figure.add_axes((LEFT, 0.165, WIDTH, HEIGHT))
        axes.grid(axis="y")
        axes.tick_params(length=0, pad=6)
        axes.tick_params(axis="x", length=4)
        axes.set_xlabel(across, loc="right")
        axes.set_title(
            up, loc="left", x=-LEFT / WIDTH, color=SOFT, fontsize=13, pad=9
        )  # lies flat, so it can be read
        axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
        axes.yaxis.set_major_locator(MaxNLocator(5))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    return axes


def _name(axes: Axes, ends: list[tuple[float, str, str]]) -> None:
    """Names at the right of the axes, each at its value and in its colour, moved apart where they would touch: there is
    no legend to look up, and no name lies on a curve."""
    gap = 17 / (280 * HEIGHT)  # a line of letters as a share of the axes' height
    ends = sorted(ends)
    low, high = axes.transData.transform([(0, axes.get_ylim()[0]), (0, axes.get_ylim()[1])])[:, 1]
    heights = [(axes.transData.transform((0, value))[1] - low) / (high - low) for value, _, _ in ends]
    for place in range(1, len(heights)):
        heights[place] = max(heights[place], heights[place - 1] + gap)
    top = 1.0
    for place in reversed(range(len(heights))):
        heights[place] = min(heights[place], top)
        top = heights[place] - gap
    for height, (_, words, colour) in zip(heights, ends, strict=True):
        axes.text(
            1.03,
            height,
            words,
            transform=axes.transAxes,
            color=colour,
            fontsize=13,
            va="center",
            fontweight="normal" if colour == SOFT else "bold",
        )


def _thinned(steps: list[int], values: list[float]) -> tuple[list[int], list[float]]:
    """A curve of at most _POINTS points that keeps its last one."""
    every = math.ceil(len(steps) / _POINTS)
    places = list(range(len(steps) - 1, -1, -every))[::-1]
    return [steps[place] for place in places], [values[place] for place in places]


def _svg(axes: Axes, name: str, label: str) -> Markup:
    """The drawing as an <svg> element of the page; `name` keeps its ids apart from other drawings'."""
    figure = axes.figure
    assert isinstance(figure, Figure)
    buffer = io.StringIO()
    with matplotlib.rc_context(_STYLE):
        figure.savefig(
            buffer,
            format="svg",
            transparent=True,
            metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")),
        )
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    # its style element would hold for the whole page
    text = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->|<style[^>]*>.*?</style>", "", text, flags=re.DOTALL)
    view = re.search(r'viewBox="([^"]+)"', text)
    assert view is not None
    text = re.sub(
        r"<svg[^>]*>",
        f'<svg class="chart" viewBox="{view[1]}" role="img" aria-label="{escape(label)}">',
        text,
        count=1,
    )
    text = re.sub(r" font-family: [^;\"]*;| transform=\"rotate\(-0 [^)]*\)\"", "", text)
    # a hundredth of a pixel is plenty; figures that are read stand between the tags
    text = re.sub(r"<[^>]*>", lambda tag: re.sub(r"\d+\.\d{3,}", lambda number: f"{float(number[0]):.2f}", tag[0]), text)
    used = set(re.findall(r'(?:href="#|url\(#)([^")]+)', text))
    text = re.sub(r' id="([^"]+)"', lambda m: f' id="{name}-{m[1]}"' if m[1] in used else "", text)
    text = re.sub(r'((?:xlink:)?href="#|url\(#)', lambda m: f"{m[1].removeprefix('xlink:')}{name}-", text)
    for colour, variable in _VARIABLES.items():
        text = text.replace(colour, f"var({variable})")
    return Markup(re.sub(r"\n\s*", "\n", text).strip())
