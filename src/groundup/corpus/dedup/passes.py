"""Removing copies, kind by kind: each looks at every shard, decides over all of them, and goes through them once more.

    look(shard)  ...  its keys, sorted, in files; a shard that is there is not looked at again
    decide()          which document or piece is kept, of those that share a key
    left(shard)  ...  the documents without the copies, a tally, and samples for the report
    report()          clusters by size with samples, the pieces that are repeated most

A shard is a Parquet file of WORK_SCHEMA. What is left is a function of the documents alone, whatever shards they stand in, and of
texts that differ also in whatever order. Keys of words are computed through the engine, so on all cores or nodes.
"""

from __future__ import annotations

import heapq
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import parquet

from groundup.corpus import engine
from groundup.corpus.dedup import exact, near, substring
from groundup.corpus.dedup.keys import Keys, copies
from groundup.corpus.dedup.maps import BandKeys, WindowKeys
from groundup.corpus.dedup.shingles import words
from groundup.corpus.document import SCHEMA
from groundup.corpus.funnel import SAMPLE_CHARACTERS, Tally
from groundup.recipe import Clean

RANKED_SCHEMA = SCHEMA.append(pa.field("quality", pa.float64()))
"""Documents while copies are dropped; `quality`: the classifier's score, where copies are ranked by it."""
SHOWN = 20  # clusters, repeated pieces
MEMBERS = 4  # of a cluster

Row = dict[str, Any]
Found = list[Row]


class Pass(ABC):
    """One kind of copies."""

    name: str
    """Of its files."""
    step: str
    """In the funnel."""
    through_engine = False
    """Whether its keys are computed where the steps are."""

    def __init__(self, folder: Path, count: int, columns: int = 1) -> None:
        """`folder`: for files on the way; `count`: shards."""
        self.folder, self.keys = folder, Keys(folder, count, columns)

    @abstractmethod
    def look(self, number: int, path: Path) -> None:
        """Write the keys of a shard."""

    @abstractmethod
    def decide(self) -> None:
        """When all shards have been looked at."""

    @abstractmethod
    def left(self, number: int, path: Path, tally: Tally, found: Found) -> Iterator[Row]:
        """The rows of a shard without its copies; `found` gets what the report may show."""

    def report(self, found: Found) -> Row:
        """From what all shards found."""
        return {"repeated": _most(found)}


class Addresses(Pass):
    """Pages whose address another document has. The parts of one document that was cut stay together."""

    name, step = "urls", "duplicate addresses"

    def __init__(self, folder: Path, count: int, scopes: Mapping[str, str]) -> None:
        super().__init__(folder, count)
        self._scopes = scopes

    def look(self, number: int, path: Path) -> None:
        keys, ranks = [], []
        for row in engine.rows(path, ["whole", "source", "url"]):
            if (at := exact.address(row["url"])) is not None:
                keys.append(exact.hash64(f"{self._scopes[row['source']]}\n{at}"))
                ranks.append(int(row["whole"][:16], 16))
        self.keys.write(number, np.array(keys, np.uint64)[:, None], np.array(ranks, np.uint64))

    def decide(self) -> None:
        self._copies = copies(self.keys, by_rank=True)

    def left(self, number: int, path: Path, tally: Tally, found: Found) -> Iterator[Row]:
        its = iter(self._copies[self.keys.starts[number] : self.keys.starts[number + 1]].tolist())
        for row in engine.rows(path):
            size, there = len(row["text"].encode()), exact.address(row["url"]) is not None
            copy = next(its) if there else 0
            if copy < 0:
                tally.drop(size, "address of another document", row)
                continue
            if copy > 0:
                _note(found, copy + 1, row["url"])
            tally.keep(size, size, row["source"])
            yield row


class Pieces(Pass):
    """Equal documents, paragraphs or lines."""

    def __init__(self, folder: Path, count: int, unit: exact.Unit, clean: Clean) -> None:
        super().__init__(folder, count)
        self.name, self.step, self._unit = unit, f"duplicate {unit}", unit
        self._min_characters, self._ranked, self._shortest = clean.duplicates.min_characters, _by_quality(clean), _shortest(clean)

    def look(self, number: int, path: Path) -> None:
        keys: list[int] = []
        ranks = []
        for row in engine.rows(path, ["text", "quality"]):
            its = [exact.hash_of(piece) for piece in exact.hashed(row["text"], self._unit, self._min_characters)]
            keys += its
            ranks += [_rank(row, self._ranked)] * len(its)
        self.keys.write(number, np.array(keys, np.uint64)[:, None], np.array(ranks, np.uint64))

    def decide(self) -> None:
        self._copies = copies(self.keys)

    def left(self, number: int, path: Path, tally: Tally, found: Found) -> Iterator[Row]:
        at = int(self.keys.starts[number])
        for row in engine.rows(path):
            its = exact.hashed(row["text"], self._unit, self._min_characters)
            counts = self._copies[at : at + len(its)].tolist()
            at += len(its)
            for piece, more in zip(its, counts, strict=True):
                if more > 0:
                    _note(found, more + 1, piece)
            text = exact.without_copies(row["text"], self._unit, self._min_characters, iter([more >= 0 for more in counts]))
            reason = "copy of another document" if self._unit == "documents" else f"too short without copied {self._unit}"
            yield from _cut(row, text, 1 if self._unit == "documents" else self._shortest, reason, tally)


