"""The learning rate, the batch and the context over a run, drawn before it starts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from groundup.recipe import Training
from groundup.training.schedules import Schedule

POINTS = 400
COLUMNS, ROWS = 64, 10
EIGHTHS = " ▁▂▃▄▅▆▇█"


def course(training: Training) -> dict[str, Any]:
    """The schedule's points: `progress` (share of the run's tokens), `share_of_peak`, and each phase's end, batch and
    context (None: the plan's)."""
    schedule = Schedule.of(training)
    progress = [number / POINTS for number in range(POINTS)]
    asked = training.batch_tokens if isinstance(training.batch_tokens, int) else None
    return {
        "schedule": training.schedule,
        "peak_learning_rate": training.learning_rate,
        "progress": progress,
        "share_of_peak": [schedule(at, at + 1 / POINTS) for at in progress],
        "phases": [
            {"until": phase.until, "batch_tokens": phase.batch_tokens or asked, "context": phase.context} for phase in training.phases
        ],
    }  # fmt: skip


def as_text(found: dict[str, Any]) -> str:
    """The same as a drawing of characters, for a terminal."""
    shares = found["share_of_peak"]
    heights = [max(shares[POINTS * column // COLUMNS : POINTS * (column + 1) // COLUMNS]) * ROWS * 8 for column in range(COLUMNS)]
    lines = []
    for row in reversed(range(ROWS)):
        label = {ROWS - 1: "peak", 0: "   0"}.get(row, "")
        lines.append(f"{label:>4} |" + "".join(EIGHTHS[round(min(8.0, max(0.0, height - 8 * row)))] for height in heights).rstrip())
    lines.append("     +" + "-" * COLUMNS)
    lines.append("      start" + f"{'end of the run':>{COLUMNS - 5}}")
    lines += [f"to {100 * phase['until']:.0f} %: {_phase(phase)}" for phase in found["phases"]]
    return "\n".join(lines)


def draw(found: dict[str, Any], path: Path) -> None:
    """The same as a picture (the suffix says which kind: .png, .svg, .pdf)."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4), layout="constrained")
    axes = figure.subplots()
    peak = found["peak_learning_rate"] or 1.0
    axes.plot([100 * at for at in found["progress"]], [share * peak for share in found["share_of_peak"]], color="#1f6f8b", linewidth=2)
    axes.set_xlabel("share of the run's tokens (%)")
    axes.set_ylabel("learning rate" if found["peak_learning_rate"] else "learning rate, share of the peak")
    axes.set_xlim(0, 100)
    axes.set_ylim(0, 1.08 * peak)
    axes.set_title(found["schedule"], loc="left")
    axes.spines[["top", "right"]].set_visible(False)
    begin = 0.0
    for phase in found["phases"]:
        if phase["until"] < 1:
            axes.axvline(100 * phase["until"], color="#999999", linewidth=1, linestyle=":")
        axes.text(50 * (begin + phase["until"]), 1.05 * peak, _phase(phase), ha="center", va="top", fontsize=8, color="#555555")
        begin = phase["until"]
    figure.savefig(path, dpi=150)


def _phase(phase: dict[str, Any]) -> str:
    batch = f"{phase['batch_tokens']:,} tokens a step" if phase["batch_tokens"] else "the plan's batch"
    return batch + (f", context {phase['context']}" if phase["context"] else "")
