"""Steps: from an Arrow record batch of documents to one of as many rows, never raising for a bad document.

A step says of each document what becomes of it: its text (the same or another), why it is dropped (or that it is not), and for
the report a score and what it counted. Batches carry these in two columns that belong to the step before:

    score    the figure that the step judged by (a probability, a ratio), so that another threshold can be tried without it
    counts   what the step found or changed, by name: {"e-mail": 2}, {"teh -> the": 1}
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import pyarrow as pa

from groundup.corpus.document import SCHEMA
from groundup.errors import GroundupError

COUNTS = pa.map_(pa.string(), pa.int64())
WORK_SCHEMA = SCHEMA.append(pa.field("score", pa.float64())).append(pa.field("counts", COUNTS))
"""What steps hand to each other."""

Step = Callable[[pa.RecordBatch], pa.RecordBatch]


@dataclass(slots=True)
class Seen:
    """What a step sees of a document."""

    text: str
    format: str = "text"
    url: str = ""
    source: str = ""
    language: str | None = None


class Verdict(NamedTuple):
    """What becomes of a document."""

    text: str
    reason: str | None = None
    """Why it is dropped; a few words without figures, so that equal reasons are counted together."""
    score: float | None = None
    counts: Mapping[str, int] | None = None
    language: str | None = None
    """Set by a step that finds it out; None leaves it as it is."""


Judge = Callable[[Seen], Verdict]


def at(row: int) -> None:
    """Told which row a step has come to. A worker process puts its own in this place: whoever waits for it then knows what it hangs in."""



def judge(batch: pa.RecordBatch, name: str, function: Judge) -> pa.RecordBatch:
    """Let a function judge the documents that no step has dropped yet. One that fails drops its document alone."""
    columns = {column: batch[column].to_pylist() for column in ("text", "format", "url", "source", "language", "dropped_by", "reason")}
    texts, languages, dropped_by, reasons = (columns[column] for column in ("text", "language", "dropped_by", "reason"))
    scores: list[float | None] = [None] * len(texts)
    counts: list[list[tuple[str, int]] | None] = [None] * len(texts)
    same = True
    for row, text in enumerate(texts):
        if dropped_by[row] is not None:
            continue
        seen = Seen(text, columns["format"][row], columns["url"][row], columns["source"][row], languages[row])
        at(row)
        try:
            verdict = function(seen)
        except GroundupError:  # not the document's fault: a file of the recipe is damaged
            raise
        except Exception as error:  # by contract: whatever a page does to a parser, the others go on
            verdict = Verdict(text, f"failed: {type(error).__name__}")
        same = same and verdict.text is text
        texts[row], scores[row] = verdict.text, verdict.score
        counts[row] = list(verdict.counts.items()) if verdict.counts else None
        languages[row] = verdict.language or languages[row]
        if verdict.reason is not None:
            dropped_by[row], reasons[row] = name, verdict.reason
    new: dict[str, list[Any]] = {
        "language": languages, "dropped_by": dropped_by, "reason": reasons, "score": scores, "counts": counts,
        **({} if same else {"text": texts}),
    }  # fmt: skip
    arrays = [
        pa.array(new[field.name], field.type) if field.name in new else batch[field.name] for field in WORK_SCHEMA
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=WORK_SCHEMA)
