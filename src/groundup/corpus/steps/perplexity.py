"""Step `perplexity`: documents that an n-gram model of good text finds surprising (Wenzek et al. 2020, CCNet).

The model is learned when the corpus is built, from text that the user names, and kept in a file: a byte-level Kneser-Ney
model, the documents not learned from, and the bits per byte they need. So the threshold can be said in a word that needs no
other corpus: let through what so many of the reference's own documents would pass.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from groundup.corpus.ngram import KneserNey
from groundup.corpus.steps import Seen, Verdict, judge
from groundup.errors import GroundupError
from groundup.recipe.cleaning.quality import Perplexity as Settings
from groundup.run import write_atomic

HELD_OUT = 10  # every tenth document of the reference is not learned from: it says what good text needs
PIECE = 2_000  # characters, as many as are judged of a document: long ones (a book may be all there is) are taken in pieces
SAMPLES = 4  # places of a document that are judged: menus at its begin or end should not decide
FORMAT = "groundup perplexity model 1"


def learn(texts: Iterable[str], settings: Settings, out: Path) -> dict[str, Any]:
    """Learn from good text and write the model to `out`. Returns its figures.

    pieces, bytes: learned from; held_out: pieces not learned from; bits_per_byte: their quantiles 0.01 to 0.99, and
    `threshold`. Raises GroundupError for less than 100 kB of text.
    """
    found: list[tuple[int, str]] = []  # with the document's number
    size = 0
    for document, text in enumerate(texts):
        for start in range(0, len(text), PIECE):
            found.append((document, text[start : start + PIECE]))
            size += len(found[-1][1].encode())
        if size >= settings.reference_bytes:
            break
    unseen = [document % HELD_OUT == HELD_OUT - 1 for document, _ in found]
    if sum(unseen) < 10:  # one book may be all there is
        unseen = [number % HELD_OUT == HELD_OUT - 1 for number in range(len(found))]
    pieces = [piece.encode() for (_, piece), out in zip(found, unseen, strict=True) if not out]
    held_out = [piece for (_, piece), out in zip(found, unseen, strict=True) if out]
    if size < 100_000:
        raise GroundupError(
            f"{size:,} bytes of reference text are too few", where="clean.perplexity",
            do="Name a reference with 100 kB of good text at least; 10 MB are better.",
        )  # fmt: skip
    model = KneserNey.train(pieces, settings.order)
    bits = np.array([bits_per_byte(model, text, settings.sample_bytes) for text in held_out])
    threshold = settings.max_bits_per_byte or float(np.quantile(bits, settings.keep))
    quantiles = {str(share): round(float(np.quantile(bits, share)), 4) for share in (0.01, 0.1, 0.5, 0.9, 0.99)}
    figures = {"pieces": len(pieces), "bytes": sum(map(len, pieces)), "held_out": len(held_out), "bits_per_byte": quantiles, "threshold": threshold}
    metadata = {FORMAT: json.dumps({"sample_bytes": settings.sample_bytes, **figures})}  # one entry: several are written in any order
    write_atomic(out, save({name: np.ascontiguousarray(table) for name, table in model.tensors().items()}, metadata=metadata))
    return figures


def bits_per_byte(model: KneserNey, text: str, sample_bytes: int) -> float:
    """What a text needs under a model (bits per byte), judged by a few evenly spaced places of it."""
    data = text.encode("utf-8", "replace")
    if len(data) > sample_bytes:
        each = sample_bytes // SAMPLES
        starts = np.linspace(0, len(data) - each, SAMPLES).astype(int)
        return float(-model.log2_probabilities_of([data[start : start + each] for start in starts.tolist()]).mean())
    return float(-model.log2_probabilities(data).mean()) if data else 8.0


class Perplexity:
    """The step, with a model that `learn` wrote. `score` is in bits per byte; perplexity of a byte is 2 to its power."""

    def __init__(self, model: Path, max_bits_per_byte: float | None = None) -> None:
        self.model, self.most = model, max_bits_per_byte

    def __call__(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        return judge(batch, "perplexity", self._judge)

    def _judge(self, seen: Seen) -> Verdict:
        model, sample_bytes, threshold = _loaded(self.model)
        bits = bits_per_byte(model, seen.text, sample_bytes)
        most = threshold if self.most is None else self.most
        return Verdict(seen.text, "unlike the reference text" if bits > most else None, bits)


@lru_cache(maxsize=1)
def _loaded(path: Path) -> tuple[KneserNey, int, float]:
    """The model, the bytes to judge by, the threshold; once a process."""
    try:
        with safe_open(path, "numpy") as file:
            if FORMAT in (metadata := file.metadata() or {}):
                figures = json.loads(metadata[FORMAT])
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
                return KneserNey.of(tensors, 256), int(figures["sample_bytes"]), float(figures["threshold"])
    except (OSError, SafetensorError) as error:
        raise GroundupError(f"cannot read {path}: {error}", where="clean.perplexity", do="Remove it: it is learned again.") from None
    raise GroundupError(f"{path} is no perplexity model", where="clean.perplexity", do="Remove it: it is learned again.")
