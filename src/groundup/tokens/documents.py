"""The clean corpus as the tokenizer, the shards and the baselines read it: rows of Parquet parts, in order."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal, NamedTuple

import pyarrow.compute as pc
import pyarrow.parquet as pq

Split = Literal["train", "held-out"]
SPLITS: tuple[Split, ...] = ("train", "held-out")
ROWS = 64  # read at once: with documents of up to a million characters, tens of MB


class Text(NamedTuple):
    """A document of the clean corpus."""

    name: str
    """Its id."""
    source: str
    language: str
    """Empty where it is not known."""
    text: str
    url: str = ""


def parts(cleaned: Path) -> list[Path]:
    """The Parquet files of a clean corpus, in order."""
    return sorted(cleaned.glob("part-*.parquet"))


def documents(cleaned: Path, split: Split) -> Iterator[Text]:
    """The documents of one split."""
    for path in parts(cleaned):
        with pq.ParquetFile(path) as file:
            columns = [name for name in ("id", "source", "language", "text", "url") if name in file.schema_arrow.names]
            for batch in file.iter_batches(ROWS, columns=[*columns, "split"]):
                chosen = batch.filter(pc.equal(batch.column("split"), split))
                for values in zip(*(chosen.column(name).to_pylist() for name in columns), strict=True):
                    row = dict(zip(columns, values, strict=True))
                    yield Text(row["id"], row["source"], row.get("language") or "", row["text"], row.get("url") or "")


def texts(cleaned: Path, split: Split) -> Iterator[str]:
    """The texts of one split, in the corpus's order."""
    for document in documents(cleaned, split):
        yield document.text


def sample(cleaned: Path, split: Split, most_bytes: int, seed: int, weights: Mapping[str, float] | None = None) -> Iterator[Text]:
    """Documents of one split drawn by a hash of (seed, id), about `most_bytes` of UTF-8.

    All of them where they fit. `weights` (by source) divide the bytes among the sources; without them each has the
    share that it has of the text. A source never gives more than it has, nor more than its part but for its last text.
    The draw does not depend on the order of the rows.
    """
    if 2 * _packed(cleaned) <= most_bytes:  # all of it, and no need to read it twice to know that
        yield from documents(cleaned, split)
        return
    sizes = by_source(cleaned, split)
    total = sum(sizes.values())
    shares = {source: weights[source] if weights else size / max(1, total) for source, size in sizes.items()}
    whole = sum(shares.values()) or 1.0
    part = {source: min(float(sizes[source]), most_bytes * share / whole) for source, share in shares.items()}
    taken = dict.fromkeys(sizes, 0)
    for document in documents(cleaned, split):
        source, wanted = document.source, part[document.source]
        if wanted >= sizes[source] or (taken[source] < wanted and _uniform(seed, document.name) < wanted / sizes[source]):
            taken[source] += len(document.text.encode())
            yield document


def size(cleaned: Path, split: Split) -> int:
    """UTF-8 bytes of one split."""
    return sum(by_source(cleaned, split).values())


def by_source(cleaned: Path, split: Split) -> dict[str, int]:
    """UTF-8 bytes of one split by source, in the order in which the sources come."""
    total: dict[str, int] = {}
    for path in parts(cleaned):
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(ROWS, columns=["source", "split", "text"]):
                chosen = batch.filter(pc.equal(batch.column("split"), split))
                lengths = pc.binary_length(chosen.column("text")).to_pylist()
                for source, length in zip(chosen.column("source").to_pylist(), lengths, strict=True):
                    total[source] = total.get(source, 0) + length
    return total


def _packed(cleaned: Path) -> int:
    """About the bytes of all texts, by the parts' own account."""
    total = 0
    for path in parts(cleaned):
        metadata = pq.read_metadata(path)
        for number in range(metadata.num_row_groups):
            group = metadata.row_group(number)
            columns = (group.column(place) for place in range(group.num_columns))
            total += sum(column.total_uncompressed_size for column in columns if column.path_in_schema == "text")
    return total


def _uniform(seed: int, name: str) -> float:
    """A number in [0, 1) that belongs to this document."""
    hashed = hashlib.blake2b(f"{seed}:{name}".encode(), digest_size=8).digest()
    return int.from_bytes(hashed) / 2**64
