"""Learning from preferences: the reward model, and DPO with its kin.

A stage keeps the prompts apart that it only measures on (`held_out`, by the prompt's text, so that every stage holds out the same), and
for a reward model `reward.json` (reward_model.py).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from groundup.dialogue import material
from groundup.dialogue.link import Link, micro_batches
from groundup.dialogue.preference_batches import Element, PackedPreferences, of_labelled, of_rankings
from groundup.dialogue.reward_model import FILE, RewardModel, measured
from groundup.errors import GroundupError
from groundup.models.decoder import Decoder
from groundup.progress import say
from groundup.recipe.methods import BETAS, Preference, Reward
from groundup.run import write_json
from groundup.training import checkpoint
from groundup.training.objectives import Batch, Objective, borders
from groundup.training.precision import Precision, autocast
from groundup.training.preference import DPO, IPO, KTO, ORPO, SimPO, answer_logps
from groundup.training.preference import Reward as RewardObjective
from groundup.training.schedules import Schedule
from groundup.training.trainer import Evaluate
from groundup.training.value_head import ScoredDecoder

KTO_GROUP = 8  # answers whose mismatched pairings share an estimate of KL


def reward(link: Link) -> None:
    """Train the reward model, from the model before it."""
    wish = link.wish
    assert isinstance(wish, Reward)
    learned, held_out = _split(link, wish.held_out, scored=True)
    model = ScoredDecoder.of(link.start(), link.recipe.seed)
    model = link.low_rank(model)  # type: ignore[assignment]
    batches = _batches(link, learned, wish.batch, model.config.context, scored=True)
    steps = max(1, round(wish.epochs * batches.steps_per_epoch))
    say(f"{link.title}: {len(learned):,} prompts with ranked answers, {len(held_out):,} held out, {steps:,} steps")
    objective = RewardObjective()
    schedule = Schedule("cosine", warmup=0.0, final_share=0.1)
    settings = link.settings(steps, link.adamw(wish.learning_rate_share), schedule)
    look = _look(objective, _batches(link, held_out, len(held_out), model.config.context, scored=True)) if held_out else None
    summary = link.train(model, objective, batches, settings, look)
    if link.stage.run.follows:
        link.finish(summary)
        return
    judged = RewardModel(_merged(link, summary.checkpoint.name), link.speech.words.special["<|pad|>"])
    found = measured(judged, learned, held_out)
    write_json(link.stage.work / FILE, found)
    if "accuracy" in found:
        say(f"{link.title}: {found['accuracy']:.1%} of {found['held_out_pairs']:,} held-out pairs right; the longer answer wins: {found['length_accuracy']:.1%}; chance: 50 %")
    link.finish(summary, **{name: value for name, value in found.items() if name != "calibration"}, passes=wish.epochs, elements=len(learned))


def prefer(link: Link) -> None:
    """Tune by DPO or one of its kin."""
    wish = link.wish
    assert isinstance(wish, Preference)
    learned, held_out = _split(link, wish.held_out, scored=False)
    model = link.start()
    batch = max(1, round(wish.batch / KTO_GROUP)) if wish.method == "kto" else wish.batch
    batches = _batches(link, learned, batch, model.config.context)
    unseen = _batches(link, held_out, len(held_out), model.config.context) if held_out else None
    if wish.method not in ("orpo", "simpo"):
        batches.measure(_sums(model, link.planned["precision"]))
        if unseen is not None:
            unseen.measure(_sums(model, link.planned["precision"]))
    model = link.low_rank(model, tables=wish.method == "orpo")
    steps = max(1, round(wish.epochs * batches.steps_per_epoch))
    say(f"{link.title}: {len(learned):,} {'groups of answers' if wish.method == 'kto' else 'rankings'}, {len(held_out):,} held out, {steps:,} steps")
    objective = _objective(wish)
    settings = link.settings(steps, link.adamw(wish.learning_rate_share), Schedule("linear", warmup=0.1, final_share=0.0), loss_falls=False)
    summary = link.train(model, objective, batches, settings, None if unseen is None else _look(objective, unseen))
    looks = link.stage.run.events("evaluation", link.stage.key)
    last = {name: value for name, value in looks[-1].items() if name.startswith("held_out")} if looks else {}
    link.finish(summary, elements=len(learned), held_out_elements=len(held_out), passes=wish.epochs, **last)


def _objective(wish: Preference) -> Objective:
    beta = wish.beta or BETAS[wish.method]
    match wish.method:
        case "dpo":
            return DPO(beta=beta, pair_smoothing=wish.pair_smoothing)
        case "ipo":
            return IPO(beta=beta)
        case "kto":
            return KTO(beta=beta, liked=wish.liked, disliked=wish.disliked)
        case "orpo":
            return ORPO(weight=beta)
        case "simpo":
            return SimPO(beta=beta, gamma=wish.gamma)


def _split(link: Link, share: float, *, scored: bool) -> tuple[list[Element], list[Element]]:
    """What is learned, and what is only measured on. Raises GroundupError where nothing is left."""
    files, template, room = link.ground.wish.preferences, link.speech.template, int(link.planned["model"]["context"]) + (not scored)
    found: list[list[Element]] = []
    out = 0
    labelled = material.labelled(files) if link.wish.method == "kto" else None
    rankings = material.rankings(files) if labelled is None else []
    for held in (False, True):
        if labelled is None:
            elements, left_out = of_rankings(template, [one for one in rankings if material.held_out(one.prompt, share) == held], room)
        else:
            elements, left_out = of_labelled(template, [one for one in labelled if material.held_out(one.prompt, share) == held], room, KTO_GROUP, link.recipe.seed)
        found.append(elements)
        out += left_out
    if out:
        say(f"{link.title}: {out:,} left out, longer than the context of {room} tokens")
    if not found[0]:
        raise GroundupError("no preference is left to learn from", where="dialogue.preferences", do="Give preferences with shorter answers, or a longer context.")
    return found[0], found[1]


def _batches(link: Link, elements: Sequence[Element], batch: int, context: int, *, scored: bool = False) -> PackedPreferences:
    lengths = [sum(len(one.tokens) for one in element.sequences) for element in elements]
    each, parts = micro_batches(min(batch, len(elements)), sum(lengths) / len(lengths), link.planned["micro_batch"] * context)
    return PackedPreferences(elements, context, each, parts, link.recipe.seed, link.speech.words.special["<|pad|>"], scored=scored)


def _sums(model: Decoder, precision: Precision) -> Callable[[Batch], Tensor]:
    """The log-probabilities of a batch's answers under a model, in the trainer's precision."""

    @torch.no_grad()
    def sums(batch: Batch) -> Tensor:
        was = model.training
        model.eval()
        with autocast(precision):
            found = answer_logps(model, model.hidden(batch["tokens"], batch["positions"], borders(batch)), batch).sums_A
        model.train(was)
        return found

    return sums


def _look(objective: Objective, batches: PackedPreferences) -> Evaluate:
    """The objective on all that is held out."""

    @torch.no_grad()
    def evaluate(model: Any, step: int) -> dict[str, Any]:
        loss, weight, metrics = 0.0, 0.0, dict[str, float]()
        for start in range(0, len(batches.elements), batches.each):
            part = objective(model, batches.batch(range(start, min(start + batches.each, len(batches.elements)))))
            loss, weight = loss + float(part.loss_sum), weight + float(part.weight_sum)
            for name in ("accuracy", "margin"):
                metrics[name] = metrics.get(name, 0.0) + float(part.metrics[name])
        return {"held_out_loss": round(loss / weight, 5), **{f"held_out_{name}": round(value / weight, 5) for name, value in metrics.items()}}

    return evaluate


def _merged(link: Link, name: str) -> ScoredDecoder:
    """The model as it is used after its training."""
    model = checkpoint.load_model(link.stage.work / name, link.speech.words.digest)
    assert isinstance(model, ScoredDecoder)
    return model
