"""The kinds that are not byte-level, what is adopted from others, and the size that is chosen."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from groundup.errors import GroundupError, RequestError
from groundup.run import read_json
from groundup.tokens import trainers, vocabulary
from groundup.tokens.learning import train_tokenizer
from groundup.tokens.tokenizer import SPECIAL, Tokenizer

TEXTS = ["The cat sat on the mat. It was a naïve cat, and it cost 1984 dollars!\n\nThe end.  Two blanks\tand a tab. " * 30, "der straße 国 " * 50]
SIZES = {"unigram": 480, "wordpiece": 400}
DRAW = random.Random(2)
STEMS = ["".join(DRAW.choices("bdfgklmnprstvz", k=1) + DRAW.choices(["a", "an", "el", "or", "ist", "u"], k=DRAW.randrange(1, 4))) for _ in range(300)]
WORDS = [*TEXTS, *(" ".join(DRAW.choices(STEMS, k=400)) for _ in range(20))]


@pytest.fixture(scope="module")
def unigram() -> Tokenizer:
    return Tokenizer(trainers.train_unigram(WORDS, 480, must_reach=True))


@pytest.fixture(scope="module")
def wordpiece() -> Tokenizer:
    return Tokenizer(trainers.train_wordpiece(WORDS, 400, must_reach=True))


@settings(deadline=None, max_examples=150)
@given(text=st.text() | st.lists(st.sampled_from(["cat", " the", "  ", "\n", "ß", "😀", "x", "\x00", "<0x41>", *SPECIAL, trainers.UNKNOWN])).map("".join))
def test_unigram_brings_every_text_back_but_its_own_sign(unigram: Tokenizer, text: str) -> None:
    text = text.encode(errors="replace").decode().replace("▁", "")
    ids = unigram.encode(text)
    assert unigram.decode(ids) == text
    assert not set(ids) & set(unigram.special.values())
    assert int(unigram.byte_lengths[ids].sum()) == len(text.encode())


def test_unigram_learns_words_and_wordpiece_too(unigram: Tokenizer, wordpiece: Tokenizer) -> None:
    for words in (unigram, wordpiece):
        text = " ".join(STEMS[:20])
        ids = words.encode(text)
        assert len(ids) <= len(text) / 2
        assert words.decode(ids) == text
        assert not words.lossless
        assert [words.special[name] for name in SPECIAL] == list(range(len(SPECIAL)))
    assert wordpiece.decode(wordpiece.encode("a  cat\n!")) == "a cat!"
    assert wordpiece.encode("кот") == [len(SPECIAL)]  # unknown, and said so


@pytest.mark.parametrize("kind", ["unigram", "wordpiece"])
def test_the_stage_makes_them(build_clean, kind: str) -> None:
    rows = [(f"id{number}", "train", text) for number, text in enumerate(WORDS)]
    run, cleaned = build_clean([*rows, ("c", "held-out", "The cat.")], kind=kind, vocabulary=SIZES[kind])
    stage = train_tokenizer(run, cleaned)
    words, report = Tokenizer.load(stage.final), read_json(stage.final / "report.json")
    assert words.size == SIZES[kind]
    assert (report["kind"], report["engine"], report["lossless"]) == (kind, "tokenizers", False)


def test_a_unigram_vocabulary_needs_room() -> None:
    with pytest.raises(GroundupError, match="holds not even"):
        trainers.train_unigram(TEXTS, 300, must_reach=True)


def test_sentinels_are_added_where_asked() -> None:
    for text in (trainers.bytes_only(3), trainers.characters(["ab"], 3), trainers.train_bpe(TEXTS, 300, must_reach=True, sentinels=3)):
        words = Tokenizer(text)
        assert [words.special[f"<|sentinel_{number}|>"] for number in range(3)] == list(range(len(SPECIAL), len(SPECIAL) + 3))
        assert "<|sentinel_3|>" not in words.special


def test_a_shortened_vocabulary_is_the_one_trained_to_that_size() -> None:
    large, small = (trainers.train_bpe(TEXTS, size, must_reach=True) for size in (330, 300))
    cut = Tokenizer(trainers.shortened(large, 300))
    assert cut.size == 300
    assert cut.token_bytes == Tokenizer(small).token_bytes
    for text in (*TEXTS, "another text entirely, 国"):
        assert cut.encode(text) == Tokenizer(small).encode(text) == cut.encode_by_library([text])[0].tolist()


def test_adopting_keeps_ids_and_adds_what_is_missing(tmp_path) -> None:
    own = trainers.train_bpe(TEXTS, 300, must_reach=True)
    (tmp_path / "tokenizer.json").write_text(own.replace("<|end_of_text|>", "<|endoftext|>").replace("<|mask|>", "<|nothing|>"))
    words, original = Tokenizer(trainers.adopt(tmp_path)), Tokenizer(own)
    assert words.encode(TEXTS[0]) == original.encode(TEXTS[0])
    assert words.special["<|end_of_text|>"] == original.special["<|end_of_text|>"]
    assert words.special["<|mask|>"] == 300
    with pytest.raises(RequestError, match="no readable tokenizer"):
        trainers.adopt(tmp_path / "elsewhere")


def test_the_stage_adopts_and_notices_a_changed_file(build_clean, tmp_path) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_text(trainers.train_bpe(TEXTS, 300, must_reach=True))
    rows = [("a", "train", TEXTS[0]), ("c", "held-out", "The cat.")]
    run, cleaned = build_clean(rows, tokenizer=str(path), compare=[str(path)])
    first = train_tokenizer(run, cleaned)
    report = read_json(first.final / "report.json")
    assert report["kind"] == "adopted"
    assert report["others"]["tokenizer.json"]["bytes_per_token"] == report["bytes_per_token"]
    assert report["by_source"]["s"]["bytes_per_token"] == report["bytes_per_token"]
    path.write_text(trainers.train_bpe(TEXTS, 310, must_reach=True))
    assert Tokenizer.load(train_tokenizer(run, cleaned).final).size == 310


def test_the_size_weighs_compression_against_the_head(build_clean) -> None:
    draw = random.Random(3)
    stems = ["".join(draw.choices("abcdefghijklmnop", k=draw.randrange(2, 9))) for _ in range(5000)]
    text = " ".join(stems[min(4999, int(draw.expovariate(1 / 900)))] for _ in range(150_000))
    rows = [(f"id{n}", "train", text[start : start + 20_000]) for n, start in enumerate(range(0, len(text), 20_000))]
    chosen = {}
    for name, body in (("thin", 3_000), ("stout", 3_000_000)):
        run, cleaned = build_clean(rows, name)
        stage = train_tokenizer(run, cleaned, lambda body=body: lambda size, tokens: (body, 64))
        report = read_json(stage.final / "report.json")
        chosen[name] = report["size"]
        costs = {one["vocabulary"]: (body + 64 * one["vocabulary"]) / one["bytes_per_token"] for one in report["sizes_tried"]}
        assert report["size"] == max(size for size, cost in costs.items() if cost <= vocabulary.NEXT_TO_LEAST * min(costs.values()))
        assert all(a["bytes_per_token"] < b["bytes_per_token"] for a, b in zip(report["sizes_tried"], report["sizes_tried"][1:], strict=False))
    assert chosen["thin"] < chosen["stout"]


def test_the_table_marks_the_choice() -> None:
    found = [vocabulary.Candidate(512, 2.0, 1000, 100), vocabulary.Candidate(1024, 2.5, 1000, 200), vocabulary.Candidate(2048, 2.6, 1000, 400)]
    best = vocabulary.choose(found)
    assert best.vocabulary == 1024
    lines = vocabulary.table(found, best)
    assert len(lines) == 4
    assert [line.endswith("<-") for line in lines] == [False, False, True, False]
    assert "1.00 x" in lines[2]


@pytest.mark.parametrize("kind", ["gpt2", "llama3", "qwen2", "unigram", "wordpiece", "characters", "bytes"])
def test_transformers_loads_the_file_to_the_same_ids(kind: str, tmp_path) -> None:
    transformers = pytest.importorskip("transformers")
    if kind in ("unigram", "wordpiece"):
        text = getattr(trainers, f"train_{kind}")(WORDS, SIZES[kind], must_reach=True)
    elif kind in ("characters", "bytes"):
        text = trainers.characters(TEXTS) if kind == "characters" else trainers.bytes_only()
    else:
        text = trainers.train_bpe(TEXTS, 320, must_reach=True, pattern=kind)
    (tmp_path / "tokenizer.json").write_text(text)
    theirs, ours = transformers.PreTrainedTokenizerFast(tokenizer_file=str(tmp_path / "tokenizer.json")), Tokenizer(text)
    for line in [*TEXTS, "don't  STOP\n\n 12345 国国 😀‍😀 \u202bעברית\u202c \x00 _ \t", "", " ", "<0x41> ▁ Ġ"]:
        assert theirs.encode(line, add_special_tokens=False) == ours.encode(line)
    assert theirs.convert_tokens_to_ids("<|end_of_text|>") == ours.special["<|end_of_text|>"]
