"""What a run will take on this machine: memory by the closed form on top of what the process holds, time by trying.

Time is tried on models of two and of four layers of the run's own width, and drawn out to its depth, so that a model
too large to be trained here can be timed all the same; one of four layers or fewer is tried whole.
"""

from __future__ import annotations

import os
import resource
import statistics
import time
from dataclasses import dataclass
from typing import Any

import psutil

from groundup.errors import RequestError
from groundup.models.build import build
from groundup.models.config import ModelConfig
from groundup.models.flops import training_flops_per_token
from groundup.planning.devices import GIB
from groundup.planning.memory import memory
from groundup.planning.shapes import pieces
from groundup.training.layout import Layout, layers_of
from groundup.training.memory import give_back, keep_freed_memory
from groundup.training.optimizers import OptimizerSettings, optimizers
from groundup.training.precision import Precision, autocast, compiled
from groundup.training.stage import layers_in, recompute
from groundup.training.task import measured_objective, random_batch

# Of what training asks for, that the C library takes for it (docs/measurements.md, "The planner"): with one micro-batch a step 1.09 to
# 1.17 were seen; with more the first one's gradients lie among the places that the next one's activations need (1.32), and what a
# mixture's experts are given has another size each time (1.48, most of which trying shows). Runs that recompute keep no large blocks
# (training/memory.py): exactly what they ask for
FRAGMENTS, HOLES = 1.13, 1.3
COMPILER_GIB = 0.4  # that torch.compile leaves in the process
TRY_SECONDS = 2.5  # a pass that would take longer is tried with fewer rows, and where one row does, worked out
TRY_SHARE = 0.6  # of the free memory that trying may take


@dataclass(frozen=True)
class Pace:
    """Seconds of one forward and backward pass, and of one update."""

    micro: float
    update: float

    def run(self, steps: int, micros: int) -> float:
        """Seconds of so many steps."""
        return steps * (micros * self.micro + self.update)


def needs(
    config: ModelConfig, layout: Layout, rows: int, context: int, micros: int, *, precision: Precision, optimizer: str, compiles: bool = False
) -> float:
    """Bytes that training adds to what this process holds, on a CPU or one GPU."""
    counted = None
    if config.kind not in ("decoder", "encoder"):
        from groundup.planning.trace import counted as count

        counted = count(config, context, precision=precision, how=layout.recompute)
    held = [memory(config, layout, rows, context, micros, precision=precision, optimizer=optimizer, pp_rank=rank, counted=counted) for rank in range(layout.pp)]
    most = max(held, key=lambda one: one.total)
    slack = 1.0 if layout.recompute != "none" else HOLES if micros > 1 or config.experts else FRAGMENTS
    # at the end the last checkpoint's weights are read, beside what is kept of the steps
    again = most.weights if layout.recompute == "none" else 0.0
    return slack * most.total + again + (COMPILER_GIB * GIB if compiles else 0)


def memory_gib(extra: float) -> float:
    """What the process will have held at its fullest: what it has held so far, or what it holds now and `extra` bytes."""
    now, most = psutil.Process().memory_info().rss, 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return max(most, now + extra) / GIB


def free_bytes() -> float:
    """What one process may still take: its share of this machine's free memory, or its GPU's."""
    import torch

    if torch.cuda.is_available():
        return float(torch.cuda.mem_get_info()[0])
    return psutil.virtual_memory().available / int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


