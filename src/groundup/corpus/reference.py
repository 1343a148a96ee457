"""Texts that a user gives as an example, of good or of bad: any file or folder that a build could read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from groundup.corpus.sources.files import LocalFile, Report, read_file
from groundup.corpus.steps.html import to_text
from groundup.corpus.steps.text import normalise
from groundup.errors import RequestError


def texts(path: Path, max_characters: int = 1_000_000) -> Iterator[str]:
    """The documents of a file, or of all files under a folder in the order of their names, as normalised plain text.

    Raises RequestError where there is nothing.
    """
    if not path.exists():
        raise RequestError(f"there is no {path}", where="reference texts", do="Name a file or folder with text.")
    files = sorted(each for each in path.rglob("*") if each.is_file()) if path.is_dir() else [path]
    for file in files:
        for document in read_file(LocalFile("reference", file, file.name, max_characters), Report()):
            text = document.text
            if document.format != "text":
                text = to_text(text, main_content=document.format == "html")
            if text := normalise(text):
                yield text
