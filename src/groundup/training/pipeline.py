"""A process's stages of a pipeline, driven by torch's schedules; what is sent between them is told by the model's kind."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.pipelining import PipelineStage, schedules

from groundup.models.config import ModelConfig
from groundup.training.collectives import Group
from groundup.training.layout import Layout, layers_of
from groundup.training.objectives import Batch
from groundup.training.stage import Stage

SCHEDULES: dict[str, Any] = {
    "gpipe": schedules.ScheduleGPipe, "1f1b": schedules.Schedule1F1B, "interleaved-1f1b": schedules.ScheduleInterleaved1F1B,
    "looped-bfs": schedules.ScheduleLoopedBFS, "zero-bubble": schedules.ScheduleInterleavedZeroBubble, "zbv": schedules.ScheduleZBVZeroBubble,
    "dualpipe-v": schedules.ScheduleDualPipeV,
}  # fmt: skip
ROUND = 32  # places that pairs of texts are padded to a multiple of, so that few shapes occur


@dataclass
class Pipeline:
    """The stages on this process, in the order of `layout.stage_indices`."""

    config: ModelConfig
    layout: Layout
    stages: list[Stage]
    group: Group
    """The pipeline ranks of this process's column."""
    device: str
    dtype: torch.dtype
    _schedules: dict[Any, Any] = field(default_factory=dict)
    """By number and shapes of the micro-batches."""

    @property
    def rank(self) -> int:
        """Of this process in its column."""
        return dist.get_rank(self.group)

    def step(self, prepared: list[Batch]) -> None:
        """Forward and backward of a step's micro-batches, which the stages have been given."""
        key = (len(prepared), *(tuple(prepared[0][name].shape) for name in ("tokens", "source") if name in prepared[0]))
        if key not in self._schedules:
            self._schedules[key] = self._schedule(prepared)
        micro = torch.arange(len(prepared))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self._schedules[key].step(target=micro if any(stage.last for stage in self.stages) else None, micro=micro)

    def _schedule(self, prepared: list[Batch]) -> Any:
        """torch's schedule for micro-batches of these shapes."""
        layout = self.layout
        count = layout.pp * layout.stages
        made = []
        for stage, index in zip(self.stages, layout.stage_indices(self.rank), strict=True):
            made.append(
                PipelineStage(
                    stage, index, count, torch.device(self.device), input_args=() if stage.first else self.carried(index, prepared[0]),
                    output_args=torch.zeros(1, requires_grad=True) if stage.last else self.carried(index + 1, prepared[0]), group=self.group,
                )
            )
        kind = SCHEDULES[layout.schedule]
        given = made[0] if layout.schedule in ("gpipe", "1f1b") else made
        return kind(given, n_microbatches=len(prepared), loss_fn=lambda loss, _: loss.sum(), scale_grads=False)

    def carried(self, index: int, batch: Batch) -> tuple[Tensor, ...]:
        """What comes into a stage: tensors of the right shape."""
        B, T = batch["tokens"].shape
        T = T // self.layout.tp if self.layout.sequence else T
        shapes = [(B, T)]
        if self.config.shortcut:
            shapes.append((B, T))
        if self.config.kind == "encoder-decoder":
            begin = self.layout.layers(index, layers_of(self.config)).start
            shapes = [(B, batch["source"].shape[1])] + ([(B, T)] if begin > self.config.layers else [])
        return tuple(torch.zeros(*shape, self.config.width, dtype=self.dtype, requires_grad=True, device=self.device) for shape in shapes)

    def forward(self, batch: Batch) -> None:
        """One micro-batch through all stages, one after the other."""
        count, number = self.layout.pp * self.layout.stages, torch.tensor(0)
        own = dict(zip(self.layout.stage_indices(self.rank), self.stages, strict=True))
        homes = {index: rank for rank in range(self.layout.pp) for index in self.layout.stage_indices(rank)}
        carried: tuple[Tensor, ...] = ()
        for index in range(count):
            here, before = homes[index] == self.rank, index and homes[index - 1] == self.rank
            if index and here and not before:
                carried = tuple(one.detach().contiguous() for one in self.carried(index, batch))
                for one in carried:
                    dist.recv(one, dist.get_global_rank(self.group, homes[index - 1]))
            if index and before and not here:
                for one in carried:
                    dist.send(one.contiguous(), dist.get_global_rank(self.group, homes[index]))
            if here:
                given = own[index](*carried, micro=number)
                carried = given if isinstance(given, tuple) else (given,)


def alike(prepared: list[Batch]) -> list[Batch]:
    """Micro-batches of one shape, which a pipeline wants: pairs of texts are padded."""
    if "source" not in prepared[0]:
        return prepared
    lengths = {side: max(-(-batch[side].shape[1] // ROUND) * ROUND for batch in prepared) for side in ("source", "tokens")}
    return [{name: _padded(name, value, lengths["source" if name.startswith("source") else "tokens"]) for name, value in batch.items()} for batch in prepared]


def _padded(name: str, value: Tensor, length: int) -> Tensor:
    """A tensor of a batch, longer: what is added is of another segment and has no weight."""
    if value.ndim < 2:
        return value
    filler = 1 if name.endswith("segments") else 0
    return nn.functional.pad(value, (0, length - value.shape[1]), value=filler)
