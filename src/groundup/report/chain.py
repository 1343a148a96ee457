"""From a base model to an assistant: each stage's figures and curves, and what all of them answer to the same questions."""

from __future__ import annotations

from typing import Any

from groundup.report import plots, words
from groundup.report.material import Curve, Material, last_of_each_step
from groundup.run import Run
from groundup.training.tuned import FOLDER, STAGE

Row = dict[str, Any]
NAMES = {
    "sft": "Supervised tuning", "lima": "LIMA", "openchat": "C-RLFT (OpenChat)", "reward": "Reward model", "ppo": "PPO", "grpo": "GRPO", "rloo": "RLOO",
    "dpo": "DPO", "ipo": "IPO", "kto": "KTO", "orpo": "ORPO", "simpo": "SimPO",
}  # fmt: skip
TRAINED = (
    ("score", "reward", "reward", "What the model's own answers score, round by round. Rising is the aim, as long as KL stays small."),
    ("kl", "nats an answer", "KL", "How far its answers have moved from the model that the stage started from."),
    ("entropy", "nats a token", "entropy", "How open it is what comes next: near 0 the model always says the same."),
    ("clip_fraction", "share of tokens", "clip fraction", "Tokens that have moved as far as a round allows."),
    ("response_tokens", "tokens", "response length", "Tokens of an answer."),
    ("accuracy", "share of pairs", "accuracy", "Pairs in which the better answer is put first. With points: pairs that nothing is learned from."),
)  # fmt: skip
"""Field, unit, name and caption of a stage's curves beside its loss."""
UNITS = {**dict.fromkeys(("sft", "lima", "openchat"), "loss (nats a token)"), "reward": "loss (nats a prompt)"}
"""Of a method's loss; the others' is a number without one."""
FACTS = (
    ("conversations", "Conversations", words.count), ("elements", "Prompts", words.count), ("prompts", "Prompts", words.count), ("episodes", "Answers written", words.count),
    ("steps", "Steps", words.count), ("final_loss", "Final loss", "{:.3f}".format), ("chosen_epoch", "Epoch taken", "{}".format),
    ("accuracy", "Held-out pairs right", words.percent), ("length_accuracy", "Were the longer answer better", words.percent),
    ("chance", "By chance", words.percent), ("expected_calibration_error", "Calibration error", words.percent), ("held_out_accuracy", "Held-out pairs right", words.percent),
    ("held_out_kl", "KL, nats an answer", "{:.3f}".format), ("held_out_ended", "Answers that end", words.percent),
    ("training_seconds", "Training took", words.duration),
)  # fmt: skip


def chain(run: Run, material: Material) -> Row | None:
    """The stages in order, each with `name`, `facts`, `charts`; `answers` to the questions that all were asked; `wins` of each over an earlier
    one by the reward model. None where nothing was tuned, or
    what was tuned belongs to another base."""
    folder = run.path / FOLDER
    if not folder.is_dir() or ("tune" not in material.stages and (folder / "manifest.json").is_file()):
        return None
    found = {name: path for path in folder.iterdir() if path.is_dir() and STAGE.fullmatch(name := path.name.removeprefix(".").removesuffix(".partial"))}
    events = {kind: run.events(kind) for kind in ("train", "evaluation", "rollout")}
    stages = []
    for name in sorted(found, key=lambda name: int(name.split("-")[0])):
        manifest = run.manifest(f"{FOLDER}/{name}") or {}
        mine = {kind: [line for line in lines if line.get("stage") == name] for kind, lines in events.items()}
        key = manifest.get("key") or (mine["train"][-1].get("key") if mine["train"] else None)
        rows, looks, rounds = (last_of_each_step(mine[kind], key) for kind in ("train", "evaluation", "rollout"))
        title = _name(name)
        stages.append({"name": title, "facts": _facts(manifest.get("counts") or {}), "charts": _charts(name, title, Curve(rows, looks), Curve(rounds, []))})
    summed = run.manifest(FOLDER) or {}
    answers = [{**row, "answers": [(_name(stage), said) for stage, said in row["answers"].items()]} for row in summed.get("answers") or []]
    wins = [
        {**row, "stage": _name(row["stage"]), "over": _name(row["over"])} for row in summed.get("win_rates") or []
    ]  # fmt: skip
    return {"stages": stages, "answers": answers, "wins": wins} if stages else None


def _name(stage: str) -> str:
    return NAMES[stage.split("-")[1]]


def _facts(counts: Row) -> list[tuple[str, str]]:
    rows = [(label, form(counts[name])) for name, label, form in FACTS if counts.get(name) is not None]
    place = next((place for place, (label, _) in enumerate(rows) if label == "KL, nats an answer"), 0)
    rewards = [("Held-out reward before", counts.get("before") or {}), ("Held-out reward", counts)]
    rows[place:place] = [(label, f"{of['held_out_score']:.3f} ± {of['held_out_standard_error']:.3f}") for label, of in rewards if of.get("held_out_score") is not None]
    return rows


def _charts(name: str, title: str, curve: Curve, rounds: Curve) -> list[Row]:
    made: list[Row] = []
    steps, losses = curve.points("loss")
    if len(steps) > 1:
        places, values = next((found for field in ("held_out_answer_loss", "held_out_loss") if (found := curve.points(field, looks=True))[0]), ([], []))
        svg = plots.loss(f"{name}-loss", plots.story(f"{title}: loss", steps, losses), steps, losses, UNITS.get(name.split("-")[1], "loss"), unseen=(places, values) if len(places) > 1 else None)
        caption = "Pale: each step. Bold: a moving average." + (" With points: on what nothing is learned from." if len(places) > 1 else "")
        made.append({"svg": svg, "title": f"{title}: loss", "caption": caption})
    for field, unit, what, caption in TRAINED:
        source = rounds if field in ("score", "kl", "response_tokens") else curve
        steps, values = source.points(field)
        if len(steps) < 2:
            continue
        seen = curve.points(f"held_out_{field}", looks=True)
        label = plots.story(f"{title}: {what}", steps, values)
        svg = plots.course(f"{name}-{field}", label, unit, steps, values, what, unseen=seen if len(seen[0]) > 1 else None)
        made.append({"svg": svg, "title": f"{title}: {what}", "caption": caption})
    return made
