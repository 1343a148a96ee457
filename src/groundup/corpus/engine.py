"""The data engine: steps run through a Daft plan here, or on a Ray cluster. The only file that imports Daft.

Steps know nothing of it: they map an Arrow record batch to an Arrow record batch with as many rows. Shards go through
one at a time here, and on a cluster as many as keep it at work; each is written by pyarrow in one way, so equal rows make equal bytes.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import parquet

from groundup.corpus.cluster import Cluster
from groundup.recipe.corpus import Corpus

os.environ["DO_NOT_TRACK"] = "true"  # before the import: Daft reports its use otherwise
os.environ["DAFT_PROGRESS_BAR"] = "0"  # stderr is ours
os.environ["DAFT_RUNNER"] = "native"

import daft

BATCH_ROWS = 32  # rows a step sees at once: documents may be a megabyte each
ROW_GROUP_BYTES = 16 << 20

RecordBatchMap = Callable[[pa.RecordBatch], pa.RecordBatch]

_cluster: Cluster | None = None


@contextmanager
def on(wish: Corpus) -> Iterator[None]:
    """Run the steps where a recipe says. Raises GroundupError where there is no such cluster."""
    global _cluster
    _cluster = Cluster(wish.address) if wish.engine == "ray" else None
    try:
        yield
    finally:
        if _cluster is not None:
            _cluster.close()
        _cluster = None


def full() -> bool:
    """Whether the results of a table should be taken before another is begun: always here, on a cluster when it has enough to do."""
    return _cluster is None or _cluster.full()


def elsewhere() -> bool:
    """Whether the steps run on a cluster, and not in this process's workers."""
    return _cluster is not None


def map_table(table: pa.Table, function: RecordBatchMap, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """The rows of a table, in order, after `function`, whose result has the columns of `schema`.

    On a cluster the work begins at once, here when the first result is taken.
    """
    return _cluster.map(table, function, BATCH_ROWS) if _cluster is not None else _through_daft(table, function, schema)


def _through_daft(table: pa.Table, function: RecordBatchMap, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    if table.num_rows == 0:
        return
    taken = table.schema
    fields = {field.name: daft.DataType.from_arrow_type(field.type) for field in schema}

    @daft.func.batch(return_dtype=daft.DataType.struct(fields), unnest=True, batch_size=BATCH_ROWS, use_process=False)
    def step(row: daft.Series) -> Any:
        batch = pa.RecordBatch.from_struct_array(row.to_arrow())
        return function(batch.cast(taken)).to_struct_array()  # Daft's strings are all large ones

    frame = daft.from_arrow(table)
    columns = [daft.col(name) for name in table.column_names]
    for batch in frame.select(step(daft.functions.to_struct(*columns))).to_arrow_iter():
        yield pa.RecordBatch.from_arrays([batch[field.name].cast(field.type) for field in schema], schema=schema)


def write(path: Path, batches: Iterator[pa.RecordBatch], schema: pa.Schema) -> int:
    """Write batches to a Parquet file that appears whole or not at all. Returns its rows."""
    temporary = path.with_name(f".{path.name}.tmp")
    rows = 0
    with temporary.open("wb") as stream:
        with parquet.ParquetWriter(stream, schema, compression="zstd") as writer:
            held: list[pa.RecordBatch] = []
            for batch in batches:
                rows += batch.num_rows
                held.append(batch)
                if sum(each.nbytes for each in held) >= ROW_GROUP_BYTES:
                    writer.write_table(pa.Table.from_batches(held, schema))
                    held = []
            if held:
                writer.write_table(pa.Table.from_batches(held, schema))
        stream.flush()
        os.fsync(stream.fileno())
    temporary.replace(path)
    return rows


def rows(path: Path, columns: list[str] | None = None) -> Iterator[dict[str, Any]]:
    """The rows of a Parquet file, a few in memory at a time."""
    with parquet.ParquetFile(path) as file:
        for batch in file.iter_batches(batch_size=BATCH_ROWS, columns=columns):
            yield from batch.to_pylist()
