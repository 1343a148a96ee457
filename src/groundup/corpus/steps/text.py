"""Steps on plain text: one way to write the same characters, and a least length.

Most texts need nothing, so each change stands behind a test that costs a hundredth of it. In ASCII that is one search; beyond,
one look-up a character says what kinds of characters there are, and whether two stand together as in mojibake.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from functools import cache

import ftfy
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from groundup.corpus.steps import Seen, Verdict, judge
from groundup.recipe.cleaning import text as sections

OTHER_LINE_ENDS = re.compile("\r\n|[\r\x0b\x0c\x85\u2028\u2029]")
SPACES = re.compile("[\u00a0\u1680\u2000-\u200a\u202f\u205f\u3000]")
TERMINAL = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|.\x08")  # colours, and the overstruck bold of man pages
# Control characters but tab and line feed; soft hyphen, zero-width space, byte order mark, noncharacters. The joiners
# U+200C and U+200D stay: they change what is read in Persian, Hindi and emoji.
INVISIBLE = re.compile("[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\xad\u200b\u2060\ufeff\ufdd0-\ufdef\ufffe\uffff]")
RARE_ASCII = re.compile("[\x00-\x08\x0b-\x1f\x7f]")
BLANK_LINES = re.compile(r"\n{3,}")
BLANK_ENDS = re.compile(r"(?<![ \t])[ \t]+(?=\n|\Z)")

LIGATURES = {0xFB00: "ff", 0xFB01: "fi", 0xFB02: "fl", 0xFB03: "ffi", 0xFB04: "ffl", 0xFB05: "st", 0xFB06: "st"}
WIDE = {code: chr(code - 0xFEE0) for code in range(0xFF01, 0xFF5F) if chr(code - 0xFEE0).isalnum()}
COMPATIBILITY = LIGATURES | WIDE
TYPESET = re.compile(f"[{''.join(map(chr, COMPATIBILITY))}]")
CURLY = re.compile("[\u2018-\u201f]")
STRAIGHT = dict.fromkeys(range(0x2018, 0x201C), "'") | dict.fromkeys(range(0x201C, 0x2020), '"')

# Mojibake is UTF-8 read as one byte a character: each letter becomes a pair that begins with one of few characters. Pairs of
# these bytes, read in one of these sets, make a line worth ftfy's time; it is ftfy that decides.
PAIRS = (
    (bytes([0xC2, 0xC3, 0xC4, 0xC5, 0xCE, 0xCF, 0xD0, 0xD1, 0xD7, 0xD8, 0xD9]), bytes(range(0x80, 0xC0))),  # European, Arabic, Hebrew
    (bytes([0xE2]), bytes([0x80, 0x82, 0x84, 0x86, 0x88, *range(0x94, 0x9E)])),  # quotes and dashes, the euro, arrows, signs
    (bytes([0xEF, 0xF0]), bytes([0x9F, 0xBB, 0xBC, 0xBD])),  # emoji, the byte order mark, full-width forms
)
SETS = ("latin-1", "cp1252", "cp1251", "cp1250", "cp1253", "cp1254", "cp1257", "mac-roman", "cp437")
ASIAN = (bytes([0xE0, *range(0xE3, 0xEE)]), bytes(range(0x80, 0xA0)) + bytes(range(0xA1, 0xC0)), "cp1252")
LEAD_BITS = (1 << 28) - 1
RARE, COMPATIBLE, QUOTE, LATE_CONTROL = 1 << 28, 1 << 29, 1 << 30, 1 << 31
PASSES = 8  # at most: more than three mean a text that was made to hold mojibake of mojibake


@cache
def _kinds() -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.uint32]]:
    """For every code point: in which pairs it is a lead, and the kinds above; in which it is a tail."""
    leads, tails = np.zeros(0x110000, np.uint32), np.zeros(0x110000, np.uint32)
    pairs = [(lead, tail, name) for lead, tail in PAIRS for name in SETS]
    for bit, (lead, tail, name) in enumerate([*pairs, ASIAN]):
        for table, taken in ((leads, lead), (tails, tail)):
            table[[ord(each) for each in taken.decode(name, "ignore") if not each.isascii()]] |= np.uint32(1 << bit)
    tails[ord(" ")] |= np.uint32(1)  # à and the no-break space, when a space has taken the place of their second byte: "voilÃ  le"
    beyond_ascii = "".join(map(chr, range(0x80, 0x10000)))
    rare = [ord(found[0]) for each in (INVISIBLE, OTHER_LINE_ENDS, SPACES) for found in each.finditer(beyond_ascii)]
    leads[rare] |= np.uint32(RARE)
    leads[list(COMPATIBILITY)] |= np.uint32(COMPATIBLE)
    leads[list(STRAIGHT)] |= np.uint32(QUOTE)
    leads[0x80:0xA0] |= np.uint32(LATE_CONTROL)
    return leads, tails


class Unicode:
    """Step `unicode`: one way to write the same characters."""

    def __init__(self, settings: sections.Unicode) -> None:
        self.settings = settings

    def __call__(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        return judge(batch, "unicode", self._judge)

    def _judge(self, seen: Seen) -> Verdict:
        counts: Counter[str] = Counter()
        return Verdict(normalise(seen.text, self.settings, counts), counts=counts)


DEFAULTS = sections.Unicode()


def normalise(text: str, settings: sections.Unicode = DEFAULTS, counts: Counter[str] | None = None) -> str:
    """The text repaired and in NFC, with line feeds, plain spaces, no control characters, no blank ends, one blank line at most.

    What a change brings about may need another (mojibake of mojibake, a letter and its accent with a control character between
    them), so a text is done when it needs nothing. `counts` adds up what was changed.
    """
    counts = Counter() if counts is None else counts
    for _ in range(PASSES):
        changed = _pass(text, settings, counts)
        if changed == text:
            break
        text = changed
    return text


def _pass(text: str, settings: sections.Unicode, counts: Counter[str]) -> str:
    if text.isascii():
        if RARE_ASCII.search(text):
            text = _plain(text, counts)
    else:
        leads, tails = _kinds()
        codes = np.frombuffer(text.encode("utf-32-le", "replace"), np.uint32)
        found = leads[codes]
        kinds = int(np.bitwise_or.reduce(found))
        if settings.mojibake and kinds & (LATE_CONTROL | LEAD_BITS):
            suspect = found[:-1] & tails[codes[1:]] & np.uint32(LEAD_BITS)
            if kinds & LATE_CONTROL:  # of Latin-1, which are letters and quotes of cp1252
                suspect = np.append(suspect, 0) | (found & np.uint32(LATE_CONTROL))
            if suspect.any():
                text = _repair(text, np.flatnonzero(suspect), counts)
        if kinds & RARE or RARE_ASCII.search(text):
            text = _plain(text, counts)
        if settings.compatibility and kinds & COMPATIBLE:
            text, number = TYPESET.subn(lambda found: COMPATIBILITY[ord(found[0])], text)
            _count(counts, "compatibility characters", number)
        if settings.quotes == "straight" and kinds & QUOTE:
            text, number = CURLY.subn(lambda found: STRAIGHT[ord(found[0])], text)
            _count(counts, "quotes", number)
        if not unicodedata.is_normalized(settings.form, text):
            text = unicodedata.normalize(settings.form, text)
            _count(counts, f"not {settings.form}", 1)
    if " \n" in text or "\t\n" in text or text[-1:] in (" ", "\t"):
        text = BLANK_ENDS.sub("", text)
    if "\n\n\n" in text:
        text = BLANK_LINES.sub("\n\n", text)
    return text.strip("\n")


def _plain(text: str, counts: Counter[str]) -> str:
    """Without control characters, with one kind of line end and of space."""
    if "\x1b" in text or "\b" in text:
        text = TERMINAL.sub("", text)
    text = OTHER_LINE_ENDS.sub("\n", text)
    text, number = INVISIBLE.subn("", text)
    _count(counts, "control characters", number)
    text, number = SPACES.subn(" ", text)
    _count(counts, "spaces", number)
    return text


def _repair(text: str, places: npt.NDArray[np.intp], counts: Counter[str]) -> str:
    """The text with the lines at these places read in the right character set, where ftfy finds that they were not."""
    pieces, done = [], 0
    for place in places.tolist():
        if place < done:
            continue
        start, end = text.rfind("\n", done, place) + 1 or done, text.find("\n", place)
        end = len(text) if end < 0 else end
        line = text[start:end]
        repaired = ftfy.fix_encoding(line)
        _count(counts, "mojibake", int(repaired != line))
        pieces += [text[done:start], repaired]
        done = end
    return "".join([*pieces, text[done:]])


def _count(counts: Counter[str], name: str, number: int) -> None:
    if number:
        counts[name] += number


class Length:
    """Step `length`: drop what is shorter than `min_characters`, blank space at the ends not counted."""

    def __init__(self, settings: sections.Length) -> None:
        self.settings = settings

    def __call__(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        return judge(batch, "length", self._judge)

    def _judge(self, seen: Seen) -> Verdict:
        length = len(seen.text.strip())
        short = "empty" if length == 0 else "too short" if length < self.settings.min_characters else None
        return Verdict(seen.text, short, float(length))
