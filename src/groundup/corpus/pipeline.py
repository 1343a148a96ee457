"""The clean stage: from what was collected to clean, deduplicated, split documents.

    corpus/clean/part-00000.parquet ...   id, text, source, url, language, split
    corpus/clean/funnel.json              what was kept and dropped, where and why
    corpus/clean/contamination.json[l]    what was a test's (corpus/contamination.py)
    corpus/steps/...                      what each step did to each document (corpus/store.py)

Shard by shard the sources are read and taken through the steps; then duplicates are dropped over all shards; then the
split is drawn, what stands in the held-out part or in tests is taken out of the rest, and the parts are written. Each
shard is a file that appears whole, its counts beside it, so a build that is cut off goes on after the last one, and each is
a function of the recipe and the sources alone: the bytes are the same.
A changed step runs again on what the step before it left, and so do those after it.
"""

from __future__ import annotations

import os
import shutil
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from groundup import progress
from groundup.corpus import engine
from groundup.corpus.chain import Chain
from groundup.corpus.contamination import AllTests, Screening
from groundup.corpus.dedup.passes import RANKED_SCHEMA, Pass, passes
from groundup.corpus.document import CLEAN_SCHEMA, SCHEMA, Document, cut, lots
from groundup.corpus.evaluation_items import evaluation_files
from groundup.corpus.funnel import Tally, merge, tally
from groundup.corpus.memory import PeakMemory
from groundup.corpus.recipe_steps import EXTRACTION, steps
from groundup.corpus.sources.files import Report
from groundup.corpus.sources.reading import Unit, units
from groundup.corpus.split import Split
from groundup.corpus.store import Store
from groundup.corpus.workers import Guarded
from groundup.errors import GroundupError
from groundup.recipe import Recipe
from groundup.run import Run, Stage, digest, digest_file, read_json, write_json

SHARD_CHARACTERS = 64 << 20  # of raw text: what the steps have in memory
BATCH_BYTES = 4 << 20

Row = dict[str, Any]


def clean(run: Run, collected: Stage) -> Stage:
    """The clean stage (folder `corpus/clean`). Raises GroundupError if nothing is left, or nothing to hold out."""
    recipe = run.recipe
    store = store_of(run, recipe, collected)
    depends = {
        "steps": [(named.name, named.settings) for named in store.steps], "sources": _sources(recipe), "seed": recipe.seed,
        "clean": recipe.clean.model_dump(include={"max_document_characters", "duplicates", "held_out"}),
        "least": recipe.clean.length.min_characters, "snapshots": _snapshots(recipe) if recipe.clean.duplicates.scope == "snapshot" else None,
        "decontaminate": _decontaminate(recipe),
    }  # fmt: skip
    stage = run.stage("clean", "corpus/clean", depends=depends, inputs={"collect": collected.digest})
    if stage.done:
        return stage
    shards = stage.work / "shards"
    cleaning = Cleaning(recipe, collected.final, stage.work, shards, store)
    if not (stage.work / "funnel.json").exists():  # written last
        shards.mkdir(exist_ok=True)
        cleaning.run()
    shutil.rmtree(shards, ignore_errors=True)
    funnel = read_json(stage.work / "funnel.json")
    stage.finish({
        "files": funnel["inputs"]["files"], "documents_read": funnel["inputs"]["documents"], "bytes_read": funnel["inputs"]["bytes"],
        "skipped": len(funnel["skipped"]),
        **{f"{split}_{name}": value for split, counts in funnel["splits"].items() for name, value in counts.items()},
        "seconds_by_step": cleaning.seconds_by_step(), "peak_bytes_by_step": cleaning.peak_bytes_by_step(),
    })  # fmt: skip
    return stage


def store_of(run: Run, recipe: Recipe, collected: Stage) -> Store:
    """The store of what the recipe's steps did, or will do, in a run."""
    reading = {"collect": collected.digest, "sources": _sources(recipe), "max_document_characters": recipe.clean.max_document_characters}
    chain = steps(recipe.clean, run.path / "corpus" / "models")
    return Store(run.path / "corpus" / "steps", reading, chain, sum(named.name in EXTRACTION for named in chain))


def _sources(recipe: Recipe) -> list[dict[str, Any]]:
    return [source.model_dump(include={"kind", "name", "text_field"}) for source in recipe.sources]


def _snapshots(recipe: Recipe) -> dict[str, str]:
    """Of each source."""
    return {source.name: getattr(source, "snapshot", None) or source.name for source in recipe.sources}


