"""As many items as a time allows, and still an unbiased score.

The order is drawn beforehand, from the seed and the number of items alone; items are asked in lots along it until the time is up. Two things
keep this honest. A lot that was begun is finished and counted: leaving out what is slow would leave out the long questions. And
whether another one begins is decided by the clock's past alone, never by an answer.

    order 71 3 540 12 ...      lots of 8, 16, 32 ... 2048     stop before a lot that would not fit by the rate so far

The more seconds, the longer the stretch of the same order: a second run with a larger budget asks the first one's items and more.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator

FIRST, LARGEST = 8, 2048  # items of a lot: the rate is known soon, and later lots share more (a subject's examples)
WHOLE = 2048  # items of a lot where there is no limit, in the task's own order, in which neighbours share most


def order(items: int, seed: int) -> list[int]:
    """All places, shuffled."""
    places = list(range(items))
    random.Random(f"{seed} {items}").shuffle(places)
    return places


def lots(items: int, seconds: float | None, seed: int, limit: int | None = None, clock: Callable[[], float] = time.monotonic) -> Iterator[list[int]]:
    """Places of the items to ask, lot by lot; ask each lot before taking the next. The first one is asked whatever the time.

    `limit`: so many items at most, the first ones of the drawn order.
    """
    drawn = order(items, seed)[:limit]
    if seconds is None:
        places = sorted(drawn)
        yield from (places[start : start + WHOLE] for start in range(0, len(places), WHOLE))
        return
    places, begun, done, size = drawn, clock(), 0, FIRST
    while done < len(places):
        if done:
            passed = clock() - begun
            fit = int((seconds - passed) / (passed / done)) if passed > 0 else size
            size = min(2 * size, LARGEST, fit)
            if size < 1:
                return
        lot = places[done : done + size]
        done += len(lot)
        yield lot
