"""The figures of a build for a program: `groundup report RUN --json` prints exactly this."""

from __future__ import annotations

import statistics
from typing import Any

from groundup.report.material import STAGES, Material
from groundup.run import Run

SCALES = (
    "bits_per_byte",
    "perplexity_per_token",
    "held_out_bytes",
    "held_out_tokens",
    "window_tokens",
    "stride_tokens",
)


def figures(run: Run) -> dict[str, Any]:
    """All figures of a run. The keys are always the same; what is not finished or not asked for is None.

    `share_of_peak` is the training rate's floating-point work as a share of `peak_gflops`, the rate of matrix products
    measured on the same machine in the same precision. `seconds_by_stage` names every stage; an unfinished one is None.
    """
    return of(Material.of(run))


def of(material: Material) -> dict[str, Any]:
    """The figures of what was read from a run folder."""
    plan, results, shards = material.plan, material.results, material.shards
    pretrain, tune = material.counts("pretrain"), material.counts("tune")
    splits = material.funnel.get("splits") or {}
    train, held_out = splits.get("train") or {}, splits.get("held_out") or {}
    seconds = material.seconds()
    documents = [part["documents"] for part in (train, held_out) if part.get("documents") is not None]
    return {
        "name": material.name,
        **{name: results.get(name) for name in SCALES},
        "objective": results.get("objective"),
        "objective_bits_per_byte": results.get("objective_bits_per_byte"),
        "objective_accuracy": results.get("objective_accuracy"),
        "baselines": results.get("baselines"),
        "quiz": _quiz(results.get("quiz")),
        "tasks": _tasks(results.get("tasks")),
        "documents": sum(documents) if documents else None,
        "train_bytes": train.get("bytes"),
        "train_tokens": (shards.get("train") or {}).get("tokens"),
        "vocabulary": _first(shards.get("vocabulary"), material.tokenizer.get("size")),
        "bytes_per_token": material.tokenizer.get("bytes_per_token"),
        "parameters": plan.get("parameters"),
        "precision": plan.get("precision"),
        "steps": _first(pretrain.get("steps"), plan.get("steps")),
        "batch_tokens": plan.get("batch_tokens"),
        "trained_tokens": pretrain.get("tokens"),
        "final_loss": _first(pretrain.get("final_loss"), _last(material.pretrain.points("loss")[1])),
        "tokens_per_second": _first(
            pretrain.get("tokens_per_second"), _median(material.pretrain.points("tokens_per_second")[1])
        ),
        "share_of_peak": pretrain.get("share_of_peak"),
        "predicted_seconds": plan.get("predicted_seconds"),
        "training_seconds": pretrain.get("training_seconds"),
        "predicted_memory_gib": plan.get("predicted_memory_gib"),
        "peak_memory_gib": pretrain.get("peak_memory_gib"),
        "peak_gflops": plan.get("peak_gflops"),
        "tuning_steps": tune.get("steps"),
        "tuning_final_loss": tune.get("final_loss"),
        "seconds_by_stage": {
            stage: round(seconds[stage], 3) if stage in seconds else None for stage in STAGES
        },
        "seconds_total": round(sum(seconds.values()), 3) if seconds else None,
        "finished_stages": list(material.stages),
    }


def _quiz(quiz: dict[str, Any] | None) -> dict[str, Any] | None:
    """The quiz without its examples."""
    return (
        {name: quiz.get(name) for name in ("questions", "score", "standard_error", "chance")}
        if quiz
        else None
    )


def _tasks(tasks: dict[str, Any] | None) -> dict[str, Any] | None:
    """By model and task, the quoted score; the suites' means."""
    keys = ("metric", "score", "standard_error", "chance", "n", "shots")
    return {
        model: {
            **{row["task"]: {key: row[key] for key in keys} for row in its["rows"]},
            **{suite["suite"]: {"mean": suite["mean"], "standard_error": suite["standard_error"]} for suite in its["suites"]},
        }
        for model, its in tasks.items() if its
    } if tasks else None  # fmt: skip


def _first(*values: Any) -> Any:
    return next((value for value in values if value is not None), None)


def _last(values: list[float]) -> float | None:
    return values[-1] if values else None


def _median(values: list[float]) -> float | None:
    return statistics.median(values) if values else None


def summary(run: Run, found: dict[str, Any]) -> str:
    """A finished build in a few lines for a person."""
    lines = []
    if found.get("bits_per_byte") is not None:
        lines.append(f"held-out text: {found['bits_per_byte']:.3f} bits per byte")
        names = {
            "ngram5_kneser_ney_bits_per_byte": "5-gram, Kneser-Ney", "xz9_bits_per_byte": "xz -9",
            "xz9_primed_bits_per_byte": "xz -9 after the training text",
        }  # fmt: skip
        for key, name in names.items():
            if (value := (found.get("baselines") or {}).get(key)) is not None:
                lines.append(f"  {name}: {value:.3f}")
    if found.get("quiz"):
        one = found["quiz"]
        lines.append(f"quiz: {100 * one['score']:.0f} % +- {100 * one['standard_error']:.0f} of {one['questions']} (chance 25 %)")
    lines.append(f"report: {run.path / 'report.html'}")
    if found.get("bits_per_byte") is not None:
        how = "groundup chat" if run.recipe.dialogue else "groundup generate"
        lines.append(f"go on with: {how} {run.path}" + ("" if run.recipe.dialogue else ' "Once upon a time"'))
    return "\n".join(lines)
