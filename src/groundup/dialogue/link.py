"""A stage of the chain ready to be worked on: where it starts, where it writes, and how it drives the one trainer.

    dialogue/2-reward/
      step-0000040/          the model, a checkpoint like pretraining's
      tokenizer.json, chat.json, chat_template.jinja      how it is talked to (speaker.py)
      ...                    what else the method keeps
      manifest.json
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from groundup.dialogue.speaker import Speech
from groundup.errors import RequestError
from groundup.generation.engine import Engine
from groundup.models.build import Model, build
from groundup.models.decoder import Decoder
from groundup.models.presets import adamw_rate
from groundup.models.widen import widened
from groundup.recipe import Dialogue, Recipe
from groundup.recipe.methods import Stage as Method
from groundup.run import Run, Stage
from groundup.tokens.loader import Batches, BatchPhase
from groundup.tokens.shards import TokenShards
from groundup.tokens.tokenizer import Tokenizer
from groundup.training import checkpoint, lora
from groundup.training.layout import layout
from groundup.training.objectives import Objective
from groundup.training.optimizers import OptimizerSettings
from groundup.training.parallel import World
from groundup.training.schedules import Schedule
from groundup.training.spread import spread
from groundup.training.trainer import Evaluate, Settings, Summary, train


@dataclass(frozen=True)
class Ground:
    """What all stages of a chain stand on."""

    run: Run
    wish: Dialogue
    base: Path
    """The checkpoint that the chain begins with."""
    tokenizer: str
    """Text of the base's tokenizer.json."""
    planned: dict[str, Any]
    """Batch, rates and precision, as in plan.json."""
    tokens_per_second: float | None
    """Pretraining's speed, if it is known."""
    inputs: dict[str, str]
    """Digests of what the first stage reads."""
    collected: Stage | None = None
    cleaned: Stage | None = None
    shards: Path | None = None

    @property
    def recipe(self) -> Recipe:
        """The build's."""
        return self.run.recipe

    def pretraining(self) -> TokenShards | None:
        """The build's own text."""
        return None if self.shards is None else TokenShards(self.shards)


