"""Steps on plain text: one way to write the same characters, and a least length."""

from __future__ import annotations

import re
import unicodedata

import pyarrow as pa

from groundup.corpus.steps import Seen, Verdict, judge

OTHER_LINE_ENDS = re.compile("[\x0b\x0c\x85\u2028\u2029]")
SPACES = re.compile("[\u00a0\u1680\u2000-\u200a\u202f\u205f\u3000]")
TERMINAL = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|.\x08")  # colours, and the overstruck bold of man pages
# Control characters but tab and line feed; soft hyphen, zero-width space, byte order mark, noncharacters. The joiners
# U+200C and U+200D stay: they change what is read in Persian, Hindi and emoji.
INVISIBLE = re.compile("[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\xad\u200b\u2060\ufeff\ufdd0-\ufdef\ufffe\uffff]")
BLANK_LINES = re.compile(r"\n{3,}")


def normalise(text: str) -> str:
    """The text in NFC, with line feeds, plain spaces, no control characters, no blank ends, one blank line at most."""
    # A search for a fixed character costs a hundredth of a pattern's, and most texts have none of these.
    if "\x1b" in text or "\b" in text:
        text = TERMINAL.sub("", text)
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    text = INVISIBLE.sub("", OTHER_LINE_ENDS.sub("\n", text))
    if not text.isascii():
        text = unicodedata.normalize("NFC", SPACES.sub(" ", text))
    text = "\n".join([line.rstrip(" \t") for line in text.split("\n")])
    if "\n\n\n" in text:
        text = BLANK_LINES.sub("\n\n", text)
    return text.strip("\n")


def unicode(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Step `unicode`: normalise every text."""
    return judge(batch, "unicode", lambda seen: Verdict(normalise(seen.text)))


class Length:
    """Step `length`: drop what is shorter than `min_characters`, blank space at the ends not counted."""

    def __init__(self, min_characters: int) -> None:
        self.min_characters = min_characters

    def __call__(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        return judge(batch, "length", self._judge)

    def _judge(self, seen: Seen) -> Verdict:
        length = len(seen.text.strip())
        return Verdict(seen.text, "empty" if length == 0 else "too short" if length < self.min_characters else None, float(length))
