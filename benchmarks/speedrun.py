"""Time to quality on tinyshakespeare by characters: how soon is a loss reached, and which loss after so many seconds.

    python benchmarks/speedrun.py --data FOLDER [--seeds 5] [--short 8.5] [--seconds 96] [--long 255] [--nanogpt PATH] [--json]

FOLDER holds input.txt. Each point is a whole build of `recipes/shakespeare-char.yaml` (--long: of
`recipes/shakespeare-char-long.yaml`; 0 leaves it out) with its own budget and schedule: the clock runs over planning
and pretraining (model, measuring the machine, steps, logs, checkpoints), after imports and after the text is tokenised. Training is on the first 90 %, the loss (nats per character) over all of the last 10 %, by
a window of the model's context that slides by a quarter of it. `seconds_to_1_886` is the whole time of the shortest
budget whose end is at most 1.886; 1.886 is where nanoGPT's CPU recipe ends, which runs first where its clone is given.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from prepared import prepared

TARGET = 1.886
PLANNING = 5.5  # seconds to measure the machine and the model before the first step
SHARE = 0.95  # of what is left: the last checkpoint, and a shared machine's swing
NANOGPT = (
    "config/train_shakespeare_char.py --device=cpu --compile=False --eval_iters=20 --log_interval=100 --block_size=64 --batch_size=12 "
    "--n_layer=4 --n_head=4 --n_embd=128 --max_iters=2000 --lr_decay_iters=2000 --dropout=0.0"
).split()


def nanogpt(path: Path, text: str) -> dict[str, float]:
    """nanoGPT's CPU recipe as its README gives it; seconds without its imports."""
    import pickle  # nanoGPT's own format

    folder = path / "data" / "shakespeare_char"
    letters = sorted(set(text))
    ids = np.array([letters.index(letter) for letter in text], dtype=np.uint16)
    cut = int(0.9 * len(ids))
    ids[:cut].tofile(folder / "train.bin")
    ids[cut:].tofile(folder / "val.bin")
    meta = {"vocab_size": len(letters), "stoi": {c: i for i, c in enumerate(letters)}, "itos": dict(enumerate(letters))}
    (folder / "meta.pkl").write_bytes(pickle.dumps(meta))
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import model, torch._dynamo"], cwd=path, check=True)
    imports = time.perf_counter() - began
    with tempfile.TemporaryDirectory() as out:
        began = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "train.py", *NANOGPT, f"--out_dir={out}"], cwd=path, check=True, capture_output=True, text=True
        )
        seconds = time.perf_counter() - began - imports
    losses = re.findall(r"step \d+: train loss [\d.]+, val loss ([\d.]+)", done.stdout)
    return {"seconds": round(seconds, 1), "loss": float(losses[-1])}


def timed(recipe: str, data: str, runs: Path, seconds: float, seed: int, extra: list[str]) -> dict[str, float]:
    """One build with a budget; its true seconds and its loss."""
    from groundup.build import load, pretrain
    from groundup.evaluation.intrinsic import bits_per_byte
    from groundup.planning.budget import plan
    from groundup.tokens.shards import TokenShards
    from groundup.tokens.tokenizer import Tokenizer

    minutes = (seconds - PLANNING) * SHARE / 60
    run, tokenizer, shards = prepared(recipe, data, runs, f"budget-{seconds:g}-{seed}", minutes, seed, extra)
    try:
        began = time.perf_counter()
        base = pretrain(run, tokenizer, shards, plan(run, tokenizer, shards))
        spent = time.perf_counter() - began
        model = load(base, Tokenizer.load(tokenizer.final))
        context = model.config.context
        measured = bits_per_byte(model, TokenShards(shards.final).split("held-out"), context, context // 4)
    finally:
        run.close()
    return {
        "budget_seconds": seconds, "seconds": round(spent, 2), "seed": seed, "loss": round(measured["bits_per_byte"] * math.log(2), 4),
        "held_out_characters": measured["held_out_bytes"], "tokens_per_second": base.manifest["counts"]["tokens_per_second"],
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="folder with input.txt")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=96.0)
    parser.add_argument("--short", type=float, default=8.5, help="the budget to reach 1.886 in")
    parser.add_argument("--long", type=float, default=0.0, help="the budget of the long recipe; 0: without it")
    parser.add_argument("--nanogpt", default=os.environ.get("NANOGPT"), help="path of a clone of nanoGPT")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("overrides", nargs="*", help="section.key=value")
    arguments = parser.parse_args()
    budgets = {
        "short": ("shakespeare-char", arguments.short),
        "middle": ("shakespeare-char", arguments.seconds),
        "long": ("shakespeare-char-long", arguments.long),
    }
    if any(seconds and seconds <= PLANNING for _, seconds in budgets.values()):
        parser.error(f"a budget must be over the {PLANNING} seconds that planning takes")
    import torch._dynamo  # noqa: F401  (torch's optimizers import it at their first use)

    import groundup.build  # noqa: F401  (imports are not counted)

    peer = nanogpt(Path(arguments.nanogpt), (Path(arguments.data) / "input.txt").read_text()) if arguments.nanogpt else None
    print(f"nanoGPT: {peer}", file=sys.stderr)
    data = str(Path(arguments.data).resolve())
    ended: dict[str, list[dict[str, float]]] = {name: [] for name in budgets}
    with tempfile.TemporaryDirectory() as runs:
        for seed in range(arguments.first_seed, arguments.first_seed + arguments.seeds):
            for name, (recipe, seconds) in budgets.items():
                if seconds:
                    ended[name].append(timed(recipe, data, Path(runs) / name, seconds, seed, arguments.overrides))
                    print(ended[name][-1], file=sys.stderr)
    short, middle, long = ended.values()
    points = [*short, *middle, *long]
    reached = all(point["loss"] <= TARGET for point in short)
    key = f"loss_at_{arguments.seconds:g}_s"
    losses = [point["loss"] for point in middle]
    result: dict[str, Any] = {
        "seconds_to_1_886": round(statistics.median(point["seconds"] for point in short), 2) if reached else None,
        "loss_at_short": statistics.median(point["loss"] for point in short),
        key: statistics.median(losses), f"{key}_lowest": min(losses), f"{key}_highest": max(losses),
        "seconds": statistics.median(point["seconds"] for point in middle),
        "loss_long": statistics.median(point["loss"] for point in long) if long else None,
        "seconds_long": statistics.median(point["seconds"] for point in long) if long else None, "seeds": arguments.seeds, "nanogpt": peer,
        "share_of_nanogpt_seconds": round(statistics.median(p["seconds"] for p in short) / peer["seconds"], 4) if peer and reached else None,
        "points": points,
    }  # fmt: skip
    if arguments.json:
        print(json.dumps(result))
        return
    if peer:
        print(f"nanoGPT's CPU recipe: {peer['loss']:.3f} after {peer['seconds']:.1f} s")
    for point in points:
        print(f"seed {point['seed']}: {point['loss']:.4f} nats per character after {point['seconds']:.1f} s")
    print(f"medians: {result['loss_at_short']:.4f} after {result['seconds_to_1_886']} s (target {TARGET}); {result[key]:.4f} after {result['seconds']:.1f} s")
    if long:
        print(f"long: {result['loss_long']:.4f} after {result['seconds_long']:.1f} s")


if __name__ == "__main__":
    main()
