"""A preview says exactly what the build then does, and leaves no trace."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from groundup import recipe as recipes
from groundup.corpus import pipeline, recipe_steps
from groundup.corpus.chain import Named
from groundup.corpus.collect import collect
from groundup.corpus.pipeline import clean
from groundup.corpus.preview import as_text, preview
from groundup.corpus.steps import Seen, Verdict, judge
from groundup.errors import RequestError
from groundup.recipe import Clean, Recipe
from groundup.run import Run

ALONE: dict[str, Any] = {"duplicates": {"documents": False}, "held_out": {"unit": "document"}}


class Vowels:
    """Drops what has a larger share of vowels; drops the last word of the rest."""

    def __init__(self, most: float) -> None:
        self.most = most

    def __call__(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        return judge(batch, "vowels", self._judge)

    def _judge(self, seen: Seen) -> Verdict:
        share = sum(letter in "ae" for letter in seen.text) / max(1, len(seen.text))
        return Verdict(seen.text, "vowels", share) if share > self.most else Verdict(seen.text.rpartition(" ")[0], None, share)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Documents of 20 to 300 characters, some with blank ends, in two sources."""
    rng = random.Random(0)
    for name in ("one", "two"):
        texts = [" ".join("".join(rng.choices("abcdefgh", k=5)) for _ in range(rng.randint(4, 50))) + rng.choice(["", "  \n", "\x07"]) for _ in range(100)]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(json.dumps({"text": text, "url": f"{name}/{number}"}) for number, text in enumerate(texts)))
    return tmp_path


def recipe(source: Path, **settings: Any) -> Recipe:
    sources = [{"kind": "files", "name": name, "path": str(source / f"{name}.jsonl")} for name in ("one", "two")]
    return recipes.parse({"name": "x", "sources": sources, "clean": {**ALONE, **settings}})


def built(folder: Path, wanted: Recipe) -> dict[str, dict[str, str]]:
    """Documents of a build by id."""
    run = Run.open(folder, wanted)
    try:
        stage = clean(run, collect(run))
    finally:
        run.close()
    return {row["id"]: row for path in stage.final.glob("part-*.parquet") for row in parquet.read_table(path).to_pylist()}


def look(folder: Path, now: Recipe, then: Recipe) -> dict[str, Any]:
    return preview(Run.follow(folder, now), then)


def files(folder: Path) -> dict[str, int]:
    return {str(path.relative_to(folder)): path.stat().st_mtime_ns for path in sorted(folder.rglob("*"))}


def with_vowels(wanted: Clean, models: Path) -> list[Named]:
    """The recipe's steps with one before the last that changes and drops; its threshold is the time limit, which no other step reads."""
    most = wanted.seconds_per_document / 100
    steps = recipe_steps.steps(wanted, models)
    return [*steps[:-1], Named("vowels", Vowels(most), {"most": most}), steps[-1]]


def long(characters: int) -> dict[str, Any]:
    return {"length": {"min_characters": characters}}


CHANGES: list[tuple[dict[str, Any], dict[str, Any]]] = [
    (long(60), long(150)),
    (long(150), long(60)),
    (long(60), {**long(60), "unicode": {"on": False}}),
    ({**long(60), "unicode": {"on": False}}, long(60)),
    (long(60), {**long(90), "unicode": {"on": False}}),
]


