"""kill -9 at many random moments: does what is built end in the same bits?

    python benchmarks/kill.py [--kills 20] [--seed 1] [--json]              the demo's build, in every stage
    python benchmarks/kill.py --methods [sft ppo ...] [--kills 60]          every method of tuning, after one base

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
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

STAGES = {
    "collect": "corpus/collected", "clean": "corpus/clean", "tokenizer": "tokenizer", "tokens": "tokens", "plan": "plan",
    "pretrain": "checkpoints", "tune": "dialogue/1-sft", "evaluate": "evaluation",
}  # fmt: skip
FIXED = ["training.steps=120", "dialogue.steps=50"]
NOT_COMPARED = (".lock", "log.jsonl", "manifest.json", "plan.json", "report.html", "funnel.html")

ANSWERS = {"episodes": 128, "batch": 16, "group": 4, "max_tokens": 12, "looks": 1}
METHODS: dict[str, list[Any]] = {
    "sft": ["sft"],
    "lima": [{"method": "lima", "examples": 100, "epochs": 4}],
    "openchat": [{"method": "openchat", "classes": {"good": 1.0, "fair": 0.3}, "epochs": 3}],
    "reward": ["sft", {"method": "reward", "epochs": 2, "batch": 16}],
    "ppo": ["sft", {"method": "reward", "batch": 16}, {"method": "ppo", "episodes": 128, "rollouts": 32, "minibatch": 8, "max_tokens": 12, "looks": 1, "kl_target": 1.0, "pretraining": 1.0}],
    "grpo": ["sft", {"method": "grpo", **ANSWERS}],
    "rloo": ["sft", {"method": "rloo", **ANSWERS}],
    **{name: ["sft", {"method": name, "epochs": 2, "batch": 16}] for name in ("dpo", "ipo", "kto", "orpo", "simpo")},
}  # fmt: skip


@dataclass(frozen=True)
class Build:
    """A command that builds, in a folder of runs."""

    words: Sequence[str]
    runs: Path

    @property
    def run(self) -> Path:
        return self.runs / "demo"

    def start(self) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "groundup.cli", *self.words, "--runs", str(self.runs)]
        return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env={**os.environ, "TERM": "dumb"})

    def finish(self) -> float:
        began = time.monotonic()
        process = self.start()
        _, err = process.communicate()
        if process.returncode:
            sys.exit(f"the build failed:\n{err}")
        return time.monotonic() - began

    def kill_in(self, stages: dict[str, str], stage: str, wait: float) -> str:
        """Run until `wait` seconds after a stage began (or began again), kill it; which stage was at work."""
        process = self.start()
        while process.poll() is None and not (partial(self.run, stages[stage]).exists() and (self.run / ".lock").read_text() == str(process.pid)):
            time.sleep(0.01)
        time.sleep(wait)
        process.kill()
        process.communicate()
        at_work = [name for name in stages if partial(self.run, stages[name]).exists()]
        return at_work[-1] if at_work else "between stages"


def partial(run: Path, folder: str) -> Path:
    final = run / folder
    return final.with_name(f".{final.name}.partial")


def contents(folder: Path) -> dict[str, bytes]:
    files = [path for path in folder.rglob("*") if path.is_file() and path.name not in NOT_COMPARED and "tensorboard" not in path.parts]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def same(expected: dict[str, bytes], found: dict[str, bytes], title: str) -> bool:
    different = sorted(name for name in expected.keys() | found.keys() if found.get(name) != expected.get(name))
    half_written = [name for name in found if Path(name).name.startswith(".") or ".partial" in name]
    say(f"{title}: {len(found)} files, different: {different or 'none'}, half-written: {half_written or 'none'}")
    return not different and not half_written


def seconds_of(run: Path, folder: str) -> float:
    return float(json.loads((run / folder / "manifest.json").read_text())["seconds"])


def the_build(base: Path, kills: int, draw: random.Random) -> dict[str, Any]:
    """The demo's build, killed in every stage."""
    words = ["build", "demo", *FIXED]
    whole = Build(words, base / "whole")
    seconds = whole.finish()
    expected = contents(whole.run)
    # a build is killed in every stage once, in order; the last build in as many, drawn at random, as are left
    rounds: list[list[str]] = []
    while (left := kills - sum(map(len, rounds))) > 0:
        rounds.append(sorted(draw.sample(list(STAGES), min(left, len(STAGES))), key=list(STAGES).index))
    hits: list[str] = []
    identical = True
    for number, targets in enumerate(rounds):
        killed = Build(words, base / f"killed-{number}")
        for stage in targets:
            hits.append(killed.kill_in(STAGES, stage, draw.uniform(0, 0.5) * seconds_of(whole.run, STAGES[stage])))
            say(f"build {number}: killed in {hits[-1]}")
        killed.finish()
        identical = same(expected, contents(killed.run), f"build {number}") and identical
    return {
        "undisturbed_seconds": round(seconds, 1), "kills": len(hits), "hits": {name: hits.count(name) for name in sorted(set(hits))},
        "files_compared": len(expected), "identical": identical,
    }  # fmt: skip


