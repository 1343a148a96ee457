"""Words as the published quality rules count them, split at a few million characters a second.

The rules speak of words, and their published thresholds were set with a splitter in the tradition of the Penn Treebank:
punctuation is a word of its own, clitics too ("do n't", "it 's"), URLs and abbreviations stay whole. What a piece of text
between blanks becomes depends on that piece alone, and most pieces were met before, so a table of pieces makes this fast.

A word is one integer: a checksum, what it is made of, and its length. So a text is an array, and n-grams are arithmetic.

    bits 0-23 length in characters    24-27 flags below    28-59 checksum (CRC-32)

Two words of a text may have the same integer, if length and flags are the same, too: one text in ten thousand has such a
pair, and nothing comes of it, since no rule looks at single words but the stop words.

The rules of splitting, as spaCy has them for English (spacy.io/usage/linguistic-features#how-tokenizer-works): from both ends
punctuation is taken off, one mark at a time, until an exception is left or nothing more can go; what is left is a URL, or is
split at the marks within it.
"""

from __future__ import annotations

import re
import sys
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from functools import cache, lru_cache
from itertools import chain
from string import punctuation
from typing import Any
from zlib import crc32

import numpy as np

Codes = np.ndarray[Any, np.dtype[np.uint64]]

LENGTH_BITS, FLAG_BITS = 24, 4
LENGTH = (1 << LENGTH_BITS) - 1
LETTER, SYMBOL, ENDS, MARK = (1 << LENGTH_BITS + place for place in range(FLAG_BITS))
"""Has a letter; has nothing but symbols; ends a sentence; is a mark (a sentence's end, or all punctuation)."""

PIECES = 1 << 17  # in the table: about 40 MB. What a text becomes does not depend on it
PLAIN_ENDS, PLAIN_BEGINNINGS = ",;:!?)”“\"’", "([\"“„‚»«"  # go off every word
LONG_PIECE = 40  # characters; longer ones are rarely met again
CACHED_TEXT = 100_000  # characters
UNSPACED = frozenset("bo dz ja km lo my th zh".split())


def words(text: str) -> Codes:
    """The words of a text, in order. The last texts are remembered: one step after another asks for the same."""
    return _recent(text) if len(text) <= CACHED_TEXT else _words(text)


@lru_cache(maxsize=64)
def _recent(text: str) -> Codes:
    return _words(text)


def _words(text: str) -> Codes:
    return np.frombuffer(b"".join(map(_table().__getitem__, text.split())), dtype=np.uint64)


def spaced(language: str | None) -> bool:
    """Whether a language is written with blanks between its words. Where it is not, nothing here counts words."""
    return language is None or language.partition("-")[0].lower() not in UNSPACED


def count(text: str) -> int:
    """How many words a text has."""
    return len(words(text))