@pytest.mark.parametrize(("now", "then"), [*CHANGES, ({**long(60), "seconds_per_document": 24.0}, {**long(60), "seconds_per_document": 26.0})])
def test_it_says_what_the_build_then_does(tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch, now: dict[str, Any], then: dict[str, Any]) -> None:
    monkeypatch.setattr(pipeline, "SHARD_CHARACTERS", 6_000)
    if "seconds_per_document" in now:
        monkeypatch.setattr(pipeline, "steps", with_vowels)
    before = built(tmp_path / "run", recipe(source, **now))
    trace = files(tmp_path / "run")
    found = look(tmp_path / "run", recipe(source, **now), recipe(source, **then))
    assert files(tmp_path / "run") == trace, "a preview writes nothing"
    after = built(tmp_path / "run", recipe(source, **then))
    for side, documents in (("now", before), ("then", after)):
        assert found[side] == {"documents": len(documents), "bytes": sum(len(row["text"].encode()) for row in documents.values())}
        for name in ("one", "two"):
            its = [row for row in documents.values() if row["source"] == name]
            assert found["sources"][name][side] == {"documents": len(its), "bytes": sum(len(row["text"].encode()) for row in its)}
    for name, here, there in (("newly_dropped", before, after), ("newly_kept", after, before)):
        gone = {key: row for key, row in here.items() if key not in there}
        lot = found[name]
        assert lot["documents"] == len(gone) == sum(reason["documents"] for reason in lot["reasons"])
        assert lot["bytes"] == sum(len(row["text"].encode()) for row in gone.values()) == sum(reason["bytes"] for reason in lot["reasons"])
        assert all(sample["text"] == gone[sample["id"]]["text"].strip()[:300] and sample["url"] == gone[sample["id"]]["url"] for sample in lot["samples"])
        assert len(lot["samples"]) == sum(min(20, reason["documents"]) for reason in lot["reasons"])
    changed = {key for key in before.keys() & after.keys() if before[key]["text"] != after[key]["text"]}
    assert found["changed"]["documents"] == len(changed) and {sample["id"] for sample in found["changed"]["samples"]} <= changed
    assert len(found["changed"]["samples"]) == min(20, len(changed))
    assert json.loads(json.dumps(found)) == found
    assert f"{found['newly_dropped']['documents']:,} documents" in as_text(found)
    assert sum(map(sum, found["scores"].values())) == (0 if found["step"] in ("", "unicode") else 200)


def test_only_what_leaves_the_changed_step_otherwise_goes_on(tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from groundup.corpus import preview as module

    monkeypatch.setattr(pipeline, "steps", with_vowels)
    now, then = ({**long(60), "seconds_per_document": seconds} for seconds in (24.0, 24.5))
    built(tmp_path / "run", recipe(source, **now))
    seen: dict[str, int] = {}
    real = module._run

    def counted(steps: list[Named], documents: pa.Table, seconds: float) -> list[pa.Table]:
        seen.update(dict.fromkeys((step.name for step in steps), documents.num_rows))
        return real(steps, documents, seconds)

    monkeypatch.setattr(module, "_run", counted)
    found = look(tmp_path / "run", recipe(source, **now), recipe(source, **then))
    assert found["steps_run_again"] == ["vowels"]
    assert seen["vowels"] == 200 and 0 < seen["length"] < 100
    kept, dropped, won, left = (sum(column) for column in zip(*found["scores"].values(), strict=True))
    assert dropped == 0 and won == seen["length"] >= found["newly_kept"]["documents"] > 0 and kept + won + left == 200
    assert all(0.24 < sample["score"] <= 0.245 for sample in found["newly_kept"]["samples"] if sample["step"] == "vowels")


@pytest.mark.parametrize(("then", "words"), [
    ({}, "what the recipe says already"),
    ({"html": {"main_content": False}}, "how text is got out of pages"),
    ({"max_document_characters": 20_000}, "how sources are read"),
    ({"duplicates": {"documents": False, "lines": True}}, "none of the steps on single documents"),
])  # fmt: skip
def test_what_it_cannot_say_it_refuses(tmp_path: Path, source: Path, then: dict[str, Any], words: str) -> None:
    built(tmp_path / "run", recipe(source))
    with pytest.raises(RequestError, match=words):
        look(tmp_path / "run", recipe(source), recipe(source, **then))


def test_what_is_not_cleaned_yet_is_left_alone(tmp_path: Path, source: Path) -> None:
    with pytest.raises(RequestError, match=r"'collect' is not finished.*Run `groundup clean` first"):
        look(tmp_path / "run", recipe(source), recipe(source, **long(50)))
    assert not (tmp_path / "run").exists()
    built(tmp_path / "run", recipe(source))
    trace = files(tmp_path / "run")
    with pytest.raises(RequestError, match="'clean' is not finished"):
        look(tmp_path / "run", recipe(source, **long(50)), recipe(source, **long(60)))
    assert files(tmp_path / "run") == trace
