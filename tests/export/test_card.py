"""The model card says what the run's files say: figures are there, paths are not, and nothing that was not measured."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from small import tokenizer_text

from groundup.export import export
from groundup.export.card import card
from groundup.export.leaving import Leaving
from groundup.report import figures
from groundup.report.page import write as write_report
from groundup.run import Run, write_atomic
from groundup.tokens.tokenizer import Tokenizer
from groundup.training import checkpoint
from groundup.training.optimizers import OptimizerSettings, optimizers

sys.path.append(str(Path(__file__).parents[1] / "report"))
from fabricated import HOSTILE, cleaning_funnel, fabricate


def header(text: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(text.split("---")[1])
    return found


@pytest.fixture
def finished(tmp_path: Path, make_run: Callable[..., Run]) -> Run:
    """A finished build's folder with a small model in it."""
    small = make_run(tuned=True)
    run = fabricate(tmp_path / "runs" / "demo")
    words = Tokenizer(tokenizer_text("qwen2"))
    write_atomic(run.path / "tokenizer" / "tokenizer.json", tokenizer_text("qwen2"))
    for folder in ("checkpoints", "dialogue"):
        model = checkpoint.load_model(small.path / folder / "step-0000007")
        checkpoint.save(run.path / folder, 1480, model, model.config, optimizers(model, OptimizerSettings()), {"tokenizer": words.digest})
    return run


def test_the_card_of_a_finished_build_has_its_figures(finished: Run) -> None:
    text = card(Leaving.of(finished, base=False), "LlamaForCausalLM", "f32")
    said = header(text)
    assert said["pipeline_tag"] == "text-generation" and said["library_name"] == "transformers" and "conversational" in said["tags"]
    for line in (
        "`python-docs`: Python's own reference", "| Too short | 637 | 611 | 12.6 MB | 12.6 MB |", "565 documents, 3.78 MB, are for training.",
        "| Steps | 1,480 |", "| Tokens a step | 4,096 |", "| Tokens seen | 6,062,080 |", "| Optimizer | adamw |", "| Peak learning rate | 0.0024 |",
        "| Hours | 0.152 |", "| this model | 1.3187 |", "| byte 5-gram (Kneser-Ney) of the training text | 1.8021 |", "| xz -9 on the unseen text alone | 1.6942 |",
        "Quiz: 53.5 % ± 3.5 of 200 questions with four answers each (chance 25 %).", "threads 2", "`LlamaForCausalLM`", "| Steps of tuning | 160 |",
    ):  # fmt: skip
        assert line in text, line
    block = json.loads(text.split("```json\n")[1].split("\n```")[0])
    assert block == {name: value for name, value in figures.figures(finished).items() if value is not None}
    base = card(Leaving.of(finished, base=True), "LlamaForCausalLM", "f32")
    assert "conversational" not in header(base)["tags"] and "Quiz" not in base


def test_foreign_text_stays_in_its_place(finished: Run) -> None:
    write_atomic(finished.path / "corpus" / "clean" / "funnel.json", json.dumps(cleaning_funnel()))
    text = card(Leaving.of(finished, base=False), "LlamaForCausalLM", "f32")
    assert HOSTILE not in text and "<script" not in text and "<img" not in text
    assert header(text)["language"] == ["en", "de", "fr"]
    assert "Languages, by documents at that step: en 58,000, de 5,210" in text


def test_what_is_not_there_is_not_said(make_run: Callable[..., Run]) -> None:
    run = make_run()
    text = card(Leaving.of(run, base=False), "LlamaForCausalLM", "bf16")
    assert "not at its end: a checkpoint at step 7" in text
    for absent in ("Quiz", "bits per byte", "None", "Peak learning rate", "All figures", "private", str(run.path)):
        assert absent not in text, absent
    assert "| Hours" not in text and "`files`: local files" in text and "The weights are in bf16." in text


def test_an_imported_model_s_card_claims_no_data(make_run: Callable[..., Run], tmp_path: Path) -> None:
    run = make_run()
    run.log("imported", folder=str(tmp_path / "somebodys-model"))
    text = card(Leaving.of(run, base=False), "LlamaForCausalLM", "f32")
    assert "brought in from the Hugging Face folder `somebodys-model`" in text and "local files" not in text and str(tmp_path) not in text


def test_the_report_goes_with_it(finished: Run, tmp_path: Path) -> None:
    write_report(finished)
    (finished.path / "report.png").write_bytes(b"a picture")
    export(finished, "hf", tmp_path / "out")
    assert (tmp_path / "out" / "report.html").read_bytes() == (finished.path / "report.html").read_bytes()
    assert (tmp_path / "out" / "report.png").is_file()
