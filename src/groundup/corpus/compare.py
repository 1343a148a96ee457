"""Two finished corpora side by side: how much, of what, how long, what they share, what each says more often.

Texts are streamed twice from their Parquet files and never held; a document costs 16 bytes of memory (a hash of its text and two
lengths). The second pass reads what the first one chose: samples, and the texts that words are counted in. Choices go by the hash,
so they are drawn evenly and are the same every time.
"""

from __future__ import annotations

import heapq
import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from hashlib import blake2b
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyarrow import parquet

from groundup import recipe as recipes
from groundup.corpus.funnel import SAMPLE_CHARACTERS
from groundup.corpus.token_estimate import BYTES_PER_TOKEN, bytes_per_token
from groundup.errors import RequestError
from groundup.run import Run, read_json

BATCH_ROWS = 1024
SAMPLES = 10  # documents that one corpus alone has
WORD_BYTES = 16 << 20  # of text that words are counted in, of each corpus
DOCUMENT_CHARACTERS = 20_000  # of one document at most, so that a book is no more than a page or ten
WORD = re.compile(r"\b[^\W\d_][\w'’-]{1,29}\b")  # a letter and more, at most thirty
MOST_WORDS = 40
TIMES, ERRORS = 2.0, 4.0  # so many times as frequent, so many standard errors away: less is not "much", or chance
PRIOR = 1000.0  # pseudo-counts of the prior, spread like both corpora together
QUANTILES = (0, 1, 5, 25, 50, 75, 95, 99, 100)  # per cent of the documents


class Side:
    """One corpus: what the first pass found."""

    def __init__(self, run: Run) -> None:
        """Raises RequestError if the run is not cleaned."""
        self.run, self.folder = run, run.path / "corpus" / "clean"
        if run.manifest("corpus/clean") is None:
            raise RequestError("it has no finished corpus", where=str(run.path), do="Run `groundup clean` for it first.")
        self.sources: dict[str, dict[str, int]] = {}
        self.languages: dict[str, dict[str, int]] = {}
        found: list[tuple[NDArray[Any], ...]] = [(np.array([], np.uint64), np.array([], np.uint32), np.array([], np.uint32))]
        for batch in self._batches(["text", "source", "language"]):
            texts = batch["text"]
            hashes = np.fromiter((_hash(text) for text in texts.to_pylist()), np.uint64, len(texts))
            sizes, characters = (length(texts).to_numpy().astype(np.uint32) for length in (pc.binary_length, pc.utf8_length))
            found.append((hashes, sizes, characters))
            for groups, column in ((self.sources, batch["source"]), (self.languages, pc.fill_null(batch["language"], "not known"))):
                for name in pc.unique(column).to_pylist():
                    its = pc.equal(column, name).to_numpy(zero_copy_only=False)
                    total = groups.setdefault(name, {"documents": 0, "bytes": 0})
                    total["documents"] += int(its.sum())
                    total["bytes"] += int(sizes[its].sum())
        self.hashes, self.sizes, self.characters = (np.concatenate(parts) for parts in zip(*found, strict=True))

    def chosen(self, rows: NDArray[np.int64]) -> Iterator[tuple[int, dict[str, Any]]]:
        """Some documents by their places, ascending, in a second pass."""
        begin = 0
        for batch in self._batches(["id", "url", "source", "text"]):
            low, high = np.searchsorted(rows, [begin, begin + batch.num_rows])
            for row in rows[low:high]:
                yield int(row), batch.slice(int(row) - begin, 1).to_pylist()[0]
            begin += batch.num_rows

    def _batches(self, columns: list[str]) -> Iterator[pa.RecordBatch]:
        for path in sorted(self.folder.glob("part-*.parquet")):
            with parquet.ParquetFile(path) as file:
                yield from file.iter_batches(batch_size=BATCH_ROWS, columns=columns)

    def words_of(self) -> NDArray[np.int64]:
        """The documents that words are counted in."""
        order = np.argsort(self.hashes, kind="stable")
        passed = np.cumsum(np.minimum(self.sizes[order], DOCUMENT_CHARACTERS), dtype=np.int64)
        return np.sort(order[: np.searchsorted(passed, WORD_BYTES, side="right")])

    def json(self, per_token: float, alone: NDArray[np.bool_], samples: list[dict[str, Any]]) -> dict[str, Any]:
        """One side of the comparison."""
        size = int(self.sizes.sum(dtype=np.int64))
        lengths = np.percentile(self.characters, QUANTILES, method="lower").tolist() if len(self.characters) else []
        return {
            "name": self.run.recipe.name, "folder": str(self.run.path), "documents": len(self.sizes), "bytes": size,
            "characters": int(self.characters.sum(dtype=np.int64)), "estimated_tokens": round(size / per_token),
            "characters_at_percent": {str(at): int(length) for at, length in zip(QUANTILES, lengths, strict=False)},
            "sources": _by_size(self.sources), "languages": _by_size(self.languages),
            "alone": {"documents": int(alone.sum()), "bytes": int(self.sizes[alone].sum(dtype=np.int64)), "samples": samples},
        }  # fmt: skip


