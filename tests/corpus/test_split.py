"""The split: its share, its steadiness, and that no text is on both sides or lost."""

from __future__ import annotations

import random
from typing import Any

import pytest

from groundup.corpus.split import Split, choose
from groundup.errors import GroundupError
from groundup.recipe import HeldOut


def corpus(documents: int, length: int, parts: int = 1) -> list[dict[str, Any]]:
    rng = random.Random(0)
    return [
        {"id": f"{number}-{part}", "whole": str(number), "text": "".join(rng.choices("abcdé    \n", k=rng.randint(length // 2, length)))}
        for number in range(documents) for part in range(parts)
    ]  # fmt: skip


def divide(rows: list[dict[str, Any]], held_out: HeldOut, seed: int = 1) -> tuple[Split, list[dict[str, Any]]]:
    sizes: dict[str, tuple[int, int]] = {}
    for row in rows:
        size, characters = sizes.get(row["whole"], (0, 0))
        sizes[row["whole"]] = (size + len(row["text"].encode()), characters + len(row["text"]))
    split = Split(sizes, held_out, seed)
    return split, [part for row in rows for part in split(row)]


@pytest.mark.parametrize(("documents", "parts", "unit"), [(200, 1, "document"), (40, 3, "document"), (5, 1, "tail"), (2, 4, "tail"), (1, 1, "tail")])
@pytest.mark.parametrize("fraction", [0.05, 0.2])
def test_share_and_nothing_lost(documents: int, parts: int, unit: str, fraction: float) -> None:
    rows = corpus(documents, 4000, parts)
    split, result = divide(rows, HeldOut(fraction=fraction))
    assert split.unit == unit
    assert "".join(row["text"] for row in result) == "".join(row["text"] for row in rows)
    assert len({row["id"] for row in result}) == len(result)
    held = sum(len(row["text"].encode()) for row in result if row["split"] == "held-out")
    assert 0.8 * fraction < held / sum(len(row["text"].encode()) for row in rows) < 1.6 * fraction


def test_the_parts_of_a_document_stay_together() -> None:
    _, result = divide(corpus(40, 500, parts=3), HeldOut(fraction=0.2))
    for whole in {row["whole"] for row in result}:
        assert len({row["split"] for row in result if row["whole"] == whole}) == 1


def test_a_tail_is_the_end_of_the_whole_document_and_begins_a_line() -> None:
    rows = [{"id": str(part), "whole": "w", "text": "line of words\n" * 100} for part in range(4)]
    _, result = divide(rows, HeldOut(fraction=0.05, unit="tail"))
    assert [row["split"] for row in result] == ["train"] * 4 + ["held-out"]
    assert result[-1]["text"].startswith("line")


def test_the_draw_depends_on_the_seed_and_on_no_order() -> None:
    rows = corpus(100, 300)

    def held(rows: list[dict[str, Any]], seed: int) -> set[str]:
        return {row["id"] for row in divide(rows, HeldOut(), seed)[1] if row["split"] == "held-out"}

    assert held(rows, 1) == held(rows[::-1], 1) != held(rows, 2)


def test_one_document_that_is_most_of_the_corpus_is_cut_not_drawn() -> None:
    sizes = {str(number): (10, 10) for number in range(50)} | {"giant": (10_000, 10_000)}
    assert choose(sizes, HeldOut()) == "tail"


def test_whole_documents_of_which_there_is_one() -> None:
    with pytest.raises(GroundupError, match="only one document"):
        divide(corpus(1, 500), HeldOut(unit="document"))
