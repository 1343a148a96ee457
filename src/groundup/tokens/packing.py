"""Packing: documents stand one after the other, rows are cut from the stream, and no row wastes a place.

Each document is read from the <|end_of_text|> before it, which says "a document begins here", to its own last token;
it is asked for each of its tokens and for the <|end_of_text|> that ends it:

    stream       a1 a2 a3 #  b1 b2 #  c1 c2 ...          # is <|end_of_text|>
    tokens       #  a1 a2 a3 #  b1 b2 #  c1              what the model reads
    targets      a1 a2 a3 #  b1 b2 #  c1 c2              what it is asked for
    segments     0  0  0  0  1  1  1  2  2               attention stays within a segment
    positions    0  1  2  3  0  1  2  0  1               restart with each

The last token of a document sees nothing of the next one and is asked for #; the # that opens a document sees nothing
of the last one and is asked for a first token. So every token of the stream is a target, none is asked for from
another document's text, and a document's first token is learned from the same context that evaluation gives it.

Shapes: B rows, T time.
"""

from __future__ import annotations

from typing import Any

import numpy as np

NDArray = np.ndarray[Any, np.dtype[np.int64]]


def segments_and_positions(tokens_BT: NDArray, end_of_text: int) -> tuple[NDArray, NDArray]:
    """Number of the document within its row and place within the document, each (B, T), of rows cut from a stream.

    A row that begins within a document counts from its own first token.
    """
    opens_BT = tokens_BT == end_of_text
    opens_BT[:, 0] = True
    segments_BT = np.cumsum(opens_BT, axis=1, dtype=np.int64) - 1
    places_T = np.arange(tokens_BT.shape[1], dtype=np.int64)
    first_BT = np.maximum.accumulate(np.where(opens_BT, places_T, 0), axis=1)
    return segments_BT, places_T - first_BT