@dataclass(frozen=True)
class Link:
    """One stage of the chain."""

    ground: Ground
    wish: Method
    stage: Stage
    title: str
    before: Path
    """The checkpoint that it starts from."""
    speech: Speech
    reward: Path | None
    """The folder of the reward model before it, if there is one."""

    @property
    def recipe(self) -> Recipe:
        """The build's."""
        return self.ground.recipe

    @property
    def planned(self) -> dict[str, Any]:
        """Batch, rates and precision of pretraining."""
        return self.ground.planned

    def start(self, dropout: float | None = 0.0, *, by_depth: bool = False) -> Decoder:
        """The model to begin with: with room for the marks that it does not know, and this residual dropout alone (None: pretraining's)."""
        base = Tokenizer(self.ground.tokenizer)
        known = base if self.before == self.ground.base else self.speech.words
        model = checkpoint.load_model(self.before, known.digest)
        if not isinstance(model, Decoder):
            raise RequestError(f"a model of the {model.config.family} family holds no conversation", where="dialogue", do="Tune a decoder.")
        if self.speech.words.size > known.size:
            model = widened(model, self.speech.words.size, known.size)
        changes = {"embedding_dropout": 0.0, "attention_dropout": 0.0, "residual_dropout": dropout, "dropout_by_depth": by_depth, "ngram_dropout": 0.0}
        config = model.config if dropout is None else model.config.model_copy(update=changes)
        if config != model.config:
            weights, model = model.state_dict(), build(config)
            model.load_state_dict(weights)
        assert isinstance(model, Decoder)
        return model.train()

    def low_rank(self, model: Decoder, *, tables: bool = False) -> Decoder:
        """With corrections of low rank where the recipe asks for them; `tables`: embedding and head go on learning, for marks that the
        model has never seen."""
        if (wish := self.ground.wish.lora) is not None:
            lora.apply(model, wish.rank, wish.alpha, seed=self.recipe.seed, dropout=wish.dropout)
            if tables:
                for module in (model.embedding, model.head):
                    if module is not None:
                        module.requires_grad_(True)
        return model

    def adamw(self, share: float, *, decay: float = 0.0) -> OptimizerSettings:
        """AdamW with a share of pretraining's peak."""
        peaks = OptimizerSettings(**self.planned["optimizer"])
        peak = peaks.learning_rate if peaks.name in ("adamw", "adam", "muon") else adamw_rate(self.planned["model"]["width"])
        return replace(peaks, name="adamw", learning_rate=share * peak, betas=(0.9, 0.95), weight_decay=decay)

    def settings(self, steps: int, optimizer: OptimizerSettings, schedule: Schedule, **more: Any) -> Settings:
        """The trainer's, for a method with a recipe of its own: of the recipe's training section the checkpoints and curves alone."""
        training = self.recipe.training
        return Settings(
            steps=steps, seed=self.recipe.seed, optimizer=optimizer, schedule=schedule, precision=self.planned["precision"], spike_sigmas=None,
            keep_checkpoints=more.pop("keep_checkpoints", training.keep_checkpoints), checkpoint_seconds=training.checkpoint_seconds,
            track=tuple(training.track), evaluations=more.pop("evaluations", training.evaluations), **more,
        )  # fmt: skip

    def train(self, model: Decoder, objective: Objective, batches: Batches, settings: Settings, evaluate: Evaluate | None = None, *, cut: bool = False) -> Summary:
        """Train in place. `cut`: whether batches are of one shape, so that the model may be spread over processes in parts."""
        rows, micro_batches = self.planned["micro_batch"], self.planned["micro_batches"]
        phases = [BatchPhase(settings.steps, model.config.context, rows, micro_batches)]
        wish, plain = self.recipe.parallel, cut and not checkpoint.form(model)
        if not plain and layout(wish, model.config, phases, World.present().size, begun=True).cut:
            raise RequestError(
                f"{self.wish.method}{' with LoRA' if self.ground.wish.lora else ''} keeps the whole model on each process", where="parallel",
                do="Set parallel.tp, pp and ep to 1 and parallel.zero to 0 for tuning; dp shares the micro-batches.",
            )  # fmt: skip
        whole = spread(wish, model.config, objective, phases, settings, self.stage.work, model) if plain else model
        return train(
            whole, objective, batches, settings, stage=self.stage, title=self.title, tokenizer=self.speech.words.digest, fresh=False,
            peak_flops=1e9 * self.planned["peak_gflops"] if cut and self.planned.get("peak_gflops") else None, evaluate=evaluate,
        )  # fmt: skip

    def engine(self, model: Model, slots: int = 16) -> Engine:
        """A model ready to write."""
        return Engine(model, self.speech.words, slots=slots, ends=[self.speech.template.end])

    def write(self, name: str, rows: Sequence[str]) -> None:
        """A file of lines."""
        self.stage.write(name, "".join(row + "\n" for row in rows))

    def begin(self) -> None:
        """What every stage keeps from its first moment, so that one can talk to its checkpoints while it trains."""
        for name, text in self.speech.files.items():
            self.stage.write(name, text)

    def finish(self, summary: Summary, **counts: Any) -> None:
        """End the stage. Its figures are the trainer's and these."""
        figures = asdict(summary)
        self.stage.finish({
            "method": self.wish.method, **counts, "steps": summary.steps, "final_loss": figures["final_loss"],
            "tokens_per_second": summary.tokens_per_second, "share_of_peak": summary.share_of_peak, "training_seconds": summary.seconds,
        })  # fmt: skip


def micro_batches(items: int, tokens: float, room: float) -> tuple[int, int]:
    """(items of a micro-batch, micro-batches) of a step of so many items of about `tokens` tokens each, `room` tokens a micro-batch."""
    each = max(1, min(items, int(room / max(1.0, tokens))))
    parts = -(-items // each)
    return -(-items // parts), parts
