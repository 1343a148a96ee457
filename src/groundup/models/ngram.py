"""The n-gram model: interpolated modified Kneser-Ney smoothing (Chen & Goodman 1998, section 4.2), in numpy.

    p_k(w | h) = max(c(hw) - D(c(hw)), 0) / c(h)  +  gamma(h) p_{k-1}(w | h')        p_0 = 1 / alphabet

`c` is the plain count at the highest order and, below it, the number of different symbols seen before `hw`. The
discounts follow from the counts of counts n1..n4 of each order: Y = n1 / (n1 + 2 n2), D1 = 1 - 2 Y n2/n1,
D2 = 2 - 3 Y n3/n2, D3+ = 3 - 4 Y n4/n3. h' is h without its oldest symbol. A history never seen leaves all to p_{k-1}.

An n-gram is one integer, its symbols the digits in base (alphabet + 1); the extra digit stands before a sequence's
start. Counting is a sort, looking up a binary search: no loop over text.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Codes = npt.NDArray[np.uint64]
Symbols = npt.NDArray[np.int64]


@dataclass(frozen=True)
class _Order:
    """Tables of one order: n-grams with their discounted counts, histories with their totals."""

    grams: Codes
    discounted: npt.NDArray[np.float64]
    """max(c - D(c), 0) of each n-gram."""
    histories: Codes
    totals: npt.NDArray[np.float64]
    left: npt.NDArray[np.float64]
    """What discounting took from each history: gamma(h) c(h)."""


class KneserNey:
    """A trained model over symbols 0..alphabet-1."""

    def __init__(self, orders: list[_Order], alphabet: int) -> None:
        self._orders, self.alphabet, self.order = orders, alphabet, len(orders)

    @classmethod
    def train(cls, sequences: Iterable[bytes] | Iterable[Symbols], order: int = 5, alphabet: int = 256) -> KneserNey:
        """Count sequences (bytes, or integer arrays); each starts anew. Memory: about 60 bytes a symbol at most."""
        base = alphabet + 1
        if base**order >= 2**64:
            raise ValueError(f"order {order} over {alphabet} symbols does not fit into 64 bits")
        pieces = [_codes(_symbols(sequence), order, base, alphabet) for sequence in sequences]
        codes = np.sort(np.concatenate(pieces)) if pieces else np.empty(0, np.uint64)
        grams, counts = np.unique(codes, return_counts=True)
        orders: list[_Order] = []
        for k in range(order, 0, -1):
            orders.append(_table(grams, counts, base))
            # one lower: drop the oldest symbol; each different n-gram above counts once
            grams, counts = np.unique(grams % np.uint64(base ** (k - 1)), return_counts=True)
        return cls(orders[::-1], alphabet)

    def log2_probabilities(self, sequence: bytes | Symbols) -> npt.NDArray[np.float64]:
        """log2 of each symbol's probability given those before it in the sequence."""
        symbols = _symbols(sequence)
        codes = _codes(symbols, self.order, self.alphabet + 1, self.alphabet)
        return np.log2(self._interpolate(codes))

    def probabilities(self, history: bytes | Symbols) -> npt.NDArray[np.float64]:
        """The distribution over the next symbol after a history from a sequence's start, (alphabet,)."""
        before = _symbols(history)
        ends = [_codes(np.append(before, symbol), self.order, self.alphabet + 1, self.alphabet)[-1] for symbol in range(self.alphabet)]
        return self._interpolate(np.array(ends, np.uint64))

    def _interpolate(self, codes: Codes) -> npt.NDArray[np.float64]:
        base = self.alphabet + 1
        result = np.full(len(codes), 1.0 / self.alphabet)
        for k, tables in enumerate(self._orders, 1):
            grams = codes % np.uint64(base**k)
            place, known = _find(tables.histories, grams // np.uint64(base))
            gram_place, seen = _find(tables.grams, grams)
            share = np.where(seen, tables.discounted[gram_place], 0.0) + tables.left[place] * result
            result = np.where(known, share / tables.totals[place], result)
        return result


def _symbols(sequence: bytes | Symbols) -> Symbols:
    return np.frombuffer(sequence, np.uint8).astype(np.int64) if isinstance(sequence, bytes) else np.asarray(sequence, np.int64)


def _codes(symbols: Symbols, order: int, base: int, start: int) -> Codes:
    """For each place the n-gram that ends there, (length,)."""
    padded = np.concatenate([np.full(order - 1, start, np.int64), symbols]).astype(np.uint64)
    codes = np.zeros(len(symbols), np.uint64)
    for back in range(order - 1, -1, -1):
        at = order - 1 - back
        codes = codes * np.uint64(base) + padded[at : at + len(symbols)]
    return codes


def _table(grams: Codes, counts: npt.NDArray[np.int64], base: int) -> _Order:
    n1, n2, n3, n4 = (int((counts == n).sum()) for n in (1, 2, 3, 4))
    # with too little text for the estimate, the largest discounts that leave nothing negative: D(c) <= c
    y = n1 / (n1 + 2 * n2) if n1 else 0.0
    discounts = np.zeros(4)
    for n, (lower, upper) in enumerate(((n1, n2), (n2, n3), (n3, n4)), 1):
        estimate = n - (n + 1) * y * upper / lower if lower else float(n) / 2
        discounts[n] = min(max(estimate, 0.0), float(n))
    kind = np.minimum(counts, 3)
    discounted = counts - discounts[kind]
    histories, first = np.unique(grams // np.uint64(base), return_index=True)  # grams are sorted, so histories are runs
    totals = np.add.reduceat(counts.astype(np.float64), first) if len(first) else np.empty(0)
    left = np.add.reduceat(discounts[kind], first) if len(first) else np.empty(0)
    return _Order(grams, discounted, histories, totals, left)


def _find(sorted_codes: Codes, codes: Codes) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """Place of each code in a sorted table (clipped into it), and whether it is there."""
    place = np.minimum(np.searchsorted(sorted_codes, codes), len(sorted_codes) - 1)
    return place, sorted_codes[place] == codes
