"""From a budget and a measured machine to the settings of a run: model size, batch, steps, each with its reason.

It is derived once and kept in the run folder, so that a resumed build goes on with what it began with.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

import torch
from pydantic import ValidationError

from groundup.errors import GroundupError, RequestError
from groundup.models.build import build, parameters
from groundup.models.config import ModelConfig, default_feedforward
from groundup.models.flops import matmul_parameters, training_flops_per_token
from groundup.planning import hardware
from groundup.progress import say
from groundup.recipe import Recipe
from groundup.run import Run, Stage, read_json, write_json
from groundup.training.objectives import next_token
from groundup.training.optimizers import adamw
from groundup.training.precision import Precision, autocast

# (layers, width, heads): depth grows with width; heads of 32 in the smallest, of 64 from width 192 on
LADDER = (
    (2, 64, 2), (3, 96, 3), (3, 128, 4), (4, 128, 4), (4, 160, 5), (4, 192, 3), (5, 256, 4), (6, 320, 5), (6, 384, 6), (8, 512, 8), (10, 640, 10),
    (12, 768, 12), (16, 1024, 16), (20, 1280, 20), (24, 1536, 24), (24, 2048, 32),
)  # fmt: skip
# At 1.2e13 FLOPs on the demo's text 0.87 M parameters (2.2 tokens each) reached 1.45 bits per byte and 2.16 M (0.4 tokens
# each) 1.97; at 2.4e13 the larger stood at 1.53: docs/measurements.md. nanochat measured 10.5 at larger scale.
TOKENS_PER_PARAMETER = 4.0
SUSTAINED_SHARE = 0.6  # of the matrix-product peak that a small model's training step reaches; only to choose a size
COMPILE_PAYS_AFTER_SECONDS = 20 * 60  # compiling cost 44 s and gave 11 % on 2 cores; worth it from about 7 minutes on
EVALUATION_SHARE = 0.01  # of the run's tokens, read at each look at the held-out text (forward only, a third of the cost)


@dataclass
class Derivation:
    """Reasons collected on the way."""

    reasons: list[str] = field(default_factory=list)

    def because(self, sentence: str) -> None:
        """Keep a reason and print it."""
        self.reasons.append(sentence)
        say(f"  {sentence}")


def plan(run: Run, tokenizer: Stage, tokens: Stage) -> Stage:
    """The plan stage (folder `plan`): plan.json with the model, the batch, the steps and the reasons.

    Raises GroundupError where the text is shorter than one context.
    """
    recipe = run.recipe
    depends = {
        "model": recipe.model.model_dump(),
        "training": recipe.training.model_dump(exclude={"keep_checkpoints", "checkpoint_seconds"}),
    }
    stage = run.stage("plan", "plan", depends=depends, inputs={"tokenizer": tokenizer.digest, "tokens": tokens.digest})
    if stage.done:
        return stage
    shards = read_json(tokens.final / "shards.json")
    say("plan:")
    result = derive(recipe, vocabulary=shards["vocabulary"], train_tokens=shards["train"]["tokens"], machine=hardware.measure())
    write_json(stage.work / "plan.json", result)
    stage.finish({"parameters": result["parameters"], "steps": result["steps"]})
    return stage


def derive(recipe: Recipe, *, vocabulary: int, train_tokens: int, machine: dict[str, Any]) -> dict[str, Any]:
    """What plan.json holds, from the recipe, the counted tokens and the measured machine."""
    training, notes = recipe.training, Derivation()
    precision = _precision(recipe, machine, notes)
    peak = 1e9 * machine["bf16_gflops" if precision == "bf16" else "fp32_gflops"]
    budget_seconds = None if training.steps else 60.0 * (training.minutes or 10.0)
    config = _shape(recipe, vocabulary, train_tokens, budget_seconds, peak, notes)
    if train_tokens < config.context + 1:
        raise GroundupError(
            f"the training text has {train_tokens:,} tokens, shorter than one context of {config.context}", where="plan",
            do="Add text, or set model.context lower.",
        )
    batch_tokens, micro_batch = _batch(recipe, config, train_tokens, notes)
    estimate = budget_seconds or (training.steps or 0) * batch_tokens * training_flops_per_token(config) / (SUSTAINED_SHARE * peak)
    compiles = training.compile
    if compiles == "auto":
        compiles = machine["compiler"] is not None and estimate >= COMPILE_PAYS_AFTER_SECONDS
        notes.because(
            f"torch.compile {'on' if compiles else 'off'}: about {estimate / 60:.1f} minutes of training, it pays from {COMPILE_PAYS_AFTER_SECONDS // 60}"
        )
    rate = None
    steps = training.steps
    if steps is None:
        rate = tokens_per_second(config, micro_batch, precision, compiled=bool(compiles))
        notes.because(
            f"measured {rate:,.0f} tokens/s ({100 * rate * training_flops_per_token(config) / peak:.0f} % of {peak / 1e9:,.0f} GFLOP/s)"
        )
        assert budget_seconds is not None
        looking = training.evaluations * EVALUATION_SHARE / 3
        wanted = budget_seconds * rate / (1 + looking)
        most = training.max_epochs * train_tokens
        steps = max(10, round(min(wanted, most) / batch_tokens))
        limit = f"{training.max_epochs:g} passes over {train_tokens:,} tokens" if most < wanted else f"{budget_seconds / 60:g} minutes"
        notes.because(f"{steps:,} steps of {batch_tokens:,} tokens: {limit} ({steps * batch_tokens / train_tokens:.1f} passes)")
    peak_rate = training.learning_rate or _learning_rate(config, notes)
    return {
        "machine": machine,
        "model": config.model_dump(),
        "parameters": parameters(config),
        "flops_per_token": training_flops_per_token(config),
        "train_tokens": train_tokens,
        "steps": steps,
        "batch_tokens": batch_tokens,
        "micro_batch": micro_batch,
        "micro_batches": batch_tokens // (micro_batch * config.context),
        "learning_rate": peak_rate,
        "precision": precision,
        "compile": bool(compiles),
        "peak_gflops": peak / 1e9,
        "measured_tokens_per_second": None if rate is None else round(rate, 1),
        "evaluation_tokens": max(4096, int(EVALUATION_SHARE * steps * batch_tokens)),
        "reasons": notes.reasons,
    }


def _precision(recipe: Recipe, machine: dict[str, Any], notes: Derivation) -> Precision:
    fp32, bf16 = machine["fp32_gflops"], machine["bf16_gflops"]
    if recipe.training.precision != "auto":
        return recipe.training.precision
    chosen: Precision = "bf16" if bf16 >= 1.2 * fp32 else "fp32"
    notes.because(f"{chosen}: matrix products run at {fp32:,.0f} GFLOP/s in fp32 and {bf16:,.0f} in bf16")
    return chosen


def _shape(
    recipe: Recipe, vocabulary: int, train_tokens: int, budget_seconds: float | None, peak: float, notes: Derivation
) -> ModelConfig:
    """The architecture: what the recipe says, the rest from the largest rung of the ladder the budget can train."""
    asked = recipe.model

    def config(rung: tuple[int, int, int]) -> ModelConfig:
        layers, width, heads = rung
        width = asked.width or width
        heads = asked.heads or (heads if width == rung[1] else max(1, width // 64))
        context = asked.context or (256 if width < 512 else 512 if width < 768 else 1024)
        return ModelConfig(
            vocabulary=vocabulary, context=context, layers=asked.layers or layers, width=width, heads=heads,
            kv_heads=asked.kv_heads or heads, feedforward=asked.feedforward or default_feedforward(width), tied=asked.tied,
            dropout=asked.dropout, rope_base=asked.rope_base, init_std=asked.init_std,
        )  # fmt: skip

    try:
        rungs = [config(rung) for rung in LADDER]
    except ValidationError as error:
        raise RequestError(error.errors()[0]["msg"], where="model", do="Correct the model section.") from None
    if asked.width and asked.layers:
        notes.because(f"model as the recipe says: {asked.layers} layers of width {asked.width}")
        return rungs[0]
    most = recipe.training.max_epochs * train_tokens

    def seen(rung: ModelConfig) -> float:
        """Tokens the budget lets this rung see."""
        if budget_seconds is None:
            assert recipe.training.steps is not None
            return float(recipe.training.steps * (recipe.training.batch_tokens or _default_batch(rung)))
        return min(most, SUSTAINED_SHARE * peak * budget_seconds / training_flops_per_token(rung))

    fitting = [rung for rung in rungs if seen(rung) >= TOKENS_PER_PARAMETER * matmul_parameters(rung)]
    best = fitting[-1] if fitting else rungs[0]
    notes.because(
        f"{best.layers} layers of width {best.width}, {parameters(best) / 1e6:.2f} M parameters: the largest of the ladder that sees at least "
        f"{TOKENS_PER_PARAMETER:g} tokens a parameter (about {seen(best) / 1e6:.1f} M tokens)"
    )
    return best


def _default_batch(config: ModelConfig) -> int:
    """Tokens a step: small for small models, whose critical batch is small."""
    return 2048 if config.width < 512 else 16_384 if config.width < 768 else 131_072


def _batch(recipe: Recipe, config: ModelConfig, train_tokens: int, notes: Derivation) -> tuple[int, int]:
    """(tokens a step, rows a forward pass); a step is a whole number of micro-batches, never silently another size."""
    training = recipe.training
    tokens = training.batch_tokens or min(_default_batch(config), max(config.context, train_tokens // 20))
    rows = max(1, tokens // config.context)
    if training.batch_tokens and training.batch_tokens % config.context:
        raise RequestError(
            f"batch_tokens {training.batch_tokens} is no multiple of the context {config.context}", where="training",
            do=f"Set it to {rows * config.context} or {(rows + 1) * config.context}.",
        )
    micro = training.micro_batch or max(row for row in range(1, rows + 1) if rows % row == 0 and (row * config.context <= 16_384 or row == 1))
    if rows % micro:
        raise RequestError(
            f"{rows} rows a step do not divide into micro-batches of {micro}", where="training.micro_batch",
            do=f"Set it to a divisor of {rows}.",
        )
    notes.because(f"a step sees {rows * config.context:,} tokens: {rows // micro} x {micro} rows of {config.context}")
    return rows * config.context, micro


def _learning_rate(config: ModelConfig, notes: Derivation) -> float:
    """Peak of AdamW: falls with the width, as the step of a matrix's entries should (muP, Yang et al. 2022)."""
    rate = round(min(6e-3, 3e-3 * 256 / config.width), 6)
    notes.because(f"peak learning rate {rate:g} at width {config.width}")
    return rate


def tokens_per_second(config: ModelConfig, rows: int, precision: Precision, *, compiled: bool) -> float:
    """Tokens a second of real training steps on random tokens: the median of a few after warming up."""
    model = build(config, seed=0)
    forward = torch.compile(model) if compiled else model
    optimizer = adamw(model, learning_rate=0.0, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.0)
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(config.vocabulary, (rows, config.context), generator=generator)
    batch = {
        "tokens": tokens, "targets": tokens.roll(-1, 1), "weights": torch.ones(tokens.shape),
        "positions": torch.arange(config.context).expand_as(tokens), "segments": torch.zeros_like(tokens),
    }  # fmt: skip
    times: list[float] = []
    end = time.perf_counter() + 6.0
    while len(times) < 3 or (time.perf_counter() < end and len(times) < 20):
        began = time.perf_counter()
        with autocast(precision):
            sums = next_token(forward, batch)
        sums.loss_sum.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        times.append(time.perf_counter() - began)
        if len(times) == 2 and compiled:
            end = time.perf_counter() + 6.0
    later = sorted(times[1:])
    return tokens.numel() / later[len(later) // 2]


