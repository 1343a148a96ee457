"""Exact copies: the piece in the document of least rank stays, whatever the shards."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from groundup.corpus.dedup import keys
from groundup.corpus.dedup.exact import Unit, address, hash_of, hashed, without_copies
from groundup.corpus.dedup.keys import Keys, copies


def counted(shards: list[list[int]], ranks: list[list[int]], *, at_once: int = 20_000_000, by_rank: bool = False) -> list[int]:
    before, keys.AT_ONCE = keys.AT_ONCE, at_once
    try:
        with tempfile.TemporaryDirectory() as folder:
            its = Keys(Path(folder), len(shards))
            for number, (shard, rank) in enumerate(zip(shards, ranks, strict=True)):
                its.write(number, (np.array(shard, np.uint64) << np.uint64(59))[:, None], np.array(rank, np.uint64))  # over all ranges
            return list(copies(its, by_rank=by_rank).tolist())
    finally:
        keys.AT_ONCE = before


@settings(max_examples=100)
@given(st.lists(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 3)), max_size=15), max_size=6), st.integers(1, 30), st.booleans())
def test_copies_as_a_dictionary_would_find_them(shards: list[list[tuple[int, int]]], at_once: int, by_rank: bool) -> None:
    groups: dict[int, list[tuple[int, int]]] = {}
    flat = [entry for shard in shards for entry in shard]
    for place, (value, rank) in enumerate(flat):
        groups.setdefault(value, []).append((rank, place))
    expected = [0] * len(flat)
    for group in groups.values():
        least = min(group)
        for rank, place in group:
            expected[place] = 0 if by_rank and rank == least[0] else -1
        expected[least[1]] = sum(expected[place] < 0 for _, place in group if place != least[1])
    found = counted([[value for value, _ in shard] for shard in shards], [[rank for _, rank in shard] for shard in shards], at_once=at_once, by_rank=by_rank)
    assert found == expected


def drop(texts: list[str], unit: Unit, shortest: int) -> list[str]:
    shards = [[hash_of(piece) for piece in hashed(text, unit, shortest)] for text in texts]
    with tempfile.TemporaryDirectory() as folder:
        its = Keys(Path(folder), len(shards))
        for number, shard in enumerate(shards):
            its.write(number, np.array(shard, np.uint64)[:, None], np.full(len(shard), number, np.uint64))
        first = iter((copies(its) >= 0).tolist())
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


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("https://www.example.org/a/", "http://example.org/a#b", True), ("http://example.org:80/", "http://EXAMPLE.org", True),
        ("http://example.org/a?b=1", "http://example.org/a", False), ("http://example.org/A", "http://example.org/a", False),
        ("http://example.org:81/", "http://example.org/", False), ("http://[bad", "http://[bad", True),
    ],
)  # fmt: skip
def test_addresses(one: str, other: str, same: bool) -> None:
    assert (address(one) == address(other)) is same
    assert address("folder/file.txt") is None and address(None) is None
