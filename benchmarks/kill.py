"""kill -9 at many random moments of the demo's build with fixed steps: does it end in the same bits?

    python benchmarks/kill.py [--kills 20] [--seed 1] [--json]

One build runs undisturbed. Then builds in other folders are killed again and again, each kill aimed at a stage (each one
at least once) after a random share of its time, each followed by the same command. Whatever the killed builds leave in the
end is compared, byte for byte, with the undisturbed one's: the final checkpoints first, then every file but the lock, the log,
manifests and plan (which hold seconds and the measured machine) and the report (which shows them).
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

STAGES = {
    "collect": "corpus/collected", "clean": "corpus/clean", "tokenizer": "tokenizer", "tokens": "tokens", "plan": "plan",
    "pretrain": "checkpoints", "tune": "dialogue/1-sft", "evaluate": "evaluation",
}  # fmt: skip
FIXED = ["training.steps=120", "dialogue.steps=50"]
NOT_COMPARED = (".lock", "log.jsonl", "manifest.json", "plan.json", "report.html", "funnel.html")


def start(folder: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "groundup.cli", "build", "demo", *FIXED, "--runs", str(folder)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env={**os.environ, "TERM": "dumb"})


def finish(folder: Path) -> float:
    began = time.monotonic()
    process = start(folder)
    _, err = process.communicate()
    if process.returncode:
        sys.exit(f"the build failed:\n{err}")
    return time.monotonic() - began


def work(run: Path, stage: str) -> Path:
    final = run / STAGES[stage]
    return final.with_name(f".{final.name}.partial")


def kill_in(folder: Path, stage: str, wait: float) -> str:
    """Run the build until `wait` seconds after a stage began (or began again), kill it; which stage was at work."""
    process = start(folder)
    run = folder / "demo"
    while process.poll() is None and not (work(run, stage).exists() and (run / ".lock").read_text() == str(process.pid)):
        time.sleep(0.01)
    time.sleep(wait)
    process.kill()
    process.communicate()
    at_work = [name for name in STAGES if work(run, name).exists()]
    return at_work[-1] if at_work else "between stages"


def contents(run: Path) -> dict[str, bytes]:
    files = [path for path in run.rglob("*") if path.is_file() and path.name not in NOT_COMPARED and "tensorboard" not in path.parts]
    return {str(path.relative_to(run)): path.read_bytes() for path in files}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    draw = random.Random(arguments.seed)
    with tempfile.TemporaryDirectory() as base:
        whole = Path(base) / "whole"
        seconds = finish(whole)
        expected = contents(whole / "demo")
        took = {name: json.loads((whole / "demo" / folder / "manifest.json").read_text())["seconds"] for name, folder in STAGES.items()}
        # a build is killed in every stage once, in order; the last build in as many, drawn at random, as are left
        rounds: list[list[str]] = []
        while (left := arguments.kills - sum(map(len, rounds))) > 0:
            rounds.append(sorted(draw.sample(list(STAGES), min(left, len(STAGES))), key=list(STAGES).index))
        hits: list[str] = []
        same = True
        for build, targets in enumerate(rounds):
            folder = Path(base) / f"killed-{build}"
            for stage in targets:
                hits.append(kill_in(folder, stage, draw.uniform(0, 0.5) * took[stage]))
                print(f"build {build}: killed in {hits[-1]}", file=sys.stderr)
            finish(folder)
            found = contents(folder / "demo")
            different = sorted(name for name in expected.keys() | found.keys() if found.get(name) != expected.get(name))
            half_written = [name for name in found if Path(name).name.startswith(".") or ".partial" in name]
            same = same and not different and not half_written
            print(f"build {build}: {len(found)} files, different: {different or 'none'}, half-written: {half_written or 'none'}", file=sys.stderr)
    result = {
        "undisturbed_seconds": round(seconds, 1), "kills": len(hits), "hits": {name: hits.count(name) for name in sorted(set(hits))},
        "files_compared": len(expected), "identical": same,
    }  # fmt: skip
    print(json.dumps(result) if arguments.json else "\n".join(f"{key}: {value}" for key, value in result.items()))
    sys.exit(0 if same else 1)


if __name__ == "__main__":
    main()
