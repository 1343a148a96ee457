"""Exact duplicates: the first stays, in document order, whatever the shards."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from groundup.corpus.dedup import exact
from groundup.corpus.dedup.exact import Unit, first_occurrences, hashes, without_copies


@given(st.lists(st.lists(st.integers(0, 20), max_size=15), max_size=6), st.integers(1, 30))
def test_first_occurrences_as_a_set_would_find_them(shards: list[list[int]], bucket: int) -> None:
    seen: set[int] = set()
    expected = [[not (value in seen or seen.add(value)) for value in shard] for shard in shards]  # type: ignore[func-returns-value]
    before, exact.BUCKET = exact.BUCKET, bucket
    try:
        found = first_occurrences([np.array(shard, dtype=np.uint64) for shard in shards])
    finally:
        exact.BUCKET = before
    assert [part.tolist() for part in found] == expected


def drop(texts: list[str], unit: Unit, shortest: int) -> list[str]:
    first = iter(np.concatenate(first_occurrences([np.array(hashes(text, unit, shortest), dtype=np.uint64) for text in texts])).tolist())
    result = [without_copies(text, unit, shortest, first) for text in texts]
    assert next(first, None) is None  # every hash has been asked for
    return result


def test_paragraphs() -> None:
    texts = ["Head\n\n    a long paragraph\n\nanother long one", "Head\n\na  long\nparagraph\n\nnew and long"]
    assert drop(texts, "paragraphs", 8) == [texts[0], "Head\n\nnew and long"]


def test_a_copy_within_a_document_goes_too() -> None:
    assert drop(["same words\n\nother words\n\nsame words"], "paragraphs", 8) == ["same words\n\nother words"]


def test_lines() -> None:
    assert drop(["copied line\nx\n\ncopied line\n\ny", "y\ncopied line"], "lines", 8) == ["copied line\nx\n\ny", "y"]


def test_documents_are_compared_without_their_blank_space() -> None:
    assert drop(["a b", "c", " a\n\nb "], "documents", 40) == ["a b", "c", ""]


@given(st.lists(st.text(st.sampled_from("ab \n"), max_size=40), max_size=6), st.sampled_from(["paragraphs", "lines"]))
def test_a_second_time_drops_nothing(texts: list[str], unit: Unit) -> None:
    once = drop(texts, unit, 2) if texts else []
    assert (drop(once, unit, 2) if once else []) == once
