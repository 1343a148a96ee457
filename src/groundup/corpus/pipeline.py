"""The clean stage: from what was collected to clean, deduplicated, split documents.

    corpus/clean/part-00000.parquet ...   id, text, source, url, language, split
    corpus/clean/funnel.json              what was kept and dropped, where and why

Shard by shard the sources are read and taken through the steps; then duplicates are dropped over all shards; then the
split is drawn and the parts are written. Each shard is a file that appears whole, its counts beside it, so a build that is
cut off goes on after the last one, and each is a function of the recipe and the sources alone: the bytes are the same.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from groundup import progress
from groundup.corpus import engine
from groundup.corpus.dedup import exact
from groundup.corpus.document import CLEAN_SCHEMA, SCHEMA, Document, cut
from groundup.corpus.funnel import SIZED_SCHEMA, Chain, Tally, merge
from groundup.corpus.sources.files import Report
from groundup.corpus.sources.reading import Unit, units
from groundup.corpus.split import Split
from groundup.corpus.steps import Step
from groundup.corpus.steps.html import Html
from groundup.corpus.steps.text import Length, unicode
from groundup.errors import GroundupError
from groundup.recipe import Clean, Recipe
from groundup.run import Run, Stage, digest, read_json, write_json

SHARD_BYTES = 64 << 20  # of raw text: what a step has in memory
BATCH_BYTES = 4 << 20

Row = dict[str, Any]


def clean(run: Run, collected: Stage) -> Stage:
    """The clean stage (folder `corpus/clean`). Raises GroundupError if nothing is left, or nothing to hold out."""
    recipe = run.recipe
    sources = [source.model_dump(include={"kind", "name", "text_field"}) for source in recipe.sources]
    stage = run.stage(
        "clean", "corpus/clean", depends={"clean": recipe.clean.model_dump(), "seed": recipe.seed, "sources": sources},
        inputs={"collect": collected.digest},
    )  # fmt: skip
    if stage.done:
        return stage
    shards = stage.work / "shards"
    if not (stage.work / "funnel.json").exists():  # written last
        shards.mkdir(exist_ok=True)
        Cleaning(recipe, collected.final, stage.work, shards).run()
    shutil.rmtree(shards, ignore_errors=True)
    funnel = read_json(stage.work / "funnel.json")
    stage.finish({
        "files": funnel["inputs"]["files"], "documents_read": funnel["inputs"]["documents"], "bytes_read": funnel["inputs"]["bytes"],
        "skipped": len(funnel["skipped"]),
        **{f"{split}_{name}": value for split, counts in funnel["splits"].items() for name, value in counts.items()},
    })  # fmt: skip
    return stage


def steps(recipe: Clean) -> Chain:
    """The recipe's steps on single documents, in order."""
    chain: list[tuple[str, Step]] = [("html", Html(recipe.main_content)), *([("unicode", unicode)] if recipe.unicode else [])]
    return Chain([*chain, ("length", Length(recipe.min_characters))])


