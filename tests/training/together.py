"""Several processes on loopback, and what they do in the tests of parallel training.

Processes are forked off a server that has imported torch once, so that a case costs its own work and little more.
"""

from __future__ import annotations

import multiprocessing as mp
import os
import pickle
import queue
import socket
import traceback
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from groundup.models.build import build
from groundup.models.config import Family, ModelConfig, resolved
from groundup.models.parts.init import initial_values
from groundup.recipe.parallel import Parallel
from groundup.tokens.loader import BatchPhase
from groundup.training.engine import Engine, Whole
from groundup.training.layout import layout
from groundup.training.objectives import (
    Batch,
    MaskedAndNext,
    NextToken,
    Objective,
    Permutation,
    SequenceToSequence,
)
from groundup.training.optimizers import OptimizerSettings
from groundup.training.task import random_batch

CONTEXT, ROWS = 16, 2
ADAMW = OptimizerSettings("adamw", learning_rate=1e-2)

_context = mp.get_context("forkserver")
_context.set_forkserver_preload(["groundup.training.sharded", "groundup.training.trainer"])


def together(size: int, work: Callable[..., Any], *given: Any, seconds: float = 120.0) -> list[Any]:
    """What `work(rank, size, *given)` returns on each of `size` processes; the first failure is raised with its traceback."""
    results: Any = _context.Queue()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    processes = [_context.Process(target=_one, args=(rank, size, port, work, given, results), daemon=True) for rank in range(size)]
    for process in processes:
        process.start()
    found: dict[int, Any] = {}
    try:
        while len(found) < size:
            rank, value, failure = results.get(timeout=seconds)
            if failure:
                raise AssertionError(f"process {rank} of {size}:\n{failure}")
            found[rank] = pickle.loads(value)
    except queue.Empty:
        raise AssertionError(f"only processes {sorted(found)} of {size} were done after {seconds:g} s") from None
    finally:
        for process in processes:
            process.join(5 if len(found) == size else 0)
            if process.is_alive():
                process.kill()
                process.join()
    return [found[rank] for rank in range(size)]


def _one(rank: int, size: int, port: int, work: Callable[..., Any], given: tuple[Any, ...], results: Any) -> None:
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    try:
        dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=size, timeout=timedelta(seconds=60))
        results.put((rank, pickle.dumps(work(rank, size, *given)), None))  # tensors by value, the process ends
        dist.barrier()
    except BaseException:
        results.put((rank, None, traceback.format_exc()))
    results.close()
    results.join_thread()
    os._exit(0)


def config_of(family: Family, **more: Any) -> ModelConfig:
    """Four layers in all, an odd vocabulary."""
    layers = 2 if family in ("transformer", "t5") else 4
    given = {"vocabulary": 65, "context": CONTEXT, "layers": layers, "width": 32, "heads": 4, **more}
    if family == "llama":
        given.setdefault("kv_heads", 2)
    if family == "moe":
        given |= {"feedforward": 32, "experts": 4}
    return resolved(family, **given)


def objective_of(config: ModelConfig) -> Objective:
    match config.kind:
        case "encoder":
            return MaskedAndNext(0, torch.ones(config.vocabulary, dtype=torch.bool))
        case "encoder-decoder":
            return SequenceToSequence(label_smoothing=0.1)
        case "permutation":
            return Permutation()
        case "decoder":
            return NextToken(label_smoothing=0.1, z_loss=1e-3)


@dataclass(frozen=True)
class Rows:
    """A batch source: random rows of which about 80 % are weighed, so micro-batches weigh unequally."""

    config: ModelConfig
    micros: int

    def parts(self, step: int) -> int:
        return self.micros

    def __call__(self, step: int, micro: int) -> Batch:
        seed = 100 * step + micro
        batch = random_batch(self.config, ROWS, CONTEXT, seed=seed)
        batch["weights"] = (torch.rand(batch["weights"].shape, generator=torch.Generator().manual_seed(seed)) < 0.8).float()
        if self.config.kind == "encoder":
            batch["types"] = torch.zeros_like(batch["tokens"])
            batch["pairs"] = torch.tensor([[row, 0, (seed + row) % 2] for row in range(ROWS)])
        return batch


def take_steps(engine: Engine, rows: Rows, steps: Iterable[int]) -> list[float]:
    """Train as the trainer does; the mean loss of each step."""
    losses = []
    for step in steps:
        found = engine.accumulate(rows, step, 7)
        sums = torch.tensor([found.sums.get("loss", 0.0), found.sums.get("weight", 0.0)], dtype=torch.float64)
        if not isinstance(engine, Whole):
            dist.all_reduce(sums)
        loss, weight = sums.tolist()
        gradients = engine.gradients()
        norm = engine.norm(gradients) / weight
        torch._foreach_mul_(gradients, min(1.0, 1.0 / norm) / weight)
        engine.optimizer.step(1.0)
        engine.forget()
        losses.append(loss / weight)
    return losses


def alone(config: ModelConfig, micros: int, settings: OptimizerSettings, steps: int = 3, objective: Objective | None = None) -> tuple[list[float], dict[str, Tensor]]:
    """Losses and weights of one process."""
    model = build(config, seed=3).double()
    engine = Whole(model, objective or objective_of(config), settings, "fp32", Path())
    engine.world = replace(engine.world, rank=0, size=1)
    losses = take_steps(engine, Rows(config, micros), range(steps))
    return losses, {name: parameter.detach() for name, parameter in model.named_parameters()}


def sharded(config: ModelConfig, parallel: Parallel, micros: int, settings: OptimizerSettings, folder: Path = Path(), objective: Objective | None = None) -> Any:
    """The model of `alone`, spread over the processes that are here."""
    from groundup.training.sharded import Sharded

    plan = layout(parallel, config, [BatchPhase(3, CONTEXT, ROWS, micros)], dist.get_world_size(), begun=True)
    with torch.device("meta"):
        weights = initial_values(build(config), config, 3)
    return Sharded(config, objective or objective_of(config), plan, weights, settings, folder, dtype=torch.float64)


def weights_of(engine: Any) -> dict[str, Tensor]:
    """All weights whole, from all processes, under their usual names; None but on the first process."""
    from groundup.training.sharded_checkpoint import joined

    own = {part.name: part.whole(part.local.detach()).clone() for part in engine.parts}
    everyone: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(everyone, own)
    return joined({name: value for one in everyone for name, value in one.items()})


def compare(rank: int, size: int, family: Family, parallel: dict[str, Any], micros: int, optimizer: str, more: dict[str, Any]) -> tuple[float, float]:
    """The largest difference of any weight and of any loss from those of one process, after three steps."""
    config, settings = config_of(family, **more), OptimizerSettings(optimizer, learning_rate=1e-2)  # type: ignore[arg-type]
    engine = sharded(config, Parallel(**parallel), micros, settings)
    losses = take_steps(engine, Rows(config, micros), range(3))
    weights = weights_of(engine)
    if rank:
        return 0.0, 0.0
    expected_losses, expected = alone(config, micros, settings)
    assert set(weights) == set(expected)
    moved = build(config, seed=3).double().state_dict()
    assert any(float((expected[name] - moved[name]).abs().max()) > 1e-3 for name in expected)
    worst = max(float((weights[name] - expected[name]).abs().max()) for name in expected)
    return worst, max(abs(a - b) for a, b in zip(losses, expected_losses, strict=True))
