"""The documents of all sources in one fixed order, so that reading can stop anywhere and go on there.

Files come in the order of their names. The pages of a crawl come in the order of their addresses: the order they were
fetched in is chance, and two crawls of the same pages should make the same corpus.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from groundup.corpus.document import Document
from groundup.corpus.sources import warc
from groundup.corpus.sources.files import LocalFile, Report, page_document, read_file
from groundup.corpus.sources.remote import RemoteUnit, is_remote
from groundup.corpus.sources.token_files import COMPANIONS, SUFFIXES, TokenFile
from groundup.recipe import FilesSource, Recipe, TokenFilesSource
from groundup.run import read_json

GROUP_BYTES = 256 << 20  # of pages held in memory while they are put in order


class Unit(Protocol):
    """A piece of a source that is read from its beginning: a file, or some pages of a crawl."""

    def read(self, report: Report) -> Iterator[Document]:
        """Its documents; what there is to say about the others goes into the report."""


@dataclass(frozen=True)
class FileUnit:
    """One local file."""

    file: LocalFile

    def read(self, report: Report) -> Iterator[Document]:
        """The documents of the file."""
        return read_file(self.file, report)


@dataclass(frozen=True)
class PagesUnit:
    """Pages of a crawl whose addresses follow one another; `numbers` tells pages of one address apart."""

    source: str
    files: list[Path]
    wanted: dict[tuple[int, int], int]
    """From (file, page) to the place in this unit."""
    numbers: list[int]
    max_characters: int

    def read(self, report: Report) -> Iterator[Document]:
        """The documents of the pages."""
        pages: list[warc.Page | None] = [None] * len(self.wanted)
        for file, path in enumerate(self.files):
            for number, page in enumerate(warc.read_pages(path)):
                if (place := self.wanted.get((file, number))) is not None:
                    pages[place] = page
        for number, found in zip(self.numbers, pages, strict=True):
            if found is not None:
                yield from page_document(Document(self.source, found.url, "", found.url, number), found, self.max_characters, report)


@dataclass(frozen=True)
class Missing:
    """A file that could not even be listed."""

    name: str
    reason: str

    def read(self, report: Report) -> Iterator[Document]:
        """No documents, but a word on why."""
        report.skipped.append((self.name, self.reason))
        return iter(())


def units(recipe: Recipe, collected: Path) -> list[tuple[str, Unit]]:
    """All units of all sources, in the recipe's order, each with the name of its source."""
    found: list[tuple[str, Unit]] = []
    limit = recipe.clean.max_document_characters
    for source in recipe.sources:
        folder = collected / source.name
        if isinstance(source, FilesSource):
            for entry in read_json(folder / "files.json"):
                file = LocalFile(source.name, Path(entry["path"]), entry["relative"], limit, source.text_field)
                unit: Unit = RemoteUnit(entry["path"], file) if is_remote(entry["path"]) else FileUnit(file)
                found.append((source.name, Missing(entry["relative"], entry["error"]) if "error" in entry else unit))
        elif isinstance(source, TokenFilesSource):
            for entry in read_json(folder / "files.json"):
                path = Path(entry["path"])
                if "error" in entry:
                    found.append((source.name, Missing(entry["relative"], entry["error"])))
                elif path.suffix in SUFFIXES:
                    found.append((source.name, TokenFile(source.name, path, entry["relative"], limit, Path(source.tokenizer))))
                elif not path.name.endswith(COMPANIONS):
                    found.append((source.name, Missing(entry["relative"], "not a kind of token file that is read here")))
        else:
            files = sorted(folder.glob("*.warc.gz"))
            found += [(source.name, unit) for unit in _page_units(source.name, files, limit)]
    return found


def _page_units(source: str, files: list[Path], limit: int) -> Iterator[Unit]:
    """A crawl's pages in the order of their addresses, in groups that fit into memory."""
    pages: list[tuple[str, int, int, int]] = []
    for file, path in enumerate(files):
        notes: list[str] = []
        pages += [(page.url, file, number, len(page.body)) for number, page in enumerate(warc.read_pages(path, notes))]
        for note in notes:
            yield Missing(path.name, note)
    wanted: dict[tuple[int, int], int] = {}
    numbers: list[int] = []
    size, before, repeat = 0, "", 0
    for url, file, number, length in sorted(pages):
        if wanted and size + length > GROUP_BYTES:
            yield PagesUnit(source, files, wanted, numbers, limit)
            wanted, numbers, size = {}, [], 0
        repeat = repeat + 1 if url == before else 0
        wanted[file, number] = len(wanted)
        numbers.append(repeat)
        size, before = size + length, url
    if wanted:
        yield PagesUnit(source, files, wanted, numbers, limit)
