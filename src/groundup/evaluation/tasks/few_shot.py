"""Solved examples before the question, the very ones that lm-eval 0.4.13 draws.

There each task has one random generator, seeded with 1234 by default, which goes on from item to item. For each item in the order of
the file it samples k of the examples; where the task has no test split it samples k + 1 and leaves out the item itself if it is among
them (tasks that ask their validation split: HellaSwag, PIQA, WinoGrande, BoolQ, COPA, BLiMP). So an item's examples depend on its
place among all items: they are drawn for all of them, also where only some are then asked.

    examples of item 1: sample(train, k)     examples of item 2: the next sample(train, k)     ...
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from groundup.errors import RequestError
from groundup.evaluation.tasks.rows import Row

SEED = 1234
BETWEEN = "\n\n"
"""After each example."""


class Shots:
    """The examples of one task. Call `before` for every item in its order, once each.

    `solved`: an example with its answer; `spare`: whether one more is drawn and the item itself left out.
    """

    def __init__(self, pool: Sequence[Row], solved: Callable[[Row], str], count: int, *, spare: bool) -> None:
        drawn = count + spare if count else 0
        if drawn > len(pool):
            where = str(pool[0].file) if pool else ""
            raise RequestError(
                f"{count} examples{' beside the item itself' if spare else ''} cannot be drawn from {len(pool)}", where=where, do="Ask for fewer shots."
            )
        self._pool, self._solved, self._count, self._drawn, self._spare = pool, solved, count, drawn, spare
        self._random = random.Random(SEED)
        self._texts: dict[int, str] = {}

    def before(self, row: Row) -> str:
        """The examples of the next item, which is `row`; empty where none are asked for."""
        if not self._count:
            return ""
        places = self._random.sample(range(len(self._pool)), self._drawn)
        if self._spare:
            places = [place for place in places if self._pool[place].values != row.values][: self._count]
        if len(places) < self._count:
            raise row.wrong("it stands among the examples more than once", "Take the copies out.")
        return "".join(map(self._text, places))

    def _text(self, place: int) -> str:
        if place not in self._texts:
            self._texts[place] = self._solved(self._pool[place]) + BETWEEN
        return self._texts[place]
