"""From a base model to an assistant: the chain of stages that a recipe names, each from the one before it.

    dialogue/
      1-sft/            a finished stage with its manifest: link.py says what is in it
      2-reward/
      3-ppo/            the last one that speaks is whom one talks to
      manifest.json     which stages belong together, and the last one's figures

Every stage is the one trainer with another objective: supervised.py, preferring.py, reinforcing.py.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from groundup.dialogue import material, reference_pages
from groundup.dialogue.chat_formats import format_named
from groundup.dialogue.chat_template import ChatTemplate
from groundup.dialogue.classes import Classes
from groundup.dialogue.link import Ground, Link
from groundup.dialogue.preferring import prefer, reward
from groundup.dialogue.reinforcing import reinforce, unscored
from groundup.dialogue.side_by_side import held_out_prompts, questions, side_by_side, win_rates
from groundup.dialogue.speaker import Speaker, Speech, usual_format
from groundup.dialogue.supervised import supervise
from groundup.errors import GroundupError, RequestError
from groundup.models.config import ModelConfig
from groundup.models.presets import adamw_rate
from groundup.recipe import Dialogue
from groundup.recipe.methods import Group, OpenChat, Ppo, Reward
from groundup.recipe.methods import Stage as Method
from groundup.run import FORMAT, Run, Stage, digest, digest_file, read_json, write_json
from groundup.training import checkpoint
from groundup.training.optimizers import OptimizerSettings
from groundup.training.tuned import FOLDER, SILENT, STAGE

WORK: dict[str, Callable[[Link], None]] = {
    "sft": supervise, "lima": supervise, "openchat": supervise, "reward": reward, "ppo": reinforce, "grpo": reinforce, "rloo": reinforce,
    "dpo": prefer, "ipo": prefer, "kto": prefer, "orpo": prefer, "simpo": prefer,
}  # fmt: skip
IMPORTED_ROWS, IMPORTED_TOKENS = 16, 4096  # rows of a step; tokens of a micro-batch at most
BUDGET = {"minutes", "steps", "keep_checkpoints", "checkpoint_seconds", "track", "loader_threads"}
"""Of the training section: what says nothing about tuning, or nothing about what comes out."""


def tune(run: Run, base: Stage, *, tokenizer: Stage, collected: Stage, cleaned: Stage, plan: Stage, shards: Stage) -> Stage:
    """The chain (folder `dialogue`), begun with the newest checkpoint of `base`; returns the last stage that speaks.

    Batch and peak learning rate come from plan.json. Raises GroundupError where there is nothing to learn from.
    """
    wish = run.recipe.dialogue
    assert wish is not None, "the recipe has no dialogue section"
    path = checkpoint.newest(base.final)
    if path is None:
        raise GroundupError("no whole checkpoint to tune", where=str(base.final), do="Remove that folder and build again.")
    assert base.manifest is not None
    inputs = {"pretrain": base, "tokenizer": tokenizer, "collect": collected, "clean": cleaned, "plan": plan, "tokens": shards}
    return chain(Ground(
        run, wish, path, (tokenizer.final / "tokenizer.json").read_text(encoding="utf-8"), read_json(plan.final / "plan.json"),
        base.manifest["counts"].get("tokens_per_second"), {name: stage.digest for name, stage in inputs.items()}, collected, cleaned, shards.final,
    ))  # fmt: skip


def tune_imported(run: Run) -> Stage:
    """The chain of a run that `groundup import` made: there is no plan and no text, so a step has about `IMPORTED_ROWS` rows, peaks are shares
    of what a model of this width is pretrained with, and sft's steps follow from `max_epochs`."""
    wish, found = run.recipe.dialogue, checkpoint.newest(run.path / "checkpoints")
    assert wish is not None, "the recipe has no dialogue section"
    if found is None:
        raise GroundupError("no whole checkpoint to tune", where=str(run.path), do="Import the model again.")
    config = ModelConfig.model_validate_json((found / "config.json").read_text(encoding="utf-8"))
    rows = max(1, min(IMPORTED_ROWS, IMPORTED_TOKENS // config.context))
    planned = {
        "model": config.model_dump(), "micro_batch": rows, "micro_batches": -(-IMPORTED_ROWS // rows), "batch_tokens": IMPORTED_ROWS * config.context,
        "precision": "fp32", "compile": False, "optimizer": asdict(OptimizerSettings(learning_rate=adamw_rate(config.width))),
    }  # fmt: skip
    tokenizer = run.path / "tokenizer" / "tokenizer.json"
    inputs = {"pretrain": digest_file(found / "state.json"), "tokenizer": digest_file(tokenizer)}
    return chain(Ground(run, wish, found, tokenizer.read_text(encoding="utf-8"), planned, None, inputs))


def chain(ground: Ground) -> Stage:
    """Do what is not done of a chain."""
    run, wish = ground.run, ground.wish
    ready(wish)
    speech = speech_of(ground.tokenizer, wish)
    if not run.follows:
        _set_aside(run, wish)
    before, inputs, judge = ground.base, dict(ground.inputs), None
    speaks: Stage | None = None
    stages: list[Stage] = []
    for number, method in enumerate(wish.stages, 1):
        stage = _opened(ground, number, method, inputs)
        if not stage.done:
            link = Link(ground, method, stage, f"{number}-{method.method}", before, speech, judge)
            link.begin()
            WORK[method.method](link)
        stages.append(stage)
        inputs = {**inputs, f"{number}-{method.method}": stage.digest}
        if method.method in SILENT:
            judge = stage.final
        else:
            speaks, before = stage, Speaker.at(stage.final).path
    assert speaks is not None
    if not run.follows:
        _sum_up(ground, stages, speaks)
    return speaks


def ready(wish: Dialogue) -> None:
    """Look, before any work, whether a chain has what its stages need. Raises RequestError for what is missing."""
    if all(method.method in SILENT for method in wish.stages):
        raise RequestError("a chain without a stage that speaks", where="dialogue.stages", do="Begin it with sft.")
    judged = False
    for method in wish.stages:
        for kind, names in files_of(method, wish).items():
            if not names:
                raise RequestError(f"{method.method} has nothing to learn from", where=f"dialogue.{kind}", do=f"Name files in dialogue.{kind}.")
            material.exist(names, f"dialogue.{kind}")
        if isinstance(method, Ppo | Group) and not judged and not wish.prompts:
            raise unscored(method)
        judged = judged or method.method in SILENT


def speech_of(tokenizer: str, wish: Dialogue) -> Speech:
    """Tokenizer and template of a whole chain."""
    openchat = next((stage for stage in wish.stages if isinstance(stage, OpenChat)), None)
    name = wish.format or ("openchat" if openchat else None)
    chat_format = usual_format(tokenizer) if name is None else format_named(name)
    return Speech.of(tokenizer, chat_format.of_class(Classes(openchat.classes).best) if openchat else chat_format)


def files_of(method: Method, wish: Dialogue) -> dict[str, list[str]]:
    """What a method reads of the section's files."""
    match method.method:
        case "sft" | "lima" | "openchat":
            return {"pairs": wish.pairs}
        case "ppo" | "grpo" | "rloo":
            return {"prompts": wish.prompts} if wish.prompts else {"preferences": wish.preferences}
        case _:
            return {"preferences": wish.preferences}


def _opened(ground: Ground, number: int, method: Method, inputs: dict[str, str]) -> Stage:
    """The stage of a method, done or to be worked on."""
    run, wish, files = ground.run, ground.wish, files_of(method, ground.wish)
    called = {kind: [Path(name).name for name in found] for kind, found in files.items()}  # their contents count, not where they lie
    section: dict[str, Any] = {"format": wish.format, "lora": wish.lora.model_dump() if wish.lora else None, **called}
    if method.method == "sft":
        section |= wish.model_dump(include={"minutes", "steps", "max_epochs", "learning_rate_share"})
    return run.stage(
        f"{number}-{method.method}", f"{FOLDER}/{number}-{method.method}",
        depends={
            "method": method.model_dump(), "dialogue": section,
            "training": run.recipe.training.model_dump(exclude=BUDGET), "seed": run.recipe.seed,
        },
        inputs={**inputs, **{name: material.contents(names, f"dialogue.{name}") for name, names in files.items()}},
        keep=True,
    )  # fmt: skip


def _set_aside(run: Run, wish: Dialogue) -> None:
    """Move away stages of another chain: what the folder holds is one chain."""
    names = {f"{number}-{method.method}" for number, method in enumerate(wish.stages, 1)}
    folder = run.path / FOLDER
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        name = path.name.removeprefix(".").removesuffix(".partial")
        if path.is_dir() and STAGE.fullmatch(name) and name not in names:
            place = run.path / "superseded"
            place.mkdir(exist_ok=True)
            path.rename(place / f"{FOLDER}-{name}-{sum(1 for _ in place.iterdir()):03d}")


def _sum_up(ground: Ground, stages: list[Stage], speaks: Stage) -> None:
    """The folder's own manifest: the chain, what its stages answer side by side, its win rates where it has a reward model, and the figures
    of whom one talks to."""
    manifests = [stage.manifest for stage in stages if stage.manifest is not None]
    assert speaks.manifest is not None
    path, key = ground.run.path / FOLDER / "manifest.json", digest([one["key"] for one in manifests], ground.wish.questions)
    if path.is_file() and read_json(path).get("key") == key:
        return
    speaking = {stage.name: stage.final for stage, method in zip(stages, ground.wish.stages, strict=True) if method.method not in SILENT}
    wins: list[dict[str, Any]] = []
    judge = next((method for method in ground.wish.stages if isinstance(method, Reward)), None)
    if judge is not None:
        folder = next(stage.final for stage, method in zip(stages, ground.wish.stages, strict=True) if method is judge)
        prompts = held_out_prompts([], ground.wish.preferences, judge.held_out) if len(speaking) > 1 else []
        wins = win_rates(speaking, folder, prompts) if prompts else []
    write_json(path, {
        "format": FORMAT, "stage": "tune", "key": key, "digest": speaks.digest, "depends": {},
        "inputs": ground.inputs, "versions": speaks.manifest["versions"],
        "chain": [one["stage"] for one in manifests], "speaks": speaks.name, "win_rates": wins,
        "answers": side_by_side(speaking, questions(ground.wish)) if len(speaking) > 1 else [],
        "counts": speaks.manifest["counts"], "seconds": round(sum(one["seconds"] for one in manifests), 3),
    })  # fmt: skip


def definitions(folder: Path) -> list[tuple[str, str]]:
    """(signature, description) of the held-out definitions that a finished chain keeps; empty without one."""
    for path in sorted(folder.glob("*/held_out.jsonl")):
        with path.open(encoding="utf-8") as file:
            return [(entry["signature"], entry["description"]) for entry in map(json.loads, file)]
    return []


def quiz_prompt(template: ChatTemplate, signature: str) -> list[int]:
    """How the quiz asks a tuned model: as the pairs ask for the description that belongs to a signature."""
    return template.ask(reference_pages.describe_question(signature))