def lengths(codes: Codes) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Characters of each word."""
    return (codes & np.uint64(LENGTH)).astype(np.int64)


def sentences(lines: Iterable[str]) -> int:
    """Sentences in all, no line without one: a sentence begins at the first word after one that ends a sentence."""
    table = _table()
    begin = bytes(8)  # before each line: a word that is neither a mark nor an end
    pieces = chain.from_iterable(chain((begin,), map(table.__getitem__, line.split())) for line in lines)
    codes = np.frombuffer(b"".join(pieces), dtype=np.uint64)
    ends = np.cumsum((codes & np.uint64(ENDS)) != 0)
    places = np.flatnonzero((codes & np.uint64(MARK)) == 0)
    starts = np.diff(ends[places], prepend=0) > 0
    lines_begin = codes[places] == 0
    return int(np.count_nonzero(starts & ~lines_begin) + np.count_nonzero(lines_begin))


def code(word: str) -> int:
    """A word as an integer."""
    flags = LETTER if word.isalpha() else _flags(word) if len(word) > 1 else _flags_of_mark(word)
    return crc32(word.encode("utf-8", "surrogatepass")) << (LENGTH_BITS + FLAG_BITS) | flags | min(len(word), LENGTH)


def _flags(word: str) -> int:
    flags = (LETTER if any(map(str.isalpha, word)) else 0) | (SYMBOL if SYMBOLS.issuperset(word) else 0)
    return flags | (MARK | ENDS if word in SENTENCE_ENDS else MARK if all(unicodedata.category(mark)[0] == "P" for mark in word) else 0)


_flags_of_mark = lru_cache(maxsize=1024)(_flags)


def _pack(words: Iterable[str]) -> bytes:
    return b"".join([code(word).to_bytes(8, sys.byteorder) for word in words])


class _Table(dict[str, bytes]):
    """The words of a piece, packed; found out when first asked for. The plainest shapes have a short way."""

    def __missing__(self, piece: str) -> bytes:
        split = self._split(piece)
        if len(piece) <= LONG_PIECE:
            if len(self) >= PIECES:
                self.clear()
            self[piece] = split
        return split

    def _split(self, piece: str) -> bytes:
        if (whole := _exceptions().get(piece)) is not None:
            return _pack(whole)
        if plain(piece):
            return code(piece).to_bytes(8, sys.byteorder)
        if plain(rest := piece[:-1]) and ((last := piece[-1]) in PLAIN_ENDS or (last == "." and not rest[-1].isupper())):
            return self[rest] + self[last]
        if plain(rest := piece[1:]) and piece[0] in PLAIN_BEGINNINGS:
            return self[piece[0]] + self[rest]
        if "-" in piece and all(map(str.isalpha, piece.split("-"))):
            return _pack(piece.replace("-", " - ").split(" "))
        return _pack(split_piece(piece))


def plain(piece: str) -> bool:
    """Whether there is nothing in a piece to split, but by exception."""
    return piece.isalpha() or (piece.isdecimal() and piece.isascii())


@cache
def _table() -> _Table:
    return _Table()


# --- splitting one piece ------------------------------------------------------------------------------------------------


def split_piece(piece: str) -> list[str]:
    """The words of a piece of text that has no blanks."""
    patterns, exceptions = _patterns(), _exceptions()
    start, end = 0, len(piece)
    after: list[str] = []
    found: list[str] = []
    while start < end:
        if (whole := _exception(piece, start, end, exceptions)) is not None:
            break
        taken = patterns.first(piece, start, end)
        if taken and (whole := _exception(piece, start + taken, end, exceptions)) is not None:
            found.append(piece[start : start + taken])
            start += taken
            break
        off = patterns.last(piece, start + taken, end)
        if off and (whole := _exception(piece, start, end - off, exceptions)) is not None:
            after.append(piece[end - off : end])
            end -= off
            break
        if taken:
            found.append(piece[start : start + taken])
            start += taken
        if off:
            after.append(piece[end - off : end])
            end -= off
        if not taken and not off:
            break
    else:
        whole = ()
    rest = piece[start:end]
    if whole is not None:
        found += whole
    elif patterns.url(rest):
        found.append(rest)
    else:
        found += patterns.within(rest)
    found += after[::-1]
    for place in range(len(found) - 2, -1, -1):  # "z.B." falls apart to the first letter's dot: an exception after all
        if exceptions.get(pair := found[place] + found[place + 1]) == (pair,):
            found[place : place + 2] = [pair]
    return found


def _exception(piece: str, start: int, end: int, exceptions: dict[str, tuple[str, ...]]) -> tuple[str, ...] | None:
    return exceptions.get(piece[start:end]) if start < end <= start + LONGEST_EXCEPTION else None


def _ranges(text: str) -> str:
    """`21 2e a-c` as the characters with these numbers."""
    spans = (span.partition("-") for span in text.split())
    return "".join(chr(number) for low, _, high in spans for number in range(int(low, 16), int(high or low, 16) + 1))


# Unicode's property Sentence_Terminal (PropList.txt) without a few that only separate.
SENTENCE_ENDS = frozenset(_ranges(
    "21 2e 3f 589 61d-61f 6d4 700-702 7f9 837 839 83d-83e 964-965 104a-104b 1362 1367-1368 166e 1735-1736 17d4-17d6 17d9-17da 1803 1809 "
    "1944-1945 1aa8-1aab 1b5a-1b5b 1b5e-1b5f 1b7d-1b7e 1c3b-1c3c 1c7e-1c7f 203c-203d 2047-2049 2e2e 2e3c 2e53-2e54 3002 a4ff a60e-a60f "
    "a6f3 a6f7 a876-a877 a8ce-a8cf a92f a9c8-a9c9 aa5d-aa5f aaf0-aaf1 abeb fe52 fe56-fe57 ff01 ff0e ff1f ff61 10a56-10a57 10f55-10f59 "
    "10f86-10f89 11047-11048 110be-110c1 11141-11143 111c5-111c6 111cd 111de-111df 11238-11239 1123b-1123c 112a9 1144b-1144c 115c2-115c3 "
    "115c9-115d7 11641-11642 1173c-1173e 11944 11946 11a42-11a43 11a9b-11a9c 11c41-11c42 11ef7-11ef8 11f43-11f44 16a6e-16a6f 16af5 "
    "16b37-16b38 16b44 16e98 1bc9f 1da88"
))  # fmt: skip
# What CCNet takes for punctuation (cc_net/text_normalizer.py), which datatrove's rules count as no word; 1 among it by mistake.
SYMBOLS = SENTENCE_ENDS | frozenset(punctuation + "«»´–—’“”„…∶━►、。〈〉《》「」【】！％（），．１：；？～" + _ranges("0-8 b-1f 7f-9f"))

QUOTES = "'\"”“`‘´’‚,„»«「」『』（）〔〕【】《》〈〉⟦⟧"
PUNCTUATION = "…,:;!?¿؟¡()[]{}<>_#*&。？！，、；：～·।،۔؛٪"
CURRENCY = "$£€¥฿₽﷼₴₠₡₢₣₤₥₦₧₨₩₪₫₭₮₯₰₱₲₳₵₶₷₸₹₺₻₼₾₿"
DOLLARS = r"(?:US|C|A)\$"
DOLLAR_SIGNS = ("US$", "C$", "A$")
HAS_DIGIT = re.compile("[0-9]").search  # without one before them letters are no unit
UNITS = (
    "km² km³ km/h km/ч km m/s m² m³ m dm² dm³ dm cm² cm³ cm mm² mm³ mm ha µm nm yd in ft kg kmh g mg µg mph mb mbar t lb oz hPa Pa MB kb "
    "KB gb GB tb TB T G M K % км² км³ км/ч км м/с м² м³ м дм² дм³ дм см² см³ см мм² мм³ мм нм кг г мг кПа Па мбар Кб КБ кб Мб МБ мб "
    "Гб ГБ гб Тб ТБ тб"
)
SYMBOLS_END = 0x1FBFF  # the last block that has symbols
LAST_MARKS = frozenset(PUNCTUATION + QUOTES + "—–")
FIRST_MARKS = LAST_MARKS | frozenset("§%=" + CURRENCY)
TAIL = 16  # characters that hold every suffix but a row of dots


class _Patterns:
    """The marks that are split off, as regular expressions; the classes of letters are taken from Unicode."""

    def __init__(self) -> None:
        upper, lower = _letters(lambda letter: not letter.islower()), _letters(lambda letter: not letter.isupper())
        symbols = _class(lambda character: unicodedata.category(character) == "So", SYMBOLS_END)
        quotes, marks = re.escape(QUOTES), re.escape(PUNCTUATION)
        letter = r"[^\W\d_]"
        single = f"[{marks}{quotes}{symbols}—–]"
        units = "|".join(map(re.escape, UNITS.split()))
        self._first = re.compile(rf"[§%={re.escape(CURRENCY)}]|\+(?![0-9])|\.\.+|{DOLLARS}|{single}").match
        self._last = re.compile(
            rf"(?:{single}|['’][sS]|(?<=[0-9])(?:\+|{DOLLARS}|[{re.escape(CURRENCY)}]|{units})|(?<=°[FfCcKk])\."
            rf"|(?<=[0-9{lower}%²+|{marks}{quotes}-])\.|(?<=[{upper}][{upper}])\.)\Z"
        ).search
        # The mark comes before what must stand before it, although it is read backwards so: at most places no mark begins, and
        # that is seen at once.
        split = [r"[+*^-](?<=[0-9].)(?=[0-9-])", rf"\.(?<=[{lower}{quotes}].)(?=[{upper}{quotes}])", rf",(?<={letter}.)(?={letter})"]
        split += [rf"{hyphen}(?<=[^\W_]{hyphen})(?={letter})" for hyphen in ("-", "--", "---", "–", "—", "——", "~")]
        self._within = re.compile("|".join([r"\.\.+", f"[…{symbols}]", *split, rf"[:<>=/](?<=[^\W_].)(?={letter})"])).finditer
        name = "[A-Za-z0-9\u00a1-\uffff]"
        number = "(?:25[0-5]|2[0-4][0-9]|1?[0-9]?[0-9])"
        self._url = re.compile(
            rf"(?:[\w+.-]{{2,}}://)?(?:\S+@)?(?:{number}(?:\.{number}){{3}}|(?:{name}(?:[A-Za-z0-9\u00a1-\uffff_-]{{0,62}}{name})?\.)+[{lower}]{{2,63}})"
            r"(?::[0-9]{2,5})?(?:[/?#]\S*)?"
        ).fullmatch

    def first(self, piece: str, start: int, end: int) -> int:
        """Characters to take off before."""
        if piece[start] in FIRST_MARKS:
            return 1
        if piece[start].isalnum() and not piece.startswith(DOLLAR_SIGNS, start, end):
            return 0
        return match.end() - start if (match := self._first(piece, start, end)) else 0

    def last(self, piece: str, start: int, end: int) -> int:
        """Characters to take off behind: the longest that can go."""
        if piece.endswith("..", start, end):
            return end - start - len(piece[start:end].rstrip("."))
        if start < end and piece[end - 1] in LAST_MARKS:
            return 1
        if start < end and piece[end - 1].isalpha() and not (end - start > 1 and (piece[end - 2] in "'’" or HAS_DIGIT(piece, start, end))):
            return 0
        tail = piece[max(start, end - TAIL) : end]  # a search through all that is left would be quadratic
        return len(tail) - match.start() if (match := self._last(tail)) else 0

    def url(self, rest: str) -> bool:
        """Whether this is an address."""
        return "." in rest and self._url(rest) is not None

    def within(self, rest: str) -> Iterator[str]:
        """The parts between the marks within, and the marks."""
        if rest.isalpha():
            yield rest
            return
        start = 0
        for match in self._within(rest):
            if match.start() == 0:
                continue
            if start < match.start():
                yield rest[start : match.start()]
            yield match[0]
            start = match.end()
        yield rest[start:]


@cache
def _patterns() -> _Patterns:
    return _Patterns()


def _class(holds: Callable[[str], bool], last: int) -> str:
    """The characters for which this holds, as the inside of a regular expression's class."""
    spans: list[list[int]] = []
    for number in chain(range(0x80, min(last, 0xFFFF) + 1), range(0x1D000, last + 1)):  # between are old scripts
        if holds(chr(number)):
            if spans and spans[-1][1] == number - 1:
                spans[-1][1] = number
            else:
                spans.append([number, number])
    return "".join(chr(low) if low == high else f"{chr(low)}-{chr(high)}" for low, high in spans)


