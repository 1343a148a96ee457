"""Does a job of several processes survive what happens to jobs? Runs of four processes with one disaster each, at a random moment.

    python benchmarks/chaos.py [--runs 30] [--plan zero=2] [--processes 4] [--first 0] [--json]

Each run is torchrun with restarts over `groundup pretrain`, on text made up here. The disasters, in turn: a process is killed
(kill -9), a process hangs (SIGSTOP), the disk is full for a while (a small tmpfs filled up; needs root, else files are limited to
nothing by prlimit). A run counts where it ends by itself with the final loss of a run that nothing happened to, to 1e-6.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil

DISASTERS = ("kill", "stop", "full")
SHAPE = [
    "tokens.kind=bytes", "model.family=llama", "model.width=64", "model.heads=4", "model.layers=4", "model.context=64", "training.batch_tokens=2048",
    "training.micro_batch=4", "training.steps=120", "training.evaluations=0", "training.checkpoint_seconds=0.5", "training.track=[]",
    "training.precision=fp32", "parallel.timeout_seconds=20", "clean.held_out.fraction=0.1",
]  # fmt: skip
TMPFS_MIB = 64


def text(folder: Path) -> None:
    """Some text with something to learn."""
    draw = random.Random(0)
    words = ["".join(draw.choices("abcdefghijklmnopqrstuvwxyz", k=draw.randint(2, 7))) for _ in range(200)]
    folder.mkdir()
    for number in range(40):
        (folder / f"{number}.txt").write_text(". ".join(" ".join(draw.choices(words, k=8)) for _ in range(120)))


def command(data: Path, runs: Path, plan: list[str], processes: int) -> list[str]:
    """One job."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    return [
        sys.executable, "-m", "torch.distributed.run", f"--nproc-per-node={processes}", "--max-restarts=20", "--monitor-interval=0.5", "--rdzv-backend=c10d",
        f"--rdzv-endpoint=127.0.0.1:{port}", "--module", "groundup.cli", "pretrain", str(data), "--runs", str(runs), "--name", "job", "--json", *SHAPE, *plan,
    ]  # fmt: skip


def environment() -> dict[str, str]:
    """One thread a process; nothing of a job around this one."""
    return {**{name: value for name, value in os.environ.items() if name not in ("RANK", "WORLD_SIZE", "LOCAL_RANK")}, "OMP_NUM_THREADS": "1"}


def final(runs: Path) -> dict[str, Any] | None:
    """The figures of a finished job."""
    path = runs / "job" / "checkpoints" / "manifest.json"
    return json.loads(path.read_text())["counts"] if path.is_file() else None


