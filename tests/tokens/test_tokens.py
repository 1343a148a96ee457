"""Nothing is lost between text and batches, nothing is made up, and the order is the same however it is cut."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from groundup import recipe as recipes
from groundup.errors import GroundupError
from groundup.run import Run, Stage
from groundup.tokens.loader import Loader
from groundup.tokens.shards import TokenShards, TokenSplit, encode
from groundup.tokens.tokenizer import SPECIAL, Tokenizer, default_vocabulary, train_tokenizer

WORDS = ["the", "model", "reads", "a", "text", "and", "guesses", "the", "next", "word", "of", "the", "text", "again", "and", "again", "until", "it", "reads", "well"]
TEXTS = [" ".join(WORDS[i % 7 : i % 7 + 9]) + f" {i}.\n" * 2 for i in range(60)] + ["naïve café 日本 <|user|> \u0000 end"]


def cleaned_run(path: Path, **tokens: object) -> tuple[Run, Stage]:
    """A run whose clean stage holds TEXTS in two parts, every tenth document held out."""
    data = {"name": "x", "sources": [{"kind": "files", "path": "here"}], "tokens": tokens}
    run = Run.open(path, recipes.parse(data))
    stage = run.stage("clean", "corpus/clean", depends={}, inputs={})
    for part, texts in enumerate((TEXTS[:35], TEXTS[35:])):
        splits = ["held-out" if i % 10 == 3 else "train" for i in range(len(texts))]
        pq.write_table(pa.table({"text": texts, "split": splits}), stage.work / f"part-{part:05d}.parquet")
    stage.finish({})
    return run, stage


def trained(path: Path, **tokens: object) -> Tokenizer:
    run, cleaned = cleaned_run(path, **tokens)
    return Tokenizer.load(train_tokenizer(run, cleaned).final)


@pytest.fixture(scope="module")
def tokenizers_by_kind(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Tokenizer]:
    base = tmp_path_factory.mktemp("kinds")
    return {kind: trained(base / kind, kind=kind) for kind in ("bpe", "characters", "bytes")}


@pytest.mark.parametrize("kind", ["bpe", "characters", "bytes"])
@settings(max_examples=150, deadline=None)
@given(text=st.text(st.characters(exclude_categories=["Cs"]), max_size=60))
def test_any_text_comes_back_byte_for_byte(tokenizers_by_kind: dict[str, Tokenizer], kind: str, text: str) -> None:
    tokenizer = tokenizers_by_kind[kind]
    ids = tokenizer.encode(text)
    assert tokenizer.decode_bytes(ids) == text.encode()
    assert not set(ids) & set(tokenizer.special.values())


@pytest.mark.parametrize("kind", ["bpe", "characters", "bytes"])
def test_special_tokens_have_the_first_ids_and_never_come_from_text(tokenizers_by_kind: dict[str, Tokenizer], kind: str) -> None:
    tokenizer = tokenizers_by_kind[kind]
    assert [tokenizer.special[name] for name in SPECIAL] == list(range(7))
    ids = tokenizer.encode("".join(SPECIAL))
    assert min(ids) >= 7
    assert tokenizer.decode([0, *ids, 3]) == "".join(SPECIAL)


def test_the_kinds_are_what_they_say(tokenizers_by_kind: dict[str, Tokenizer]) -> None:
    assert len(tokenizers_by_kind["bytes"].encode("naïve")) == 6
    assert len(tokenizers_by_kind["characters"].encode("naïve")) == 5
    assert len(tokenizers_by_kind["characters"].encode("ж")) == 2, "a character never seen falls back to its bytes"
    assert len(tokenizers_by_kind["bpe"].encode(" the text")) == 2
    assert tokenizers_by_kind["bytes"].size == 263


def test_training_twice_gives_the_same_file(tmp_path: Path) -> None:
    assert trained(tmp_path / "a").digest == trained(tmp_path / "b").digest


def test_a_vocabulary_the_text_cannot_fill_is_refused_with_the_largest_that_it_can(tmp_path: Path) -> None:
    run, cleaned = cleaned_run(tmp_path / "run", vocabulary=30_000)
    with pytest.raises(GroundupError, match=r"only \d+ tokens occur at least twice.*Set it to at most \d+"):
        train_tokenizer(run, cleaned)


def test_the_default_vocabulary_grows_with_the_root_of_the_text() -> None:
    assert default_vocabulary(4_400_000) == 2112
    assert default_vocabulary(100) == 512
    assert default_vocabulary(10**12) == 65_536


def encoded(path: Path) -> tuple[Path, Tokenizer]:
    run, cleaned = cleaned_run(path)
    tokenizer = train_tokenizer(run, cleaned)
    return encode(run, cleaned, tokenizer).final, Tokenizer.load(tokenizer.final)


def test_shards_hold_every_document_whole(tmp_path: Path) -> None:
    folder, tokenizer = encoded(tmp_path / "run")
    shards = TokenShards(folder)
    found = []
    for name in ("train", "held-out"):
        split = shards.split(name)
        assert split.tokens[0] == split.tokens[-1] == tokenizer.end_of_text
        assert (split.tokens == tokenizer.end_of_text).sum() == len(split.starts) + 1
        texts = [tokenizer.decode(split.document(i).tolist()) for i in range(len(split.starts))]
        assert [len(text.encode()) for text in texts] == split.byte_counts.tolist()
        found += texts
    assert sorted(found) == sorted(TEXTS)


def test_encoding_cut_off_anywhere_ends_in_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, _ = encoded(tmp_path / "whole")
    run, cleaned = cleaned_run(tmp_path / "cut")
    tokenizer = train_tokenizer(run, cleaned)
    real, calls = Tokenizer.encode_batch, itertools.count()

    def cut(self: Tokenizer, texts: list[str]) -> list[list[int]]:
        if next(calls) == 1:
            raise KeyboardInterrupt
        return real(self, texts)

    monkeypatch.setattr(Tokenizer, "encode_batch", cut)
    with pytest.raises(KeyboardInterrupt):
        encode(run, cleaned, tokenizer)
    again = encode(run, cleaned, tokenizer).final
    assert next(calls) == 3, "the first part was not encoded twice"
    names = sorted(path.name for path in whole.iterdir() if path.name != "manifest.json")
    assert names == sorted(path.name for path in again.iterdir() if path.name != "manifest.json")
    for name in names:
        assert (whole / name).read_bytes() == (again / name).read_bytes(), name


def split_of(lengths: list[int]) -> TokenSplit:
    """Documents whose tokens are all different, so that a place can be told from its token."""
    numbers = iter(range(1, 60_000))
    documents = [[next(numbers) for _ in range(length)] for length in lengths]
    tokens = np.array([0, *(token for document in documents for token in [*document, 0])], np.uint16)
    starts = 1 + np.cumsum([0, *(length + 1 for length in lengths)])[:-1]
    return TokenSplit(tokens, starts, np.array(lengths), 0)


def test_an_epoch_sees_each_row_once_and_epochs_differ() -> None:
    split = split_of([50, 3, 120, 7, 1, 90])
    loader = Loader(split, context=8, rows=1, micro_batches=1, seed=4)
    epochs = []
    for epoch in range(3):
        batches = [loader(epoch * loader.rows_per_epoch + row, 0) for row in range(loader.rows_per_epoch)]
        targets = [int(token) for batch in batches for token in batch["targets"].flatten() if token]
        assert len(targets) == len(set(targets)), "no token is a target twice in an epoch"
        assert len(targets) > 0.85 * (len(split.tokens) - 7)
        epochs.append(targets)
    assert epochs[0] != epochs[1] != epochs[2]


def test_rows_are_what_the_picture_shows() -> None:
    split = split_of([3, 9, 2])
    loader = Loader(split, context=8, rows=1, micro_batches=1, seed=0)
    for step in range(20):
        batch = {name: tensor[0] for name, tensor in loader(step, 0).items()}
        assert (batch["targets"][:-1] == batch["tokens"][1:]).all()
        for i in range(1, 8):
            begins = batch["tokens"][i] == 0
            assert batch["segments"][i] == batch["segments"][i - 1] + int(begins)
            assert batch["positions"][i] == (0 if begins else batch["positions"][i - 1] + 1)
        assert batch["positions"][0] == 0
        assert (batch["weights"] == 1).all()


def test_a_batch_depends_on_its_step_alone_and_not_on_how_it_is_cut() -> None:
    split = split_of([50, 3, 120, 7, 1, 90])
    whole = Loader(split, context=8, rows=4, micro_batches=1, seed=4)
    halves = Loader(split, context=8, rows=2, micro_batches=2, seed=4)
    for step in (31, 2, 17, 3, 31):
        together = np.concatenate([halves(step, micro)["tokens"].numpy() for micro in range(2)])
        np.testing.assert_array_equal(whole(step, 0)["tokens"].numpy(), together)


def test_too_little_text_is_an_error() -> None:
    with pytest.raises(GroundupError, match="fewer than one context of 64"):
        Loader(split_of([20]), context=64, rows=1, micro_batches=1, seed=0)
    assert Loader(split_of([63]), context=64, rows=1, micro_batches=1, seed=0)(5, 0)["tokens"].shape == (1, 64)