class NearCopies(Pass):
    """Near duplicates."""

    name, step = "near", "near duplicates"
    through_engine = True

    def __init__(self, folder: Path, count: int, clean: Clean, scopes: Mapping[str, str]) -> None:
        super().__init__(folder, count, clean.duplicates.near.bands)
        settings = clean.duplicates.near
        self._ranked, self._least = _by_quality(clean), settings.min_similarity
        self._of = BandKeys(settings.bands, settings.rows, settings.words, scopes, with_shingles=self._least is not None)

    def look(self, number: int, path: Path) -> None:
        table = parquet.read_table(path, columns=["text", "source", "quality"], partitioning=None)
        keys, ranks, sets = [np.zeros(0, np.uint64)], [], [np.zeros(0, np.uint32)]
        for batch in engine.map_table(table, self._of, BandKeys.schema):
            keys += [np.frombuffer(one, np.uint64) for one in batch["keys"].to_pylist()]
            sets += [np.frombuffer(one, np.uint32) for one in batch["shingles"].to_pylist()]
            ranks += batch["rank"].to_pylist()
        found = np.concatenate(keys).reshape(-1, self.keys.columns)
        if self._least is not None:
            np.save(self.folder / f"shingles-{number:05d}.npy", np.concatenate(sets))
            np.save(self.folder / f"borders-{number:05d}.npy", np.cumsum([0, *map(len, sets[1:])], dtype=np.int64))
        self.keys.write(number, found, _ranks(table, ranks, self._ranked))

    def decide(self) -> None:
        check = None if self._least is None else near.Similar(self.folder, self.keys, self._least)
        self._cluster = near.clusters(self.keys, check)
        self._kept = near.kept(self.keys, self._cluster)
        sizes = np.bincount(self._cluster, minlength=self.keys.total)
        several = np.flatnonzero(sizes > 1)
        self._sizes = Counter(sizes[several].tolist())
        largest = several[np.lexsort((several, -sizes[several]))][:SHOWN]
        self._shown = {int(one): int(sizes[one]) for one in largest}

    def left(self, number: int, path: Path, tally: Tally, found: Found) -> Iterator[Row]:
        part = slice(int(self.keys.starts[number]), int(self.keys.starts[number + 1]))
        members: Counter[int] = Counter()
        for row, kept, cluster in zip(engine.rows(path), self._kept[part].tolist(), self._cluster[part].tolist(), strict=True):
            size = len(row["text"].encode())
            if cluster in self._shown and (kept or members[cluster] < MEMBERS):
                members[cluster] += not kept
                found.append({"cluster": cluster, "kept": kept, **{name: row[name] for name in ("id", "source", "url")}, "text": _excerpt(row["text"])})
            if kept:
                tally.keep(size, size, row["source"])
                yield row
            else:
                tally.drop(size, "near copy of another document", row)

    def report(self, found: Found) -> Row:
        shown: dict[int, Row] = {cluster: {"documents": size, "kept": None, "dropped": []} for cluster, size in self._shown.items()}
        for one in found:
            its = shown[one["cluster"]]
            sample = {name: one[name] for name in ("id", "source", "url", "text")}
            if one["kept"]:
                its["kept"] = sample
            elif len(its["dropped"]) < MEMBERS:
                its["dropped"].append(sample)
        return {"sizes": {str(size): number for size, number in sorted(self._sizes.items())}, "clusters": list(shown.values())}


