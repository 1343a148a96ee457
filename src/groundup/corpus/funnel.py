"""The funnel: what went into each step, what came out, what it changed, and why the rest did not come out.

Counts are taken from the documents in their order, so they do not depend on shards or on how the engine cut its batches.
There are no times in here: the file is part of the stage's digest, and equal corpora have equal funnels.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

SAMPLES = 20  # a reason; documents changed
SAMPLE_CHARACTERS = 300
AROUND = 60  # characters before the first difference that a sample of a change shows
MOST_COUNTS = 300  # names in a step's counts; the most frequent


@dataclass
class Tally:
    """One step's counts."""

    step: str
    documents_in: int = 0
    documents_out: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    changed: int = 0
    """Documents whose text it changed and kept."""
    reasons: dict[str, int] = field(default_factory=dict)
    samples: list[dict[str, Any]] = field(default_factory=list)
    """The first documents dropped for each reason."""
    changes: list[dict[str, str]] = field(default_factory=list)
    """The first documents changed, around the first difference."""
    counts: dict[str, int] = field(default_factory=dict)
    """What the step found or changed, by name."""
    sources: dict[str, list[int]] = field(default_factory=dict)
    """By source: documents in and out, bytes in and out."""
    scores: dict[str, list[int]] = field(default_factory=dict)
    """By score, to two digits: documents kept and dropped."""

    def keep(self, bytes_in: int, bytes_out: int, source: str) -> None:
        """Count a document that came through."""
        self._count(source, 1, 1, bytes_in, bytes_out)

    def drop(self, bytes_in: int, reason: str, document: Mapping[str, Any], score: float | None = None) -> None:
        """Count a document that did not; the first few of each reason are samples."""
        self._count(document["source"], 1, 0, bytes_in, 0)
        self.reasons[reason] = self.reasons.get(reason, 0) + 1
        if self.reasons[reason] <= SAMPLES:
            text = str(document["text"]).strip()[:SAMPLE_CHARACTERS]
            sample = {"id": document["id"], "source": document["source"], "url": document["url"], "reason": reason, "text": text}
            self.samples.append(sample if score is None else {**sample, "score": round(score, 4)})

    def more(self, source: str, documents: int) -> None:
        """Count documents that came of others."""
        self._count(source, 0, documents, 0, 0)

    def change(self, document: Mapping[str, Any], after: str) -> None:
        """Note how a step changed a document that it kept."""
        if len(self.changes) < SAMPLES:
            before, now = difference(document["text"], after)
            self.changes.append({"id": document["id"], "source": document["source"], "url": document["url"], "before": before, "after": now})

    def _count(self, source: str, documents_in: int, documents_out: int, bytes_in: int, bytes_out: int) -> None:
        self.documents_in += documents_in
        self.documents_out += documents_out
        self.bytes_in += bytes_in
        self.bytes_out += bytes_out
        row = self.sources.setdefault(source, [0, 0, 0, 0])
        for place, number in enumerate((documents_in, documents_out, bytes_in, bytes_out)):
            row[place] += number

    def add(self, other: Tally) -> None:
        """Add a later shard's counts."""
        for source, row in other.sources.items():
            self._count(source, *row)
        self.changed += other.changed
        self.reasons = dict(Counter(self.reasons) + Counter(other.reasons))
        shown = Counter(sample["reason"] for sample in self.samples)
        for sample in other.samples:
            shown[sample["reason"]] += 1
            if shown[sample["reason"]] <= SAMPLES:
                self.samples.append(sample)
        self.changes += other.changes[: SAMPLES - len(self.changes)]
        self.counts = dict(Counter(self.counts) + Counter(other.counts))
        for score, (kept, dropped) in other.scores.items():
            row = self.scores.setdefault(score, [0, 0])
            row[0] += kept
            row[1] += dropped

    def json(self) -> dict[str, Any]:
        """As the report reads it: the most frequent first, scores in their order."""
        names = ("documents_in", "documents_out", "bytes_in", "bytes_out")
        return {
            **asdict(self),
            "reasons": _frequent(self.reasons, len(self.reasons)),
            "counts": _frequent(self.counts, MOST_COUNTS),
            "sources": {source: dict(zip(names, row, strict=True)) for source, row in sorted(self.sources.items())},
            "scores": dict(sorted(self.scores.items(), key=lambda item: float(item[0]))),
        }


def tally(name: str, documents: pa.Table, sizes: pa.ChunkedArray, done: pa.Table, after: pa.ChunkedArray) -> Tally:
    """Count what a step did to a shard: its documents before (SCHEMA) with their bytes, what it did, the texts after."""
    found = Tally(name)
    entered = pc.is_null(documents["dropped_by"]).to_numpy()
    kept = entered & pc.is_null(done["reason"]).to_numpy()
    before, now = (pc.fill_null(column, 0).to_numpy() for column in (sizes, done["bytes"]))
    sources = documents["source"].combine_chunks().dictionary_encode()
    for place, source in enumerate(sources.dictionary.to_pylist()):
        its = sources.indices.to_numpy() == place
        if (its & entered).any():
            found._count(
                source, int((its & entered).sum()), int((its & kept).sum()), int(before[its & entered].sum()), int(now[its & kept].sum())
            )
    reasons = done["reason"].to_pylist()
    scores = done["score"].to_pylist()
    columns = documents.select(["id", "source", "url", "text"])
    dropped = np.flatnonzero(entered & ~kept)
    found.reasons = dict(Counter(reasons[row] for row in dropped))
    seen: Counter[str] = Counter()
    for row in dropped:
        seen[reasons[row]] += 1
        if seen[reasons[row]] <= SAMPLES:
            found.samples.append(_sample(columns, int(row), reasons[row], scores[row]))
    changed = np.flatnonzero(kept & pc.is_valid(done["text"]).to_numpy())
    found.changed = len(changed)
    for row in changed[:SAMPLES]:
        found.change(_row(columns, int(row)), after[int(row)].as_py())
    counts: Counter[str] = Counter()
    for text in done["counts"].drop_null().to_pylist():
        counts.update(json.loads(text))
    found.counts = dict(counts)
    for row in np.flatnonzero(entered & pc.is_valid(done["score"]).to_numpy()):
        found.scores.setdefault(f"{scores[row]:.2g}", [0, 0])[0 if kept[row] else 1] += 1
    return found


def merge(shards: Iterable[list[Tally]]) -> list[Tally]:
    """The tallies of all shards, added step by step in the shards' order."""
    total: list[Tally] = []
    for tallies in shards:
        for place, found in enumerate(tallies):
            if place == len(total):
                total.append(Tally(found.step))
            total[place].add(found)
    return total


def difference(before: str, after: str) -> tuple[str, str]:
    """Two texts around the first place where they differ."""
    low, high = 0, min(len(before), len(after))  # the common beginning is at least and at most so long
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if before[low:middle] == after[low:middle] else (low, middle - 1)
    start = max(0, low - AROUND)
    end = start + SAMPLE_CHARACTERS
    return tuple(("…" if start else "") + text[start:end] + ("…" if len(text) > end else "") for text in (before, after))  # type: ignore[return-value]


def _row(columns: pa.Table, row: int) -> dict[str, Any]:
    found: dict[str, Any] = columns.slice(row, 1).to_pylist()[0]
    return found


def _sample(columns: pa.Table, row: int, reason: str, score: float | None) -> dict[str, Any]:
    one = Tally("")
    one.drop(0, reason, _row(columns, row), score)
    return one.samples[0]


def _frequent(counts: Mapping[str, int], most: int) -> dict[str, int]:
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:most])
