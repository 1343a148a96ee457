"""Emoji become names and come back, whatever stands around them."""

from __future__ import annotations

import emoji
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from groundup.corpus.document import SCHEMA, Document
from groundup.corpus.steps.emoji import Emoji, to_emoji, to_names
from groundup.recipe.cleaning.text import Emoji as Settings

ALL = list(emoji.EMOJI_DATA)
PIECES = st.sampled_from([*ALL, *(to_names(each) for each in ALL[::50]), *":\\~_1#*<> \n", "\ufe0f", "\u200d", "\u20e3", "🏽", "🇩", ":dog", "dog:", "\\dog"])


@pytest.mark.parametrize("language", ["en", "de", "es", "ja", "fa", "ar", "ru", "zh", "fr", "ko"])
def test_every_emoji_has_a_name_of_its_own_and_comes_back(language: str) -> None:
    names = [to_names(each, language) for each in ALL]
    assert len(set(names)) == len(ALL)
    assert [to_emoji(name, language) for name in names] == ALL
    together = "".join(ALL)
    assert to_emoji(to_names(together, language), language) == together


@settings(deadline=None)  # tables are made at the first use
@given(st.lists(PIECES | st.text(max_size=5), max_size=12).map("".join), st.sampled_from([(":", ":"), ("<", ">"), ("|", "|")]))
def test_any_text_comes_back(text: str, delimiters: tuple[str, str]) -> None:
    assert to_emoji(to_names(text, "en", delimiters), "en", delimiters) == text
    once = to_names(text, "en", delimiters)
    assert to_emoji(to_emoji(to_names(once, "en", delimiters), "en", delimiters), "en", delimiters) == text  # a second time as well


def test_names_are_those_of_the_package() -> None:
    full = [each for each, data in emoji.EMOJI_DATA.items() if data["status"] == emoji.STATUS["fully_qualified"]]
    assert [to_names(each) for each in full] == [emoji.demojize(each) for each in full]


def test_what_is_read() -> None:
    assert to_names("I ❤️ it, ❤") == "I :red_heart: it, :red_heart~:"
    assert to_names("👩🏽‍💻👨‍👩‍👧🇩🇪1️⃣") == (
        ":woman_technologist_medium_skin_tone::family_man_woman_girl::Germany::keycap_1:"
    )
    assert to_names("© 2024 Firma™ a:b 12:30 std::x :-)") == "© 2024 Firma™ a:b 12:30 std::x :-)"
    assert to_names("write :dog: for 🐕") == r"write :\dog: for :dog:"
    assert to_names("❤️", "de") == ":rotes_herz:" and to_names("❤️", delimiters=("<", ">")) == "<red_heart>"


def test_the_step_counts() -> None:
    batch = pa.RecordBatch.from_pylist([Document("s", "p", "👍👍 ok", "u").row(), Document("s", "q", "ok", "u").row()], SCHEMA)
    rows = Emoji(Settings(on=True))(batch).to_pylist()
    assert [row["text"] for row in rows] == [":thumbs_up::thumbs_up: ok", "ok"]
    assert [row["counts"] for row in rows] == [[("emoji", 2)], None]


def test_delimiters_that_names_have_are_refused() -> None:
    with pytest.raises(ValueError, match="cannot stand beside"):
        Settings(delimiters=("(", ")"))
