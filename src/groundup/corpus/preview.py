"""What a change of the recipe's section `clean` would do, before it is run: `groundup clean RECIPE --preview STEP.field=VALUE`.

    documents as the last unchanged step left them (corpus/store.py)
        |
    the changed steps run again, in memory
        |---- text, language and verdict as before: what comes after does as it did
        +---- something else: the rest of the chain runs on these alone

A step judges each document by itself, so a document that leaves the changed steps as it did before ends as it did before. A change
of one threshold costs that one step over all documents. Nothing is written (but a reference model that the change asks for, which
the build will use). Duplicates are not looked for: that takes all texts.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from groundup import progress
from groundup import recipe as recipes
from groundup.corpus import engine
from groundup.corpus.chain import Chain, Named
from groundup.corpus.collect import collect
from groundup.corpus.funnel import SAMPLE_CHARACTERS, SAMPLES, difference
from groundup.corpus.pipeline import clean, store_of
from groundup.corpus.store import Store
from groundup.corpus.workers import Guarded
from groundup.errors import RequestError
from groundup.recipe import Recipe
from groundup.run import NotReadyError, Run

Rows = NDArray[np.int64]


def preview(run: Run, then: Recipe) -> dict[str, Any]:
    """Compare a cleaned run with what another section `clean` would leave of the same documents.

    `run` is one that only follows (`Run.follow`), so that nothing is begun here. Raises RequestError if it is not cleaned as its
    recipe says, or if the change is none of the steps on single documents.
    """
    begun = time.monotonic()
    try:
        collected = collect(run)
        clean(run, collected)
    except NotReadyError as stage:
        raise RequestError(
            f"nothing to look at: the stage '{stage}' is not finished for this recipe", where=str(run.path), do="Run `groundup clean` first, without --preview."
        ) from None
    old, new = store_of(run, run.recipe, collected), store_of(run, then, collected)
    changes = recipes.differences(run.recipe.clean.model_dump(mode="json"), then.clean.model_dump(mode="json"))
    first = old.common(new)
    _refuse(old, new, first, list(changes))
    found = Preview([*(named.name for named in old.steps), *(named.name for named in new.steps)])
    with progress.bar("preview: documents", total=None) as bar:
        for number in range(len(old.states())):
            bar.advance(found.add(*_shard(old, new, number, first, then.clean.seconds_per_document)))
    again = range(first, len(new.steps) - _tail(old.steps, new.steps, first))
    return {
        "name": run.recipe.name, "changes": {f"clean.{key}": list(values) for key, values in changes.items()},
        "steps_run_again": [new.steps[place].name for place in again],
        **found.json(), "seconds": round(time.monotonic() - begun, 3),
    }  # fmt: skip


def _refuse(old: Store, new: Store, first: int, changed: list[str]) -> None:
    where = ", ".join(f"clean.{key}" for key in changed) or "--preview"
    if first < min(old.extraction, new.extraction):
        raise RequestError(
            "this changes how sources are read or how text is got out of pages, which is kept nowhere", where=where,
            do="Run `groundup clean` with it under another --name, then compare: --compare RUN.",
        )  # fmt: skip
    if first == len(old.steps) == len(new.steps):
        what = "this changes none of the steps on single documents" if changed else "this is what the recipe says already"
        raise RequestError(what, where=where, do="Name a field of a step: length.min_characters=200." if not changed else "Run `groundup clean` with it.")


def _tail(old: list[Named], new: list[Named], first: int) -> int:
    """How many steps at the end are the same in both chains."""
    same, most = 0, min(len(old), len(new)) - first
    while same < most and (old[-1 - same].name, old[-1 - same].settings) == (new[-1 - same].name, new[-1 - same].settings):
        same += 1
    return same


@dataclass
class Ended:
    """A shard's documents after some steps."""

    documents: pa.Table
    scores: pa.ChunkedArray
    """By which a document was dropped."""

    def through(self, store: Store, first: int, done: Iterable[pa.Table]) -> Ended:
        """After further steps, from what those did."""
        documents, scores = self.documents, self.scores
        for place, did in enumerate(done, first):
            scores = _scores(scores, did)
            documents = store.after(documents, place, did)
        return Ended(documents, scores)


