"""Signatures estimate Jaccard similarity, bands find what the formula says, clusters are the components of a graph."""

from __future__ import annotations

import random
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from groundup.corpus.dedup import keys, minhash, near
from groundup.corpus.dedup.keys import Keys
from groundup.corpus.dedup.shingles import shingles, words


def texts(similarity: float, pairs: int, size: int, draw: random.Random) -> list[str]:
    """Pairs of texts of single-word shingles with about this Jaccard similarity."""
    found = []
    shared = round(size * 2 * similarity / (1 + similarity))
    for _ in range(pairs):
        both = [f"w{draw.randrange(10**9)}" for _ in range(shared)]
        found += [" ".join([*both, *(f"w{draw.randrange(10**9)}" for _ in range(size - shared))]) for _ in range(2)]
    return found


def signed(documents: list[str]) -> np.ndarray:
    return minhash.signatures(*shingles(words(pa.array(documents, pa.large_string())), len(documents), 1), 112)


@pytest.mark.parametrize("similarity", [0.3, 0.7, 0.9])
def test_agreement_of_signatures_is_the_similarity(similarity: float) -> None:
    found = signed(texts(similarity, 60, 300, random.Random(0)))
    agreement = (found[::2] == found[1::2]).mean()
    assert abs(agreement - similarity) < 4 * (similarity * (1 - similarity) / (60 * 112)) ** 0.5 + 0.005


def test_candidates_come_as_often_as_the_formula_says() -> None:
    found = signed(texts(0.7, 800, 100, random.Random(1)))
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
def test_clusters_are_the_components(values: list[list[int]], shards: int, at_once: int) -> None:
    before, keys.AT_ONCE = keys.AT_ONCE, at_once
    try:
        with tempfile.TemporaryDirectory() as folder:
            its = Keys(Path(folder), shards, 2)
            for number, part in enumerate(np.array_split(np.array(values, np.uint64), shards)):
                its.write(number, part.reshape(-1, 2), np.zeros(len(part), np.uint64))
            found = near.clusters(its)
    finally:
        keys.AT_ONCE = before
    label = list(range(len(values)))
    for _ in values:  # the plain way: take the least of all that share a key, until nothing changes
        for one, its in enumerate(values):
            for other, theirs in enumerate(values):
                if its[0] == theirs[0] or its[1] == theirs[1]:
                    label[one] = min(label[one], label[other])
    assert found.tolist() == label


@settings(max_examples=50)
@given(st.lists(st.frozensets(st.integers(0, 9), max_size=6), min_size=1, max_size=12), st.lists(st.integers(0, 2), min_size=12, max_size=12), st.integers(1, 3))
def test_checked_clusters_unite_true_pairs_alone(sets: list[frozenset[int]], bands: list[int], shards: int) -> None:
    """All pairs of a band's group of at least this Jaccard similarity, and no others, whatever else is in the group."""
    least = 0.5
    with tempfile.TemporaryDirectory() as folder:
        its = Keys(Path(folder), shards, 1)
        for number, part in enumerate(np.array_split(np.arange(len(sets)), shards)):
            its.write(number, np.array([bands[row] for row in part], np.uint64)[:, None], part.astype(np.uint64))
            values = [np.array(sorted(sets[row]), np.uint32) for row in part]
            np.save(Path(folder) / f"shingles-{number:05d}.npy", np.concatenate([np.zeros(0, np.uint32), *values]))
            np.save(Path(folder) / f"borders-{number:05d}.npy", np.cumsum([0, *map(len, values)]))
        found = near.clusters(its, near.Similar(Path(folder), its, least)).tolist()
    label = list(range(len(sets)))
    for _ in sets:
        for one, its_set in enumerate(sets):
            for other, their in enumerate(sets):
                shared = len(its_set & their)
                if one != other and bands[one] == bands[other] and shared >= least * len(its_set | their):
                    label[one] = label[other] = min(label[one], label[other])
    assert found == label
