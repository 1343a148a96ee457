"""The page's part on tuning: a chain of three, its figures and curves, and its answers side by side."""

from __future__ import annotations

import json
from pathlib import Path

from fabricated import HOSTILE, fabricate

from groundup.report import page
from groundup.report.chain import chain
from groundup.report.material import Material
from groundup.run import Run, digest, read_json, write_json


def chained(path: Path) -> Run:
    """A fabricated run that went on to a reward model and PPO."""
    run = fabricate(path)
    folder = path / "dialogue"
    lines = []
    for number, name, counts in (
        (2, "2-reward", {"elements": 50, "steps": 40, "accuracy": 0.71, "length_accuracy": 0.55, "chance": 0.5, "expected_calibration_error": 0.04}),
        (3, "3-ppo", {"prompts": 40, "steps": 30, "held_out_score": 0.91, "held_out_standard_error": 0.09, "held_out_kl": 1.5, "before": {"held_out_score": 0.02, "held_out_standard_error": 0.11}}),
    ):
        (folder / name).mkdir()
        key = digest("key", name)
        write_json(folder / name / "manifest.json", dict(read_json(folder / "manifest.json"), stage=name, key=key, counts=counts))
        for step in range(1, 31):
            lines.append({"event": "train", "stage": name, "key": key, "step": step, "loss": 1 / step, "accuracy": 0.5 + step / 100, "entropy": 2.0, "clip_fraction": step / 5000, "tokens": 9, "time": 1.0})
            if number == 3 and step % 5 == 0:
                lines.append({"event": "rollout", "stage": name, "key": key, "step": step, "score": step / 30, "kl": step / 20, "response_tokens": 12.0, "time": 1.0})
        lines.append({"event": "train", "stage": name, "key": "of another try", "step": 3, "loss": 99.0, "time": 1.0})
    with (path / "log.jsonl").open("a") as log:
        log.writelines(json.dumps(line) + "\n" for line in lines)
    whole = read_json(folder / "manifest.json")
    asked = [{"question": "What is `x`?", "answers": {"1-sft": "first", "3-ppo": f"better {HOSTILE}"}}]
    write_json(folder / "manifest.json", {**whole, "answers": asked, "win_rates": [{"stage": "3-ppo", "over": "1-sft", "win_rate": 0.75, "standard_error": 0.054, "prompts": 64}]})
    return run


def test_a_chain_is_told(tmp_path: Path) -> None:
    run = chained(tmp_path / "demo")
    found = chain(run, Material.of(run))
    assert found is not None and [stage["name"] for stage in found["stages"]] == ["Supervised tuning", "Reward model", "PPO"]
    sft, reward, ppo = found["stages"]
    assert [chart["title"] for chart in sft["charts"]] == ["Supervised tuning: loss"]
    assert dict(reward["facts"])["Held-out pairs right"] == "71 %" and dict(reward["facts"])["Were the longer answer better"] == "55 %"
    assert [chart["title"].split(": ")[1] for chart in ppo["charts"]] == ["loss", "reward", "KL", "entropy", "clip fraction", "response length", "accuracy"]
    assert dict(ppo["facts"])["Held-out reward before"] == "0.020 ± 0.110" and dict(ppo["facts"])["Held-out reward"] == "0.910 ± 0.090" and "99.00" not in ppo["charts"][0]["svg"]
    assert found["answers"] == [{"question": "What is `x`?", "answers": [("Supervised tuning", "first"), ("PPO", f"better {HOSTILE}")]}]
    assert [unit in reward["charts"][0]["svg"] for unit in ("nats a prompt", "nats a token")] == [True, False] and "nats" not in ppo["charts"][0]["svg"]
    clipped = next(chart["svg"] for chart in ppo["charts"] if chart["title"].endswith("clip fraction"))
    assert ">0.0045<" in clipped and "clip fraction 0.006" in clipped  # numbers to be read are not rounded as coordinates are
    html = page.render(run)
    assert "PPO over Supervised tuning" in html and "75 % ± 5.4 of 64 held-out prompts" in html
    assert "From a base model to an assistant" in html and HOSTILE not in html


def test_a_chain_of_another_base_is_left_out(tmp_path: Path) -> None:
    run = fabricate(tmp_path / "demo")
    path = run.path / "checkpoints" / "manifest.json"
    write_json(path, dict(read_json(path), digest="another"))
    assert chain(run, Material.of(run)) is None