class Cleaning:
    """One pass of the stage over all sources; every method finds out for itself what is already there."""

    def __init__(self, recipe: Recipe, collected: Path, work: Path, shards: Path) -> None:
        self.recipe, self.collected, self.work, self.shards = recipe, collected, work, shards

    def run(self) -> None:
        """Do what is left to do; the funnel is written last."""
        reading = self._read_and_step()
        order: tuple[exact.Unit, ...] = ("documents", "paragraphs", "lines")
        current, count = "stepped", len(reading)
        tallies = merge([[Tally(**tally) for tally in state["tallies"]] for state in reading])
        for unit in (unit for unit in order if getattr(self.recipe.clean.duplicates, unit)):
            tallies += self._drop_duplicates(unit, current, count)
            current = unit
        self._refuse_nothing(tallies, reading)
        splits = self._write_parts(current, count)
        last = reading[-1]
        funnel = {
            "inputs": {"files": last["files"], "bytes": last["bytes"], "documents": last["documents"]},
            "skipped": [entry for state in reading for entry in state["skipped"]],
            "steps": [tally.json() for tally in tallies],
            "notes": [entry for state in reading for entry in state["notes"]],
            "splits": splits,
        }
        write_json(self.work / "funnel.json", funnel)

    # --- reading, and the steps on single documents -------------------------------------------------------------

    def _read_and_step(self) -> list[dict[str, Any]]:
        """Raw shards through the steps, one after another; the state after each."""
        states = self._states()
        if states and states[-1]["ended"]:
            return states
        todo = units(self.recipe, self.collected)
        reader, chain = Reader(todo, states[-1] if states else None), steps(self.recipe.clean)
        with progress.bar("clean: documents") as bar:
            while not states or not states[-1]["ended"]:
                number = len(states)
                raw = self.shards / f"raw-{number:05d}.parquet"
                bar.advance(engine.write(raw, reader.batches(), SCHEMA))
                tallies: list[Tally] = []
                rows = chain.survivors(engine.map_batches([raw], chain, SIZED_SCHEMA), tallies)
                rows = self._cut_long(rows, long := Tally("cut"), notes := reader.state["notes"])
                engine.write(self._shard("stepped", number), batches(rows, SCHEMA), SCHEMA)
                states.append({**reader.state, "notes": notes, "tallies": [vars(tally) for tally in [*tallies, long]]})
                write_json(self.shards / f"stepped-{number:05d}.json", states[-1])
                raw.unlink()
        return states

    def _states(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        while (path := self.shards / f"stepped-{len(found):05d}.json").exists():
            found.append(read_json(path))
        return found

    def _cut_long(self, rows: Iterable[Row], tally: Tally, notes: list[dict[str, str]]) -> Iterator[Row]:
        """Cut what the sources could not: pages and books, whose text is known only after the step `html`."""
        limit = self.recipe.clean.max_document_characters
        for row in rows:
            size = len(row["text"].encode())
            tally.keep(size, size)
            if row["format"] == "text" or len(row["text"]) <= limit:
                yield row
                continue
            part = 0
            for part, text in enumerate(cut([row["text"]], limit)):
                yield {**row, "id": digest(row["id"], part) if part else row["id"], "text": text}
            tally.documents_out += part
            notes.append({"source": row["source"], "name": row["url"], "note": f"cut into {part + 1:,} parts"})

    # --- duplicates over all shards -----------------------------------------------------------------------------

    def _drop_duplicates(self, unit: exact.Unit, before: str, count: int) -> list[Tally]:
        """One unit (documents, paragraphs, lines) over the shards of the step before, which are then removed."""
        done = [self.shards / f"{unit}-{number:05d}.json" for number in range(count)]
        if not all(path.exists() for path in done):
            shortest = self.recipe.clean.duplicates.min_characters
            found = [
                np.fromiter((value for row in self._rows(before, number) for value in exact.hashes(row["text"], unit, shortest)), np.uint64)
                for number in range(count)
            ]
            for number, first in enumerate(exact.first_occurrences(found)):
                if not done[number].exists():
                    tally = Tally(f"duplicate {unit}")
                    rows = self._without(self._rows(before, number), unit, (bool(value) for value in first), tally)
                    engine.write(self._shard(unit, number), batches(rows, SCHEMA), SCHEMA)
                    write_json(done[number], vars(tally))
        for number in range(count):
            self._shard(before, number).unlink(missing_ok=True)
        return merge([[Tally(**read_json(path))] for path in done])

    def _without(self, rows: Iterable[Row], unit: exact.Unit, first: Iterator[bool], tally: Tally) -> Iterator[Row]:
        shortest = self.recipe.clean.min_characters
        for row in rows:
            text = exact.without_copies(row["text"], unit, self.recipe.clean.duplicates.min_characters, first)
            size = len(row["text"].encode())
            if text == row["text"]:
                tally.keep(size, size)
                yield row
            elif unit == "documents":
                tally.drop(size, "copy of an earlier document", row)
            elif len(text.strip()) < shortest:
                tally.drop(size, f"too short without copied {unit}", row)
            else:
                tally.keep(size, len(text.encode()))
                yield {**row, "text": text}

    # --- the end ------------------------------------------------------------------------------------------------

    def _refuse_nothing(self, tallies: list[Tally], reading: list[dict[str, Any]]) -> None:
        last = reading[-1]
        if last["documents"] == 0:
            skipped = [entry for state in reading for entry in state["skipped"]]
            why = f"; first skipped: {skipped[0]['name']} ({skipped[0]['reason']})" if skipped else ""
            raise GroundupError(
                f"no documents were found in {last['files']:,} files, {len(skipped):,} skipped{why}", where="clean",
                do="Name a source with text: txt, md, html, jsonl, parquet, warc or epub.",
            )
        if tallies[-1].documents_out == 0:
            worst = max(tallies, key=lambda tally: tally.documents_in - tally.documents_out)
            reason = max(worst.reasons, key=lambda reason: worst.reasons[reason])
            raise GroundupError(
                f"no documents are left after cleaning; the step '{worst.step}' dropped most: {sum(worst.reasons.values()):,} of "
                f"{last['documents']:,} ({reason})", where="clean", do="Add text, or loosen this step in the recipe's section clean.",
            )  # fmt: skip

    def _write_parts(self, current: str, count: int) -> dict[str, dict[str, int]]:
        """Draw the split and write the parts. Raises GroundupError if a side is empty."""
        sizes: dict[str, tuple[int, int]] = {}
        for number in range(count):
            for row in self._rows(current, number):
                size, characters = sizes.get(row["whole"], (0, 0))
                sizes[row["whole"]] = (size + len(row["text"].encode()), characters + len(row["text"]))
        split = Split(sizes, self.recipe.clean.held_out, self.recipe.seed)
        counts = {name: {"documents": 0, "bytes": 0, "characters": 0} for name in ("train", "held_out")}

        def divided(rows: Iterable[Row]) -> Iterator[Row]:
            for row in rows:
                for part in split(row):
                    total = counts[part["split"].replace("-", "_")]
                    total["documents"] += 1
                    total["bytes"] += len(part["text"].encode())
                    total["characters"] += len(part["text"])
                    yield {name: part[name] for name in CLEAN_SCHEMA.names}

        for number in range(count):
            path = self.work / f"part-{number:05d}.parquet"
            engine.write(path, batches(divided(self._rows(current, number)), CLEAN_SCHEMA), CLEAN_SCHEMA)
        for name, words in (("train", "to train on"), ("held_out", "held out")):
            if counts[name]["documents"] == 0:
                raise GroundupError(
                    f"the split left no text {words}", where="clean.held_out",
                    do="Add text, change clean.held_out.fraction, or set clean.held_out.unit=tail.",
                )
        return counts

    def _shard(self, name: str, number: int) -> Path:
        return self.shards / f"{name}-{number:05d}.parquet"

    def _rows(self, name: str, number: int) -> Iterator[Row]:
        with parquet.ParquetFile(self._shard(name, number)) as file:
            for batch in file.iter_batches(batch_size=engine.BATCH_ROWS):
                yield from batch.to_pylist()


class Reader:
    """Reads documents from the sources, a shard's worth at a time, from where the last finished shard ended.

    A unit stays open from one shard to the next: opened again for each, it would be read from its beginning each time,
    which takes time quadratic in its length. Only a build that was cut off reads one again, once.
    """

    def __init__(self, todo: list[tuple[str, Unit]], before: dict[str, Any] | None) -> None:
        self._todo = todo
        self.state: dict[str, Any] = dict(before or {"unit": 0, "document": 0, "files": 0, "bytes": 0, "documents": 0})
        self._open: tuple[Iterator[Document], Report] | None = None

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The next shard's documents as batches; `state` is then where to go on and what there is to report."""
        self.state = {**self.state, "ended": False, "skipped": [], "notes": []}
        return batches(self._rows(), SCHEMA)

    def _rows(self) -> Iterator[Row]:
        state, size = self.state, 0
        while state["unit"] < len(self._todo):
            source, unit = self._todo[state["unit"]]
            if self._open is None:
                report = Report()  # of the whole unit, whichever shards it goes to: said once, at its end
                self._open = islice(unit.read(report), state["document"], None), report
            documents, report = self._open
            for document in documents:
                row: Row = document.row()
                text_bytes = len(row["text"].encode())
                size += text_bytes
                state["document"] += 1
                state["documents"] += 1
                state["bytes"] += text_bytes
                yield row
                if size >= SHARD_BYTES:
                    return
            self._open = None
            state["files"] += 1
            state["skipped"] += [{"source": source, "name": name, "reason": reason} for name, reason in report.skipped]
            state["notes"] += [{"source": source, "name": name, "note": note} for name, note in report.notes]
            state["unit"], state["document"] = state["unit"] + 1, 0
        state["ended"] = True


def batches(rows: Iterable[Row], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """Rows as record batches of a few megabytes."""
    held: list[Row] = []
    size = 0
    for row in rows:
        held.append(row)
        size += len(row["text"])
        if size >= BATCH_BYTES or len(held) >= 1024:
            yield pa.RecordBatch.from_pylist(held, schema)
            held, size = [], 0
    if held:
        yield pa.RecordBatch.from_pylist(held, schema)
