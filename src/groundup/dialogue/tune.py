"""From a base model to one that answers: supervised tuning on question-answer pairs, the loss on the answers alone.

    dialogue/
      step-0000140/          the tuned model, a checkpoint like pretraining's
      pairs.jsonl            every conversation it was tuned on
      held_out.jsonl         definitions of held-out pages, signature and description: the quiz is made of them
      chat_template.jinja    how a conversation becomes text, for other software

It is the one trainer with the weighted next-token objective; what is new are the batches.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from groundup.dialogue import conversations, reference_pages
from groundup.dialogue.conversations import Conversation, PackedConversations
from groundup.dialogue.definitions import Entry
from groundup.dialogue.template import CHAT_TEMPLATE, Template
from groundup.errors import GroundupError, RequestError
from groundup.models.decoder import Decoder
from groundup.progress import say
from groundup.recipe import Dialogue
from groundup.run import Run, Stage, digest, read_json
from groundup.tokens.loader import BatchPhase
from groundup.tokens.tokenizer import Tokenizer
from groundup.training import checkpoint
from groundup.training.objectives import NextToken, next_token
from groundup.training.optimizers import OptimizerSettings
from groundup.training.spread import spread
from groundup.training.trainer import Settings, train

if TYPE_CHECKING:
    from groundup.training.sharded import Sharded

REFERENCE_PAGES = "reference-pages"
EVALUATED_ROWS = 8  # of held-out pairs; about 2,000 tokens, a moment beside a tuning step


def tune(run: Run, base: Stage, *, tokenizer: Stage, collected: Stage, cleaned: Stage, plan: Stage) -> Stage:
    """The dialogue stage (folder `dialogue`): tune the newest checkpoint of `base`.

    Batch and peak learning rate come from plan.json, the steps from the minutes at pretraining's own speed, up to
    `dialogue.max_epochs` passes over the pairs. Raises GroundupError where there is nothing to learn from.
    """
    recipe = run.recipe
    assert recipe.dialogue is not None, "the recipe has no dialogue section"
    stage = run.stage(
        "tune", "dialogue",
        depends={
            "dialogue": recipe.dialogue.model_dump(exclude={"questions"}),
            "training": recipe.training.model_dump(exclude={"minutes", "steps", "keep_checkpoints", "checkpoint_seconds", "track", "loader_threads"}),
            "seed": recipe.seed,
        },
        inputs={
            "pretrain": base.digest, "tokenizer": tokenizer.digest, "collect": collected.digest, "clean": cleaned.digest,
            "plan": plan.digest, "pairs": _digest_files(recipe.dialogue.pairs),
        },
        keep=True,
    )  # fmt: skip
    if stage.done:
        return stage
    pairs, held_out = gather(recipe.dialogue.pairs, collected, cleaned)
    stage.write("pairs.jsonl", "".join(conversations.to_json(pair) + "\n" for pair in pairs))
    lines = (json.dumps({"signature": e.signature, "description": e.description}, ensure_ascii=False) for e in held_out)
    stage.write("held_out.jsonl", "".join(line + "\n" for line in lines))
    stage.write("chat_template.jinja", CHAT_TEMPLATE + "\n")
    words = Tokenizer.load(tokenizer.final)
    planned = read_json(plan.final / "plan.json")
    path = checkpoint.newest(base.final)
    if path is None:
        raise GroundupError("no whole checkpoint to tune", where=str(base.final), do="Remove that folder and build again.")
    model = checkpoint.load_model(path, words.digest)
    template = Template(words)

    def pack(some: Sequence[Conversation], rows: int, micro_batches: int) -> PackedConversations:
        return PackedConversations(template, some, model.config.context, rows, micro_batches, seed=recipe.seed)

    batches = pack(pairs, planned["micro_batch"], planned["micro_batches"])
    steps = recipe.dialogue.steps or _affordable_steps(recipe.dialogue, base, planned["batch_tokens"], batches.steps_per_epoch)
    say(
        f"tune: {len(pairs):,} conversations, {batches.counts.trained_tokens:,} answer tokens, {steps:,} steps "
        f"({steps / batches.steps_per_epoch:.1f} passes)"
    )
    peaks, share = OptimizerSettings(**planned["optimizer"]), recipe.dialogue.learning_rate_share
    optimizer = replace(peaks, learning_rate=share * peaks.learning_rate, matrix_learning_rate=share * peaks.matrix_learning_rate)
    settings = Settings.of(
        recipe.training, steps=steps, optimizer=optimizer, precision=planned["precision"], compile=planned["compile"], seed=recipe.seed,
    )
    unseen = list(itertools.islice(reference_pages.pairs(held_out), 200))
    objective = NextToken(recipe.training.label_smoothing, recipe.training.z_loss)
    phases = [BatchPhase(steps, model.config.context, planned["micro_batch"], planned["micro_batches"])]
    summary = train(
        spread(recipe.parallel, model.config, objective, phases, settings, stage.work, model), objective, batches, settings, stage=stage, title="tune", tokenizer=words.digest,
        peak_flops=1e9 * planned["peak_gflops"], fresh=False,
        evaluate=_answer_loss(pack(unseen, EVALUATED_ROWS, 1)) if unseen else None,
    )  # fmt: skip
    stage.finish(
        {
            **asdict(batches.counts), "steps": summary.steps, "passes": round(steps / batches.steps_per_epoch, 3),
            "final_loss": summary.final_loss, "tokens_per_second": summary.tokens_per_second,
            "share_of_peak": summary.share_of_peak, "training_seconds": summary.seconds, "held_out_definitions": len(held_out),
        }
    )  # fmt: skip
    return stage


def _affordable_steps(wish: Dialogue, base: Stage, batch_tokens: int, steps_per_epoch: float) -> int:
    """Steps that fit into the minutes at the speed pretraining had, within the passes allowed."""
    assert base.manifest is not None
    rate = float(base.manifest["counts"]["tokens_per_second"])
    within_time = 60 * (wish.minutes or 1.0) * rate / batch_tokens
    return max(1, math.ceil(min(within_time, wish.max_epochs * steps_per_epoch)))


def gather(
    names: Sequence[str], collected: Stage, cleaned: Stage
) -> tuple[list[Conversation], list[Entry]]:
    """The conversations that a recipe names, and the held-out definitions beside them."""
    pairs: list[Conversation] = []
    held_out: list[Entry] = []
    for name in names:
        if name == REFERENCE_PAGES:
            reference = reference_pages.load(collected.final, cleaned.final)
            pairs += reference_pages.pairs(reference.train)
            held_out += reference.held_out
        else:
            pairs += conversations.read(Path(name).expanduser())
    if not pairs:
        raise GroundupError(
            f"no question-answer pairs in {', '.join(names) or 'an empty list'}", where="dialogue.pairs",
            do="Crawl pages with definition lists, name a JSON-lines file, or leave the dialogue section out.",
        )
    return pairs, held_out


def definitions(folder: Path) -> list[tuple[str, str]]:
    """(signature, description) of the held-out definitions that a finished dialogue stage keeps; empty without one."""
    path = folder / "held_out.jsonl"
    if not path.is_file():
        return []
    with path.open(encoding="utf-8") as file:
        return [(entry["signature"], entry["description"]) for entry in map(json.loads, file)]


def quiz_prompt(template: Template, signature: str) -> list[int]:
    """How the quiz asks a tuned model: as the pairs ask for the description that belongs to a signature."""
    return template.ask(reference_pages.describe_question(signature))


def _answer_loss(batches: PackedConversations) -> Callable[[Decoder | Sharded, int], dict[str, Any]]:
    """Mean loss (nats a token) on answers about held-out pages: falls while tuning teaches, rises when it overfits."""
    batch = batches(0, 0)

    def evaluate(model: Decoder | Sharded, step: int) -> dict[str, Any]:
        if not isinstance(model, Decoder):
            return {"held_out_answer_loss": round(model.measure(batches, 1, seed=0).mean, 5)}
        with torch.no_grad():
            sums = next_token(model, batch)
        return {"held_out_answer_loss": round(float(sums.loss_sum / sums.weight_sum), 5)}

    return evaluate


def _digest_files(names: Sequence[str]) -> str:
    """A digest of the contents of the named files, so that a changed file is noticed."""
    contents = []
    for name in names:
        if name != REFERENCE_PAGES:
            path = Path(name).expanduser()
            if not path.is_file():
                raise RequestError("no such file", where=str(path), do="Correct dialogue.pairs.")
            with path.open("rb") as file:
                contents.append(hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest())
    return digest(contents)
