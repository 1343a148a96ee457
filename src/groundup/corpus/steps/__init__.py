"""Steps: from an Arrow record batch of documents to one of as many rows, never raising for a bad document."""

from __future__ import annotations

from collections.abc import Callable

import pyarrow as pa

Step = Callable[[pa.RecordBatch], pa.RecordBatch]

Edit = Callable[[str, str], tuple[str, str | None]]
"""From (text, format) to (new text, why the document is dropped or None)."""


def edit(batch: pa.RecordBatch, name: str, function: Edit) -> pa.RecordBatch:
    """Apply an edit to the documents that no step has dropped yet. One that fails drops its document alone."""
    texts, formats = batch["text"].to_pylist(), batch["format"].to_pylist()
    dropped_by, reasons = batch["dropped_by"].to_pylist(), batch["reason"].to_pylist()
    for row, text in enumerate(texts):
        if dropped_by[row] is not None:
            continue
        try:
            texts[row], reason = function(text, formats[row])
        except Exception as error:  # by contract: whatever a page does to a parser, the others go on
            reason = f"failed: {type(error).__name__}"
        if reason is not None:
            dropped_by[row], reasons[row] = name, reason
    for column, values in (("text", texts), ("dropped_by", dropped_by), ("reason", reasons)):
        place = batch.schema.get_field_index(column)
        batch = batch.set_column(place, batch.schema.field(place), pa.array(values, batch.schema.field(place).type))
    return batch
