"""From a budget and a measured machine to the settings of a run: model size, batch, steps, each with its reason.

It is derived once and kept in the run folder, so that a resumed build goes on with what it began with.
"""

from __future__ import annotations

import math
import resource
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import psutil
from pydantic import ValidationError

from groundup.errors import GroundupError, RequestError
from groundup.models import presets
from groundup.models.build import build, matmul_parameters, parameters
from groundup.models.config import ModelConfig, resolved
from groundup.models.flops import training_flops_per_token
from groundup.planning import hardware, here
from groundup.progress import say
from groundup.recipe import Model, Phase, Recipe, Training
from groundup.run import Run, Stage, read_json, write_json
from groundup.tokens.loader import BatchPhase
from groundup.tokens.vocabulary import Shape
from groundup.training.layout import layout
from groundup.training.optimizers import OptimizerSettings
from groundup.training.precision import Precision, autocast, compilable
from groundup.training.processes import started
from groundup.training.task import measured_objective, random_batch, task_of

# (layers, width, heads): depth grows with width; heads of 32 in the smallest, of 64 from width 192 on
LADDER = (
    (2, 64, 2), (3, 96, 3), (3, 128, 4), (4, 128, 4), (4, 160, 5), (4, 192, 3), (5, 256, 4), (6, 320, 5), (6, 384, 6), (8, 512, 8), (10, 640, 10),
    (12, 768, 12), (16, 1024, 16), (20, 1280, 20), (24, 1536, 24), (24, 2048, 32),
)  # fmt: skip
# At 1.2e13 FLOPs on the demo's text 0.87 M parameters (2.2 tokens each) reached 1.45 bits per byte and 2.16 M (0.4 tokens
# each) 1.97; at 2.4e13 the larger stood at 1.53: docs/measurements.md. nanochat measured 10.5 at larger scale.
TOKENS_PER_PARAMETER = 4.0
SUSTAINED_SHARE = 0.6  # of the matrix-product peak that a small model's training step reaches; only to choose a size
COMPILE_PAYS_AFTER_SECONDS = 5 * 60  # compiling 2 layers cost 18 s and gave 14 % on 2 cores: even after 2 minutes
COMPILE_AGAIN = 0.25  # the run compiles once more what was compiled to measure, and finds most of it kept (measured: 63 s, then 11)
ONE_PASS = 1.25  # passes over the text that still count as one for the n-gram tables
MEMORY_SHARE = 0.7  # of what is free, for one forward and backward pass
MOST_TOKENS = 262_144  # in one forward pass; nothing is gained beyond
EVALUATION_SHARE = 0.01  # of the run's tokens, read at each look at the held-out text (forward only, a third of the cost)
# peak learning rates by the model's width. AdamW's: size trials in docs/measurements.md; Lion's a fifth (Chen et al.
# 2023 advise 3 to 10 times less); Adafactor's is relative to the weights; SGD's is for a loss summed over a batch once
RATES: dict[str, Callable[[int], float]] = {
    "adamw": presets.adamw_rate,
    "adam": presets.adamw_rate,
    "muon": lambda width: 3e-3 * (256 / width) ** 0.5,
    "lion": lambda width: min(1.2e-3, 6e-4 * 256 / width),
    "adafactor": lambda width: 1e-2,
    "sgd": lambda width: 0.1,
}  # fmt: skip
# Norms after the sums want a lower rate: at width 128 and 250 steps bert, gpt1 and transformer learn at 7e-4 and stand still at 2e-3
# and 6e-3 (docs/journal.md); a quarter is 2.5e-4 at width 768, which is GPT-1's own
POST_NORM, POST_NORM_MOST = 0.25, 7e-4
PARTS = set(Model.model_fields) - {"like", "family", "dropout"}


def ngram_rows(vocabulary: int, width: int) -> tuple[int, ...]:
    """Tables of the fast family: of characters or bytes two to five in a row, of word pieces two and three in a row; each
    as many rows as 2^24 or 2^25 numbers hold, a power of two. Tried in docs/measurements.md."""
    if vocabulary <= 512:
        return (2 ** int(math.log2(2**24 / width)),) * 4
    return (2 ** int(math.log2(2**25 / width)),) * 2


