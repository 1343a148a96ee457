"""The plan: every target read once at its place, lanes that only go on from where they are, budgets kept, little read twice."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from plain import shared_pairs

from groundup.evaluation.prefix_plan import FULL, Budget, Text, plan, shared


def texts_of(pairs) -> list[Text]:
    return [Text(np.array([*before, *after[:-1]], dtype=np.uint32), after) for before, after in pairs]


def follow(texts, budget: Budget):
    """Carry out a plan by keeping tokens: for each text the beginnings after which each of its targets was read; the tokens read."""
    held = [np.zeros(0, np.uint32)] * budget.lanes
    found: list[list[tuple[bytes, int]]] = [[] for _ in texts]
    read = steps = 0
    for step in plan(texts, budget):
        steps += 1
        assert len({piece.lane for piece in step}) == len(step) > 0
        if len(step) > 1:
            assert sum(len(piece.tokens) for piece in step) <= budget.tokens
            assert sorted(step, key=lambda piece: piece.lane) == step
            assert sum(piece.wanted for piece in step) <= budget.scores
        for piece in step:
            assert piece.start <= len(held[piece.lane])
            held[piece.lane] = np.concatenate([held[piece.lane][: piece.start], piece.tokens])
            read += len(piece.tokens)
            for use in piece.reads:
                assert len(piece.tokens) - piece.wanted <= use.first and use.first + len(use.targets) <= len(piece.tokens)
                for place, target in enumerate(use.targets):
                    end = piece.start + use.first + place + 1
                    found[use.text].append((held[piece.lane][:end].tobytes(), target))
    return found, read, steps


@pytest.mark.parametrize("seed", range(30))
def test_every_target_is_read_once_after_its_own_beginning(seed: int) -> None:
    pairs = shared_pairs(seed, vocabulary=3 if seed % 2 else 50)
    texts = texts_of(pairs)
    budget = Budget(lanes=1 + seed % 7, tokens=(8, 64, 1000)[seed % 3], scores=(4, 50)[seed % 2])
    found, _, _ = follow(texts, budget)
    for (before, after), uses in zip(pairs, found, strict=True):
        whole = np.array([*before, *after], dtype=np.uint32)
        expected = [(whole[:end].tobytes(), int(whole[end])) for end in range(len(before), len(whole))]
        assert sorted(uses) == sorted(expected)


def test_one_lane_reads_no_token_twice() -> None:
    """With a single lane what is read is the tree of all beginnings, each edge once."""
    texts = texts_of(shared_pairs(3, vocabulary=4, groups=5, questions=10))
    beginnings = {text.tokens[:end].tobytes() for text in texts for end in range(1, len(text.tokens) + 1)}
    _, read, _ = follow(texts, Budget(lanes=1, tokens=100, scores=100))
    assert read <= 1.1 * len(beginnings)


def test_mmlus_shape_reads_its_examples_about_once_a_lane() -> None:
    """10 subjects of 600 tokens of examples, 40 questions of 100 tokens each, 4 choices of one token."""
    draw = np.random.default_rng(0)
    pairs = []
    for _ in range(10):
        shown = draw.integers(0, 1000, 600).tolist()
        for _ in range(40):
            asked = [*shown, *draw.integers(0, 1000, 100).tolist()]
            pairs += [(asked, [letter]) for letter in range(4)]
    texts = texts_of(pairs)
    _, read, steps = follow(texts, Budget(lanes=8, tokens=8192, scores=1000))
    needed = 10 * 600 + 400 * 100
    assert read <= 1.25 * needed and read < sum(len(text.tokens) for text in texts) / 20
    assert steps <= 400 / 8 * 2  # ten runs for eight lanes: the last two are read side by side


def test_arcs_shape_reads_each_question_once() -> None:
    """200 questions after examples of their own, 4 choices: of each question the longest part is read once, in full steps."""
    draw = np.random.default_rng(0)
    pairs = []
    for _ in range(200):
        asked = draw.integers(0, 1000, int(draw.integers(900, 1100))).tolist()
        pairs += [(asked, draw.integers(0, 1000, int(draw.integers(1, 20))).tolist()) for _ in range(4)]
    texts = texts_of(pairs)
    _, read, steps = follow(texts, Budget(lanes=8, tokens=8800, scores=10_000))
    assert read <= 1.02 * sum(len(pairs[place][0]) + sum(len(after) for _, after in pairs[place : place + 4]) for place in range(0, 800, 4))
    assert read / steps >= FULL


def test_equal_texts_cost_nothing() -> None:
    texts = [Text(np.arange(9, dtype=np.uint32), [token]) for token in range(4)]
    steps = list(plan(texts, Budget(4, 100, 100)))
    assert [len(step) for step in steps] == [1] and steps[0][0].wanted == 1
    assert sorted(use.text for use in steps[0][0].reads) == [0, 1, 2, 3]


def test_a_piece_larger_than_the_budget_is_read_alone() -> None:
    texts = [Text(np.arange(start, start + 50, dtype=np.uint32), [1]) for start in (0, 100, 200)]
    assert [len(step) for step in plan(texts, Budget(3, 10, 10))] == [1, 1, 1]


def test_the_order_of_the_texts_does_not_matter() -> None:
    pairs = shared_pairs(5, vocabulary=9)
    sizes = {follow(texts_of(order), Budget(3, 64, 64))[1] for order in itertools.islice(itertools.permutations(pairs), 0, 5)}
    assert len(sizes) == 1


def test_shared_beginnings() -> None:
    def tokens(text: str):
        return np.frombuffer(text.encode(), dtype=np.uint8).astype(np.uint32)

    assert [shared(tokens("abc"), tokens(other)) for other in ("abd", "abc", "ab", "", "xbc", "abcd")] == [2, 3, 2, 0, 0, 3]
