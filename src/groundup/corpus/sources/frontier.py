"""What a crawl knows on disk, so that it can be killed at any instant and go on: the addresses and how far it is.

Addresses are numbered in the order in which they were found, and their results are committed in that order, breadth
first, however many are being fetched at once. So "how far" is one number, and the archive of an interrupted crawl ends
up the same as that of an undisturbed one.

One commit writes, in one SQLite transaction, the number reached, the addresses that were found, the counts, and how long
the archive is. The archive's bytes are on disk before it. What a killed process wrote after its last commit is cut off.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path

from groundup.errors import GroundupError

ARCHIVE_BYTES = 1_000_000_000  # a new file is begun above this; about 1 GB is the usual size (ISO 28500, annex)
EXAMPLES = 5  # addresses kept for each reason

SCHEMA = """
CREATE TABLE IF NOT EXISTS address (
  number INTEGER PRIMARY KEY, url TEXT UNIQUE NOT NULL, depth INTEGER NOT NULL, hops INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS progress (one INTEGER PRIMARY KEY CHECK (one = 1), state TEXT NOT NULL);
"""


@dataclass(frozen=True)
class Address:
    """A known address: `depth` links from a seed, `hops` redirects from a link."""

    number: int
    url: str
    depth: int
    hops: int


@dataclass
class Progress:
    """What is committed."""

    reached: int = 0
    """All addresses up to this number are dealt with."""
    archive: int = 0
    """Number of the archive file being written."""
    archive_bytes: int = 0
    """Its length."""
    fetched: int = 0
    bytes: int = 0
    """Of the stored bodies."""
    digest: str = ""
    """Of the stored pages: addresses, types and bodies, in order; their dates left out."""
    truncated: int = 0
    redirected: int = 0
    refused: dict[str, int] = field(default_factory=dict)
    """Addresses without a page, by reason."""
    examples: dict[str, list[str]] = field(default_factory=dict)
    """The first few of them."""
    not_followed: dict[str, int] = field(default_factory=dict)
    """Links that were not taken, by reason."""

    def refuse(self, url: str, reason: str) -> None:
        """Count an address without a page."""
        self.refused[reason] = self.refused.get(reason, 0) + 1
        examples = self.examples.setdefault(reason, [])
        if len(examples) < EXAMPLES:
            examples.append(url)


class Frontier:
    """The crawl's state in one folder: `frontier.sqlite` and the archive files."""

    def __init__(self, folder: Path, *, begin: bytes) -> None:
        """Open or create it; `begin` is the record that begins each archive file."""
        self._folder, self._begin = folder, begin
        self._database = sqlite3.connect(self.path(folder), isolation_level=None)
        self._database.execute("PRAGMA journal_mode = WAL")
        self._database.execute("PRAGMA synchronous = NORMAL")
        self._database.executescript(SCHEMA)
        row = self._database.execute("SELECT state FROM progress").fetchone()
        self.progress = Progress(**json.loads(row[0])) if row else Progress()
        self._mend()
        self._archive = self._open()

    @staticmethod
    def path(folder: Path) -> Path:
        """The database's file."""
        return folder / "frontier.sqlite"

    @classmethod
    def remove(cls, folder: Path) -> None:
        """Forget a crawl's state; its archive files stay."""
        for suffix in ("-wal", "-shm", "-journal", ""):
            (folder / (cls.path(folder).name + suffix)).unlink(missing_ok=True)

    def _archive_path(self, number: int) -> Path:
        return self._folder / f"pages-{number:05d}.warc.gz"

    def _mend(self) -> None:
        """Cut off what was written after the last commit."""
        for path in self._folder.glob("pages-*.warc.gz"):
            if path.name > self._archive_path(self.progress.archive).name:
                path.unlink()
        path = self._archive_path(self.progress.archive)
        length = path.stat().st_size if path.exists() else 0
        if length < self.progress.archive_bytes:
            raise GroundupError(
                f"shorter than the crawl's journal says ({length:,} of {self.progress.archive_bytes:,} bytes)", where=str(path),
                do="It was damaged from outside; remove its folder and build again.",
            )  # fmt: skip
        if path.exists():
            os.truncate(path, self.progress.archive_bytes)

    def _open(self) -> int:
        descriptor = os.open(self._archive_path(self.progress.archive), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        if self.progress.archive_bytes == 0:
            self._write(descriptor, self._begin)
        return descriptor

    def _write(self, descriptor: int, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(descriptor, rest) :]
        self.progress.archive_bytes += len(data)

    def add(self, urls: Iterable[str], *, depth: int, hops: int = 0) -> int:
        """Note addresses that are not known yet, in this order; returns how many are new. Part of the next commit."""
        self._begin_commit()
        new = 0
        for url in urls:
            done = self._database.execute("INSERT OR IGNORE INTO address (url, depth, hops) VALUES (?, ?, ?)", (url, depth, hops))
            new += done.rowcount
        return new

    def store(self, record: bytes) -> None:
        """Append a record to the archive. Part of the next commit."""
        if self.progress.archive_bytes > ARCHIVE_BYTES:
            os.fsync(self._archive)
            os.close(self._archive)
            self.progress.archive, self.progress.archive_bytes = self.progress.archive + 1, 0
            self._archive = self._open()
        self._write(self._archive, record)

    def commit(self) -> None:
        """Make all that was added and stored, and `progress`, durable as one."""
        self._begin_commit()
        os.fsync(self._archive)
        self._database.execute("INSERT OR REPLACE INTO progress VALUES (1, ?)", (json.dumps(asdict(self.progress)),))
        self._database.execute("COMMIT")

    def _begin_commit(self) -> None:
        if not self._database.in_transaction:
            self._database.execute("BEGIN")

    def waiting(self, after: int, limit: int) -> list[Address]:
        """The next addresses after a number, in order."""
        rows = self._database.execute(
            "SELECT number, url, depth, hops FROM address WHERE number > ? ORDER BY number LIMIT ?", (after, limit)
        )
        return [Address(*row) for row in rows]

    @property
    def known(self) -> int:
        """How many addresses were found: the last one's number."""
        return int(self._database.execute("SELECT coalesce(max(number), 0) FROM address").fetchone()[0])

    def close(self) -> None:
        """Close the files; what was not committed is forgotten."""
        if self._database.in_transaction:
            self._database.execute("ROLLBACK")
        self._database.close()
        os.close(self._archive)