class Passages(Pass):
    """Repeated stretches of text."""

    name, step = "passages", "repeated passages"
    through_engine = True

    def __init__(self, folder: Path, count: int, clean: Clean, scopes: Mapping[str, str]) -> None:
        super().__init__(folder, count)
        self._n, self._ranked, self._shortest = clean.duplicates.passages.words, _by_quality(clean), _shortest(clean)
        self._of = WindowKeys(self._n, scopes)

    def look(self, number: int, path: Path) -> None:
        table = parquet.read_table(path, columns=["text", "source", "quality"], partitioning=None)
        keys, ranks = [np.zeros(0, np.uint64)], []
        for batch in engine.map_table(table, self._of, WindowKeys.schema):
            keys += [np.frombuffer(one, np.uint64) for one in batch["keys"].to_pylist()]
            ranks += batch["rank"].to_pylist()
        sizes = [len(one) for one in keys[1:]]
        np.save(self.folder / f"sizes-{number:05d}.npy", np.array(sizes, np.int64))
        self.keys.write(number, np.concatenate(keys)[:, None], np.repeat(_ranks(table, ranks, self._ranked), sizes))

    def decide(self) -> None:
        self._copies = copies(self.keys)

    def left(self, number: int, path: Path, tally: Tally, found: Found) -> Iterator[Row]:
        at = int(self.keys.starts[number])
        for row, size in zip(engine.rows(path), np.load(self.folder / f"sizes-{number:05d}.npy").tolist(), strict=True):
            counts = np.asarray(self._copies[at : at + size])
            at += size
            text = row["text"]
            if counts.any():
                its = words(pa.array([text], pa.large_string()))
                windows = substring.windows(its, self._n)
                data = text.encode()
                for more in sorted(set(counts[counts > 0].tolist()))[-SHOWN:]:
                    for _, begin, end in substring.spans(its, windows, counts == more, self._n):
                        _note(found, more + 1, data[begin:end].decode("utf-8", "ignore"), end - begin)
                text = without(text, [(begin, end) for _, begin, end in substring.spans(its, windows, counts < 0, self._n)])
            yield from _cut(row, text, self._shortest, "too short without repeated passages", tally)


def passes(clean: Clean, snapshots: Mapping[str, str], folder: Path, count: int) -> Iterator[Pass]:
    """What the recipe asks for, in order; `snapshots`: of each source."""
    settings = clean.duplicates
    scopes = {source: {"source": source, "snapshot": snapshot, "corpus": ""}[settings.scope] for source, snapshot in snapshots.items()}
    if settings.urls:
        yield Addresses(folder / "urls", count, scopes)
    units: tuple[exact.Unit, ...] = ("documents", "paragraphs", "lines")
    for unit in units:
        if getattr(settings, unit):
            yield Pieces(folder / unit, count, unit, clean)
    if settings.near.on:
        yield NearCopies(folder / "near", count, clean, scopes)
    if settings.passages.on:
        yield Passages(folder / "passages", count, clean, scopes)


def without(text: str, cuts: list[tuple[int, int]]) -> str:
    """A text without stretches of its bytes; what stood around each is a paragraph apart."""
    if not cuts:
        return text
    data = text.encode()
    kept, begin = [], 0
    for start, end in [*cuts, (len(data), len(data))]:
        kept.append(data[begin:start].decode("utf-8", "ignore").strip())
        begin = end
    return "\n\n".join(piece for piece in kept if piece)


def _cut(row: Row, text: str, shortest: int, reason: str, tally: Tally) -> Iterator[Row]:
    """The row with the text that is left of it, if that is long enough."""
    size = len(row["text"].encode())
    if text == row["text"]:
        tally.keep(size, size, row["source"])
        yield row
    elif len(text.strip()) < shortest:
        tally.drop(size, reason, row)
    else:
        tally.keep(size, len(text.encode()), row["source"])
        tally.changed += 1
        tally.change(row, text)
        yield {**row, "text": text}


def _shortest(clean: Clean) -> int:
    """Characters that a text without its copies must have left."""
    return clean.length.min_characters if clean.length.on else 1


def _by_quality(clean: Clean) -> bool:
    return clean.duplicates.keep == "best-quality"


def _rank(row: Row, by_quality: bool) -> int:
    return _quality(row["quality"], exact.hash64(row["text"])) if by_quality else exact.hash64(row["text"])


def _ranks(table: pa.Table, texts: list[int], by_quality: bool) -> NDArray[np.uint64]:
    """The ranks of a shard's documents, from the hashes of their texts."""
    return np.array([_quality(score, text) for score, text in zip(table["quality"].to_pylist(), texts, strict=True)] if by_quality else texts, np.uint64)


def _quality(score: float | None, text: int) -> int:
    """The rank of a document by its score (0 to 1, in 65,535 steps), the better the less; equal ones by their text's hash."""
    return (0xFFFF - round(0xFFFF * min(1.0, max(0.0, score or 0.0))) << 48) | text >> 16


def _note(found: Found, times: int, text: str, size: int | None = None) -> None:
    """Keep the pieces that weigh most, as a heap."""
    weight = times * (len(text.encode()) if size is None else size)
    entry = (weight, times, _excerpt(text))
    if len(found) < SHOWN:
        heapq.heappush(found, entry)  # type: ignore[misc]
    else:
        heapq.heappushpop(found, entry)  # type: ignore[misc]


def _most(found: Iterable[Any]) -> list[Row]:
    return [{"times": times, "bytes": weight, "text": text} for weight, times, text in sorted(map(tuple, found), reverse=True)[:SHOWN]]


def _excerpt(text: str) -> str:
    return text.strip()[:SAMPLE_CHARACTERS]
