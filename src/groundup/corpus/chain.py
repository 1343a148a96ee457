"""Steps one after another over a batch, and the record of what each of them did.

    batch of SCHEMA  ->  [the documents after extraction]  ->  one `Done` a step: what it changed, dropped, measured, counted

What a step did is kept beside what the step before left, not instead of it: with another threshold that step and those after
it are run again, and nothing before them (corpus/store.py).
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from groundup.corpus.document import SCHEMA, Document
from groundup.corpus.steps import WORK_SCHEMA, Step

DONE_SCHEMA = pa.schema(
    [
        ("text", pa.large_string()), ("language", pa.string()), ("reason", pa.string()), ("score", pa.float64()),
        ("counts", pa.string()), ("bytes", pa.int64()),
    ]
)  # fmt: skip
"""What a step did to each document: its new text and language where they changed, why it was dropped, the score it was judged by,
what was counted (JSON), and the bytes of the text after it. All null for a document that an earlier step dropped."""
BASE_SCHEMA = SCHEMA.remove(SCHEMA.get_field_index("reason")).remove(SCHEMA.get_field_index("dropped_by")).append(pa.field("bytes", pa.int64()))
"""Documents as they are after extraction; `bytes` as they were before."""
WARM_UP = "This is a page of teh kind that there are many of, and it was written for nobody."
DROPPED_CHARACTERS = 2000  # kept of the text of a document that extraction dropped: for the samples of the report

Quarantined = Mapping[int, tuple[int, str]]
"""From a row to the step that it is not to be given to, and why."""


@dataclass(frozen=True)
class Named:
    """A step, the name it drops by, and the settings it was made of."""

    name: str
    step: Step
    settings: Mapping[str, Any]


class Chain:
    """A map from batches of SCHEMA to batches of `schema`; picklable, so that it can run in a worker process."""

    def __init__(self, steps: list[Named], extraction: int | None) -> None:
        """The documents as the first `extraction` steps leave them are columns of the result; None: they are known already."""
        self.names = [named.name for named in steps]
        self.extraction = extraction
        self._steps = [named.step for named in steps]
        done = [field.with_name(f"{place}.{field.name}") for place in range(len(steps)) for field in DONE_SCHEMA]
        seconds = [pa.field(f"{place}.seconds", pa.float64()) for place in range(len(steps))]
        self.schema = pa.schema([*(BASE_SCHEMA if extraction is not None else []), *done, *seconds])

    @staticmethod
    def did(table: pa.Table, place: int) -> pa.Table:
        """Of a result what the step at a place did (DONE_SCHEMA)."""
        return pa.table([table[f"{place}.{field.name}"] for field in DONE_SCHEMA], schema=DONE_SCHEMA)

    def prepare(self) -> None:
        """Let every step load what it needs, on a text of no account, so that no document's time is spent on it."""
        row = Document("", "", WARM_UP, "http://localhost/").row()
        for name, step in zip(self.names, self._steps, strict=True):
            if name != "rules":  # the user's own functions see the user's documents alone
                step(_worked(pa.RecordBatch.from_pylist([row], SCHEMA)))

    def __call__(self, batch: pa.RecordBatch, quarantined: Quarantined | None = None, come_to: Any = None) -> pa.RecordBatch:
        """Take a batch through the steps; `come_to(place)` is told which one begins."""
        sizes = pc.binary_length(batch["text"]).cast(pa.int64())
        now = _worked(batch)
        columns = _base(now, sizes) if self.extraction == 0 else {}
        for place, (name, step) in enumerate(zip(self.names, self._steps, strict=True)):
            if come_to is not None:
                come_to(place)
            held = {row: why for row, (at, why) in (quarantined or {}).items() if at == place}
            before = _dropped(now, name, held) if held else now
            start = time.process_time()
            after = step(before)
            seconds = time.process_time() - start
            columns |= {f"{place}.{column}": value for column, value in _done(now, after, with_text=place >= (self.extraction or 0)).items()}
            columns[f"{place}.seconds"] = pa.array([seconds] + [0.0] * (batch.num_rows - 1), pa.float64())
            now = after
            if place + 1 == self.extraction:
                columns |= _base(now, sizes)
        return pa.RecordBatch.from_arrays([columns[name] for name in self.schema.names], schema=self.schema)


def _worked(batch: pa.RecordBatch) -> pa.RecordBatch:
    """A batch of SCHEMA as one of WORK_SCHEMA."""
    empty = [pa.nulls(batch.num_rows, WORK_SCHEMA.field(name).type) for name in ("score", "counts")]
    return pa.RecordBatch.from_arrays([*batch.columns, *empty], schema=WORK_SCHEMA)


def _base(batch: pa.RecordBatch, sizes: pa.Array) -> dict[str, pa.Array]:
    kept = pc.is_null(batch["dropped_by"])
    text = pc.if_else(kept, batch["text"], pc.utf8_slice_codeunits(batch["text"], 0, DROPPED_CHARACTERS))
    return {**{name: batch[name] for name in BASE_SCHEMA.names if name != "bytes"}, "text": text, "bytes": sizes}


def _dropped(batch: pa.RecordBatch, name: str, why: Mapping[int, str]) -> pa.RecordBatch:
    """The batch with some rows dropped by a step that has not seen them."""
    for column, values in (("dropped_by", dict.fromkeys(why, name)), ("reason", why)):
        place = batch.schema.get_field_index(column)
        found = [values.get(row, value) for row, value in enumerate(batch[column].to_pylist())]
        batch = batch.set_column(place, batch.schema.field(place), pa.array(found, pa.string()))
    return batch


def _done(before: pa.RecordBatch, after: pa.RecordBatch, *, with_text: bool) -> dict[str, pa.Array]:
    """DONE_SCHEMA's columns for what happened between two batches."""
    entered = pc.is_null(before["dropped_by"])
    kept = pc.is_null(after["dropped_by"])

    def where(condition: pa.Array, values: pa.Array) -> pa.Array:
        return pc.if_else(condition, values, pa.nulls(1, values.type)[0])

    changed = pc.and_(entered, pc.not_equal(before["text"], after["text"]))
    text = where(changed, after["text"]) if with_text else pa.nulls(len(changed), pa.large_string())
    same_language = pc.fill_null(pc.equal(before["language"], after["language"]), False)
    return {
        "text": text,
        "language": where(pc.and_(entered, pc.invert(same_language)), after["language"]),
        "reason": where(pc.and_(entered, pc.invert(kept)), after["reason"]),
        "score": where(entered, after["score"]),
        "counts": pa.array(
            [json.dumps(dict(counts), ensure_ascii=False) if counts and there else None
             for counts, there in zip(after["counts"].to_pylist(), entered.to_pylist(), strict=True)], pa.string(),
        ),
        "bytes": where(kept, pc.binary_length(after["text"]).cast(pa.int64())),
    }  # fmt: skip
