"""Steps in processes that can be killed: what hangs or crashes is set aside alone, and nothing else is lost."""

from __future__ import annotations

import os
import signal
import time

import pyarrow as pa
import pytest

from groundup.corpus import workers
from groundup.corpus.chain import Chain, Named
from groundup.corpus.document import SCHEMA, Document
from groundup.corpus.steps import Seen, Verdict, judge
from groundup.corpus.workers import CRASHED, TOO_LONG, Guarded, StepError
from groundup.errors import GroundupError


class Obeys:
    """A step that does what the text says."""

    def __call__(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        return judge(batch, "obeys", self._judge)

    def _judge(self, seen: Seen) -> Verdict:
        if seen.text == "loop":
            while True:
                pass
        if seen.text == "crash":
            os.kill(os.getpid(), signal.SIGSEGV)
        if seen.text == "sleep":
            time.sleep(1000)
        if seen.text == "raise":
            raise ValueError(seen.text)
        print("a step's words do not get into the answer")
        return Verdict(seen.text.upper(), "too rude" if seen.text == "drop" else None, 1.5, {"seen": 1})


class Broken:
    """A step whose settings are wrong."""

    def __call__(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        raise GroundupError("no such model")


def batch(*texts: str) -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist([Document("s", str(place), text, "u").row() for place, text in enumerate(texts)], SCHEMA)


def through(*texts: str, seconds: float = 0.3) -> list[dict[str, object]]:
    found = Guarded(Chain([Named("obeys", Obeys(), {})], 0), seconds)(batch(*texts))
    return [{name.removeprefix("0."): value for name, value in row.items()} for row in found.to_pylist()]


def test_what_a_step_did_comes_back() -> None:
    rows = through("a", "B", "drop")
    assert [row["text"] for row in rows] == ["A", None, "DROP"]
    assert [row["reason"] for row in rows] == [None, None, "too rude"]
    assert [row["bytes"] for row in rows] == [1, 1, None]
    assert rows[0]["score"] == 1.5 and rows[0]["counts"] == '{"seen": 1}'


@pytest.mark.parametrize(("bad", "reason"), [("loop", TOO_LONG), ("sleep", TOO_LONG), ("crash", CRASHED), ("raise", "failed: ValueError")])
def test_a_bad_document_is_set_aside_alone(bad: str, reason: str) -> None:
    rows = through("a", bad, "b", bad, "c", seconds=0.2)
    assert [row["reason"] for row in rows] == [None, reason, None, reason, None]
    assert [row["text"] for row in rows] == ["A", None, "B", None, "C"]


def test_a_worker_that_dies_for_no_fault_of_a_document_costs_nothing() -> None:
    through("a")
    with workers.POOL._lock:
        for worker in workers.POOL._idle:
            worker._process.kill()
            worker._process.wait()
    assert [row["text"] for row in through("a", "b")] == ["A", "B"]


def test_a_step_that_cannot_begin_is_an_error() -> None:
    with pytest.raises(StepError, match="no such model"):
        Guarded(Chain([Named("broken", Broken(), {})], 0), 1.0)(batch("a"))
