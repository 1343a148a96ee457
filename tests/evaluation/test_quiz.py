"""The quiz: fair questions, an honest score, likelihoods that equal the model's own."""

from __future__ import annotations

import math
from collections import Counter

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from groundup.evaluation.quiz import Question, log_likelihoods, questions, quiz
from groundup.models.build import build
from groundup.models.config import ModelConfig

DEFINITIONS = [(f"f{n}(x)", f"description number {n} " + "x" * (n % 17)) for n in range(60)]


class Bytes:
    def encode(self, text: str) -> list[int]:
        return list(text.encode())

    def decode_bytes(self, ids: list[int]) -> bytes:
        return bytes(ids)


class Prefers(nn.Module):
    """Finds each byte that the `right` descriptions hold at that distance from the prompt's end likelier."""

    def __init__(self, right: dict[str, str]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.right = {tuple(signature.encode()): description.encode() for signature, description in right.items()}

    def forward(self, tokens_BT, positions_BT, segments_BT=None, cache=None):
        scores = torch.zeros(*tokens_BT.shape, 256)
        for row, tokens in enumerate(tokens_BT.tolist()):
            for signature, description in self.right.items():
                if tuple(tokens[: len(signature)]) == signature:
                    for place, byte in enumerate(description[: len(tokens) - len(signature)]):
                        scores[row, len(signature) - 1 + place, byte] = 3.0
        return scores


def prompt(signature: str) -> list[int]:
    return list(signature.encode())


def test_questions_are_fair() -> None:
    asked = questions(DEFINITIONS, 50, seed=1)
    truth = dict(DEFINITIONS)
    for one in asked:
        assert len(set(one.choices)) == 4
        assert one.choices[one.right] == truth[one.signature]
    assert len({one.signature for one in asked}) == 50
    assert asked == questions(DEFINITIONS, 50, seed=1) != questions(DEFINITIONS, 50, seed=2)


def test_the_right_place_and_the_wrong_choices_are_drawn_evenly() -> None:
    places: Counter[int] = Counter()
    wrong: Counter[str] = Counter()
    for seed in range(40):
        for one in questions(DEFINITIONS, 50, seed=seed):
            places[one.right] += 1
            wrong.update(choice for place, choice in enumerate(one.choices) if place != one.right)
    chi_square = sum((places[place] - 500) ** 2 / 500 for place in range(4))
    assert chi_square < 21.1  # the 0.9999 quantile at 3 degrees of freedom
    mean = 3 * 2000 / 60
    assert sum((wrong[text] - mean) ** 2 / mean for _, text in DEFINITIONS) < 111  # 0.9999 at 59


def test_too_few_or_equal_descriptions_make_no_quiz() -> None:
    assert questions(DEFINITIONS[:3], 10, seed=0) == []
    assert questions([(f"f{n}", "same") for n in range(10)], 10, seed=0) == []
    assert len(questions(DEFINITIONS[:4], 10, seed=0)) == 4
    assert quiz(Prefers({}), Bytes(), [], prompt, 64) is None


def test_a_model_that_knows_gets_all_right() -> None:
    asked = questions(DEFINITIONS, 30, seed=0)
    result = quiz(Prefers(dict(DEFINITIONS)), Bytes(), asked, prompt, 128)
    assert result is not None
    assert (result["score"], result["standard_error"], result["chance"], result["questions"]) == (1.0, 0.0, 0.25, 30)
    assert all(example["chosen"] == example["right"] for example in result["examples"])


def test_a_model_that_knows_the_opposite_gets_none_right() -> None:
    asked = questions(DEFINITIONS, 30, seed=0)
    wrong = {one.signature: one.choices[(one.right + 1) % 4] for one in asked}
    result = quiz(Prefers(wrong), Bytes(), asked, prompt, 128)
    assert result is not None and result["score"] == 0.0


def test_random_models_are_at_chance_within_their_standard_error() -> None:
    config = ModelConfig(vocabulary=256, context=64, layers=1, width=16, heads=2, kv_heads=2, feedforward=32, init_std=0.5)
    shares = []
    for seed in range(4):
        asked = questions(DEFINITIONS, 60, seed=seed)
        result = quiz(build(config, seed=seed), Bytes(), asked, prompt, 64)
        assert result is not None
        share = result["score"]
        assert result["standard_error"] == pytest.approx(math.sqrt(share * (1 - share) / 60))
        shares.append(share)
    assert abs(sum(shares) / 4 - 0.25) < 4 * math.sqrt(0.25 * 0.75 / 240)


def test_length_alone_does_not_decide() -> None:
    """All bytes equally likely: per byte every choice scores the same, summed the shortest would win."""
    model = Prefers({})
    rows = [(prompt("f"), list(b"ab")), (prompt("f"), list(b"abcdefgh"))]
    short, long = log_likelihoods(model, rows)
    assert short == pytest.approx(2 * -math.log(256)) and long == pytest.approx(8 * -math.log(256))
    asked = [Question("f", ("abcdefgh", "ab", "abc", "abcd"), 0)]
    result = quiz(model, Bytes(), asked, prompt, 64)
    assert result is not None and result["examples"][0]["chosen"] == 0  # a tie goes to the first, not to the shortest


def test_batched_likelihoods_equal_one_at_a_time() -> None:
    config = ModelConfig(vocabulary=256, context=64, layers=2, width=32, heads=2, kv_heads=1, feedforward=64, init_std=0.3)
    model = build(config, seed=0).train()
    generator = torch.Generator().manual_seed(0)
    rows = []
    for _ in range(40):
        before, after = torch.randint(1, 30, (2,), generator=generator).tolist()
        text = torch.randint(256, (before + after,), generator=generator).tolist()
        rows.append((text[:before], text[before:]))
    batched = log_likelihoods(model, rows)
    assert model.training
    for (before, after), total in zip(rows, batched, strict=True):
        tokens = torch.tensor([before + after])
        with torch.no_grad():
            logs = F.log_softmax(model(tokens, torch.arange(tokens.shape[1])[None], None)[0], dim=-1)
        expected = sum(float(logs[len(before) - 1 + place, token]) for place, token in enumerate(after))
        assert total == pytest.approx(expected, abs=1e-3)


def test_prompts_and_descriptions_longer_than_the_context_are_cut_to_it() -> None:
    """Uniform scores: whatever is cut, each byte that was scored counts the same, so all tie and the first is chosen."""
    asked = [Question("s" * 40, ("a" * 8, "b" * 64, "c", "d" * 15), 1)]
    result = quiz(Prefers({}), Bytes(), asked, prompt, 16)
    assert result is not None and result["examples"][0]["chosen"] == 0
    assert log_likelihoods(Prefers({}), [(prompt("s"), list(b"a" * 15))])[0] == pytest.approx(-15 * math.log(256))
