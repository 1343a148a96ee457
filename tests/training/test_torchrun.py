"""The command line under torchrun: killed, hung and shrunk, a job ends as if nothing had been."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

SHAPE = [
    "tokens.kind=bytes", "model.family=llama", "model.width=32", "model.heads=4", "model.layers=2", "model.context=32", "training.batch_tokens=512",
    "training.micro_batch=2", "training.steps=40", "training.evaluations=2", "training.checkpoint_seconds=0", "training.track=[]", "parallel.timeout_seconds=20",
    "parallel.zero=2", "training.precision=fp32",
]  # fmt: skip
ENVIRONMENT = {**{name: value for name, value in os.environ.items() if name not in ("RANK", "WORLD_SIZE", "LOCAL_RANK")}, "OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Text, and a run built up to its tokens."""
    folder = tmp_path_factory.mktemp("job")
    (folder / "text").mkdir()
    for number in range(8):
        (folder / "text" / f"{number}.txt").write_text(f"It was the {number}th of many nights, and all of them were long. " * 40)
    call("tokenize", folder, "base", *SHAPE[:-2])
    return folder


def call(command: str, folder: Path, name: str, *more: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "groundup.cli", command, str(folder / "text"), "--runs", str(folder / "runs"), "--name", name, "--json", *more],
        env=ENVIRONMENT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def job(folder: Path, name: str, port: int, *more: str, nodes: str = "1", processes: int = 2) -> subprocess.Popen[str]:
    """torchrun, its words in a file."""
    (folder / "runs").mkdir(exist_ok=True)
    if not (folder / "runs" / name).exists():
        shutil.copytree(folder / "runs" / "base", folder / "runs" / name)
    command = [
        sys.executable, "-m", "torch.distributed.run", f"--nnodes={nodes}", f"--nproc-per-node={processes}", "--max-restarts=5", "--monitor-interval=0.2",
        "--rdzv-backend=c10d", f"--rdzv-endpoint=127.0.0.1:{port}", "--rdzv-id=x", "--rdzv-conf=last_call_timeout=3,join_timeout=60",
        "--module", "groundup.cli", "pretrain", str(folder / "text"), "--runs", str(folder / "runs"), "--name", name, *SHAPE, *more,
    ]  # fmt: skip
    words = (folder / f"{name}-{port}.err").open("a")
    return subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=words, text=True, start_new_session=True)


def workers(of: subprocess.Popen[str]) -> list[psutil.Process]:
    return [child for child in psutil.Process(of.pid).children(recursive=True) if "groundup.cli" in " ".join(child.cmdline())]


def wait_for_step(folder: Path, name: str, step: int) -> None:
    log = folder / "runs" / name / "log.jsonl"
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        if log.exists() and any(json.loads(line).get("step", 0) >= step for line in log.read_text().splitlines() if line.endswith("}")):
            return
        time.sleep(0.05)
    raise AssertionError(f"{name} never came to step {step}")


def final(folder: Path, name: str) -> float:
    manifest = json.loads((folder / "runs" / name / "checkpoints" / "manifest.json").read_text())
    return float(manifest["counts"]["final_loss"])


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_job_survives_and_is_read_by_one_process(prepared: Path) -> None:
    calm = job(prepared, "calm", free_port())
    assert calm.wait(200) == 0
    for number, signal_ in enumerate((signal.SIGKILL, signal.SIGTERM)):
        name = f"hit-{number}"
        hit = job(prepared, name, free_port())
        wait_for_step(prepared, name, 15)
        workers(hit)[-1].send_signal(signal_)
        code = hit.wait(200)
        if signal_ is signal.SIGTERM:  # preemption: all save and end well; the same command goes on
            assert code == 0
            assert not (prepared / "runs" / name / "checkpoints").exists()
            assert job(prepared, name, free_port()).wait(200) == 0
        else:
            assert code == 0
        assert final(prepared, name) == pytest.approx(final(prepared, "calm"), abs=1e-6)
    said = subprocess.run(
        [sys.executable, "-m", "groundup.cli", "generate", str(prepared / "runs" / "calm"), "It was", "--max-tokens", "5"], env=ENVIRONMENT, check=True,
        capture_output=True, text=True,
    )  # fmt: skip
    assert said.stdout.strip()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_job_goes_on_without_a_lost_node(prepared: Path) -> None:
    port = free_port()
    more = ("training.steps=400", "training.checkpoint_seconds=1")
    first = job(prepared, "shrunk", port, *more, nodes="1:2", processes=1)
    time.sleep(2)
    second = job(prepared, "shrunk", port, *more, nodes="1:2", processes=1)
    wait_for_step(prepared, "shrunk", 40)
    for lost in (second, *workers(second)):  # workers have sessions of their own
        lost.send_signal(signal.SIGKILL)
    assert first.wait(300) == 0
    rows = [json.loads(line) for line in (prepared / "runs" / "shrunk" / "log.jsonl").read_text().splitlines()]
    assert max(row["step"] for row in rows if row["event"] == "train") == 400
    assert {len(row.get("process_seconds", [0])) for row in rows if row["event"] == "train"} == {1, 2}  # two processes, then one


def test_a_plan_without_its_processes_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("text")
    done = subprocess.run(
        [sys.executable, "-m", "groundup.cli", "pretrain", str(tmp_path), "--runs", str(tmp_path / "runs"), "parallel.tp=2"], env=ENVIRONMENT, capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "1 process for tp 2 x pp 1. Start a multiple of 2: torchrun --nproc-per-node 2" in done.stderr
    assert not (tmp_path / "runs").exists()