def workers(job: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """The job's processes that train, in no order."""
    try:
        return [child for child in psutil.Process(job.pid).children(recursive=True) if "groundup.cli" in " ".join(child.cmdline())]
    except psutil.Error:
        return []


def steps_done(runs: Path) -> int:
    """How far the log says a job is."""
    path = runs / "job" / "log.jsonl"
    if not path.is_file():
        return 0
    rows = [json.loads(line) for line in path.read_text().splitlines() if '"train"' in line and line.endswith("}")]
    return max((row["step"] for row in rows if row["event"] == "train"), default=0)


def disaster(kind: str, job: subprocess.Popen[bytes], runs: Path, draw: random.Random) -> str:
    """Let it happen; returns what it was."""
    there = workers(job)
    if not there:
        return "nobody was there"
    victim = draw.choice(there)
    if kind == "kill":
        victim.send_signal(signal.SIGKILL)
        return f"kill -9 of {victim.pid}"
    if kind == "stop":
        victim.send_signal(signal.SIGSTOP)
        return f"SIGSTOP of {victim.pid}"
    seconds = draw.uniform(2, 8)
    if runs.is_mount():
        filler = runs / "filler"
        with filler.open("wb") as file:
            try:
                while True:
                    file.write(b"x" * 2**16)
                    file.flush()
            except OSError:
                pass
        time.sleep(seconds)
        filler.unlink()
        return f"disk full for {seconds:.1f} s"
    for one in there:
        subprocess.run(["prlimit", f"--pid={one.pid}", "--fsize=1:"], check=False)
    time.sleep(seconds)
    for one in workers(job):
        subprocess.run(["prlimit", f"--pid={one.pid}", "--fsize=unlimited:"], check=False)
    return f"no file can be written for {seconds:.1f} s"


def one(number: int, base: Path, data: Path, plan: list[str], processes: int, kind: str | None, limit: float = 420) -> dict[str, Any]:
    """A job with a disaster (None: without)."""
    draw = random.Random(number)
    with tempfile.TemporaryDirectory() as folder:
        runs = Path(folder) / "runs"
        runs.mkdir()
        mounted = kind == "full" and os.geteuid() == 0 and not subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={TMPFS_MIB}m", "tmpfs", str(runs)], check=False, capture_output=True
        ).returncode  # fmt: skip
        try:
            shutil.copytree(base, runs / "job")
            at = draw.randint(1, 115)
            began = time.monotonic()
            with (Path(folder) / "err").open("wb") as err:
                job = subprocess.Popen(command(data, runs, plan, processes), env=environment(), stdout=subprocess.DEVNULL, stderr=err, start_new_session=True)
                happened = None
                while job.poll() is None and time.monotonic() - began < limit:
                    if kind and happened is None and steps_done(runs) >= at:
                        time.sleep(draw.random())
                        happened = disaster(kind, job, runs, draw)
                    time.sleep(0.1)
                if job.poll() is None:
                    os.killpg(job.pid, signal.SIGKILL)
                for left in workers(job):
                    left.kill()
            counts, rc = final(runs), job.wait()
            said = (Path(folder) / "err").read_text(errors="replace")
        finally:
            if mounted:
                subprocess.run(["umount", "-l", str(runs)], check=False)
    return {
        "run": number, "disaster": kind, "at_step": at, "happened": happened, "exit_code": rc, "seconds": round(time.monotonic() - began, 1),
        "final_loss": counts and counts["final_loss"], "restarts": said.count("going on from step"), "last_words": said.strip().splitlines()[-3:] if rc else [],
    }  # fmt: skip


def main() -> None:
    """Prepare, disturb, count."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=30)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--processes", type=int, default=4)
    parser.add_argument("--plan", nargs="*", default=["zero=2"], help="of the recipe's parallel section, as zero=2 or pp=2")
    parser.add_argument("--json", action="store_true")
    wish = parser.parse_args()
    plan = [f"parallel.{one}" for one in wish.plan]
    with tempfile.TemporaryDirectory() as folder:
        data, prepared = Path(folder) / "text", Path(folder) / "prepared"
        text(data)
        subprocess.run(
            [sys.executable, "-m", "groundup.cli", "tokenize", str(data), "--runs", str(prepared), "--name", "job", *SHAPE], check=True, env=environment(),
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )
        base = prepared / "job"
        calm = one(-1, base, data, plan, wish.processes, None)
        print(calm, file=sys.stderr, flush=True)
        rows = []
        for number in range(wish.first, wish.first + wish.runs):
            rows.append(one(number, base, data, plan, wish.processes, DISASTERS[number % 3]))
            print(rows[-1], file=sys.stderr, flush=True)
    good = [row for row in rows if row["exit_code"] == 0 and row["final_loss"] is not None and abs(row["final_loss"] - calm["final_loss"]) <= 1e-6]
    result = {
        "runs": len(rows), "same_final_loss": len(good), "disturbed": sum(row["happened"] is not None for row in rows), "undisturbed_loss": calm["final_loss"],
        "undisturbed_seconds": calm["seconds"], "median_seconds": sorted(row["seconds"] for row in rows)[len(rows) // 2], "rows": rows,
    }  # fmt: skip
    print(json.dumps(result) if wish.json else f"{len(good)} of {len(rows)} runs ended with the loss of a run that nothing happened to ({calm['final_loss']:.6f})")


if __name__ == "__main__":
    main()
