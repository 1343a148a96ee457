"""Language id: the same whatever stands around the words, right on labelled sentences, keeping what was asked."""

from __future__ import annotations

import json
import pickle
import time
from collections import defaultdict
from pathlib import Path
from statistics import mean

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from groundup.corpus.document import SCHEMA, Document
from groundup.corpus.steps.language import (
    UNDETERMINED,
    Language,
    features,
    grams,
    identify,
    load,
    sample,
    words,
)
from groundup.errors import RequestError
from groundup.recipe.cleaning.language import Language as Settings

DATA = Path(__file__).parents[2].parent / "shared/data"
DATA = DATA if DATA.exists() else Path(__file__).parents[3].parent / "shared/data"
LABELS = DATA / "labels/langid/lingua_testdata.jsonl.zst"
SAID = {
    "en": "The weather is lovely today and we shall walk to the harbour.",
    "de": "Das Wetter ist heute schön, und wir gehen zum Hafen.",
    "fr": "Il fait beau aujourd'hui et nous irons à pied jusqu'au port.",
    "es": "Hoy hace buen tiempo y vamos caminando hasta el puerto.",
    "pl": "Dzisiaj jest piękna pogoda i pójdziemy pieszo do portu.",
    "ru": "Сегодня прекрасная погода, и мы пойдём пешком в порт.",
    "uk": "Сьогодні чудова погода, і ми підемо пішки до порту.",
    "el": "Ο καιρός είναι υπέροχος σήμερα και θα πάμε στο λιμάνι.",
    "ja": "今日は天気がいいので、港まで歩いて行きましょう。",
    "zh": "今天天气很好，我们走路去港口吧。",
    "ko": "오늘은 날씨가 좋으니 항구까지 걸어가요.",
    "ar": "الطقس جميل اليوم وسنمشي إلى الميناء",
    "hi": "आज मौसम बहुत अच्छा है और हम बंदरगाह तक पैदल चलेंगे।",
}


def batch(*texts: str) -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist([Document("s", str(n), text, "u").row() for n, text in enumerate(texts)], SCHEMA)


@pytest.mark.parametrize("language", SAID)
def test_plain_sentences(language: str) -> None:
    found, score = identify(SAID[language])
    assert found == language and 0.5 < score <= 1


@settings(deadline=None)  # tables are made at the first use
@given(st.text(max_size=80))
def test_any_text_has_an_answer_and_what_is_no_letter_plays_no_part(text: str) -> None:
    language, score = identify(text)
    assert language in [UNDETERMINED, *load().languages] and 0 <= score <= 1
    assert (language == UNDETERMINED) == (not len(words(text)))
    assert identify(f"\n12 {text} -- 3.5 €\t") == (language, score)


@settings(deadline=None)  # tables are made at the first use
@given(st.lists(st.text("abcßéжあ", min_size=1, max_size=7), min_size=1, max_size=6), st.randoms())
def test_features_are_those_of_the_words_in_any_order(said: list[str], random) -> None:  # type: ignore[no-untyped-def]
    apart = np.sort(np.concatenate([features(words(word), 18) for word in said]))
    random.shuffle(said)
    assert np.array_equal(np.sort(features(words(" ".join(said)), 18)), apart)


def test_grams_are_all_that_stay_within_a_word_and_the_word() -> None:
    codes = words("Abc de!")
    assert bytes(codes).decode("utf-32-le") == " abc de "
    text = " abc de "
    for length, starts in enumerate(grams(codes, 18)[0][:-1], 1):
        wanted = [at for at in range(len(text) - length + 1) if " " not in text[at + (length > 1) : at + max(length - 1, 1)]]
        assert starts.tolist() == wanted, length
    assert len(set(features(words("abcdefg"), 30)) & set(features(words("gfedcba"), 30))) == 7  # letters alone


@settings(deadline=None)  # tables are made at the first use
@given(st.text(max_size=2000), st.integers(60, 300))
def test_the_sample_is_short_and_of_the_text(text: str, characters: int) -> None:
    taken = sample(text, characters)
    assert len(taken) <= characters + 2
    assert taken == text if len(text) <= characters else taken[:20] == text[:20] and taken[-20:] == text[-20:]


def test_a_long_document_is_judged_by_its_whole_length() -> None:
    menu = "Home News Contact About us Login Register Search "
    assert identify(sample(menu + SAID["de"] * 60, 600)).language == "de"


def test_keep_drops_the_others_and_labels_all() -> None:
    texts = [SAID["en"], SAID["de"], "12:30 -- 42", SAID["fr"]]
    rows = Language(Settings(keep=["en", "DE-AT"]))(batch(*texts)).to_pylist()
    assert [row["language"] for row in rows] == ["en", "de", "und", "fr"]
    assert [row["reason"] for row in rows] == [None, None, "no letters", "language not kept"]
    assert [row["counts"] for row in rows] == [[(code, 1)] for code in ("en", "de", "und", "fr")]
    assert all(row["dropped_by"] is None for row in Language(Settings())(batch(*texts)).to_pylist())
    sure = Language(Settings(keep=["en"], min_score=1))(batch("the chat")).to_pylist()[0]
    assert sure["reason"] == "language uncertain" and sure["score"] < 1
    assert pickle.loads(pickle.dumps(Language(Settings(keep=["en"])))).keep == {"en"}


def test_a_language_that_the_model_does_not_know_is_refused() -> None:
    with pytest.raises(RequestError, match="'tlh' is not known"):
        Language(Settings(keep=["en", "tlh"]))
    assert Language(Settings(keep=["no-NO"])).keep == {"nb", "nn"}


def test_a_keep_list_of_names_is_refused() -> None:
    with pytest.raises(ValueError, match="not a language code"):
        Settings(keep=["english"])


@pytest.mark.skipif(not LABELS.exists(), reason="the labelled sentences are not here")
def test_accuracy_on_labelled_text() -> None:
    right: dict[tuple[str, str], list[bool]] = defaultdict(list)
    lines = pa.input_stream(str(LABELS), compression="zstd").read().decode().split("\n")
    for line in lines[:-1:10]:
        row = json.loads(line)
        right[row["kind"], row["lang"]].append(identify(row["text"]).language == row["lang"])
    for kind, least in LEAST.items():
        assert mean(mean(each) for (its, _), each in right.items() if its == kind) > least, kind


LEAST = {"sentences": 0.93, "word-pairs": 0.79, "single-words": 0.62}  # docs/measurements.md has the figures


def test_it_is_fast() -> None:
    documents = [SAID["en"] * 40, SAID["ru"] * 40, SAID["fr"] * 40] * 30
    step = Language(Settings())
    step(batch("a"))
    began = time.process_time()
    step(batch(*documents))
    assert len(documents) / (time.process_time() - began) > 1500  # 5,000 and more on an idle core
