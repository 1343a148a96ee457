"""Checkpoints that many processes write load at any other number of processes, and runs go on as if nothing had been."""

from __future__ import annotations

import json
import resource
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from batches import SETTINGS, opened
from together import ADAMW, Rows, alone, config_of, objective_of, sharded, take_steps, together, weights_of
from torch import Tensor

from groundup.errors import GroundupError
from groundup.models.build import build
from groundup.recipe.parallel import Parallel
from groundup.training import checkpoint
from groundup.training.engine import Whole
from groundup.training.optimizers import OptimizerSettings
from groundup.training.trainer import train

MESHES: dict[str, tuple[int, dict[str, Any]]] = {
    "2x1x1": (2, {"pp": 2}), "1x4x1": (4, {"zero": 3}), "1x1x2": (2, {"tp": 2}), "2x2x2": (8, {"pp": 2, "tp": 2, "zero": 2}),
}  # fmt: skip
"""pp x dp x tp."""
MUON = OptimizerSettings("muon", learning_rate=1e-2)
STATE = {"title": "pretrain", "tokenizer": "t", "settings": {}, "guard": {}}


def states_of(engine: Any) -> dict[str, Tensor]:
    """The optimizer's state whole, under the usual names."""
    from groundup.training.sharded_checkpoint import joined

    own = {
        f"{part.name}:{key}": part.whole(value).clone() for part in engine.parts for key, value in engine.optimizer.state_of(part.local).items()
    }
    everyone: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(everyone, own)
    return joined({name: value for one in everyone for name, value in one.items()})


def written(rank: int, size: int, folder: Path, parallel: dict[str, Any], settings: OptimizerSettings) -> Any:
    """Two steps, a checkpoint, two more steps: weights and optimizer at the checkpoint, and the losses after it."""
    config = config_of("llama")
    engine = sharded(config, Parallel(**parallel), 4, settings, folder)
    take_steps(engine, Rows(config, 4), range(2))
    engine.save(2, STATE, {}, wait=True)
    kept = weights_of(engine), states_of(engine)
    return (*kept, take_steps(engine, Rows(config, 4), (2, 3))) if rank == 0 else (take_steps(engine, Rows(config, 4), (2, 3)) and None)


def read(rank: int, size: int, path: Path, parallel: dict[str, Any], settings: OptimizerSettings) -> Any:
    """The same of a run that goes on from a checkpoint."""
    config = config_of("llama")
    engine = sharded(config, Parallel(**parallel), 4, settings, path.parent)
    engine.restore(path)
    kept = weights_of(engine), states_of(engine)
    return *kept, take_steps(engine, Rows(config, 4), (2, 3))


def same(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert set(found) == set(expected)
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=0, atol=1e-12)


@pytest.mark.parametrize("settings", [ADAMW, pytest.param(MUON, marks=pytest.mark.slow)], ids=["adamw", "muon"])
def test_a_checkpoint_loads_at_any_mesh(tmp_path: Path, settings: OptimizerSettings) -> None:
    size, plan = MESHES["2x2x2"]
    weights, states, losses = together(size, written, tmp_path, plan, settings)[0]
    (path,) = (path for _, path in checkpoint.all_steps(tmp_path))
    assert checkpoint.damage(path) is None
    assert not list(path.rglob("*.distcp"))  # safetensors and JSON alone
    for name in ("2x1x1", "1x4x1", "1x1x2"):
        size, plan = MESHES[name]
        again, state, continued = together(size, read, path, plan, settings)[0]
        same(again, weights)
        same(state, states)
        assert continued == pytest.approx(losses, abs=1e-6)
    config = config_of("llama")
    model = build(config).double()
    engine = Whole(model, objective_of(config), settings, "fp32", tmp_path)
    engine.restore(path)
    same({name: parameter.detach() for name, parameter in model.named_parameters()}, weights)
    if settings is ADAMW:
        known = {f"{name}:{key}": value for name, p in model.named_parameters() for key, value in engine.optimizer.state_of(p).items()}
        same(known, states)
    assert take_steps(engine, Rows(config, 4), (2, 3)) == pytest.approx(losses, abs=1e-6)


def test_a_run_begun_on_one_process_goes_on_on_many(tmp_path: Path) -> None:
    config = config_of("llama")
    model = build(config, seed=3).double()
    engine = Whole(model, objective_of(config), ADAMW, "fp32", tmp_path)
    take_steps(engine, Rows(config, 4), range(2))
    engine.save(2, STATE, {}, wait=True)
    (path,) = (path for _, path in checkpoint.all_steps(tmp_path))
    expected = take_steps(engine, Rows(config, 4), (2, 3))
    weights, _, losses = together(4, read, path, {"pp": 2, "tp": 2}, ADAMW)[0]
    assert losses == pytest.approx(expected, abs=1e-6)
    assert set(weights) == {name for name, _ in model.named_parameters()}


