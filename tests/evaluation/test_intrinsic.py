"""Bits per byte: equal to a loop over tokens, whatever the batches; every token once; closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from groundup.corpus.ngram import KneserNey
from groundup.errors import GroundupError
from groundup.evaluation import intrinsic
from groundup.evaluation.intrinsic import bits_per_byte, quick_bits_per_byte
from groundup.models.build import build
from groundup.models.config import ModelConfig
from groundup.tokens.shards import TokenSplit
from groundup.tokens.tokenizer import Tokenizer
from groundup.tokens.trainers import bytes_only, train_bpe

END = 0


def split_of(documents: list[list[int]], byte_lengths: list[int]) -> TokenSplit:
    tokens = np.array([token for document in documents for token in [*document, END]], dtype=np.uint16)
    starts = np.cumsum([0, *(len(document) + 1 for document in documents)])[:-1]
    lengths = np.array(byte_lengths)
    sizes = np.array([int(lengths[document].sum()) for document in documents])
    return TokenSplit(tokens, starts, sizes, lengths, END, "")


def random_split(vocabulary: int, sizes: list[int], seed: int = 0) -> TokenSplit:
    draw = np.random.default_rng(seed)
    documents = [draw.integers(1, vocabulary, size).tolist() for size in sizes]
    return split_of(documents, [0, *draw.integers(1, 5, vocabulary - 1).tolist()])


def sharp(tiny: ModelConfig) -> nn.Module:
    """A model whose guesses depend on every token it sees: one place off and the sum is another."""
    model = build(tiny, seed=3)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(8 if parameter.ndim > 1 else 1)
    return model


def plain(model: nn.Module, split: TokenSplit, context: int, stride: int) -> float:
    """Nats, token by token: each is predicted from the tokens that its window holds before it."""
    nats = 0.0
    with torch.no_grad():
        for number in range(len(split.starts)):
            read = [END, *split.document(number).tolist()]
            for target in range(1, len(read)):
                # windows begin at multiples of the stride; the first that reaches the target predicts it
                number_of_window = max(0, math.ceil((target - context) / stride))
                before = read[number_of_window * stride : target]
                assert len(before) >= min(target, context - stride + 1)
                logits = model(torch.tensor([before]), torch.arange(len(before))[None], None)[0, -1]
                nats -= float(torch.log_softmax(logits.double(), -1)[read[target]])
    return nats


@pytest.mark.parametrize(("context", "stride"), [(16, 16), (16, 8), (16, 1), (5, 2), (7, 7)])
@pytest.mark.parametrize("batch_tokens", [1, 40, 10_000])
def test_equals_a_loop_over_tokens(tiny, context, stride, batch_tokens) -> None:
    model, split = sharp(tiny), random_split(tiny.vocabulary, [40, 1, 0, 16, 17, 5, 33])
    nats = plain(model, split, context, stride)
    result = bits_per_byte(model, split, context, stride, batch_tokens)
    assert result["bits_per_byte"] == pytest.approx(nats / math.log(2) / split.byte_counts.sum(), rel=1e-5)
    assert result["perplexity_per_token"] == pytest.approx(math.exp(nats / 112), rel=1e-5)
    assert (result["held_out_tokens"], result["held_out_bytes"]) == (112, int(split.byte_counts.sum()))
    assert (result["window_tokens"], result["stride_tokens"]) == (context, stride)


def test_many_windows_at_a_time_or_few(tiny, monkeypatch) -> None:
    model, split = sharp(tiny), random_split(tiny.vocabulary, list(range(30)))
    whole = bits_per_byte(model, split, 16, 4)["bits_per_byte"]
    monkeypatch.setattr(intrinsic, "CHUNK", 3)
    assert bits_per_byte(model, split, 16, 4)["bits_per_byte"] == pytest.approx(whole, rel=1e-6)


def test_more_context_helps_a_model_that_uses_it(tiny) -> None:
    """A model that repeats what it saw is surer the more of the document stands before a token."""

    class Recalls(nn.Module):
        def forward(self, tokens, positions, segments):
            seen = torch.nn.functional.one_hot(tokens, 64).cumsum(1).float()
            return torch.log(seen + 0.1)

    split = split_of([[5, 9, 11, 5] * 20], [0, *[1] * 63])
    figures = [bits_per_byte(Recalls(), split, 8, stride)["bits_per_byte"] for stride in (8, 4, 1)]
    assert figures[0] > figures[1] > figures[2]


class ByBytes(nn.Module):
    """Gives each next token of known documents what a byte n-gram gives its bytes; the rest goes to one other token."""

    def __init__(self, ngram: KneserNey, words: Tokenizer, documents: list[list[int]]) -> None:
        super().__init__()
        self.ngram, self.words, self.documents = ngram, words, documents

    def forward(self, tokens, positions, segments):
        logits = torch.full((*tokens.shape, self.words.size), -1e9, dtype=torch.float64)
        for row, read in enumerate(tokens.tolist()):
            document = next(one for one in self.documents if [END, *one][:5] == read[:5])
            nats = self.ngram.log2_probabilities(self.words.decode_bytes(document)) * math.log(2)
            ends = np.cumsum(self.words.byte_lengths[document])
            for place, (token, end) in enumerate(zip(document, ends, strict=True)):
                mine = nats[end - self.words.byte_lengths[token] : end].sum()
                logits[row, place, token] = mine
                logits[row, place, END] = math.log1p(-math.exp(mine))
        return logits


def test_the_tokenizer_does_not_matter() -> None:
    """Bytes and BPE under one byte n-gram: the same bits a byte, those that the n-gram itself counts."""
    texts = ["the cat sat on the mat. ", "a cat and a dog sät. "]
    ngram = KneserNey.train([b"the cat sat on a dog. " * 3, b"the mat and the dog. " * 3], order=3)
    expected = -ngram.log2_probabilities_of([text.encode() for text in texts]).sum() / len("".join(texts).encode())
    for words in (Tokenizer(bytes_only()), Tokenizer(train_bpe(texts * 20, 275, must_reach=True))):
        documents = words.encode_batch(texts)
        split = split_of(documents, words.byte_lengths.tolist())
        result = bits_per_byte(ByBytes(ngram, words, documents), split, 64, 64)
        assert result["bits_per_byte"] == pytest.approx(expected, rel=1e-5)


def test_uniform_model_of_bytes_has_eight_bits() -> None:
    class Uniform(nn.Module):
        def forward(self, tokens, positions, segments):
            return torch.zeros(*tokens.shape, 256)

    split = random_split(200, [9, 30, 2])
    split = TokenSplit(split.tokens, split.starts, np.array([9, 30, 2]), np.ones(200, np.int64), END, "")
    result = bits_per_byte(Uniform(), split, 8, 4)
    assert result["bits_per_byte"] == pytest.approx(8)
    assert result["perplexity_per_token"] == pytest.approx(256)
    assert quick_bits_per_byte(Uniform(), split, 8, 20, seed=1) == pytest.approx(8)


def test_the_quick_figure_of_everything_is_the_exact_one(tiny) -> None:
    model, split = sharp(tiny), random_split(tiny.vocabulary, [40, 1, 0, 16, 17, 5, 33])
    exact = bits_per_byte(model, split, 16, 16)["bits_per_byte"]
    assert quick_bits_per_byte(model, split, 16, 10**9, seed=1) == pytest.approx(exact, rel=1e-6)
    some = [quick_bits_per_byte(model, split, 16, 40, seed=seed) for seed in (1, 1, 2)]
    assert some[0] == some[1] != some[2]


def test_the_model_is_left_as_it_was(tiny) -> None:
    model = build(tiny.model_copy(update={"residual_dropout": 0.5}), seed=3)
    split = random_split(tiny.vocabulary, [40])
    for training in (True, False):
        model.train(training)
        assert bits_per_byte(model, split, 16, 8) == bits_per_byte(model, split, 16, 8)  # no dropout meanwhile
        assert model.training is training


def test_nothing_held_out_and_wrong_strides(tiny) -> None:
    model = sharp(tiny)
    with pytest.raises(GroundupError, match="no held-out text"):
        bits_per_byte(model, split_of([], [0]), 16, 8)
    with pytest.raises(ValueError, match="stride"):
        bits_per_byte(model, random_split(64, [5]), 16, 17)