def check_fits(
    config: ModelConfig, layout: Layout, rows: int, context: int, micros: int, *, precision: Precision, optimizer: str, compiles: bool = False
) -> float:
    """Bytes the run needs. Raises RequestError where they are not there, with what would fit."""
    asked: dict[str, Any] = {"precision": precision, "optimizer": optimizer, "compiles": compiles}
    free, wanted = free_bytes(), needs(config, layout, rows, context, micros, **asked)
    if wanted <= free:
        return wanted
    smaller = [row for row in range(rows - 1, 0, -1) if rows % row == 0]
    for how in dict.fromkeys((layout.recompute, "selective", "full")):
        other = Layout(**{**vars(layout), "recompute": how})
        for row in ([] if how == layout.recompute else [rows]) + smaller:
            if (found := needs(config, other, row, context, micros * rows // row, **asked)) <= free:
                again = "" if how == layout.recompute else f" parallel.recompute={how}"
                less = "" if row == rows else f" training.micro_batch={row}"
                raise RequestError(_too_much(wanted, free), where="plan", do=f"Set{again}{less}: that needs {found / GIB:.1f} GiB.")
    raise RequestError(
        _too_much(wanted, free), where="plan", do="Choose a smaller model; `groundup plan PRESET --hardware ... --best` says on what this one can be trained."
    )


def _too_much(wanted: float, free: float) -> str:
    return f"training needs about {wanted / GIB:.1f} GiB and {free / GIB:.1f} are free"


def pace(
    config: ModelConfig, rows: int, context: int, *, precision: Precision, settings: OptimizerSettings, how: str = "none", peak: float, sustained: float = 0.6,
    passes: int = 1000,
) -> Pace:  # fmt: skip
    """How fast a run of so many passes will be on this machine, not compiled. `peak`: its matrix products (FLOP/s), for models of
    which not even a row can be tried. Trying takes some hundredths of the run, and no more than some seconds."""
    rate, total = sustained * peak, layers_of(config)
    guess = rows * context * training_flops_per_token(config, context) / rate
    most = config if total <= 4 else _with_layers(config, 4)
    row, share, free = context * training_flops_per_token(most, context) / rate, rows, TRY_SHARE * free_bytes()

    def too_much(share: int) -> bool:
        return share * row > TRY_SECONDS or needs(most, Layout(recompute=how), share, context, 1, precision=precision, optimizer=settings.name) > free

    while share > 1 and too_much(share):
        share //= 2
    if too_much(share):
        return Pace(guess, update_flops(config, settings.name) / rate)
    seconds = min(1.5, 0.01 * passes * guess)

    def tried(model: ModelConfig) -> Pace:
        found = timed(model, share, context, precision, settings, how=how, seconds=seconds)[0]
        return Pace(found.micro * rows / share, found.update)

    if total <= 4:
        return tried(config)
    found = {layers: tried(_with_layers(config, layers)) for layers in (2, 4)}
    few, more = layers_of(_with_layers(config, 2)), layers_of(_with_layers(config, 4))

    def drawn_out(name: str) -> float:
        first, second = getattr(found[2], name), getattr(found[4], name)
        each = max(0.0, (second - first) / (more - few))
        return float(first + each * (total - few))

    return Pace(drawn_out("micro"), drawn_out("update"))


def update_flops(config: ModelConfig, optimizer: str) -> float:
    """Of Muon's five steps, two products with a matrix and one with its square each; others do next to none."""
    if optimizer != "muon":
        return 0.0
    sides = [sorted((piece.rows, piece.numel // piece.rows)) for piece in pieces(config, Layout(), 0) if piece.layer]
    return float(sum(5 * (4 * short * short * long + 2 * short**3) for short, long in sides if short > 1))


def _with_layers(config: ModelConfig, layers: int) -> ModelConfig:
    return config.model_copy(update={"layers": layers} | ({} if config.decoder_layers is None else {"decoder_layers": layers}))


def timed(
    config: ModelConfig, rows: int, context: int, precision: Precision, settings: OptimizerSettings, *, how: str = "none", compiles: bool = False,
    seconds: float = 6.0,
) -> tuple[Pace, float]:  # fmt: skip
    """Real training steps on random tokens: the median of a few after warming up, and the seconds that the first took longer than
    the others: compiling, where it compiles."""
    found = _timed(config, rows, context, precision, settings, how, compiles, seconds)
    give_back()
    return found


def _timed(
    config: ModelConfig, rows: int, context: int, precision: Precision, settings: OptimizerSettings, how: str, compiles: bool, seconds: float
) -> tuple[Pace, float]:
    keep_freed_memory(sparing=how != "none")
    model, objective = build(config, seed=0), measured_objective(config)
    for layer in layers_in(model):
        recompute(layer, how)
    if compiles:
        compiled(model)
    optimizer = optimizers(model, settings)
    optimizer.begin()
    passes: list[float] = []
    updates: list[float] = []
    end = time.perf_counter() + seconds
    while len(passes) < 3 or (len(passes) < 20 and time.perf_counter() < end):
        batch = random_batch(config, rows, context, seed=len(passes))  # the rows of a repeated batch would lie in the cache
        start = time.perf_counter()
        with autocast(precision):
            sums = objective(model, batch)
        sums.loss_sum.backward()  # type: ignore[no-untyped-call]
        passes.append(time.perf_counter() - start)
        optimizer.step(0.0)
        model.zero_grad(set_to_none=True)
        updates.append(time.perf_counter() - start - passes[-1])
        if len(passes) == 2 and compiles:
            end = time.perf_counter() + seconds
    pace = Pace(statistics.median_high(passes[1:]), statistics.median_high(updates[1:]))
    return pace, max(0.0, passes[0] + updates[0] - pace.micro - pace.update)
