"""Takes out of the training text what is a test's, and reports it: every hit with both texts, and what remains.

    corpus/clean/contamination.jsonl    a line for each hit: document, test, shares, both texts around the match
    corpus/clean/contamination.json     the tests, the counts, and what remains: the documents kept that share any n-gram with a test

A document of which the tests are only a small part (a book that quotes one) loses them and what stands around them, as in GPT-3's
corpus; any other goes whole. Held-out text stays as it is. The end of a document that was held out is not compared with its beginning:
what a text has in common with itself, a refrain or a running head, nobody learned from a test, and where the whole corpus is one text
there would be nothing left.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from groundup.corpus.decontaminate import Finds, HeldOut, Pieces
from groundup.corpus.dedup.exact import hash64
from groundup.corpus.dedup.passes import without
from groundup.corpus.dedup.shingles import words
from groundup.corpus.document import lots
from groundup.corpus.evaluation_items import ASKS, EIGHT, FIVE, Piece, count, evaluation_files, read
from groundup.corpus.funnel import Tally
from groundup.errors import GroundupError
from groundup.progress import say
from groundup.recipe.cleaning.decontaminate import Decontaminate
from groundup.run import write_json

Row = dict[str, Any]

HELD_OUT = "held-out"  # what the report calls the held-out text among the tests
BATCH_BYTES = 1 << 20  # of documents (characters) compared at once; what is found does not depend on it
AROUND = 200  # characters on either side of a test that go with it (GPT-3, Brown et al. 2020, appendix C)
SMALL = 0.1  # of a document: if all tests in it take no more, with what stands around them, the rest is kept
KEPT_WORDS = 2 / 3  # of a reworded test's words beyond the eighth that must be where they should; the first eight all
REMAINING = 100  # of the documents kept that share an n-gram with a test: those shown
TESTS_SHOWN = 10  # hits listed of one document; the others are counted
EXCERPT = 600  # characters of an excerpt
BEFORE = 100  # of them before the match
MARK = re.compile(r"[^\w\s]")
MARK_WITHIN = re.compile(r"\w[^\w\s]+\w")
ENDED = re.compile(r"(^|[^\w\s,]|\n)\s*$")
BEGINS = re.compile(r"[ \t,]*($|\n|[^\w\s,])")
HELD_OUT_SCHEMA = pa.schema([("id", pa.string()), ("whole", pa.string()), ("source", pa.string()), ("url", pa.string()), ("text", pa.large_string())])


class AllTests:
    """What must not be trained on, indexed. Add the held-out rows, then `finish`."""

    def __init__(self, settings: Decontaminate, folder: Path) -> None:
        self.settings = settings
        self.files = [read(name, path, settings.ngram) for name, path in evaluation_files(settings.files)]
        if settings.files and not any(one.pieces for one in self.files):
            raise GroundupError(
                f"no question or text of {EIGHT} words or more in {len(self.files):,} evaluation files", where="clean.decontaminate.files",
                do="Name the files with the questions.",
            )  # fmt: skip
        self._pieces = [piece for one in self.files for piece in one.pieces]
        self._its: list[str] = [""] * len(self._pieces)
        """Of each piece that is held-out text: which document's."""
        self._held_out_of: list[NDArray[np.uint64]] = [np.zeros(0, np.uint64)]
        self._path = folder / "held-out.arrow"
        self._documents = HeldOut(settings.ngram)
        self.held_out = {"documents": 0, "too_short": 0, "words": 0}

    def add_held_out(self, rows: Iterable[Row]) -> None:
        """All held-out rows; their texts are kept in a file."""
        with pa.OSFile(str(self._path), "wb") as sink, pa.ipc.new_file(sink, HELD_OUT_SCHEMA) as writer:
            for batch in lots(rows, BATCH_BYTES):
                found = words(pa.array([row["text"] for row in batch], pa.large_string()))
                size = np.bincount(found.document, minlength=len(batch))
                for row, its in zip(batch, size.tolist(), strict=True):
                    if EIGHT <= its < self.settings.ngram:
                        self._pieces.append(Piece(HELD_OUT, 0, row["id"], row["text"]))
                        self._its.append(row["whole"])
                    self.held_out["too_short"] += its < EIGHT
                self._held_out_of.append(_hashes([row["whole"] for row in batch]))
                self._documents.add(found, np.arange(len(batch)) + self.held_out["documents"])
                writer.write_batch(pa.RecordBatch.from_pylist([{name: row[name] for name in HELD_OUT_SCHEMA.names} for row in batch], HELD_OUT_SCHEMA))
                self.held_out["documents"] += len(batch)
                self.held_out["words"] += int(size.sum())

    def finish(self) -> None:
        """Sort the indexes."""
        squeezed = [(place, text) for place, piece in enumerate(self._pieces) if (text := _squeezed(piece.text, 5 * self.settings.ngram))]
        texts = [piece.text for piece in self._pieces] + [text for _, text in squeezed]
        self._same = np.array([*range(len(self._pieces)), *(place for place, _ in squeezed)], np.int64)
        """Of each text in the index, its piece."""
        self._owners = _hashes(self._its)[self._same]
        self._short = Pieces(texts, self.settings.ngram)
        self._documents.finish(self.held_out["documents"])
        self._wholes = np.concatenate(self._held_out_of)
        self._texts = pa.ipc.open_file(pa.memory_map(str(self._path))).read_all() if self._path.exists() else HELD_OUT_SCHEMA.empty_table()

    @property
    def sample(self) -> float:
        """The share of the held-out documents' n-grams that is compared."""
        return self._documents.sample

    def find(self, rows: list[Row]) -> list[list[Row]]:
        """For each document, the places of tests in it: all that make it a hit, then others that share an n-gram with it.

        Of the others among the held-out documents the one that shares most: boilerplate stands in very many.
        """
        found = words(pa.array([row["text"] for row in rows], pa.large_string()))
        wholes = _hashes([row["whole"] for row in rows])
        its: list[list[Row]] = [[] for _ in rows]
        for index, held_out, owners in ((self._short, False, self._owners), (self._documents, True, self._wholes)):
            if not len(owners):
                continue
            finds = index.find(found, len(rows))
            hit = self._hits(finds, held_out)
            chosen = np.flatnonzero((hit | (finds.copied > 0)) & (owners[finds.test] != wholes[finds.document]))
            if held_out:
                chosen = chosen[np.lexsort((finds.test[chosen], -finds.copied[chosen], ~hit[chosen], finds.document[chosen]))]
                first = np.ones(len(chosen), np.bool_)
                first[1:] = finds.document[chosen[1:]] != finds.document[chosen[:-1]]
                chosen = chosen[first | hit[chosen]]
            for place in chosen.tolist():
                document, test = int(finds.document[place]), int(finds.test[place])
                begin, end = int(finds.begin[place]), int(finds.end[place])
                if held_out or self._short.size[test] > FIVE or _stands_alone(rows[document]["text"], begin, end):
                    its[document].append({
                        "hit": bool(hit[place]), "held_out": held_out, "test": test if held_out else int(self._same[test]), "copied": round(float(finds.copied[place]), 4),
                        "reworded": round(float(finds.reworded[place]), 4), "begin": begin, "end": end,
                    })  # fmt: skip
        return [_once(places) for places in its]

    def _hits(self, finds: Finds, held_out: bool) -> NDArray[np.bool_]:
        hit: NDArray[np.bool_] = finds.copied >= self.settings.share
        if held_out:
            return hit
        size = self._short.size[finds.test]
        reworded = finds.reworded * size + 1e-6 >= EIGHT + KEPT_WORDS * (size - EIGHT)
        return np.where(size < self.settings.ngram, finds.copied >= 1, hit | reworded)

    def file(self, one: Row) -> str:
        """Which test it is: a file, or the held-out text."""
        return HELD_OUT if one["held_out"] else self._pieces[one["test"]].file

    def about(self, one: Row) -> tuple[Row, str]:
        """A test by name, and its text."""
        if not one["held_out"]:
            piece = self._pieces[one["test"]]
            if piece.file != HELD_OUT:
                return {"file": piece.file, "record": piece.record, "field": piece.field}, piece.text
            return {"file": HELD_OUT, "id": piece.field}, piece.text
        row = self._texts.slice(one["test"], 1).to_pylist()[0]
        return {"file": HELD_OUT, "id": row["id"], "source": row["source"], "url": row["url"]}, row["text"]


