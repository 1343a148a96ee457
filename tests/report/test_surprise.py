"""The page of what surprised a model: the text unchanged, figures of its tokens right, readable on every shade, hostile text harmless."""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np
import pytest
from fabricated import HOSTILE
from test_browser import CHROMIUM, measure
from test_page import Reader, _contrast, _schemes

from groundup.evaluation.baselines import baselines
from groundup.evaluation.intrinsic import Guesses
from groundup.evaluation.perplexity import Sums, encoded
from groundup.report import surprise
from groundup.tokens.documents import Text
from groundup.tokens.tokenizer import Tokenizer
from groundup.tokens.trainers import bytes_only, train_bpe

TEXTS = ["The cat sat.\n\n  On 猫 it sat, naïve & <b>bold</b>.", HOSTILE, "x" * 300, ""]


def made(words: Tokenizer, texts: list[str] = TEXTS) -> tuple[str, list[float]]:
    """A page with surprises drawn by place, and the bits of all tokens."""
    texts_ = [Text(str(number), "web", "", text, f"https://host.example/{number}?a=<b>") for number, text in enumerate(texts)]
    split = encoded(words, texts_)
    draw = np.random.default_rng(0)
    nats_N = draw.exponential(3.0, len(split.tokens)).astype(np.float32)
    likeliest_NK = draw.integers(0, words.size, (len(split.tokens), 3))
    guesses = Guesses(nats_N, likeliest_NK, np.full((len(split.tokens), 3), 0.25, np.float32))
    nats_N[split.ends] = 0
    figures = Sums(len(texts), len(nats_N) - len(texts), 12, 400, int(split.byte_counts.sum()), float(nats_N.sum())).figures()
    found = {
        **figures, "window_tokens": 64, "stride_tokens": 32, "lossless_tokenizer": True, "baselines": baselines(None, texts),
        "groups": {"web <i>": figures, "another source with a rather long name in it": {**figures, "perplexity_per_word": None}},
    }  # fmt: skip
    return surprise.render(found, texts_, split, guesses, words, "demo", "held-out text"), (nats_N / math.log(2)).tolist()


@pytest.fixture(scope="module", params=["bytes", "bpe"])
def words(request: pytest.FixtureRequest) -> Tokenizer:
    return Tokenizer(bytes_only() if request.param == "bytes" else train_bpe(TEXTS * 3, 280, must_reach=True))


def test_the_text_stands_there_token_by_token(words: Tokenizer) -> None:
    page, bits = made(words)
    reader = Reader(page)
    assert [tag for tag, _ in reader.tags if tag in ("script", "img", "b")] == []
    heat = page[page.index('<section id="heat"') :]
    documents = re.findall(r'<div class="text heat" dir="auto">(.*?)</div>', heat, re.DOTALL)
    assert len(documents) == len(TEXTS)
    assert Reader(documents[0]).text == TEXTS[0]  # blanks and all
    pieces = re.findall(r"<i(?: class=\"s(\d)\")? title=\"([^\"]*)\">", documents[0])
    said = [float(re.search(r"([\d.]+) bits", title)[1]) for _, title in pieces]  # type: ignore[index]
    assert sum(said) == pytest.approx(sum(bits[: len(words.encode(TEXTS[0]))]), abs=0.06 * len(said))
    for (shade, _), value in zip(pieces, said, strict=True):
        assert sum(value >= step + 0.06 for step in surprise.STEPS) <= int(shade or 0) <= sum(value >= step - 0.06 for step in surprise.STEPS)
    assert len(pieces) < len(TEXTS[0].encode())  # 猫 is one piece, be it three tokens or one
    assert all("expected: " in title and "25 %" in title for _, title in pieces)


def test_each_surprising_word_stands_once_with_its_context(words: Tokenizer) -> None:
    page, _ = made(words, ["one two three two", "four"])
    table = page[page.index('<table class="stack words">') : page.index('<section id="heat"')]
    assert sorted(re.findall(r"<mark>(.*?)</mark>", table)) == ["four", "one", "three", "two"]
    assert '<span class="before">one two </span><mark>three</mark>' in table
    bits = [float(value) for value in re.findall(r'data-label="Bits">([\d.]+)', table)]
    assert bits == sorted(bits, reverse=True)


def test_letters_are_readable_on_every_shade() -> None:
    source = (Path(surprise.__file__).parent / "surprise.html.j2").read_text()
    blocks = [re.findall(r"--s\d: (#[0-9a-f]{6})", block) for block in re.findall(r":root \{(.*?)\}", source)]
    for scheme, shades in zip(_schemes(), blocks[:2], strict=True):
        assert len(shades) == len(surprise.STEPS)
        contrasts = [_contrast(scheme["ink"], shade) for shade in shades]
        assert min(contrasts) >= 4.5 and contrasts == sorted(contrasts, reverse=True)
    assert blocks[2] == blocks[0]  # print


def test_probabilities_in_words() -> None:
    assert [surprise._share(share) for share in (0.5, 0.0123, 2**-15, 1e-30)] == ["50 %", "1.2 %", "1 in 32,768", "1 in 1,000,000,000,000"]


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")
def test_the_page_fits(tmp_path: Path) -> None:
    found = measure(made(Tokenizer(bytes_only()))[0], tmp_path, 390)
    assert found["scroll"] <= 390 and found["cut"] == [] and found["requests"] == []
