"""What each step did to each document, kept shard by shard, so that a changed step runs again and nothing before it does.

    corpus/steps/documents-<key>/00000.parquet   documents as extraction left them; 00000.json: where reading had come to
    corpus/steps/html-<key>/00000.parquet        what `html` did to each of them (chain.DONE_SCHEMA)
    corpus/steps/unicode-<key>/00000.parquet     ...

A step's key is a digest of its settings and of the key before it. The documents at any point of the chain are the first file with
the changes of the steps up to there laid over it. Shards are written whole or not at all; what no recipe asks for any more is
removed when the stage ends.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import parquet

from groundup.corpus import engine
from groundup.corpus.chain import BASE_SCHEMA, DONE_SCHEMA, Chain, Named
from groundup.corpus.document import SCHEMA
from groundup.run import digest, read_json, write_json

FORMAT = 1  # of these files; another one is not read


class Store:
    """The files of one chain of steps, over documents that were read as `reading` says."""

    def __init__(self, folder: Path, reading: Mapping[str, Any], steps: list[Named], extraction: int) -> None:
        self.folder, self.steps, self.extraction = folder, steps, extraction
        base = digest(FORMAT, reading, [(named.name, named.settings) for named in steps[:extraction]])
        self._base = folder / f"documents-{base[:16]}"
        self._folders: list[Path] = []
        key = base
        for place, named in enumerate(steps):
            key = digest(key, named.name, {} if place < extraction else named.settings)
            self._folders.append(folder / f"{named.name}-{key[:16]}")

    def open(self) -> None:
        """Make the folders; remove what a cut-off write left."""
        for place in (self._base, *self._folders):
            place.mkdir(parents=True, exist_ok=True)
            for leftover in place.glob(".*.tmp"):
                leftover.unlink()

    def states(self) -> list[dict[str, Any]]:
        """Where reading had come to after each shard that is there, in order."""
        found: list[dict[str, Any]] = []
        while (path := self._base / f"{len(found):05d}.json").exists():
            found.append(read_json(path))
        return found

    def known(self, number: int) -> int:
        """How many steps of the chain have been done to a shard that has been read."""
        place = self.extraction
        while place < len(self.steps) and self._path(place, number).exists():
            place += 1
        return place

    def common(self, other: Store) -> int:
        """How many steps, from the first on, do the same to the same documents in another chain."""
        same = 0
        while same < min(len(self._folders), len(other._folders)) and self._folders[same] == other._folders[same]:
            same += 1
        return same

    def write(
        self, number: int, first: int, schema: pa.Schema, batches: Iterator[pa.RecordBatch], seconds: list[float], state: dict[str, Any] | None
    ) -> int:
        """Write a shard's results of the steps from `first` on (those of a chain of them); `seconds` are added to.

        With `state` the documents themselves, too, and the state last of all. Returns the documents.
        """
        table = pa.Table.from_batches(list(batches), schema)
        for place in range(first, len(self.steps)):
            seconds[place] += pc.sum(table[f"{place - first}.seconds"]).as_py() or 0.0
            engine.write(self._path(place, number), iter(Chain.did(table, place - first).to_batches()), DONE_SCHEMA)
        if state is not None:
            engine.write(self._base / f"{number:05d}.parquet", iter(table.select(BASE_SCHEMA.names).to_batches()), BASE_SCHEMA)
            write_json(self._base / f"{number:05d}.json", state)
        return int(table.num_rows)

    def documents(self, number: int, upto: int = 0) -> pa.Table:
        """A shard's documents (SCHEMA) as the first `upto` steps left them, those that were dropped among them."""
        table = parquet.read_table(self._base / f"{number:05d}.parquet", partitioning=None)
        none = pa.chunked_array([pa.nulls(table.num_rows, pa.string())])
        columns = {**{name: table[name] for name in table.column_names}, "dropped_by": none, "reason": none}
        found = pa.table([columns[name] for name in SCHEMA.names], schema=SCHEMA)
        for place in range(upto):
            found = self.after(found, place, self.done(number, place, ["text", "language", "reason"]))
        return found

    def after(self, documents: pa.Table, place: int, done: pa.Table) -> pa.Table:
        """Documents as a step left them, from those before it and what it did."""
        named = pc.if_else(pc.is_null(done["reason"]), pa.scalar(None, pa.string()), pa.scalar(self.steps[place].name))
        new = {
            "text": pc.coalesce(done["text"], documents["text"]), "language": pc.coalesce(done["language"], documents["language"]),
            "dropped_by": pc.coalesce(documents["dropped_by"], named), "reason": pc.coalesce(documents["reason"], done["reason"]),
        }  # fmt: skip
        return pa.table([new.get(name, documents[name]) for name in SCHEMA.names], schema=SCHEMA)

    def sizes(self, number: int) -> pa.ChunkedArray:
        """Bytes of each document of a shard before the first step."""
        return parquet.read_table(self._base / f"{number:05d}.parquet", columns=["bytes"], partitioning=None)["bytes"]

    def done(self, number: int, place: int, columns: list[str] | None = None) -> pa.Table:
        """What a step did to a shard (DONE_SCHEMA)."""
        return parquet.read_table(self._path(place, number), columns=columns, partitioning=None)

    def prune(self) -> None:
        """Remove what this chain has no use for."""
        used = {self._base, *self._folders}
        for place in self.folder.iterdir():
            if place not in used:
                shutil.rmtree(place)

    def _path(self, place: int, number: int) -> Path:
        return self._folders[place] / f"{number:05d}.parquet"
