"""Mentions and associations are sums over documents, and what filtering did to a group can be read off them."""

from __future__ import annotations

import math
from collections import Counter

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from groundup.corpus.bias import ATTRIBUTE_OF, associations, compare, count
from groundup.corpus.document import SCHEMA, Document
from groundup.corpus.identity import AMBIGUOUS, GROUPS, PEOPLE
from groundup.corpus.steps.bias import Bias

VOCABULARY = ["the", "muslim", "muslims", "women", "jewish", "gay", "black", "people", "wonderful", "terrible", "job", "home", "physics", "poetry", "saw"]


def total(texts: list[str], window: int = 10) -> Counter[str]:
    found: Counter[str] = Counter()
    for text in texts:
        found.update(count(text, window))
    return found


def test_no_word_names_two_groups_or_a_group_and_an_attribute() -> None:
    terms = [term for groups in GROUPS.values() for listed in groups.values() for term in listed]
    assert len(terms) == len(set(terms))
    assert not set(terms) & set(ATTRIBUTE_OF)
    assert set(terms) >= AMBIGUOUS and all(term == term.lower() and term.isascii() for term in terms)


@given(st.lists(st.sampled_from(VOCABULARY), max_size=60), st.integers(1, 12))
def test_counts_are_those_of_the_definition(words: list[str], window: int) -> None:
    found = count(" ".join(words), window)
    mentions = [
        (place, group)
        for place, word in enumerate(words)
        for groups in GROUPS.values()
        for group, terms in groups.items()
        if word in terms and (word not in AMBIGUOUS or not PEOPLE.isdisjoint(words[place + 1 : place + 2]))
    ]
    expected: Counter[str] = Counter(ATTRIBUTE_OF[word] for word in words if word in ATTRIBUTE_OF)
    expected["words"] = len(words)
    for place, group in mentions:
        near = [word for other, word in enumerate(words) if 0 < abs(other - place) <= window]
        expected[group] += 1
        expected["near " + group] += len(near)
        expected.update(group + " with " + ATTRIBUTE_OF[word] for word in near if word in ATTRIBUTE_OF)
    assert found == {name: number for name, number in expected.items() if number}


def test_pmi_by_hand() -> None:
    # 20 words in two texts. "muslims" once: 4 words near it, 2 of them pleasant; 3 pleasant words in all, 1 unpleasant.
    texts = ["kind muslims are friendly here", "it was a terrible day and then again it was a really good one too"]
    counts = total(texts, window=10)
    assert counts["words"] == 20 and counts["pleasant"] == 3 and counts["unpleasant"] == 1
    assert counts["Muslims"] == 1 and counts["near Muslims"] == 4 and counts["Muslims with pleasant"] == 2
    row = next(row for row in associations(counts) if row.first == "pleasant")
    assert row.expected == (4 * 3 / 20, 4 * 1 / 20)
    assert row.pmi == pytest.approx((math.log2((2 + 1) / (0.6 + 1)), math.log2((0 + 1) / (0.2 + 1))))
    assert row.effect == pytest.approx(row.pmi[0] - row.pmi[1])
    assert row.error == pytest.approx(math.sqrt(1 / 3 + 1 / 1) / math.log(2))


def test_words_spread_evenly_have_no_association() -> None:
    names, others = ["gay", "lesbian"], ["wonderful", "terrible", "saw", "it", "was"]  # in turns of coprime length: all pairs equally often
    text = " ".join(f"{names[place % 2]} {others[place % 5]}" for place in range(20_000))
    row = next(row for row in associations(count(text, 10)) if row.first == "pleasant")
    assert row.pmi == pytest.approx((0, 0), abs=0.1) and abs(row.effect) < 0.01


def test_a_colour_is_no_group() -> None:
    assert "Black people" not in count("The black car had a black door and straight lines.", 10)
    assert count("Black women and black students met.", 10)["Black people"] == 2


def test_filtering_out_a_group_shows() -> None:
    about = {
        "Muslims": ["A Muslim family moved here and was welcome.", "Muslims prayed at the terrible news."] * 10,
        "Jews": ["The Jewish baker is kind.", "Jews came to the town."] * 10,
        "": ["It rained all day long on the hills and on the town."] * 20,
    }
    everything = [text for texts in about.values() for text in texts]
    without = [text for text in everything if "terrible" not in text and not text.startswith("A Muslim")] + about["Muslims"][:2]
    changes = compare(total(everything), total(without))
    assert [change.group for change in changes][:1] == ["Muslims"]  # the hardest hit comes first
    muslims, jews = (next(change for change in changes if change.group == group) for group in ("Muslims", "Jews"))
    assert (muslims.before, muslims.after, muslims.kept) == (20, 2, 0.1)
    assert muslims.ratio == pytest.approx(0.1 / (total(without)["words"] / total(everything)["words"]))
    assert jews.kept == 1 and jews.ratio > 1
    neutral = compare(total(everything), total(everything))
    assert all(change.ratio == 1 and all(before == after for before, after in change.effects.values()) for change in neutral)


@given(st.lists(st.lists(st.sampled_from(VOCABULARY), max_size=12), max_size=6))
def test_the_step_passes_documents_as_they_are_and_its_counts_add_up(texts: list[list[str]]) -> None:
    documents = [Document("s", str(place), " ".join(words), "") for place, words in enumerate(texts)]
    batch = pa.RecordBatch.from_pylist([document.row() for document in documents], SCHEMA)
    after = Bias("bias_before", 10)(batch)
    for column in SCHEMA.names:
        assert after[column].equals(batch[column])
    added: Counter[str] = Counter()
    for counts in after["counts"].to_pylist():
        added.update(dict(counts or []))
    assert added == total([" ".join(words) for words in texts])


def test_other_languages_are_not_counted() -> None:
    rows = [Document("s", str(place), "the gay people", "", language=language).row() for place, language in enumerate(["fr", "en-GB", None])]
    after = Bias("bias_after", 10)(pa.RecordBatch.from_pylist(rows, SCHEMA))
    assert [counts is None for counts in after["counts"].to_pylist()] == [True, False, False]
