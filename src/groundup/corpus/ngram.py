"""The n-gram model to beat: interpolated modified Kneser-Ney (Chen & Goodman 1999, section 3), in numpy.

    p_k(w | h) = max(c(hw) - D(c(hw)), 0) / c(h.)  +  gamma(h) p_{k-1}(w | h without its first symbol)
    gamma(h)   = (D1 N1(h.) + D2 N2(h.) + D3 N3+(h.)) / c(h.)                p_0 = 1 / alphabet

At the highest order c counts occurrences; below it counts continuations: c(g) is the number of different symbols seen
before g. Each order has its own discounts, from its counts of counts n1..n4: with Y = n1 / (n1 + 2 n2),
D1 = 1 - 2Y n2/n1, D2 = 2 - 3Y n3/n2, D3+ = 3 - 4Y n4/n3. An unseen history leaves the word to the next lower order.

A k-gram is one integer in base alphabet + 1, first symbol highest; the extra symbol stands for "before the beginning"
and pads the start of each sequence. Dropping the first symbol is `% base**(k-1)`, dropping the last is `// base`, so
counting is sorting and a look-up is a binary search.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

Codes = np.ndarray[Any, np.dtype[np.uint64]]
Counts = np.ndarray[Any, np.dtype[np.int64]]
Floats = np.ndarray[Any, np.dtype[np.float64]]
Places = np.ndarray[Any, np.dtype[np.intp]]
Mask = np.ndarray[Any, np.dtype[np.bool_]]
Symbols = bytes | np.ndarray[Any, Any]

CHUNK = 4_000_000  # symbols counted at once: 32 MB of codes and a few arrays like it
FALLBACK_DISCOUNTS = (0.5, 1.0, 1.5)  # KenLM's `--discount_fallback`, where the counts of counts give none


@dataclass(frozen=True)
class _Order:
    """What one order knows: discounted shares of its k-grams and back-off weights of its histories, sorted by code."""

    grams: Codes
    shares: Floats
    histories: Codes
    gammas: Floats


class KneserNey:
    """A model over the integers 0 .. alphabet - 1.

    >>> model = KneserNey.train([b"abracadabra"], order=3)
    >>> -model.log2_probabilities(b"abra").mean()          # bits a byte
    """

    def __init__(self, orders: Sequence[_Order], alphabet: int) -> None:
        self._orders = tuple(orders)
        self.order, self.alphabet = len(orders), alphabet

    def tensors(self) -> dict[str, np.ndarray[Any, Any]]:
        """All that the model knows, by name."""
        return {f"{length}.{name}": table for length, known in enumerate(self._orders, 1) for name, table in vars(known).items()}

    @classmethod
    def of(cls, tensors: Mapping[str, np.ndarray[Any, Any]], alphabet: int) -> KneserNey:
        """The model that gave these `tensors`."""
        lengths = range(1, 1 + max(int(name.partition(".")[0]) for name in tensors))
        return cls([_Order(*(tensors[f"{length}.{table.name}"] for table in fields(_Order))) for length in lengths], alphabet)

    @classmethod
    def train(cls, sequences: Iterable[Symbols], order: int = 5, alphabet: int = 256) -> KneserNey:
        """Count sequences and estimate. Raises ValueError where a k-gram does not fit 64 bits."""
        base = alphabet + 1
        if base**order >= 2**64:
            raise ValueError(f"{order} symbols of {base} do not fit 64 bits")
        grams, counts = _count(sequences, order, alphabet)
        orders = [_estimate(grams, counts, base)]
        for length in range(order, 1, -1):  # continuations: how many different symbols precede each shorter gram
            grams, counts = _unique(np.sort(grams % np.uint64(base ** (length - 1))))
            orders.append(_estimate(grams, counts, base))
        return cls(orders[::-1], alphabet)

    def log2_probabilities(self, sequence: Symbols) -> Floats:
        """Log-probability of each symbol given all before it (bits, negative), (len(sequence),)."""
        return self.log2_probabilities_of([sequence])

    def log2_probabilities_of(self, sequences: Iterable[Symbols]) -> Floats:
        """The same for many sequences, one after the other: each starts anew."""
        parts = []
        for stretch in _stretches(sequences, self.order, self.alphabet):
            codes, inverse = np.unique(_codes(stretch, self.order, self.alphabet), return_inverse=True)
            parts.append(np.log2(self._probabilities(codes))[inverse])
        return np.concatenate(parts) if parts else np.zeros(0)

    def probabilities(self, context: Symbols) -> Floats:
        """Distribution of the symbol after a context, (alphabet,); it counts as the beginning of its sequence."""
        base, length = self.alphabet + 1, self.order - 1
        seen = _symbols(context, self.alphabet).tolist()
        history = 0
        for symbol in ([self.alphabet] * length + seen)[len(seen) :]:
            history = history * base + symbol
        return self._probabilities(np.uint64(history * base) + np.arange(self.alphabet, dtype=np.uint64))

    def _probabilities(self, codes: Codes) -> Floats:
        """Probability of the last symbol of each full-length gram. Sorted codes are looked up fastest."""
        base = self.alphabet + 1
        p = np.full(codes.shape, 1 / self.alphabet)
        for length, known in enumerate(self._orders, 1):
            grams = codes % np.uint64(base**length)
            place, found = _look_up(known.histories, grams // np.uint64(base))
            p[found] *= known.gammas[place[found]]
            place, found = _look_up(known.grams, grams)
            p[found] += known.shares[place[found]]
        return p


def _look_up(table: Codes, wanted: Codes) -> tuple[Places, Mask]:
    """A place in a sorted table for each wanted code, and whether it is the code's own."""
    place = np.searchsorted(table, wanted)
    found = place < len(table)
    found[found] = table[place[found]] == wanted[found]
    return place, found


