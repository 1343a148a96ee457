"""Examples: drawn as lm-eval draws them, each item's own place decides."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from groundup.errors import RequestError
from groundup.evaluation.tasks.few_shot import Shots
from groundup.evaluation.tasks.rows import Row


def rows(texts: str) -> list[Row]:
    return [Row({"text": text}, Path("train.jsonl"), number) for number, text in enumerate(texts, 1)]


def solved(row: Row) -> str:
    return row.values["text"]


def test_draws_are_those_of_one_generator_that_goes_on() -> None:
    pool = rows("abcdefghijklmnopqrstuvwxyz")
    shots = Shots(pool, solved, 3, spare=False)
    expected = random.Random(1234)
    for asked in rows("123"):
        assert shots.before(asked) == "".join(f"{text}\n\n" for text in expected.sample("abcdefghijklmnopqrstuvwxyz", 3))


def test_a_spare_one_is_drawn_and_the_item_itself_left_out() -> None:
    pool = rows("abcdef")
    shots = Shots(pool, solved, 4, spare=True)
    expected = random.Random(1234)
    for asked in pool:
        drawn = [text for text in expected.sample("abcdef", 5) if text != asked.values["text"]][:4]
        assert shots.before(asked) == "".join(f"{text}\n\n" for text in drawn)
        assert len(drawn) == 4


def test_none_are_drawn_where_none_are_asked_for() -> None:
    assert Shots([], solved, 0, spare=True).before(rows("a")[0]) == ""


@pytest.mark.parametrize(("count", "spare"), [(4, False), (3, True)])
def test_more_than_there_are(count: int, spare: bool) -> None:
    with pytest.raises(RequestError, match="cannot be drawn from 3"):
        Shots(rows("abc"), solved, count, spare=spare)


def test_an_item_that_is_there_twice_is_no_example_for_itself() -> None:
    with pytest.raises(RequestError, match="more than once"):
        Shots(rows("aaaa"), solved, 2, spare=True).before(rows("a")[0])
