"""Two corpora side by side: every figure is counted again here, the slow way."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pyarrow import parquet

from groundup import recipe as recipes
from groundup.corpus import compare as module
from groundup.corpus import pipeline
from groundup.corpus.collect import collect
from groundup.corpus.compare import Words, as_text, compare, more_frequent
from groundup.corpus.pipeline import clean
from groundup.errors import RequestError
from groundup.run import Run, read_json, write_json

WORDS = "harbour lantern meadow orchard pebble quarry ribbon saddle timber umbrella velvet willow".split()


def write(path: Path, seed: int, favourite: str, documents: int) -> list[str]:
    rng = random.Random(seed)
    texts = [" ".join(rng.choices([*WORDS, *([favourite] * 6)], k=rng.randint(20, 200))) for _ in range(documents)]
    path.write_text("\n".join(json.dumps({"text": text}) for text in texts))
    return texts


def build(folder: Path, sources: dict[str, Path], **settings: Any) -> Run:
    named = [{"kind": "files", "name": name, "path": str(path)} for name, path in sources.items()]
    run = Run.open(folder, recipes.parse({"name": folder.name, "sources": named, "clean": {"held_out": {"unit": "document"}, **settings}}))
    try:
        clean(run, collect(run))
    finally:
        run.close()
    return run


def rows(run: Run) -> list[dict[str, Any]]:
    return [row for path in sorted((run.path / "corpus/clean").glob("part-*")) for row in parquet.read_table(path).to_pylist()]


@pytest.fixture
def pair(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Run, Run]:
    """Two corpora that share the texts of `both`, in several parts."""
    monkeypatch.setattr(pipeline, "SHARD_CHARACTERS", 9_000)
    monkeypatch.setattr(module, "BATCH_ROWS", 7)
    for name, favourite, documents in (("both", "harbour", 40), ("left", "zebra", 60), ("right", "kiosk", 50)):
        write(tmp_path / f"{name}.jsonl", sum(map(ord, name)), favourite, documents)
    both = {"both": tmp_path / "both.jsonl"}
    return build(tmp_path / "a", {**both, "left": tmp_path / "left.jsonl"}), build(tmp_path / "b", {"right": tmp_path / "right.jsonl", **both}, length={"min_characters": 400})


def test_every_figure(pair: tuple[Run, Run]) -> None:
    found = compare(*pair)
    documents = [rows(run) for run in pair]
    texts = [{row["text"] for row in side} for side in documents]
    assert found["shared_texts"] == len(texts[0] & texts[1]) > 0
    for place, name in enumerate(("one", "other")):
        side, own = found[name], documents[place]
        sizes = [len(row["text"].encode()) for row in own]
        assert (side["documents"], side["bytes"], side["characters"]) == (len(own), sum(sizes), sum(len(row["text"]) for row in own))
        assert side["estimated_tokens"] == round(sum(sizes) / 4)
        for group, column in (("sources", "source"), ("languages", "language")):
            assert sum(total["documents"] for total in side[group].values()) == len(own)
            for value, total in side[group].items():
                its = [len(row["text"].encode()) for row in own if (row[column] or "not known") == value]
                assert total == {"documents": len(its), "bytes": sum(its)}
        lengths = sorted(len(row["text"]) for row in own)
        for at, length in side["characters_at_percent"].items():
            assert length == np.percentile(lengths, int(at), method="lower")
        alone = [row for row in own if row["text"] not in texts[1 - place]]
        assert side["alone"]["documents"] == len(alone) and side["alone"]["bytes"] == sum(len(row["text"].encode()) for row in alone)
        by_id = {row["id"]: row for row in alone}
        assert len(side["alone"]["samples"]) == min(10, len(alone))
        assert all(by_id[sample["id"]]["text"][:300] == sample["text"] for sample in side["alone"]["samples"])
        funnel = {step["step"]: step for step in read_json(pair[place].path / "corpus/clean/funnel.json")["steps"]}
        assert {step["step"]: step[name] for step in found["steps"]} == {
            step: {key: funnel[step][key] for key in ("documents_in", "documents_out", "bytes_in", "bytes_out")} for step in funnel
        }
    assert found["recipes_differ"] == {"clean.length.min_characters": [100, 400]}
    assert [row["word"] for row in found["words"]["one"]] == ["zebra"] and [row["word"] for row in found["words"]["other"]] == ["kiosk"]
    assert json.loads(json.dumps(found)) == found
    assert compare(*pair) == found, "the same each time"
    said = as_text(found)
    assert "more in a: zebra" in said and "recipe, clean.length.min_characters: 100 | 400" in said


def test_the_other_way_round_is_the_mirror(pair: tuple[Run, Run]) -> None:
    one, other = compare(*pair), compare(*reversed(pair))
    assert one["one"] == other["other"] and one["other"] == other["one"]
    assert one["words"] == {"one": other["words"]["other"], "other": other["words"]["one"]}


def test_a_corpus_is_like_itself(pair: tuple[Run, Run]) -> None:
    found = compare(pair[0], pair[0])
    assert found["one"] == found["other"] and found["one"]["alone"] == {"documents": 0, "bytes": 0, "samples": []}
    assert found["words"] == {"one": [], "other": []} and found["recipes_differ"] == {}


def test_words_are_counted_in_a_bounded_sample(pair: tuple[Run, Run], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WORD_BYTES", 20_000)
    side = module.Side(pair[0])
    chosen = side.words_of()
    assert 10_000 < side.sizes[chosen].sum() <= 20_000 < side.sizes.sum()
    assert [row for row, _ in side.chosen(chosen)] == chosen.tolist()
    assert {document["text"] for _, document in side.chosen(chosen)} == {rows(pair[0])[row]["text"] for row in chosen}


def test_what_one_document_repeats_counts_once() -> None:
    here, there = Words(), Words()
    for number in range(200):
        here.add("the cat sat on the mat " * 5 + ("moby " * 1000 if number == 0 else "tulip"))
        there.add("the cat sat on the mat " * 5)
    found = [row["word"] for row in more_frequent(here, there)]
    assert "tulip" in found and "moby" not in found
    assert more_frequent(there, here) == [] and more_frequent(Words(), here) == []


def test_words_need_letters() -> None:
    counted = Words()
    counted.add("A 12th 3 don't l’été Zürich __x__ b-side- " + "y" * 50)
    assert set(counted.documents) == {"don't", "l’été", "zürich", "b-side"}


def test_tokens_are_estimated_by_the_runs_own_tokenizer(pair: tuple[Run, Run]) -> None:
    folder = pair[1].path / "tokenizer"
    folder.mkdir()
    digest = read_json(pair[1].path / "corpus/clean/manifest.json")["digest"]
    write_json(folder / "report.json", {"bytes_per_token": 2.5})
    write_json(folder / "manifest.json", {"inputs": {"clean": digest}})
    found = compare(*pair)
    assert (found["bytes_per_token"], found["bytes_per_token_source"]) == (2.5, "the tokenizer of the run b")
    assert found["one"]["estimated_tokens"] == round(found["one"]["bytes"] / 2.5)
    write_json(folder / "manifest.json", {"inputs": {"clean": "of another corpus"}})
    assert compare(*pair)["bytes_per_token"] == 4


def test_what_is_not_cleaned_is_said(pair: tuple[Run, Run], tmp_path: Path) -> None:
    empty = Run.open(tmp_path / "new", pair[0].recipe)
    with pytest.raises(RequestError, match="it has no finished corpus"):
        compare(pair[0], empty)
    empty.close()