def _estimate(grams: Codes, counts: Counts, base: int) -> _Order:
    """Discounted shares and back-off weights from sorted grams of one order and their counts."""
    discounts = np.array([0.0, *_discounts(counts)])
    discount = discounts[np.minimum(counts, 3)]
    histories, grams_of = _unique(grams // np.uint64(base))  # sorted, as the grams are
    firsts = np.cumsum(grams_of) - grams_of
    if not len(grams):
        return _Order(grams, np.zeros(0), histories, np.zeros(0))
    totals = np.add.reduceat(counts, firsts).astype(np.float64)
    gammas = np.add.reduceat(np.minimum(discount, counts), firsts) / totals
    shares = np.maximum(counts - discount, 0.0) / np.repeat(totals, grams_of)
    return _Order(grams, shares, histories, gammas)


def _discounts(counts: Counts) -> tuple[float, float, float]:
    """D1, D2, D3+ of one order; KenLM's fallback where the counts of counts leave them undefined or out of range."""
    n1, n2, n3, n4 = (int((counts == times).sum()) for times in (1, 2, 3, 4))
    if n1 == 0 or n2 == 0 or n3 == 0:
        return FALLBACK_DISCOUNTS
    y = n1 / (n1 + 2 * n2)
    found = (1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3)
    if not all(0 < discount <= times for times, discount in enumerate(found, 1)):
        return FALLBACK_DISCOUNTS
    return found


def _count(sequences: Iterable[Symbols], order: int, alphabet: int) -> tuple[Codes, Counts]:
    """Distinct grams of full length, sorted, and how often each occurs."""
    grams, counts = np.zeros(0, np.uint64), np.zeros(0, np.int64)
    for stretch in _stretches(sequences, order, alphabet):
        more, times = _unique(np.sort(_codes(stretch, order, alphabet)))
        every = np.concatenate([grams, more])
        arrange = np.argsort(every, kind="stable")
        every, occurrences = every[arrange], np.concatenate([counts, times])[arrange]
        grams, runs = _unique(every)
        counts = np.add.reduceat(occurrences, np.cumsum(runs) - runs) if len(runs) else occurrences
    return grams, counts


def _unique(ordered: Codes) -> tuple[Codes, Counts]:
    """Distinct values of a sorted array and the lengths of their runs."""
    firsts = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]])) if len(ordered) else np.zeros(0, np.intp)
    return ordered[firsts], np.diff(np.append(firsts, len(ordered))).astype(np.int64)


def _stretches(sequences: Iterable[Symbols], order: int, alphabet: int) -> Iterator[Counts]:
    """Sequences one after the other, each behind order - 1 padding symbols, in stretches of about CHUNK.

    A stretch begins with the order - 1 symbols that the one before it ended with.
    """
    padding = np.full(order - 1, alphabet, dtype=np.int64)
    held: list[Counts] = []
    size = 0
    for sequence in sequences:
        symbols = _symbols(sequence, alphabet)
        held.append(padding)
        for start in range(0, len(symbols), CHUNK):
            held.append(symbols[start : start + CHUNK].astype(np.int64))
            size += len(held[-1])
            if size >= CHUNK:
                stretch = np.concatenate(held)
                yield stretch
                held, size = [stretch[len(stretch) - (order - 1) :]], 0
    if size:
        yield np.concatenate(held)


def _symbols(sequence: Symbols, alphabet: int) -> np.ndarray[Any, Any]:
    """A sequence as integers. Raises ValueError for one that is not in the alphabet."""
    symbols = np.frombuffer(sequence, np.uint8) if isinstance(sequence, bytes) else np.asarray(sequence)
    if len(symbols) and not (symbols.min() >= 0 and symbols.max() < alphabet):
        raise ValueError(f"a symbol outside 0 to {alphabet - 1}")
    return symbols


def _codes(stretch: Counts, order: int, alphabet: int) -> Codes:
    """The gram of full length that ends at each symbol of a stretch after its first order - 1, padding left out."""
    count = len(stretch) - (order - 1)
    codes = np.zeros(count, np.uint64)
    for place in range(order):
        codes *= np.uint64(alphabet + 1)
        codes += stretch[place : place + count].astype(np.uint64)
    grams: Codes = codes[stretch[order - 1 :] != alphabet]
    return grams
