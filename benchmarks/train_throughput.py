"""Training throughput on a GPT of 6 layers, width 384, 6 heads, context 256, batch 16, vocabulary 8,192.

    python benchmarks/train_throughput.py [--nanogpt PATH] [--rounds 5] [--json]

Measures, in turn and each in a process of its own (A B A B): the machine's matrix-product peak, groundup eager and
compiled, nanoGPT (a clone's path) eager and compiled, litgpt and transformers where `make peers` installed them. A
setting's figure is the median of its rounds. Model FLOP/s by the counting rule of models/flops.py (PaLM, appendix B:
6 N + 12 L D T a token). Then the peak memory of a step with a vocabulary of 65,536, whose logits alone are 1 GiB.

The shapes are GPT-2's: learned size 13.9 M with a tied head, a feed-forward of 4 x width; groundup's model has squared
ReLU and RMSNorm there, as many products as nanoGPT's GELU and LayerNorm. Run it on an otherwise idle machine.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
SHAPE = {"vocabulary": 8192, "context": 256, "batch": 16, "layers": 6, "width": 384, "heads": 6}


def config(vocabulary: int) -> Any:
    """The work's shape as a groundup model: all matrix products of a GPT-2 of that shape, and no others."""
    from groundup.models.config import ModelConfig

    return ModelConfig(
        vocabulary=vocabulary, context=SHAPE["context"], layers=SHAPE["layers"], width=SHAPE["width"], heads=SHAPE["heads"],
        kv_heads=SHAPE["heads"], feedforward=4 * SHAPE["width"], activation="relu2", tied=True,
    )  # fmt: skip


def ours(settings: dict[str, Any]) -> dict[str, Any]:
    """groundup's own step, as the trainer does it: objective, clipping, fused AdamW."""
    import torch

    from groundup.models.build import build, parameters
    from groundup.planning.hardware import matmul_gflops
    from groundup.training.memory import keep_freed_memory
    from groundup.training.objectives import next_token
    from groundup.training.optimizers import OptimizerSettings, optimizers
    from groundup.training.precision import autocast, compiled

    keep_freed_memory()
    shape = config(settings["vocabulary"])
    model = build(shape, seed=0)
    optimizer = optimizers(model, OptimizerSettings())
    weights = list(model.parameters())
    stretch = torch.randint(shape.vocabulary, (SHAPE["batch"], shape.context + 1), generator=torch.Generator().manual_seed(0))
    tokens = stretch[:, :-1]
    batch = {
        "tokens": tokens, "targets": stretch[:, 1:], "weights": torch.ones(tokens.shape),
        "positions": torch.arange(shape.context).expand_as(tokens), "segments": torch.zeros_like(tokens),
    }  # fmt: skip
    began = time.perf_counter()
    if settings["compile"]:
        compiled(model)
    times: list[float] = []
    for step in range(settings["steps"] + 2):
        start = time.perf_counter()
        with autocast(settings["precision"]):
            sums = next_token(model, batch)
        sums.loss_sum.backward()
        float(sums.loss_sum.detach())
        gradients = [weight.grad for weight in weights]
        norm = float(torch.nn.utils.get_total_norm(gradients)) / tokens.numel()
        torch._foreach_mul_(gradients, min(1.0, 1.0 / norm) / tokens.numel())
        optimizer.step(1.0)
        model.zero_grad(set_to_none=True)
        times.append(time.perf_counter() - start)
        if step == 0:
            first = time.perf_counter() - began
    return {
        "tokens_per_second": tokens.numel() / statistics.median(times[2:]), "first_step_seconds": first, "parameters": parameters(shape),
        "peak_rss_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
        "peak_gflops": matmul_gflops(torch.bfloat16 if settings["precision"] == "bf16" else torch.float32),
    }  # fmt: skip


