"""How sure a score is, and whether two differ.

    normal      mean +- 1.96 standard errors: any metric, many items
    wilson      for shares of right answers, also few of them or nearly all (Wilson 1927)
    paired      two models on the same items: resample the items, look at the difference of the means (bootstrap, percentile interval)

Two models that answer the same questions agree on most, so the difference is surer than both scores are: intervals that overlap say nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from groundup.errors import RequestError

Interval = tuple[float, float]
BLOCK = 1 << 22  # drawn items held at once


def normal(value: float, standard_error: float, confidence: float = 0.95) -> Interval:
    """The interval around a mean."""
    reach = _quantile(confidence) * standard_error
    return value - reach, value + reach


def wilson(right: int, n: int, confidence: float = 0.95) -> Interval:
    """The interval of a share of right answers."""
    if not 0 <= right <= n or n == 0:
        raise ValueError(f"{right} right of {n}")
    z = _quantile(confidence)
    share, spread = right / n, z * z / n
    middle = (share + spread / 2) / (1 + spread)
    reach = z * math.sqrt(share * (1 - share) / n + spread / (4 * n)) / (1 + spread)
    return 0.0 if right == 0 else middle - reach, 1.0 if right == n else middle + reach


@dataclass(frozen=True)
class Difference:
    """Of two models on the same items, the first minus the second."""

    value: float
    interval: Interval
    """95 %."""
    p_value: float
    """Two-sided: how often resampling puts the difference on the other side of 0, twice (at most 1)."""
    n: int

    @property
    def certain(self) -> bool:
        """Whether the interval leaves out 0."""
        return self.interval[0] > 0 or self.interval[1] < 0


def paired(first: Sequence[float], second: Sequence[float], draws: int = 10_000, seed: int = 1234, confidence: float = 0.95) -> Difference:
    """The difference of two models' means over the same items, which stand at the same places."""
    if len(first) != len(second) or not first:
        raise RequestError(
            f"{len(first)} and {len(second)} results cannot be compared item by item", where="paired bootstrap", do="Evaluate both models on the same items."
        )
    apart = np.asarray(first, dtype=np.float64) - np.asarray(second, dtype=np.float64)
    means = resampled_means(apart, draws, seed)
    tail = (1 - confidence) / 2
    low, high = np.quantile(means, [tail, 1 - tail]).tolist()
    # + 1: the data themselves are one of the samples, so p is never 0 (Davison and Hinkley 1997, section 4.2)
    beyond = min(int((means <= 0).sum()), int((means >= 0).sum()))
    return Difference(float(apart.mean()), (low, high), min(1.0, 2 * (beyond + 1) / (draws + 1)), len(apart))


def resampled_means(values: NDArray[np.float64], draws: int, seed: int) -> NDArray[np.float64]:
    """Means of `draws` samples of the values, each as many, with replacement."""
    random = np.random.default_rng(seed)
    rows = max(1, BLOCK // len(values))
    blocks = [values[random.integers(0, len(values), (min(rows, draws - start), len(values)))].mean(axis=1) for start in range(0, draws, rows)]
    return np.concatenate(blocks)


def _quantile(confidence: float) -> float:
    return NormalDist().inv_cdf((1 + confidence) / 2)
