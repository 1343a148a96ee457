"""What a run folder says about its build, read once and forgivingly: what is not there yet is empty, never an error.

A stage counts only while it belongs to the stages before it. When a recipe was changed and the build stopped half-way,
the folders of later stages still hold the old build's results; each manifest names the digests of its inputs, so they
are recognised and left out:

    clean (new)  ->  tokenizer (new)  ->  tokens (of the old tokenizer: left out)  ->  evaluate (left out with it)

A step that was logged twice, because a build was killed and went on from a checkpoint, counts as it was logged last.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from groundup.run import Run, read_json

STAGES = {
    "collect": "corpus/collected",
    "clean": "corpus/clean",
    "tokenizer": "tokenizer",
    "tokens": "tokens",
    "plan": "plan",
    "pretrain": "checkpoints",
    "tune": "dialogue",
    "evaluate": "evaluation",
}
"""Folder of each stage, in the order of the build."""


@dataclass(frozen=True)
class Curve:
    """What one training stage logged, by step."""

    rows: list[dict[str, Any]]
    """`train` lines: step, loss, learning_rate, gradient_norm, ..."""
    looks: list[dict[str, Any]]
    """`evaluation` lines: step and figures."""

    def points(self, name: str, *, looks: bool = False) -> tuple[list[int], list[float]]:
        """Steps and values of one field, where it is there."""
        chosen = [line for line in (self.looks if looks else self.rows) if line.get(name) is not None]
        return [line["step"] for line in chosen], [float(line[name]) for line in chosen]


@dataclass(frozen=True)
class Material:
    """Everything the report is made of."""

    name: str
    stages: dict[str, dict[str, Any]]
    """Manifests of the finished stages that belong together, in the order of the build."""
    expected: list[str]
    """Stages that the recipe asks for."""
    funnel: dict[str, Any]
    tokenizer: dict[str, Any]
    shards: dict[str, Any]
    plan: dict[str, Any]
    results: dict[str, Any]
    pretrain: Curve
    finished_at: float | None
    """When the last stage ended (seconds since 1970), as logged."""

    @classmethod
    def of(cls, run: Run) -> Material:
        """Read a run folder."""
        stages, outdated = _stages(run)

        def content(stage: str, file: str) -> dict[str, Any]:
            path = run.path / STAGES[stage] / file
            found: dict[str, Any] = read_json(path) if stage in stages and path.is_file() else {}
            return found

        ends = [line["time"] for line in run.events("stage") if "time" in line]
        return cls(
            name=run.recipe.name,
            stages=stages,
            expected=[stage for stage in STAGES if stage != "tune" or run.recipe.dialogue is not None],
            funnel=content("clean", "funnel.json"),
            tokenizer=content("tokenizer", "report.json"),
            shards=content("tokens", "shards.json"),
            plan=content("plan", "plan.json"),
            results=content("evaluate", "results.json"),
            pretrain=_curve(run, "pretrain", stages, outdated),
            finished_at=max(ends, default=None),
        )

    def counts(self, stage: str) -> dict[str, Any]:
        """A stage's figures from its manifest; empty when it is not finished."""
        found: dict[str, Any] = self.stages.get(stage, {}).get("counts") or {}
        return found

    def seconds(self) -> dict[str, float]:
        """Seconds each finished stage took.

        A stage that was cut off measures from its last start; training knows its earlier tries and says so.
        """
        return {
            stage: max(manifest.get("seconds") or 0.0, self.counts(stage).get("training_seconds") or 0.0)
            for stage, manifest in self.stages.items()
        }

    @property
    def missing(self) -> list[str]:
        """Stages the recipe asks for that are not finished."""
        return [stage for stage in self.expected if stage not in self.stages]


def _stages(run: Run) -> tuple[dict[str, dict[str, Any]], dict[str, dict[str, Any]]]:
    """(manifests that belong together, manifests left over from another recipe or other inputs)."""
    current: dict[str, dict[str, Any]] = {}
    outdated: dict[str, dict[str, Any]] = {}
    for stage, folder in STAGES.items():
        manifest = run.manifest(folder)
        if manifest is None:
            continue
        inputs = manifest.get("inputs") or {}
        changed = any(
            name in current and current[name].get("digest") != digest for name, digest in inputs.items()
        )
        (outdated if changed or any(name in outdated for name in inputs) else current)[stage] = manifest
    return current, outdated


def _curve(
    run: Run, stage: str, stages: dict[str, dict[str, Any]], outdated: dict[str, dict[str, Any]]
) -> Curve:
    """The lines of a training stage: of the finished one, else of the one at work."""
    train = [line for line in run.events("train") if line.get("stage") == stage and "step" in line]
    looks = [line for line in run.events("evaluation") if line.get("stage") == stage and "step" in line]
    newest = train[-1].get("key") if train else None
    key = stages[stage].get("key") if stage in stages else newest
    if key is not None and stage in outdated and outdated[stage].get("key") == key:
        return Curve([], [])
    return Curve(last_of_each_step(train, key), last_of_each_step(looks, key))


def last_of_each_step(lines: list[dict[str, Any]], key: str | None) -> list[dict[str, Any]]:
    """The lines of a stage's key, each step's as it was logged last."""
    by_step = {line["step"]: line for line in lines if line.get("key") == key}
    return [by_step[step] for step in sorted(by_step)]
