"""What the planner says of this machine beside what runs then took: ten small runs, each another family, size, context or way.

    python benchmarks/planned.py --data FOLDER [--only NAME ...] [--json]

Each is `groundup pretrain` with a number of steps; the plan is made before the first of them, from the closed form of memory and
from passes tried on a slice of the model. Asked: memory within 15 %, time within 20 %. Some 8 minutes on two free cores; on busy ones only
the memory says anything.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from typing import Any

RUNS: dict[str, list[str]] = {
    "llama, 12 layers": ["model.family=llama", "model.layers=12", "model.width=256", "model.heads=4", "model.context=256", "training.batch_tokens=8192", "training.micro_batch=16", "training.steps=4"],
    "llama, wide": ["model.family=llama", "model.layers=4", "model.width=768", "model.heads=12", "model.context=256", "training.batch_tokens=2048", "training.micro_batch=8", "training.steps=4"],
    "gpt2, context 1024": ["model.family=gpt2", "model.layers=8", "model.width=256", "model.heads=4", "model.context=1024", "training.batch_tokens=8192", "training.micro_batch=8", "training.steps=4"],
    "gpt2, recomputed": ["model.family=gpt2", "model.layers=8", "model.width=256", "model.heads=4", "model.context=1024", "training.batch_tokens=8192", "training.micro_batch=8", "training.steps=4", "parallel.recompute=full"],
    "llama, recomputed in part": ["model.family=llama", "model.layers=8", "model.width=384", "model.heads=6", "model.context=512", "training.batch_tokens=4096", "training.micro_batch=8", "training.steps=4", "parallel.recompute=selective"],
    "falcon, micro-batches": ["model.family=falcon", "model.layers=6", "model.width=512", "model.heads=8", "model.context=256", "training.batch_tokens=4096", "training.micro_batch=8", "training.steps=4"],
    "moe": ["model.family=moe", "model.layers=4", "model.width=256", "model.heads=4", "model.context=256", "training.batch_tokens=4096", "training.micro_batch=16", "training.steps=4"],
    "bert": ["model.family=bert", "model.layers=8", "model.width=384", "model.heads=6", "model.context=256", "training.batch_tokens=4096", "training.micro_batch=16", "training.steps=4", "training.objective=masked"],
    "t5": ["model.family=t5", "model.layers=4", "model.width=384", "model.heads=6", "model.context=512", "training.batch_tokens=4096", "training.micro_batch=8", "training.steps=4"],
    "fast, muon": ["model.family=fast", "model.layers=6", "model.width=256", "model.heads=4", "model.context=256", "training.batch_tokens=8192", "training.micro_batch=32", "training.steps=4", "model.ngram_rows=[]"],
}  # fmt: skip
SHARED = ["training.compile=false", "training.evaluations=0", "tokens.vocabulary=4096"]


def measured(name: str, data: str) -> dict[str, Any]:
    """One run."""
    with tempfile.TemporaryDirectory() as runs:
        began = time.perf_counter()
        command = [sys.executable, "-m", "groundup.cli", "pretrain", data, "--runs", runs, "--name", "run", "--json", *SHARED, *RUNS[name]]
        done = subprocess.run(command, capture_output=True, text=True, env=os.environ, check=False)
        if done.returncode:
            return {"run": name, "error": (done.stderr.strip() or f"exit {done.returncode}").splitlines()[-1]}
        found = json.loads(done.stdout)
    return {
        "run": name, "parameters": found["parameters"], "predicted_memory_gib": found["predicted_memory_gib"], "memory_gib": found["peak_memory_gib"],
        "memory_off": round(found["predicted_memory_gib"] / found["peak_memory_gib"] - 1, 4), "predicted_seconds": found["predicted_seconds"],
        "seconds": found["training_seconds"], "seconds_off": round(found["predicted_seconds"] / found["training_seconds"] - 1, 4),
        "wall_seconds": round(time.perf_counter() - began, 1),
    }  # fmt: skip


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--only", nargs="*", choices=list(RUNS), default=list(RUNS), metavar="NAME")
    parser.add_argument("--json", action="store_true")
    wish = parser.parse_args()
    rows = []
    for name in wish.only:
        rows.append(measured(name, wish.data))
        print(rows[-1], file=sys.stderr, flush=True)
    if wish.json:
        print(json.dumps({"runs": rows}))
        return
    print("| run | parameters | memory said (GiB) | was | off | seconds said | were | off |\n|---|---|---|---|---|---|---|---|")
    for row in rows:
        if "error" in row:
            print(f"| {row['run']} | {row['error']} |")
        else:
            print(
                f"| {row['run']} | {row['parameters']:,} | {row['predicted_memory_gib']:.2f} | {row['memory_gib']:.2f} | {100 * row['memory_off']:+.0f} % "
                f"| {row['predicted_seconds']:.1f} | {row['seconds']:.1f} | {100 * row['seconds_off']:+.0f} % |"
            )


if __name__ == "__main__":
    main()
