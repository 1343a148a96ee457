"""The real model of one process of a plan, built and stepped without its weights: what it would hold, by the true code.

Tensors are fake (shapes and formats, no numbers) and so is the process group (nothing is sent), so that one process of
a job of hundreds is traced on a laptop in seconds. Every storage is counted from its making to its end.

What is not seen: the accelerator's context, its libraries' buffers, fragmentation; kernels that an accelerator would choose differently.
"""

from __future__ import annotations

import time
import weakref
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from groundup.errors import GroundupError, RequestError
from groundup.models.build import build
from groundup.models.config import ModelConfig
from groundup.planning.memory import in_flight
from groundup.training.layout import Layout, layers_of
from groundup.training.objectives import Batch, NextToken, Objective
from groundup.training.optimizers import OptimizerSettings, optimizers
from groundup.training.parts import Part
from groundup.training.pipeline import Pipeline
from groundup.training.precision import Precision, autocast
from groundup.training.sharded import Sharded, mesh_of
from groundup.training.stage import layers_in, recompute
from groundup.training.task import measured_objective, random_batch
from groundup.training.tensor_parallel import TensorParallel

MOST_IN_FLIGHT = 4  # micro-batches are traced; more are as much again each


class Live(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Bytes of all storages made while it is on and not yet given back; `peak` the most at once.

    `whole`: shapes of matrices cut over tp. No process ever has one whole; DTensor works its own shapes out with empty tensors of
    that size, which are nobody's memory.
    """

    def __init__(self, whole: set[tuple[int, ...]] | None = None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.whole = whole or set()
        self.current, self.peak = 0, 0
        self._known: dict[int, int] = {}
        self._apart: set[int] = set()
        self._buffers: dict[int, weakref.ref[Any]] = {}  # which FSDP empties and fills again without a word

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if any(issubclass(kind, DTensor) for kind in types):
            return NotImplemented  # its own turn first: it holds its local part, which is seen then
        found = func(*args, **(kwargs or {}))
        for one in tree_leaves(found):
            if isinstance(one, Tensor) and tuple(one.shape) not in self.whole:
                self._see(one, func is torch.ops.aten.empty.memory_format)
        for key, reference in list(self._buffers.items()):
            if (storage := reference()) is not None:
                self._resize(key, storage.nbytes())
        return found

    def _see(self, tensor: Tensor, buffer: bool) -> None:
        if isinstance(tensor, DTensor):
            return
        storage = tensor.untyped_storage()
        key = id(storage)
        if key in self._apart:
            return
        if key not in self._known:
            self._known[key] = 0
            weakref.finalize(storage, self._gone, key)
            if buffer:
                self._buffers[key] = weakref.ref(storage)
        self._resize(key, storage.nbytes())

    def leave_out(self, tensors: Iterable[Tensor]) -> None:
        """Do not count what was there before, when it is met again."""
        self._apart |= {id(one.untyped_storage()) for one in tensors}

    def _resize(self, key: int, size: int) -> None:
        self.current += size - self._known[key]
        self._known[key] = size
        self.peak = max(self.peak, self.current)

    def _gone(self, key: int) -> None:
        self.current -= self._known.pop(key)
        self._buffers.pop(key, None)


@contextmanager
def pretended(rank: int, world: int) -> Iterator[None]:
    """A process group in which nothing is sent. Raises GroundupError within a real one."""
    from torch.testing._internal.distributed.fake_pg import FakeStore

    if dist.is_initialized():
        raise GroundupError("a trace pretends to be one process of a job, and this is one", where="plan", do="Run it on its own, without torchrun.")
    dist.init_process_group("fake", rank=rank, world_size=world, store=FakeStore())
    try:
        yield
    finally:
        dist.destroy_process_group()


@dataclass(frozen=True)
class Trace:
    """Bytes that one process would hold."""

    rank: int
    weights: int
    """Its shares, and what is gathered of others' while it computes."""
    gradients: int
    optimizer: int
    activations: int
    """What the micro-batches in flight keep, casts, workspace and messages with them: the rest of the peak."""
    peak: int
    in_flight: float
    seconds: float
    """That the trace took."""


class Pretended(Sharded):
    """A process's part of a model whose tensors have no numbers."""

    def __init__(self, config: ModelConfig, objective: Objective, layout: Layout, precision: Precision) -> None:
        self.config, self.objective, self.layout, self.precision, self.device, self.dtype = config, objective, layout, precision, "meta", torch.float32
        self.mesh = mesh_of(layout, "cpu")
        self.pp_rank, self.tp_rank = self.mesh["pp"].get_local_rank(), self.mesh["tp"].get_local_rank()
        self.tensor = TensorParallel(self.mesh["tp"], layout.sequence) if layout.tp > 1 else None
        with torch.device("meta"):
            weights = list(build(config).named_parameters())
        self.stages = self._build(weights)
        self.pipeline = Pipeline(config, layout, self.stages, self.mesh["pp"].get_group(), "cpu", self.dtype)

    def cut_over_tp(self) -> set[tuple[int, ...]]:
        """Shapes of the matrices of which each process of the tp axis has a part."""
        cut = [one for stage in self.stages for one in stage.parameters() if isinstance(one, DTensor) and "tp" in (one.device_mesh.mesh_dim_names or ())]
        return {tuple(one.shape) for one in cut if one.placements[(one.device_mesh.mesh_dim_names or ()).index("tp")].is_shard()}

    def step(self, batch: Batch, micros: int, together: int) -> None:
        """Forward and backward of `together` micro-batches at once, then of one more with the gradients there."""
        buffers = []
        for stage, index in zip(self.stages, self.layout.stage_indices(self.pp_rank), strict=True):
            stage.batches = [batch]
            if self.layout.pp > 1:  # what the pipeline receives into: inputs, and gradients of outputs
                sides = ([] if stage.first else [index]) + ([] if stage.last else [index + 1])
                buffers += [torch.empty_like(one) for side in sides for _ in range(micros) for one in self.pipeline.carried(side, batch)]
        flying = [self._forward_once() for _ in range(together)]
        self._backward_once(flying.pop(0), last=micros == 1)
        if micros > 1:
            flying.append(self._forward_once())
        while flying:
            self._backward_once(flying.pop(0), last=not flying)

    def _forward_once(self) -> list[Any]:
        outputs = []
        for stage, index in zip(self.stages, self.layout.stage_indices(self.pp_rank), strict=True):
            given = () if stage.first else self.pipeline.carried(index, stage.batches[0])
            outputs.append(stage(*given, micro=0))
        return outputs

    def _backward_once(self, outputs: list[Any], *, last: bool) -> None:
        for stage, output in zip(reversed(self.stages), reversed(outputs), strict=True):
            if isinstance(stage, FSDPModule):
                stage.set_is_last_backward(last)
                stage.set_requires_gradient_sync(last or (self.layout.zero > 1 and self.layout.pp == 1))
                stage.set_reshard_after_backward(last or (self.layout.zero == 3 and self.layout.pp == 1))
            tensors = [one for one in (output if isinstance(output, tuple) else (output,)) if one.requires_grad]
            torch.autograd.backward(tensors, [torch.ones_like(one) for one in tensors])


class Packed(NextToken):
    """Next token, each row several documents: the mask is made, whatever the tokens are."""

    def states(self, model: Any, batch: Batch) -> Tensor:
        """(B, T, D)."""
        found: Tensor = model.hidden(batch["tokens"], batch["positions"], batch["segments"])
        return found


def trace(config: ModelConfig, layout: Layout, rank: int, rows: int, context: int, micros: int, *, precision: Precision = "bf16",
          settings: OptimizerSettings | None = None) -> Trace:  # fmt: skip
    """Some steps of process `rank`: `rows` x `context` tokens a micro-batch, `micros` of them. Raises RequestError for a model whose
    shapes hang on its numbers."""
    if config.experts or config.kind not in ("decoder", "encoder-decoder"):
        raise RequestError(f"a model of the {config.family} family chooses tokens by what they are, so its shapes are not known without numbers",
                           where="--trace", do="Leave --trace out: the formula's bytes stand in the plan.")  # fmt: skip
    began = time.monotonic()
    objective = Packed() if config.kind == "decoder" else measured_objective(config)
    batch = random_batch(config, rows, context)
    with pretended(rank, layout.world):
        engine = Pretended(config, objective, layout, precision)
        flying = in_flight(layout, micros, engine.pp_rank)
        together = max(1, min(round(flying), MOST_IN_FLIGHT))
        with FakeTensorMode(allow_non_fake_inputs=True), Live(engine.cut_over_tp()) as live:
            for stage in engine.stages:
                stage.to_empty(device="cpu")
            batch = {name: torch.empty_like(value) for name, value in batch.items()}
            parameters = [parameter for stage in engine.stages for parameter in stage.parameters()]
            weights = live.peak = live.current
            engine.step(batch, micros, together)
            peak = live.peak
            gradients = _bytes(parameter.grad for parameter in parameters if parameter.grad is not None)
            optimizer = _states(settings or OptimizerSettings(), engine)
    own = _bytes(parameters)
    more = 0.0
    if flying > together:  # the others keep as much again
        more = (flying - together) * (peak - own - gradients) / together
    whole = round(peak + more + optimizer)
    return Trace(rank, weights, gradients, optimizer, whole - weights - gradients - optimizer, whole, flying, time.monotonic() - began)


def _bytes(tensors: Iterable[Tensor]) -> int:
    """Of the local parts."""
    local = [one.to_local() if isinstance(one, DTensor) else one for one in tensors]
    return sum(one.numel() * one.element_size() for one in local)


def _states(settings: OptimizerSettings, engine: Pretended) -> int:
    """The optimizer's state, from a step on each parameter's local part."""
    spread: dict[torch.nn.Parameter, Part] = {}
    for stage in engine.stages:
        for name, parameter in stage.model.named_parameters():
            if isinstance(parameter, DTensor):
                spread[parameter] = Part(name, parameter, torch.nn.Parameter(torch.empty_like(parameter.to_local())), 1)
    made = optimizers([stage.model for stage in engine.stages], settings, spread)
    for part in made.parts:
        for group in part.param_groups:
            for parameter in group["params"]:
                parameter.grad = torch.empty_like(parameter)
    made.step(1.0)
    return _bytes(value for part in made.parts for state in part.state.values() for value in state.values() if isinstance(value, Tensor) and value.ndim)


def counted(config: ModelConfig, context: int, *, precision: Precision = "fp32", how: str = "none") -> tuple[float, float]:
    """Bytes a token that one layer keeps, and that is kept around the layers: by running models of two and of four layers on one row.
    For kinds of model whose closed form is not worked out."""
    found, layers = {}, {}
    for count in (2, 4):
        small = config.model_copy(update={"layers": count} | ({} if config.decoder_layers is None else {"decoder_layers": count}))
        layers[count] = layers_of(small)
        objective = measured_objective(small)
        batch = objective.prepare(random_batch(small, 1, context))
        # an encoder-decoder's shapes hang on no numbers, so it needs none
        with FakeTensorMode(allow_non_fake_inputs=True) if small.kind == "encoder-decoder" else nullcontext():
            model = build(small)
            for layer in layers_in(model):
                recompute(layer, how)
            live = Live()
            live.leave_out([*model.parameters(), *model.buffers(), *batch.values()])
            with live:
                with autocast(precision):
                    sums = objective.sums(model, objective.states(model, batch), batch)
                found[count] = live.current  # without what autocast keeps till here
            del sums
    each = (found[4] - found[2]) / (layers[4] - layers[2])
    head = 4 * config.vocabulary * config.width
    return each / context, max(0.0, found[2] - layers[2] * each - head) / context
