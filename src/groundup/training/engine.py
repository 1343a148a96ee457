"""Who computes a step: one process that has the whole model, several that each have all of it, or many with a part each.

The trainer drives any of them through this; what differs is how gradients come about and where tensors are kept.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from groundup.models.build import Model
from groundup.models.config import ModelConfig
from groundup.tokens.loader import Batches
from groundup.training import checkpoint
from groundup.training.objectives import Batch, Objective, Sums
from groundup.training.optimizers import Optimizers, OptimizerSettings, optimizers
from groundup.training.parallel import World
from groundup.training.precision import Precision, autocast


@dataclass
class Found:
    """What this process's micro-batches came to."""

    sums: dict[str, float] = field(default_factory=dict)
    """`loss` and `weight`, and the objective's metrics."""
    tokens: int = 0
    bad: int | None = None
    """The first micro-batch whose loss was no number."""

    @property
    def mean(self) -> float:
        """The plain cross-entropy, nats a weighted token."""
        return self.sums.get("cross_entropy", self.sums["loss"]) / self.sums["weight"]

    def add(self, part: Sums, batch: Batch, micro: int) -> None:
        """One more micro-batch."""
        for name, value in {"loss": part.loss_sum, "weight": part.weight_sum, **part.metrics}.items():
            self.sums[name] = self.sums.get(name, 0.0) + float(value.detach().double())
        self.tokens += int(batch["read"]) if "read" in batch else batch["tokens"].numel()
        if self.bad is None and not math.isfinite(float(part.loss_sum.detach())):
            self.bad = micro

    def aside(self, part: Sums) -> None:
        """Losses of layers that are not the last: no tokens of their own."""
        for name, value in {"loss": part.loss_sum, **part.metrics}.items():
            self.sums[name] = self.sums.get(name, 0.0) + float(value.detach().double())


def seed_of(seed: int, step: int, micro: int) -> int:
    """Of a micro-batch's draws (what is masked, what is dropped): the same wherever it is computed."""
    return (seed * 1_000_003 + step) * 1_009 + micro


class Engine(Protocol):
    """What the trainer asks for."""

    world: World
    names: list[str]
    parameters: list[nn.Parameter]
    """What the optimizer works on, by name: whole tensors, or this process's parts of them."""
    optimizer: Optimizers

    @property
    def config(self) -> ModelConfig:
        """The model's."""
        ...

    @property
    def model(self) -> Any:
        """What an evaluation is given."""
        ...

    def mode(self, training: bool) -> None:
        """Training, or measuring."""
        ...

    def accumulate(self, batches: Batches, step: int, seed: int) -> Found:
        """Forward and backward of this process's micro-batches of a step."""
        ...

    def gradients(self) -> list[Tensor]:
        """Add up the gradients of all processes; returns what they hold here, for the optimizer's parameters."""
        ...

    def norm(self, gradients: list[Tensor]) -> float:
        """The norm of the whole gradient."""
        ...

    def forget(self) -> None:
        """Drop the gradients."""
        ...

    def save(self, step: int, state: dict[str, Any], average: dict[str, Tensor], *, wait: bool) -> None:
        """Write a checkpoint, all processes together; `wait`: it must be there when this returns."""
        ...

    def settle(self) -> None:
        """Between steps: put checkpoints in place that have meanwhile been written."""
        ...

    def restore(self, path: Path) -> dict[str, Tensor]:
        """Fill parameters and optimizer from a checkpoint; returns the running averages in it."""
        ...

    def keep(self, path: Path) -> None:
        """Take a checkpoint's weights, averaged where it has averages: what the run ends with."""
        ...


class Whole:
    """All of the model on each process; several share the micro-batches and add up their gradients."""

    def __init__(self, model: Model, objective: Objective, settings: OptimizerSettings, precision: Precision, folder: Path) -> None:
        self.world = World.present()
        self.model, self._objective, self._precision, self._folder = model, objective, precision, folder
        self.optimizer = optimizers(model, settings)
        self.optimizer.begin()
        named = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
        self.names, self.parameters = [name for name, _ in named], [parameter for _, parameter in named]

    @property
    def config(self) -> ModelConfig:
        """The model's."""
        return self.model.config

    def mode(self, training: bool) -> None:
        """Training, or measuring."""
        self.model.train(training)

    def accumulate(self, batches: Batches, step: int, seed: int) -> Found:
        """Forward and backward of this process's micro-batches of a step."""
        found = Found()
        for micro in self.world.share(batches.parts(step)):
            batch = batches(step, micro)
            torch.manual_seed(seed_of(seed, step, micro))
            with autocast(self._precision):
                part = self._objective(self.model, batch)
            part.loss_sum.backward()  # type: ignore[no-untyped-call]
            found.add(part, batch, micro)
        return found

    def gradients(self) -> list[Tensor]:
        """All processes' added up; of a sparse one the rows that were touched, each once."""
        if self.world.size > 1:
            for parameter in self.parameters:
                if parameter.grad is None:
                    parameter.grad = torch.zeros_like(parameter)
                elif parameter.grad.is_sparse:
                    parameter.grad = parameter.grad.to_dense()
            self.world.add([parameter.grad for parameter in self.parameters if parameter.grad is not None])
        found = []
        for parameter in self.parameters:
            if parameter.grad is not None:
                if parameter.grad.is_sparse:
                    parameter.grad = parameter.grad.coalesce()
                found.append(parameter.grad.values() if parameter.grad.is_sparse else parameter.grad)
        return found

    def norm(self, gradients: list[Tensor]) -> float:
        """The norm of the whole gradient."""
        return float(torch.nn.utils.get_total_norm(gradients))

    def forget(self) -> None:
        """Drop the gradients."""
        for parameter in self.parameters:
            parameter.grad = None

    def save(self, step: int, state: dict[str, Any], average: dict[str, Tensor], *, wait: bool) -> None:
        """Write a checkpoint: all processes hold the same, the first one writes."""
        if self.world.first:
            checkpoint.save(self._folder, step, self.model, self.model.config, self.optimizer, state, average)
        self.world.wait()

    def settle(self) -> None:
        """Nothing is left over."""

    def restore(self, path: Path) -> dict[str, Tensor]:
        """Fill model and optimizer; returns the running averages."""
        checkpoint.load_parameters(path, self.model)
        checkpoint.load_optimizer(path, self.model, self.optimizer)
        return checkpoint.load_average(path)

    def keep(self, path: Path) -> None:
        """Take a checkpoint's weights."""
        checkpoint.load_parameters(path, self.model)
        checkpoint.use(checkpoint.load_average(path), self.model)



