"""The funnel: what went into each step, what came out, and why the rest did not.

Counts are taken from the rows themselves, in document order, so they do not depend on how the engine cut its batches.
There are no times in here: the file is part of the stage's digest, and equal corpora have equal funnels.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from groundup.corpus.steps import WORK_SCHEMA, Step

SAMPLES = 5  # a reason
SAMPLE_CHARACTERS = 300
SIZED_SCHEMA = WORK_SCHEMA.append(pa.field("sizes", pa.list_(pa.int64())))
"""With the bytes of a document before the first step and after each one that kept it."""


@dataclass
class Tally:
    """One step's counts."""

    step: str
    documents_in: int = 0
    documents_out: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    reasons: dict[str, int] = field(default_factory=dict)
    samples: list[dict[str, str]] = field(default_factory=list)

    def keep(self, bytes_in: int, bytes_out: int) -> None:
        """Count a document that came through."""
        self.documents_in += 1
        self.documents_out += 1
        self.bytes_in += bytes_in
        self.bytes_out += bytes_out

    def drop(self, bytes_in: int, reason: str, document: Mapping[str, Any]) -> None:
        """Count a document that did not; the first few of each reason are samples."""
        self.documents_in += 1
        self.bytes_in += bytes_in
        self.reasons[reason] = self.reasons.get(reason, 0) + 1
        if self.reasons[reason] <= SAMPLES:
            text = str(document["text"]).strip()[:SAMPLE_CHARACTERS]
            self.samples.append({"id": document["id"], "url": document["url"], "reason": reason, "text": text})

    def add(self, other: Tally) -> None:
        """Add a later shard's counts."""
        self.documents_in += other.documents_in
        self.documents_out += other.documents_out
        self.bytes_in += other.bytes_in
        self.bytes_out += other.bytes_out
        self.reasons = dict(Counter(self.reasons) + Counter(other.reasons))
        shown = Counter(sample["reason"] for sample in self.samples)
        for sample in other.samples:
            shown[sample["reason"]] += 1
            if shown[sample["reason"]] <= SAMPLES:
                self.samples.append(sample)

    def json(self) -> dict[str, Any]:
        """As the report reads it: the most frequent reason first."""
        data = asdict(self)
        data["reasons"] = dict(sorted(self.reasons.items(), key=lambda item: (-item[1], item[0])))
        return data


def merge(shards: Iterable[list[Tally]]) -> list[Tally]:
    """The tallies of all shards, added step by step in the shards' order."""
    total: list[Tally] = []
    for tallies in shards:
        for place, tally in enumerate(tallies):
            if place == len(total):
                total.append(Tally(tally.step))
            total[place].add(tally)
    return total


class Chain:
    """Steps one after another over a batch, noting each document's size after each."""

    def __init__(self, steps: list[tuple[str, Step]]) -> None:
        self.names = [name for name, _ in steps]
        self._steps = [step for _, step in steps]

    def __call__(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        sizes = [[size] for size in byte_lengths(batch)]
        for step in self._steps:
            batch = step(batch)
            for row, (size, kept) in enumerate(zip(byte_lengths(batch), batch["dropped_by"].is_null().to_pylist(), strict=True)):
                if kept:
                    sizes[row].append(size)
        return batch.append_column(SIZED_SCHEMA.field("sizes"), pa.array(sizes, pa.list_(pa.int64())))

    def survivors(self, batches: Iterable[pa.RecordBatch], tallies: list[Tally]) -> Iterator[dict[str, Any]]:
        """The documents that came through all steps; `tallies` (empty before) counts them and the others."""
        tallies += [Tally(name) for name in self.names]
        for batch in batches:
            for row in batch.to_pylist():
                sizes = row.pop("sizes")
                del row["score"], row["counts"]
                for place in range(len(sizes) - 1):
                    tallies[place].keep(sizes[place], sizes[place + 1])
                if row["dropped_by"] is None:
                    yield row
                else:
                    tallies[len(sizes) - 1].drop(sizes[-1], row["reason"], row)


def byte_lengths(batch: pa.RecordBatch) -> list[int]:
    """UTF-8 bytes of each text."""
    lengths: list[int] = pc.binary_length(batch["text"]).to_pylist()
    return lengths
