"""Scores with shared beginnings equal scores of each request alone."""

from __future__ import annotations

import pytest
import torch
from plain import PlainScorer, UncachedLanes, shared_pairs

from groundup.evaluation.prefix_scorer import PrefixScorer
from groundup.models.build import build
from groundup.models.config import ModelConfig


@pytest.fixture(scope="module")
def model() -> torch.nn.Module:
    config = ModelConfig(vocabulary=29, context=64, layers=2, width=32, heads=4, kv_heads=2, feedforward=64, init_std=0.3)
    return build(config, seed=1).eval()


@pytest.mark.parametrize("seed", range(8))
def test_equal_to_each_request_alone(model, seed: int) -> None:
    pairs = shared_pairs(seed, vocabulary=3 if seed % 2 else 29)
    made: list[UncachedLanes] = []

    def lanes(count: int, capacity: int) -> UncachedLanes:
        made.append(UncachedLanes(model, count, capacity))
        return made[-1]

    scorer = PrefixScorer(lanes, context=64, vocabulary=29, batch_tokens=(32, 256)[seed % 2], cache_tokens=(60, 400)[seed // 2 % 2])
    found, expected = scorer.log_likelihoods(pairs), PlainScorer(model, 64).log_likelihoods(pairs)
    assert [log for log, _ in found] == pytest.approx([log for log, _ in expected], abs=1e-4)
    assert [greedy for _, greedy in found] == [greedy for _, greedy in expected]
    assert scorer.tokens_read == made[0].read <= scorer.tokens_asked == sum(len(before) + len(after) - 1 for before, after in pairs)


def test_greedy_answers_are_known_as_such(model) -> None:
    tokens = [3, 1, 4]
    answer: list[int] = []
    with torch.inference_mode():
        for _ in range(3):
            read = torch.tensor([[*tokens, *answer]])
            answer.append(int(model(read, torch.arange(read.shape[1])[None], None)[0, -1].argmax()))
    scorer = PrefixScorer(lambda count, capacity: UncachedLanes(model, count, capacity), 64, 29)
    wrong = [*answer[:2], (answer[2] + 1) % 29]
    assert [greedy for _, greedy in scorer.log_likelihoods([(tokens, answer), (tokens, wrong), (tokens, answer[:1])])] == [True, False, True]


def test_nothing_asked() -> None:
    assert PrefixScorer(lambda count, capacity: pytest.fail("no lanes are needed"), 64, 29).log_likelihoods([]) == []


def test_memory_is_bounded(model) -> None:
    seen = []

    def lanes(count: int, capacity: int) -> UncachedLanes:
        seen.append((count, capacity))
        return UncachedLanes(model, count, capacity)

    PrefixScorer(lanes, 64, 29, cache_tokens=40).log_likelihoods(shared_pairs(0, 29))
    PrefixScorer(lanes, 64, 29, cache_tokens=1).log_likelihoods([([1, 2, 3], [4])])
    assert seen[0][0] * seen[0][1] <= 40 or seen[0][0] == 1
    assert seen[1] == (1, 3)