def run(command: list[str]) -> dict[str, Any] | None:
    """One measurement in a process of its own; None where it fails."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=900)
    if done.returncode:
        print(f"failed: {' '.join(command)[:200]}\n{done.stderr[-600:]}", file=sys.stderr)
        return None
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nanogpt", default=os.environ.get("NANOGPT"), help="path of a clone of nanoGPT")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=6, help="timed steps of a round")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        print(json.dumps(ours(json.loads(arguments.worker))))
        return
    from groundup.models.flops import training_flops_per_token
    from groundup.planning.hardware import measure

    machine = measure()
    precision = "bf16" if machine["bf16_gflops"] >= 1.2 * machine["fp32_gflops"] else "fp32"
    base = {**SHAPE, "steps": arguments.steps, "precision": precision, "bf16": precision == "bf16"}
    me = lambda **more: [sys.executable, str(Path(__file__)), "--worker", json.dumps({**base, **more})]  # noqa: E731
    settings = {f"groundup {precision}": me(compile=False), f"groundup {precision} compiled": me(compile=True)}

    def peer(name: str, python: str, compile: bool, bf16: bool) -> None:
        label = f"{name} {'bf16' if bf16 else 'fp32'}{' compiled' if compile else ''}"
        what = {**base, "peer": name, "path": arguments.nanogpt, "compile": compile, "bf16": bf16}
        settings[label] = [python, str(HERE / "peers.py"), "throughput", json.dumps(what)]

    if arguments.nanogpt:
        peer("nanogpt", sys.executable, False, False)
        for compile in (False, True) if precision == "bf16" else (True,):
            peer("nanogpt", sys.executable, compile, precision == "bf16")
    python = HERE.parent / ".venv-peers" / "bin" / "python"
    for name in ("litgpt", "transformers"):
        if python.exists():
            peer(name, str(python), True, precision == "bf16")
    found: dict[str, list[dict[str, Any]]] = {label: [] for label in settings}
    for number in range(arguments.rounds):
        for label, command in settings.items():
            print(f"round {number + 1}: {label}", file=sys.stderr)
            if (one := run(command)) is not None:
                found[label].append(one)
    large = run(me(compile=False, vocabulary=65_536, steps=1))
    flops = training_flops_per_token(config(SHAPE["vocabulary"]))
    mine = [one for label, rounds in found.items() if label.startswith("groundup") for one in rounds]
    peak = max(one["peak_gflops"] for one in mine)
    rows = []
    for label, rounds in found.items():
        if rounds:
            rates = [one["tokens_per_second"] for one in rounds]
            middle = statistics.median(rates)
            rows.append(
                {
                    "setting": label, "tokens_per_second": round(middle, 1), "lowest": round(min(rates), 1), "highest": round(max(rates), 1),
                    "model_gflops": round(middle * flops / 1e9, 1), "share_of_peak": round(middle * flops / 1e9 / peak, 4),
                    "first_step_seconds": round(statistics.median(one["first_step_seconds"] for one in rounds), 1),
                }
            )  # fmt: skip
    best = max(row["tokens_per_second"] for row in rows if row["setting"].startswith("groundup"))
    peers = [row["tokens_per_second"] for row in rows if not row["setting"].startswith("groundup")]
    eager = next(row["tokens_per_second"] for row in rows if row["setting"] == f"groundup {precision}")
    result = {
        "machine": machine, "rounds": arguments.rounds, "peak_gflops": round(peak, 1), "share_of_peak": round(best * flops / 1e9 / peak, 4),
        "ratio_to_best_peer": round(best / max(peers), 4) if peers else None, "eager_share_of_best": round(eager / best, 4),
        "vocabulary_65536_peak_rss_gib": round(large["peak_rss_gib"], 3) if large else None,
        "vocabulary_65536_logits_gib": SHAPE["batch"] * SHAPE["context"] * 65_536 * 4 / 2**30, "settings": rows,
    }  # fmt: skip
    if arguments.json:
        print(json.dumps(result))
        return
    print(f"matrix-product peak {result['peak_gflops']} GFLOP/s ({precision}); medians of {arguments.rounds}")
    for row in rows:
        print(
            f"{row['setting']:28} {row['tokens_per_second']:8,.0f} tokens/s ({row['lowest']:,.0f} to {row['highest']:,.0f}) "
            f"{row['model_gflops']:6.1f} GFLOP/s, {100 * row['share_of_peak']:.1f} % of peak; first step {row['first_step_seconds']} s"
        )
    print(f"share of peak {result['share_of_peak']}, ratio to the best peer {result['ratio_to_best_peer']}")
    print(f"peak RSS with a vocabulary of 65,536: {result['vocabulary_65536_peak_rss_gib']} GiB (its logits alone would be 1 GiB)")


if __name__ == "__main__":
    main()
