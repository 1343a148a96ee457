"""Normalised text is normal: a second time changes nothing."""

from __future__ import annotations

import unicodedata

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from groundup.corpus.document import SCHEMA, Document, cut
from groundup.corpus.steps.text import Length, normalise


@given(st.text(st.sampled_from("a\u0301é \t\n\r\x00\x0b\x0c\x85\u2028\u00a0\u200b\ufeff\x1b[0m\x08ﬁ\U0001f600\u200d"), max_size=60))
def test_normalise_is_idempotent_and_clean(text: str) -> None:
    once = normalise(text)
    assert normalise(once) == once
    assert unicodedata.is_normalized("NFC", once)
    assert not any(unicodedata.category(character) == "Cc" for character in once if character not in "\n\t")
    assert "\n\n\n" not in once and " \n" not in once and "\u00a0" not in once


def test_what_is_read_stays() -> None:
    assert normalise("a\r\nb\rc\u2028d\u00a0e  \n\n\n\n\nf") == "a\nb\nc\nd e\n\nf"
    assert normalise("    indented\tcode\n") == "    indented\tcode"
    assert normalise("\x1b[1mbold\x1b[0m o\bover") == "bold over"
    assert normalise("می\u200cخواهم") == "می\u200cخواهم"
    assert normalise("Cafe\u0301") == "Café"


@given(st.text(st.sampled_from("ab \n"), max_size=400), st.integers(10, 50), st.integers(1, 60))
def test_cutting_loses_nothing(text: str, limit: int, chunk: int) -> None:
    pieces = list(cut([text[n : n + chunk] for n in range(0, len(text), chunk)], limit))
    assert "".join(pieces) == text
    assert all(0 < len(piece) <= limit for piece in pieces)
    assert pieces == list(cut([text], limit))  # however it arrives
    assert len(pieces) <= 1 or min(map(len, pieces)) >= limit // 3


def test_cutting_prefers_paragraphs_then_lines_then_words() -> None:
    assert next(cut(["aaaaaa\n\nbb\ncccccccccc"], 11)) == "aaaaaa\n\n"
    assert next(cut(["aaaaaa bbb\ncccccccccc"], 11)) == "aaaaaa bbb\n"
    assert next(cut(["aaaaaa bbbbbbbbbbbbbbb"], 11)) == "aaaaaa "


def test_length_drops_with_its_reason() -> None:
    rows = [Document("s", str(n), text, "u").row() for n, text in enumerate(["x" * 10, "x" * 9, "  \n ", " " + "x" * 9 + " "])]
    result = Length(10)(pa.RecordBatch.from_pylist(rows, SCHEMA)).to_pylist()
    assert [row["reason"] for row in result] == [None, "too short", "empty", "too short"]
