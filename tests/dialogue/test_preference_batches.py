"""Elements are packed whole, once an epoch, and the losses of packed batches are those of answers one by one."""

from __future__ import annotations

import pytest
import torch

from groundup.dialogue.chat_template import ChatTemplate
from groundup.dialogue.conversations import in_epochs
from groundup.dialogue.format.record import Labelled, Message, Ranking
from groundup.dialogue.preference_batches import PackedPreferences, of_labelled, of_rankings
from groundup.errors import GroundupError
from groundup.models.build import build
from groundup.models.config import ModelConfig
from groundup.models.decoder import Decoder
from groundup.training.preference import DPO, KTO, Reward, answer_logps
from groundup.training.value_head import ScoredDecoder

CONFIG = ModelConfig(vocabulary=270, context=64, layers=1, width=16, heads=2, kv_heads=1, feedforward=32, init_std=0.3)
RANKINGS = [Ranking((Message("user", "q" * (1 + n % 4)),), ("a" * (1 + n % 3), "b", "cc")[: 2 + n % 2], (1, 2, 2)[: 2 + n % 2]) for n in range(9)]
LABELLED = [Labelled((Message("user", "q" * (1 + n % 4)),), "ab"[n % 2] * (1 + n % 5), n % 3 == 0) for n in range(11)]


def source(words, elements, **values) -> PackedPreferences:
    return PackedPreferences(elements, **{"length": 32, "each": 2, "micro_batches": 2, "seed": 0, "pad": words.special["<|pad|>"], **values})


def test_answers_stand_where_they_should(words) -> None:
    template = ChatTemplate(words)
    elements, left_out = of_rankings(template, RANKINGS, 33)
    assert left_out == 0 and len(elements) == 9
    batch = source(words, elements).batch([1, 4])
    assert batch["pairs"].tolist() == [[0, 1], [0, 2], [3, 4]] and batch["pair_weights"].tolist() == [0.5, 0.5, 1.0]
    answers = [*RANKINGS[1].answers, *RANKINGS[4].answers]
    for number, answer in enumerate(answers):
        place = batch["answers"] == number
        assert batch["targets"][place].tolist() == template.answer(answer)
        assert int(batch["lengths"][number]) == len(template.answer(answer))
    assert ((batch["answers"] >= 0) == (batch["weights"] > 0)).all()
    scored = source(words, elements, scored=True).batch([1, 4])
    assert [int(scored["tokens"][row, place]) for row, place in scored["ends"]] == [template.end] * 5
    assert "answers" not in scored


def test_an_epoch_sees_each_element_once_and_steps_are_pure(words) -> None:
    elements, _ = of_rankings(ChatTemplate(words), RANKINGS, 33)
    one, other = source(words, elements, each=3, micro_batches=1), source(words, elements, each=3, micro_batches=1)
    assert one.steps_per_epoch == 3 and one.parts(0) == 1
    seen = [in_epochs(place, len(one.elements), one.seed) for place in range(18)]
    assert sorted(seen[:9]) == sorted(seen[9:]) == list(range(9)) and seen[:9] != seen[9:]
    for step in (5, 0):
        for name, value in one(step, 0).items():
            assert torch.equal(value, other(step, 0)[name])


def test_reference_sums_are_measured_once(words) -> None:
    model = build(CONFIG, seed=0)
    assert isinstance(model, Decoder)
    for elements, objective in (
        (of_rankings(ChatTemplate(words), RANKINGS, 33)[0], DPO()), (of_labelled(ChatTemplate(words), LABELLED, 33, 4, seed=0)[0], KTO()),
    ):  # fmt: skip
        batches = source(words, elements)

        def sums(batch: dict[str, torch.Tensor], objective=objective) -> torch.Tensor:
            with torch.no_grad():
                return answer_logps(model, objective.states(model, batch), batch).sums_A

        batches.measure(sums)
        assert batches.reference is not None and [len(one) for one in batches.reference] == [len(one.sequences) for one in elements]
        batch = batches(3, 1)
        torch.testing.assert_close(batch["reference"], sums(batch), atol=1e-5, rtol=1e-5)
        found = objective(model, batch)  # nothing has moved yet
        assert float((found.loss_sum / found.weight_sum).detach()) == pytest.approx(0.6931 if isinstance(objective, DPO) else 0.5, abs=1e-3)


def test_micro_batches_and_rows_change_no_loss(words) -> None:
    model = ScoredDecoder.of(build(CONFIG, seed=0), seed=1)  # type: ignore[arg-type]
    for objective, scored in ((DPO(beta=1.0), False), (Reward(), True)):
        elements, _ = of_rankings(ChatTemplate(words), RANKINGS, 24)
        found = []
        for length, each, micros in ((32, 4, 1), (24, 1, 4), (64, 2, 2)):
            batches = source(words, elements, length=length, each=each, micro_batches=micros, scored=scored)
            batches.reference = [[-5.0 - place for place in range(len(one.sequences))] for one in elements]
            parts = [objective(model, batches(0, micro)) for micro in range(micros)]
            found.append((sum(float(part.loss_sum) for part in parts), sum(float(part.weight_sum) for part in parts)))
        assert found[1] == pytest.approx(found[0], rel=1e-6) and found[2] == pytest.approx(found[0], rel=1e-6)
        assert found[0][1] == pytest.approx(4)


def test_groups_of_labelled_answers_hold_mismatched_ones(words) -> None:
    template = ChatTemplate(words)
    elements, left_out = of_labelled(template, LABELLED, 33, 4, seed=0)
    assert left_out == 0 and [len(one.sequences) for one in elements] == [8, 8, 6]
    for one in elements:
        own = [sequence for sequence, other in zip(one.sequences, one.mismatched, strict=True) if not other]
        others = [sequence for sequence, other in zip(one.sequences, one.mismatched, strict=True) if other]
        for place, other in enumerate(others):
            following = own[(place + 1) % len(own)]
            assert other.tokens[: other.asked] == own[place].tokens[: own[place].asked]
            assert other.tokens[other.asked :] == following.tokens[following.asked :]
    assert of_labelled(template, LABELLED[:5], 33, 4, seed=0)[1] == 1  # a group of one has no other
    with pytest.raises(ValueError, match="group of 1"):
        of_labelled(template, LABELLED, 33, 1, seed=0)


def test_what_does_not_fit_is_left_out_and_nothing_left_is_an_error(words) -> None:
    long = Ranking((Message("user", "q"),), ("a" * 50, "b"), (1, 2))
    elements, left_out = of_rankings(ChatTemplate(words), [long, RANKINGS[0]], 33)
    assert (len(elements), left_out) == (1, 1)
    with pytest.raises(GroundupError, match="no preference is left"):
        source(words, [])
