"""Tuning end to end on a small model: it learns the answers by heart, resumes to the same bits, and says what is wrong."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest
import torch

from groundup import recipe as recipes
from groundup.dialogue.speaker import Speaker
from groundup.dialogue.tune import definitions, tune
from groundup.errors import GroundupError, RequestError, Stopped
from groundup.generation import SamplingSettings
from groundup.models.build import build
from groundup.models.config import ModelConfig
from groundup.run import Run, Stage, digest_folder, write_atomic, write_json
from groundup.tokens.trainers import bytes_only
from groundup.training import checkpoint, trainer
from groundup.training.optimizers import OptimizerSettings, optimizers

PAIRS = {f"What is {name}?": answer for name, answer in zip("abcdefghij", ["red", "blue", "ten", "öl", "x+y", "no", "yes", "tree", "sea", "moon"], strict=True)}
CONFIG = ModelConfig(vocabulary=267, context=40, layers=2, width=32, heads=2, kv_heads=2, feedforward=64)


def finished(run: Run, name: str, folder: str, write=lambda work: None) -> Stage:
    stage = run.stage(name, folder, depends={}, inputs={})
    if not stage.done:
        write(stage.work)
        stage.finish({})
    return stage


def open_run(path: Path, pairs: Path, **dialogue: object) -> Run:
    data = {
        "name": "r", "sources": [{"kind": "files", "path": str(path)}], "training": {"evaluations": 0, "weight_decay": 0.0},
        "dialogue": {"pairs": [str(pairs)], "learning_rate_share": 1.0, **dialogue},
    }  # fmt: skip
    return Run.open(path, recipes.parse(data))


def upstream(run: Run, words, steps: int) -> dict[str, Stage]:
    def base(work: Path) -> None:
        model = build(CONFIG, seed=0)
        optimizer = optimizers(model, OptimizerSettings(learning_rate=0.1, weight_decay=0.0))
        checkpoint.save(work, 7, model, CONFIG, optimizer, {"tokenizer": words.digest})

    planned = {
        "micro_batch": 2, "micro_batches": 2, "optimizer": asdict(OptimizerSettings(learning_rate=1e-2)), "precision": "fp32", "compile": False, "peak_gflops": 1.0,
        "batch_tokens": 4 * CONFIG.context, "model": CONFIG.model_dump(),
    }  # fmt: skip
    pretrained = finished(run, "pretrain", "checkpoints", base)
    assert pretrained.manifest is not None
    pretrained.manifest["counts"]["tokens_per_second"] = steps * 4 * CONFIG.context / 60  # so that a minute makes `steps`
    return {
        "base": pretrained,
        "tokenizer": finished(run, "tokenizer", "tokenizer", lambda work: write_atomic(work / "tokenizer.json", bytes_only())),
        "collected": finished(run, "collect", "corpus/collected"),
        "cleaned": finished(run, "clean", "corpus/clean"),
        "shards": finished(run, "tokens", "tokens"),
        "plan": finished(run, "plan", "plan", lambda work: write_json(work / "plan.json", planned)),
    }


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    path = tmp_path / "pairs.jsonl"
    path.write_text("".join(json.dumps({"question": q, "answer": a}) + "\n" for q, a in PAIRS.items()))
    return path


def test_ten_pairs_are_learned_by_heart(tmp_path: Path, pairs: Path, words) -> None:
    run = open_run(tmp_path / "run", pairs, steps=200)
    stage = tune(run, **upstream(run, words, 200))
    speaker = Speaker.of(run.path)
    assert speaker.template is not None and stage.manifest is not None
    engine, prompts = speaker.engine(), [speaker.template.ask(question) for question in PAIRS]
    answers = engine.generate_many(prompts, SamplingSettings(temperature=0.0, max_tokens=20))
    assert [one.text for (one,) in answers] == list(PAIRS.values())
    assert all(one.finish_reason == "stop" for (one,) in answers)
    counts = stage.manifest["counts"]
    assert counts["conversations"] == 10 and counts["steps"] == 200 and counts["final_loss"] < 0.05
    assert len((stage.final / "pairs.jsonl").read_text().splitlines()) == 10
    assert definitions(run.path / "dialogue") == []
    again = tune(run, **upstream(run, words, 200))
    assert again.done and again.digest == stage.digest


def test_derived_steps_stop_at_max_epochs(tmp_path: Path, pairs: Path, words) -> None:
    run = open_run(tmp_path / "run", pairs, max_epochs=2.0)
    stage = tune(run, **upstream(run, words, 1000))
    assert stage.manifest is not None
    counts = stage.manifest["counts"]
    assert counts["steps"] == -(-2 * counts["rows"] // 4) and counts["passes"] >= 2


def test_a_stopped_tuning_goes_on_to_the_same_files(tmp_path: Path, pairs: Path, words, monkeypatch) -> None:
    whole = open_run(tmp_path / "whole", pairs, steps=12)
    expected = tune(whole, **upstream(whole, words, 12))
    parts = open_run(tmp_path / "parts", pairs, steps=12)
    real, calls = trainer._Run._step, [0]

    def dies(*arguments):
        calls[0] += 1
        if calls[0] == 7:
            raise Stopped("killed")
        return real(*arguments)

    monkeypatch.setattr(trainer._Run, "_step", dies)
    with pytest.raises(Stopped):
        tune(parts, **upstream(parts, words, 12))
    stage = tune(parts, **upstream(parts, words, 12))
    assert calls[0] < 7 + 12
    assert digest_folder(stage.final) == digest_folder(expected.final)


def test_a_changed_pairs_file_is_noticed_and_the_old_model_set_aside(tmp_path: Path, pairs: Path, words) -> None:
    run = open_run(tmp_path / "run", pairs, steps=2)
    first = tune(run, **upstream(run, words, 2)).digest
    pairs.write_text(json.dumps({"question": "new?", "answer": "yes"}) + "\n")
    assert tune(run, **upstream(run, words, 2)).digest != first
    assert list((run.path / "superseded").glob("1-sft-*/step-*"))


def test_what_is_wrong_is_said(tmp_path: Path, pairs: Path, words) -> None:
    run = open_run(tmp_path / "run", tmp_path / "none.jsonl", steps=2)
    with pytest.raises(RequestError, match="no such file"):
        tune(run, **upstream(run, words, 2))
    run.close()
    pairs.write_text("\n")
    run = open_run(tmp_path / "run", pairs, steps=2)
    with pytest.raises(GroundupError, match="no question-answer pairs"):
        tune(run, **upstream(run, words, 2))
    pairs.write_text(json.dumps({"question": "q" * 100, "answer": "a"}) + "\n")
    with pytest.raises(GroundupError, match="every target is masked"):
        tune(run, **upstream(run, words, 2))


def test_a_base_of_another_tokenizer_is_refused(tmp_path: Path, pairs: Path, words) -> None:
    run = open_run(tmp_path / "run", pairs, steps=2)
    words.digest = "another"  # what the base's checkpoint says
    with pytest.raises(GroundupError, match="another tokenizer"):
        tune(run, **upstream(run, words, 2))


def test_tuning_is_repeatable(tmp_path: Path, pairs: Path, words) -> None:
    digests = set()
    for name in ("one", "two"):
        torch.manual_seed(len(name))
        run = open_run(tmp_path / name, pairs, steps=3)
        digests.add(tune(run, **upstream(run, words, 3)).digest)
    assert len(digests) == 1


def test_paths_of_pairs_count_from_the_recipes_folder(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text("name: r\nsources: [{kind: files, path: a}]\ndialogue: {pairs: [reference-pages, talk/x.jsonl, /abs.jsonl]}\n")
    recipe = recipes.load(tmp_path / "r.yaml")
    assert recipe.dialogue is not None
    assert recipe.dialogue.pairs == ["reference-pages", str(tmp_path / "talk" / "x.jsonl"), "/abs.jsonl"]