@dataclass
class Derivation:
    """Reasons collected on the way."""

    reasons: list[str] = field(default_factory=list)
    quiet: bool = False

    def because(self, sentence: str) -> None:
        """Keep a reason and print it."""
        self.reasons.append(sentence)
        if not self.quiet:
            say(f"  {sentence}")


def plan(run: Run, tokenizer: Stage, tokens: Stage) -> Stage:
    """The plan stage (folder `plan`): plan.json with the model, the batch, the steps and the reasons.

    Raises GroundupError where the text is shorter than one context.
    """
    recipe = run.recipe
    depends = {
        "model": recipe.model.model_dump(),
        "training": recipe.training.model_dump(exclude={"keep_checkpoints", "checkpoint_seconds", "loader_threads"}),
        "weights": recipe.weights,
    }
    stage = run.stage("plan", "plan", depends=depends, inputs={"tokenizer": tokenizer.digest, "tokens": tokens.digest})
    if stage.done:
        return stage
    shards = read_json(tokens.final / "shards.json")
    say("plan:")
    result = derive(recipe, vocabulary=shards["vocabulary"], train_tokens=shards["train"]["tokens"], machine=hardware.measure(), processes=started())
    result["reasons"] += _passes(recipe, shards["train"]["sources"], result["tokens"])
    write_json(stage.work / "plan.json", result)
    stage.finish({"parameters": result["parameters"], "steps": result["steps"]})
    return stage


def _passes(recipe: Recipe, sources: dict[str, dict[str, int]], tokens: int) -> list[str]:
    """How often a mixture sees each source, with a warning where that is too often."""
    if recipe.weights is None:
        return []
    notes, whole = Derivation(), sum(recipe.weights.values())
    for name, one in sources.items():
        passes = tokens * recipe.weights[name] / whole / max(1, one["tokens"])
        often = "; beyond 4 a pass is worth ever less (Muennighoff et al. 2023)" if passes > 4 else ""
        notes.because(f"source {name}: {100 * recipe.weights[name] / whole:.1f} % of the tokens, {passes:.2f} passes{often}")
    return notes.reasons


