"""Every family learns tinyshakespeare: one table, the same small size and minutes for each.

    python benchmarks/families.py --data FOLDER [--minutes 2] [--only gpt2 bert ...] [--json]

FOLDER holds input.txt. Each family is built by the command line as a user would (`groundup evaluate`), with one token a byte, 4 layers
(an encoder-decoder: 2 and 2) of width 128 and a context of 128, and its defaults for the rest. For plain left-to-right models the figure
is bits per byte of the held-out tenth; for the others bits per byte of what their objective asks for, given what it shows.
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

FAMILIES = ("llama", "fast", "gpt1", "gpt2", "gpt3", "falcon", "falcon-rw", "palm", "moe", "bert", "transformer", "t5", "xlnet")
MORE = {
    "gpt3": ["model.windows=[0,32]"],
    "transformer": ["model.layers=2"],
    "t5": ["model.layers=2"],
    "moe": ["model.feedforward=128", "model.experts=4"],
    # as published, post-norm and with pairs of sentences, it stands at the bytes' frequencies for longer than these minutes
    "bert": ["model.norm_place=pre", "training.objective=masked"],
}
SHAPE = [
    "tokens.kind=bytes", "model.width=128", "model.heads=4", "model.layers=4", "model.context=128", "training.batch_tokens=2048",
    "training.evaluations=4", "clean.held_out.fraction=0.1", "evaluation.baselines=false", "training.max_epochs=1000",
]  # fmt: skip


def measured(family: str, data: str, minutes: float) -> dict[str, Any]:
    """One family's figures."""
    with tempfile.TemporaryDirectory() as runs:
        began = time.perf_counter()
        command = [
            sys.executable, "-m", "groundup.cli", "evaluate", data, "--runs", runs, "--name", family, "--json", f"model.family={family}", *SHAPE,
            f"training.minutes={minutes}", *MORE.get(family, []),
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, env=os.environ, check=False)
        if done.returncode:
            return {"family": family, "error": done.stderr.strip().splitlines()[-1]}
        found = json.loads(done.stdout)
    value = found["bits_per_byte"] if found["bits_per_byte"] is not None else found["objective_bits_per_byte"]
    return {
        "family": family, "objective": found["objective"], "parameters": found["parameters"], "steps": found["steps"], "bits_per_byte": value,
        "accuracy": found["objective_accuracy"], "tokens_per_second": found["tokens_per_second"], "seconds": round(time.perf_counter() - began, 1),
    }  # fmt: skip


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--minutes", type=float, default=2.0)
    parser.add_argument("--only", nargs="*", default=FAMILIES)
    parser.add_argument("--json", action="store_true")
    wish = parser.parse_args()
    rows = []
    for family in wish.only:
        rows.append(measured(family, wish.data, wish.minutes))
        print(rows[-1], file=sys.stderr)
    if wish.json:
        print(json.dumps({"minutes": wish.minutes, "families": rows}))
        return
    print(f"{'family':<13}{'objective':<26}{'parameters':>12}{'steps':>8}{'tokens/s':>10}{'bits per byte':>15}")
    for row in rows:
        if "error" in row:
            print(f"{row['family']:<13}{row['error']}")
        else:
            print("{family:<13}{objective:<26}{parameters:>12,}{steps:>8,}{tokens_per_second:>10,.0f}{bits_per_byte:>15.3f}".format(**row))


if __name__ == "__main__":
    main()
