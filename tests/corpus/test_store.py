"""What steps did is kept: a changed step runs again with those after it, and nothing before it does."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from groundup import recipe as recipes
from groundup.corpus import pipeline
from groundup.corpus.collect import collect
from groundup.corpus.pipeline import clean
from groundup.corpus.sources.reading import FileUnit
from groundup.run import Run, Stage


@pytest.fixture
def source(tmp_path: Path) -> Path:
    rng = random.Random(0)
    texts = [" ".join("".join(rng.choices("abcdefgh", k=5)) for _ in range(rng.randint(5, 60))) for _ in range(100)]
    (tmp_path / "x.jsonl").write_text("\n".join(json.dumps({"text": text}) for text in texts))
    return tmp_path / "x.jsonl"


def build(folder: Path, source: Path, **settings: Any) -> Stage:
    run = Run.open(folder, recipes.parse({"name": "x", "sources": [{"kind": "files", "path": str(source)}], "clean": settings}))
    try:
        return clean(run, collect(run))
    finally:
        run.close()


def files(folder: Path) -> dict[str, int]:
    return {str(path.relative_to(folder)): path.stat().st_mtime_ns for path in sorted(folder.rglob("*")) if path.is_file()}


def test_a_changed_step_runs_again_and_nothing_before_it(tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "SHARD_CHARACTERS", 5_000)
    build(tmp_path / "run", source)
    before = files(tmp_path / "run" / "corpus" / "steps")
    assert len({name.split("/")[0] for name in before}) == 5  # the documents and four steps

    def never(*_: Any) -> Any:
        raise AssertionError("the sources were read again")

    with monkeypatch.context() as changed:
        changed.setattr(FileUnit, "read", never)
        stage = build(tmp_path / "run", source, length={"min_characters": 150})
    after = files(tmp_path / "run" / "corpus" / "steps")
    kept = {name for name in before if not name.startswith("length")}
    assert {name: after[name] for name in kept} == {name: before[name] for name in kept}
    assert {name.split("-")[0] for name in after.keys() - kept} == {"length"}
    assert not {name for name in before if name.startswith("length")} & set(after)  # nobody asks for those any more
    assert build(tmp_path / "other", source, length={"min_characters": 150}).digest == stage.digest


def test_a_step_turned_off_leaves_those_before_it(tmp_path: Path, source: Path) -> None:
    build(tmp_path / "run", source)
    before = files(tmp_path / "run" / "corpus" / "steps")
    stage = build(tmp_path / "run", source, unicode={"on": False})
    after = files(tmp_path / "run" / "corpus" / "steps")
    assert {name.split("-")[0] for name in before.keys() & after.keys()} == {"documents", "html"}
    assert stage.digest == build(tmp_path / "other", source, unicode={"on": False}).digest
