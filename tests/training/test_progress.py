"""What a person sees of a run."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from groundup import progress as screen
from groundup.training import progress
from groundup.training.progress import Watch


def test_the_panel_shows_every_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Console(file=io.StringIO(), force_terminal=True, width=80, color_system=None, _environ={"TERM": "xterm"})
    monkeypatch.setattr(progress, "console", terminal)
    monkeypatch.setattr(progress, "PANEL_SECONDS", 0.0)
    watch = Watch("pretrain", 2000, bytes_per_token=3.0)
    watch.held_out = "1.406 bits per byte"
    with watch.shown():
        watch.show(500, 2.0, 3e-3, 12_345.6, 0.55, 3725.0)
    text = terminal.file.getvalue()  # type: ignore[attr-defined]
    for part in ("step 500 of 2,000", "2.000 nats", "0.962", "1.406 bits per byte", "3.00e-03", "12,346", "55 %", "1:02:05", "GiB"):
        assert part in text, part


def test_elsewhere_a_plain_line_now_and_then(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(progress, "PLAIN_SECONDS", 0.0)
    assert not screen.console.is_terminal
    watch = Watch("pretrain", 2000, bytes_per_token=None)
    with watch.shown():
        watch.show(500, 2.0, 3e-3, 12_345.6, None, 61.0)
    line = capsys.readouterr().err.strip()
    assert line.startswith("pretrain: 500/2,000  loss 2.000 nats") and "0:01:01" in line and "\n" not in line
