"""The corpus as tokens on disk: one flat array a split, each document followed by <|end_of_text|>.

    tokens/
      train.bin             token ids, uint16 (uint32 from 65,536 tokens on), little-endian
      train.documents.npy   int64 (documents, 2): first token of each document, UTF-8 bytes of its text
      train.ids.txt         the documents' ids in the corpus, one a line
      held-out.*            the same for the split no model is trained on
      byte_lengths.npy      int64 (vocabulary,): UTF-8 bytes that each token stands for
      shards.json           counts and digests

Encoding appends to these files and, every COMMIT_BYTES of text, makes them durable and notes in `progress.json` how
far it has come. A build that was killed cuts the files back to the last note and goes on from there, so the files end
up the same however often that happened.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow.parquet as pq

from groundup.errors import GroundupError
from groundup.progress import Bar, bar
from groundup.run import Run, Stage, read_json, write_json
from groundup.tokens import documents
from groundup.tokens.documents import SPLITS, Split
from groundup.tokens.tokenizer import BATCH_BYTES, END_OF_TEXT, Tokenizer

COMMIT_BYTES = 32_000_000  # of text, a few seconds of work
NDArray = np.ndarray[Any, Any]


@dataclass(frozen=True)
class TokenSplit:
    """One split of the tokens, mapped from disk."""

    tokens: NDArray
    """Token ids of all documents, each followed by `end_of_text`."""
    starts: NDArray
    """First token of each document, int64 (documents,)."""
    byte_counts: NDArray
    """UTF-8 bytes of each document's text, int64 (documents,)."""
    byte_lengths: NDArray
    """UTF-8 bytes each token of the vocabulary stands for, int64 (vocabulary,)."""
    end_of_text: int
    """Id of <|end_of_text|>."""
    digest: str
    """Of the token file."""

    @property
    def bytes_per_token(self) -> float:
        """UTF-8 bytes of text a token stands for, on average."""
        return float(self.byte_counts.sum()) / max(1, len(self.tokens))

    def document(self, number: int) -> NDArray:
        """Tokens of one document, without its <|end_of_text|>."""
        end = self.starts[number + 1] if number + 1 < len(self.starts) else len(self.tokens)
        return self.tokens[self.starts[number] : end - 1]


