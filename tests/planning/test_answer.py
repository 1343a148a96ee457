"""`groundup plan --hardware`, as it is typed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from groundup.cli import app
from groundup.errors import RequestError

FALCON = ["falcon-40b", "--hardware", "a100-40gb", "--count", "384"]


def plan(*arguments: str) -> str:
    result = CliRunner().invoke(app, ["plan", *arguments], catch_exceptions=False)
    assert result.exit_code == 0
    return result.stdout


def as_json(*arguments: str) -> Any:
    return json.loads(plan(*arguments, "--json"))


def test_a_preset_with_a_layout_of_its_own() -> None:
    found = as_json(*FALCON, "parallel.tp=8", "parallel.pp=4", "parallel.zero=1", "--mfu", "0.4", "--price", "2")
    assert found["layout"]["dp"] == 12 and found["layout"]["micro_batches"] == 96 and found["fits"]
    assert found["days"] == pytest.approx(59.9, rel=0.02) and found["cost_usd"] == pytest.approx(2 * found["device_hours"])
    assert found["tokens"] == 1e12 and found["batch_tokens"] == 1152 * 2048 and not found["runners_up"]
    for key in ("flops", "days", "device_hours", "cost_usd", "mfu", "memory_gib", "energy_mwh"):
        assert found[key]
    assert found["memory_gib"]["total"] == pytest.approx(sum(value for name, value in found["memory_gib"].items() if name != "total"))
    assert set(found["communication_bytes_per_step"]) == {"tp", "dp", "pp"}


def test_the_best_layout_has_reasons_and_runners_up() -> None:
    found = as_json(*FALCON, "--best")
    assert found["fits"] and len(found["runners_up"]) == 5 and found["reasons"]
    assert all(found["days"] <= other["days"] * 1.0001 for other in found["runners_up"])
    text = plan(*FALCON, "--best", "parallel.tp=8", "parallel.pp=4", "parallel.zero=1")
    assert "because" in text and text.count("\n  or ") == 5 and "\n  asked     tp 8 x pp 4 x dp 12, ZeRO 1" in text


def test_a_recipe_and_overrides(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("name: mine\nsources: [{kind: files, path: here}]\nmodel: {layers: 12, width: 768, heads: 12, context: 1024}\n")
    found = as_json(str(path), "--hardware", "rtx-4090", "--count", "4", "--tokens", "10B", "training.batch_tokens=524288")
    assert found["tokens"] == 1e10 and found["batch_tokens"] == 524_288 and found["steps"] == round(1e10 / 524_288)
    path.write_text("name: mine\nsources: [{kind: files, path: here}]\n")
    with pytest.raises(RequestError, match="layers"):
        plan(str(path), "--hardware", "rtx-4090")


def test_what_is_wrong_is_said() -> None:
    for wrong, said in (
        (["falcon-40", *FALCON[1:]], "falcon-40b"), ([*FALCON, "--mfu", "0.4", "--flops-per-device", "1e14"], "--mfu"),
        (["--hardware", "h100"], "--budget"), ([*FALCON, "parallel.tp=8", "parallel.pp=4", "--trace", "384"], "no process 384"),
        (["--hardware", "h100", "--budget", "5usd", "--days", "3"], "one of them"), ([*FALCON, "parallel.tp=7"], "384"),
    ):  # fmt: skip
        with pytest.raises(RequestError, match=said):
            plan(*wrong)


@pytest.mark.slow
def test_a_trace_stands_beside_the_formula() -> None:
    found = as_json("llama-125m", "--hardware", "a100-40gb", "--count", "4", "parallel.tp=2", "parallel.zero=1", "training.batch_tokens=16384", "training.micro_batch=4", "--trace", "3")
    traced = found["trace"]
    assert traced["rank"] == 3 and traced["peak_gib"] == pytest.approx(traced["formula_gib"], rel=0.15)


def test_the_page_shows_the_plan(tmp_path: Path) -> None:
    path = tmp_path / "plan.html"
    found = as_json("gpt2-large", "--hardware", "a100-40gb", "--count", "16", "parallel.tp=2", "parallel.pp=4", "parallel.zero=1", "--out", str(path))
    page = path.read_text()
    assert page.count("stage 3") == 2 and "<script" not in page and "http" not in page.replace("http-equiv", "")
    assert f"{found['memory_gib']['total']:.1f} GiB" in page and "activations" in page
    for count in (4, 8, 16, 32, 64):
        assert f"<td>{count:,}" in page


def test_published_runs_can_be_printed() -> None:
    rows = as_json("--known")
    assert len(rows) > 20 and all(abs(row["off"]) <= 0.02 for row in rows)
    assert plan("--known").startswith("| what |")


def test_this_machine_is_measured() -> None:
    found = as_json("tiny-1m", "--hardware", "this-machine", "--tokens", "1M", "parallel.zero=0")
    assert found["fits"] and found["days"] < 1 and found["cost_usd"] == 0 and found["energy_mwh"] is None
