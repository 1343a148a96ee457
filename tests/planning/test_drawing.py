"""The schedule's drawing shows the schedule."""

from __future__ import annotations

from pathlib import Path

import pytest

from groundup import recipe as recipes
from groundup.planning import drawing
from groundup.recipe import Training


def training(**changes: object) -> Training:
    return recipes.parse({"name": "x", "sources": [{"kind": "files", "path": "here"}], "training": changes}).training


def test_the_characters_follow_the_curve() -> None:
    text = drawing.as_text(drawing.course(training(schedule="linear", warmup=0.25, final_share=0.0))).splitlines()
    columns = [sum(line.ljust(71)[6 + column] != " " for line in text[: drawing.ROWS]) for column in range(drawing.COLUMNS)]
    assert columns.index(max(columns)) == pytest.approx(drawing.COLUMNS / 4, abs=4)
    assert columns[0] <= 2 and columns[-1] <= 1
    assert columns[16:] == sorted(columns[16:], reverse=True)


def test_phases_are_named() -> None:
    found = drawing.course(training(phases=[{"until": 0.3, "batch_tokens": 2048, "context": 64}, {"until": 1.0}], batch_tokens=4096))
    text = drawing.as_text(found)
    assert "to 30 %: 2,048 tokens a step, context 64" in text and "to 100 %: 4,096 tokens a step" in text


@pytest.mark.parametrize("suffix", ["png", "svg"])
def test_a_picture_is_written(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"schedule.{suffix}"
    drawing.draw(drawing.course(training(schedule="wsd", learning_rate=0.003, phases=[{"until": 0.5}, {"until": 1.0}])), path)
    assert path.stat().st_size > 5000
