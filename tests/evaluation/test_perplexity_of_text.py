"""Perplexity of any text: a naive loop over tokens on real text, one n-gram under two tokenizers, bytes as they stand in files."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from test_intrinsic import ByBytes

from groundup.corpus.ngram import KneserNey
from groundup.errors import GroundupError, RequestError
from groundup.evaluation.baselines import baselines
from groundup.evaluation.intrinsic import bits_per_byte, guesses, surprise
from groundup.evaluation.perplexity import NO_DOMAIN, as_text, encoded, perplexity, read_texts
from groundup.models.build import build
from groundup.models.config import ModelConfig
from groundup.tokens.documents import Text
from groundup.tokens.tokenizer import Tokenizer
from groundup.tokens.trainers import bytes_only, train_bpe

DATA = next((path for parent in Path(__file__).resolve().parents if (path := parent / "shared/data/pretrain").exists()), None)
TEXTS = ["the cat sat on the mat.\n", "a cat and a dög sät, 猫 there. "]


def of(texts: list[str]) -> list[Text]:
    return [Text(str(number), "here", "", text) for number, text in enumerate(texts)]


def test_the_tokenizer_does_not_matter_in_any_unit_but_tokens(tmp_path: Path) -> None:
    ngram = KneserNey.train([b"the cat sat on a dog. " * 3, b"the mat and the dog. " * 3], order=3)
    size, bits = len("".join(TEXTS).encode()), -float(ngram.log2_probabilities_of([text.encode() for text in TEXTS]).sum())
    for number, text in enumerate(TEXTS):
        (tmp_path / f"{number}.txt").write_text(text)
    found = []
    for words in (Tokenizer(bytes_only()), Tokenizer(train_bpe(TEXTS * 20, 285, must_reach=True))):
        model = ByBytes(ngram, words, [ids.tolist() for ids in words.encode_batch(TEXTS)])
        found.append(perplexity(model, words, read_texts([tmp_path]), 64, 64, by="source"))
    for one in found:
        assert one["bits_per_byte"] == pytest.approx(bits / size, rel=1e-6)
        assert one["bits_per_character"] == pytest.approx(bits / len("".join(TEXTS)), rel=1e-6)
        assert one["perplexity_per_word"] == pytest.approx(2 ** (bits / 14), rel=1e-5)
        assert one["perplexity_per_byte"] == pytest.approx(2 ** (bits / size), rel=1e-6)
        assert (one["documents"], one["words"], one["characters"], one["bytes"]) == (2, 14, len("".join(TEXTS)), size)
        assert list(one["groups"]) == ["1.txt", "0.txt"]  # most bytes first
        alone = -float(ngram.log2_probabilities(TEXTS[0].encode()).sum()) / len(TEXTS[0])
        assert one["groups"]["0.txt"]["bits_per_byte"] == pytest.approx(alone, rel=1e-6)
    assert found[0]["tokens"] == size > found[1]["tokens"]
    assert found[0]["perplexity_per_token"] == pytest.approx(found[0]["perplexity_per_byte"])
    assert found[1]["perplexity_per_token"] > found[0]["perplexity_per_token"]


def naive(model: torch.nn.Module, tokens: list[int], end_of_text: int, context: int) -> float:
    """Nats of a document, token by token, each after as many of those before it as the model reads."""
    nats = 0.0
    read = [end_of_text, *tokens]
    with torch.no_grad():
        for place in range(1, len(read)):
            before = torch.tensor([read[max(0, place - context) : place]])
            scores_V = model(before, torch.arange(before.shape[1])[None], None)[0, -1].double()
            nats -= float(scores_V.log_softmax(-1)[read[place]])
    return nats


def reference(model: torch.nn.Module, words: Tokenizer, texts: list[str], context: int) -> float:
    """Bits per byte by the plain way."""
    nats = sum(naive(model, words.encode(text), words.special["<|end_of_text|>"], context) for text in texts)
    return nats / math.log(2) / sum(len(text.encode()) for text in texts)


@pytest.fixture(scope="module")
def small() -> tuple[torch.nn.Module, Tokenizer]:
    """A model whose guesses hang on what it sees, and a tokenizer of English."""
    words = Tokenizer(train_bpe(["The quick brown fox jumps over the lazy dog, and the other one lies in the sun. "] * 9, 300, must_reach=True))
    model = build(ModelConfig(vocabulary=words.size, context=32, layers=2, width=32, heads=4, kv_heads=2, feedforward=64), seed=3).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(4 if parameter.ndim > 1 else 1)
    return model, words


@pytest.mark.skipif(DATA is None, reason="needs ../shared/data/pretrain beside this clone")
@pytest.mark.parametrize("name", ["wikitext-2/valid.txt", "tinyshakespeare/input.txt"])
def test_equals_a_plain_computation_on_public_text(small: tuple[torch.nn.Module, Tokenizer], tmp_path: Path, name: str) -> None:
    """Full windows: with a stride of one token each is predicted from all that the model can read before it."""
    assert DATA is not None
    model, words = small
    piece = (DATA / name).read_text()[2000:3000]
    (tmp_path / "piece.txt").write_text(piece)
    found = perplexity(model, words, read_texts([tmp_path / "piece.txt"]), 32, 1)
    assert found["bytes"] == len(piece.encode()) and found["documents"] == 1
    assert found["bits_per_byte"] == pytest.approx(reference(model, words, [piece], 32), abs=1e-6)


def test_a_run_s_held_out_text_equals_a_plain_computation(small: tuple[torch.nn.Module, Tokenizer]) -> None:
    """By the shards, as a build measures it, and by the texts: one figure."""
    model, words = small
    texts = [f"{text} {number} " * 4 for number, text in enumerate(TEXTS)]
    split = encoded(words, of(texts))
    expected = reference(model, words, texts, 32)
    assert bits_per_byte(model, split, 32, 1)["bits_per_byte"] == pytest.approx(expected, abs=1e-6)
    assert perplexity(model, words, of(texts), 32, 1)["bits_per_byte"] == pytest.approx(expected, abs=1e-6)


def test_guesses_are_the_model_s_distribution(small: tuple[torch.nn.Module, Tokenizer]) -> None:
    model, words = small
    split = encoded(words, of(TEXTS))
    found = guesses(model, split, 32, 32, most=3)
    assert found.nats_N == pytest.approx(surprise(model, split, 32, 32), abs=1e-5)
    tokens = [split.end_of_text, *split.document(1)[:5].tolist()]
    with torch.no_grad():
        shares_V = model(torch.tensor([tokens]), torch.arange(6)[None], None)[0, -1].softmax(-1)
    place = int(split.starts[1]) + 5
    assert found.shares_NK[place] == pytest.approx(shares_V.topk(3).values.numpy(), abs=1e-5)
    assert found.likeliest_NK[place].tolist() == shares_V.topk(3).indices.tolist()
    assert math.exp(-found.nats_N[place]) == pytest.approx(float(shares_V[split.tokens[place]]), rel=1e-4)
    assert found.nats_N[split.ends].tolist() == [0.0, 0.0]


def test_lots_of_texts_make_no_difference(small: tuple[torch.nn.Module, Tokenizer], monkeypatch: pytest.MonkeyPatch) -> None:
    texts = of([*TEXTS * 3, ""])
    whole = perplexity(*small, texts, 32, 16)
    monkeypatch.setattr("groundup.evaluation.perplexity.LOT", 40)
    assert perplexity(*small, texts, 32, 16) == pytest.approx(whole, rel=1e-6)


def test_bytes_are_those_of_the_file(small: tuple[torch.nn.Module, Tokenizer], tmp_path: Path) -> None:
    """Blanks at line ends, carriage returns and accents in two code points stay what they are."""
    data = "One  \r\ntwo\tthree  \r\n\r\ncafe\u0301 \u00e9\n\n\n".encode()
    (tmp_path / "odd.txt").write_bytes(data)
    found = perplexity(*small, read_texts([tmp_path]), 32, 16)
    assert (found["bytes"], found["characters"], found["words"]) == (len(data), len(data.decode()), 5)


def test_a_file_of_any_kind_that_is_text(small: tuple[torch.nn.Module, Tokenizer], tmp_path: Path) -> None:
    (tmp_path / "code.py").write_bytes(b"print('x')\r\n")
    assert perplexity(*small, read_texts([tmp_path / "code.py"]), 32, 16)["bytes"] == 12
    (tmp_path / "picture.xyz").write_bytes(b"\x89PNG\r\n")
    with pytest.raises(RequestError, match=r"no UTF-8 text \(byte 0\)"):
        perplexity(*small, read_texts([tmp_path / "picture.xyz"]), 32, 16)


def test_a_text_without_words_has_no_perplexity_per_word(small: tuple[torch.nn.Module, Tokenizer]) -> None:
    found = perplexity(*small, [*of(["\n  \n"]), Text("x", "there", "", "one two")], 32, 16, by="source")
    assert found["groups"]["here"]["perplexity_per_word"] is None
    said = as_text(found, "both").splitlines()
    assert said[0] == "both: 2 documents, 11 bytes; windows of 32 tokens moved by 16"
    assert next(line for line in said if line.startswith("  here")).endswith(" -")


def test_by_domain(small: tuple[torch.nn.Module, Tokenizer], tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"text": "one two", "url": "https://a.example/x"}, {"text": "three", "url": "http://user@b.example:80/"}, {"text": "four", "url": "https://a.example/y?z"}, {"text": "five"},
    ]  # fmt: skip
    (tmp_path / "x.jsonl").write_text("\n".join(map(json.dumps, rows)))
    found = perplexity(*small, read_texts([tmp_path]), 32, 16, by="domain")
    assert {name: (one["documents"], one["bytes"]) for name, one in found["groups"].items()} == {"a.example": (2, 11), "b.example": (1, 5), NO_DOMAIN: (1, 4)}
    whole = sum(one["bits_per_byte"] * one["bytes"] for one in found["groups"].values())
    assert whole == pytest.approx(found["bits_per_byte"] * found["bytes"])


def test_what_cannot_be_measured(small: tuple[torch.nn.Module, Tokenizer], tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="no such file"):
        perplexity(*small, read_texts([tmp_path / "x"]), 32, 16)
    (tmp_path / "a.txt").write_text("")
    said: list[str] = []
    with pytest.raises(GroundupError, match="no text to measure on"):
        perplexity(*small, read_texts([tmp_path], said.append), 32, 16)
    assert said == ["a.txt: empty"]
    (tmp_path / "b.html").write_text("<p>text</p>")
    with pytest.raises(RequestError, match="HTML"):
        perplexity(*small, read_texts([tmp_path], said.append), 32, 16)


def test_zstd_as_a_baseline_alone_and_beside_the_others() -> None:
    text = "the cat sat on the mat and the dog sat on the log " * 40
    alone = baselines(None, [text])
    assert set(alone) == {"uniform_bits_per_byte", "xz9_bits_per_byte", "zstd19_bits_per_byte"}
    assert 0 < alone["zstd19_bits_per_byte"] < 1
    beside = baselines([text], [text])
    assert {name: beside[name] for name in alone} == alone
    assert np.isfinite(list(beside.values())).all()