class Screening:
    """Goes through the rows of a split corpus in order, once, and then writes the summary; its tally is the funnel's last step.

    Where the split runs through documents, the tally counts both parts.
    """

    def __init__(self, tests: AllTests, folder: Path) -> None:
        self._tests, self._folder = tests, folder
        self.tally = Tally("decontaminate")
        self._hits: Counter[str] = Counter()
        self._documents: Counter[str] = Counter()
        self._remaining: Counter[str] = Counter()
        self._strongest: list[tuple[tuple[float, float, str, int], Row]] = []
        self._counts = Counter(dropped=0, cut=0, remaining=0, hits=0)
        self._bytes = [0, 0]  # of training text, before and after
        (folder / "contamination.jsonl").write_bytes(b"")

    def __call__(self, rows: Iterable[Row]) -> Iterator[Row]:
        """The rows that stay, in order, some with less text."""
        for batch in lots(rows, BATCH_BYTES):
            train = [row for row in batch if row["split"] == "train"]
            found = iter(self._tests.find(train))
            for row in batch:
                size = len(row["text"].encode())
                if row["split"] != "train":
                    self.tally.keep(size, size, row["source"])
                    yield row
                elif (kept := self._screened(row, next(found))) is not None:
                    yield kept

    def _screened(self, row: Row, places: list[Row]) -> Row | None:
        size = len(row["text"].encode())
        self._bytes[0] += size
        hits = [one for one in places if one["hit"]]
        text: str | None = row["text"]
        if hits:
            text = _cut(row["text"], hits)
            if text is not None:
                places = self._tests.find([{**row, "text": text}])[0]
                if any(one["hit"] for one in places):
                    text = None
            self._list(row, hits, "dropped" if text is None else "cut")
        if text is None:
            self.tally.drop(size, "copy of held-out text" if all(self._tests.file(one) == HELD_OUT for one in hits) else "holds a test", row)
            return None
        after = len(text.encode())
        self._bytes[1] += after
        self.tally.keep(size, after, row["source"])
        kept = row
        if hits:
            kept = {**row, "text": text}
            self.tally.changed += 1
            self.tally.change(row, text)
        if places:
            self._remains(kept, places)
        return kept

    def _list(self, row: Row, hits: list[Row], what: str) -> None:
        self._counts[what] += 1
        self._counts["hits"] += len(hits)
        names = [self._tests.file(one) for one in hits]
        self._hits.update(names)
        self._documents.update(set(names))
        with (self._folder / "contamination.jsonl").open("a", encoding="utf-8") as stream:
            for one in hits[:TESTS_SHOWN]:
                entry = {"what": what, **self._shown(row, one), "further_hits": len(hits) - TESTS_SHOWN if len(hits) > TESTS_SHOWN else 0}
                stream.write(json.dumps(entry, ensure_ascii=False) + "\n")

    def _shown(self, row: Row, one: Row) -> Row:
        """A document and a test side by side."""
        test, text = self._tests.about(one)
        document = {"id": row["id"], "source": row["source"], "url": row["url"]}
        data = row["text"].encode()
        mine = data[max(0, one["begin"] - BEFORE) : one["begin"] + EXCERPT - BEFORE].decode("utf-8", "ignore")
        return {
            "document": {**document, "text": mine}, "test": {**test, "text": _around(text, data[one["begin"] : one["end"]].decode("utf-8", "ignore"))},
            "copied": one["copied"], "reworded": one["reworded"],
        }  # fmt: skip

    def _remains(self, row: Row, places: list[Row]) -> None:
        self._counts["remaining"] += 1
        self._remaining.update({self._tests.file(one) for one in places})
        one = max(places, key=lambda one: one["copied"])
        key = (-one["copied"], -one["reworded"], row["id"], one["begin"])
        if len(self._strongest) < REMAINING or key < self._strongest[-1][0]:
            self._strongest = sorted([*self._strongest, (key, self._shown(row, one))], key=lambda each: each[0])[:REMAINING]

    def finish(self) -> None:
        """Write the summary. Raises GroundupError if all training text is a test's; warns if most of it is."""
        before, after = self._bytes
        if before and not after:
            raise GroundupError(
                "all text to train on stands in the held-out part or in the tests", where="clean.decontaminate",
                do=f"{self._folder / 'contamination.jsonl'} shows both texts: take the copies out of the sources, or set clean.decontaminate.on=false.",
            )  # fmt: skip
        warning = None
        if after < before / 2:
            warning = f"decontamination took {1 - after / before:.0%} of the text to train on"
            say(f"clean: {warning}, since it stands in the held-out part or in the tests; contamination.html shows both. Are the sources full of copies?")
        held_out = self._tests.held_out
        named = [
            {"file": one.file, "records": one.records, "pieces": len(one.pieces), "too_short": one.too_short, **self._of(one.file)}
            for one in self._tests.files
        ]
        if self._tests.settings.held_out:
            named.append({"file": HELD_OUT, "records": held_out["documents"], "pieces": held_out["documents"] - held_out["too_short"],
                          "too_short": held_out["too_short"], **self._of(HELD_OUT)})  # fmt: skip
        write_json(self._folder / "contamination.json", {
            "ngram": self._tests.settings.ngram, "share": self._tests.settings.share, "held_out_sample": self._tests.sample,
            "train_bytes": {"before": before, "after": after}, "warning": warning, **self._counts, "tests": named,
            "strongest_remaining": [entry for _, entry in self._strongest],
        })  # fmt: skip

    def _of(self, file: str) -> dict[str, int]:
        return {"hits": self._hits[file], "documents_hit": self._documents[file], "documents_remaining": self._remaining[file]}