def derive(recipe: Recipe, *, vocabulary: int, train_tokens: int, machine: dict[str, Any], processes: int = 1) -> dict[str, Any]:
    """What plan.json holds, from the recipe, the counted tokens and the measured machine. Raises RequestError where the model and
    the batch cannot be laid out over so many processes as the recipe says."""
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
    task = task_of(config, training)
    if recipe.dialogue is not None and config.kind != "decoder":
        raise RequestError(
            f"a model of the {config.family} family ({config.kind}) holds no conversation", where="dialogue", do="Leave the dialogue section out."
        )
    optimizer = _optimizer(training, config, notes)
    if processes > 1 and training.steps is None:
        raise RequestError("a run on several processes has no measured speed to plan minutes by", where="training.minutes", do="Set training.steps.")
    shapes = _batches(recipe, config, train_tokens, precision, notes, processes)
    made = layout(recipe.parallel, config, [BatchPhase(1, context, rows, parts) for _, context, rows, parts in shapes], processes)
    mean_tokens = 1 / sum(share / (rows * parts * context) for share, context, rows, parts in shapes)
    estimate = budget_seconds or (training.steps or 0) * mean_tokens * training_flops_per_token(config) / (SUSTAINED_SHARE * peak)
    compiles = training.compile
    if not compilable(config):
        compiles = False
        notes.because(f"torch.compile off: the {config.family} family runs eager")
    elif made.recompute != "none":
        compiles = False
        notes.because("torch.compile off: layers are computed again")
    elif compiles == "auto":
        compiles = machine["compiler"] is not None and estimate >= COMPILE_PAYS_AFTER_SECONDS
        notes.because(
            f"torch.compile {'on' if compiles else 'off'}: about {estimate / 60:.1f} minutes of training, it pays from {COMPILE_PAYS_AFTER_SECONDS // 60}"
        )
    # what the largest pass needs, before any is tried
    _, wide, rows, parts = max(shapes, key=lambda shape: shape[1] * shape[2])
    extra = here.check_fits(config, made, rows, wide, max(1, parts // made.dp), precision=precision, optimizer=training.optimizer, compiles=bool(compiles))
    predicted_memory = here.memory_gib(extra)
    rate = None
    if training.steps is not None:
        total = training.steps * mean_tokens
    else:
        # seconds a token, over the phases by their shares
        speeds = [
            tokens_per_second(
                config, rows, context, parts, precision, optimizer, compiles=bool(compiles), seconds=min(6.0, 0.02 * (budget_seconds or 0)),
            )
            for _, context, rows, parts in shapes
        ]  # fmt: skip
        rate = 1 / sum(shape[0] / speed for shape, (speed, _) in zip(shapes, speeds, strict=True))
        notes.because(
            f"measured {rate:,.0f} tokens/s ({100 * rate * training_flops_per_token(config) / peak:.0f} % of {peak / 1e9:,.0f} GFLOP/s)"
        )
        assert budget_seconds is not None
        looking = training.evaluations * EVALUATION_SHARE / 3
        compiling = (1 + COMPILE_AGAIN) * sum(seconds for _, seconds in speeds) if compiles else 0.0
        if compiles:
            notes.because(f"compiling takes {compiling:.0f} s of them")
        wanted = max(0.5 * budget_seconds, budget_seconds - compiling) * rate / (1 + looking)
        most = training.max_epochs * train_tokens
        total = min(wanted, most)
    phases = [
        BatchPhase(max(1, round(share * total / (context * rows * parts))), context, rows, parts) for share, context, rows, parts in shapes
    ]
    if training.steps is not None and len(phases) == 1:
        phases = [BatchPhase(training.steps, *shapes[0][1:])]
    steps = sum(phase.steps for phase in phases)
    tokens = sum(phase.steps * phase.tokens for phase in phases)
    seconds = None if processes > 1 else tokens / rate if rate is not None else _seconds(config, phases, precision, optimizer, made.recompute, peak)
    predicted_memory = max(predicted_memory, here.memory_gib(0))  # the run goes on in a process that keeps what trying took
    if seconds is not None:
        notes.because(f"it takes about {seconds / 60:.1f} minutes and {predicted_memory:.2f} GiB of memory")
    if training.steps is None:
        limit = f"{training.max_epochs:g} passes over {train_tokens:,} tokens" if most < wanted else f"{(budget_seconds or 0) / 60:g} minutes"
        notes.because(f"{steps:,} steps, {tokens:,} tokens: {limit} ({tokens / train_tokens:.1f} passes)")
    if config.ngram_rows:
        sparse = training.sparse_learning_rate or (0.1 if tokens <= ONE_PASS * train_tokens else 0.01)
        optimizer = replace(optimizer, sparse_learning_rate=sparse)
        notes.because(f"n-gram tables learn at {sparse:g}: what they see again and again they know by heart")
    return {
        "machine": machine,
        "model": config.model_dump(),
        "objective": task,
        "parameters": parameters(config),
        "flops_per_token": training_flops_per_token(config),
        "train_tokens": train_tokens,
        "steps": steps,
        "tokens": tokens,
        "phases": [asdict(phase) for phase in phases],
        "batch_tokens": phases[-1].tokens,
        "micro_batch": phases[-1].rows,
        "micro_batches": phases[-1].micro_batches,
        "optimizer": asdict(optimizer),
        "precision": precision,
        "compile": bool(compiles),
        "peak_gflops": peak / 1e9,
        "predicted_seconds": None if seconds is None else round(seconds, 1),
        "predicted_memory_gib": round(predicted_memory, 3),
        "measured_tokens_per_second": None if rate is None else round(rate, 1),
        "evaluation_tokens": max(4096, int(EVALUATION_SHARE * tokens)),
        "reasons": notes.reasons,
    }


def _seconds(config: ModelConfig, phases: list[BatchPhase], precision: Precision, optimizer: OptimizerSettings, how: str, peak: float) -> float:
    """How long so many steps will take, from passes tried now."""
    total = 0.0
    for phase in phases:
        passes = phase.steps * phase.micro_batches
        pace = here.pace(config, phase.rows, phase.context, precision=precision, settings=optimizer, how=how, peak=peak, sustained=SUSTAINED_SHARE, passes=passes)
        total += pace.run(phase.steps, phase.micro_batches)
    return total


def vocabulary_shape(recipe: Recipe) -> Shape:
    """What a vocabulary's size is weighed by: the model that would be planned for it on this machine."""
    machine, notes = hardware.measure(), Derivation(quiet=True)
    peak = 1e9 * machine["bf16_gflops" if _precision(recipe, machine, notes) == "bf16" else "fp32_gflops"]
    budget_seconds = None if recipe.training.steps else 60.0 * (recipe.training.minutes or 10.0)

    def shape(vocabulary: int, train_tokens: int) -> tuple[int, int]:
        config = _shape(recipe, vocabulary, train_tokens, budget_seconds, peak, notes)
        return matmul_parameters(config) - vocabulary * config.width, config.width

    return shape


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
    preset = presets.named(asked.like, "model.like") if asked.like else None
    family = asked.family or (preset.family if preset else "llama")
    given = {**(preset.model if preset and family == preset.family else {}), **asked.model_dump(include=PARTS, exclude_none=True)}
    given |= {
        "vocabulary": vocabulary, "embedding_dropout": asked.dropout.embedding, "attention_dropout": asked.dropout.attention,
        "residual_dropout": asked.dropout.residual, "dropout_by_depth": asked.dropout.by_depth,
    }  # fmt: skip

    def config(rung: tuple[int, int, int]) -> ModelConfig:
        layers, width, heads = rung
        width = given.get("width", width)
        heads = heads if width == rung[1] else max(1, width // 64)
        settled = {"layers": layers, "width": width, "heads": heads, "context": 256 if width < 512 else 512 if width < 768 else 1024, **given}
        if family == "fast":
            settled.setdefault("ngram_rows", ngram_rows(vocabulary, width))
        return resolved(family, **settled)

    try:
        rungs = [config(rung) for rung in LADDER]
    except ValidationError as error:
        raise RequestError(error.errors()[0]["msg"], where="model", do="Correct the model section.") from None
    if "width" in given and "layers" in given:
        notes.because(f"model as {asked.like or 'the recipe'} says: {given['layers']} layers of width {given['width']}")
        return rungs[0]
    most = recipe.training.max_epochs * train_tokens

    def seen(rung: ModelConfig) -> float:
        """Tokens the budget lets this rung see."""
        if budget_seconds is None:
            assert recipe.training.steps is not None
            asked_tokens = recipe.training.batch_tokens
            return float(recipe.training.steps * (asked_tokens if isinstance(asked_tokens, int) else _default_batch(rung)))
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


def _batches(
    recipe: Recipe, config: ModelConfig, train_tokens: int, precision: Precision, notes: Derivation, processes: int = 1
) -> list[tuple[float, int, int, int]]:
    """(share of the tokens, context, rows a forward pass, micro-batches) of each phase.

    A step is a whole number of micro-batches, never silently another size.
    """
    training = recipe.training
    fits = 0
    if "auto" in (training.batch_tokens, training.micro_batch):
        fits = most_rows(config, precision)
        notes.because(f"the most that fit: {fits} rows of {config.context} tokens in one forward pass")
    if training.batch_tokens == "auto":
        default = fits * config.context
    else:
        default = training.batch_tokens or min(_default_batch(config), max(config.context, train_tokens // 20))
    shapes: list[tuple[float, int, int, int]] = []
    begin = 0.0
    for number, phase in enumerate(training.phases or [Phase(until=1.0)]):
        tokens, context = phase.batch_tokens or default, phase.context or config.context
        where = f"training.phases.{number}" if training.phases else "training"
        if config.context % context:
            raise RequestError(f"a phase's context of {context} is no divisor of the model's {config.context}", where=where, do="Set it to one.")
        windows = max(1, tokens // config.context)
        if (phase.batch_tokens or training.batch_tokens) and tokens % config.context:
            raise RequestError(
                f"batch_tokens {tokens} is no multiple of the context {config.context}", where=where,
                do=f"Set it to {windows * config.context} or {(windows + 1) * config.context}.",
            )
        rows = windows * config.context // context
        least = config.context // context  # a forward pass reads whole windows
        if isinstance(training.micro_batch, int):
            micro = training.micro_batch
        else:
            limit = max(1, fits * config.context // context) if fits else max(1, 16_384 // context)
            fitting = [row for row in range(1, rows + 1) if rows % row == 0 and row % least == 0 and row <= limit] or [least]
            # each process wants as many micro-batches, a pipeline some to be filled with
            wide, deep = processes // (recipe.parallel.tp * recipe.parallel.pp), 2 * recipe.parallel.pp if recipe.parallel.pp > 1 else 1
            shared = [row for row in fitting if rows // row % (wide * deep) == 0] or [row for row in fitting if rows // row % wide == 0]
            micro = max(shared or fitting)
        if rows % micro or micro % least:
            raise RequestError(
                f"{rows} rows a step do not divide into micro-batches of {micro}", where="training.micro_batch",
                do=f"Set it to a divisor of {rows}" + (f" that is a multiple of {least}." if least > 1 else "."),
            )
        notes.because(f"a step sees {rows * context:,} tokens: {rows // micro} x {micro} rows of {context}")
        shapes.append((phase.until - begin, context, micro, rows // micro))
        begin = phase.until
    return shapes


def _optimizer(training: Training, config: ModelConfig, notes: Derivation) -> OptimizerSettings:
    """The optimizer with its peak rates, falling with the width as the step of a matrix's entries should (muP, Yang et
    al. 2022)."""
    carried = config.init == "mup" and training.optimizer != "muon"
    hidden = config.base_width / config.width if carried else 1.0
    usual = RATES[training.optimizer](config.base_width if carried else config.width)
    own = training.optimizer in ("adamw", "adam", "lion") or config.kind == "permutation"  # whose attention is nothing for Muon
    if config.norm_place == "post" and config.residual != "deepnet" and own:
        usual *= min(POST_NORM, POST_NORM_MOST / RATES["adamw"](config.width))
    rate = training.learning_rate or round(usual, 6)
    normalised = config.embedding_norm and not config.tied
    factor = training.embedding_factor or (30.0 if normalised and training.optimizer in ("adamw", "adam", "muon", "lion") else 1.0)
    both = f", {training.matrix_learning_rate:g} for matrices" if training.optimizer == "muon" else ""
    notes.because(f"{training.optimizer} with a peak learning rate of {rate:g}{both} at width {config.width}" + (f", the layers' {hidden:g} of it (muP)" if carried else ""))
    return OptimizerSettings(
        name=training.optimizer, learning_rate=rate, matrix_learning_rate=training.matrix_learning_rate, embedding_factor=factor,
        hidden_factor=hidden, betas=training.betas, eps=training.eps, momentum=training.momentum, weight_decay=training.weight_decay,
    )  # fmt: skip


def tokens_per_second(
    config: ModelConfig, rows: int, context: int, parts: int, precision: Precision, settings: OptimizerSettings, *, compiles: bool,
    seconds: float = 6.0,
) -> tuple[float, float]:
    """Tokens a second of real training steps on random tokens, the median of a few after warming up; and the seconds that
    the first step took longer than the others: compiling, where it compiles."""
    pace, compiling = here.timed(config, rows, context, precision, settings, compiles=compiles, seconds=seconds)
    return parts * rows * context / pace.run(1, parts), compiling


def most_rows(config: ModelConfig, precision: Precision) -> int:
    """The most rows, a power of two, of which one forward and backward pass fits into memory; found by trying.

    Each try takes twice the rows of the last, and only if the memory that the last one took says it fits. Raises
    GroundupError where not even one row fits.
    """
    model, objective = build(config, seed=0), measured_objective(config)
    rows, taken = 1, 0
    while True:
        free = psutil.virtual_memory().available
        if (rows > 1 and 2 * taken > MEMORY_SHARE * free) or rows * config.context > MOST_TOKENS:
            return rows // 2
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        try:
            with autocast(precision):
                sums = objective(model, random_batch(config, rows, config.context))
            sums.loss_sum.backward()  # type: ignore[no-untyped-call]
        except (MemoryError, RuntimeError) as error:
            if "memory" not in str(error) and not isinstance(error, MemoryError):
                raise
            if rows == 1:
                raise GroundupError("not even one row fits into memory", where="plan", do="Set a smaller model or context.") from None
            return rows // 2
        model.zero_grad(set_to_none=True)
        taken = max(2 * taken, 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before))
        rows *= 2
