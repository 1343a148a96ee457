"""The chain of stages, nothing else: each is skipped when finished and goes on where it was cut off."""

from __future__ import annotations

import math
import resource
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from groundup.corpus.collect import collect
from groundup.corpus.pipeline import clean
from groundup.dialogue import tune as tuning
from groundup.dialogue.chat import ask
from groundup.dialogue.speaker import Speaker
from groundup.evaluation import of_build, quiz
from groundup.evaluation.baselines import baselines
from groundup.evaluation.exam import Paper, item_values
from groundup.evaluation.exam import as_json as rows_and_suites
from groundup.evaluation.intrinsic import bits_per_byte, quick_bits_per_byte
from groundup.evaluation.objective import objective_bits_per_byte
from groundup.generation.engine import Engine
from groundup.generation.sampling import SamplingSettings
from groundup.models.build import Model
from groundup.models.config import ModelConfig
from groundup.planning.budget import plan, vocabulary_shape
from groundup.progress import say
from groundup.report.figures import figures
from groundup.report.page import write as write_report
from groundup.report.words import duration
from groundup.run import Run, Stage, read_json, write_json
from groundup.tokens.documents import texts
from groundup.tokens.encoding import encode
from groundup.tokens.learning import train_tokenizer
from groundup.tokens.loader import Batch, BatchPhase, Loader
from groundup.tokens.shards import TokenShards, TokenSplit
from groundup.tokens.tokenizer import Tokenizer
from groundup.tokens.transforms import of_recipe
from groundup.training import checkpoint
from groundup.training.optimizers import OptimizerSettings
from groundup.training.spread import spread
from groundup.training.task import batches_of, objective_of
from groundup.training.trainer import Settings, train

if TYPE_CHECKING:
    from groundup.training.sharded import Sharded

STAGES = ("collect", "clean", "tokenize", "pretrain", "tune", "evaluate", "report")


def build(run: Run, until: str = "report") -> dict[str, Any]:
    """Build a run up to a stage of STAGES; returns the figures of what is finished."""
    last = STAGES.index(until)
    papers = of_build.papers(run.recipe) if last >= 5 else []  # what is missing is said before the work
    if last >= 4 and run.recipe.dialogue is not None:
        tuning.ready(run.recipe.dialogue)
    papers_on_the_way = of_build.papers(run.recipe, while_training=True) if last >= 3 else []
    collected = collect(run)
    if last >= 1:
        cleaned = clean(run, collected)
    if last >= 2:
        tokenizer = train_tokenizer(run, cleaned, lambda: vocabulary_shape(run.recipe))
        shards = encode(run, cleaned, tokenizer)
    if last >= 3:
        planned = plan(run, tokenizer, shards)
        base = pretrain(run, tokenizer, shards, planned, papers_on_the_way)
    tuned = None
    if last >= 4 and run.recipe.dialogue is not None:
        tuned = tuning.tune(run, base, tokenizer=tokenizer, collected=collected, cleaned=cleaned, plan=planned, shards=shards)
    if run.follows:
        return {}
    if last >= 5:
        evaluate(run, cleaned, tokenizer, shards, planned, base, tuned, papers)
    write_report(run)
    return figures(run)


def tokenised(run: Run) -> tuple[Stage, Stage]:
    """Build up to the tokens; returns the tokenizer's stage and theirs."""
    cleaned = clean(run, collect(run))
    tokenizer = train_tokenizer(run, cleaned, lambda: vocabulary_shape(run.recipe))
    return tokenizer, encode(run, cleaned, tokenizer)


def plan_only(run: Run) -> dict[str, Any]:
    """Build up to the plan; returns what plan.json holds."""
    found: dict[str, Any] = read_json(plan(run, *tokenised(run)).final / "plan.json")
    return found


