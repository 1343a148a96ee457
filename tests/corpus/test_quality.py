"""The rules by name: each drops what is just over its threshold and keeps what is just at it; what is looked at is counted as
told in plain loops here. That their decisions are datatrove's is measured by benchmarks/clean.py, which has it at hand."""

from __future__ import annotations

import random
from collections import Counter

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from groundup.corpus import words
from groundup.corpus.document import SCHEMA, Document
from groundup.corpus.splitting import patterns
from groundup.corpus.steps import Seen
from groundup.corpus.steps.c4 import C4
from groundup.corpus.steps.fineweb import FineWeb
from groundup.corpus.steps.gopher import Quality, Repetition
from groundup.recipe.cleaning import quality

patterns()  # made once a process, before the tests are timed
ALLOW = {name: 5.0 if name.startswith("top") else 1.0 for name in quality.GopherRepetition.model_fields if name != "on"}
PROSE = (
    "The history of the river begins in the hills to the north of the town, and that is where we went to have a look at it. "
    "Nobody had been there with a boat for years. It was quiet! Would the water be deep enough? We thought that it should be."
)


def repetition(text: str, **limits: float) -> str | None:
    return Repetition(quality.GopherRepetition(**{**ALLOW, **limits})).reason(text)[0]


def gopher(text: str, language: str | None = None, **changes: object) -> str | None:
    lax = {"min_words": 0, "min_mean_word_length": 0, "max_mean_word_length": 99, "min_alphabetic_words": 0, "min_stop_words": 0}
    return Quality(quality.GopherQuality(**{**lax, **changes})).reason(text, language)[0]


def fineweb(text: str, **changes: object) -> str | None:
    lax = {"min_punctuated_lines": 0, "max_short_lines": 1, "max_duplicate_line_characters": 1, "max_line_breaks_per_word": 99}
    return FineWeb(quality.FineWeb(**{**lax, **changes})).reason(text)[0]


# --- gopher_repetition --------------------------------------------------------------------------------------------------


def slow_duplicates(tokens: list[str], n: int) -> int:
    """Characters in copies of earlier n-grams, as the rule says it."""
    met: set[str] = set()
    place = characters = 0
    while place + n <= len(tokens):
        gram = " ".join(tokens[place : place + n])
        characters += len(gram) - (n - 1) if gram in met else 0
        place += n if gram in met else 1
        met.add(gram)
    return characters


@settings(deadline=None)
@given(st.lists(st.sampled_from("a bb ccc dddd".split()), min_size=1, max_size=60), st.integers(2, 4), st.floats(0, 1))
def test_the_most_frequent_n_gram(tokens: list[str], n: int, limit: float) -> None:
    text = " ".join(tokens)
    grams = [" ".join(tokens[place : place + n]) for place in range(len(tokens) - n + 1)]
    most = Counter(grams).most_common(1)  # of equally frequent ones the first
    expected = bool(most) and len(most[0][0]) * most[0][1] / len(text) > limit
    assert (repetition(text, **{f"top_{n}_gram": limit}) is not None) == expected


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from("a bb ccc".split()), max_size=30), st.lists(st.sampled_from("a bb ccc dd e f g".split()), max_size=40), st.integers(5, 10), st.floats(0, 1))
def test_copies_of_n_grams(first: list[str], then: list[str], n: int, limit: float) -> None:
    tokens = first + then + first + then[:7]
    text = " ".join(tokens)
    expected = bool(text) and slow_duplicates(tokens, n) / len(text) > limit
    reason = repetition(text, **{f"duplicate_{n}_grams": limit})
    assert (reason == f"duplicate {n}-grams") == expected
    assert reason in (None, "empty") or expected


@pytest.mark.parametrize("n", range(5, 11))
def test_published_limits_of_copies(n: int) -> None:
    limit = getattr(quality.GopherRepetition(), f"duplicate_{n}_grams")
    assert limit == pytest.approx(0.15 - 0.01 * (n - 5))  # table A1
    tokens = [f"w{number:03d}" for number in range(1000)]
    for copy in range(40):  # each of its own stretch, apart from the others by a new word
        tokens += [*tokens[copy * 20 : copy * 20 + n], f"x{copy:03d}"]
    share = 40 * n * 4 / len(" ".join(tokens))
    assert repetition(" ".join(tokens), **{f"duplicate_{n}_grams": share}) is None
    assert repetition(" ".join(tokens), **{f"duplicate_{n}_grams": share - 1e-9}) == f"duplicate {n}-grams"


