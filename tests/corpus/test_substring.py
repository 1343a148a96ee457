"""Repeats by sorted windows are those of a search through all places."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from groundup.corpus.dedup import keys, substring
from groundup.corpus.dedup.keys import Keys, copies
from groundup.corpus.dedup.shingles import words


def brute(documents: list[list[str]], ranks: list[int], n: int) -> list[list[bool]]:
    """Which tokens go: those of windows that stand in a document of lesser rank, or earlier in the same one."""
    seen: set[tuple[str, ...]] = set()
    gone = [[False] * len(document) for document in documents]
    for row in sorted(range(len(documents)), key=lambda row: ranks[row]):
        document = documents[row]
        for place in range(len(document) - n + 1):
            window = tuple(document[place : place + n])
            if window in seen:
                gone[row][place : place + n] = [True] * n
            seen.add(window)
    return gone


@settings(max_examples=150)
@given(
    st.lists(st.lists(st.sampled_from("abc"), max_size=25), min_size=1, max_size=6), st.integers(1, 5), st.integers(1, 3), st.integers(5, 60),
    st.randoms(use_true_random=False),
)  # fmt: skip
def test_repeats_are_those_of_a_plain_search(documents: list[list[str]], n: int, shards: int, at_once: int, draw: object) -> None:
    ranks = list(range(len(documents)))
    draw.shuffle(ranks)  # type: ignore[attr-defined]
    parts = [part for part in np.array_split(np.arange(len(documents)), shards) if len(part)]
    texts = [pa.array([" ".join(documents[row]) for row in part], pa.large_string()) for part in parts]
    found = [words(text) for text in texts]
    at = [substring.windows(its, n) for its in found]
    before, keys.AT_ONCE = keys.AT_ONCE, at_once
    try:
        with tempfile.TemporaryDirectory() as folder:
            repeats = Keys(Path(folder), len(parts))
            for number, (part, its, window) in enumerate(zip(parts, found, at, strict=True)):
                rank = np.array([ranks[row] for row in part], np.uint64)
                repeats.write(number, window.value[:, None], rank[its.document[window.token]])
            marks = np.split(copies(repeats) < 0, repeats.starts[1:-1])
    finally:
        keys.AT_ONCE = before
    gone = [[False] * len(document) for document in documents]
    for part, its, window, copy in zip(parts, found, at, marks, strict=True):
        for row, begin, end in substring.spans(its, window, copy, n):
            inside = (its.document == row) & (its.begin >= begin) & (its.end <= end)
            first = int(np.flatnonzero(its.document == row)[0])
            for token in np.flatnonzero(inside):
                gone[part[row]][int(token) - first] = True
    assert gone == brute(documents, ranks, n)
