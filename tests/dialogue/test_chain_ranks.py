"""Two processes: they share micro-batches and the writing of answers, and one of them keeps the stage."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from grounds import ground

from groundup.dialogue.speaker import Speaker
from groundup.dialogue.tune import chain
from groundup.training import checkpoint

sys.path.append(str(Path(__file__).parents[1] / "training"))
from together import together

DPO = {"stages": ["sft", {"method": "dpo", "batch": 16, "epochs": 1}], "steps": 6}
PPO = {
    "steps": 6,
    "stages": ["sft", {"method": "reward", "epochs": 2, "batch": 16, "learning_rate_share": 1.0}, {"method": "ppo", "episodes": 64, "rollouts": 32, "minibatch": 16, "max_tokens": 6, "kl_target": 0.5}],
}  # fmt: skip


def work(rank: int, size: int, folder: str, section: dict[str, Any], small: int) -> str:
    path = Path(folder)
    if rank:  # on a busy machine it still reads the last checkpoint when the first process is done with the stage
        checkpoint.load_parameters, checkpoint.read_state = late(checkpoint.load_parameters), late(checkpoint.read_state)
    given = ground(path / "run", section, home=path / "files", follows=rank > 0)
    given.planned.update(micro_batch=small, micro_batches=2)  # so that both have some
    return str(chain(given).final)


def late(read: Callable[..., Any]) -> Callable[..., Any]:
    def reading(*given: Any) -> Any:
        time.sleep(0.5)
        return read(*given)

    return reading


def prepared(folder: Path, section: dict[str, Any]) -> None:
    """What the first process alone makes, and a second one waits for."""
    folder.mkdir()
    ground(folder / "run", section, home=folder / "files").run.close()


@pytest.mark.slow
def test_two_processes_learn_what_one_does(tmp_path: Path) -> None:
    for name in ("one", "two"):
        prepared(tmp_path / name, DPO)
    work(0, 1, str(tmp_path / "one"), DPO, 2)
    found = together(2, work, str(tmp_path / "two"), DPO, 2)
    assert found[0] == found[1]
    models = []
    for name in ("one", "two"):
        speaker = Speaker.of(tmp_path / name / "run")
        assert speaker.path.parent.name == "2-dpo"
        models.append(speaker.model().state_dict())
    for name, value in models[0].items():
        torch.testing.assert_close(models[1][name], value, atol=1e-4, rtol=1e-3)


@pytest.mark.slow
def test_two_processes_write_together(tmp_path: Path) -> None:
    prepared(tmp_path / "two", PPO)
    found = together(2, work, str(tmp_path / "two"), PPO, 2)
    assert found[0] == found[1] and found[0].endswith("3-ppo")
    run = ground(tmp_path / "two" / "run", PPO, home=tmp_path / "two" / "files").run
    events = run.events("rollout")
    assert [event["step"] for event in events] == [0, 2] and all(event["beta"] > 0 for event in events)
