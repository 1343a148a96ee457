"""Tokenizers: exact round trips, special tokens out of reach, the same merges whatever the threads, clear refusals."""

from __future__ import annotations

import functools
import os
import random
import subprocess
import sys
import time

import numpy as np
import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st

from groundup.errors import GroundupError
from groundup.run import read_json
from groundup.tokens import documents, tokenizer
from groundup.tokens.learning import train_tokenizer
from groundup.tokens.tokenizer import SPECIAL, Tokenizer
from groundup.tokens.trainers import bytes_only, characters, train_bpe
from groundup.tokens.vocabulary import most_tokens

WORDS = ["the", "king", "said", "that", "naïve", "straße", "дом", "国", "1984", "don't", "\n\n", "  ", "def f(x):", "—", "😀"]


@functools.cache
def sample(seed: int = 0, words: int = 4000) -> str:
    draw = random.Random(seed)
    return " ".join(draw.choice(WORDS[: draw.randrange(1, len(WORDS) + 1)]) for _ in range(words))


@functools.cache
def made(kind: str) -> Tokenizer:
    makers = {
        "bpe": lambda: train_bpe([sample()], 294, must_reach=True),
        "characters": lambda: characters([sample()]),
        "bytes": bytes_only,
    }
    return Tokenizer(makers[kind]())


KINDS = ["bpe", "characters", "bytes"]
any_text = st.text() | st.lists(st.sampled_from([*WORDS, *SPECIAL, " ", "<0x41>", "\r\n", "\x00"])).map("".join)


@pytest.mark.parametrize("kind", KINDS)
@settings(deadline=None, max_examples=150)
@given(text=any_text)
def test_round_trip_is_exact_and_special_tokens_stay_out(kind: str, text: str) -> None:
    text = text.encode(errors="replace").decode()  # hypothesis may draw lone surrogates, UTF-8 files cannot hold them
    words = made(kind)
    ids = words.encode(text)
    assert words.decode_bytes(ids) == text.encode()
    assert words.decode(ids) == text
    assert not set(ids) & set(words.special.values())
    assert int(words.byte_lengths[ids].sum()) == len(text.encode())


@pytest.mark.parametrize("kind", KINDS)
def test_special_tokens_come_first_and_stand_for_no_text(kind: str) -> None:
    words = made(kind)
    assert [words.special[name] for name in SPECIAL] == list(range(len(SPECIAL)))
    assert words.decode(range(len(SPECIAL))) == ""
    assert words.decode([0, *words.encode("".join(SPECIAL)), 3]) == "".join(SPECIAL)


@pytest.mark.parametrize("kind", KINDS)
def test_the_file_works_in_the_library_that_everyone_loads_it_with(kind: str, tmp_path) -> None:
    words = made(kind)
    text = made_text = {"bpe": train_bpe([sample()], 294, must_reach=True), "characters": characters([sample()]), "bytes": bytes_only()}[kind]
    (tmp_path / "tokenizer.json").write_text(text, encoding="utf-8")
    assert Tokenizer.load(tmp_path).digest == Tokenizer(made_text).digest
    theirs = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    for line in ("the king said naïve 国 ж 😀", " \n\n  x", "été"):
        assert theirs.encode(line).ids == words.encode(line)
        assert theirs.decode(words.encode(line)) == line
    assert theirs.encode("<|user|>the<|end_of_turn|>").ids == [words.special["<|user|>"], *words.encode("the"), words.special["<|end_of_turn|>"]]


@pytest.mark.parametrize("text", [None, "", "{", '{"model": {"vocab": {}}}', bytes_only().replace("<|user|>", "<|you|>")])
def test_a_damaged_file_is_named(text, tmp_path) -> None:
    if text is not None:
        (tmp_path / "tokenizer.json").write_text(text)
    with pytest.raises(GroundupError, match=r"no readable tokenizer") as error:
        Tokenizer.load(tmp_path)
    assert error.value.where.endswith("tokenizer.json")


def test_kinds_are_what_they_say() -> None:
    assert made("bytes").encode("é") == [byte + len(SPECIAL) for byte in "é".encode()]
    assert made("bytes").size == len(SPECIAL) + 256
    words = made("characters")
    assert [words.decode([token]) for token in words.encode("a國国ï")] == ["a", "\ufffd", "\ufffd", "\ufffd", "国", "ï"]
    assert words.size == len(SPECIAL) + 256 + len({one for one in sample() if ord(one) > 127})
    assert len(made("bpe").encode(" the king said that")) == 4
    assert [made("bpe").decode([token]) for token in made("bpe").encode("1984")] == list("1984")


@settings(deadline=None, max_examples=60)
@given(text=st.lists(st.sampled_from([*WORDS, " ", "\n", " the", "x", " ²", "'s", " \u00a0a"])).map("".join))
def test_cutting_long_texts_changes_no_token(text: str) -> None:
    words = made("bpe")
    whole = words.encode(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tokenizer, "PIECE", 5)
        assert words.encode(text) == whole
        for kind in ("characters", "bytes"):
            assert made(kind).decode(made(kind).encode(text)) == text


