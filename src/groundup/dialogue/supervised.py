"""Supervised tuning on conversations, the loss on what the assistant says: SFT, LIMA, C-RLFT.

It is the one trainer with the weighted next-token objective; what differs are the weights, the batches and the schedule. Beside the
checkpoints a stage keeps

    pairs.jsonl            every conversation it was tuned on
    held_out.jsonl         definitions of held-out pages, signature and description: the quiz is made of them
    epochs/                lima: the models of the epochs that were not taken
"""

from __future__ import annotations

import itertools
import json
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from groundup.dialogue import material, reference_pages
from groundup.dialogue.author import logps_of
from groundup.dialogue.classes import Classes
from groundup.dialogue.conversations import PackedConversations, render_to_fit
from groundup.dialogue.format.record import Conversation
from groundup.dialogue.link import Link
from groundup.dialogue.selection import select
from groundup.dialogue.sequences import Answered
from groundup.dialogue.speaker import Speech
from groundup.errors import GroundupError, RequestError
from groundup.models.decoder import Decoder
from groundup.progress import say
from groundup.recipe.methods import Lima, OpenChat
from groundup.training import checkpoint
from groundup.training.objectives import NextToken, next_token
from groundup.training.optimizers import OptimizerSettings
from groundup.training.schedules import Schedule
from groundup.training.trainer import Settings

if TYPE_CHECKING:
    from groundup.training.sharded import Sharded

EVALUATED_ROWS = 8  # of held-out pairs; about 2,000 tokens, a moment beside a tuning step
UNSEEN = 200  # conversations held out at most
EPOCHS = "epochs"


def supervise(link: Link) -> None:
    """Tune by one of the three."""
    ground, wish, planned, recipe = link.ground, link.wish, link.planned, link.recipe
    talks, entries = material.conversations(ground.wish.pairs, ground.collected, ground.cleaned)
    unseen = list(itertools.islice(reference_pages.pairs(entries), UNSEEN))
    weighed, dropout = talks, 0.0 if isinstance(wish, OpenChat) else None
    if isinstance(wish, Lima):
        _together(link)
        talks, rest = picked(link, talks, wish.examples)
        weighed, unseen, dropout = talks, unseen or rest[:UNSEEN], wish.dropout
    elif isinstance(wish, OpenChat):
        classes = Classes(wish.classes)
        weighed = [classes.weigh(talk) for talk in talks]
    link.write("pairs.jsonl", [talk.to_json() for talk in talks])
    link.write("held_out.jsonl", [json.dumps({"signature": e.signature, "description": e.description}, ensure_ascii=False) for e in entries])
    untaught = link.speech.template.format.name == "plain" or link.speech.words.digest != checkpoint.read_state(link.before).get("tokenizer")
    model = link.low_rank(link.start(dropout, by_depth=isinstance(wish, Lima)), tables=untaught)

    def pack(some: Sequence[Conversation], rows: int, parts: int) -> PackedConversations:
        return PackedConversations(link.speech.template, some, model.config.context, rows, parts, seed=recipe.seed)

    rows, parts = planned["micro_batch"], planned["micro_batches"]
    batches = pack(weighed, rows, parts)
    if isinstance(wish, Lima):
        # so many examples a step on average: rows hold several
        a_step = max(1, round(wish.batch * batches.counts.rows / max(1, len(talks) - batches.counts.left_out)))
        rows, parts = min(rows, a_step), max(1, round(a_step / min(rows, a_step)))
    elif isinstance(wish, OpenChat) and wish.batch_tokens:
        parts = max(1, round(wish.batch_tokens / (rows * model.config.context)))
    batches = pack(weighed, rows, parts) if (rows, parts) != (batches.rows, batches.micro_batches) else batches
    settings = _settings(link, batches)
    say(
        f"{link.title}: {len(talks):,} conversations, {batches.counts.trained_tokens:,} answer tokens, {settings.steps:,} steps "
        f"({settings.steps / batches.steps_per_epoch:.1f} passes)"
    )
    objective = NextToken(recipe.training.label_smoothing, recipe.training.z_loss)
    look = _answer_loss(pack(unseen, EVALUATED_ROWS, 1)) if unseen else None
    summary = link.train(model, objective, batches, settings, look, cut=True)
    chosen = _choose(link, wish, settings) if isinstance(wish, Lima) else {}
    link.finish(
        replace(summary, steps=chosen.get("chosen_step", summary.steps)), **asdict(batches.counts),
        passes=round(settings.steps / batches.steps_per_epoch, 3), held_out_definitions=len(entries), **chosen,
    )  # fmt: skip


def picked(link: Link, talks: Sequence[Conversation], examples: int | None) -> tuple[list[Conversation], list[Conversation]]:
    """The conversations that are learned from, and the others."""
    if examples is None or len(talks) <= examples:
        return list(talks), []
    places = {pick.place for pick in select(talks, examples, perplexities(link.start(), link.speech, talks))}
    return [talk for place, talk in enumerate(talks) if place in places], [talk for place, talk in enumerate(talks) if place not in places]