def _decontaminate(recipe: Recipe) -> list[Any]:
    """What decontamination depends on: its settings and the contents of the tests."""
    settings = recipe.clean.decontaminate
    return [settings.model_dump(), *(digest_file(path) for _, path in evaluation_files(settings.files))] if settings.on else []


class Cleaning:
    """One pass of the stage over all sources; every method finds out for itself what is already there."""

    def __init__(self, recipe: Recipe, collected: Path, work: Path, shards: Path, store: Store) -> None:
        self.recipe, self.collected, self.work, self.shards, self.store = recipe, collected, work, shards, store
        self._seconds = [0.0] * len(store.steps)
        self._duplicates: dict[str, dict[str, float]] = {}

    def run(self) -> None:
        """Do what is left to do; the funnel is written last."""
        reading = self._through_steps()
        current, count = "stepped", len(reading)
        stepped = [self._stepped(number) for number in range(count)]
        tallies = merge([[Tally(**one) for one in state["tallies"]] for state in stepped])
        duplicates: dict[str, Row] = {}
        for one in passes(self.recipe.clean, _snapshots(self.recipe), self.shards, count):
            found, duplicates[one.step] = self._without_copies(one, current, count)
            tallies += found
            current = one.name
        self._refuse_nothing(tallies, reading)
        splits = self._write_parts(current, count, tallies)
        last = reading[-1]
        funnel = {
            "inputs": {"files": last["files"], "bytes": last["bytes"], "documents": last["documents"]},
            "skipped": [entry for state in reading for entry in state["skipped"]],
            "steps": [one.json() for one in tallies],
            "duplicates": duplicates,
            "notes": [entry for state, after in zip(reading, stepped, strict=True) for entry in [*state["notes"], *after["notes"]]],
            "splits": splits,
        }
        write_json(self.work / "funnel.json", funnel)
        self.store.prune()

    def seconds_by_step(self) -> dict[str, float]:
        """Processor time of each step in this process's run, of all workers together (seconds); 0: nothing had to be done."""
        spent = {named.name: round(spent, 3) for named, spent in zip(self.store.steps, self._seconds, strict=True)}
        return spent | {step: its["seconds"] for step, its in self._duplicates.items()}

    def peak_bytes_by_step(self) -> dict[str, int]:
        """Most memory that this process had while it looked for each kind of copies."""
        return {step: int(its["peak_bytes"]) for step, its in self._duplicates.items()}

    # --- reading, and the steps on single documents -------------------------------------------------------------

    def _through_steps(self) -> list[dict[str, Any]]:
        """Read what has not been read, and run the steps that have not been run; where reading had come to after each shard."""
        store = self.store
        store.open()
        states = store.states()
        if states and states[-1]["ended"] and all(store.known(number) == len(store.steps) for number in range(len(states))):
            return states
        under_way: deque[Callable[[], int]] = deque()
        with engine.on(self.recipe.corpus), progress.bar("clean: documents") as bar:
            for write in self._begun(states):
                under_way.append(write)
                while under_way and engine.full():
                    bar.advance(under_way.popleft()())
            while under_way:
                bar.advance(under_way.popleft()())
        return states

    def _begun(self, states: list[dict[str, Any]]) -> Iterator[Callable[[], int]]:
        """Begin one shard after another; `states` grows by those that are read. What comes writes the shard and returns its documents."""
        store = self.store
        for number in range(len(states)):
            if (first := store.known(number)) < len(store.steps):
                yield self._begin(number, store.documents(number, first), first, None)
        if states and states[-1]["ended"]:
            return
        reader = Reader(units(self.recipe, self.collected), states[-1] if states else None)
        if not engine.elsewhere():
            self._guarded(0, reading=True).warm(os.cpu_count() or 1)
        with ThreadPoolExecutor(1) as ahead:  # the next shard is read while this one is worked on
            coming = ahead.submit(reader.shard)
            while not states or not states[-1]["ended"]:
                table, state = coming.result()
                if not state["ended"]:
                    coming = ahead.submit(reader.shard)
                states.append(state)
                yield self._begin(len(states) - 1, table, 0, state)

    def _begin(self, number: int, documents: pa.Table, first: int, state: dict[str, Any] | None) -> Callable[[], int]:
        """One shard through the steps from `first` on."""
        guarded = self._guarded(first, reading=state is not None)
        schema = guarded.chain.schema
        return partial(self.store.write, number, first, schema, engine.map_table(documents, guarded, schema), self._seconds, state)

    def _guarded(self, first: int, *, reading: bool) -> Guarded:
        chain = Chain(self.store.steps[first:], self.store.extraction if reading else None)
        return Guarded(chain, self.recipe.clean.seconds_per_document)

    def _stepped(self, number: int) -> dict[str, Any]:
        """What is left of a shard after the steps, written as a file; its tallies and notes."""
        done = self.shards / f"stepped-{number:05d}.json"
        if not done.exists():
            documents, sizes = self.store.documents(number), self.store.sizes(number)
            tallies: list[Tally] = []
            for place, named in enumerate(self.store.steps):
                did = self.store.done(number, place)
                after = self.store.after(documents, place, did)
                tallies.append(tally(named.name, documents, sizes, did, after["text"]))
                documents, sizes = after, did["bytes"]
            kept = documents.append_column("quality", self._quality(number, documents)).filter(pc.is_null(documents["dropped_by"]))
            notes: list[dict[str, str]] = []
            rows = self._cut_long((row for batch in kept.to_batches(engine.BATCH_ROWS) for row in batch.to_pylist()), long := Tally("cut"), notes)
            engine.write(self._shard("stepped", number), batches(rows, RANKED_SCHEMA), RANKED_SCHEMA)
            write_json(done, {"tallies": [vars(one) for one in [*tallies, long]], "notes": notes})
        found: dict[str, Any] = read_json(done)
        return found

    def _quality(self, number: int, documents: pa.Table) -> pa.ChunkedArray | pa.Array:
        """The score that copies are ranked by, where they are."""
        if self.recipe.clean.duplicates.keep != "best-quality":
            return pa.nulls(documents.num_rows, pa.float64())
        place = [named.name for named in self.store.steps].index("classifier")
        return self.store.done(number, place, ["score"])["score"]

    def _cut_long(self, rows: Iterable[Row], long: Tally, notes: list[dict[str, str]]) -> Iterator[Row]:
        """Cut what the sources could not: pages and books, whose text is known only after the step `html`."""
        limit = self.recipe.clean.max_document_characters
        for row in rows:
            size = len(row["text"].encode())
            long.keep(size, size, row["source"])
            if row["format"] == "text" or len(row["text"]) <= limit:
                yield row
                continue
            part = 0
            for part, text in enumerate(cut([row["text"]], limit)):
                yield {**row, "id": digest(row["id"], part) if part else row["id"], "text": text}
            long.more(row["source"], part)
            notes.append({"source": row["source"], "name": row["url"], "note": f"cut into {part + 1:,} parts"})

    # --- duplicates over all shards -----------------------------------------------------------------------------

    def _without_copies(self, one: Pass, before: str, count: int) -> tuple[list[Tally], Row]:
        """One kind of copies out of the shards of the step before, which are then removed; the tally and what the report shows."""
        ended = self.shards / f"{one.name}.json"
        if not ended.exists():
            started, memory = time.process_time(), PeakMemory()
            one.folder.mkdir(exist_ok=True)
            new = [number for number in range(count) if not one.keys.known(number)]
            with engine.on(self.recipe.corpus) if one.through_engine and new else nullcontext():
                for number in new:
                    one.look(number, self._shard(before, number))
            one.decide()
            done = [self.shards / f"{one.name}-{number:05d}.json" for number in range(count)]
            for number in range(count):
                if not done[number].exists():
                    counted, found = Tally(one.step), list[Row]()
                    rows = one.left(number, self._shard(before, number), counted, found)
                    engine.write(self._shard(one.name, number), batches(rows, RANKED_SCHEMA), RANKED_SCHEMA)
                    write_json(done[number], {"tally": vars(counted), "found": found})
            states = [read_json(path) for path in done]
            merged = merge([[Tally(**state["tally"])] for state in states])
            write_json(ended, {"tallies": [vars(tally) for tally in merged], "report": one.report([entry for state in states for entry in state["found"]])})
            shutil.rmtree(one.folder)
            self._duplicates[one.step] = {"seconds": round(time.process_time() - started, 3), "peak_bytes": memory.bytes()}
        for number in range(count):
            self._shard(before, number).unlink(missing_ok=True)
        found_before: Row = read_json(ended)
        return [Tally(**tally) for tally in found_before["tallies"]], found_before["report"]

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
            worst = max(tallies, key=lambda one: one.documents_in - one.documents_out)
            reason = max(worst.reasons, key=lambda reason: worst.reasons[reason])
            raise GroundupError(
                f"no documents are left after cleaning; the step '{worst.step}' dropped most: {sum(worst.reasons.values()):,} of "
                f"{last['documents']:,} ({reason})", where="clean", do="Add text, or loosen this step in the recipe's section clean.",
            )  # fmt: skip

    def _write_parts(self, current: str, count: int, tallies: list[Tally]) -> dict[str, dict[str, int]]:
        """Draw the split, take what is a test's out of the training text, and write the parts. Raises GroundupError if a side is empty."""
        sizes: dict[str, tuple[int, int]] = {}
        for number in range(count):
            for row in self._rows(current, number):
                size, characters = sizes.get(row["whole"], (0, 0))
                sizes[row["whole"]] = (size + len(row["text"].encode()), characters + len(row["text"]))
        counts = {name: {"documents": 0, "bytes": 0, "characters": 0} for name in ("train", "held_out")}

        def split_rows() -> Iterator[Iterator[Row]]:
            """Shard by shard; the split counts what has gone by, so each pass has its own."""
            split = Split(sizes, self.recipe.clean.held_out, self.recipe.seed)
            for number in range(count):
                yield (part for row in self._rows(current, number) for part in split(row))

        def counted(rows: Iterable[Row]) -> Iterator[Row]:
            for part in rows:
                total = counts[part["split"].replace("-", "_")]
                total["documents"] += 1
                total["bytes"] += len(part["text"].encode())
                total["characters"] += len(part["text"])
                yield {name: part[name] for name in CLEAN_SCHEMA.names}

        screening = self._screening(split_rows)
        for number, rows in enumerate(split_rows()):
            path = self.work / f"part-{number:05d}.parquet"
            engine.write(path, batches(counted(screening(rows) if screening else rows), CLEAN_SCHEMA), CLEAN_SCHEMA)
        if screening:
            screening.finish()
            tallies.append(screening.tally)
        for name, words in (("train", "to train on"), ("held_out", "held out")):
            if counts[name]["documents"] == 0:
                raise GroundupError(
                    f"the split left no text {words}", where="clean.held_out",
                    do="Add text, change clean.held_out.fraction, or set clean.held_out.unit=tail.",
                )
        return counts

    def _screening(self, split_rows: Callable[[], Iterator[Iterator[Row]]]) -> Screening | None:
        """What takes out of the training text what stands in tests, where the recipe wants that."""
        settings = self.recipe.clean.decontaminate
        if not settings.on or not (settings.held_out or settings.files):
            return None
        tests = AllTests(settings, self.shards)
        if settings.held_out:
            tests.add_held_out(part for rows in split_rows() for part in rows if part["split"] == "held-out")
        tests.finish()
        return Screening(tests, self.work)

    def _shard(self, name: str, number: int) -> Path:
        return self.shards / f"{name}-{number:05d}.parquet"

    def _rows(self, name: str, number: int) -> Iterator[Row]:
        return engine.rows(self._shard(name, number))


