"""What is seen of a training run: log.jsonl always, TensorBoard by default, W&B when asked, a live panel on a terminal.

On a terminal one panel shows the run; elsewhere a plain line comes now and then. Only the first process shows anything.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import psutil
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table

from groundup.errors import RequestError
from groundup.progress import PLAIN_SECONDS, console, say
from groundup.run import Run

COLUMNS = 3  # of figures in the panel, so that they fit a terminal of 80
PANEL_SECONDS = 0.25  # between two drawings


class Tracker(Protocol):
    """Where curves go."""

    def scalars(self, step: int, values: dict[str, float]) -> None:
        """Note the values of a step."""
        ...

    def close(self) -> None:
        """Write everything out."""
        ...


class TensorBoard:
    """Event files in the run folder; `tensorboard --logdir RUN/tensorboard` shows them."""

    def __init__(self, folder: Path, first_step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        # what an earlier try wrote past its last checkpoint is hidden
        self._writer = SummaryWriter(str(folder), purge_step=first_step + 1 if first_step else None)

    def scalars(self, step: int, values: dict[str, float]) -> None:
        """Note the values of a step."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        """Write everything out."""
        self._writer.close()


class WandB:
    """Weights & Biases; WANDB_MODE=offline keeps everything in the run folder."""

    def __init__(self, run: Run, title: str, key: str, settings: dict[str, Any]) -> None:
        try:
            import wandb
        except ImportError:
            raise RequestError("wandb is not installed", where="training.track", do="Install groundup with its `track` extra.") from None
        self._run = wandb.init(
            project="groundup", name=f"{run.path.name}-{title}", id=key, resume="allow", dir=str(run.path), config=settings
        )

    def scalars(self, step: int, values: dict[str, float]) -> None:
        """Note the values of a step."""
        self._run.log(values, step=step)

    def close(self) -> None:
        """Write everything out."""
        self._run.finish()


class Watch:
    """The running figures of a training run, drawn as a panel or said as a line."""

    def __init__(self, title: str, steps: int, bytes_per_token: float | None) -> None:
        self.title, self.steps, self.bytes_per_token = title, steps, bytes_per_token
        self.step = 0
        self.figures: dict[str, float | None] = {}
        self.held_out = ""
        self._live: Live | None = None
        self._drawn = time.monotonic()
        self._process = psutil.Process()

    def show(self, step: int, loss: float, learning_rate: float, tokens_per_second: float, share_of_peak: float | None, seconds_left: float) -> None:
        """Take a step's figures and draw them when it is time."""
        self.step = step
        self.figures = {
            "loss": loss, "learning_rate": learning_rate, "tokens_per_second": tokens_per_second, "share_of_peak": share_of_peak,
            "seconds_left": seconds_left,
        }  # fmt: skip
        now = time.monotonic()
        if self._live is not None and now - self._drawn >= PANEL_SECONDS:
            self._drawn = now
            self._live.update(self.panel(), refresh=True)
        elif self._live is None and now - self._drawn >= PLAIN_SECONDS:
            self._drawn = now
            say(f"{self.title}: {step:,}/{self.steps:,}  " + "  ".join(f"{name} {value}".strip() for name, value in self.cells()))

    def cells(self) -> list[tuple[str, str]]:
        """Name and value of each figure, ready to print."""
        found = self.figures
        loss, share = found["loss"], found["share_of_peak"]
        assert loss is not None
        cells = [("loss", f"{loss:.3f} nats")]
        if self.bytes_per_token:
            cells.append(("bits per byte", f"{loss / math.log(2) / self.bytes_per_token:.3f}"))
        if self.held_out:
            cells.append(("held out", self.held_out))
        cells += [("learning rate", f"{found['learning_rate']:.2e}"), ("tokens/s", f"{found['tokens_per_second']:,.0f}")]
        if share is not None:
            cells.append(("of peak", f"{100 * share:.0f} %"))
        left = int(found["seconds_left"] or 0)
        cells.append(("left", f"{left // 3600}:{left // 60 % 60:02d}:{left % 60:02d}"))
        cells.append(("memory", f"{self._process.memory_info().rss / 2**30:.2f} GiB"))
        return cells

    def panel(self) -> Panel:
        """The live panel: a bar over the figures."""
        grid = Table.grid(padding=(0, 2))
        cells = self.cells()
        for begin in range(0, len(cells), COLUMNS):
            row = [f"[dim]{name}[/dim] [bold]{value}[/bold]" for name, value in cells[begin : begin + COLUMNS]]
            grid.add_row(*row, *[""] * (COLUMNS - len(row)))
        both = Table.grid()
        both.add_row(ProgressBar(total=self.steps, completed=self.step, width=70))
        both.add_row(grid)
        return Panel(both, title=f"{self.title}: step {self.step:,} of {self.steps:,}", title_align="left", expand=False)

    @contextmanager
    def shown(self) -> Iterator[Watch]:
        """Keep the panel on the terminal while the block runs."""
        if not console.is_terminal:
            yield self
            return
        with Live(console=console, transient=True, auto_refresh=False) as live:
            self._live = live
            try:
                yield self
            finally:
                self._live = None


class Log:
    """One place to log to: log.jsonl, and the trackers the recipe asks for."""

    def __init__(self, run: Run, title: str, key: str, track: Sequence[str], first_step: int, settings: dict[str, Any], *, silent: bool = False) -> None:
        self.run, self.title, self.key, self._silent = run, title, key, silent
        self._trackers: list[Tracker] = []
        if silent:
            return
        if "tensorboard" in track:
            self._trackers.append(TensorBoard(run.path / "tensorboard" / title, first_step))
        if "wandb" in track:
            self._trackers.append(WandB(run, title, key, settings))

    def write(self, event: str, step: int, **figures: Any) -> None:
        """One event of a step."""
        if self._silent:
            return
        self.run.log(event, stage=self.title, key=self.key, step=step, **figures)
        values = {name: float(value) for name, value in figures.items() if isinstance(value, int | float)}
        for tracker in self._trackers:
            tracker.scalars(step, {f"{event}/{name}": value for name, value in values.items()})

    def close(self) -> None:
        """Write everything out."""
        for tracker in self._trackers:
            tracker.close()