@settings(deadline=None)
@given(st.lists(st.sampled_from(["one", "two two", "three"]), min_size=1, max_size=12), st.integers(0, 10))
def test_duplicate_lines_and_paragraphs(pieces: list[str], tenths: int) -> None:
    limit = tenths / 10
    copies = len(pieces) - len(set(pieces))
    characters = sum(map(len, pieces)) - sum(map(len, set(pieces)))
    for between, unit in (("\n", "line"), ("\n\n\n", "paragraph")):
        text = between.join(pieces)
        assert (repetition(text, **{f"duplicate_{unit}s": limit}) is not None) == (copies / len(pieces) > limit)
        assert (repetition(text, **{f"duplicate_{unit}_characters": limit}) is not None) == (characters / len(text) > limit)


def test_repetition_keeps_prose_and_drops_a_refrain() -> None:
    usual = Repetition(quality.GopherRepetition())
    assert usual.reason(PROSE) == (None, None)
    assert usual.reason("buy now and save money on everything today " * 30)[0] is not None
    assert usual.reason("") == ("empty", None)
    rng = np.random.default_rng(0)
    long = " ".join(f"w{number}" for number in rng.integers(0, 5000, 200_000))
    assert usual.reason(long) == (None, None)


# --- gopher_quality -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "kept", "dropped", "reason"),
    [
        ({"min_words": 50}, "word, " * 50, "word, " * 49, "too few words"),  # commas are symbols, no words
        ({"max_words": 50}, "word, " * 50, "word, " * 51, "too many words"),
        ({"min_mean_word_length": 3}, "two . ox four", "two . ox one", "words too short"),
        ({"max_mean_word_length": 10}, "abcdefghij !!", "abcdefghijk !!", "words too long"),
        ({"max_symbols_per_word": 0.1}, "# " + "a " * 9, "# " + "a " * 8, "too many hash signs"),
        ({"max_symbols_per_word": 0.1}, "… " + "a " * 9, "… " + "a " * 8, "too many ellipses"),
        ({"max_symbols_per_word": 0.1}, "... " + "a " * 9, "... " + "a " * 8, "too many ellipses"),
        ({"max_bullet_lines": 0.9}, "- a\n" * 5 + " • a\n" * 4 + "b", "- a\n" * 5 + "  • a\n" * 5 + "", "too many bullets"),
        ({"max_ellipsis_lines": 0.3, "max_symbols_per_word": 9}, "a...\n" * 3 + "a\n" * 7, "a…  \n" * 4 + "a\n" * 6, "too many lines that end in an ellipsis"),
        ({"min_alphabetic_words": 0.8}, "a a a a 1", "a a a a 1 1", "too few words with letters"),
        ({"min_stop_words": 2}, "the cat of war", "the cat the war", "too few stop words"),
    ],
)
def test_quality_at_each_threshold(changes: dict[str, object], kept: str, dropped: str, reason: str) -> None:
    assert gopher(kept, **changes) is None
    assert gopher(dropped, **changes) == reason


def test_quality_knows_english_from_the_rest() -> None:
    german = "Der Fluss entspringt in den Bergen nördlich der Stadt, und dorthin gingen wir an jenem Morgen. " * 6
    usual = Quality(quality.GopherQuality())
    assert usual.reason(PROSE + PROSE)[0] is None
    assert usual.reason(german)[0] == "too few stop words"  # unknown is taken for English
    assert usual.reason(german, "de-AT")[0] is None
    assert Quality(quality.GopherQuality(stop_words_for=[])).reason(german, "de")[0] == "too few stop words"
    assert Quality(quality.GopherQuality(stop_words=["der", "und"], stop_words_for=["de"])).reason(german, "de")[0] is None
    chinese = "河流起源于城镇北部的山丘，我们就是去那里看的。" * 20
    assert usual.reason(chinese, "zh")[0] is None
    assert usual.reason(chinese)[0] is not None


# --- c4 -----------------------------------------------------------------------------------------------------------------


def c4(text: str, language: str | None = None, **changes: object) -> tuple[str | None, str]:
    verdict = C4(quality.C4(**{"min_sentences": 0, **changes}))._judge(Seen(text, language=language))
    return verdict.reason, verdict.text


def test_c4_drops_lines() -> None:
    text = "  Menu\n\nThree words here\nPlease turn on JavaScript to read.\nWe have a Privacy Policy for you.\nGood line of text.  "
    assert c4(text) == (None, "Three words here\nGood line of text.")
    assert c4(text, terminal_punctuation=True) == (None, "Good line of text.")
    assert "JavaScript" in c4(text, javascript=False)[1] and "Policy" in c4(text, policy=False)[1]
    assert c4(text, min_words_per_line=4) == (None, "Good line of text.")
    assert c4("It ends so...\nIt ends like \"this\"", terminal_punctuation=True) == (None, "It ends like \"this\"")


