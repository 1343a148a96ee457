"""The engine's lanes give what a plain forward pass of each request gives, whatever the model is made of."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from plain import PlainScorer, shared_pairs

from groundup.errors import RequestError
from groundup.evaluation.cached_lanes import CachedLanes, scorer_of
from groundup.evaluation.prefix_scorer import PrefixScorer
from groundup.generation import kernels
from groundup.models.build import build
from groundup.models.config import ModelConfig

PLAIN = {"vocabulary": 61, "context": 96, "layers": 2, "width": 32, "heads": 4, "feedforward": 64, "init_std": 0.3}
SHAPES = {
    "rotary, shared key heads": {"kv_heads": 2},
    "learned places, tied": {"kv_heads": 4, "position": "learned", "norm": "layer", "activation": "gelu", "tied": True},
    "alibi": {"kv_heads": 4, "position": "alibi"},
    "bigrams, windows": {"kv_heads": 2, "ngram_rows": (97,), "windows": (24, 0)},
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("seed", range(3))
def test_equal_to_each_request_alone(shape: str, seed: int) -> None:
    model = build(ModelConfig(**PLAIN, **SHAPES[shape]), seed=seed).eval()
    pairs = shared_pairs(seed, vocabulary=(61, 3)[seed % 2], examples=60)
    scorer = PrefixScorer(CachedLanes(model).lay_out, 96, 61, batch_tokens=(64, 4096)[seed % 2], cache_tokens=(90, 1000)[seed % 2])
    expected = PlainScorer(model, 96).log_likelihoods(pairs)
    for _ in range(2):  # the lanes are laid out anew for each set of requests
        found = scorer.log_likelihoods(pairs)
        assert [log for log, _ in found] == pytest.approx([log for log, _ in expected], abs=1e-4)
        assert [greedy for _, greedy in found] == [greedy for _, greedy in expected]
        pairs, expected = pairs[::-3], expected[::-3]


def test_memory_is_what_was_asked_for() -> None:
    model = build(ModelConfig(**PLAIN, kv_heads=2), seed=0).eval()
    lanes = CachedLanes(model)
    for count, capacity in ((5, 96), (40, 10), (1, 65)):
        cache = lanes.lay_out(count, capacity)._runner.cache
        assert cache._kv[0].shape[:2] == (count, -(-capacity // 64) * 64)


@pytest.mark.skipif(kernels.library() is None, reason="no kernels on this machine")
@pytest.mark.parametrize("shape", ["rotary, shared key heads", "learned places, tied"])
def test_the_weights_are_the_model_s_own(shape: str) -> None:
    """No second copy in memory: what changes in the model changes for the lanes; queries and keys that are turned are the exception."""
    model = build(ModelConfig(**PLAIN, **SHAPES[shape]), seed=0).eval()
    pairs = shared_pairs(0, 61, examples=8)
    scorer = scorer_of(model)
    before = scorer.log_likelihoods(pairs)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.dim() == 2 and not ("qkv" in name and SHAPES[shape].get("position") is None):
                weight.mul_(1.5)
    found, expected = ([log for log, _ in one.log_likelihoods(pairs)] for one in (scorer, PlainScorer(model, 96)))
    assert found == pytest.approx(expected, abs=1e-3) and found != pytest.approx([log for log, _ in before], abs=1e-3)


def test_nothing_is_drawn() -> None:
    """Evaluating while training must leave the random state alone."""
    model = build(ModelConfig(**PLAIN, kv_heads=2), seed=0).eval()
    before, other = torch.get_rng_state(), np.random.get_state()[1].copy()
    scorer_of(model).log_likelihoods(shared_pairs(0, 61))
    assert torch.equal(torch.get_rng_state(), before) and (np.random.get_state()[1] == other).all()


def test_a_model_that_reads_both_ways_is_refused() -> None:
    config = ModelConfig(family="bert", vocabulary=61, context=32, layers=1, width=16, heads=2, kv_heads=2, feedforward=32)
    with pytest.raises(RequestError, match="kind encoder"):
        scorer_of(build(config, seed=0))