def _letters(holds: Callable[[str], bool]) -> str:
    plain = "a-z" if holds("a") else "A-Z"
    return plain + _class(lambda letter: letter.isalpha() and holds(letter), 0xFFFF)


# --- exceptions ---------------------------------------------------------------------------------------------------------

LONGEST_EXCEPTION = 12
ABBREVIATIONS = (
    "Adm. Ak. Ala. Apr. Ariz. Ark. Aug. Bros. Calif. Co. Colo. Conn. Corp. D.C. Dec. Del. Dr. E.G. E.g. Feb. Fla. Ga. Gen. Gov. I.E. I.e. Ia. "
    "Id. Ill. Inc. Ind. Jan. Jr. Jul. Jun. Kan. Kans. Ky. La. Ltd. Mar. Mass. Md. Messrs. Mich. Minn. Miss. Mo. Mont. Mr. Mrs. Ms. Mt. N.C. "
    "N.D. N.H. N.J. N.M. N.Y. Neb. Nebr. Nev. Nov. Oct. Okla. Ore. Pa. Ph.D. Prof. Rep. Rev. S.C. Sen. Sep. Sept. St. Tenn. Va. Wash. Wis. "
    "a.m. co. e.g. i.e. p.m. v.s. vs. and/or w/o C++ o'clock O'clock ma'am Ma'am ol' 'em 'cause 'Cause 'bout 'd 's 'S 're 'll ''"
)


