"""Scores: by hand, by numpy as lm-eval writes them, and by simulation."""

from __future__ import annotations

import math
import statistics

import numpy as np
import pytest

from groundup.evaluation.scoring import (
    Figure,
    centred,
    core,
    figures,
    groups,
    mean,
    mean_of_means,
    perplexity,
    quoted,
    score,
    score_text,
)
from groundup.evaluation.tasks.item import Item, Request, Task, choice_item


def task_of(items, kind="choice", metrics=("acc_norm", "acc", "acc_bytes", "gold_probability"), **more) -> Task:
    return Task("t", kind, items, metrics, 0, **more)


def scored(*logs: float) -> list[tuple[float, bool]]:
    return [(log, False) for log in logs]


def test_a_choice_by_sum_by_characters_and_by_bytes() -> None:
    """-9 over 1 character; -10 over 2 characters of 2 bytes each; -11 over 8 characters."""
    task = task_of([choice_item("1", "c", ["x", "éé", "long one"], 1)])
    result = score(task, 0, scored(-9, -10, -11), [1, 1, 2])
    assert result.values["acc"] == 0 and result.values["acc_norm"] == 0 and result.values["acc_bytes"] == 0 and result.chosen == 2
    assert score(task, 0, scored(-9, -2, -11), [1, 1, 2]).values["acc_norm"] == 1
    values = score(task, 0, scored(-9, -5, -11), [1, 1, 2]).values  # -2.5 a character, -1.25 a byte; the third -1.375
    assert (values["acc"], values["acc_norm"], values["acc_bytes"]) == (1, 0, 1)


@pytest.mark.parametrize("seed", range(20))
def test_choices_as_numpy_says(seed: int) -> None:
    draw = np.random.default_rng(seed)
    choices = ["".join(draw.choice(list("abé☃"), size=draw.integers(1, 9))) for _ in range(4)]
    logs = draw.integers(-12, 0, 4).astype(float)  # ties are likely: the first of equals is the answer
    gold = int(draw.integers(4))
    values = score(task_of([choice_item("1", "c", choices, gold)]), 0, scored(*logs), [1] * 4).values
    assert values["acc"] == (np.argmax(logs) == gold)
    assert values["acc_norm"] == (np.argmax(logs / np.array([len(one) for one in choices])) == gold)
    assert values["acc_bytes"] == (np.argmax(logs / np.array([len(one.encode()) for one in choices])) == gold)
    assert values["gold_probability"] == pytest.approx(np.exp(logs[gold]) / np.exp(logs).sum())


def test_truthfulness_is_a_share_of_probability() -> None:
    item = Item("1", tuple(Request("c", text) for text in " a, b, c".split(",")), (0, 2))
    task = task_of([item], "truthful", ("mc2",))
    logs = [math.log(0.1), math.log(0.2), math.log(0.3)]
    assert score(task, 0, scored(*logs), [1] * 3).values["mc2"] == pytest.approx(0.4 / 0.6)
    far = [log - 2000 for log in logs]  # where exp alone would be 0 / 0
    assert score(task, 0, scored(*far), [1] * 3).values["mc2"] == pytest.approx(0.4 / 0.6)


def test_greedy_and_its_perplexity() -> None:
    task = task_of([Item("1", (Request("c", " w"),)), Item("2", (Request("c", " w"),))], "greedy", ("acc", "perplexity"))
    results = [score(task, 0, [(-1.0, True)], [1]), score(task, 1, [(-3.0, False)], [2])]
    found = figures(task, results)
    assert found["acc"].value == 0.5 and found["perplexity"].value == pytest.approx(math.exp(2))
    assert found["perplexity"].standard_error == pytest.approx(math.exp(2) * 1.0)


def test_the_best_mean_per_token() -> None:
    task = task_of([Item("1", (Request("c", " a"), Request("c", " b")), (1,))], "average", ("acc",))
    assert score(task, 0, scored(-4, -6), [1, 3]).values["acc"] == 1


def test_texts() -> None:
    plain = task_of([Item("1", (Request("q", ""),), answer="4")], "generate", ("exact_match",))
    assert score_text(plain, 0, " 4\n").values == {"exact_match": 1} and score_text(plain, 0, "5").values == {"exact_match": 0}
    sums = task_of([Item("1", (Request("q", ""),), answer="so\n#### 4")], "generate", ("exact_match", "exact_match_flexible"))
    assert score_text(sums, 0, "it is 4").values == {"exact_match": 0, "exact_match_flexible": 1}


def test_the_standard_error_is_the_sample_deviation_over_the_root() -> None:
    values = [0.0, 1.0, 1.0, 0.0, 1.0]
    figure = mean(values)
    assert figure == Figure(0.6, pytest.approx(statistics.stdev(values) / math.sqrt(5)), 5)
    assert mean([1.0]).standard_error is None


def test_a_mean_of_means_counts_each_alike() -> None:
    small, large = mean([1.0, 0.0]), mean([1.0] * 30 + [0.0] * 10)
    both = mean_of_means([small, large])
    assert both.value == pytest.approx((0.5 + 0.75) / 2) and both.n == 42
    assert both.standard_error == pytest.approx(math.hypot(small.standard_error, large.standard_error) / 2)
    assert mean_of_means([small, mean([1.0])]).standard_error is None


def test_by_document_and_by_subject() -> None:
    items = [choice_item(str(n), "c", ["a", "b"], 0, "large" if n < 6 else "small") for n in range(8)]
    task = task_of(items, metrics=("acc",), macro=True)
    results = [score(task, n, scored(*((-1, -2) if n < 6 else (-2, -1))), [1, 1]) for n in range(8)]
    found = figures(task, results)
    assert found["acc"].value == 0.75 and found["acc_by_group"].value == 0.5 and quoted(task) == "acc_by_group"
    assert {name: one.value for name, one in groups(task, results, "acc").items()} == {"large": 1.0, "small": 0.0}


def test_a_sample_with_one_item_a_group_has_an_error_all_the_same() -> None:
    items = [choice_item(str(n), "c", ["a", "b"], 0, str(n)) for n in range(8)]
    task = task_of(items, metrics=("acc",), macro=True)
    found = figures(task, [score(task, n, scored(*((-1, -2) if n < 6 else (-2, -1))), [1, 1]) for n in range(8)])
    assert found["acc_by_group"].standard_error == pytest.approx(found["acc"].standard_error)


def test_macro_standard_errors_hold_in_a_simulation() -> None:
    """The spread of macro means over many simulated runs is what the formula says, to a few per cent."""
    draw = np.random.default_rng(0)
    rates, sizes = draw.uniform(0.2, 0.9, 12), draw.integers(20, 200, 12)
    runs = [mean_of_means([mean((draw.random(size) < rate).astype(float).tolist()) for rate, size in zip(rates, sizes, strict=True)]) for _ in range(400)]
    assert statistics.stdev(run.value for run in runs) == pytest.approx(statistics.fmean(run.standard_error for run in runs), rel=0.12)


def test_centred_scores() -> None:
    assert centred(Figure(0.62, 0.01, 10), 0.62).value == pytest.approx(0) and centred(Figure(1.0, 0.01, 10), 0.62).value == pytest.approx(1)
    assert centred(Figure(0.5, 0.03, 10), 0.25).standard_error == pytest.approx(0.04)
    assert core({"a": (Figure(0.5, 0.0, 4), 0.25), "b": (Figure(0.5, 0.0, 4), 0.0)}).value == pytest.approx((1 / 3 + 1 / 2) / 2)


def test_perplexity_of_the_hopeless_is_finite() -> None:
    assert math.isfinite(perplexity([-1e6, -1e6]).value)