def test_the_weights_are_read_by_one_process(tmp_path: Path) -> None:
    weights, _, _ = together(2, written, tmp_path, {"tp": 2}, ADAMW)[0]
    (path,) = (path for _, path in checkpoint.all_steps(tmp_path))
    model = build(config_of("llama")).double()
    checkpoint.load_parameters(path, model)
    same({name: parameter.detach() for name, parameter in model.named_parameters()}, weights)
    (path / "shards" / next((path / "shards").iterdir()).name).write_bytes(b"x")
    assert "does not match" in (checkpoint.damage(path) or "")


def full_disk(rank: int, size: int, folder: Path) -> list[str]:
    """One process cannot write: training goes on with the checkpoint before; then it can."""
    config = config_of("llama")
    engine = sharded(config, Parallel(zero=2), 2, ADAMW, folder)
    take_steps(engine, Rows(config, 2), range(1))
    engine.save(1, STATE, {}, wait=True)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    if rank == 1:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    engine.save(2, STATE, {}, wait=False)
    engine._settle(wait=True)
    try:
        engine.save(3, STATE, {}, wait=True)
    except GroundupError as error:
        assert "step 3 could not be written" in str(error)
        assert "process 1" in str(error)
    else:
        raise AssertionError("a checkpoint that must be there was not written")
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    take_steps(engine, Rows(config, 2), (1, 2, 3))
    engine.save(4, STATE, {}, wait=False)
    engine._settle(wait=True)
    dist.barrier()
    return sorted(path.name for path in folder.iterdir())


def test_a_full_disk_costs_a_checkpoint_and_not_the_run(tmp_path: Path) -> None:
    assert together(2, full_disk, tmp_path)[0] == ["step-0000001", "step-0000004"]


class Broken(Rows):
    """One micro-batch is no number."""

    def __call__(self, step: int, micro: int) -> dict[str, Tensor]:
        batch = super().__call__(step, micro)
        if (step, micro) == (2, 3):
            batch["weights"][0, 0] = float("nan")
        return batch


def trained(rank: int, size: int, folder: Path, parallel: dict[str, Any], steps: int, stop: int | None, rows: type[Rows], ema: float) -> Any:
    """The trainer over processes; with `stop` it is told to stop there, as SIGTERM does."""
    config = config_of("llama")
    if rank == 0:
        opened(folder)
    dist.barrier()
    stage = opened(folder)
    engine = sharded(config, Parallel(**parallel), 4, ADAMW, stage.work)
    settings = replace(SETTINGS, steps=steps, optimizer=ADAMW, evaluations=2, ema=ema, checkpoint_seconds=0.0 if stop else 1e9)
    source = rows(config, 4)

    def look(model: Any, step: int) -> dict[str, float]:
        found = model.measure(Rows(config, 1), 8, 5)
        return {"loss": found.sums["loss"] / found.sums["weight"]}

    if stop:
        plain = engine.accumulate

        def accumulate(batches: Any, step: int, seed: int) -> Any:
            if step == stop:
                raise KeyboardInterrupt
            return plain(batches, step, seed)

        engine.accumulate = accumulate
    try:
        summary = train(engine, objective_of(config), source, settings, stage=stage, title="pretrain", tokenizer="t", evaluate=look)
    except KeyboardInterrupt:
        return None
    except GroundupError as error:
        return str(error)
    return summary.final_loss, [event["loss"] for event in stage.run.events("evaluation")], weights_of(engine)


@pytest.mark.parametrize("plan, other", [({"zero": 2}, {"tp": 2}), ({"pp": 2}, {"zero": 3})], ids=["zero2-tp2", "pp2-zero3"])
def test_a_cut_run_goes_on_at_another_mesh(tmp_path: Path, plan: dict[str, Any], other: dict[str, Any]) -> None:
    whole = together(2, trained, tmp_path / "whole", plan, 6, None, Rows, 0.5)[0]
    together(2, trained, tmp_path / "cut", plan, 6, 4, Rows, 0.5)
    cut = together(2, trained, tmp_path / "cut", other, 6, None, Rows, 0.5)[0]
    assert cut[0] == pytest.approx(whole[0], abs=1e-6)
    assert cut[1][-1] == pytest.approx(whole[1][-1], abs=1e-6)
    same({name: value.float() for name, value in cut[2].items()}, {name: value.float() for name, value in whole[2].items()})
    losses, _ = alone(config_of("llama"), 4, ADAMW, 1)
    first = next(json.loads(line) for line in (tmp_path / "whole" / "log.jsonl").read_text().splitlines() if '"train"' in line)
    assert first["loss"] == pytest.approx(losses[0], abs=1e-4)
    assert first["slowest_process"] == first["process_seconds"].index(max(first["process_seconds"]))
    assert len(first["process_seconds"]) == 2


def test_a_number_that_is_none_names_its_process_and_batch(tmp_path: Path) -> None:
    for message in together(2, trained, tmp_path, {"zero": 2}, 6, None, Broken, 0.0):
        assert "step 2: a loss that is no number: process 1 in its micro-batch 3" in message
