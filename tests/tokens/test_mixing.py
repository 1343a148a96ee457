"""The shuffle is a permutation and the mixture exact, at any place of a corpus of any size."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from groundup.tokens.mixing import BLOCK, Mixture, Shuffle


@settings(deadline=None, max_examples=60)
@given(rows=st.integers(1, 20_000), seed=st.integers(-5, 2**70))
def test_each_pass_visits_every_row_once(rows: int, seed: int) -> None:
    passes, visited = Shuffle(rows, seed)(np.arange(3 * rows))
    assert passes.tolist() == sorted(passes.tolist())
    for number in range(3):
        assert sorted(visited[passes == number].tolist()) == list(range(rows))


def test_passes_and_seeds_differ() -> None:
    visits = np.arange(5000)
    orders = [tuple(Shuffle(5000, seed)(visits + shift)[1].tolist()) for seed in (1, 2) for shift in (0, 5000)]
    assert len(set(orders)) == 4


def test_the_order_looks_random() -> None:
    """Neighbours land anywhere, and the first half of a pass is no more from one half of the rows than chance makes it."""
    rows = 30_000
    order = Shuffle(rows, 7)(np.arange(rows))[1]
    assert abs(float(np.corrcoef(order[:-1], order[1:])[0, 1])) < 0.03
    assert abs(float(np.corrcoef(order, np.arange(rows))[0, 1])) < 0.03
    low = int((order[: rows // 2] < rows // 2).sum())
    assert abs(low - rows / 4) < 5 * np.sqrt(rows / 16)
    steps = np.abs(np.diff(order))
    assert (steps == 1).sum() < 15  # 2 are expected


def test_any_place_of_an_endless_corpus_at_once() -> None:
    shuffle = Shuffle(10**12, 3)
    places = np.array([0, 5, 10**11, 10**12 - 1, 10**12, 3 * 10**12 + 17])
    passes, rows = shuffle(places)
    assert passes.tolist() == [0, 0, 0, 0, 1, 3]
    assert len(set(rows.tolist())) == 6
    assert all(0 <= row < 10**12 for row in rows.tolist())
    assert [int(shuffle(place[None])[1][0]) for place in places] == rows.tolist()


@settings(deadline=None, max_examples=60)
@given(shares=st.lists(st.floats(0.001, 1000), min_size=1, max_size=6))
def test_shares_are_exact_over_a_block_and_near_anywhere(shares: list[float]) -> None:
    mixture = Mixture(shares)
    numbers = np.arange(2 * BLOCK + 100)
    source, rank = mixture(numbers)
    wanted = np.array(shares) / sum(shares)
    for block in (0, 1):
        counts = np.bincount(source[block * BLOCK : (block + 1) * BLOCK], minlength=len(shares))
        assert np.abs(counts - BLOCK * wanted).max() <= 1
    for one in range(len(shares)):
        assert rank[source == one].tolist() == list(range(int((source == one).sum())))  # each source from its beginning, none left out
    for first in (10, 137, 1000, BLOCK + 77):
        counts = np.bincount(source[:first], minlength=len(shares))
        assert np.abs(counts - first * wanted).max() <= len(shares)


def test_one_source_comes_in_order() -> None:
    source, rank = Mixture([3.0])(np.array([0, 1, BLOCK, 10 * BLOCK + 5]))
    assert source.tolist() == [0, 0, 0, 0]
    assert rank.tolist() == [0, 1, BLOCK, 10 * BLOCK + 5]


@pytest.mark.parametrize("zero", [0, 1])
def test_a_share_of_nothing_is_nothing(zero: int) -> None:
    shares = [0.0, 1.0] if zero == 0 else [1.0, 0.0]
    assert zero not in Mixture(shares)(np.arange(1000))[0].tolist()
