"""The section of tasks: what the rows say stands in the page, chance and errors drawn where they belong, published rows beside."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from fabricated import HOSTILE, results
from test_browser import CHROMIUM, measure
from test_page import Reader

from groundup.evaluation import reference_rows
from groundup.report import page, tasks
from groundup.report.figures import figures
from groundup.report.material import Material
from groundup.run import Run, write_json


def row(task: str, score: float, error: float | None, chance: float, n: int, items: int | None = None, hits: int | None = None, **more: Any) -> dict[str, Any]:
    """A row as evaluation/measure.py makes them."""
    metric = more.pop("metric", "acc")
    contamination = None if hits is None else {"items": hits, "score_of_hits": 0.9, "score_without_hits": score - 0.02, "standard_error_without_hits": error}
    return {
        "task": task, "metric": metric, "score": score, "standard_error": error, "chance": chance, "n": n, "items": items or n, "shots": 0,
        "figures": {metric: {"value": score, "standard_error": error}}, "groups": None, "contamination": contamination, "prompts_cut": 0,
        "prompt_hash": "ab" * 16, "dataset_digest": ["cd" * 16], "seconds": 1.5, **more,
    }  # fmt: skip


SUBJECTS = {"high_school_biology": {"value": 0.31, "standard_error": 0.0263, "n": 310}, "anatomy": {"value": 0.2, "standard_error": None, "n": 1}}
MMLU = {
    **row("mmlu", 0.2571, 0.0037, 0.25, 14042, metric="acc_by_group", shots=5, hits=3), "groups": SUBJECTS,
    "figures": {"acc": {"value": 0.2612, "standard_error": 0.0037}, "acc_by_group": {"value": 0.2571, "standard_error": 0.0037}},
}  # fmt: skip
BASE = [
    row("arc_challenge", 0.2432, 0.0125, 0.25, 1172, metric="acc_norm", shots=25, hits=12), row("hellaswag", 0.3127, 0.0046, 0.25, 1000, 10042, metric="acc_norm", shots=10, hits=0),
    MMLU, row("truthfulqa_mc1", 0.2301, 0.0147, 0.2259, 817, metric="mc1"),
    row("truthfulqa_mc2", 0.4187, 0.0151, 0.33, 817, metric="mc2", hits=1), row("blimp", 0.6412, 0.0017, 0.5, 67000, metric="acc_by_group"),
    row("lambada_openai", 0.0912, 0.004, 0.0, 5153), row(HOSTILE[:40], 0.5, None, 0.25, 1),
]  # fmt: skip
TASKS = {
    "base": {"rows": BASE, "suites": [{"suite": "open-llm-v1", "mean": 0.3079, "standard_error": 0.005, "rows": [0, 1, 2, 3, 4], "missing": []}, {"suite": "core", "mean": None, "standard_error": None, "rows": [], "missing": ["squad"]}]},
    "tuned": {"rows": [{**one, "score": min(1.0, one["score"] + 0.05)} for one in BASE[:-1]], "suites": []},
}  # fmt: skip


@pytest.fixture
def asked(finished: Run) -> Run:
    write_json(finished.path / "evaluation/results.json", {**results(), "tasks": TASKS})
    return finished


def section(run: Run) -> str:
    html = page.render(run)
    return html[html.index('<section id="tasks"') : html.index('<section id="samples"')]


def test_scores_errors_chance_and_items_stand_in_the_table(asked: Run) -> None:
    Reader(page.render(asked))
    found = " ".join(re.sub(r"<[^>]*>", " ", section(asked)).split())
    for said in (
        "arc_challenge acc_norm 25", "24.3 ± 1.2", "29.3 ± 1.2", "hellaswag acc_norm 10", "1,000 of 10,042", "67,000", "open-llm-v1, base model: 30.8 % ± 0.5",
        "core, base model: no mean (not there: squad)", "22.3 ± 1.2, 22.3 ± 1.2", "over items 26.1", "mmlu, 2 groups", "High school biology 31.0 ± 2.6 31.0 ± 2.6 310", "Anatomy 20.0 20.0 1",
    ):  # fmt: skip
        assert said in found.replace(" ,", ","), said
    assert "<script" not in section(asked) and "50.0" in found


def test_published_rows_stand_beside_where_all_four_were_asked(asked: Run) -> None:
    found = tasks.section(Material.of(asked).results["tasks"])
    assert found is not None
    board = found["leaderboard"]
    assert [one["mean"] for one in board] == sorted(one["mean"] for one in board)
    mine = [one for one in board if one["mine"]]
    assert [one["model"] for one in mine] == ["base model", "tuned model"]
    assert mine[0]["mean"] == pytest.approx(100 * (0.2432 + 0.3127 + 0.2571 + 0.4187) / 4)
    assert {one["model"] for one in board if not one["mine"]} == {one.model for one in reference_rows.ROWS if one.verified}
    some = {"base": {"rows": BASE[:3], "suites": []}, "tuned": None}
    write_json(asked.path / "evaluation/results.json", {**results(), "tasks": some})
    found = tasks.section(Material.of(asked).results["tasks"])
    assert found is not None and found["leaderboard"] == [] and found["models"] == ["Base model"]


def test_the_chart_measures_from_chance_to_all_right(asked: Run) -> None:
    found = tasks.section(Material.of(asked).results["tasks"])
    assert found is not None
    above = {one["task"]: one["above"] for one in found["rows"]}
    assert above["blimp"][0] == pytest.approx((0.1412 / 0.5, 0.0034)) and above["hellaswag"][1] == pytest.approx((0.1127 / 0.75, 0.0046 / 0.75))
    assert above["arc_challenge"][0][0] < 0 < above["arc_challenge"][1][0]
    assert above[HOSTILE[:40]][0] == pytest.approx((1 / 3, 0.0)) and above[HOSTILE[:40]][1] is None
    assert "blimp base +28 %, tuned +38 %" in str(found["chart"])


def test_figures_for_a_program(asked: Run) -> None:
    found = figures(asked)["tasks"]
    assert found["base"]["blimp"] == {"metric": "acc_by_group", "score": 0.6412, "standard_error": 0.0017, "chance": 0.5, "n": 67000, "shots": 0}
    assert found["base"]["open-llm-v1"] == {"mean": 0.3079, "standard_error": 0.005}


def test_no_tasks_no_section(finished: Run) -> None:
    assert '<section id="tasks"' not in page.render(finished) and figures(finished)["tasks"] is None
    write_json(finished.path / "evaluation/results.json", {**results(), "tasks": None})
    assert tasks.section(Material.of(finished).results["tasks"]) is None


DIFFERENCE = {"task": "mmlu", "metric": "acc", "difference": 0.0123, "interval": [-0.004, 0.0286], "p_value": 0.1312, "n": 14042}
ALONE = {**TASKS["base"], "model": HOSTILE, "kind": "run", "total_seconds": 83.2, "against": [DIFFERENCE]}


def test_a_page_of_its_own(tmp_path: Path) -> None:
    tasks.write(tmp_path / "page.html", ALONE)
    html = (tmp_path / "page.html").read_text()
    Reader(html)
    found = " ".join(re.sub(r"<[^>]*>", " ", html).split()).replace(" ,", ",")
    for said in ("8 tasks", "arc_challenge acc_norm 25 24.3 ± 1.2", "open-llm-v1, this model: 30.8 %", "this model 24.3 31.3 25.7 41.9", "mmlu acc +1.2 -0.4 to +2.9 0.131 14,042", "abababababababab"):
        assert said in found, said
    assert "<script" not in html
    few = tasks.render({**ALONE, "rows": BASE[:1], "suites": [], "against": None})
    assert "1 task," in few and "Minus the other" not in few and "Beside published" not in few


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")
def test_the_section_fits(asked: Run, tmp_path: Path) -> None:
    for html in (page.render(asked), tasks.render(ALONE)):
        found = measure(html, tmp_path, 390)
        assert found["scroll"] <= 390 and found["cut"] == [] and found["small"] == 0 and found["requests"] == []
