"""Spelling: surely misspelt words are corrected, and whatever has a right to be as it is stays."""

from __future__ import annotations

import ast
import pickle
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from groundup.corpus.document import SCHEMA, Document
from groundup.corpus.steps.noisy_channel import ALPHABET, english
from groundup.corpus.steps.spelling import SpellingStep, derived, frequent_words
from groundup.recipe.cleaning.spelling import Spelling

STEP = SpellingStep(Spelling(on=True))
WORDS = st.text(ALPHABET[:26], min_size=1, max_size=12)


def osa(a: str, b: str) -> int:
    """The edit distance with swaps of neighbours, by its recurrence."""
    table = [[i + j if 0 in (i, j) else 0 for j in range(len(b) + 1)] for i in range(len(a) + 1)]
    for i in range(1, len(a) + 1):
        for j in range(1, len(b) + 1):
            table[i][j] = min(table[i - 1][j] + 1, table[i][j - 1] + 1, table[i - 1][j - 1] + (a[i - 1] != b[j - 1]))
            if i > 1 and j > 1 and a[i - 2 : i] == b[j - 1] + b[j - 2]:
                table[i][j] = min(table[i][j], table[i - 2][j - 2] + 1)
    return table[-1][-1]


@settings(max_examples=50, deadline=None)
@given(WORDS)
def test_all_words_within_a_distance_are_found_and_no_others(typo: str) -> None:
    shapes = english()._shapes
    some = shapes._words[:: len(shapes._words) // 200]
    rows = pa.array(range(0, len(shapes._words), len(shapes._words) // 200)).to_numpy()
    assert shapes._distances(typo, rows).tolist() == [osa(typo, word) for word in some]
    assert all(osa(typo, word) == distance <= 2 for word, distance in shapes.within(typo, 2))


@given(WORDS)
def test_a_known_word_is_never_changed_and_an_answer_is_a_known_word(word: str) -> None:
    answer = english().correct(word)
    assert answer == word or (word not in english().known and answer in english().known)


@given(WORDS, WORDS)
def test_the_channel_is_a_log_probability_and_writing_a_word_as_it_is_the_likeliest(word: str, typo: str) -> None:
    assert english().channel(word, word) == 0
    assert english().channel(typo, word) <= 0


@pytest.mark.parametrize(
    ("typo", "word"), [("recieve", "receive"), ("definately", "definitely"), ("Goverment", "Government"), ("TEH", "THE"), ("seperate", "separate"), ("dont", "don't")]
)
def test_the_corrector_answers(typo: str, word: str) -> None:
    assert english().correct(typo) == word


def test_probabilities_are_shares() -> None:
    readings = english().readings("thier")
    assert readings[0].word == "their"
    assert 0 < sum(one.probability for one in readings) <= 1
    assert [one.score for one in readings] == sorted((one.score for one in readings), reverse=True)


def test_typos_in_prose_are_corrected_and_counted() -> None:
    text = "We beleive (and all of you should) that\n  the goverment, which  they elected, will recieve it."
    corrected, counts = STEP.correct(text)
    assert corrected == "We believe (and all of you should) that\n  the government, which  they elected, will receive it."
    assert counts == {"beleive -> believe": 1, "goverment -> government": 1, "recieve -> receive": 1}
    assert STEP.correct(corrected) == (corrected, {})


STAY = [
    "The people of Kirkcudbrigt and Mr Goverment were there with them.",  # names
    "You can call goverment() or set self.recieve = 1 in the code of it.",  # code
    "See https://goverment.org/recieve and write to recieve@goverment.org about it.",  # addresses
    "They said it with #goverment and @recieve and the recieve42 and GOVERMENT in it.",
    'The word "recieve" is often misspelt by those who write it.',  # shown, not used
    "He was goin' and sayin' nothin to them about the man who was there.",  # sounds
    "This unintuitive socioeconomics of textfiles is what they have been about.",  # words made of words
    "El goverment recieve las definately cosas que no son de aquí y otras más.",  # another language
    "Whan that Aprille with his shoures soote the droghte of March hath perced to the roote",  # old spelling
    "struct recieve { int goverment; };",
]


@pytest.mark.parametrize("text", STAY)
def test_what_is_no_typo_stays(text: str) -> None:
    assert STEP.correct(text) == (text, {})


def test_a_word_that_a_document_has_again_and_again_is_the_writers_own() -> None:
    line = "This is what they said about the recieve and it was all that we have.\n"
    assert "receive" in STEP.correct(line)[0]
    assert STEP.correct(line * 3) == (line * 3, {})


def test_known_words_of_the_user_and_the_corpus_stay(tmp_path: Path) -> None:
    text = "This is what they said about the recieve and it was all that we have."
    listed = tmp_path / "words.txt"
    listed.write_text("recieve\n")
    assert SpellingStep(Spelling(on=True, words=str(listed))).correct(text) == (text, {})
    assert SpellingStep(Spelling(on=True), frozenset(["recieve"])).correct(text) == (text, {})


def test_frequent_words_are_the_corpus_own_unless_their_correction_is_far_more_frequent() -> None:
    own = ["the recieve of this one"] * 5
    assert frequent_words([*own, "they receive it"], STEP) == {"recieve"}
    assert frequent_words([*own, *["they receive it"] * 200], STEP) == frozenset()
    assert frequent_words(own[:4], STEP) == frozenset()


def test_derived_words_are_those_of_known_parts() -> None:
    count = english().count
    assert derived("unintuitive", "intuitive", count) and derived("socioeconomics", "socioeconomic", count)
    assert not derived("independant", "independent", count) and not derived("recieve", "receive", count)


@given(st.lists(st.one_of(st.sampled_from(["the", "of", "recieve", "and", "goverment,", "\n", "  ", "\t", "x=1"]), st.text(max_size=5)), max_size=30))
def test_nothing_but_counted_words_changes(pieces: list[str]) -> None:
    text = " ".join(pieces)
    corrected, counts = STEP.correct(text)
    assert len(corrected.split()) == len(text.split())
    changed = sum(before != after for before, after in zip(text.split(), corrected.split(), strict=True))
    assert changed == sum(counts.values())
    assert "".join(c for c in corrected if c.isspace()) == "".join(c for c in text if c.isspace())


def test_documents_of_another_language_are_not_read() -> None:
    text = "This is what they said about the recieve and it was all that we have."
    rows = [Document("s", "p", text, "", language=language).row() for language in ("de", "en", "en-GB", None)]
    batch = pickle.loads(pickle.dumps(STEP))(pa.RecordBatch.from_pylist(rows, SCHEMA)).to_pylist()
    assert [row["text"] == text for row in batch] == [True, False, False, False]
    assert dict(batch[1]["counts"]) == {"recieve -> receive": 1}
    assert all(row["dropped_by"] is None for row in batch)


def test_norvigs_first_set_is_corrected_better_than_his_method_claims() -> None:
    """270 misspellings, none of them learned from; norvig.com/spell-correct.html claims 75 %."""
    path = Path(__file__).resolve().parents[2].parent / "shared/data/labels/spelling/norvig_spell_testset1.txt"
    if not path.exists():
        pytest.skip("no ../shared/data beside this clone")
    words = ast.literal_eval(path.read_text().partition("=")[2].strip())
    pairs = [(typo, word) for word, wrong in words.items() for typo in wrong.split()]
    assert sum(english().correct(typo) == word for typo, word in pairs) / len(pairs) >= 0.8
