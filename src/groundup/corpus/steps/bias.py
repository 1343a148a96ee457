"""Steps `bias_before` and `bias_after`: count who is mentioned and beside which words; every document passes as it is."""

from __future__ import annotations

import pyarrow as pa

from groundup.corpus.bias import count
from groundup.corpus.steps import Seen, Verdict, judge


class Bias:
    """One of the two meters, by its name in the chain. The word lists are English; other languages are not counted."""

    def __init__(self, name: str, window: int) -> None:
        self.name, self.window = name, window

    def __call__(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        return judge(batch, self.name, self._count)

    def _count(self, seen: Seen) -> Verdict:
        english = seen.language is None or seen.language.lower().startswith("en")
        return Verdict(seen.text, counts=count(seen.text, self.window) if english else None)
