"""From clean text to shards: all cores encode while one thread reads, checks and writes.

Documents are taken source by source, within a source in the corpus's order. Every COMMIT_BYTES of text the files are made
durable and `progress.json` notes how far they have come. A build that was killed cuts the files back to the last note
and goes on from there, so they end up the same however often that happened.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq

from groundup.errors import GroundupError
from groundup.progress import bar
from groundup.run import Run, Stage, read_json, write_json
from groundup.tokens import documents
from groundup.tokens.documents import SPLITS, Split
from groundup.tokens.learning import BATCH_BYTES, check
from groundup.tokens.shards import SourceRange, id_type
from groundup.tokens.tokenizer import END_OF_TEXT, Ids, Tokenizer

COMMIT_BYTES = 64_000_000  # of text, a few seconds of work
MOST_ROWS = 4096  # of a Parquet part read at once


def encode(run: Run, cleaned: Stage, tokenizer: Stage) -> Stage:
    """The tokens stage (folder `tokens`).

    Raises GroundupError where the training text has fewer than two tokens, or where a text does not come back from its
    tokens although the tokenizer's kind promises it.
    """
    stage = run.stage("tokens", "tokens", depends={}, inputs={"clean": cleaned.digest, "tokenizer": tokenizer.digest})
    if stage.done:
        return stage
    words = Tokenizer.load(tokenizer.final)
    if not (stage.work / "shards.json").is_file():
        _encode_parts(stage.work, documents.parts(cleaned.final), words)
        _close(stage.work, words)
    for leftover in ("progress.json", *(f"{split}.documents.raw" for split in SPLITS)):
        (stage.work / leftover).unlink(missing_ok=True)
    counts = read_json(stage.work / "shards.json")
    if counts["train"]["tokens"] - counts["train"]["documents"] < 2:
        raise GroundupError(
            f"the training text has {counts['train']['tokens'] - counts['train']['documents']} tokens, fewer than two",
            where="tokens", do="Add text, or hold out less of it.",
        )  # fmt: skip
    stage.finish({f"{split}_{key}": counts[split][key] for split in map(_key, SPLITS) for key in ("tokens", "documents", "bytes")})
    return stage


@dataclass
class _Progress:
    """How far encoding has come: everything before row `row` of unit `unit` is in the files, which are so long."""

    unit: int = 0
    row: int = 0
    lengths: dict[str, int] = field(default_factory=dict)
    sources: dict[str, dict[str, dict[str, int]]] = field(default_factory=lambda: {split: {} for split in SPLITS})
    """SourceRange of each source so far, by split."""

    @classmethod
    def read(cls, work: Path) -> _Progress:
        path = work / "progress.json"
        return cls(**read_json(path)) if path.is_file() else cls()


@dataclass(frozen=True)
class _Batch:
    """Documents of one source that stand one after the other in a part; `row` is where the next ones begin."""

    unit: int
    row: int
    source: str
    ids: list[str]
    splits: list[Split]
    texts: list[str]


class _Writer:
    """The files of both splits, open for appending at the place that the progress notes."""

    def __init__(self, work: Path, words: Tokenizer, progress: _Progress) -> None:
        self._work, self._words = work, words
        self._kind = id_type(words.size)
        self._end = np.array([words.special[END_OF_TEXT]], dtype=self._kind)
        self.sources = progress.sources
        self._files: dict[str, BinaryIO] = {}
        for split in SPLITS:
            for suffix in ("bin", "documents.raw", "ids.txt"):
                name = f"{split}.{suffix}"
                (work / name).touch()
                file = (work / name).open("r+b")
                file.truncate(progress.lengths.get(name, 0))
                file.seek(0, os.SEEK_END)
                self._files[name] = file

    def write(self, batch: _Batch, encoded: Sequence[Ids]) -> None:
        """Append documents. Raises GroundupError where one does not come back from its tokens."""
        for text, ids in zip(batch.texts, encoded, strict=True):
            check(self._words, text, ids)
        for split in SPLITS:
            chosen = [number for number, one in enumerate(batch.splits) if one == split]
            if not chosen:
                continue
            file = self._files[f"{split}.bin"]
            first = file.tell() // self._kind.itemsize
            lengths = np.array([len(encoded[number]) + 1 for number in chosen], dtype=np.int64)
            sizes = np.array([len(batch.texts[number].encode()) for number in chosen], dtype=np.int64)
            starts = first + np.concatenate(([0], np.cumsum(lengths)[:-1]))
            file.write(
                np.concatenate([part for number in chosen for part in (encoded[number], self._end)], dtype=self._kind, casting="unsafe").tobytes()
            )
            raw, names = self._files[f"{split}.documents.raw"], self._files[f"{split}.ids.txt"]
            begin = raw.tell() // 16
            raw.write(np.stack([starts, sizes], axis=1).astype("<i8").tobytes())
            names.write("".join(f"{batch.ids[number]}\n" for number in chosen).encode())
            one = self.sources[split].setdefault(batch.source, asdict(SourceRange(first, 0, begin, 0, 0)))
            one["tokens"] += int(lengths.sum())
            one["documents"] += len(chosen)
            one["bytes"] += int(sizes.sum())

    def commit(self, unit: int, row: int) -> None:
        """Make everything durable, then note it."""
        for file in self._files.values():
            file.flush()
            os.fsync(file.fileno())
        lengths = {name: file.tell() for name, file in self._files.items()}
        write_json(self._work / "progress.json", asdict(_Progress(unit, row, lengths, self.sources)))

    def close(self) -> None:
        """Close the files."""
        for file in self._files.values():
            file.close()


def _encode_parts(work: Path, parts: Sequence[Path], words: Tokenizer) -> None:
    """Append what is not there yet, with a commit every COMMIT_BYTES of text and at the end of all."""
    progress = _Progress.read(work)
    writer = _Writer(work, words, progress)
    units = _units(parts)
    uncommitted = 0
    waiting: tuple[_Batch, Future[list[Ids]]] | None = None
    try:
        with bar("tokens (MB of text)") as task, ThreadPoolExecutor(1) as ahead:

            def finish(batch: _Batch, encoded: Future[list[Ids]]) -> int:
                writer.write(batch, encoded.result())
                size = sum(map(len, batch.texts))
                task.advance(size / 1e6)
                return size

            for number in range(progress.unit, len(units)):
                for batch in _batches(units, number, progress.row if number == progress.unit else 0):
                    following = batch, ahead.submit(words.encode_batch, batch.texts)
                    if waiting is not None:
                        uncommitted += finish(*waiting)
                        if uncommitted >= COMMIT_BYTES:
                            writer.commit(waiting[0].unit, waiting[0].row)
                            uncommitted = 0
                    waiting = following
            if waiting is not None:
                finish(*waiting)
            writer.commit(len(units), 0)
    finally:
        writer.close()


def _units(parts: Sequence[Path]) -> list[tuple[str, Path, bool]]:
    """(source, part, whether the part has other sources too), source by source in the order in which they come."""
    held: dict[str, list[tuple[str, Path, bool]]] = {}
    for path in parts:
        names = pc.unique(pq.read_table(path, columns=["source"]).column("source")).to_pylist()
        for name in names:
            held.setdefault(name, []).append((name, path, len(names) > 1))
    return [unit for units in held.values() for unit in units]


def _batches(units: Sequence[tuple[str, Path, bool]], unit: int, first: int) -> Iterator[_Batch]:
    """The documents of a unit from row `first` of its part on, about BATCH_BYTES of text at a time."""
    source, path, mixed = units[unit]
    with pq.ParquetFile(path) as file:
        metadata = file.metadata
        size = sum(metadata.row_group(number).total_byte_size for number in range(metadata.num_row_groups))
        rows = max(1, min(MOST_ROWS, BATCH_BYTES * metadata.num_rows // max(1, size)))
        row = 0
        ids: list[str] = []
        splits: list[Split] = []
        texts: list[str] = []
        held = 0
        for batch in file.iter_batches(rows, columns=["id", "split", "text", *(["source"] if mixed else [])]):
            skipped = min(max(0, first - row), batch.num_rows)
            row += batch.num_rows
            if skipped == batch.num_rows:
                continue
            chosen = batch.slice(skipped)
            if mixed:
                chosen = chosen.filter(pc.equal(chosen.column("source"), source))
            ids += chosen.column("id").to_pylist()
            splits += chosen.column("split").to_pylist()
            texts += (new := chosen.column("text").to_pylist())
            held += sum(map(len, new))
            if held >= BATCH_BYTES:
                yield _Batch(unit, row, source, ids, splits, texts)
                ids, splits, texts, held = [], [], [], 0
    if ids:
        yield _Batch(unit, row, source, ids, splits, texts)


def _close(work: Path, words: Tokenizer) -> None:
    """Write the index files and, last of all, shards.json."""
    np.save(work / "byte_lengths.npy", words.byte_lengths)
    kind = id_type(words.size)
    counts: dict[str, Any] = {
        "vocabulary": words.size, "dtype": kind.str, "end_of_text": words.special[END_OF_TEXT], "special": words.special,
        "tokenizer": words.digest,
    }  # fmt: skip
    sources = _Progress.read(work).sources
    for split in SPLITS:
        index = np.fromfile(work / f"{split}.documents.raw", dtype="<i8").reshape(-1, 2)
        np.save(work / f"{split}.documents.npy", index)
        path = work / f"{split}.bin"
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
        counts[_key(split)] = {
            "tokens": path.stat().st_size // kind.itemsize, "documents": len(index), "bytes": int(index[:, 1].sum()),
            "digest": digest, "sources": sources[split],
        }  # fmt: skip
    write_json(work / "shards.json", counts)


def _key(split: str) -> str:
    return split.replace("-", "_")