class TokenShards:
    """A finished tokens folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.counts: dict[str, Any] = read_json(folder / "shards.json")
        """What shards.json holds."""
        self.vocabulary: int = self.counts["vocabulary"]

    def split(self, name: Split) -> TokenSplit:
        """Open one split."""
        path = self.folder / f"{name}.bin"
        kind = np.dtype(self.counts["dtype"])
        tokens: NDArray = np.memmap(path, dtype=kind, mode="r") if path.stat().st_size else np.zeros(0, kind)
        index = np.load(self.folder / f"{name}.documents.npy")
        return TokenSplit(
            tokens, index[:, 0], index[:, 1], np.load(self.folder / "byte_lengths.npy"), self.counts["end_of_text"],
            self.counts[_key(name)]["digest"],
        )  # fmt: skip


def encode(run: Run, cleaned: Stage, tokenizer: Stage) -> Stage:
    """The tokens stage (folder `tokens`). Raises GroundupError where the training text has fewer than two tokens."""
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
    """How far encoding has come: everything before row `row` of part `part` is in the files, which are so long."""

    part: int = 0
    row: int = 0
    lengths: dict[str, int] = field(default_factory=dict)

    @classmethod
    def read(cls, work: Path) -> _Progress:
        path = work / "progress.json"
        return cls(**read_json(path)) if path.is_file() else cls()


class _Writer:
    """The files of both splits, open for appending at the place that the progress notes."""

    def __init__(self, work: Path, words: Tokenizer, progress: _Progress) -> None:
        self._work, self._words = work, words
        self._end = words.special[END_OF_TEXT]
        self._kind = _kind(words.size)
        self._files: dict[str, BinaryIO] = {}
        for split in SPLITS:
            for suffix in ("bin", "documents.raw", "ids.txt"):
                name = f"{split}.{suffix}"
                (work / name).touch()
                file = (work / name).open("r+b")
                file.truncate(progress.lengths.get(name, 0))
                file.seek(0, os.SEEK_END)
                self._files[name] = file

    def write(self, ids: Sequence[str], splits: Sequence[Split], texts: Sequence[str]) -> None:
        """Append documents."""
        for name, split, text, tokens in zip(ids, splits, texts, self._words.encode_batch(texts), strict=True):
            file = self._files[f"{split}.bin"]
            entry = np.array([file.tell() // self._kind.itemsize, len(text.encode())], dtype="<i8")
            file.write(np.array([*tokens, self._end], dtype=self._kind).tobytes())
            self._files[f"{split}.documents.raw"].write(entry.tobytes())
            self._files[f"{split}.ids.txt"].write(f"{name}\n".encode())

    def commit(self, part: int, row: int) -> None:
        """Make everything durable, then note it."""
        for file in self._files.values():
            file.flush()
            os.fsync(file.fileno())
        lengths = {name: file.tell() for name, file in self._files.items()}
        write_json(self._work / "progress.json", {"part": part, "row": row, "lengths": lengths})

    def close(self) -> None:
        """Close the files."""
        for file in self._files.values():
            file.close()


def _encode_parts(work: Path, parts: Sequence[Path], words: Tokenizer) -> None:
    """Append what is not there yet, with a commit every COMMIT_BYTES of text and at the end of all."""
    progress = _Progress.read(work)
    writer = _Writer(work, words, progress)
    uncommitted = 0
    try:
        with bar("tokens (MB of text)") as task:
            for number in range(progress.part, len(parts)):
                row = progress.row if number == progress.part else 0
                for ids, splits, texts in _rows(parts[number], row):
                    writer.write(ids, splits, texts)
                    row += len(ids)
                    uncommitted += _advance(task, texts)
                    if uncommitted >= COMMIT_BYTES:
                        writer.commit(number, row)
                        uncommitted = 0
            writer.commit(len(parts), 0)
    finally:
        writer.close()


def _rows(path: Path, first: int) -> Iterator[tuple[list[str], list[Split], list[str]]]:
    """(ids, splits, texts) of a part from row `first` on, about BATCH_BYTES at a time."""
    ids: list[str] = []
    splits: list[Split] = []
    texts: list[str] = []
    held = 0
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(documents.ROWS, columns=["id", "split", "text"]):
            skipped = min(first, batch.num_rows)
            first -= skipped
            for name, split, text in zip(*(column.to_pylist() for column in batch.slice(skipped).columns), strict=True):
                ids.append(name)
                splits.append(split)
                texts.append(text)
                held += len(text)
                if held >= BATCH_BYTES:
                    yield ids, splits, texts
                    ids, splits, texts, held = [], [], [], 0
    if ids:
        yield ids, splits, texts


def _advance(task: Bar, texts: Sequence[str]) -> int:
    size = sum(map(len, texts))
    task.advance(size / 1e6)
    return size


def _close(work: Path, words: Tokenizer) -> None:
    """Write the index files and, last of all, shards.json."""
    np.save(work / "byte_lengths.npy", words.byte_lengths)
    kind = _kind(words.size)
    counts: dict[str, Any] = {
        "vocabulary": words.size, "dtype": kind.str, "end_of_text": words.special[END_OF_TEXT], "tokenizer": words.digest,
    }  # fmt: skip
    for split in SPLITS:
        index = np.fromfile(work / f"{split}.documents.raw", dtype="<i8").reshape(-1, 2)
        np.save(work / f"{split}.documents.npy", index)
        path = work / f"{split}.bin"
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
        counts[_key(split)] = {
            "tokens": path.stat().st_size // kind.itemsize, "documents": len(index), "bytes": int(index[:, 1].sum()),
            "digest": digest,
        }  # fmt: skip
    write_json(work / "shards.json", counts)


def _kind(vocabulary: int) -> np.dtype[Any]:
    return np.dtype("<u2" if vocabulary <= 65_536 else "<u4")


def _key(split: str) -> str:
    return split.replace("-", "_")
