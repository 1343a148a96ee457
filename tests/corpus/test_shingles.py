"""Words and n-grams by arrays are those that a plain loop finds."""

from __future__ import annotations

import re

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from groundup.corpus.dedup.shingles import shingles, words

PLAIN = re.compile(r"[぀-鿿]|[^\W぀-鿿]+")
TEXTS = st.lists(st.text(st.sampled_from("abAB19_ .,;-\n“”…éßΩ漢字かな、ї"), max_size=40), min_size=1, max_size=6)


@given(TEXTS)
def test_words_are_those_of_a_pattern(texts: list[str]) -> None:
    found = words(pa.array(texts, pa.large_string()))
    by_array: list[list[str]] = [[] for _ in texts]
    for row, begin, end in zip(found.document, found.begin, found.end, strict=True):
        by_array[row].append(texts[row].lower().encode()[begin:end].decode())
    assert by_array == [PLAIN.findall(text.lower()) for text in texts]


@given(TEXTS)
def test_equal_words_and_only_those_have_equal_hashes(texts: list[str]) -> None:
    found = words(pa.array(texts, pa.large_string()))
    plain = [word for text in texts for word in PLAIN.findall(text.lower())]
    assert len(set(zip(plain, found.hashes.tolist(), strict=True))) == len(set(plain)) == len(set(found.hashes.tolist()))


@given(TEXTS, st.integers(1, 5))
def test_shingles_are_those_of_a_loop(texts: list[str], n: int) -> None:
    value, borders = shingles(words(pa.array(texts, pa.large_string())), len(texts), n)
    plain = []
    for text in texts:
        its = PLAIN.findall(text.lower())
        plain.append([tuple(its[k : k + n]) for k in range(max(1, len(its) - n + 1))] if its else [])
    assert np.diff(borders).tolist() == [len(its) for its in plain]
    flat = [shingle for its in plain for shingle in its]
    assert len(set(zip(flat, value.tolist(), strict=True))) == len(set(flat)) == len(set(value.tolist()))
