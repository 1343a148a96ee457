"""Near duplicates and repeated passages over the shards of a corpus: which documents go, and what is cut out of others.

A shard is a Parquet file with columns id, text and source. Everything here is a function of their rows, whatever shards they stand in.
"""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import blake2b
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import parquet

from groundup.corpus.dedup import substring
from groundup.corpus.dedup.minhash import band_keys, of_texts
from groundup.corpus.dedup.near import Clusters
from groundup.corpus.dedup.shingles import words
from groundup.recipe.prepare import Near

ROWS = 256  # documents at once; one may have a megabyte


def near_copies(shards: list[Path], settings: Near, folder: Path) -> list[NDArray[np.bool_]]:
    """For each document of each shard, whether it is a near duplicate of one that is kept. `folder` is for files on the way."""
    clusters = Clusters(folder, settings.bands)
    ids, sizes = [np.zeros(0, np.uint64)], []
    for path in shards:
        rows = 0
        for batch in _batches(path):
            signature, there = of_texts(batch["text"], settings.words, settings.bands * settings.rows)
            scope = batch["source"].to_pylist() if settings.scope == "source" else [""] * batch.num_rows
            clusters.add(band_keys(signature, settings.bands, settings.rows, _hashes(scope)), there)
            ids.append(_ranks(batch))
            rows += batch.num_rows
        sizes.append(rows)
    cluster, rank = clusters.find(), np.concatenate(ids)
    order = np.lexsort((rank, cluster))
    copy = np.ones(len(order), np.bool_)
    first = np.ones(len(order), np.bool_)
    first[1:] = cluster[order][1:] != cluster[order][:-1]
    copy[order[first]] = False
    return np.split(copy, np.cumsum(sizes)[:-1])


def repeated_passages(shards: list[Path], n: int, folder: Path) -> Iterator[list[list[tuple[int, int]]]]:
    """For each shard, and each of its documents, the stretches of bytes that repeat what stands elsewhere, in order."""
    repeats = substring.Repeats(folder)
    for path in shards:
        for batch in _batches(path):
            found = words(batch["text"])
            at = substring.windows(found, n)
            repeats.add(at, _ranks(batch)[found.document[at.token]])
    copies = repeats.copies()
    for path in shards:
        cuts: list[list[tuple[int, int]]] = []
        for batch in _batches(path):
            found = words(batch["text"])
            its: list[list[tuple[int, int]]] = [[] for _ in range(batch.num_rows)]
            for row, begin, end in substring.spans(found, substring.windows(found, n), next(copies), n):
                its[row].append((begin, end))
            cuts += its
        yield cuts


def without(text: str, cuts: list[tuple[int, int]]) -> str:
    """A text without stretches of its bytes; what stood around each is a paragraph apart."""
    if not cuts:
        return text
    data = text.encode()
    kept, begin = [], 0
    for start, end in [*cuts, (len(data), len(data))]:
        kept.append(data[begin:start].decode("utf-8", "ignore").strip())
        begin = end
    return "\n\n".join(piece for piece in kept if piece)


def _batches(path: Path) -> Iterator[pa.RecordBatch]:
    with parquet.ParquetFile(path) as file:
        yield from file.iter_batches(batch_size=ROWS, columns=["id", "text", "source"])


def _ranks(batch: pa.RecordBatch) -> NDArray[np.uint64]:
    """Ids as numbers: the first 64 of their bits."""
    return np.array([int(one[:16], 16) for one in batch["id"].to_pylist()], np.uint64)


def _hashes(names: list[str]) -> NDArray[np.uint64]:
    known = {name: int.from_bytes(blake2b(name.encode(), digest_size=8).digest(), "little") for name in set(names)}
    return np.array([known[name] for name in names], np.uint64)
