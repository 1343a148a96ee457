"""Step `classifier`: documents that are more like the bad than like the good that the user showed."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import pyarrow as pa

from groundup.corpus.classifier import Classifier
from groundup.corpus.steps import Seen, Verdict, judge


class Quality:
    """The step. `score` is the probability of being good."""

    def __init__(self, model: Path, threshold: float) -> None:
        self.model, self.threshold = model, threshold

    def __call__(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        return judge(batch, "classifier", self._judge)

    def _judge(self, seen: Seen) -> Verdict:
        score = _loaded(self.model)(seen.text)
        return Verdict(seen.text, "more like the bad than like the good" if score < self.threshold else None, score)


@lru_cache(maxsize=2)
def _loaded(path: Path) -> Classifier:
    return Classifier.load(path)  # once a process: steps travel to their workers without it