def pretrain(run: Run, tokenizer: Stage, shards: Stage, planned: Stage, papers: Sequence[Paper] = ()) -> Stage:
    """The pretraining stage (folder `checkpoints`); `papers`: tasks put to the model on the way."""
    recipe = run.recipe
    depends = {
        "training": recipe.training.model_dump(exclude={"minutes", "keep_checkpoints", "checkpoint_seconds", "track", "loader_threads"}),
        "keep_checkpoints": recipe.training.keep_checkpoints,
        "tokens": recipe.tokens.model_dump(include={"packing", "separate_documents", "fill_in_the_middle", "span_corruption"}),
        "weights": recipe.weights,
        "seed": recipe.seed,
    }
    inputs = {"tokens": shards.digest, "tokenizer": tokenizer.digest, "plan": planned.digest}
    stage = run.stage("pretrain", "checkpoints", depends=depends, inputs=inputs, keep=True)
    if stage.done:
        return stage
    settled = read_json(planned.final / "plan.json")
    config = ModelConfig.model_validate(settled["model"])
    data = TokenShards(shards.final)
    held_out = data.split("held-out")
    phases = [BatchPhase(**phase) for phase in settled["phases"]]
    words = Tokenizer.load(tokenizer.final)
    loader = batches_of(config, recipe.training, batches(run, data.split("train"), phases))
    objective = objective_of(config, recipe.training, words)
    settings = Settings.of(
        recipe.training, steps=settled["steps"], optimizer=OptimizerSettings(**settled["optimizer"]), precision=settled["precision"],
        compile=settled["compile"], seed=recipe.seed, phases=tuple((phase.steps, phase.tokens) for phase in phases),
    )  # fmt: skip

    while_training = of_build.WhileTraining(papers, recipe, words, config, settled["steps"])

    def look(model: Model | Sharded, step: int) -> dict[str, Any]:
        if not isinstance(model, Model):
            return measured_together(run, model, held_out, settled)
        if plain(settled):
            quick = quick_bits_per_byte(model, held_out, config.context, settled["evaluation_tokens"], recipe.seed)
            # of several processes the first one asks, the others wait for it at the next step
            return {"bits_per_byte": round(quick, 5), **({} if run.follows else while_training(model, step))}
        found = of_objective(run, model, words, held_out, settled, settled["evaluation_tokens"])
        return {name: round(value, 5) for name, value in found.items() if value is not None}

    summary = train(
        spread(recipe.parallel, config, objective, phases, settings, stage.work), objective, loader, settings, stage=stage, title="pretrain", tokenizer=words.digest, peak_flops=1e9 * settled["peak_gflops"],
        bytes_per_token=data.split("train").bytes_per_token, evaluate=look,
    )  # fmt: skip
    counts = asdict(summary)
    del counts["checkpoint"], counts["seconds"]
    peak = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**30
    took = f"pretrain: {duration(summary.seconds)} and {peak:.2f} GiB at its fullest"
    if settled.get("predicted_seconds") is not None:
        took += f"; planned were {duration(settled['predicted_seconds'])} and {settled['predicted_memory_gib']:.2f} GiB"
    say(took)
    stage.finish({**counts, "training_seconds": summary.seconds, "peak_memory_gib": round(peak, 3)})
    return stage


