"""Packing: nothing lost, nothing seen across conversations, only answers trained on, each with its own weight."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from groundup.dialogue.chat_formats import OPENCHAT
from groundup.dialogue.chat_template import ChatTemplate
from groundup.dialogue.conversations import PackedConversations, best_fit
from groundup.dialogue.format.record import Conversation, Message
from groundup.errors import GroundupError
from groundup.models.build import build
from groundup.models.config import ModelConfig
from groundup.training.objectives import next_token


def pair(question: str, answer: str) -> Conversation:
    return Conversation((Message("user", question), Message("assistant", answer)))


@given(st.lists(st.integers(1, 20), max_size=60))
def test_best_fit_loses_nothing_and_overfills_nothing(lengths: list[int]) -> None:
    bins = best_fit(lengths, 20)
    assert sorted(item for items in bins for item in items) == list(range(len(lengths)))
    loads = [sum(lengths[item] for item in items) for items in bins]
    assert all(load <= 20 for load in loads)
    assert len(bins) <= 1.23 * -(-sum(lengths) // 20) + 4  # best-fit decreasing is within 11/9 of the least (Johnson 1973)
    assert all(a + b > 20 for i, a in enumerate(loads) for b in loads[i + 1 :])  # no two bins would fit in one


def packed(words, pairs, **values) -> PackedConversations:
    return PackedConversations(ChatTemplate(words), pairs, **{"length": 24, "rows": 2, "micro_batches": 2, "seed": 0, **values})


PAIRS = [pair("q" * (n % 7 + 1), "a" * (n % 5 + 1)) for n in range(23)]


def test_an_epoch_holds_every_conversation_once(words) -> None:
    batches = packed(words, PAIRS, rows=1, micro_batches=1)
    found = []
    for step in range(batches.counts.rows):
        batch = batches(step, 0)
        for segment in range(1, int(batch["segments"].max()) + 1):
            place = batch["segments"] == segment
            tokens = batch["tokens"][place].tolist()
            found.append([*tokens, int(batch["targets"][place][-1])])
            assert batch["positions"][place].tolist() == list(range(len(tokens)))
            assert batch["targets"][place].tolist()[:-1] == tokens[1:]
            trained = batch["targets"][place & (batch["weights"] > 0)].tolist()
            answer = tokens[tokens.index(words.special["<|assistant|>"]) + 1 :]
            assert trained == [*answer, words.special["<|end_of_turn|>"]]
    assert sorted(found) == sorted(ChatTemplate(words).render(messages).tokens for messages in PAIRS)
    assert batches.steps_per_epoch == batches.counts.rows
    next_epoch = [batches(batches.counts.rows + step, 0)["tokens"].tolist() for step in range(batches.counts.rows)]
    this_epoch = [batches(step, 0)["tokens"].tolist() for step in range(batches.counts.rows)]
    assert sorted(next_epoch) == sorted(this_epoch) and next_epoch != this_epoch


def test_batches_are_a_pure_function_of_step_and_micro(words) -> None:
    one, other = packed(words, PAIRS), packed(words, PAIRS)
    for step, micro in ((40, 1), (0, 0), (3, 1)):
        for name, value in one(step, micro).items():
            assert torch.equal(value, other(step, micro)[name])
    batch = one(0, 0)
    assert {name: (value.shape, value.dtype) for name, value in batch.items()} == {
        name: ((2, 24), torch.float32 if name == "weights" else torch.int64)
        for name in ("tokens", "targets", "weights", "positions", "segments")
    }


def test_the_loss_does_not_depend_on_packing(words) -> None:
    config = ModelConfig(vocabulary=270, context=64, layers=2, width=32, heads=2, kv_heads=1, feedforward=64, init_std=0.3)
    model = build(config, seed=0)
    sums = []
    for length, rows in ((64, 1), (24, 1), (24, 2)):
        batches = packed(words, PAIRS, length=length, rows=rows, micro_batches=1)
        with torch.no_grad():
            steps = [next_token(model, batches(step, 0)) for step in range(batches.counts.rows // rows)]
        if batches.counts.rows % rows == 0:
            sums.append((sum(float(s.loss_sum) for s in steps), sum(float(s.weight_sum) for s in steps)))
    assert len(sums) >= 2
    for loss, weight in sums:
        assert weight == sums[0][1]
        assert loss == pytest.approx(sums[0][0], rel=1e-5)


def test_what_does_not_fit_is_shortened_by_exchanges_or_left_out_and_counted(words) -> None:
    long = Conversation((*pair("q", "a").messages, *pair("Q" * 30, "A").messages))
    batches = packed(words, [long, pair("q", "a" * 40), pair("q", "b")])
    assert (batches.counts.conversations, batches.counts.shortened, batches.counts.left_out) == (3, 1, 1)
    assert batches.counts.trained_tokens == 4  # "a", "b" and their ends


def test_every_target_masked_is_an_error(words) -> None:
    with pytest.raises(GroundupError, match="every target is masked"):
        packed(words, [pair("q" * 50, "a")])


def test_weights_and_classes_reach_the_batch(words) -> None:
    """What a message weighs, each of its tokens weighs; a class stands in the heads."""
    talk = Conversation((Message("user", "q"), Message("assistant", "ab", weight=0.1)), condition="GPT3")
    batches = PackedConversations(ChatTemplate(words, OPENCHAT), [talk], length=40, rows=1, micro_batches=1, seed=0)
    batch = batches(0, 0)
    weighed = batch["targets"][batch["weights"] > 0].tolist()
    assert weighed == [*words.encode(" ab"), words.special["<|end_of_turn|>"]]
    assert batch["weights"][batch["weights"] > 0].unique().tolist() == pytest.approx([0.1])
    assert batches.counts.trained_tokens == 4
    assert words.decode(batch["tokens"][0].tolist()).startswith("GPT3 User: q")
