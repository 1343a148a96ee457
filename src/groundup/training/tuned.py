"""Where the stages of tuning live in a run's folder, `dialogue/<n>-<method>`, and which of them are models to talk to."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

FOLDER = "dialogue"
STAGE = re.compile(r"(\d+)-([a-z]+)")
SILENT = ("reward",)
"""Methods whose models score instead of speaking."""


def folders(run: Path) -> Iterator[Path]:
    """The folders of the stages that speak, the last one first, a finished one before one at work. Each has a `tokenizer.json` of its own."""
    found = []
    for path in (run / FOLDER).iterdir() if (run / FOLDER).is_dir() else ():
        name = path.name.removeprefix(".").removesuffix(".partial")
        if path.is_dir() and (match := STAGE.fullmatch(name)) and match[2] not in SILENT and (path / "tokenizer.json").is_file():
            found.append((-int(match[1]), path.name.startswith("."), path.name))
    for _, _, name in sorted(found):
        yield run / FOLDER / name
