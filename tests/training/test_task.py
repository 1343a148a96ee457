"""Every family learns what it is taught, goes on exactly where it was cut, and writes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from batches import SETTINGS, opened

from groundup.errors import RequestError
from groundup.evaluation.objective import objective_bits_per_byte
from groundup.generation import Engine, SamplingSettings
from groundup.generation.fill import fill
from groundup.models.build import build
from groundup.models.config import ModelConfig, resolved
from groundup.recipe import Training
from groundup.recipe.model import Family
from groundup.tokens.loader import Batch, Batches, BatchPhase, Loader
from groundup.tokens.shards import TokenSplit
from groundup.tokens.tokenizer import Tokenizer
from groundup.tokens.trainers import bytes_only
from groundup.training import checkpoint
from groundup.training.optimizers import OptimizerSettings
from groundup.training.task import TASKS, batches_of, begins_word, objective_of, task_of
from groundup.training.trainer import train

WORDS = Tokenizer(bytes_only(sentinels=8))
TEXT = "The quick brown fox jumps over the lazy dog; the dog, being lazy, lets it. " * 4
FAMILIES = [*get_args(Family)]
CASES = [*((family, None) for family in FAMILIES), ("gpt2", "prefix"), ("bert", "masked"), ("t5", "continuation")]


def shape(family: str, **more: Any) -> ModelConfig:
    """Two layers, 24 places."""
    given = {"vocabulary": WORDS.size, "context": 24, "layers": 2, "width": 32, "heads": 4, **more}
    return resolved(family, **({"ngram_rows": (4096, 200), **given} if family == "fast" else given))  # type: ignore[arg-type]


def split() -> TokenSplit:
    end = WORDS.special["<|end_of_text|>"]
    documents = [WORDS.encode(TEXT[part : part + 150]) for part in (0, 100)]
    tokens = np.array([token for document in documents for token in (*document, end)], dtype=np.uint16)
    starts = np.array([0, len(documents[0]) + 1])
    return TokenSplit(tokens, starts, np.array([len(one) for one in documents]), WORDS.byte_lengths, end, "", {}, WORDS.special)


def taught(family: str, objective: str | None) -> tuple[ModelConfig, Training, Batches, Any]:
    config, training = shape(family), Training(objective=objective)  # type: ignore[arg-type]
    loader = Loader(split(), [BatchPhase(1000, 24, 4)], seed=3)
    return config, training, batches_of(config, training, loader), objective_of(config, training, WORDS)


class First:
    """The first batch again and again."""

    def __init__(self, batches: Batches) -> None:
        self._batch = batches(0, 0)

    def parts(self, step: int) -> int:
        return 1

    def __call__(self, step: int, micro: int) -> Batch:
        return self._batch


@pytest.mark.parametrize("family, objective", CASES)
def test_a_batch_is_learned_by_heart(tmp_path: Path, family: str, objective: str | None) -> None:
    config, _, batches, teach = taught(family, objective)
    settings = replace(SETTINGS, steps=200, evaluations=0)
    losses: list[float] = []

    def watched(model: Any, batch: Batch) -> Any:
        torch.manual_seed(0)  # the same draws each time
        sums = teach(model, batch)
        losses.append(float(sums.metrics.get("cross_entropy", sums.loss_sum).detach()) / float(sums.weight_sum))
        return sums

    train(build(config, seed=1), watched, First(batches), settings, stage=opened(tmp_path / "run"), title="pretrain", tokenizer="t")
    assert losses[-1] < 0.1 < losses[0]


@pytest.mark.parametrize("family, objective", CASES)
def test_a_cut_run_ends_in_the_same_bits(tmp_path: Path, family: str, objective: str | None) -> None:
    config, _, batches, teach = taught(family, objective)
    settings = replace(SETTINGS, checkpoint_seconds=0.0, evaluations=0)

    class Cut:
        parts = staticmethod(batches.parts)

        def __call__(self, step: int, micro: int) -> Batch:
            if step == 7:
                raise KeyboardInterrupt
            return batches(step, micro)

    def run(name: str, source: Any) -> None:
        train(build(config, seed=1), teach, source, settings, stage=opened(tmp_path / name), title="pretrain", tokenizer="t")

    run("whole", batches)
    with pytest.raises(KeyboardInterrupt):
        run("cut", Cut())
    run("cut", batches)
    ends = [checkpoint.newest(tmp_path / name / ".checkpoints.partial") for name in ("whole", "cut")]
    for file in ("model.safetensors", "optimizer.safetensors"):
        one, other = ((end / file).read_bytes() for end in ends if end is not None)
        assert one == other


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_writes(family: str) -> None:
    writer = Engine(build(shape(family), seed=1), WORDS)
    greedy = SamplingSettings(temperature=0.0, max_tokens=4)
    (one,), (other,) = writer.generate_many(["The quick", "lazy"], greedy)
    assert (one,) == tuple(writer.generate("The quick", greedy)) and (other,) == tuple(writer.generate("lazy", greedy))
    assert "".join(writer.stream("The quick", replace(greedy, seed=1))) == one.text
    drawn = writer.generate("The", replace(greedy, temperature=1.0, n=3, seed=2))
    assert len({tuple(sample.tokens) for sample in drawn}) > 1


def test_an_encoder_fills_in_what_is_masked(tmp_path: Path) -> None:
    config, _, batches, teach = taught("bert", "masked")
    model, one = build(config, seed=1), batches(0, 0)

    class Same:
        """One batch, masked anew each time."""

        parts = staticmethod(batches.parts)

        def __call__(self, step: int, micro: int) -> Batch:
            return one

    settings = replace(SETTINGS, steps=600, evaluations=0, optimizer=OptimizerSettings(learning_rate=3e-3))
    train(model, teach, Same(), settings, stage=opened(tmp_path / "run"), title="pretrain", tokenizer="t")
    text = WORDS.decode(one["targets"][0].tolist())
    assert fill(Engine(model, WORDS), text[:7] + "<|mask|>" + text[8:]) == text


def test_a_prefix_is_seen_both_ways_and_not_asked_for() -> None:
    config, _, batches, teach = taught("gpt2", "prefix")
    model, batch = build(config, seed=1).eval(), batches(0, 0)
    torch.manual_seed(0)
    sums = teach(model, batch)
    plain = objective_of(config, Training(), WORDS)(model, batch)
    assert 0 < float(sums.weight_sum) < float(plain.weight_sum)
    assert len(sums.asked) == int(sums.weight_sum)
    tokens, places = batch["tokens"], batch["positions"]
    prefix = torch.zeros_like(tokens, dtype=torch.bool)
    prefix[:, :6] = True
    segments = torch.zeros_like(tokens)
    before = model.hidden(tokens, places, segments, prefix)  # type: ignore[call-arg, operator]
    tokens = tokens.clone()
    tokens[:, 5] = 77
    after = model.hidden(tokens, places, segments, prefix)  # type: ignore[call-arg, operator]
    assert not torch.allclose(before[:, 0], after[:, 0]), "within the prefix earlier places see later ones"
    tokens[:, 10] = 78
    later = model.hidden(tokens, places, segments, prefix)  # type: ignore[call-arg, operator]
    torch.testing.assert_close(after[:, :10], later[:, :10])


def test_masking_is_bert_s(monkeypatch: pytest.MonkeyPatch) -> None:
    """15 % are asked for; of these 80 % hidden, 10 % any other token, 10 % as they were."""
    config, _, batches, teach = taught("bert", "masked")
    read: list[torch.Tensor] = []
    model = build(config, seed=1)
    inner = model.hidden
    monkeypatch.setattr(model, "hidden", lambda tokens, *rest: (read.append(tokens), inner(tokens, *rest))[1])
    asked = hidden = kept = total = 0
    for step in range(150):
        batch = batches(step, 0)
        torch.manual_seed(step)
        sums = teach(model, batch)
        total += int((batch["targets"] != WORDS.special["<|end_of_text|>"]).sum())
        asked += int(sums.weight_sum)
        hidden += int((read[-1] == WORDS.special["<|mask|>"]).sum())
        kept += int(((read[-1] != batch["targets"]) & (read[-1] != WORDS.special["<|mask|>"])).sum())
    assert asked / total == pytest.approx(0.15, abs=0.01)
    assert hidden / asked == pytest.approx(0.8, abs=0.03)
    assert kept / asked == pytest.approx(0.1, abs=0.03)


def test_whole_words_are_masked_together() -> None:
    config = shape("bert")
    teach = objective_of(config, Training(objective="masked", whole_words=True), WORDS)
    text = torch.tensor([WORDS.encode("The quick brown fox jump")])
    begins = begins_word(WORDS)[text]
    torch.manual_seed(0)
    found = 0
    for _ in range(50):
        chosen = teach._choose(text)[0].tolist()  # type: ignore[attr-defined]
        for place in range(1, text.shape[1]):
            if not begins[0, place]:
                assert chosen[place] == chosen[place - 1]
        found += sum(chosen)
    assert found


def test_xlnet_guesses_a_sixth() -> None:
    teach = objective_of(shape("xlnet"), Training(), WORDS)
    torch.manual_seed(0)
    guessed = teach.choose(8, 60)  # type: ignore[attr-defined]
    assert guessed.sum(1).tolist() == [10] * 8


def test_spans_and_their_blanks_make_the_text_again() -> None:
    _, _, batches, _ = taught("t5", None)
    batch = batches(5, 0)
    loader = Loader(split(), [BatchPhase(1000, 24, 4)], seed=3)
    sentinels = {id for name, id in WORDS.special.items() if name.startswith("<|sentinel")}
    for row, text in enumerate(loader(5, 0)["targets"].tolist()):
        answers: dict[int, list[int]] = {}
        for token in batch["targets"][row][batch["weights"][row] > 0].tolist()[:-1]:
            if token in sentinels:
                answers[token] = []
            else:
                answers[next(reversed(answers))].append(token)
        shown = batch["source"][row][batch["source_segments"][row] == 0].tolist()
        whole = [token for one in shown for token in answers.get(one, [one])]
        assert whole == text
        assert batch["tokens"][row, 1:].tolist() == batch["targets"][row, :-1].tolist()


def test_sentence_pairs_follow_or_do_not() -> None:
    _, _, batches, _ = taught("bert", None)
    text = WORDS.decode(split().tokens.tolist())
    follows = others = 0
    for step in range(20):
        batch = batches(step, 0)
        for row, (number, place, other) in enumerate(batch["pairs"].tolist()):
            assert (number, place) == (row, 0)
            assert int(batch["tokens"][row, 0]) == WORDS.special["<|class|>"]
            real = batch["weights"][row] > 0
            first = WORDS.decode(batch["tokens"][row][real & (batch["types"][row] == 0)].tolist())
            second = WORDS.decode(batch["tokens"][row][real & (batch["types"][row] == 1)].tolist())
            assert first and second and first in text and second in text
            if other == 0:
                assert first + second in text
            follows, others = follows + (other == 0), others + other
    assert follows > 20 and others > 20


def test_held_out_figures_depend_on_the_seed_alone() -> None:
    config, _, batches, teach = taught("bert", "masked")
    model = build(config, seed=1)
    torch.manual_seed(1)
    one = objective_bits_per_byte(model, teach, batches, 3, WORDS.byte_lengths, seed=7)
    after = torch.rand(1)
    torch.manual_seed(1)
    other = objective_bits_per_byte(model, teach, batches, 3, WORDS.byte_lengths, seed=7)
    assert one == other and torch.rand(1) == after, "and leave the random state as it was"
    assert one["objective_bits_per_byte"] == pytest.approx(8.0, abs=0.5)  # knows nothing of 256 bytes yet
    assert 0 <= one["objective_accuracy"] <= 1


def test_an_objective_of_another_kind_is_refused() -> None:
    with pytest.raises(RequestError, match="cannot learn masked"):
        task_of(shape("llama"), Training(objective="masked"))
    with pytest.raises(RequestError, match="windows"):
        task_of(shape("llama", windows=(4,)), Training(objective="prefix"))
    assert {task_of(shape(family), Training()) for family in FAMILIES} == {
        "next-token", "masked-and-next-sentence", "span-corruption", "continuation", "permutation",
    }  # fmt: skip
    assert all(task_of(shape("t5"), Training(objective=task)) == task for task in TASKS["encoder-decoder"])
