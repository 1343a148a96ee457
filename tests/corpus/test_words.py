"""Words: what the published rules count, the same whichever way a piece is split, and nothing of it lost."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from groundup.corpus import words
from groundup.corpus.splitting import patterns, split_piece
from groundup.corpus.words import LETTER, SYMBOL, code, lengths

patterns()  # made once a process, before the tests are timed
PIECES = st.text(st.sampled_from("abzA.,:;!?'’\"“”()-–—/$%+0129äßé中。…_@ªº·€°²k"), min_size=1, max_size=12)


@settings(deadline=None)
@given(PIECES)
def test_a_piece_split_is_the_piece(piece: str) -> None:
    assert "".join(split_piece(piece)) == piece
    assert "" not in split_piece(piece)


@settings(deadline=None)
@given(PIECES)
def test_the_short_way_is_the_long_way(piece: str) -> None:
    words._table().clear()
    assert words.words(piece).tolist() == [code(word) for word in split_piece(piece)]


@settings(deadline=None)
@given(st.text(st.sampled_from("ab.,'’-\" \n\t\u00a0中1"), max_size=80))
def test_words_are_those_of_the_pieces(text: str) -> None:
    found = words.words(text)
    assert found.tolist() == [code(word) for piece in text.split() for word in split_piece(piece)]
    assert lengths(found).sum() == len("".join(text.split()))
    assert len(found) >= len(text.split())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Don't stop, it's John's.", "Do n't stop , it 's John 's ."),  # spaCy's documented behaviour
        ("don’t cannot gonna they're I’m", "do n’t can not gon na they 're I ’m"),
        ("its well were shell", "its well were shell"),  # words of their own, not contractions without an apostrophe
        ("Mr. Smith, e.g. in the U.S., said etc.", "Mr. Smith , e.g. in the U.S. , said etc ."),
        ("(see http://example.com/a,b?x=1)", "( see http://example.com/a,b?x=1 )"),
        ("mail me@example.org.", "mail me@example.org ."),
        ("well-known mother-in-law 1990-95 -5", "well - known mother - in - law 1990 - 95 -5"),
        ("costs $5 or 10km at 5pm", "costs $ 5 or 10 km at 5 pm"),
        ("wait... what?! «ja»", "wait ... what ? ! « ja »"),
        ("either/or a,b one.Two 1,000.5", "either / or a , b one . Two 1,000.5"),
        ("z.B. so :) fine", "z. B. so :) fine"),
    ],
)
def test_known_cases(text: str, expected: str) -> None:
    assert " ".join(word for piece in text.split() for word in split_piece(piece)) == expected


def test_a_word_knows_what_it_is_made_of() -> None:
    assert all(code(word) & LETTER for word in ("a", "né", "a1", "中", "n't"))
    assert not any(code(word) & LETTER for word in ("1", "...", "1,5", "€"))
    assert all(code(word) & SYMBOL for word in (".", "...", "(", "`", "。", "…", "##"))
    assert not any(code(word) & SYMBOL for word in ("a", "1", "a.", "•"))  # bullets are no symbol to CCNet
    assert len({code(word) for word in ("the", "The", "teh", "het", "th", "then")}) == 6


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("One. Two! Three? Four", 4),
        ("One.", 1),
        ("No end", 1),
        ("She said \"go.\" Then left.", 2),  # a closing quote belongs to the sentence before
        ("Mr. Smith of the U.S. came.", 1),
        ("...", 1),
        ("What?! No... yes", 2),
        ("", 1),
    ],
)
def test_sentences(line: str, expected: int) -> None:
    assert words.sentences([line]) == expected


@settings(deadline=None)
@given(st.lists(st.text(st.sampled_from("ab.!? \"'"), max_size=20), max_size=6))
def test_sentences_of_lines_add_up(lines: list[str]) -> None:
    assert words.sentences(lines) == sum(words.sentences([line]) for line in lines)


@pytest.mark.parametrize("piece", ["=" * 200_000, "." * 200_000, "a" * 200_000, "a-" * 100_000, "'s" * 100_000, "(" * 99_999 + "a" + ")" * 99_999, "a." * 100_000, "@" * 100_000])
def test_no_piece_takes_long(piece: str) -> None:
    began = time.process_time()
    assert "".join(split_piece(piece)) == piece
    assert time.process_time() - began < 5


def test_the_table_may_be_emptied_at_any_time(monkeypatch: pytest.MonkeyPatch) -> None:
    text = " ".join(f"word{n}, other{n % 7}" for n in range(200))
    expected = words._words(text)
    monkeypatch.setattr(words, "PIECES", 10)
    words._table().clear()
    assert np.array_equal(words._words(text), expected)
    assert len(words._table()) <= 10