def the_methods(base: Path, kills: int, draw: random.Random, methods: Sequence[str]) -> dict[str, Any]:
    """Each method's chain, killed in its last stage; of one base, whose build is not killed."""
    files = material(base)
    first = Build(["pretrain", "demo", *FIXED, "training.steps=60"], base / "first")
    first.finish()
    hits: dict[str, int] = {}
    identical: dict[str, bool] = {}
    for method in methods:
        stages = METHODS[method]
        learned = {"pairs": [files["classes" if method == "openchat" else "pairs"]], "preferences": [files["preferences"]], "prompts": [files["prompts"]] if method in ("grpo", "rloo") else []}
        words = [
            "tune", "demo", "training.steps=60", "training.checkpoint_seconds=0.3", "dialogue.steps=30", f"dialogue.stages={json.dumps(stages)}", "dialogue.questions=[]",
            *(f"dialogue.{name}={json.dumps(value)}" for name, value in learned.items()),
        ]  # fmt: skip
        whole, killed = (Build(words, base / f"{method}-{name}") for name in ("whole", "killed"))
        for one in (whole, killed):
            shutil.copytree(first.runs, one.runs)
        whole.finish()
        place = f"dialogue/{len(stages)}-{method}"
        took, hits[method] = seconds_of(whole.run, place), 0
        for _ in range(max(1, kills // len(methods))):
            hits[method] += killed.kill_in({method: place}, method, draw.uniform(0, 0.7) * took) == method
        killed.finish()
        identical[method] = same(contents(whole.run / "dialogue"), contents(killed.run / "dialogue"), f"{method}, killed {hits[method]} times within {took:.1f} s of work")
        for one in (whole, killed):
            shutil.rmtree(one.runs)
    return {"hits": hits, "identical_by_method": identical, "identical": all(identical.values())}


def material(folder: Path) -> dict[str, str]:
    """Something to learn from, of all kinds."""
    draw = random.Random(3)
    asked = [f"{draw.choice(('red', 'blue', 'ten', 'sea', 'moon'))} {number}" for number in range(300)]
    rows: dict[str, list[dict[str, Any]]] = {
        "pairs": [{"question": one, "answer": f"{one.upper()} is a word of {draw.randint(2, 9)} letters, as far as one can tell from here."} for one in asked],
        "classes": [{"messages": [{"role": "user", "content": one}, {"role": "assistant", "content": one.upper()}], "condition": draw.choice(("good", "fair"))} for one in asked],
        "preferences": [{"prompt": one, "chosen": one.upper() + ".", "rejected": one + "."} for one in asked],
        "prompts": [{"prompt": one, "verify": {"kind": "regex", "pattern": "[A-Z]"}} for one in asked],
    }
    found = {}
    for name, some in rows.items():
        path = folder / f"{name}.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in some))
        found[name] = str(path)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--methods", nargs="*", choices=list(METHODS), help="of tuning; all where none is named")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    draw = random.Random(arguments.seed)
    with tempfile.TemporaryDirectory() as base:
        if arguments.methods is None:
            result = the_build(Path(base), arguments.kills, draw)
        else:
            result = the_methods(Path(base), arguments.kills, draw, arguments.methods or list(METHODS))
    print(json.dumps(result) if arguments.json else "\n".join(f"{key}: {value}" for key, value in result.items()))
    sys.exit(0 if result["identical"] else 1)


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