def measured_together(run: Run, model: Sharded, held_out: TokenSplit, settled: dict[str, Any]) -> dict[str, Any]:
    """Held-out bits per byte by the run's own objective, measured by all processes."""
    training = run.recipe.training
    phase = BatchPhase(1, model.config.context, settled["micro_batch"])
    source = batches_of(model.config, training, batches(run, held_out, [phase], mixed=False))
    steps = max(1, settled["evaluation_tokens"] // phase.tokens)
    found = model.measure(source, steps, run.recipe.seed)
    return {"objective_bits_per_byte": round(found.mean / math.log(2) / held_out.bytes_per_token, 5)}


def plain(settled: dict[str, Any]) -> bool:
    """Whether the plan's model is a left-to-right one, whose bits per byte compare with everything's."""
    return str(settled.get("objective", "next-token")) == "next-token"


def of_objective(run: Run, model: Model, words: Tokenizer, held_out: TokenSplit, settled: dict[str, Any], tokens: int) -> dict[str, Any]:
    """The model's figures on its own objective, over about so many held-out tokens."""
    training = run.recipe.training
    phase = BatchPhase(1, model.config.context, settled["micro_batch"])
    source = batches_of(model.config, training, batches(run, held_out, [phase], mixed=False))
    objective = objective_of(model.config, training, words)
    return objective_bits_per_byte(model, objective, source, max(1, tokens // phase.tokens), held_out.byte_lengths, run.recipe.seed)


def batches(run: Run, split: TokenSplit, phases: list[BatchPhase], *, mixed: bool = True) -> Loader:
    """The rows of text that a recipe asks for; `mixed`: its sources by their weights."""
    wish = run.recipe.tokens
    return Loader(
        split, phases, run.recipe.seed, packing=wish.packing if mixed else "best-fit", weights=run.recipe.weights if mixed else None, separate=wish.separate_documents,
        transform=of_recipe(wish, split.special),
    )  # fmt: skip


def look_at_batch(run: Run, split: TokenSplit, step: int) -> Batch:
    """The first micro-batch of a step, by the run's plan; before there is one, of eight rows of 64 places."""
    path = run.path / "plan" / "plan.json"
    phases = [BatchPhase(**phase) for phase in read_json(path)["phases"]] if path.is_file() else [BatchPhase(1, run.recipe.model.context or 64, 8)]
    return batches(run, split, phases)(step, 0)


def evaluate(run: Run, cleaned: Stage, tokenizer: Stage, shards: Stage, planned: Stage, base: Stage, tuned: Stage | None, papers: Sequence[Paper]) -> Stage:
    """The evaluation stage (folder `evaluation`): results.json; items.json with what each item of the tasks got."""
    wish, questions = run.recipe.evaluation, run.recipe.dialogue.questions if run.recipe.dialogue else []
    stage = run.stage(
        "evaluate", "evaluation",
        depends={"evaluation": wish.model_dump(exclude={"while_training", "data", "own_tasks"}), "asked": of_build.content(papers), "questions": questions, "seed": run.recipe.seed},
        inputs={
            "clean": cleaned.digest, "tokens": shards.digest, "tokenizer": tokenizer.digest, "pretrain": base.digest,
            "tune": tuned.digest if tuned else "",
        },
    )  # fmt: skip
    if stage.done:
        return stage
    words = Tokenizer.load(tokenizer.final)
    held_out = TokenShards(shards.final).split("held-out")
    model = load(base, words)
    context = model.config.context
    settled = read_json(planned.final / "plan.json")
    results: dict[str, Any] = {"objective": settled.get("objective", "next-token"), "bits_per_byte": None, "baselines": None}
    if plain(settled):
        say("evaluate: bits per byte of the held-out text")
        results |= bits_per_byte(model, held_out, context, max(1, round(wish.stride * context)))
    else:
        say(f"evaluate: held-out text by the model's own objective, {results['objective']}")
        results |= of_objective(run, model, words, held_out, settled, max(settled["evaluation_tokens"], len(held_out.tokens)))
    if wish.baselines and plain(settled):
        say("evaluate: baselines on the same bytes")
        results["baselines"] = baselines(texts(cleaned.final, "train"), texts(cleaned.final, "held-out"))
    engine = Engine(model, words)
    speaker = Speaker.at(tuned.final) if tuned else None
    engine_tuned = speaker.engine() if speaker else None
    template = speaker.template if speaker else None
    results["samples"] = samples(engine, engine_tuned, wish.prompts or openings(held_out, words), run.recipe.seed)
    results["answers"] = ask(engine, (engine_tuned, template) if engine_tuned and template else None, questions)
    results["quiz"] = None
    if speaker is not None and engine_tuned is not None and template is not None and wish.quiz_questions:
        say("evaluate: the quiz")
        asked = quiz.questions(tuning.definitions(run.path / "dialogue"), wish.quiz_questions, run.recipe.seed)
        results["quiz"] = quiz.quiz(
            engine_tuned.model, speaker.words, asked, lambda signature: tuning.quiz_prompt(template, signature), context
        )
    results["tasks"] = tasks(run, papers, {"base": engine.model, "tuned": engine_tuned.model if engine_tuned else None}, words, cleaned, stage)
    write_json(stage.work / "results.json", results)
    stage.finish({"bits_per_byte": results["bits_per_byte"], "quiz_score": (results["quiz"] or {}).get("score")})
    return stage


def tasks(run: Run, papers: Sequence[Paper], models: dict[str, Model | None], words: Tokenizer, cleaned: Stage, stage: Stage) -> dict[str, Any] | None:
    """What the models got in the recipe's tasks, `base` and `tuned`; None where there are none."""
    if not papers:
        return None
    there = {name: model for name, model in models.items() if model is not None}
    seconds = run.recipe.evaluation.seconds
    marked = {}
    for name, model in there.items():
        say(f"evaluate: tasks, {name} model")
        share = seconds / len(there) if seconds else None
        marked[name] = of_build.put(papers, model, words, run.recipe, name, share, lambda: texts(cleaned.final, "train"))
    write_json(stage.work / "items.json", {name: item_values(its) for name, its in marked.items()})
    return {name: rows_and_suites(marked[name]) if name in marked else None for name in models}


def load(stage: Stage, words: Tokenizer) -> Model:
    """The model of a finished pretraining stage."""
    path = checkpoint.newest(stage.final)
    assert path is not None, f"{stage.final} holds no whole checkpoint"
    return checkpoint.load_model(path, words.digest)


def openings(held_out: TokenSplit, words: Tokenizer, count: int = 3, length: int = 24) -> list[str]:
    """The first words of the longest held-out documents, to be gone on from."""
    longest = sorted(range(len(held_out.starts)), key=lambda number: (-len(held_out.document(number)), number))[:count]
    return [words.decode(held_out.document(number)[:length].tolist()) for number in longest]


def samples(base: Engine, tuned: Engine | None, prompts: list[str], seed: int) -> list[dict[str, str | None]]:
    """How the models go on from each prompt, before and after tuning."""
    settings = SamplingSettings(temperature=0.8, top_p=0.95, seed=seed, max_tokens=100)
    before = base.generate_many(prompts, settings)
    after = tuned.generate_many(prompts, settings) if tuned else [None] * len(prompts)
    return [
        {"prompt": prompt, "base": one[0].text, "tuned": other[0].text if other else None}
        for prompt, one, other in zip(prompts, before, after, strict=True)
    ]