def compare(one: Run, other: Run) -> dict[str, Any]:
    """Compare two finished corpora. Raises RequestError if one of them is not there."""
    sides = Side(one), Side(other)
    alone = [~np.isin(side.hashes, against.hashes) for side, against in (sides, sides[::-1])]
    samples: list[list[dict[str, Any]]] = []
    counts: list[Words] = []
    for side, only in zip(sides, alone, strict=True):
        shown = np.array(heapq.nsmallest(SAMPLES, np.flatnonzero(only).tolist(), key=lambda row: int(side.hashes[row])), np.int64)
        spoken = side.words_of()
        in_sample, in_words = set(shown.tolist()), set(spoken.tolist())
        counted = Words()
        kept: list[dict[str, Any]] = []
        for row, document in side.chosen(np.union1d(shown, spoken)):
            if row in in_sample:
                kept.append({**document, "text": document["text"].strip()[:SAMPLE_CHARACTERS]})
            if row in in_words:
                counted.add(document["text"][:DOCUMENT_CHARACTERS])
        samples.append(kept)
        counts.append(counted)
    per_token, source = bytes_per_token(one)
    if per_token == BYTES_PER_TOKEN:
        per_token, source = bytes_per_token(other)
    funnels = [read_json(side.folder / "funnel.json") for side in sides]
    settings = [run.recipe.model_dump(mode="json", include={"seed", "clean"}) for run in (one, other)]
    return {
        "one": sides[0].json(per_token, alone[0], samples[0]), "other": sides[1].json(per_token, alone[1], samples[1]),
        "bytes_per_token": per_token, "bytes_per_token_source": source,
        "shared_texts": len(np.intersect1d(sides[0].hashes, sides[1].hashes)),
        "recipes_differ": {key: list(values) for key, values in recipes.differences(settings[0], settings[1]).items()},
        "words": {"one": more_frequent(counts[0], counts[1]), "other": more_frequent(counts[1], counts[0])},
        "steps": _steps(*(funnel["steps"] for funnel in funnels)),
    }  # fmt: skip


class Words:
    """How often words occur, and in how many documents."""

    def __init__(self) -> None:
        self.occurrences: Counter[str] = Counter()
        self.documents: Counter[str] = Counter()

    def add(self, text: str) -> None:
        """Count a document's words, in small letters."""
        found = Counter(word.lower() for word in WORD.findall(text))
        self.occurrences.update(found)
        self.documents.update(found.keys())


