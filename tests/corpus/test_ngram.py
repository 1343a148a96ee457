"""Kneser-Ney: distributions, equality with a plain reference, padding, degenerate counts."""

from __future__ import annotations

import math
import random
from collections import Counter, defaultdict

import numpy as np
import pytest

from groundup.corpus import ngram
from groundup.corpus.ngram import KneserNey


class Reference:
    """The same model from the book, with dictionaries and one probability at a time."""

    def __init__(self, sequences: list[bytes], order: int, alphabet: int) -> None:
        self.order, self.alphabet = order, alphabet
        counts = {order: Counter()}
        for sequence in sequences:
            padded = (alphabet,) * (order - 1) + tuple(sequence)
            counts[order].update(padded[i - order + 1 : i + 1] for i in range(order - 1, len(padded)))
        for k in range(order - 1, 0, -1):
            before = defaultdict(set)
            for gram in counts[k + 1]:
                before[gram[1:]].add(gram[0])
            counts[k] = Counter({gram: len(symbols) for gram, symbols in before.items()})
        self.counts = counts
        self.after = {k: defaultdict(list) for k in counts}
        for k, table in counts.items():
            for gram, count in table.items():
                self.after[k][gram[:-1]].append(count)

    def discounts(self, k: int) -> tuple[float, float, float]:
        n = Counter(self.counts[k].values())
        if not (n[1] and n[2] and n[3]):
            return (0.5, 1.0, 1.5)
        y = n[1] / (n[1] + 2 * n[2])
        found = (1 - 2 * y * n[2] / n[1], 2 - 3 * y * n[3] / n[2], 3 - 4 * y * n[4] / n[3])
        return found if 0 < found[0] <= 1 and 0 < found[1] <= 2 and 0 < found[2] <= 3 else (0.5, 1.0, 1.5)

    def p(self, history: tuple[int, ...], symbol: int) -> float:
        k = len(history) + 1
        lower = self.p(history[1:], symbol) if history else 1 / self.alphabet
        seen = self.after[k].get(history)
        if not seen:
            return lower
        d = (0.0, *self.discounts(k))
        count = self.counts[k].get((*history, symbol), 0)
        gamma = sum(min(d[min(c, 3)], c) for c in seen)
        return (max(count - d[min(count, 3)], 0) + gamma * lower) / sum(seen)

    def log2(self, sequence: bytes) -> list[float]:
        padded = (self.alphabet,) * (self.order - 1) + tuple(sequence)
        return [
            math.log2(self.p(padded[i - self.order + 1 : i], padded[i])) for i in range(self.order - 1, len(padded))
        ]


def text(seed: int, length: int, alphabet: int) -> bytes:
    """Symbols with some order in them: each depends on the one before."""
    draw = random.Random(seed)
    made = [0]
    while len(made) < length:
        made.append((made[-1] * 3 + min(draw.randrange(alphabet), draw.randrange(alphabet))) % alphabet)
    return bytes(made)


@pytest.mark.parametrize(("order", "alphabet", "length"), [(1, 9, 500), (2, 9, 500), (3, 9, 3000), (5, 6, 3000), (4, 200, 4000)])
def test_equals_the_plain_reference(order, alphabet, length) -> None:
    train = [text(1, length, alphabet), text(2, 40, alphabet), b"", text(3, 7, alphabet)]
    test = text(4, 300, alphabet)
    expected = Reference(train, order, alphabet).log2(test)
    found = KneserNey.train(train, order=order, alphabet=alphabet).log2_probabilities(test)
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_counting_in_stretches_changes_nothing(monkeypatch) -> None:
    train, test = [text(1, 2000, 9), b"", text(2, 50, 9), text(3, 333, 9)], [text(4, 500, 9), text(5, 1, 9)]
    whole = KneserNey.train(train, order=4, alphabet=9).log2_probabilities_of(test)
    monkeypatch.setattr(ngram, "CHUNK", 64)
    np.testing.assert_array_equal(KneserNey.train(train, order=4, alphabet=9).log2_probabilities_of(test), whole)


@pytest.mark.parametrize("train", [[], [b""], [b"a"], [b"ab"], [b"aaaa"], [b"abracadabra", b"simsalabim"], [bytes(range(256)) * 3]])
@pytest.mark.parametrize("context", [b"", b"a", b"br", b"abra", b"zzzz", b"abracad", b"\x00\xff"])
def test_sums_to_one_after_every_history(train, context) -> None:
    p = KneserNey.train(train, order=5).probabilities(context)
    assert p.shape == (256,)
    assert p.sum() == pytest.approx(1, abs=1e-12)
    if train not in ([], [b""]):
        assert (p > 0).all()


def test_one_symbol_at_a_time_or_all_at_once() -> None:
    model = KneserNey.train([text(1, 2000, 50)], order=4, alphabet=50)
    sequence = text(2, 60, 50)
    single = [model.probabilities(sequence[:place])[symbol] for place, symbol in enumerate(sequence)]
    np.testing.assert_allclose(2 ** model.log2_probabilities(sequence), single, rtol=1e-12)


def test_a_sequence_starts_anew() -> None:
    model = KneserNey.train([b"xab", b"xac", b"xad", b"bbb"], order=3)
    assert model.probabilities(b"")[ord("x")] > 0.5
    both = model.log2_probabilities_of([b"xa", b"", b"xb"])
    np.testing.assert_array_equal(both, [*model.log2_probabilities(b"xa"), *model.log2_probabilities(b"xb")])


def test_learns_what_repeats_and_prefers_many_contexts() -> None:
    line = b"the quick brown fox jumps over the lazy dog. "
    assert -KneserNey.train([line * 50]).log2_probabilities(line).mean() < 0.2
    # Kneser-Ney's own point: "Francisco" is frequent but only after "San", so in a new context it is unlikely
    model = KneserNey.train([b"SF" * 50 + b"aGbGcGdGeG"], order=2)
    assert model.probabilities(b"z")[ord("G")] > model.probabilities(b"z")[ord("F")]


def test_integers_beyond_bytes_and_wrong_symbols() -> None:
    model = KneserNey.train([np.array([300, 5, 300, 5, 300])], order=2, alphabet=301)
    assert model.probabilities(np.array([300])).argmax() == 5
    with pytest.raises(ValueError, match="outside"):
        KneserNey.train([np.array([301])], order=2, alphabet=301)
    with pytest.raises(ValueError, match="64 bits"):
        KneserNey.train([b"a"], order=9)
