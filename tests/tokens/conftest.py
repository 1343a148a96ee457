"""A run whose clean corpus is made of given texts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from groundup.recipe import parse
from groundup.run import Run, Stage

Row = tuple[str, str, str]  # id, split, text


def write_clean(folder: Path, rows: list[Row], rows_a_part: int = 7) -> None:
    for number, start in enumerate(range(0, max(1, len(rows)), rows_a_part)):
        ids, splits, texts = zip(*rows[start : start + rows_a_part], strict=True) if rows else ((), (), ())
        table = pa.table({"id": ids, "text": texts, "source": ["s"] * len(ids), "split": splits})
        pq.write_table(table, folder / f"part-{number:05d}.parquet", compression="zstd")


@pytest.fixture
def build_clean(tmp_path: Path) -> Callable[..., tuple[Run, Stage]]:
    def make(rows: list[Row], name: str = "run", **tokens: Any) -> tuple[Run, Stage]:
        recipe = parse({"name": name, "sources": [{"kind": "files", "path": "x"}], "tokens": tokens})
        run = Run.open(tmp_path / name, recipe)
        stage = run.stage("clean", "corpus/clean", depends={}, inputs={})
        if not stage.done:
            write_clean(stage.work, rows)
            stage.finish({})
        return run, stage

    return make
