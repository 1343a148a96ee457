"""The data engine: steps run through a Daft plan. The only file that imports Daft.

Steps know nothing of it: they map an Arrow record batch to an Arrow record batch with as many rows. Shards go through
one at a time, so memory holds one shard, and each is written by pyarrow in one way, so equal rows make equal bytes.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import parquet

os.environ["DO_NOT_TRACK"] = "true"  # before the import: Daft reports its use otherwise
os.environ["DAFT_PROGRESS_BAR"] = "0"  # stderr is ours
os.environ["DAFT_RUNNER"] = "native"

import daft

BATCH_ROWS = 32  # rows a step sees at once: documents may be a megabyte each
ROW_GROUP_BYTES = 16 << 20

RecordBatchMap = Callable[[pa.RecordBatch], pa.RecordBatch]


def map_table(table: pa.Table, function: RecordBatchMap, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """The rows of a table, in order, after `function`, whose result has the columns of `schema`."""
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
