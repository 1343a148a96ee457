"""Classes weigh as C-RLFT's formula says; the selector takes what is good and new."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from groundup.dialogue.chat_formats import OPENCHAT
from groundup.dialogue.chat_template import ChatTemplate
from groundup.dialogue.classes import Classes
from groundup.dialogue.format.record import Conversation, Message
from groundup.dialogue.selection import format_score, length_score, select
from groundup.errors import RequestError
from groundup.models.build import build
from groundup.models.config import ModelConfig
from groundup.training.objectives import next_token


def talk(question: str, answer: str, condition: str | None = None) -> Conversation:
    return Conversation((Message("user", question), Message("assistant", answer)), condition)


def test_c_rlft_is_the_papers_weighted_mean(words) -> None:
    """sum over classes and tokens of exp(r_c / beta) CE, over the sum of the weights; prefixes weigh nothing, the end as much as the text."""
    paper = {"GPT4": 1.0, "GPT3": 0.1}
    template, classes = ChatTemplate(words, OPENCHAT), Classes(paper)
    model = build(ModelConfig(vocabulary=270, context=64, layers=1, width=16, heads=2, kv_heads=1, feedforward=32, init_std=0.3), seed=0)
    total, weight = 0.0, 0.0
    loss_sum, weight_sum = 0.0, 0.0
    for condition, answer in (("GPT4", "yes"), ("GPT3", "noo"), ("GPT3", "m")):
        one = talk("q", answer, condition)
        rendered = template.render(classes.weigh(one))
        tokens, weights = torch.tensor([rendered.tokens]), torch.tensor([rendered.weights])
        batch = {
            "tokens": tokens[:, :-1], "targets": tokens[:, 1:], "weights": weights[:, 1:], "positions": torch.arange(tokens.shape[1] - 1)[None],
            "segments": torch.zeros_like(tokens[:, 1:]),
        }  # fmt: skip
        sums = next_token(model, batch)
        loss_sum, weight_sum = loss_sum + float(sums.loss_sum.detach()), weight_sum + float(sums.weight_sum)
        # the formula, from the text alone
        prefix = words.encode(f"{condition} User:") + words.encode(" q") + [words.special["<|end_of_turn|>"]] + words.encode(f"{condition} Assistant:")
        said = words.encode(f" {answer}") + [words.special["<|end_of_turn|>"]]
        logits = model(torch.tensor([prefix + said]), torch.arange(len(prefix + said))[None])[0]
        ce = F.cross_entropy(logits[len(prefix) - 1 : -1], torch.tensor(said), reduction="none")
        total += paper[condition] * float(ce.detach().sum())
        weight += paper[condition] * len(said)
    assert weight_sum == pytest.approx(weight)
    assert loss_sum / weight_sum == pytest.approx(total / weight, abs=1e-5)


def test_classes_are_those_that_the_recipe_names() -> None:
    classes = Classes({"web": 0.3, "expert": 1.0, "chat": 1.0})
    assert classes.best == "expert"
    assert [m.weight for m in classes.weigh(talk("q", "a", "web")).messages] == [None, 0.3]
    halved = Conversation((Message("user", "q"), Message("assistant", "a", weight=0.5)), "web")
    assert classes.weigh(halved).messages[1].weight == pytest.approx(0.15)
    with pytest.raises(RequestError, match="'x' has no weight"):
        classes.weigh(talk("q", "a", "x"))
    with pytest.raises(RequestError, match="without a class"):
        classes.weigh(talk("q", "a"))
    for bad in ({}, {"a": -1.0}, {"a": 0.0}, {"a": math.nan}):
        with pytest.raises(RequestError, match="class weights"):
            Classes(bad)


GOOD = "Bread rises because yeast turns sugar into gas, and the gas is held by gluten, a protein of wheat that stretches when the dough is kneaded for a while."


def test_copies_are_never_picked_and_better_ones_come_first() -> None:
    shouted = GOOD.upper().replace("BREAD", "DOUGH")
    talks = [talk("Why?", "Because."), talk("Why does bread rise?", GOOD), talk("Why does bread rise?", GOOD), talk("Why does dough rise so?", shouted), talk(
        "Name a river of France.", "The Loire is a river of France, and the longest that lies in it; it comes from the south and ends in the Atlantic near Nantes.")]  # fmt: skip
    picks = select(talks, 10)
    places = [pick.place for pick in picks]
    assert set(places[:2]) == {1, 4} and 2 not in places
    assert [pick.novelty for pick in picks[:2]] == [1.0, 1.0]
    gains = [pick.quality * pick.novelty for pick in picks]
    assert gains == sorted(gains, reverse=True)
    assert select(talks, 2) == picks[:2]


def test_lazy_greedy_is_greedy() -> None:
    draw = torch.Generator().manual_seed(0)
    vocabulary = [f"w{number}" for number in range(30)]

    def text(size: int) -> str:
        return " ".join(vocabulary[int(place)] for place in torch.randint(30, (size,), generator=draw)) + "."

    talks = [talk(text(3), text(4 + number % 9)) for number in range(40)]
    picks = select(talks, 40, shortest=8, longest=10)
    covered: set[tuple[str, ...]] = set()
    left = set(range(40))

    def grams(one: Conversation) -> set[tuple[str, ...]]:
        lists = [message.content.rstrip(".").split() for message in one.messages]
        return {tuple(words[place : place + 3]) for words in lists for place in range(len(words) - 2)}

    for pick in picks:
        gains = {place: length_score(talks[place], 8, 10) * format_score(talks[place]) * len(grams(talks[place]) - covered) / len(grams(talks[place])) for place in left}
        best = max(gains.values())
        assert pick.quality * pick.novelty == pytest.approx(best)
        covered |= grams(talks[pick.place])
        left.discard(pick.place)


def test_perplexity_prefers_the_middle() -> None:
    talks = [talk(f"Question {number} about topic {number * 7}?", f"Answer {number} says {number * 3} things. " * 8) for number in range(7)]
    picks = select(talks, 7, [5.0, 1.0, 2.0, 3.0, 4.0, 6.0, 7.0])
    assert talks[picks[0].place] is talks[4]
    assert {1, 6}.isdisjoint(pick.place for pick in picks)  # the lowest and the highest
    with pytest.raises(ValueError, match="1 perplexities for 7"):
        select(talks, 7, [1.0])


def test_flaws_halve_the_quality() -> None:
    assert format_score(talk("Why?", GOOD)) == 1
    assert format_score(talk("Why does it rise so?", "Why does it rise so? " + GOOD)) == 0.5
    assert format_score(talk("Why?", "As an AI language model I know nothing of " + GOOD)) == 0.5
    assert format_score(talk("Why?", "it is so because " * 20)) == 0.25  # breaks off, and repeats itself
    assert length_score(talk("q", "one two"), 4, 8) == 0.5 and length_score(talk("q", "w " * 16), 4, 8) == 0.5
