"""The toxicity step: blind to who is meant, not to spellings; a long text's score is that of its worst windows."""

from __future__ import annotations

import csv
import gzip
import pickle
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from groundup.corpus.document import SCHEMA, Document
from groundup.corpus.hashed import CHARACTERS, ngrams, plain, word_hash
from groundup.corpus.identity import COMMON, GROUP_OF
from groundup.corpus.steps.toxicity import WINDOW, Toxicity, WordList, masked, model, probability, thresholds
from groundup.errors import RequestError
from groundup.recipe.cleaning.toxicity import Toxicity as Settings

DATA = next((parent / "shared/data/labels/toxicity" for parent in Path(__file__).resolve().parents if (parent / "shared/data").is_dir()), Path("shared"))
CALM = "The committee met on Tuesday and talked about the new library, which will open in the spring. "
INSULT = "You are a stupid pathetic idiot and nobody likes you, loser. "
LETTERS = " abcdefghijklmnopqrstuvwxyz*#XY"


def read(text: str) -> str:
    return "".join(LETTERS[code] for code in plain(text).codes)


def step(text: str, language: str | None = None, **settings: float | Path | None) -> dict[str, object]:
    given = {"threshold": 0.6, "worst": 0.1, "words_per_thousand": None} | settings
    batch = pa.RecordBatch.from_pylist([Document("s", "0", text, "", language=language).row()], SCHEMA)
    return Toxicity(**given)(batch).to_pylist()[0]  # type: ignore[arg-type]


def test_spellings_that_mean_the_same_are_read_the_same() -> None:
    for spelling in ("idiot", "IDIOT", "idi0t", "i d i o t", "i-d-i-o-t", "i.d.i.o.t", "idiooooot", "id\u200biot", "idi\u043et", "\u00efdiot", "id!ot"):
        assert read(f"what an {spelling} said") == " what an idiot said ", spelling
    assert read("a $tupid a$$") == " a stupid ass "
    assert read("sh*t **bold** * item 5 * 5 word* *an idiot* f***") == " sh*t bold item # # word an idiot f*** "
    assert read("don\u2019t I'm 1,234 covid19 www.example.org/x http://a.b &amp; @someone b c") == " dont im # # covid# b c "


def test_what_is_no_disguise_stays() -> None:
    assert read("plan b at 10 pm, mp3, 3d, b4 the 2nd") == " plan b at # pm mp# #d b# the #nd "
    assert read("a cat, I say") == " a cat i say "
    assert read("\u043f\u0440\u0438\u0432\u0435\u0442 \u043c\u0438\u0440") == " "  # another script is not a disguise
    assert read("") == read("!?") == " "


@given(st.text(max_size=80))
def test_any_text_is_read_and_scored(text: str) -> None:
    found = plain(text)
    codes = found.codes
    assert codes[0] == codes[-1] == 0 and codes.max() < 32
    assert not ((codes[1:] == 0) & (codes[:-1] == 0)).any()
    assert len(found.words) == len(found.starts) == len(read(text).split())
    assert 0 <= probability(text) <= 1
    indices, places = ngrams(found, 12)
    assert len(indices) == len(places) and (indices < 1 << 12).all() and (places < len(codes)).all()


def test_ngrams_are_those_of_the_definition() -> None:
    """As many distinct indices as there are distinct n-grams, counted by slicing strings."""
    text = "the cat sat on the mat and the cat slept"
    found = plain(text)
    indices, places = ngrams(found, 40)
    padded, words = f" {text} ", text.split()
    characters = [padded[place : place + n] for n in CHARACTERS for place in range(len(padded) - n + 1)]
    phrases = [tuple(words[place : place + n]) for n in (1, 2, 3) for place in range(len(words) - n + 1)]
    assert len(indices) == len(characters) + len(phrases)
    assert len(set(indices.tolist())) == len(set(characters)) + len(set(phrases))
    by_ngram: dict[object, set[int]] = {}
    for ngram, index in zip([*characters, *phrases], indices.tolist(), strict=True):
        by_ngram.setdefault(ngram, set()).add(index)
    assert all(len(one) == 1 for one in by_ngram.values())  # equal n-grams, equal indices
    assert [padded[place] for place in places[: len(padded) - 2].tolist()] == list(padded[:-2])


@pytest.mark.parametrize("sentence", ["I am a {} person.", "All {} are liars and thieves.", "Why do {} vote?", "You stupid {} idiot"])
def test_no_group_is_judged_otherwise_than_another(sentence: str) -> None:
    for common in (True, False):  # the sexes and ages are one letter, all other groups another
        terms = [term for term in sorted(GROUP_OF) if (term in COMMON) == common]
        assert len({probability(sentence.format(term)) for term in terms}) == 1
        assert len({read(sentence.format(term.upper())) for term in terms}) == 1


