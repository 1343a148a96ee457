"""Weak scaling on one machine: twice the processes with twice the rows, one thread each; what a plan keeps of the speed.

    python benchmarks/scaling.py [--processes 2] [--seconds 20] [--json]

A llama of 4 layers, width 256, context 256; each process has 4 micro-batches of 4 rows a step, so the ideal is `processes` times the tokens
per second of one. gloo on loopback: a check that nothing is absurd, not what a cluster's links give.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

PLANS: dict[str, dict[str, Any]] = {
    "dp": {}, "dp, ZeRO 1": {"zero": 1}, "dp, ZeRO 2": {"zero": 2}, "dp, ZeRO 3": {"zero": 3}, "tp": {"tp": 2}, "pp, 1f1b": {"pp": 2},
}  # fmt: skip
CONTEXT, ROWS, MICROS = 256, 4, 4


class Rows:
    """Random rows."""

    def __init__(self, config: Any, micros: int) -> None:
        self.config, self.micros = config, micros

    def parts(self, step: int) -> int:
        return self.micros

    def __call__(self, step: int, micro: int) -> Any:
        from groundup.training.task import random_batch

        return random_batch(self.config, ROWS, CONTEXT, seed=100 * step + micro)


def work(rank: int, size: int, port: int, plan: dict[str, Any], seconds: float, results: Any) -> None:
    """Train for a while; the first process tells the tokens per second."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    from groundup.models.build import build
    from groundup.models.config import resolved
    from groundup.models.parts.init import initial_values
    from groundup.recipe.parallel import Parallel
    from groundup.tokens.loader import BatchPhase
    from groundup.training.engine import Whole
    from groundup.training.layout import layout
    from groundup.training.objectives import NextToken
    from groundup.training.optimizers import OptimizerSettings
    from groundup.training.sharded import Sharded

    if size > 1:
        dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=size)
    config, settings = resolved("llama", vocabulary=4096, context=CONTEXT, layers=4, width=256, heads=4), OptimizerSettings("adamw")
    rows = Rows(config, MICROS * size)  # twice the work for twice the processes, whatever they share
    laid_out = layout(Parallel(**plan), config, [BatchPhase(1, CONTEXT, ROWS, MICROS * size)], size)
    if laid_out.cut:
        engine: Any = Sharded(config, NextToken(), laid_out, initial_values(build(config), config, 0), settings, Path())
    else:
        engine = Whole(build(config, seed=0), NextToken(), settings, "fp32", Path())
    times: list[float] = []
    for step in range(10_000):
        began = time.perf_counter()
        engine.accumulate(rows, step, 0)
        gradients = engine.gradients()
        engine.norm(gradients)
        engine.optimizer.step(1.0)
        engine.forget()
        times.append(time.perf_counter() - began)
        enough = torch.tensor(float(sum(times) >= seconds and len(times) >= 4))
        if size > 1:
            dist.broadcast(enough, 0)
        if enough:
            break
    if rank == 0:
        results.put(MICROS * size * ROWS * CONTEXT / statistics.median(times[1:]))
    if size > 1:
        dist.barrier()
        dist.destroy_process_group()


def measured(size: int, plan: dict[str, Any], seconds: float) -> float:
    """Tokens per second."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context = mp.get_context("spawn")
    results = context.Queue()
    processes = [context.Process(target=work, args=(rank, size, port, plan, seconds, results)) for rank in range(size)]
    for process in processes:
        process.start()
    found = float(results.get(timeout=600))
    for process in processes:
        process.join()
    return found


def main() -> None:
    """One process, then each plan."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--json", action="store_true")
    wish = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    alone = measured(1, {}, wish.seconds)
    rows = {}
    for name, plan in PLANS.items():
        rate = measured(wish.processes, plan, wish.seconds)
        rows[name] = {"tokens_per_second": round(rate, 1), "efficiency": round(rate / alone / wish.processes, 3)}
        print(name, rows[name], file=sys.stderr)
    if wish.json:
        print(json.dumps({"one_process_tokens_per_second": round(alone, 1), "processes": wish.processes, "plans": rows}))
        return
    print(f"one process: {alone:,.0f} tokens/s")
    for name, row in rows.items():
        print(f"{name:<12}{row['tokens_per_second']:>10,.0f} tokens/s  {100 * row['efficiency']:.0f} % of {wish.processes} times one")


if __name__ == "__main__":
    main()