def test_the_number_of_threads_does_not_change_the_merges() -> None:
    program = (
        "import random; from groundup.tokens.tokenizer import Tokenizer; from groundup.tokens.trainers import train_bpe\n"
        "d = random.Random(1); words = [''.join(d.choices('abcdef', k=d.randrange(1, 8))) for _ in range(3000)]\n"
        "texts = [' '.join(d.choices(words, k=200)) for _ in range(300)]\n"
        "print(Tokenizer(train_bpe(texts, 700, must_reach=True)).digest)"
    )
    digests = {
        subprocess.run(
            [sys.executable, "-c", program], env={**os.environ, "RAYON_NUM_THREADS": threads}, capture_output=True, text=True, check=True
        ).stdout
        for threads in ("1", "4")
    }  # fmt: skip
    assert len(digests) == 1


@pytest.mark.parametrize(
    "text",
    ["a" * 1_000_000, "ab" * 500_000, " " * 1_000_000, "-=" * 500_000, pytest.param(" " * 12_000_000 + "x", marks=pytest.mark.slow)],
    ids=["a", "ab", "spaces", "signs", "more spaces than the regex engine bears"],
)
def test_a_line_without_a_space_is_no_trap(text: str) -> None:
    words = made("bpe")
    began = time.perf_counter()
    assert words.decode(words.encode(text)) == text
    train_bpe([text], 300, must_reach=False)
    assert time.perf_counter() - began < 30  # seconds here; quadratic time would be hours


def test_encode_batch_is_encode_of_each() -> None:
    texts = ["", "the king", sample(1), "國"]
    for kind in KINDS:
        assert [ids.tolist() for ids in made(kind).encode_batch(texts)] == [made(kind).encode(text) for text in texts]


def rows(count: int = 30, words: int = 400) -> list[tuple[str, str, str]]:
    return [(f"id{n}", "held-out" if n % 10 == 3 else "train", sample(n, words)) for n in range(count)]


def test_stage_learns_from_the_training_split_alone(build_clean) -> None:
    run, cleaned = build_clean(rows())
    stage = train_tokenizer(run, cleaned)
    changed = [(name, split, "held out: something else " * 50 if split == "held-out" else text) for name, split, text in rows()]
    other = train_tokenizer(*build_clean(changed, "other"))
    assert Tokenizer.load(stage.final).digest == Tokenizer.load(other.final).digest
    report = read_json(stage.final / "report.json")
    assert report["size"] == Tokenizer.load(stage.final).size <= 512
    assert 1 < report["held_out_bytes_per_token"] < 10
    assert 1 < report["bytes_per_token"] < 10
    assert train_tokenizer(run, cleaned).digest == stage.digest


def test_unused_tokens_and_single_bytes_are_counted(build_clean) -> None:
    run, cleaned = build_clean([("a", "train", "aab" * 10)], kind="bytes")
    report = read_json(train_tokenizer(run, cleaned).final / "report.json")
    assert report["unused_tokens"] == 254
    assert report["single_byte_share"] == report["bytes_per_token"] == 1
    assert report["held_out_bytes_per_token"] is None


def test_a_vocabulary_the_text_cannot_train_is_refused_with_the_largest_it_can(build_clean) -> None:
    run, cleaned = build_clean(rows(), vocabulary=30_000)
    with pytest.raises(GroundupError, match="larger than this text can train") as error:
        train_tokenizer(run, cleaned)
    largest = int(error.value.do.split("tokens.vocabulary=")[1].split()[0])
    run.close()
    assert Tokenizer.load(train_tokenizer(*build_clean(rows(), vocabulary=largest)).final).size == largest


def test_no_training_text_is_an_error(build_clean) -> None:
    with pytest.raises(GroundupError, match="no training text"):
        train_tokenizer(*build_clean([("a", "held-out", "some text")]))


def test_the_text_bounds_the_vocabulary() -> None:
    sizes = [most_tokens(size) for size in (1, 1_100_000, 4_000_000, 67_000_000, 10**12)]
    assert sizes == [512, 2048, 4096, 16_384, 65_536]


def test_sample_is_bounded_seeded_and_blind_to_order(build_clean) -> None:
    everything = [(f"id{n}", "train", f"{n:04d}" * 25) for n in range(1000)]
    folder = build_clean(everything)[1].final
    backwards = build_clean(everything[::-1], "backwards")[1].final
    draw = lambda place, most, seed: [one.text for one in documents.sample(place, "train", most, seed)]  # noqa: E731
    some = draw(folder, 20_000, 1)
    assert 12_000 < sum(map(len, some)) <= 20_100
    assert set(some) != set(draw(folder, 20_000, 2))
    assert draw(folder, 10**6, 1) == [text for _, _, text in everything]
    again = draw(backwards, 20_000, 1)
    assert len(set(some) & set(again)) >= 0.9 * min(len(some), len(again))  # the bound may cut one of them short
    assert np.mean([int(text[:4]) for text in some]) == pytest.approx(500, abs=100)
