"""What of deduplication is computed batch by batch, wherever the steps run: hashes of each document's n-grams, and its rank."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from groundup.corpus import engine
from groundup.corpus.dedup import exact, substring
from groundup.corpus.dedup.minhash import band_keys, signatures
from groundup.corpus.dedup.shingles import mix, shingles, words

AT_ONCE = 1 << 20  # bytes of text whose words are hashed at once


class BandKeys:
    """A map from batches with `text` and `source` to the band keys of each document, its rank, and its set of shingles if wanted."""

    schema = pa.schema([("keys", pa.large_binary()), ("rank", pa.uint64()), ("shingles", pa.large_binary())])

    def __init__(self, bands: int, rows: int, n: int, scopes: Mapping[str, str], *, with_shingles: bool) -> None:
        self._bands, self._rows, self._n, self._salts, self._with_shingles = bands, rows, n, _salts(scopes), with_shingles

    def __call__(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        return _few_at_once(batch, self._keys, self.schema)

    def _keys(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        value, borders = shingles(words(batch["text"]), batch.num_rows, self._n)
        salt = np.array([self._salts[source] for source in batch["source"].to_pylist()], np.uint64)
        rank = _hashes(batch["text"])
        keys = band_keys(signatures(value, borders, self._bands * self._rows), self._bands, self._rows, salt)
        empty = np.flatnonzero(np.diff(borders) == 0)
        keys[empty] = mix(np.add.outer(rank[empty], np.arange(self._bands, dtype=np.uint64)))  # without words: like equal texts alone
        sets = [np.unique(value[start:end].astype(np.uint32)) if self._with_shingles else value[:0] for start, end in zip(borders, borders[1:], strict=False)]
        columns = [pa.array([row.tobytes() for row in keys], pa.large_binary()), pa.array(rank), pa.array([one.tobytes() for one in sets], pa.large_binary())]
        return pa.RecordBatch.from_arrays(columns, schema=self.schema)


class WindowKeys:
    """A map from batches with `text` and `source` to the hashes of each document's windows of n words, and its rank."""

    schema = pa.schema([("keys", pa.large_binary()), ("rank", pa.uint64())])

    def __init__(self, n: int, scopes: Mapping[str, str]) -> None:
        self._n, self._salts = n, _salts(scopes)

    def __call__(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        return _few_at_once(batch, self._keys, self.schema)

    def _keys(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        found = words(batch["text"])
        at = substring.windows(found, self._n)
        document = found.document[at.token]
        salt = np.array([self._salts[source] for source in batch["source"].to_pylist()], np.uint64)
        keys = mix(at.value + salt[document])
        borders = np.searchsorted(document, np.arange(batch.num_rows + 1))
        each = [keys[start:end].tobytes() for start, end in zip(borders, borders[1:], strict=False)]
        return pa.RecordBatch.from_arrays([pa.array(each, pa.large_binary()), pa.array(_hashes(batch["text"]))], schema=self.schema)


def _few_at_once(batch: pa.RecordBatch, function: engine.RecordBatchMap, schema: pa.Schema) -> pa.RecordBatch:
    """A map over some documents at a time: what is computed on the way takes some fifty bytes for each one of text."""
    ends = np.cumsum(pc.binary_length(batch["text"]).to_numpy(zero_copy_only=False), dtype=np.int64)
    parts, start = [], 0
    while start < batch.num_rows:
        before = int(ends[start - 1]) if start else 0
        end = max(start + 1, int(np.searchsorted(ends, before + AT_ONCE, side="right")))
        parts.append(function(batch.slice(start, end - start)))
        start = end
    return pa.Table.from_batches(parts, schema).combine_chunks().to_batches()[0] if parts else function(batch)


def _hashes(texts: pa.Array) -> NDArray[np.uint64]:
    return np.array([exact.hash64(text) for text in texts.to_pylist()], np.uint64)


def _salts(scopes: Mapping[str, str]) -> dict[str, int]:
    return {source: exact.hash64(scope) for source, scope in scopes.items()}
