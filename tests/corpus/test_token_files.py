"""Others' token files come back as the text they were made of."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np
import pytest
import tokenizers
from tokenizers import decoders, models, pre_tokenizers, trainers

from groundup.corpus.collect import collect
from groundup.corpus.sources import token_files
from groundup.corpus.sources.files import Report
from groundup.corpus.sources.reading import units
from groundup.corpus.sources.token_files import TokenFile
from groundup.errors import RequestError
from groundup.recipe import parse
from groundup.run import Run

TEXTS = ["The first document. 国 naïve", "A second, longer one.\n\nWith lines. " * 40, "x"]
END = "<|endoftext|>"


@pytest.fixture(scope="module")
def words(tmp_path_factory) -> Path:
    inner = tokenizers.Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300, special_tokens=[END], initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    inner.train_from_iterator(TEXTS, trainer)
    path = tmp_path_factory.mktemp("words") / "tokenizer.json"
    inner.save(str(path))
    return path


def encoded(words: Path) -> list[list[int]]:
    inner = tokenizers.Tokenizer.from_file(str(words))
    return [inner.encode(text).ids for text in TEXTS]


def read(path: Path, words: Path, limit: int = 10**6) -> tuple[list[str], Report]:
    report = Report()
    found = list(TokenFile("s", path, path.name, limit, words).read(report))
    assert len({one.row()["id"] for one in found}) == len(found)
    return [one.text for one in found], report


def ended(words: Path) -> list[int]:
    return [token for ids in encoded(words) for token in [*ids, 0]]


@pytest.mark.parametrize("before", [True, False], ids=["mark before", "mark after"])
def test_nanogpt_and_olmo(words: Path, tmp_path: Path, before: bool) -> None:
    tokens = ended(words)
    array = np.array([0, *tokens[:-1]] if before else tokens, dtype="<u2")
    for name in ("train.bin", "part-0.npy"):
        array.tofile(tmp_path / name)
        assert read(tmp_path / name, words)[0] == TEXTS
    np.save(tmp_path / "with-header.npy", array.astype(np.uint32))
    assert read(tmp_path / "with-header.npy", words)[0] == TEXTS


def test_llm_c(words: Path, tmp_path: Path) -> None:
    tokens = np.array(ended(words), dtype="<u2")
    header = np.zeros(256, dtype="<i4")
    header[:3] = 20240520, 1, len(tokens)
    (tmp_path / "fineweb.bin").write_bytes(header.tobytes() + tokens.tobytes())
    assert read(tmp_path / "fineweb.bin", words)[0] == TEXTS
    (tmp_path / "cut.bin").write_bytes(header.tobytes() + tokens.tobytes()[:-2])
    texts, report = read(tmp_path / "cut.bin", words)
    assert texts == []
    assert "truncated" in report.skipped[0][1]


@pytest.mark.parametrize("code, kind", [(8, "<u2"), (4, "<i4")])
@pytest.mark.parametrize("marked", [True, False])
def test_megatron(words: Path, tmp_path: Path, code: int, kind: str, marked: bool) -> None:
    documents = [[*ids, 0] if marked else ids for ids in encoded(words)]
    halves = [documents[0][:2], documents[0][2:], *documents[1:]]  # a document may be several sequences
    lengths = [len(half) for half in halves]
    width = np.dtype(kind).itemsize
    (tmp_path / "d.bin").write_bytes(np.array([token for half in halves for token in half], dtype=kind).tobytes())
    places = np.cumsum([0, *lengths[:-1]]) * width
    firsts = np.array([0, 2, 3, 4], dtype="<i8")
    (tmp_path / "d.idx").write_bytes(
        b"MMIDIDX\0\0" + struct.pack("<QBQQ", 1, code, 4, 4) + np.array(lengths, "<i4").tobytes() + places.astype("<i8").tobytes() + firsts.tobytes()
    )
    assert read(tmp_path / "d.bin", words)[0] == TEXTS
    (tmp_path / "d.idx").write_bytes(b"MMIDIDX\0\0" + struct.pack("<QBQQ", 1, code, 400, 4))
    assert "damaged" in read(tmp_path / "d.bin", words)[1].skipped[0][1]


@pytest.mark.parametrize("kind", ["<u2", "<u4"])
def test_datatrove(words: Path, tmp_path: Path, kind: str) -> None:
    documents = [[*ids, 0] for ids in encoded(words)]
    (tmp_path / "a.ds").write_bytes(np.array([token for ids in documents for token in ids], dtype=kind).tobytes())
    (tmp_path / "a.ds.index").write_bytes(np.cumsum([len(ids) for ids in documents]).astype("<u8").tobytes())
    assert read(tmp_path / "a.ds", words)[0] == TEXTS


def test_long_documents_are_decoded_in_pieces_and_cut(words: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(token_files, "PIECE", 50)
    text = "naïve 国国国 words " * 300
    inner = tokenizers.Tokenizer.from_file(str(words))
    np.array(inner.encode(text).ids, dtype="<u2").tofile(tmp_path / "long.bin")
    found, _ = read(tmp_path / "long.bin", words, limit=1000)
    assert "".join(found) == text
    assert len(found) > 4


def test_another_tokenizer_s_file_is_skipped_with_the_reason(words: Path, tmp_path: Path) -> None:
    np.array([5, 6, 60_000], dtype="<u2").tofile(tmp_path / "other.bin")
    texts, report = read(tmp_path / "other.bin", words)
    assert texts == []
    assert "it holds the token 60,000, and its tokenizer has" in report.skipped[0][1]
    (tmp_path / "odd.bin").write_bytes(b"abc")
    assert "no multiple of 2" in read(tmp_path / "odd.bin", words)[1].skipped[0][1]


def test_as_a_source_of_a_recipe(words: Path, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    np.array(ended(words), dtype="<u2").tofile(folder / "train.bin")
    (folder / "meta.pkl").write_bytes(b"never read")
    recipe = parse({"name": "r", "sources": [{"kind": "token-files", "path": str(folder), "tokenizer": str(words)}]})
    run = Run.open(tmp_path / "r", recipe)
    report = Report()
    texts = [one.text for _, unit in units(recipe, collect(run).final) for one in unit.read(report)]
    assert texts == TEXTS
    assert report.skipped == [("meta.pkl", "not a kind of token file that is read here")]
    run.close()
    wrong = parse({"name": "w", "sources": [{"kind": "token-files", "path": str(folder), "tokenizer": str(folder)}]})
    with pytest.raises(RequestError, match="no readable tokenizer"):
        collect(Run.open(tmp_path / "w", wrong))


def test_gpt_2_s_two_files_are_enough(words: Path, tmp_path: Path) -> None:
    model = json.loads(words.read_text())["model"]
    (tmp_path / "encoder.json").write_text(json.dumps(model["vocab"]))
    (tmp_path / "vocab.bpe").write_text("#version: 0.2\n" + "".join(" ".join(merge) + "\n" for merge in model["merges"]))
    np.array(ended(words), dtype="<u2").tofile(tmp_path / "train.bin")
    assert read(tmp_path / "train.bin", tmp_path)[0] == TEXTS
