"""Guesses are what followed the same tokens last time."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from groundup.generation.lookup import Lookup


def by_search(tokens: list[int], most: int) -> list[int]:
    for size in (3, 2):
        for end in range(len(tokens) - 1, size - 1, -1):
            if len(tokens) >= size and tokens[end - size : end] == tokens[-size:]:
                return tokens[end : end + most]
    return []


@given(st.lists(st.integers(0, 3), max_size=40), st.lists(st.integers(0, 3), max_size=10), st.integers(0, 6))
def test_it_finds_what_a_search_finds(tokens: list[int], more: list[int], most: int) -> None:
    lookup = Lookup(tokens)
    for token in more:
        lookup.extend([token])
    assert lookup.guess(most) == by_search(tokens + more, most)