def more_frequent(here: Words, there: Words) -> list[dict[str, Any]]:
    """Words that are much more frequent in one corpus than in the other, the surest first.

    The log of the ratio of odds with a Dirichlet prior spread like both corpora together (Monroe, Colaresi and Quinn 2008,
    "Fightin' Words", equations 15 to 22): rare words are drawn towards no difference. Its standard error is taken from the number
    of documents that hold a word, not of its occurrences, so that what one document repeats counts once.
    """
    totals = here.occurrences.total(), there.occurrences.total()
    if not all(totals):
        return []
    found: list[dict[str, Any]] = []
    for word, count in here.occurrences.items():
        counts, documents = (count, there.occurrences[word]), (here.documents[word], there.documents[word])
        prior = PRIOR * sum(counts) / sum(totals)
        odds = [(seen + prior) / (total + PRIOR - seen - prior) for seen, total in zip(counts, totals, strict=True)]
        prior *= sum(documents) / sum(counts)
        errors = math.log(odds[0] / odds[1]) / math.sqrt(sum(1 / (seen + prior) for seen in documents))
        if odds[0] >= TIMES * odds[1] and errors >= ERRORS:
            millions = (1e6 * seen / total for seen, total in zip(counts, totals, strict=True))
            here_per_million, there_per_million = (round(rate, 2) for rate in millions)
            found.append({
                "word": word, "per_million_here": here_per_million, "per_million_there": there_per_million, "documents_here": documents[0],
                "standard_errors": round(errors, 2),
            })  # fmt: skip
    return sorted(found, key=lambda row: (-row["standard_errors"], row["word"]))[:MOST_WORDS]


def _hash(text: str) -> int:
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "little")


def _by_size(groups: dict[str, dict[str, int]]) -> dict[str, dict[str, int]]:
    return dict(sorted(groups.items(), key=lambda item: (-item[1]["bytes"], item[0])))


def _steps(one: list[dict[str, Any]], other: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The funnels' steps in one order, each with both sides' figures; None where a side has no such step."""
    sides = [{step["step"]: step for step in steps} for steps in (one, other)]
    order = [step["step"] for step in one]
    for place, step in enumerate(other):
        if step["step"] not in order:
            before = order.index(other[place - 1]["step"]) + 1 if place else 0
            order.insert(before, step["step"])
    names = ("documents_in", "documents_out", "bytes_in", "bytes_out")
    return [{"step": step, **{side: _part(found.get(step), names) for side, found in zip(("one", "other"), sides, strict=True)}} for step in order]


def _part(step: dict[str, Any] | None, names: Iterable[str]) -> dict[str, Any] | None:
    return None if step is None else {name: step[name] for name in names}


def as_text(found: dict[str, Any]) -> str:
    """A comparison for the terminal."""
    sides = found["one"], found["other"]
    lines = [f"{'':<28}{sides[0]['name'][:22]:>24}{sides[1]['name'][:22]:>24}"]

    def row(name: str, values: Iterable[Any]) -> None:
        lines.append(f"{name[:27]:<28}" + "".join(f"{'-' if value is None else f'{value:,}':>24}" for value in values))

    for name in ("documents", "bytes", "characters", "estimated_tokens"):
        row(name.replace("_", " "), (side[name] for side in sides))
    lines.append(f"{'':<4}tokens: {found['bytes_per_token']:.2f} bytes each, {found['bytes_per_token_source']}")
    for kind in ("sources", "languages"):
        for name in dict.fromkeys([*sides[0][kind], *sides[1][kind]]):
            row(f"bytes, {kind[:-1]} {name}", (side[kind].get(name, {}).get("bytes") for side in sides))
    for at in QUANTILES:
        row(f"characters at {at} %", (side["characters_at_percent"].get(str(at)) for side in sides))
    row("documents the other lacks", (side["alone"]["documents"] for side in sides))
    lines.append(f"texts in both: {found['shared_texts']:,}")
    for key, (one, other) in found["recipes_differ"].items():
        lines.append(f"recipe, {key}: {one} | {other}")
    for step in found["steps"]:
        row(f"after {step['step']}", (None if step[side] is None else step[side]["documents_out"] for side in ("one", "other")))
    for place, side in enumerate(("one", "other")):
        if found["words"][side]:
            lines.append(f"more in {sides[place]['name']}: {', '.join(row['word'] for row in found['words'][side])}")
    return "\n".join(lines)
