"""Step `emoji`: emoji as their names, and back.

    I ❤️ it   ->   I :red_heart: it

Names are those of Unicode CLDR, as the package `emoji` has them. They go back to the very characters:

- Forms of one emoji that share a name (❤️ with the variation selector that asks for a picture, and ❤ without) are told apart by
  tildes: `:red_heart:`, `:red_heart~:`. The full form has none.
- A text that already has `:red_heart:` in it gets a backslash there, `:\\red_heart:`, and one more where there are some.

© ® ™ ‼ ⁉ ℹ without a selector are typography, not emoji, and stay.
"""

from __future__ import annotations

import re
from functools import cache
from typing import NamedTuple

import emoji
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from groundup.corpus.steps import Seen, Verdict, judge
from groundup.recipe.cleaning.text import Emoji as Settings

TYPOGRAPHY_BELOW = "\u2190"  # the arrows: single characters before them are emoji only with a selector
FORMS = ("fully_qualified", "component", "minimally_qualified", "unqualified")  # the package's; of forms that share a name the first has it
COLONS = (":", ":")


class Emoji:
    """The step."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    def __call__(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        return judge(batch, "emoji", self._judge)

    def _judge(self, seen: Seen) -> Verdict:
        text, found = _name(seen.text, self.settings.language, self.settings.delimiters)
        return Verdict(text, counts={"emoji": found} if found else None)


def to_names(text: str, language: str = "en", delimiters: tuple[str, str] = COLONS) -> str:
    """The text with names for emoji.

    >>> to_names("👍🏽 or 👎?")
    ':thumbs_up_medium_skin_tone: or :thumbs_down:?'
    """
    return _name(text, language, delimiters)[0]


def to_emoji(text: str, language: str = "en", delimiters: tuple[str, str] = COLONS) -> str:
    """The inverse of `to_names`: to_emoji(to_names(text)) == text for every text.

    >>> to_emoji(":thumbs_up: for :sauropod:")
    '👍 for 🦕'
    """
    names, literal = _names(language).emoji, _named(delimiters)
    pieces, done = [], 0
    found = literal.search(text)
    while found:
        end = found.end()
        if found[2] in names:
            if found[1]:  # one backslash less
                pieces += [text[done : found.start(1)], found[1][1:]]
            else:
                end += len(found[2]) + 1
                pieces += [text[done : found.start()], names[found[2]]]
            done = end
        found = literal.search(text, end)
    return "".join([*pieces, text[done:]])


def _name(text: str, language: str, delimiters: tuple[str, str]) -> tuple[str, int]:
    """The text with names, and how many emoji it had."""
    ends: set[int] = set()  # where the delimiters of our names are
    found = 0
    if places := _places(text):
        names, longest = _names(language).name, _longest()
        pieces, done, length = [], 0, 0
        for place in places:
            if place < done:
                continue
            characters = next((text[place:end] for end in range(place + longest, place, -1) if text[place:end] in names), None)
            if characters is None:
                continue
            name = delimiters[0] + names[characters] + delimiters[1]
            pieces += [text[done:place], name]
            length += place - done + len(name)
            ends |= {length - len(name), length - 1}
            done, found = place + len(characters), found + 1
        text = "".join([*pieces, text[done:]])
    if delimiters[0] in text:
        known = _names(language).emoji
        pieces, done = [], 0
        for literal in _named(delimiters).finditer(text):
            if literal[2] in known and literal.start() not in ends:
                pieces += [text[done : literal.end()], "\\"]
                done = literal.end()
        text = "".join([*pieces, text[done:]])
    return text, found


class _Names(NamedTuple):
    """Both ways."""

    name: dict[str, str]
    emoji: dict[str, str]


@cache
def _names(language: str) -> _Names:
    """The names of a language, without delimiters."""
    emoji.config.load_language(language)
    order = {emoji.STATUS[form]: rank for rank, form in enumerate(FORMS)}
    name: dict[str, str] = {}
    back: dict[str, str] = {}
    for characters, data in sorted(emoji.EMOJI_DATA.items(), key=lambda item: (order[item[1]["status"]], item[0])):
        if len(characters) == 1 and characters < TYPOGRAPHY_BELOW:
            continue
        given = data.get(language, data["en"]).strip(":")
        while given in back:
            given += "~"
        name[characters], back[given] = given, characters
    return _Names(name, back)


KEYCAP = "\u20e3"  # stands behind a digit, # or *, with a selector between them or not


def _places(text: str) -> list[int]:
    """Where an emoji may begin. A look-up for each character: a pattern of 1,400 characters is a hundred times as slow."""
    if text.isascii():
        return []
    found = np.flatnonzero(_begins()[np.frombuffer(text.encode("utf-32-le", "replace"), np.uint32)])
    places: list[int] = found.tolist()
    if KEYCAP in text:
        caps = [place - 2 if text[place - 1] == "\ufe0f" else place - 1 for place in places if place and text[place] == KEYCAP]
        places = sorted({place for place in [*places, *caps] if place >= 0})
    return places


@cache
def _begins() -> npt.NDArray[np.bool_]:
    """Whether an emoji may begin with a code point, or whether it is the end of a keycap."""
    table = np.zeros(0x110000, bool)
    table[[ord(characters[0]) for characters in _names("en").name if not characters[0].isascii()]] = True
    table[ord(KEYCAP)] = True
    return table


@cache
def _longest() -> int:
    """Characters of the longest emoji."""
    return max(map(len, _names("en").name))


@cache
def _named(delimiters: tuple[str, str]) -> re.Pattern[str]:
    """A delimiter, backslashes, and ahead of them what may be a name."""
    opening, closing = map(re.escape, delimiters)
    return re.compile(rf"{opening}(\\*)(?=([^\s\\{opening}{closing}]+){closing})")
