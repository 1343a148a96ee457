"""Fill-in-the-middle and span corruption lose no token and ask for what they should."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from test_loader import END
from test_packing import PAD
from test_streams import mixed

from groundup.errors import RequestError
from groundup.recipe import Tokens, parse
from groundup.tokens.loader import BatchPhase, Loader
from groundup.tokens.transforms import fill_in_the_middle, noise_spans, of_recipe, span_corruption

FIM = {"<|fim_prefix|>": 901, "<|fim_middle|>": 902, "<|fim_suffix|>": 903}
SENTINELS = {f"<|sentinel_{number}|>": 1000 + number for number in range(100)}


@given(length=st.integers(0, 30), begins=st.booleans(), ends=st.booleans(), seed=st.integers(0, 1000))
def test_fim_moves_the_middle_and_nothing_else(length: int, begins: bool, ends: bool, seed: int) -> None:
    text = list(range(1, length + 1))
    piece = np.array([*([END] if begins else []), *text, *([END] if ends else [])])
    if len(piece) < 2:
        return
    moved, weights = fill_in_the_middle(FIM, END, 1.0)(piece, np.random.default_rng(seed))
    assert len(weights) == len(moved) - 1
    assert (weights == 1).all()
    found = moved.tolist()
    assert (found[0] == END) == begins
    assert (found[-1] == END) == ends or length == 0
    inner = [token for token in found if token != END]
    if length < 2:
        assert inner == text
        return
    places = {name: inner.index(token) for name, token in FIM.items()}
    assert sorted(inner) == sorted([*text, *FIM.values()])
    if places["<|fim_suffix|>"] > places["<|fim_prefix|>"] and inner[0] == 901 and inner[1] != 903:
        prefix = inner[1 : places["<|fim_suffix|>"]]
        suffix = inner[places["<|fim_suffix|>"] + 1 : places["<|fim_middle|>"]]
        middle = inner[places["<|fim_middle|>"] + 1 :]
        assert prefix + middle + suffix == text
    elif inner[:2] == [901, 903]:  # suffix first, or an empty prefix
        rest = inner[places["<|fim_middle|>"] + 1 :]
        suffix = inner[2 : places["<|fim_middle|>"]]
        assert rest + suffix == text


def test_fim_spares_the_share_it_should() -> None:
    transform, draw = fill_in_the_middle(FIM, END, 0.3), np.random.default_rng(0)
    piece = np.array([END, 1, 2, 3, 4, END])
    touched = sum(len(transform(piece, draw)[0]) > len(piece) for _ in range(2000))
    assert touched / 2000 == pytest.approx(0.3, abs=0.04)


@given(length=st.integers(0, 400), seed=st.integers(0, 1000))
def test_spans_are_t5_s(length: int, seed: int) -> None:
    spans = noise_spans(length, 0.15, 3.0, 100, np.random.default_rng(seed))
    if length < 2:
        assert spans == []
        return
    noisy = sum(end - begin for begin, end in spans)
    assert noisy == min(max(round(length * 0.15), 1), length - 1)
    assert len(spans) == max(round(noisy / 3), 1)
    assert all(begin < end for begin, end in spans)
    assert all(end < begin for (_, end), (begin, _) in zip(spans, spans[1:], strict=False))  # something kept between them
    assert spans[0][0] > 0
    assert spans[-1][1] == length


@given(length=st.integers(2, 200), seed=st.integers(0, 100))
def test_corruption_can_be_undone_and_asks_for_the_blanks_alone(length: int, seed: int) -> None:
    text = list(range(1, length + 1))
    whole, weights = span_corruption(SENTINELS, END)(np.array([END, *text, END]), np.random.default_rng(seed))
    asked = [int(token) for token, weight in zip(whole[1:], weights, strict=True) if weight]
    shown = whole[: len(whole) - len(asked)].tolist()
    assert asked[-1] == END
    assert asked[0] == 1000
    blanks: dict[int, list[int]] = {}
    for token in asked[:-1]:
        if token >= 1000:
            blanks[token] = []
        else:
            blanks[max(blanks)].append(token)
    filled = [one for token in shown[1:] for one in (blanks[token] if token >= 1000 else [token])]
    assert filled == text


def test_in_a_batch_each_row_is_its_own_draw_again_and_again() -> None:
    make = lambda: Loader(  # noqa: E731
        mixed(), [BatchPhase(9, 16, 4, 2)], 5, transform=fill_in_the_middle(mixed().special, END, 1.0), packing="best-fit"
    )
    one, other = make(), make()
    assert all(torch.equal(one(3, 1)[name], other(3, 1)[name]) for name in one(3, 1))
    batch = one(3, 1)
    assert (batch["tokens"] == PAD + 2).any()
    assert batch["tokens"].shape == (4, 16)
    for row in range(4):
        for segment in set(batch["segments"][row].tolist()):
            inside = (batch["segments"][row] == segment) & (batch["weights"][row] > 0)
            assert batch["targets"][row][inside].tolist()[:-1] == batch["tokens"][row][inside].tolist()[1:]


def test_a_recipe_asks_for_them() -> None:
    special = {**FIM, **SENTINELS, "<|end_of_text|>": END}
    assert of_recipe(Tokens(), special) is None
    assert of_recipe(Tokens(fill_in_the_middle=0.5), special) is not None
    assert of_recipe(Tokens(span_corruption=True), special) is not None
    assert Tokens(span_corruption=True).sentinels == 100
    assert Tokens(span_corruption=True, sentinels=7).sentinels == 7
    with pytest.raises(RequestError, match="exclude each other"):
        parse({"name": "x", "sources": [{"kind": "files", "path": "x"}], "tokens": {"span_corruption": True, "fill_in_the_middle": 0.5}})
