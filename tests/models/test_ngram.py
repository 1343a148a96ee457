"""Kneser-Ney against a plain implementation, and against what must hold of any distribution."""

import math
import random
from collections import Counter

import numpy as np
import pytest

from groundup.models.ngram import KneserNey


def reference(sequences: list[list[int]], order: int, alphabet: int, history: list[int], symbol: int) -> float:
    """The formula, word for word, with dictionaries."""
    counts: list[Counter[tuple[int, ...]]] = [Counter() for _ in range(order + 1)]
    for sequence in sequences:
        padded = [alphabet] * (order - 1) + sequence
        for end in range(order, len(padded) + 1):
            counts[order][tuple(padded[end - order : end])] += 1
    for k in range(order - 1, 0, -1):
        for gram in counts[k + 1]:
            counts[k][gram[1:]] += 1

    def probability(k: int, gram: tuple[int, ...]) -> float:
        if k == 0:
            return 1 / alphabet
        n = [sum(1 for c in counts[k].values() if c == i) for i in range(5)]
        y = n[1] / (n[1] + 2 * n[2]) if n[1] else 0.0
        discount = {i: min(max(i - (i + 1) * y * n[i + 1] / n[i] if n[i] else i / 2, 0.0), i) for i in (1, 2, 3)}
        follows = {g: c for g, c in counts[k].items() if g[:-1] == gram[:-1]}
        lower = probability(k - 1, gram[1:])
        if not follows:
            return lower
        total = sum(follows.values())
        gamma = sum(discount[min(c, 3)] for c in follows.values()) / total
        own = counts[k].get(gram, 0)
        return (own - discount[min(own, 3)] if own else 0.0) / total + gamma * lower

    return probability(order, tuple(([alphabet] * (order - 1) + history)[len(history) :] + [symbol]))


@pytest.fixture
def sequences() -> list[list[int]]:
    source = random.Random(0)
    return [[min(source.randrange(6), source.randrange(6)) for _ in range(length)] for length in (80, 30, 1)]


@pytest.mark.parametrize("order", [1, 2, 4])
def test_it_equals_the_plain_formula(sequences: list[list[int]], order: int) -> None:
    model = KneserNey.train([np.array(s) for s in sequences], order=order, alphabet=6)
    test = [0, 0, 1, 5, 5, 5, 3, 0, 2, 4, 4, 1]
    expected = [math.log2(reference(sequences, order, 6, test[:at], test[at])) for at in range(len(test))]
    np.testing.assert_allclose(model.log2_probabilities(np.array(test)), expected, rtol=1e-9)


@pytest.mark.parametrize("history", [b"", b"a", b"abr", b"\xff\xfe\x00zq", b"abracadab"])
def test_probabilities_sum_to_one_after_any_history(history: bytes) -> None:
    model = KneserNey.train([b"abracadabra, said the magician; abracadabra"], order=5)
    probabilities = model.probabilities(history)
    assert probabilities.sum() == pytest.approx(1.0)
    assert (probabilities > 0).all()


def test_seen_text_is_likelier_than_unseen_and_both_are_finite() -> None:
    model = KneserNey.train([b"the cat sat on the mat. " * 20], order=5)
    assert model.log2_probabilities(b"the cat sat").mean() > model.log2_probabilities(b"dog\x00ate").mean()
    assert np.isfinite(model.log2_probabilities(bytes(range(256)))).all()