def perplexities(model: Decoder, speech: Speech, talks: Sequence[Conversation]) -> list[float]:
    """Of what the assistant says in each conversation; infinite where not even the first exchange fits into the context."""
    rendered = [render_to_fit(speech.template, talk, model.config.context + 1)[0] for talk in talks]
    found = [math.inf] * len(talks)
    places, sequences, spoken = [], [], []
    for place, one in enumerate(rendered):
        if one is not None and any(one.weights):
            asked = next(number for number, weight in enumerate(one.weights) if weight)
            places.append(place)
            sequences.append(Answered(tuple(one.tokens), asked))
            spoken.append(torch.tensor(one.weights[asked:]) > 0)
    for place, said, logps in zip(places, spoken, logps_of(model, sequences, speech.words.special["<|pad|>"]), strict=True):
        found[place] = math.exp(-float(logps[said].mean()))
    return found


def _settings(link: Link, batches: PackedConversations) -> Settings:
    wish, section, planned, recipe = link.wish, link.ground.wish, link.planned, link.recipe
    epoch = math.ceil(batches.steps_per_epoch)
    match wish:
        case Lima():
            schedule = Schedule("linear", warmup=0.0, final_share=0.1)
            optimizer = link.adamw(wish.learning_rate_share, decay=0.1)
            return link.settings(wish.epochs * epoch, optimizer, schedule, milestone=epoch, keep_checkpoints=wish.epochs, evaluations=wish.epochs)
        case OpenChat():
            schedule = Schedule("cosine", warmup=0.02, final_share=0.1)
            return link.settings(wish.epochs * epoch, link.adamw(wish.learning_rate_share, decay=0.1), schedule)
    share, peaks = section.learning_rate_share, OptimizerSettings(**planned["optimizer"])
    optimizer = replace(peaks, learning_rate=share * peaks.learning_rate, matrix_learning_rate=share * peaks.matrix_learning_rate)
    steps = section.steps or _affordable_steps(link, batches.steps_per_epoch)
    return Settings.of(recipe.training, steps=steps, optimizer=optimizer, precision=planned["precision"], compile=planned["compile"], seed=recipe.seed)


def _affordable_steps(link: Link, steps_per_epoch: float) -> int:
    """Steps that fit into the minutes at the speed pretraining had, within the passes allowed."""
    section, rate = link.ground.wish, link.ground.tokens_per_second
    passes = section.max_epochs * steps_per_epoch
    if rate is None or section.minutes is None:
        return max(1, math.ceil(passes))
    return max(1, math.ceil(min(60 * section.minutes * rate / int(link.planned["batch_tokens"]), passes)))


def _answer_loss(batches: PackedConversations) -> Callable[[Decoder | Sharded, int], dict[str, Any]]:
    """Mean loss (nats a token) on answers that are not learned: falls while tuning teaches, rises when it overfits."""
    batch = batches(0, 0)

    def evaluate(model: Decoder | Sharded, step: int) -> dict[str, Any]:
        if not isinstance(model, Decoder):
            return {"held_out_answer_loss": round(model.measure(batches, 1, seed=0).mean, 5)}
        with torch.no_grad():
            sums = next_token(model, batch)
        return {"held_out_answer_loss": round(float(sums.loss_sum / sums.weight_sum), 5)}

    return evaluate


def _together(link: Link) -> None:
    """Put back what a try set aside that was cut off before its end."""
    if not link.stage.run.follows:
        for _, path in checkpoint.all_steps(link.stage.work / EPOCHS):
            path.rename(link.stage.work / path.name)


def _choose(link: Link, wish: Lima, settings: Settings) -> dict[str, Any]:
    """Take one epoch's model, keep the others aside; which one and what was known of each."""
    if link.stage.run.follows:
        return {}
    work = link.stage.work
    looks = {event["step"]: event.get("held_out_answer_loss") for event in link.stage.run.events("evaluation", link.stage.key)}
    found = dict(checkpoint.all_steps(work))
    steps = list(found)
    losses = [looks.get(step) for step in steps]
    match wish.choice:
        case "last":
            number = len(steps)
        case "loss":
            known = [loss for loss in losses if loss is not None]
            if len(known) < len(steps):
                raise RequestError("there is no held-out conversation to choose the epoch by", where="dialogue.stages.choice", do="Choose last or a number, or give more conversations than are picked.")
            number = 1 + known.index(min(known))
        case int():
            number = wish.choice
        case _:
            number = _called(wish.choice, list(found.values()))
    if not 1 <= number <= len(steps):
        raise RequestError(f"no epoch {number} of {len(steps)}", where="dialogue.stages.choice", do=f"Choose 1 to {len(steps)}.")
    (work / EPOCHS).mkdir(exist_ok=True)
    for place, path in enumerate(found.values(), 1):
        if place != number:
            path.rename(work / EPOCHS / path.name)
    say(f"{link.title}: epoch {number} of {len(steps)} is taken ({wish.choice})")
    return {"chosen_epoch": number, "chosen_step": steps[number - 1], "epochs": [{"step": s, "held_out_answer_loss": loss} for s, loss in zip(steps, losses, strict=True)]}


def _called(name: str, paths: list[Path]) -> int:
    """What a function of the user's says."""
    module, _, function = name.partition(":")
    try:
        number: object = getattr(import_module(module), function)(paths)
    except (ImportError, AttributeError) as error:
        raise RequestError(f"no function {name} ({error})", where="dialogue.stages.choice", do=f"Write module:function; looked for on {', '.join(sys.path[-2:])}.") from None
    if not isinstance(number, int) or isinstance(number, bool):
        raise GroundupError(f"{name} returned {number!r}", where="dialogue.stages.choice", do="Return the number of an epoch, from 1 on.")
    return number


