"""Near duplicates and repeated passages in the clean stage: the same survivors however the corpus is cut or ordered."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from test_pipeline import WHOLE, build, funnel, rows

from groundup.corpus import pipeline
from groundup.recipe.cleaning.duplicates import Near

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


def survivors(tmp_path: Path, name: str, documents: list[dict[str, Any]], clean_settings: dict[str, Any]) -> list[dict[str, Any]]:
    file = tmp_path / f"{name}.jsonl"
    file.write_text("\n".join(json.dumps(one) for one in documents))
    return rows(build(tmp_path / name, file, **clean_settings))


def test_the_order_of_the_documents_changes_no_survivor(tmp_path: Path, source: Path) -> None:
    """Of near copies that differ the same one stays, and of a repeated passage the same document keeps it."""
    documents = [{"text": path.read_text(), "url": path.name} for path in sorted(source.iterdir())]
    settings = {"duplicates": {"paragraphs": True, "lines": True, "near": {"on": True}, "passages": {"on": True, "words": 20}}, "held_out": WHOLE}
    found = []
    for turn in range(4):
        random.Random(turn).shuffle(documents)
        found.append({(row["url"], row["text"]) for row in survivors(tmp_path, str(turn), documents, settings)})
    assert found[0] == found[1] == found[2] == found[3] and len(found[0]) == 40


def test_one_processor_and_two_leave_the_same_bytes(tmp_path: Path, source: Path) -> None:
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("this machine has one processor")
    code = (
        "import os, sys; from pathlib import Path; os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: int(sys.argv[3])])\n"
        "from groundup.corpus import pipeline; pipeline.SHARD_CHARACTERS = 20_000\n"
        "sys.path.insert(0, sys.argv[4]); import test_passes, test_pipeline\n"
        "print(test_pipeline.build(Path(sys.argv[1]), Path(sys.argv[2]), **test_passes.ON).digest)"
    )
    found = [
        subprocess.run(
            [sys.executable, "-c", code, str(tmp_path / f"on-{number}"), str(source), str(number), str(Path(__file__).parent)], capture_output=True, text=True,
            check=True, timeout=120,
        ).stdout
        for number in (1, 2)
    ]  # fmt: skip
    assert found[0] == found[1] != ""


def test_pages_of_one_address(tmp_path: Path) -> None:
    draw = random.Random(5)
    documents = [
        {"text": " ".join(text(draw, 60)), "url": url}
        for url in ("http://example.org/a", "https://www.example.org/a/#top", "http://example.org/b", *(f"http://example.org/{number}" for number in range(20)))
    ]
    found = survivors(tmp_path, "x", documents, {"duplicates": {"urls": True}, "held_out": WHOLE})
    assert len(found) == 22 and len({row["url"] for row in found} & {documents[0]["url"], documents[1]["url"]}) == 1


def test_the_parts_of_a_cut_document_have_one_address_and_stay(tmp_path: Path) -> None:
    draw = random.Random(6)
    documents = [{"text": "\n\n".join(" ".join(text(draw, 60)) for _ in range(80)), "url": f"http://example.org/{number}"} for number in range(3)]
    settings = {"duplicates": {"urls": True}, "held_out": {"unit": "document", "fraction": 0.3}, "max_document_characters": 10_000}
    found = survivors(tmp_path, "x", [*documents, {**documents[0], "text": " ".join(text(draw, 60))}], settings)
    whole = sum(len(row["text"]) > 1000 for row in found)
    assert whole > 6 and len({row["url"] for row in found}) == 3


def test_sources_of_one_snapshot_are_compared(tmp_path: Path, source: Path) -> None:
    from groundup import recipe as recipes
    from groundup.corpus.collect import collect
    from groundup.corpus.pipeline import clean
    from groundup.run import Run

    labels = {"a": "2020", "b": "2021", "c": "2020"}
    data = {"name": "x", "sources": [{"kind": "files", "name": name, "path": str(source / "00.txt"), "snapshot": label} for name, label in labels.items()]}
    recipe = recipes.parse({**data, "clean": {"duplicates": {"documents": False, "near": {"on": True}, "scope": "snapshot"}, "held_out": {"unit": "tail"}}})
    run = Run.open(tmp_path / "run", recipe)
    kept = {row["source"] for row in rows(clean(run, collect(run)))}
    run.close()
    assert kept == {"a", "b"}


def test_chance_candidates_stay_where_the_true_similarity_is_asked_for(tmp_path: Path) -> None:
    """Pairs that share half of their shingles: one of two bands of one row finds nearly all, and the check lets them be."""
    draw = random.Random(7)
    documents = []
    for number in range(30):
        shared = text(draw, 100)
        documents += [{"text": " ".join([*shared, *text(draw, 60)]), "url": f"{number}-{turn}"} for turn in range(2)]
    documents += [{"text": documents[0]["text"] + " more", "url": "copy"}]
    loose = {"on": True, "bands": 10, "rows": 1, "words": 1}
    kept = {
        least: len(survivors(tmp_path, str(least), documents, {"duplicates": {"near": {**loose, "min_similarity": least}}, "held_out": WHOLE, "decontaminate": {"on": False}}))
        for least in (None, 0.3, 0.9)
    }
    assert kept[None] <= kept[0.3] == 30 and kept[0.9] == 60


def test_presets_are_the_published_figures() -> None:
    assert Near(preset="refinedweb").model_dump() == {"on": False, "preset": "refinedweb", "bands": 450, "rows": 20, "words": 5, "min_similarity": None}
    assert (Near().bands, Near().rows, Near().words) == (14, 8, 5) and Near(preset="fineweb") == Near(preset="fineweb", bands=14)
    assert Near(preset="gpt3", min_similarity=0.5).model_dump() == {"on": False, "preset": "gpt3", "bands": 10, "rows": 1, "words": 1, "min_similarity": 0.5}


def test_the_best_of_a_cluster_stays_if_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from groundup import recipe as recipes
    from groundup.errors import GroundupError

    with pytest.raises(GroundupError, match="keep=best-quality"):
        recipes.parse({"name": "x", "sources": [{"kind": "files", "path": "x"}], "clean": {"duplicates": {"keep": "best-quality"}}})
    draw = random.Random(8)
    documents = []
    for number in range(25):
        its = text(draw, 150)
        order = [("good", "excellent " * 3), ("bad", "spam " * 3), ("middle", "fine " * 3)]
        draw.shuffle(order)
        documents += [{"text": " ".join(its) + " " + word, "url": f"{number}-{kind}"} for kind, word in order]
    scores = {"excellent": 0.9, "fine": 0.6, "spam": 0.2}
    monkeypatch.setattr(pipeline.Cleaning, "_quality", lambda _, number, documents: pa.array([scores[one.split()[-1]] for one in documents["text"].to_pylist()]))
    settings = {"duplicates": {"near": {"on": True}, "keep": "best-quality"}, "classifier": {"on": False}, "held_out": WHOLE}
    monkeypatch.setattr("groundup.recipe.prepare.needs_classifier", lambda duplicates, classifier: None)
    assert {row["url"].split("-")[1] for row in survivors(tmp_path, "x", documents, settings)} == {"good"}


def test_the_report_shows_clusters_and_what_is_repeated_most(tmp_path: Path, source: Path) -> None:
    told = funnel(build(tmp_path / "run", source, **ON))["duplicates"]
    near = told["near duplicates"]
    assert near["sizes"] == {"3": 5} and [one["documents"] for one in near["clusters"]] == [3] * 5
    for one in near["clusters"]:
        assert len(one["dropped"]) == 2 and len({sample["url"].split(".")[0].split("-")[0] for sample in [one["kept"], *one["dropped"]]}) == 1
    passage = " ".join((source / "00.txt").read_text().split()[50:80])
    most = told["repeated passages"]["repeated"][0]
    assert most == {"times": 10, "bytes": 10 * len(passage), "text": passage[:300]}


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
