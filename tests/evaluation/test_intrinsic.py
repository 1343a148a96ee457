"""Bits per byte against a plain loop, and the bookkeeping of windows."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from groundup.evaluation.baselines import baselines
from groundup.evaluation.intrinsic import bits_per_byte, quick_bits_per_byte, windows
from groundup.models.build import build
from groundup.models.config import ModelConfig
from groundup.tokens.shards import TokenSplit

END = 0


def split_of(lengths: list[int], seed: int = 0) -> TokenSplit:
    source = np.random.default_rng(seed)
    documents = [source.integers(1, 64, length) for length in lengths]
    tokens = np.concatenate([[END], *([*document, END] for document in documents)]).astype(np.uint16)
    starts = 1 + np.concatenate([[0], np.cumsum([length + 1 for length in lengths])])[:-1]
    return TokenSplit(tokens, starts.astype(np.int64), np.array([3 * length for length in lengths]), END)


@pytest.mark.parametrize("context,stride", [(16, 16), (16, 8), (5, 2), (7, 1)])
@pytest.mark.parametrize("lengths", [[40, 3, 1, 16, 17, 5], [1], [100]])
def test_every_text_token_is_scored_once_with_enough_before_it(context: int, stride: int, lengths: list[int]) -> None:
    split = split_of(lengths)
    scored: list[int] = []
    for first, length, count in windows(split, context, stride):
        assert 0 < length <= context
        for target in range(first + length - count + 1, first + length + 1):
            document_start = max(start for start in split.starts if start <= target)
            seen = target - first
            assert seen >= min(target - document_start + 1, context - stride + 1)
            scored.append(target)
        assert END not in split.tokens[first + 1 : first + length + 1], "a window stays within its document"
    expected = [start + i for start, length in zip(split.starts, lengths, strict=True) for i in range(length)]
    assert sorted(scored) == expected


def test_it_equals_a_plain_loop(tiny: ModelConfig) -> None:
    model = build(tiny, seed=3).eval()
    torch.nn.init.normal_(model.embedding.weight, std=0.5)  # sharp, so that an off-by-one shows
    split = split_of([40, 7, 1, 23])
    nats = 0.0
    for first, length, count in windows(split, 16, 6):
        ids = torch.from_numpy(split.tokens[first : first + length + 1].astype(np.int64))
        logits = model(ids[None, :-1], torch.arange(length)[None])[0]
        nats += F.cross_entropy(logits, ids[1:], reduction="none")[-count:].sum().item()
    figures = bits_per_byte(model, split, 16, 6, batch_tokens=50)
    assert figures["bits_per_byte"] == pytest.approx(nats / math.log(2) / (3 * 71), rel=1e-6)
    assert figures["held_out_tokens"] == 71 and figures["held_out_bytes"] == 213
    assert figures["perplexity_per_token"] == pytest.approx(math.exp(nats / 71), rel=1e-6)


def test_the_quick_figure_over_everything_is_the_exact_one_without_overlap(tiny: ModelConfig) -> None:
    model = build(tiny, seed=3).eval()
    split = split_of([40, 7, 1, 23])
    exact = bits_per_byte(model, split, 16, 16)["bits_per_byte"]
    assert quick_bits_per_byte(model, split, 16, 10**9, seed=1) == pytest.approx(exact, rel=1e-6)


def test_baselines_are_ordered_on_text_that_repeats() -> None:
    train = [f"The {animal} says {noise} to the farmer.\n" * 30 for animal, noise in (("cow", "moo"), ("dog", "woof"))]
    figures = baselines(train, ["The dog says moo to the farmer.\n" * 10])
    assert figures["uniform_bits_per_byte"] == 8.0
    assert 0 < figures["xz9_primed_bits_per_byte"] < figures["xz9_bits_per_byte"] < 8.0
    assert 0 < figures["ngram5_kneser_ney_bits_per_byte"] < 2.0
    assert figures["train_bytes_seen"] == sum(map(len, train))
