"""Tasks in a build: its training computes the same bits with them as without, cut off or not; the results stand in the run."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from groundup import recipe as recipes
from groundup.build import build
from groundup.errors import RequestError
from groundup.evaluation.of_build import WhileTraining
from groundup.run import Run, read_json

WORDS = "river stone night lantern harbour captain letter garden winter voice silver window forest morning bread horse".split()


def story(number: int) -> str:
    draw = random.Random(number)
    return f"Story {number}\n\n" + "\n".join(" ".join(draw.choices(WORDS, k=9)) + "." for _ in range(30))


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("library")
    (folder / "texts").mkdir()
    for number in range(40):
        (folder / "texts" / f"{number:02d}.txt").write_text(story(number))
    heard = " ".join(story(7).split()[2:20])
    rows = [{"context": heard, "choices": ["river", "stone"], "gold": 0}]
    rows += [{"context": " ".join(random.Random(n).choices(WORDS, k=14)), "choices": ["river", "stone"], "gold": n % 2} for n in range(100, 130)]
    (folder / "mine.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "plain.yaml").write_text(
        "name: plain\nsources: [{kind: files, path: texts}]\ntraining: {steps: 24, evaluations: 4, batch_tokens: 256, checkpoint_seconds: 1000}\n"
        "model: {layers: 2, width: 32, heads: 2, context: 64}\ntokens: {vocabulary: 330}\nevaluation: {quiz_questions: 0, baselines: false}\n"
    )
    return folder


def built(library: Path, name: str, until: str = "evaluate", **evaluation: Any) -> Path:
    overrides = [f"name={name}", *(f"evaluation.{key}={json.dumps(value)}" for key, value in evaluation.items())]
    text = (library / "plain.yaml").read_text().replace("{quiz_questions: 0, baselines: false}", "{quiz_questions: 0, baselines: false, own_tasks: [mine.jsonl], while_training: {own_tasks: [mine.jsonl], every: 2}}")
    path = library / "plain.yaml" if name == "plain" else library / "asked.yaml"
    if name != "plain":
        path.write_text(text)
    recipe = recipes.load(path, overrides)
    run = Run.open(library / "runs" / name, recipe)
    try:
        build(run, until=until)
    finally:
        run.close()
    return run.path


def weights(run: Path) -> dict[str, bytes]:
    return {str(path.relative_to(run)): path.read_bytes() for path in sorted((run / "checkpoints").rglob("*.safetensors"))}


@pytest.fixture(scope="module")
def plain(library: Path) -> Path:
    return built(library, "plain", until="pretrain")


@pytest.fixture(scope="module")
def asked(library: Path) -> Path:
    """A build with tasks that is cut off in the middle of one."""
    whole, calls = WhileTraining.__call__, []

    def cut(self: WhileTraining, model: Any, step: int) -> dict[str, float]:
        calls.append(step)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return whole(self, model, step)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(WhileTraining, "__call__", cut)
        with pytest.raises(KeyboardInterrupt):
            built(library, "asked")
    assert calls == [6, 12]
    return built(library, "asked")


def test_training_computes_the_same_bits(plain: Path, asked: Path) -> None:
    assert weights(plain) and weights(plain) == weights(asked)


def test_figures_while_it_trains(asked: Path) -> None:
    looks = Run.read(asked).events("evaluation")
    assert [look["step"] for look in looks] == [6, 12, 18, 24]
    assert [("mine_acc_norm" in look, "mine_acc_norm_error" in look) for look in looks] == [(False, False), (True, True)] * 2
    assert all(next(name for name in look if name not in ("time", "event", "stage", "key", "step")) == "bits_per_byte" for look in looks)


def test_the_results_stand_in_the_run(asked: Path) -> None:
    results = read_json(asked / "evaluation" / "results.json")
    (row,) = results["tasks"]["base"]["rows"]
    assert results["tasks"]["tuned"] is None
    assert row["task"] == "mine" and row["n"] == row["items"] == 31 and row["contamination"]["items"] == 1, "the first item stands in a document"
    assert len(read_json(asked / "evaluation" / "items.json")["base"]["mine"]) == 31


def test_the_same_again_does_nothing_and_another_file_asks_anew(library: Path, asked: Path) -> None:
    before = (asked / "evaluation" / "manifest.json").read_bytes()
    built(library, "asked")
    assert (asked / "evaluation" / "manifest.json").read_bytes() == before
    kept = (library / "mine.jsonl").read_text()
    (library / "mine.jsonl").write_text(kept + json.dumps({"context": "a river", "choices": ["river", "stone"], "gold": 0}) + "\n")
    built(library, "asked")
    assert read_json(asked / "evaluation" / "results.json")["tasks"]["base"]["rows"][0]["items"] == 32
    (library / "mine.jsonl").write_text(kept)


def test_what_is_missing_is_said_before_anything_is_done(library: Path) -> None:
    with pytest.raises(RequestError, match="where are the tasks' files"):
        built(library, "missing", tasks=["open-llm-v1"])
    with pytest.raises(RequestError, match="no suite or task is called"):
        built(library, "missing", tasks=["open-llm"], data=str(library))
    with pytest.raises(RequestError, match="no train split of blimp"):
        built(library, "missing", until="pretrain", data=str(library), while_training={"tasks": ["blimp"]})
    assert not (library / "runs" / "missing" / "corpus").exists()


def test_a_model_that_reads_both_ways_is_refused_before_it_is_trained(library: Path) -> None:
    text = (library / "asked.yaml").read_text().replace("model: {", "model: {family: bert, ")
    (library / "bert.yaml").write_text(text)
    run = Run.open(library / "runs" / "bert", recipes.load(library / "bert.yaml", ["name=bert"]))
    try:
        with pytest.raises(RequestError, match="kind encoder"):
            build(run, until="pretrain")
    finally:
        run.close()
