"""A model spread over processes by a layout: it computes what one process would, each process a part.

Built from the outside in the order of the model's own parameters, so that no process ever holds more than one layer
whole: layers of other stages are left out, matrices are cut over tp, experts given out over ep, and FSDP2 shards the
rest over dp (ZeRO). Every weight starts from the very number it starts from on one process.

An optimizer works on the local part of each parameter, a plain tensor; Muon, which needs whole matrices, gathers them.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor

from groundup.errors import GroundupError
from groundup.models.build import CLASSES
from groundup.models.config import ModelConfig
from groundup.models.parts.block import Absent
from groundup.models.parts.moe import MixtureOfExperts
from groundup.progress import say
from groundup.tokens.loader import Batches
from groundup.training.collectives import Group, all_reduce
from groundup.training.engine import Found, seed_of
from groundup.training.experts import exchanged_work
from groundup.training.layout import Layout, layers_of
from groundup.training.objectives import Batch, Objective
from groundup.training.optimizers import OptimizerSettings, optimizers
from groundup.training.parallel import World
from groundup.training.parts import Part
from groundup.training.pipeline import Pipeline, alike
from groundup.training.precision import Precision
from groundup.training.sharded_checkpoint import Saving, load
from groundup.training.stage import (
    Stage,
    connect,
    cut_along_time,
    fill_tables,
    home_of,
    layer_of,
    leave_out,
    left_by_layer,
    recompute,
)
from groundup.training.tensor_parallel import TensorParallel, apart

logging.getLogger("torch.distributed.tensor._redistribute").setLevel(logging.ERROR)  # it warns of how FSDP and tp share a dimension


class Sharded:
    """The model's stages on this process, and the sums over all processes that training needs: an `Engine`."""

    def __init__(
        self, config: ModelConfig, objective: Objective, layout: Layout, weights: Iterable[tuple[str, Tensor]], settings: OptimizerSettings, folder: Path,
        *, precision: Precision = "fp32", asynchronous: bool = False, device: str = "cpu", dtype: torch.dtype = torch.float32,
    ) -> None:  # fmt: skip
        """`weights`: by name, in the model's own order, as `initial_values` gives them; each is held for a moment only. `folder`: of
        the checkpoints; `asynchronous`: they are written while training goes on."""
        assert dist.get_world_size() == layout.world
        self.config, self.objective, self.layout, self.precision, self.device, self.dtype = config, objective, layout, precision, device, dtype
        self.mesh = mesh_of(layout, device)
        self.pp_rank, self.tp_rank = self.mesh["pp"].get_local_rank(), self.mesh["tp"].get_local_rank()
        shards = layout.dp // layout.replicate
        self.dp_rank = self.mesh["replicate"].get_local_rank() * shards + self.mesh["outer"].get_local_rank() * layout.ep + self.mesh["ep"].get_local_rank()
        self.tensor = TensorParallel(self.mesh["tp"], layout.sequence) if layout.tp > 1 else None
        self.groups = {"pp": self.mesh["pp"].get_group(), "tp": self.mesh["tp"].get_group()}
        self.stages = self._build(weights)
        self.pipeline = Pipeline(config, layout, self.stages, self.groups["pp"], device, dtype)
        self.parts = list(self._parts())
        self._shared = self._shared_names()
        spread = {part.parameter: part for part in self.parts if part.local is not part.parameter}
        self.optimizer = optimizers([stage.model for stage in self.stages], settings, spread)
        learning = [part for part in self.parts if part.parameter.requires_grad]
        self.names, self.parameters = [part.name for part in learning], [part.local for part in learning]
        self.world = World.present()
        self._folder, self._asynchronous = folder, asynchronous
        self._writers = dist.new_group(backend="gloo")
        self._saving: Saving | None = None

    # what it is built of

    def _build(self, weights: Iterable[tuple[str, Tensor]]) -> list[Stage]:
        layout, total, count = self.layout, layers_of(self.config), self.layout.pp * self.layout.stages
        stages = []
        for index in layout.stage_indices(self.pp_rank):
            with torch.device("meta"):
                model = CLASSES[self.config.kind](self.config)
            for module in model.modules():  # tables that are no parameters
                for name, buffer in module.named_buffers(recurse=False):
                    if buffer.is_meta:
                        module._buffers[name] = None
            model.to(self.dtype)
            first, last = index == 0, index == count - 1
            leave_out(model, layout.layers(index, total), first=first, last=last)
            self._give_out_experts(model)
            stages.append(Stage(model, self.objective, self.precision, first=first, last=last))
        self._fill(stages, weights)
        for stage in stages:
            if layout.pp > 1:
                connect(stage, self.config, self.tensor)
            elif self.tensor is not None and self.tensor.sequence:
                cut_along_time(stage, self.tensor, first=True, last=True)
            if layout.zero:
                self._shard(stage, last=True)
        return stages

    def _fill(self, stages: list[Stage], weights: Iterable[tuple[str, Tensor]]) -> None:
        """Give the stages their weights, layer by layer: as each is whole it is cut and sharded."""
        wanted = [{name: home_of(stage.model, name) for name, _ in stage.model.named_parameters()} for stage in stages]
        left = [left_by_layer(stage.model) for stage in stages]
        for name, value in weights:
            for stage, own, waiting in zip(stages, wanted, left, strict=True):
                if name not in own:
                    continue
                module, attribute = own[name]
                module.register_parameter(attribute, nn.Parameter(value.to(self.dtype).to(self.device, copy=True)))
                layer = layer_of(name)
                if layer is None:
                    continue
                waiting[layer].discard(name)
                if not waiting[layer]:
                    self._finish_layer(stage, layer)
        for stage in stages:
            if self.tensor is not None:
                self.tensor.cut_around(stage.model)
            fill_tables(stage.model, self.config, self.device, self.dtype)

    def _finish_layer(self, stage: Stage, name: str) -> None:
        layer = stage.model.get_submodule(name)
        apart(layer)
        if self.tensor is not None:
            self.tensor.cut_layer(layer, f"{name}.")
        recompute(layer, self.layout.recompute)
        if self.layout.zero:
            experts = [module for module in layer.modules() if isinstance(module, MixtureOfExperts)]
            if self.layout.ep > 1 and self.mesh["outer"].size() > 1:
                for one in experts:
                    held = [expert for expert in one.experts if not isinstance(expert, Absent)]
                    self._fully(held, self.mesh["replicate", "outer"] if self.layout.replicate > 1 else self.mesh["outer"])
            self._shard(layer, last=False)

    def _shard(self, module: nn.Module, *, last: bool) -> None:
        ignored = set()
        if self.layout.ep > 1 and self.mesh["outer"].size() == 1:  # each expert is in one place: nothing to shard
            ignored = {p for one in module.modules() if isinstance(one, MixtureOfExperts) for p in one.experts.parameters()}
        self._fully(module, self._dp_mesh(), ignored=ignored, root=last)

    def _fully(self, module: Any, mesh: DeviceMesh, *, ignored: set[Any] | None = None, root: bool = False) -> None:
        fully_shard(module, mesh=mesh, reshard_after_forward=self.layout.zero == 3 and not root, ignored_params=ignored or None)
        for one in module if isinstance(module, list) else [module]:
            if isinstance(one, FSDPModule):
                one.set_gradient_divide_factor(1.0)
                one.set_force_sum_reduction_for_comms(True)

    def _dp_mesh(self) -> DeviceMesh:
        """What FSDP shards over, whole copies first."""
        shard = self.mesh["shard"] if self.layout.ep > 1 else self.mesh["outer"]
        if self.layout.replicate == 1:
            return shard
        return self.mesh["replicate", "shard"] if self.layout.ep > 1 else self.mesh["replicate", "outer"]

    def _give_out_experts(self, model: nn.Module) -> None:
        """Keep own experts; `work` sends tokens to where theirs are."""
        ep = self.layout.ep
        if ep == 1:
            return
        group, rank = self.mesh["ep"].get_group(), self.mesh["ep"].get_local_rank()
        for module in model.modules():
            if isinstance(module, MixtureOfExperts):
                each = len(module.experts) // ep
                for number in range(len(module.experts)):
                    if number // each != rank:
                        module.experts[number] = Absent()
                module.work = partial(exchanged_work, module, group, each)  # type: ignore[method-assign]

    # its parameters

    def _parts(self) -> Iterator[Part]:
        world = self.layout.world
        holders: dict[str, int] = {}
        everyone: list[list[str]] = [[] for _ in range(world)]
        mine = [name for stage in self.stages for name, _ in stage.model.named_parameters()]
        dist.all_gather_object(everyone, mine)
        for names in everyone:
            for name in names:
                holders[name] = holders.get(name, 0) + 1
        self.everyone = everyone
        for stage in self.stages:
            for name, parameter in stage.model.named_parameters():
                if isinstance(parameter, DTensor):
                    mesh, places = parameter.device_mesh, parameter.placements
                    cuts = 1
                    for dim, place in enumerate(places):
                        cuts *= 1 if place.is_replicate() else mesh.size(dim)
                    local = nn.Parameter(parameter.to_local().detach(), requires_grad=parameter.requires_grad)
                    yield Part(name, parameter, local, holders[name] // cuts)
                else:
                    yield Part(name, parameter, parameter, holders[name])

    def _shared_names(self) -> list[tuple[str, Group | None]]:
        """Parameters that several stages hold (a tied embedding), each with the pipeline ranks that do (None: this one alone)."""
        if self.layout.pp == 1:
            return []
        held = [self.everyone[self._rank_at(rank)] for rank in range(self.layout.pp)]
        found: list[tuple[str, Group | None]] = []
        made: dict[tuple[int, ...], Group] = {}
        for name in sorted(set().union(*held)):
            ranks = tuple(rank for rank in range(self.layout.pp) if name in held[rank])
            if len(ranks) == 1:
                if held[ranks[0]].count(name) > 1 and self.pp_rank == ranks[0]:
                    found.append((name, None))
                continue
            if ranks not in made:
                made[ranks] = self._group_of(ranks)
            if self.pp_rank in ranks:
                found.append((name, made[ranks]))
        return found

    def _rank_at(self, pp_rank: int) -> int:
        """The global rank of a pipeline rank in this process's own column."""
        return dist.get_global_rank(self.groups["pp"], pp_rank)

    def _group_of(self, pp_ranks: tuple[int, ...]) -> Group:
        """A group of some pipeline ranks; all processes make all such groups in the same order."""
        columns = self.mesh.mesh.reshape(self.layout.pp, -1)
        own: Group | None = None
        for column in range(columns.shape[1]):
            ranks = [int(columns[rank, column]) for rank in pp_ranks]
            group = dist.new_group(ranks)
            if dist.get_rank() in ranks:
                own = group
        return own if own is not None else dist.group.WORLD  # type: ignore[return-value]

    @property
    def model(self) -> Sharded:
        """What an evaluation is given."""
        return self

    def mode(self, training: bool) -> None:
        """Training, or measuring."""
        for stage in self.stages:
            stage.train(training)

    # a step

    def accumulate(self, batches: Batches, step: int, seed: int) -> Found:
        """Forward and backward of this process's micro-batches of a step; found is what its last stage has, counted once."""
        parts = batches.parts(step)
        micros = list(range(self.dp_rank, -(-parts // self.layout.dp) * self.layout.dp, self.layout.dp))
        for stage in self.stages:
            stage.found, stage.asides = {}, {}
        if self.layout.pp > 1:
            prepared = alike([self._prepared(batches, step, micro, seed, parts) for micro in micros])
            torch.manual_seed(seed_of(seed, step, micros[0]) + self.tp_rank + 7919 * self.pp_rank)
            for stage in self.stages:
                stage.batches = prepared
            self.pipeline.step(prepared)
        else:
            (stage,) = self.stages
            stage.batches = prepared = []
            for number, micro in enumerate(micros):
                last = number + 1 == len(micros)
                if isinstance(stage, FSDPModule):
                    stage.set_is_last_backward(last)
                    stage.set_requires_gradient_sync(last or self.layout.zero > 1)
                    stage.set_reshard_after_backward(last or self.layout.zero == 3)  # gathered once a step where all have all anyway
                prepared.append(self._prepared(batches, step, micro, seed, parts))
                if self.layout.sequence:  # what is dropped on one stretch of time is not what is dropped on the next
                    torch.manual_seed(seed_of(seed, step, micro) + 7919 * self.tp_rank)
                stage(micro=torch.tensor(number)).sum().backward()
        found = Found()
        for stage in self.stages:
            for number in sorted(stage.found):
                if self.tp_rank == 0 and micros[number] < parts:
                    found.add(stage.found[number], prepared[number], micros[number])
            for number, aside in stage.asides.items():
                if self.tp_rank == 0 and micros[number] < parts:
                    found.aside(aside)
        return found

    def _prepared(self, batches: Batches, step: int, micro: int, seed: int, parts: int = 1) -> Batch:
        """A micro-batch with everything drawn, as one process would draw it. One beyond the step's `parts`, which a process
        without work computes because all send messages together, weighs nothing."""
        torch.manual_seed(seed_of(seed, step, micro))
        batch = self.objective.prepare(batches(step, micro if micro < parts else 0))
        if micro >= parts:
            batch["weights"] = torch.zeros_like(batch["weights"])
        return {name: value.to(self.device) for name, value in batch.items()}

    def _reduce(self) -> None:
        """Complete the gradients: what FSDP did not add up is added here, once a step."""
        if self.layout.zero == 0:
            self._add([part for part in self.parts if not _expert(part.name) or self.layout.ep == 1], self._dp_groups())
        if self.layout.ep > 1:
            axes = ("replicate", "outer") if self.layout.zero == 0 else ("replicate",) if self.mesh["outer"].size() == 1 else ()
            self._add([part for part in self.parts if _expert(part.name)], [self.mesh[axis].get_group() for axis in axes if self.mesh[axis].size() > 1])
        if self.tensor is not None:
            self._add([part for part in self.parts if part.name in self.tensor.partial], [self.groups["tp"]])
        for name, group in self._shared:
            held = [part for part in self.parts if part.name == name]
            self._complete(held)
            total = torch.stack([_grad(part) for part in held]).sum(0)
            if group is not None:
                total = all_reduce(total, group)
            for part in held:
                _grad(part).copy_(total)

    def _dp_groups(self) -> list[Group]:
        return [self.mesh[axis].get_group() for axis in ("replicate", "outer", "ep") if self.mesh[axis].size() > 1]

    def _add(self, parts: list[Part], groups: list[Group]) -> None:
        """Add gradients over groups, in one message each."""
        if not parts or not groups:
            return
        self._complete(parts)
        flat = torch.cat([_grad(part).reshape(-1) for part in parts])
        for group in groups:
            dist.all_reduce(flat, group=group)
        for part, whole in zip(parts, torch.split(flat, [_grad(part).numel() for part in parts]), strict=True):
            _grad(part).copy_(whole.view_as(_grad(part)))

    def _complete(self, parts: list[Part]) -> None:
        """A gradient for each: zeros where this process found none."""
        for part in parts:
            if part.parameter.grad is None:
                part.parameter.grad = torch.zeros_like(part.parameter)
            elif part.parameter.grad.is_sparse:
                part.parameter.grad = part.parameter.grad.to_dense()

    def gradients(self) -> list[Tensor]:
        """The whole batch's gradients, as far as they are kept here, given to the optimizer's parameters."""
        self._reduce()
        found = []
        for part in self.parts:
            gradient = part.gradient()
            if part.local is not part.parameter:
                part.local.grad = gradient
            if gradient is not None:
                found.append(gradient)
        return found

    def norm(self, gradients: list[Tensor]) -> float:
        """The norm of the whole gradient: every part of it is counted once, however many processes hold it."""
        total = torch.zeros((), dtype=torch.float64)
        for part in self.parts:
            if (gradient := part.gradient()) is not None:
                total += gradient.double().square().sum().cpu() / part.copies
        dist.all_reduce(total)
        return math.sqrt(float(total))

    def forget(self) -> None:
        """Drop the gradients."""
        for part in self.parts:
            part.parameter.grad = part.local.grad = None

    def measure(self, batches: Batches, steps: int, seed: int) -> Found:
        """The sums of the objective over about so many steps of a batch source with one micro-batch each, over all processes."""
        found = Found()
        rounds = max(1, steps // self.layout.dp)
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            for turn in range(rounds):
                batch = self._prepared(batches, turn * self.layout.dp + self.dp_rank, 0, seed)
                (batch,) = alike([batch])
                for stage in self.stages:
                    stage.batches, stage.found = [batch], {}
                self.pipeline.forward(batch)
                for stage in self.stages:
                    if stage.found and self.tp_rank == 0:
                        found.add(stage.found[0], batch, 0)
        for module in (one for stage in self.stages for one in stage.modules() if isinstance(one, FSDPModule)):
            module.reshard()  # what was gathered may have been averaged weights
        names = self.world.union(set(found.sums))
        rows = self.world.gather([float(found.tokens), *(found.sums.get(name, 0.0) for name in names)]).sum(0).tolist()
        return Found(dict(zip(names, rows[1:], strict=True)), int(rows[0]))

    # on the disk

    def save(self, step: int, state: dict[str, Any], average: dict[str, Tensor], *, wait: bool) -> None:
        """Write a checkpoint, all processes together. Raises GroundupError where one that must be there cannot be written."""
        self._settle(wait=True)
        self._saving = Saving(self._folder, step, self, state, average, self._writers, asynchronous=self._asynchronous and not wait)
        if wait and (problem := self._settle(wait=True)):
            raise GroundupError(f"the checkpoint of step {step} could not be written: {problem}", where=str(self._folder), do="Make room and start again: it goes on from the one before.")

    def settle(self) -> None:
        """Put a checkpoint in its place once all processes have written their parts."""
        self._settle(wait=False)

    def _settle(self, *, wait: bool) -> str | None:
        if self._saving is None:
            return None
        if not wait and not bool((self.world.gather([float(self._saving.ready)]) > 0).all()):
            return None
        saving, self._saving = self._saving, None
        problem = saving.finish()
        if problem and self.world.first:
            say(f"checkpoint {saving.final.name} could not be written ({problem}); training goes on with the one before")
        return problem

    def restore(self, path: Path) -> dict[str, Tensor]:
        """Fill parameters and optimizer from a checkpoint that any number of processes wrote; returns the running averages."""
        average: dict[str, Tensor] = {}
        load(path, self, average)
        return average

    def keep(self, path: Path) -> None:
        """The run ends with what lies on the disk."""


def _grad(part: Part) -> Tensor:
    found = part.gradient()
    assert found is not None
    return found


def _expert(name: str) -> bool:
    return ".experts." in name


def mesh_of(layout: Layout, device: str) -> DeviceMesh:
    """The processes by axis."""
    shards = layout.dp // layout.replicate
    names = ("pp", "replicate", "outer", "ep", "tp")
    mesh = init_device_mesh(device, (layout.pp, layout.replicate, shards // layout.ep, layout.ep, layout.tp), mesh_dim_names=names)
    if layout.ep > 1:
        mesh["outer", "ep"]._flatten("shard")
    return mesh