def test_a_long_text_is_judged_by_its_worst_windows() -> None:
    calm, insult = CALM * 400, INSULT * 16
    assert len(insult) > WINDOW
    page = CALM * 200 + insult + CALM * 200
    assert probability(page, worst=0.001) > 0.9 > 0.2 > probability(page, worst=0.5)  # one bad stretch: unless asked, not a toxic page
    assert probability(page, worst=0.001) > probability(page, worst=0.1) > probability(page, worst=1)
    assert probability(calm, worst=0.001) < 0.2
    assert probability((CALM * 10 + insult) * 20, worst=0.1) > 0.8  # a tenth and more of it is abuse
    short = INSULT * 5
    assert probability(short, worst=0.01) == probability(short, worst=1)  # up to one and a half windows: judged whole


@given(st.integers(1, 3000))
def test_windows_cover_all_of_a_text(words: int) -> None:
    """A text that is the same everywhere scores the same everywhere, however it is cut."""
    scores = [probability("pathetic " * words, worst) for worst in (0.01, 1.0)]
    assert scores[0] == pytest.approx(scores[1], abs=0.02) or words < 20


def test_the_step_drops_insults_and_keeps_the_rest() -> None:
    assert step(INSULT)["reason"] == "toxic by the model" and step(INSULT)["dropped_by"] == "toxicity"
    kept = step(CALM)
    assert kept["dropped_by"] is None and kept["text"] == CALM and 0 <= kept["score"] < 0.3  # type: ignore[operator]
    assert step(INSULT)["text"] == INSULT
    assert step(INSULT, threshold=None)["dropped_by"] is None
    assert step(INSULT, threshold=None)["score"] is None


def test_other_languages_pass() -> None:
    assert step(INSULT, language="de")["dropped_by"] is None and step(INSULT, language="de")["score"] is None
    assert step(INSULT, language="en-US")["dropped_by"] == "toxicity"


def test_a_list_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "words.txt"
    path.write_text("# mine\nturnip 0.5\nMuslim\n\n")
    listed = WordList.read(path)
    assert listed.found(plain("The turnip, the t*rnip and the TURN1P.")) == (3, pytest.approx(15.0))  # of 100 words at least
    assert listed.found(plain("a muslim")) == (1, pytest.approx(10.0))  # the list is not blind: it is the user's
    assert listed.found(plain("turnips grow")) == (0, 0.0)
    assert listed.found(plain("word " * 999 + "turnip")) == (1, pytest.approx(0.5))
    found = step("A turnip.", threshold=None, words_per_thousand=0.0, word_list=path)
    assert found["reason"] == "too many listed words" and found["counts"] == [("listed words", 1)] and found["score"] == 5.0
    assert step("A turnip.", threshold=None, words_per_thousand=5.0, word_list=path)["reason"] is None  # up to the limit is kept
    path.write_text("turnip half\n")
    with pytest.raises(RequestError, match=r"half.*no weight"):
        WordList.read(path)


def test_masked_forms() -> None:
    forms = set(masked("turnip"))
    assert {"turnip", "t*rnip", "t****p", "turn*p", "t*rn*p"} <= forms and all(form[0] == "t" and form[-1] == "p" for form in forms)
    assert set(masked("cat")) == {"cat"}
    assert all(word_hash(form) for form in forms) and len({word_hash(form) for form in forms}) == len(forms)


def test_a_pickled_step_judges_the_same(tmp_path: Path) -> None:
    batch = pa.RecordBatch.from_pylist([Document("s", str(n), text, "").row() for n, text in enumerate([CALM, INSULT, ""])], SCHEMA)
    judge = Toxicity(0.6, 0.1, 8.0)
    before = judge(batch)
    assert pickle.loads(pickle.dumps(judge))(batch).equals(before)
    assert len(pickle.dumps(judge)) < 1000  # the tables are read in each process, not sent


def test_the_shipped_model_says_what_it_does() -> None:
    known, rows = model(), thresholds()
    assert known.bits == 17 and (np.diff(known.words.astype(object)) > 0).all() and (known.word_weights >= 0.5).all()
    for name in ("recall", "neutral_blocked", "ordinary_blocked", "hostile_blocked"):  # a higher threshold never blocks more
        assert [row[name] for row in rows] == sorted((row[name] for row in rows), reverse=True)
    default = next(row for row in rows if row["threshold"] == Settings().threshold)
    assert default["precision"] > 0.9 and default["neutral_blocked"] < 0.05 and default["ordinary_blocked"] < 0.02
    assert not {word_hash(term) for term in GROUP_OF} & set(known.words.tolist())


def test_comments_labelled_toxic_score_higher() -> None:
    path = DATA / "wikipedia_talk_toxicity_testset.csv.gz"
    if not path.exists():
        pytest.skip(f"{DATA} not found beside this clone")
    with gzip.open(path, "rt", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))[::3]
    scores = {label: np.array([probability(row["comment"]) for row in rows if row["toxic"] == label]) for label in ("True", "False")}
    above = (scores["True"][:, None] > scores["False"][None, :]).mean()
    assert above > 0.9 and (scores["False"] >= 0.6).mean() < 0.05
