"""What is set aside: whole documents drawn by a hash of their id, or the end of each document.

The parts of a document that was cut count as one document here, so that no text is held out whose next page is trained on.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

from groundup.errors import GroundupError
from groundup.recipe import HeldOut
from groundup.run import digest

FEWEST_DOCUMENTS = 20  # below, one document more or less would decide the held-out share
OVERSHOOT = 1.25  # a document that would take the held-out part above this times its share is passed over


class Split:
    """Decides for each document; made from the (bytes, characters) of all, by their `whole`, in document order."""

    def __init__(self, sizes: dict[str, tuple[int, int]], held_out: HeldOut, seed: int) -> None:
        self._sizes, self._fraction = sizes, held_out.fraction
        self.unit: Literal["document", "tail"] = choose(sizes, held_out)
        self._held = _draw(sizes, held_out.fraction, seed) if self.unit == "document" else set()
        self._before: dict[str, int] = {}  # characters of each document that have gone by

    def __call__(self, row: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """The row with its `split`, or as two rows where the border between the splits runs through it."""
        if self.unit == "document":
            yield {**row, "split": "held-out" if row["whole"] in self._held else "train"}
            return
        whole, text = row["whole"], row["text"]
        _, characters = self._sizes[whole]
        start = self._before.get(whole, 0)
        self._before[whole] = start + len(text)
        tail = round(characters * self._fraction)
        place = characters - tail - start
        if 0 < place < len(text):
            place = _border(text, place, tail // 2)
            if not text[:place].strip():
                place = 0
            elif not text[place:].strip():
                place = len(text)
        if place > 0:
            yield {**row, "text": text[:place], "split": "train"}
        if place < len(text):
            held_id = digest(row["id"], "tail") if place > 0 else row["id"]
            yield {**row, "id": held_id, "text": text[max(0, place) :], "split": "held-out"}


def choose(sizes: dict[str, tuple[int, int]], held_out: HeldOut) -> Literal["document", "tail"]:
    """Whole documents, where that is asked for or there are enough and none is most of the corpus; else tails."""
    if held_out.unit != "auto":
        return held_out.unit
    all_bytes = [size for size, _ in sizes.values()]
    return "document" if len(all_bytes) >= FEWEST_DOCUMENTS and max(all_bytes) <= sum(all_bytes) / 2 else "tail"


def _draw(sizes: dict[str, tuple[int, int]], fraction: float, seed: int) -> set[str]:
    """Documents in the order of their hashes until they hold the share of the bytes; never all of them."""
    if len(sizes) < 2:
        raise GroundupError(
            "there is only one document, so none can be held out whole", where="clean.held_out",
            do="Set clean.held_out.unit=tail.",
        )
    target = fraction * sum(size for size, _ in sizes.values())
    held: set[str] = set()
    total = 0
    for whole in sorted(sizes, key=lambda whole: digest(seed, whole)):
        size, _ = sizes[whole]
        if total + size <= OVERSHOOT * target:
            held.add(whole)
            total += size
        if total >= target:
            break
    return held or {min(sizes, key=lambda whole: (sizes[whole][0], whole))}


def _border(text: str, place: int, reach: int) -> int:
    """The end of a line, else of a word, at most `reach` characters before `place`; else the place itself."""
    for mark in ("\n", " "):
        if (found := text.rfind(mark, max(0, place - reach), place)) >= 0:
            return found + 1
    return place
