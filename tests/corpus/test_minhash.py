"""Signatures estimate Jaccard similarity, bands find what the formula says, clusters are the components of a graph."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from groundup.corpus.dedup import minhash, near
from groundup.corpus.dedup.shingles import shingles, words


def texts(similarity: float, pairs: int, size: int, draw: random.Random) -> list[str]:
    """Pairs of texts of single-word shingles with about this Jaccard similarity."""
    found = []
    shared = round(size * 2 * similarity / (1 + similarity))
    for _ in range(pairs):
        both = [f"w{draw.randrange(10**9)}" for _ in range(shared)]
        found += [" ".join([*both, *(f"w{draw.randrange(10**9)}" for _ in range(size - shared))]) for _ in range(2)]
    return found


@pytest.mark.parametrize("similarity", [0.3, 0.7, 0.9])
def test_agreement_of_signatures_is_the_similarity(similarity: float) -> None:
    found, _ = minhash.of_texts(pa.array(texts(similarity, 60, 300, random.Random(0)), pa.large_string()), 1, 112)
    agreement = (found[::2] == found[1::2]).mean()
    assert abs(agreement - similarity) < 4 * (similarity * (1 - similarity) / (60 * 112)) ** 0.5 + 0.005


def test_candidates_come_as_often_as_the_formula_says() -> None:
    found, _ = minhash.of_texts(pa.array(texts(0.7, 800, 100, random.Random(1)), pa.large_string()), 1, 112)
    keys = minhash.band_keys(found, 14, 8, np.zeros(len(found), np.uint64))
    share = (keys[::2] == keys[1::2]).any(axis=1).mean()
    expected = minhash.chance(0.7, 14, 8)
    assert pytest.approx(expected, abs=0.01) == 0.56  # FineWeb, section 3.4
    assert abs(share - expected) < 4 * (expected * (1 - expected) / 800) ** 0.5 + 0.02


@settings(max_examples=50)
@given(st.lists(st.text(st.sampled_from("ab "), max_size=30), min_size=1, max_size=8), st.integers(1, 40))
def test_a_signature_is_the_least_value_of_each_function(documents: list[str], block: int) -> None:
    value, borders = shingles(words(pa.array(documents, pa.large_string())), len(documents), 2)
    before, minhash.BLOCK = minhash.BLOCK, block
    try:
        found = minhash.signatures(value, borders, 5)
    finally:
        minhash.BLOCK = before
    a, b = minhash.functions(5)
    for row, (start, end) in enumerate(zip(borders, borders[1:], strict=False)):
        for place in range(5):
            least = min(((int(x) * int(a[place]) + int(b[place])) % 2**64 >> 32 for x in value[start:end]), default=0xFFFFFFFF)
            assert found[row, place] == least


@settings(max_examples=50)
@given(st.lists(st.lists(st.integers(0, 6), min_size=2, max_size=2), min_size=1, max_size=30), st.integers(1, 4), st.integers(3, 100))
def test_clusters_are_the_components(keys: list[list[int]], shards: int, at_once: int) -> None:
    import tempfile

    before, near.AT_ONCE = near.AT_ONCE, at_once
    try:
        with tempfile.TemporaryDirectory() as folder:
            clusters = near.Clusters(Path(folder), 2)
            for part in np.array_split(np.array(keys, np.uint64), shards):
                clusters.add(part.reshape(-1, 2), np.ones(len(part), np.bool_))
            found = clusters.find()
    finally:
        near.AT_ONCE = before
    label = list(range(len(keys)))
    for _ in keys:  # the plain way: take the least of all that share a key, until nothing changes
        for one, its in enumerate(keys):
            for other, theirs in enumerate(keys):
                if its[0] == theirs[0] or its[1] == theirs[1]:
                    label[one] = min(label[one], label[other])
    assert found.tolist() == label
