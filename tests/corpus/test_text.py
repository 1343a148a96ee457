"""Normalised text is normal: a second time changes nothing."""

from __future__ import annotations

import unicodedata
from collections import Counter

import ftfy
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from groundup.corpus.document import SCHEMA, Document, cut
from groundup.corpus.steps.text import SETS, Length, Unicode, normalise
from groundup.recipe.cleaning import text as sections


@settings(deadline=None)  # tables are made at the first use
@given(st.text(st.sampled_from("a\u0301é \t\n\r\x00\x0b\x0c\x85\u2028\u00a0\u200b\ufeff\x1b[0m\x08ﬁ\U0001f600\u200d"), max_size=60))
def test_normalise_is_idempotent_and_clean(text: str) -> None:
    once = normalise(text)
    assert normalise(once) == once
    assert unicodedata.is_normalized("NFC", once)
    assert not any(unicodedata.category(character) == "Cc" for character in once if character not in "\n\t")
    assert "\n\n\n" not in once and " \n" not in once and "\u00a0" not in once


SAID = "Größe, œuvre, señor, “quoted” – naïve… 5 €, Łódź, Ζωή, Привет, שלום, 日本, 👍 ™".split()
SETTINGS = st.builds(
    sections.Unicode, form=st.sampled_from(["NFC", "NFKC"]), mojibake=st.booleans(), quotes=st.sampled_from(["leave", "straight"]),
    compatibility=st.booleans(),
)  # fmt: skip


def misread(text: str, name: str) -> str:
    return text.encode().decode(name, "ignore")


@settings(deadline=None)  # tables are made at the first use
@given(st.lists(st.one_of(st.builds(misread, st.sampled_from(SAID), st.sampled_from(SETS)), st.text(max_size=6), st.sampled_from("\n\r \t\x92"))).map("".join), SETTINGS)
@example(misread(misread("é", "cp1252"), "cp1252"), sections.Unicode())
@example("e\x00\u0301 \u200b\n", sections.Unicode())
def test_normalise_is_idempotent_whatever_the_settings(text: str, chosen: sections.Unicode) -> None:
    once = normalise(text, chosen)
    assert normalise(once, chosen) == once
    assert unicodedata.is_normalized(chosen.form, once)


@pytest.mark.parametrize("name", ["latin-1", "sloppy-windows-1252"])  # the second is ftfy's: with its five gaps filled
@pytest.mark.parametrize("said", ["Der Bär ist größer als das Café", "“Don’t” – he said… 5 €", "El niño comió piñas", "I 👍 it", "日本語のテキスト"])
def test_mojibake_is_repaired_on_its_line_alone(said: str, name: str) -> None:
    wrong = said.encode().decode(name)
    counts: Counter[str] = Counter()
    text = f"Olá, São Paulo\n{wrong}\nA naïve, ĀĂĄ"
    assert normalise(text, counts=counts) == f"Olá, São Paulo\n{said}\nA naïve, ĀĂĄ"
    assert counts["mojibake"] >= 1
    assert normalise(text, sections.Unicode(mojibake=False)) != normalise(text)


@settings(deadline=None)  # tables are made at the first use
@given(st.lists(st.sampled_from(SAID) | st.text(st.characters(codec="cp1252"), min_size=1, max_size=8), min_size=1, max_size=8).map(" ".join))
def test_the_gate_lets_through_what_ftfy_would_repair(text: str) -> None:
    for name in ("latin-1", "cp1252"):
        line = " ".join(misread(text, name).split())
        if (repaired := ftfy.fix_encoding(line)) != line and any(mark in line for mark in ("Ã", "â€", "ðŸ", "Å", "Â")):
            counts: Counter[str] = Counter()
            normalise(line, counts=counts)
            assert counts["mojibake"], (line, repaired)


def test_a_pair_whose_second_byte_became_a_space_is_repaired_too() -> None:
    assert normalise("voilÃ  le cafÃ©\nÃ 0") == "voilà le café\nà 0"
    assert normalise("3 × 4, 2 Å long, SÃO PAULO") == "3 × 4, 2 Å long, SÃO PAULO"


def test_typesetters_marks_and_quotes() -> None:
    assert normalise("ﬁnd ﬂour Ａ１！，“x” ½ ²") == "find flour A1！，“x” ½ ²"
    assert normalise("ﬁnd", sections.Unicode(compatibility=False)) == "ﬁnd"
    assert normalise("“it’s”", sections.Unicode(quotes="straight")) == "\"it's\""
    assert normalise("½ ™", sections.Unicode(form="NFKC")) == "1⁄2 TM"


def test_the_step_counts_what_it_changed() -> None:
    texts = ["plain", "schÃ¶n", "a\u200bb\u00a0c", "ﬁ"]
    rows = Unicode(sections.Unicode())(pa.RecordBatch.from_pylist([Document("s", each, each, "u").row() for each in texts], SCHEMA)).to_pylist()
    assert [row["text"] for row in rows] == ["plain", "schön", "ab c", "fi"]
    assert [row["counts"] for row in rows] == [
        None, [("mojibake", 1)], [("control characters", 1), ("spaces", 1)], [("compatibility characters", 1)]
    ]  # fmt: skip


def test_what_is_read_stays() -> None:
    assert normalise("a\r\nb\rc\u2028d\u00a0e  \n\n\n\n\nf") == "a\nb\nc\nd e\n\nf"
    assert normalise("    indented\tcode\n") == "    indented\tcode"
    assert normalise("\x1b[1mbold\x1b[0m o\bover") == "bold over"
    assert normalise("می\u200cخواهم") == "می\u200cخواهم"
    assert normalise("Cafe\u0301") == "Café"


@settings(deadline=None)  # tables are made at the first use
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
    result = Length(sections.Length(min_characters=10))(pa.RecordBatch.from_pylist(rows, SCHEMA)).to_pylist()
    assert [row["reason"] for row in result] == [None, "too short", "empty", "too short"]