def _once(places: list[Row]) -> list[Row]:
    """The places of a document, the surest first, none of which is a piece where that was found already in another spelling."""
    kept: list[Row] = []
    spans: dict[tuple[bool, int], list[tuple[int, int]]] = {}
    for one in sorted(places, key=lambda one: (not one["hit"], -max(one["copied"], one["reworded"]), one["held_out"], one["test"], one["begin"])):
        there = spans.setdefault((one["held_out"], one["test"]), [])
        if not any(begin < one["end"] and one["begin"] < end for begin, end in there):
            there.append((one["begin"], one["end"]))
            kept.append(one)
    return kept


def _hashes(names: list[str]) -> NDArray[np.uint64]:
    return np.array([hash64(name) for name in names], np.uint64)


def _cut(text: str, hits: list[Row]) -> str | None:
    """A text without the tests in it and what stands around them; None where that is more than a small part of it."""
    size = len(text.encode())
    cuts: list[tuple[int, int]] = []
    for begin, end in sorted((max(0, one["begin"] - AROUND), min(size, one["end"] + AROUND)) for one in hits):
        if cuts and begin <= cuts[-1][1]:
            cuts[-1] = cuts[-1][0], max(end, cuts[-1][1])
        else:
            cuts.append((begin, end))
    return without(text, cuts) if sum(end - begin for begin, end in cuts) <= SMALL * size else None


def _squeezed(text: str, most: int) -> str:
    """A piece with the marks within its words gone (Janets for Janet's), as some copies are; nothing where it has none, or many words."""
    return MARK.sub("", text) if len(text) < 12 * most and MARK_WITHIN.search(text) and count(text) < most else ""


def _stands_alone(text: str, begin: int, end: int) -> bool:
    """Whether a stretch (bytes) is a sentence or a line by itself, or asks: five words may stand in another sentence by chance."""
    data = text.encode()
    before, after = data[max(0, begin - 8) : begin].decode("utf-8", "ignore"), data[end : end + 8].decode("utf-8", "ignore")
    return after.lstrip(" \"'»”’)").startswith(ASKS) or bool(ENDED.search(before) and BEGINS.match(after))


def _around(text: str, match: str) -> str:
    """The part of a test that holds the match: the beginning, if that has it, else from the match's first words on."""
    if len(text) <= EXCERPT:
        return text
    its = match.split()[:4]
    place = next((found for size in range(len(its), 0, -1) if (found := text.find(" ".join(its[:size]))) >= 0), 0)
    return text[max(0, place - BEFORE) :][:EXCERPT]
