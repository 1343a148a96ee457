"""Random batches and a run of the trainer on them, shared by its tests and the processes they start."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist

from groundup import recipe as recipes
from groundup.models.build import build
from groundup.models.config import ModelConfig
from groundup.run import Run, Stage
from groundup.training import checkpoint
from groundup.training.objectives import Batch, NextToken, Objective, next_token
from groundup.training.optimizers import OptimizerSettings
from groundup.training.schedules import Schedule
from groundup.training.trainer import Settings, Summary, train

RECIPE = recipes.parse({"name": "x", "sources": [{"kind": "files", "path": "here"}]})
SETTINGS = Settings(
    steps=12, seed=5, optimizer=OptimizerSettings(learning_rate=1e-2), schedule=Schedule(warmup=1 / 6), evaluations=3, checkpoint_seconds=1e9,
)  # fmt: skip


@dataclass
class RandomBatches:
    """Rows of random tokens; the same rows whatever the number of micro-batches."""

    config: ModelConfig
    cut: int = 1
    rows: int = 4
    weight: float = 1.0
    fail_at: int | None = None

    def parts(self, step: int) -> int:
        return self.cut

    def __call__(self, step: int, micro: int) -> Batch:
        if step == self.fail_at:
            raise KeyboardInterrupt
        generator = torch.Generator().manual_seed(step)
        tokens = torch.randint(self.config.vocabulary, (self.rows, self.config.context + 1), generator=generator)
        weights = self.weight * (torch.rand(self.rows, self.config.context, generator=generator) < 0.7)
        size = self.rows // self.cut
        part = slice(micro * size, (micro + 1) * size)
        whole = {
            "tokens": tokens[:, :-1], "targets": tokens[:, 1:], "weights": weights.float(),
            "positions": torch.arange(self.config.context).expand(self.rows, -1), "segments": torch.zeros_like(tokens[:, :-1]),
        }  # fmt: skip
        return {name: tensor[part] for name, tensor in whole.items()}


def opened(path: Path) -> Stage:
    path.mkdir(exist_ok=True)
    return Run(path, RECIPE, None).stage("pretrain", "checkpoints", depends={}, inputs={}, keep=True)


def fit(path: Path, batches: RandomBatches, settings: Settings = SETTINGS, objective: Objective = next_token, **arguments: object) -> Summary:
    model = build(batches.config, seed=1)
    return train(model, objective, batches, settings, stage=opened(path), title="pretrain", tokenizer="t", **arguments)  # type: ignore[arg-type]


def work(rank: int, size: int, folder: str, config: str, cut: int, rows: int) -> None:
    """What a process of a parallel run does: train with the others on loopback."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=size, timeout=timedelta(seconds=60))
    try:
        settings = replace(SETTINGS, steps=4, optimizer=OptimizerSettings("sgd", learning_rate=1e-2))
        if rank == 0:
            opened(Path(folder))
        dist.barrier()
        fit(Path(folder), RandomBatches(ModelConfig.model_validate_json(config), cut, rows), settings, NextToken(z_loss=1e-4))
    finally:
        dist.destroy_process_group()
    os._exit(0)  # torch's caches hold the group past its end, and its threads may abort the process while Python takes itself apart


def exact_losses(path: Path) -> list[float]:
    """Of each step so far, as the newest checkpoint's spike guard remembers them: the log rounds."""
    newest = checkpoint.newest(path / ".checkpoints.partial")
    assert newest is not None
    losses: list[float] = checkpoint.read_state(newest)["guard"]["losses"]
    return losses