def test_c4_drops_words_too_long_and_citations() -> None:
    assert c4(f"one two {'x' * 1000}\nthree four five") == (None, f"one two {'x' * 1000}\nthree four five")
    assert c4(f"one two {'x' * 1001}\nthree four five") == (None, "three four five")
    assert c4("It is so.[1][edit] And this[citation needed] too [a].") == (None, "It is so. And this too [a].")
    assert "[1]" in c4("It is so.[1] Yes.", citations=False)[1]


def test_c4_drops_documents() -> None:
    assert c4("A line of text.\nlorem ipsum dolor sit")[0] == "lorem ipsum"
    assert c4("A line of text.\nint main() { return }")[0] == "curly bracket"
    assert c4("A line of text.\nint main() { return }", curly_bracket=False)[0] is None
    assert c4("A line of text.\n{")[0] is None  # a line that goes anyway
    five = "One is here. Two is here.\nThree is here? Four is here!\nFive is"
    assert c4(five + " here", min_sentences=5)[0] is None
    assert c4(five, min_sentences=5)[0] == "too few sentences"


def test_c4_reads_languages_without_blanks() -> None:
    text = "河流起源于山丘。我们去看。\n水很深。很安静！真的？是的。"
    assert c4(text, "zh", min_sentences=5) == (None, text)
    assert c4(text, min_sentences=5)[0] == "too few sentences"


@settings(deadline=None)
@given(st.text(st.sampled_from("ab .\n[1]{"), max_size=60), st.booleans())
def test_c4_again_changes_nothing(text: str, terminal: bool) -> None:
    reason, once = c4(text, terminal_punctuation=terminal, citations=False)
    if reason is None:
        assert c4(once, terminal_punctuation=terminal, citations=False) == (None, once)


# --- fineweb ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "kept", "dropped", "reason"),
    [
        ({"min_punctuated_lines": 0.12}, "a.\n" * 3 + "a\n" * 22, "a.\n" * 2 + "a\n" * 15, "too few lines with terminal punctuation"),
        ({"max_short_lines": 0.67}, "a\n" * 67 + ("b" * 31 + "\n") * 33, "a" * 30 + "\n" + "a\n" * 67 + ("b" * 31 + "\n") * 32, "too many short lines"),
        ({"max_duplicate_line_characters": 0.01}, "a\na\n" + "b" * 98, "a\na\n" + "b" * 97, "characters in duplicate lines"),
        ({"max_line_breaks_per_word": 0.3}, "\n\n\n" + "a " * 10, "\n\n\n" + "a " * 9, "too many line breaks"),
    ],
)
def test_fineweb_at_each_threshold(changes: dict[str, object], kept: str, dropped: str, reason: str) -> None:
    assert fineweb(kept, **changes) is None
    assert fineweb(dropped, **changes) == reason


def test_fineweb_does_not_count_punctuation_before_a_blank() -> None:
    assert fineweb("a. \nb.", min_punctuated_lines=0.6) == "too few lines with terminal punctuation"
    assert fineweb("", min_punctuated_lines=0) == "empty"


# --- all ----------------------------------------------------------------------------------------------------------------

STEPS = [Repetition(quality.GopherRepetition()), Quality(quality.GopherQuality()), C4(quality.C4()), FineWeb(quality.FineWeb())]


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=200), st.sampled_from([None, "en", "zh", "xx", ""]))
def test_no_text_makes_a_rule_fail(text: str, language: str | None) -> None:
    for step in STEPS:
        verdict = step._judge(Seen(text, language=language))
        assert verdict.reason is None or not any(character.isdigit() for character in verdict.reason.replace("-gram", "").rstrip("0123456789s "))
        assert step._judge(Seen(text, language=language)) == verdict


def test_rules_run_as_steps() -> None:
    rows = [Document("s", str(number), text, "u").row() for number, text in enumerate([PROSE + "\n" + PROSE.replace("river", "road"), "short", "{"])]
    batch = pa.RecordBatch.from_pylist(rows, SCHEMA)
    result = batch
    for step in STEPS:
        result = step(result)
    dropped = [row["dropped_by"] for row in result.to_pylist()]
    assert dropped[1:] == ["gopher_quality", "gopher_quality"]
    assert [row["id"] for row in result.to_pylist()] == [row["id"] for row in rows]


def test_order_of_documents_does_not_matter() -> None:
    rng = random.Random(0)
    texts = [" ".join(rng.choice(PROSE.split()) for _ in range(60)) for _ in range(30)]
    once = [STEPS[0].reason(text) for text in texts]
    words._table().clear()
    assert [STEPS[0].reason(text) for text in reversed(texts)][::-1] == once