class Reader:
    """Reads documents from the sources, a shard's worth at a time, from where the last finished shard ended.

    A unit stays open from one shard to the next: opened again for each, it would be read from its beginning each time,
    which takes time quadratic in its length. Only a build that was cut off reads one again, once.
    """

    def __init__(self, todo: list[tuple[str, Unit]], before: dict[str, Any] | None) -> None:
        self._todo = todo
        self.state: dict[str, Any] = dict(before or {"unit": 0, "document": 0, "files": 0, "bytes": 0, "documents": 0})
        self._open: tuple[Iterator[Document], Report] | None = None

    def shard(self) -> tuple[pa.Table, dict[str, Any]]:
        """The next shard's documents (SCHEMA), and where to go on after it with what there is to report."""
        self.state = {**self.state, "ended": False, "skipped": [], "notes": []}
        table = pa.Table.from_batches(batches(self._rows(), SCHEMA), SCHEMA)
        self.state["bytes"] += pc.sum(pc.binary_length(table["text"])).as_py() or 0
        return table, self.state

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
                size += len(row["text"])
                state["document"] += 1
                state["documents"] += 1
                yield row
                if size >= SHARD_CHARACTERS:
                    return
            self._open = None
            state["files"] += 1
            state["skipped"] += [{"source": source, "name": name, "reason": reason} for name, reason in report.skipped]
            state["notes"] += [{"source": source, "name": name, "note": note} for name, note in report.notes]
            state["unit"], state["document"] = state["unit"] + 1, 0
        state["ended"] = True


def batches(rows: Iterable[Row], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """Rows as record batches of a few megabytes."""
    for held in lots(rows, BATCH_BYTES, 1024):
        yield pa.RecordBatch.from_pylist(held, schema)
