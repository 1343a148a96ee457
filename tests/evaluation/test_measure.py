"""A task put to a model: the same whatever the lots, what was cut is counted, the row says all that a reader needs."""

from __future__ import annotations

import json

import pytest
import torch
from plain import PlainScorer, UncachedLanes

from groundup.errors import RequestError
from groundup.evaluation.encoding import Encoder
from groundup.evaluation.measure import measure
from groundup.evaluation.prefix_scorer import PrefixScorer
from groundup.evaluation.tasks.item import Item, Request, Task, choice_item
from groundup.models.build import build
from groundup.models.config import ModelConfig
from groundup.tokens.tokenizer import Tokenizer
from groundup.tokens.trainers import bytes_only


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer(bytes_only())


@pytest.fixture(scope="module")
def model(tokenizer: Tokenizer) -> torch.nn.Module:
    config = ModelConfig(vocabulary=tokenizer.size, context=96, layers=1, width=16, heads=2, kv_heads=1, feedforward=32, init_std=0.5)
    return build(config, seed=0).eval()


def task() -> Task:
    shown = "Question: What is the first word here?\nAnswer: first\n\n"
    items = [choice_item(f"f:{n}", f"{shown}Question: number {n}?\nAnswer:", ["yes", "no", f"maybe {n}"], n % 3, "even" if n % 2 == 0 else "odd") for n in range(24)]
    return Task("mine", "choice", items, ("acc", "gold_probability"), 1, macro=True)


def test_fast_and_plain_scoring_give_the_same_row(model, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    fast = PrefixScorer(lambda count, capacity: UncachedLanes(model, count, capacity), 96, tokenizer.size)
    rows = [measure(task(), scorer, Encoder.of(tokenizer)).row() for scorer in (fast, PlainScorer(model, 96))]
    monkeypatch.setattr("groundup.evaluation.budget.WHOLE", 5)
    rows.append(measure(task(), fast, Encoder.of(tokenizer)).row())
    assert len({round(row["figures"]["gold_probability"]["value"], 4) for row in rows}) == 1
    for row in rows:
        del row["seconds"], row["figures"]["gold_probability"], row["figures"]["gold_probability_by_group"]
    assert rows[0] == rows[1] == rows[2]
    assert json.loads(json.dumps(rows[0])) == rows[0]
    assert rows[0]["metric"] == "acc_by_group" and rows[0]["n"] == rows[0]["items"] == 24 and rows[0]["chance"] == pytest.approx(1 / 3)
    assert set(rows[0]["groups"]) == {"even", "odd"} and rows[0]["prompts_cut"] == 0 and rows[0]["shots"] == 1


def test_prompts_longer_than_the_context_are_cut_and_counted(model, tokenizer: Tokenizer) -> None:
    long = Task("long", "choice", [choice_item("1", "x" * 200, ["a", "b"], 0), choice_item("2", "short", ["a", "b"], 0)], ("acc",), 0)
    measured = measure(long, PlainScorer(model, 96), Encoder.of(tokenizer))
    assert measured.prompts == 4 and measured.prompts_cut == 2 == measured.row()["prompts_cut"]


def test_a_budget_asks_some_and_says_how_sure_that_is(model, tokenizer: Tokenizer) -> None:
    measured = measure(task(), PlainScorer(model, 96), Encoder.of(tokenizer), seconds=0.0)
    assert len(measured.results) == 8 and measured.figures()["acc"].n == 8 and measured.figures()["acc"].standard_error is not None
    assert [result.place for result in measured.results] == sorted(result.place for result in measured.results)


def test_what_cannot_be_measured(model, tokenizer: Tokenizer) -> None:
    nothing = Task("none", "choice", [], ("acc",), 0)
    writing = Task("writes", "generate", [Item("1", (Request("q", ""),), answer="a")], ("exact_match",), 0)
    for one, said in ((nothing, "no items"), (writing, "has the model write")):
        with pytest.raises(RequestError, match=said):
            measure(one, PlainScorer(model, 96), Encoder.of(tokenizer))


def test_core_compares_means_per_token_after_what_prompts_have_in_common(model, tokenizer: Tokenizer) -> None:
    """nanochat's `core_eval.py` in plain words: whole prompts after one token, the last 96 of what is too long, the mean loss of what differs."""
    end = tokenizer.special["<|end_of_text|>"]
    items = [
        Item(f"f:{n}", (Request(f"{'word ' * (n % 4 * 8)}Question {n}? ", "yes indeed"), Request(f"{'word ' * (n % 4 * 8)}Question {n}? ", f"yet {n} not")), (n % 2,)) for n in range(12)
    ]  # fmt: skip
    items += [Item(f"f:{n}", (Request(f"Ann met Bo {n} so Ann", " was glad."), Request(f"Ann met Bo {n} so Bob", " was glad.")), (0,)) for n in range(12)]
    core = Task("core", "average", items, ("acc",), 0, pairing="common")
    measured = measure(core, PrefixScorer(lambda count, capacity: UncachedLanes(model, count, capacity), 96, tokenizer.size), Encoder.of(tokenizer))
    for item, result in zip(items, measured.results, strict=True):
        whole = [[end, *tokenizer.encode(request.context + request.continuation)] for request in item.requests]
        schema = item.requests[0].context != item.requests[1].context
        turned = [tokens[::-1] if schema else tokens for tokens in whole]
        common = next(place for place, (one, other) in enumerate(zip(*turned, strict=False)) if one != other)
        losses = []
        for tokens in whole:
            asked = common if schema else len(tokens) - common
            kept = torch.tensor([tokens[-96:]])
            with torch.inference_mode():
                logs_TV = model(kept, torch.arange(kept.shape[1])[None], None)[0].log_softmax(-1)
            losses.append(-float(logs_TV[-asked - 1 : -1].gather(1, kept[0, -asked:, None]).mean()))
        assert result.chosen == losses.index(min(losses))
    assert measured.prompts_cut > 0