@cache
def _exceptions() -> dict[str, tuple[str, ...]]:
    """Pieces that the rules would split wrongly: contractions, with and without their apostrophe, and what is never split."""
    found: dict[str, tuple[str, ...]] = {whole: (whole,) for whole in ABBREVIATIONS.split()}
    found |= {f"{letter}.": (f"{letter}.",) for letter in "abcdefghijklmnopqrstuvwxyzäöü"}
    found |= {face: (face,) for face in _faces()}

    def contract(stems: str, *endings: str) -> None:
        for stem in stems.split():
            for begin in (stem, stem.title()):
                for ending in endings:
                    parts = ending.split()
                    for apostrophe in ("'", "’", ""):
                        after = [part.replace("'", apostrophe) for part in parts]
                        found[begin + "".join(after)] = (begin, *after)

    contract("i", "'m", "'m a")
    contract("i you he she it we they", "'ll", "'ll 've", "'d", "'d 've")
    contract("i you we they could might must should would not", "'ve")
    contract("you we they", "'re")
    contract("he she it who what when where why how there that this", "'s")
    contract("who what when where why how there that this these those", "'ll", "'ll 've", "'d", "'d 've")
    contract("who what when where why how there these those", "'re", "'ve")
    contract("ca could do does did had may might must need ought sha should wo would", "n't", "n't 've")
    contract("ai are is was were have has dare", "n't")
    for hour in range(1, 13):
        found |= {f"{hour}{half}": (f"{hour}", half) for half in ("am", "pm", "a.m.", "p.m.")}
    for whole, parts in {"cannot": "can not", "gonna": "gon na", "gotta": "got ta", "let's": "let 's", "c'mon": "c'm on"}.items():
        found[whole] = tuple(parts.split())
        found[whole.capitalize()] = (parts.split()[0].capitalize(), parts.split()[1])
    found |= {"y'all": ("y'", "all"), "yall": ("y", "all")}
    for word in "ill its hell shell shed were well whore".split():  # words of their own without the apostrophe
        found.pop(word, None)
        found.pop(word.title(), None)
    return found


def _faces() -> Iterator[str]:
    """Emoticons that stay whole."""
    for eyes, mouths in {":": ") )) ))) ( (( ((( ] [ } { / | ) P p O o 0 * 3 > X x D", "=": ") ( ] [ / | D 3", ";": ") D", "8": ") D"}.items():
        for mouth in mouths.split():
            yield eyes + mouth
            yield f"{eyes}-{mouth}"
    yield from "(: (; (= (8 (-: (-; (-8 ): )-: [: [= [-: ]= :'( :'-( :') <3 <33 </3 ^_^ -_- o_o O_O o_O O_o xD XD :o) :1".split()