def _shard(old: Store, new: Store, number: int, first: int, seconds: float) -> tuple[Ended, Ended, Step | None]:
    """How a shard's documents ended and would end, and how the step that differs judges them."""
    tail = _tail(old.steps, new.steps, first)
    past, last = len(old.steps) - tail, len(new.steps) - tail
    names = ["text", "language", "reason", "score"]
    known = [old.done(number, place, names) for place in range(first, len(old.steps))]
    documents = old.documents(number, first)
    scores = pa.chunked_array([pa.nulls(documents.num_rows, pa.float64())])
    for place in range(first):
        scores = _scores(scores, old.done(number, place, ["reason", "score"]))
    start = Ended(documents, scores)
    before = start.through(old, first, known[: past - first])
    ended = before.through(old, past, known[past - first :])
    did = _run(new.steps[first:last], start.documents, seconds)
    now = start.through(new, first, did)
    other = np.flatnonzero(~_equal(before.documents, now.documents))
    part = Ended(now.documents.take(other), now.scores.take(other))
    part = part.through(new, last, _run(new.steps[last:], part.documents, seconds))
    places = np.arange(now.documents.num_rows)
    places[other] = len(places) + np.arange(len(other))
    would = Ended(
        pa.concat_tables([ended.documents, part.documents]).take(places), pa.chunked_array([*ended.scores.chunks, *part.scores.chunks], pa.float64()).take(places)
    )
    step = None
    if did and known and old.steps[first].name == new.steps[first].name:
        step = Step(new.steps[first].name, pc.is_null(start.documents["dropped_by"]), known[0]["reason"], did[0]["reason"], did[0]["score"])
    return ended, would, step


def _scores(scores: pa.ChunkedArray, did: pa.Table) -> pa.ChunkedArray:
    return pc.if_else(pc.is_valid(did["reason"]), did["score"], scores)


def _run(steps: list[Named], documents: pa.Table, seconds: float) -> list[pa.Table]:
    """What each of some steps does to documents (DONE_SCHEMA)."""
    if not steps:
        return []
    chain = Chain(steps, None)
    table = pa.Table.from_batches(list(engine.map_table(documents, Guarded(chain, seconds), chain.schema)), chain.schema)
    return [Chain.did(table, place) for place in range(len(steps))]


def _equal(one: pa.Table, other: pa.Table) -> NDArray[np.bool_]:
    """Whether each document is in the same state in both."""
    same = np.ones(one.num_rows, np.bool_)
    for name in ("text", "language", "dropped_by", "reason"):
        both_null = pc.and_(pc.is_null(one[name]), pc.is_null(other[name]))
        same &= pc.or_(pc.fill_null(pc.equal(one[name], other[name]), False), both_null).to_numpy()
    return same


@dataclass
class Step:
    """How the first changed step judged a shard's documents, and how it would."""

    name: str
    entered: pa.ChunkedArray
    reason_before: pa.ChunkedArray
    reason_after: pa.ChunkedArray
    score: pa.ChunkedArray
    """As it would be."""


@dataclass
class Lot:
    """Documents that would be dropped, or kept, and were not before."""

    documents: int = 0
    bytes: int = 0
    reasons: dict[tuple[str, str], list[int]] = field(default_factory=dict)
    """By step and reason: documents and bytes."""
    samples: dict[tuple[str, str], list[dict[str, Any]]] = field(default_factory=dict)
    """For each the documents of the smallest ids: ids are digests, so these are drawn evenly from everywhere."""

    def add(self, rows: Rows, texts: pa.Table, dropped: Ended) -> None:
        """Count documents of a shard: their texts from the side that keeps them, why they are dropped from the other."""
        ids = texts["id"].take(rows).to_pylist()
        rows = rows[np.argsort(np.array(ids, dtype=np.str_), kind="stable")]
        table = texts.select(["id", "source", "url"]).take(rows).to_pylist()
        sizes = pc.binary_length(texts["text"]).take(rows).to_pylist()
        steps, reasons = (dropped.documents[name].take(rows).to_pylist() for name in ("dropped_by", "reason"))
        scores, taken = dropped.scores.take(rows).to_pylist(), dict[tuple[str, str], int]()
        for row, document, size, key, score in zip(rows, table, sizes, zip(steps, reasons, strict=True), scores, strict=True):
            counted = self.reasons.setdefault(key, [0, 0])
            for place, number in enumerate((1, size)):
                counted[place] += number
            taken[key] = taken.get(key, 0) + 1
            if taken[key] <= SAMPLES:
                text = texts["text"][int(row)].as_py().strip()[:SAMPLE_CHARACTERS]
                sample = {**document, "step": key[0], "reason": key[1], "text": text}
                self.samples.setdefault(key, []).append(sample if score is None else {**sample, "score": round(score, 4)})
        self.documents += len(rows)
        self.bytes += sum(sizes)
        self.samples = {key: sorted(found, key=lambda sample: str(sample["id"]))[:SAMPLES] for key, found in self.samples.items()}

    def json(self) -> dict[str, Any]:
        """Reasons by their number, each with its samples."""
        order = sorted(self.reasons, key=lambda key: (-self.reasons[key][0], key))
        return {
            "documents": self.documents, "bytes": self.bytes,
            "reasons": [{"step": key[0], "reason": key[1], "documents": self.reasons[key][0], "bytes": self.reasons[key][1]} for key in order],
            "samples": [sample for key in order for sample in self.samples[key]],
        }  # fmt: skip


