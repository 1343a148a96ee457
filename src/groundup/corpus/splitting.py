"""One piece of text between blanks as words: the rules of the Penn Treebank's tradition.

As spaCy has them for English (spacy.io/usage/linguistic-features#how-tokenizer-works): from both ends punctuation is
taken off, one mark at a time, until an exception is left or nothing more can go; what is left is a URL, or is split at the
marks within it. No piece takes time quadratic in its length.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator
from functools import cache
from itertools import chain


def split_piece(piece: str) -> list[str]:
    """The words of a piece of text that has no blanks."""
    rules, known = patterns(), exceptions()
    start, end = 0, len(piece)
    after: list[str] = []
    found: list[str] = []
    while start < end:
        if (whole := _exception(piece, start, end, known)) is not None:
            break
        taken = rules.first(piece, start, end)
        if taken and (whole := _exception(piece, start + taken, end, known)) is not None:
            found.append(piece[start : start + taken])
            start += taken
            break
        off = rules.last(piece, start + taken, end)
        if off and (whole := _exception(piece, start, end - off, known)) is not None:
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
    elif rules.url(rest):
        found.append(rest)
    else:
        found += rules.within(rest)
    found += after[::-1]
    for place in range(len(found) - 2, -1, -1):  # "z.B." falls apart to the first letter's dot: an exception after all
        if known.get(pair := found[place] + found[place + 1]) == (pair,):
            found[place : place + 2] = [pair]
    return found


def _exception(piece: str, start: int, end: int, known: dict[str, tuple[str, ...]]) -> tuple[str, ...] | None:
    return known.get(piece[start:end]) if start < end <= start + LONGEST_EXCEPTION else None


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
def patterns() -> _Patterns:
    """The marks; made once a process, in some hundredths of a second."""
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


LONGEST_EXCEPTION = 12
ABBREVIATIONS = (
    "Adm. Ak. Ala. Apr. Ariz. Ark. Aug. Bros. Calif. Co. Colo. Conn. Corp. D.C. Dec. Del. Dr. E.G. E.g. Feb. Fla. Ga. Gen. Gov. I.E. I.e. Ia. "
    "Id. Ill. Inc. Ind. Jan. Jr. Jul. Jun. Kan. Kans. Ky. La. Ltd. Mar. Mass. Md. Messrs. Mich. Minn. Miss. Mo. Mont. Mr. Mrs. Ms. Mt. N.C. "
    "N.D. N.H. N.J. N.M. N.Y. Neb. Nebr. Nev. Nov. Oct. Okla. Ore. Pa. Ph.D. Prof. Rep. Rev. S.C. Sen. Sep. Sept. St. Tenn. Va. Wash. Wis. "
    "a.m. co. e.g. i.e. p.m. v.s. vs. and/or w/o C++ o'clock O'clock ma'am Ma'am ol' 'em 'cause 'Cause 'bout 'd 's 'S 're 'll ''"
)


@cache
def exceptions() -> dict[str, tuple[str, ...]]:
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
