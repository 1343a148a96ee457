"""Near duplicates and repeated passages in the clean stage: the same survivors however the corpus is cut or ordered."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from test_pipeline import WHOLE, build, funnel, rows

from groundup.corpus import pipeline

ON: dict[str, Any] = {"duplicates": {"near": {"on": True}, "passages": {"on": True, "words": 20}}, "held_out": WHOLE}


def text(draw: random.Random, size: int) -> list[str]:
    return ["".join(draw.choices("abcdefghijklmnop", k=draw.randint(3, 8))) for _ in range(size)]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Forty documents, five of them with two near copies, and a passage that stands in ten."""
    draw = random.Random(3)
    folder = tmp_path / "source"
    folder.mkdir()
    passage = text(draw, 30)
    for number in range(40):
        its = text(draw, 200)
        if number < 10:
            its[50:50] = passage
        (folder / f"{number:02}.txt").write_text(" ".join(its) + "\n")
        for copy in range(2 if number >= 35 else 0):
            near = [*its[:100], f"changed{copy}", *its[101:]]
            (folder / f"{number:02}-{copy}.txt").write_text(" ".join(near).capitalize() + "!\n")
    return folder


def test_one_of_each_cluster_stays_and_one_of_each_passage(tmp_path: Path, source: Path) -> None:
    stage = build(tmp_path / "run", source, **ON)
    steps = {step["step"]: step for step in funnel(stage)["steps"]}
    assert steps["near duplicates"]["reasons"] == {"near copy of another document": 10}
    kept = {row["url"].split(".")[0].split("-")[0] for row in rows(stage)}
    assert kept == {f"{number:02}" for number in range(40)} and len(rows(stage)) == 40
    passage = " ".join((source / "00.txt").read_text().split()[50:80])
    assert sum(passage in row["text"] for row in rows(stage)) == 1
    assert steps["repeated passages"]["changed"] == 9
    assert sorted(len(row["text"].split()) for row in rows(stage)) == [200] * 39 + [230]


def test_shards_and_the_order_of_files_change_no_survivor(tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = build(tmp_path / "one", source, **ON)
    monkeypatch.setattr(pipeline, "SHARD_CHARACTERS", 10_000)
    many = build(tmp_path / "many", source, **ON)
    assert len(list(many.final.glob("part-*"))) > 3
    assert rows(one) == rows(many) and funnel(one) == funnel(many)


def test_copies_are_looked_for_within_a_source_unless_asked(tmp_path: Path, source: Path) -> None:
    from groundup import recipe as recipes
    from groundup.corpus.collect import collect
    from groundup.corpus.pipeline import clean
    from groundup.run import Run

    found = {}
    for scope in ("source", "corpus"):
        data = {"name": "x", "sources": [{"kind": "files", "name": name, "path": str(source / "00.txt")} for name in ("a", "b")]}
        duplicates = {"documents": False, "near": {"on": True}, "scope": scope}
        recipe = recipes.parse({**data, "clean": {"duplicates": duplicates, "held_out": {"unit": "tail"}}})
        run = Run.open(tmp_path / scope, recipe)
        stage = clean(run, collect(run))
        run.close()
        found[scope] = {row["source"] for row in rows(stage)}
    assert found["source"] == {"a", "b"} and len(found["corpus"]) == 1


class Killed(BaseException):
    """Stands for a kill."""


def test_cut_off_and_started_again(tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "SHARD_CHARACTERS", 20_000)
    expected = build(tmp_path / "whole", source, **ON).digest
    real, left = pipeline.write_json, 0

    def counted(path: Path, value: Any) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            raise Killed
        real(path, value)

    monkeypatch.setattr(pipeline, "write_json", counted)
    for moment in (5, 8, 10, 12, 14):
        left = moment
        with pytest.raises(Killed):
            build(tmp_path / f"cut-{moment}", source, **ON)
        left = -1
        assert build(tmp_path / f"cut-{moment}", source, **ON).digest == expected


def test_the_gold_pairs_of_mccormick(tmp_path: Path) -> None:
    data = next((folder for folder in (Path(__file__).parents[2].parent / "shared", Path(__file__).parents[2] / "shared") if folder.exists()), None)
    gold = data / "data/labels/neardup/mccormick_minhash" if data else None
    if gold is None or not gold.exists():
        pytest.skip("needs ../shared/data/labels/neardup")
    articles = dict(line.split(" ", 1) for line in (gold / "articles_1000.train").read_text(encoding="utf-8", errors="replace").splitlines() if " " in line)
    pairs = [tuple(line.split()) for line in (gold / "articles_1000.truth").read_text().splitlines() if line.strip()]
    (tmp_path / "x.jsonl").write_text("\n".join(json.dumps({"text": text, "url": name}) for name, text in articles.items()))
    stage = build(tmp_path / "run", tmp_path / "x.jsonl", duplicates={"near": {"on": True}}, held_out=WHOLE)
    kept = {row["url"] for row in rows(stage)}
    assert sum(one in kept for pair in pairs for one in pair) == len(pairs)  # one of each
    assert len(kept) == len(articles) - len(pairs)  # and nothing else went
