"""What a person sees while a build works: a live line on a terminal, a plain line now and then elsewhere.

Everything here goes to stderr; stdout belongs to results (`--json` prints one object there and nothing else).
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

console = Console(stderr=True, highlight=False)
PLAIN_SECONDS = 15.0  # between two plain lines when stderr is not a terminal


quiet = False
"""Whether this process keeps still: of several that work together one speaks."""


def say(message: str, *, always: bool = False) -> None:
    """One plain line on stderr; `always`: even where another process speaks for all."""
    if quiet and not always:
        return
    if console.is_terminal:
        console.print(message, markup=False)
    else:
        print(message, file=sys.stderr, flush=True)


class Bar:
    """A running task: `advance(n)` moves it, `note(text)` sets the words beside it."""

    def __init__(self, title: str, total: float | None, live: Progress | None) -> None:
        self.title, self.total, self._live = title, total, live
        self.done, self.words = 0.0, ""
        self._last = self._start = time.monotonic()
        self._task = live.add_task(title, total=total, words="") if live else None

    def advance(self, n: float = 1.0) -> None:
        """Count `n` more units as done."""
        self.done += n
        self._show()

    def note(self, words: str) -> None:
        """Set the words beside the bar (loss, rate, what is being read)."""
        self.words = words
        self._show()

    def _show(self) -> None:
        if self._live is not None and self._task is not None:
            self._live.update(self._task, completed=self.done, words=self.words)
        elif time.monotonic() - self._last >= PLAIN_SECONDS:
            self._last = time.monotonic()
            total = f"/{self.total:,.0f}" if self.total else ""
            say(f"{self.title}: {self.done:,.0f}{total} {self.words} ({self._last - self._start:.0f} s)")


@contextmanager
def bar(title: str, total: float | None = None) -> Iterator[Bar]:
    """Show a task while the block runs. `total` in the task's own units, None when unknown."""
    if not console.is_terminal:
        yield Bar(title, total, None)
        return
    columns = (
        TextColumn("{task.description}"), BarColumn(bar_width=24), TextColumn("{task.completed:,.0f}"),
        TextColumn("{task.fields[words]}"), TimeElapsedColumn(), TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as live:
        yield Bar(title, total, live)