class Preview:
    """The comparison, added up shard by shard."""

    def __init__(self, steps: list[str]) -> None:
        self.steps = steps
        self.sides = {side: {"documents": 0, "bytes": 0} for side in ("now", "then")}
        self.sources: dict[str, dict[str, dict[str, int]]] = {}
        self.dropped: dict[str, list[int]] = {}
        self.lost, self.won, self.changed = Lot(), Lot(), 0
        self.changes: list[dict[str, Any]] = []
        self.step, self.scores = "", dict[str, list[int]]()

    def add(self, now: Ended, then: Ended, step: Step | None) -> int:
        """Add a shard; returns its documents."""
        kept = [pc.is_null(side.documents["dropped_by"]).to_numpy() for side in (now, then)]
        for place, (name, side) in enumerate((("now", now), ("then", then))):
            self._count(place, name, side.documents, kept[place])
        self.lost.add(np.flatnonzero(kept[0] & ~kept[1]), now.documents, then)
        self.won.add(np.flatnonzero(~kept[0] & kept[1]), then.documents, now)
        same_text = pc.equal(now.documents["text"], then.documents["text"]).to_numpy()
        self._change(np.flatnonzero(kept[0] & kept[1] & ~same_text), now.documents, then.documents)
        if step is not None:
            self._judged(step)
        return len(same_text)

    def _count(self, place: int, side: str, documents: pa.Table, kept: NDArray[np.bool_]) -> None:
        sizes = pc.binary_length(documents["text"]).to_numpy()
        sources = documents["source"].combine_chunks().dictionary_encode()
        for index, source in enumerate(sources.dictionary.to_pylist()):
            rows = kept & (sources.indices.to_numpy() == index)
            both = self.sources.setdefault(source, {name: {"documents": 0, "bytes": 0} for name in ("now", "then")})
            for total in (both[side], self.sides[side]):
                total["documents"] += int(rows.sum())
                total["bytes"] += int(sizes[rows].sum())
        for entry in documents["dropped_by"].drop_null().value_counts().to_pylist():
            self.dropped.setdefault(entry["values"], [0, 0])[place] += entry["counts"]

    def _change(self, rows: Rows, now: pa.Table, then: pa.Table) -> None:
        self.changed += len(rows)
        ids = now["id"].take(rows).to_pylist()
        for place in sorted(range(len(rows)), key=lambda place: str(ids[place]))[:SAMPLES]:
            row = int(rows[place])
            before, after = difference(now["text"][row].as_py(), then["text"][row].as_py())
            self.changes.append({"id": ids[place], "source": now["source"][row].as_py(), "url": now["url"][row].as_py(), "before": before, "after": after})
        self.changes = sorted(self.changes, key=lambda change: str(change["id"]))[:SAMPLES]

    def _judged(self, step: Step) -> None:
        self.step = step.name
        columns = (step.entered, step.score, pc.is_valid(step.reason_before), pc.is_valid(step.reason_after))
        for entered, score, before, after in zip(*(column.to_pylist() for column in columns), strict=True):
            if entered and score is not None:
                self.scores.setdefault(f"{score:.2g}", [0, 0, 0, 0])[{(0, 0): 0, (0, 1): 1, (1, 0): 2, (1, 1): 3}[before, after]] += 1

    def json(self) -> dict[str, Any]:
        """As `--json` prints it."""
        return {
            "now": self.sides["now"], "then": self.sides["then"],
            "newly_dropped": self.lost.json(), "newly_kept": self.won.json(),
            "changed": {"documents": self.changed, "samples": self.changes},
            "sources": dict(sorted(self.sources.items())),
            "dropped_by": {
                step: dict(zip(("now", "then"), self.dropped[step], strict=True)) for step in sorted(self.dropped, key=self.steps.index)
            },
            "step": self.step, "scores": dict(sorted(self.scores.items(), key=lambda item: float(item[0]))),
        }  # fmt: skip


def as_text(found: dict[str, Any]) -> str:
    """A preview for the terminal."""
    lines = [f"{key}: {one} -> {other}" for key, (one, other) in found["changes"].items()]
    lines += [f"{side + ':':<6}{found[side]['documents']:>12,} documents {found[side]['bytes']:>16,} bytes" for side in ("now", "then")]
    for name, words in (("newly_dropped", "would be dropped"), ("newly_kept", "would be kept")):
        lot = found[name]
        lines.append(f"{words}: {lot['documents']:,} documents, {lot['bytes']:,} bytes")
        for reason in lot["reasons"]:
            lines.append(f"  {reason['step']}: {reason['reason']}: {reason['documents']:,} documents, {reason['bytes']:,} bytes")
            samples = [sample for sample in lot["samples"] if (sample["step"], sample["reason"]) == (reason["step"], reason["reason"])]
            for sample in samples[:3]:
                score = f" ({sample['score']:g})" if "score" in sample else ""
                lines.append(f"    {sample['url'] or sample['id']}{score}: {' '.join(sample['text'].split())[:100]!r}")
    lines.append(f"would be another text: {found['changed']['documents']:,} documents")
    for change in found["changed"]["samples"][:3]:
        lines += [f"    {change['before'][:100]!r}", f"    {change['after'][:100]!r}"]
    lines.append(f"nothing was written; duplicates were not looked for ({found['seconds']:.1f} s)")
    return "\n".join(lines)
