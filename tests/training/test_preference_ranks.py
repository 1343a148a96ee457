"""Preference objectives through the trainer itself: the same losses on one process and on several, and an exact resume."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from batches import RECIPE, SETTINGS, exact_losses, opened
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor, Shard, distribute_tensor

from groundup.models.build import build
from groundup.models.config import ModelConfig
from groundup.models.decoder import Decoder
from groundup.run import Run
from groundup.training import checkpoint
from groundup.training.objectives import Batch
from groundup.training.optimizers import OptimizerSettings
from groundup.training.preference import DPO, Reward
from groundup.training.token_logps import token_logps
from groundup.training.trainer import train
from groundup.training.value_head import ScoredDecoder

CONFIG = ModelConfig(vocabulary=64, context=16, layers=2, width=32, heads=4, kv_heads=2, feedforward=64)
SHORT = replace(SETTINGS, steps=4, evaluations=0, optimizer=OptimizerSettings("sgd", learning_rate=1e-2))
PAIRS = 4  # a step


@dataclass
class RandomPairs:
    """Pairs of random answers, one a row; the same pairs whatever the number of micro-batches."""

    cut: int
    scored: bool
    fail_at: int | None = None

    def parts(self, step: int) -> int:
        return self.cut

    def __call__(self, step: int, micro: int) -> Batch:
        if step == self.fail_at:
            raise KeyboardInterrupt
        T, rows, size = CONFIG.context, 2 * PAIRS, 2 * PAIRS // self.cut
        draw = torch.Generator().manual_seed(step)
        tokens = torch.randint(64, (rows, T + 1), generator=draw)
        lengths = torch.randint(2, 8, (rows,), generator=draw)
        reference = -4.0 * lengths
        part = slice(micro * size, (micro + 1) * size)
        said = (torch.arange(T) >= 5) & (torch.arange(T) < 5 + lengths[part, None])
        here = torch.arange(size)
        batch = {
            "tokens": tokens[part, :-1], "targets": tokens[part, 1:], "weights": said.float(), "positions": torch.arange(T).expand(size, -1),
            "segments": torch.zeros(size, T, dtype=torch.long), "pairs": here.view(-1, 2), "pair_weights": torch.ones(size // 2),
        }  # fmt: skip
        if self.scored:
            return {**batch, "ends": torch.stack([here, 4 + lengths[part]], dim=1)}
        return {**batch, "answers": torch.where(said, here[:, None], -1), "lengths": lengths[part].float(), "reference": reference[part]}


def fit(path: Path, batches: RandomPairs, settings=SHORT) -> None:
    base = build(CONFIG, seed=1)
    assert isinstance(base, Decoder)
    model = ScoredDecoder.of(base, seed=2) if batches.scored else base
    objective = Reward() if batches.scored else DPO(beta=0.5)
    train(model, objective, batches, settings, stage=opened(path), title="pretrain", tokenizer="t", fresh=False)


def work(rank: int, size: int, folder: str) -> None:
    """What a process of a parallel run does."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=size, timeout=timedelta(seconds=60))
    for scored in (False, True):
        path = Path(folder) / str(scored)
        if rank == 0:
            opened(path)
        dist.barrier()
        fit(path, RandomPairs(4, scored))
    logps_of_a_spread_head(size)
    dist.barrier()
    os._exit(0)


def logps_of_a_spread_head(size: int) -> None:
    """Log-probabilities, entropies and gradients are those of the whole matrix where its rows are spread over processes."""
    draw = torch.Generator().manual_seed(0)
    x, weight, outer = (torch.randn(*shape, generator=draw) for shape in ((7, 5), (11, 5), (7,)))
    targets = torch.randint(11, (7,), generator=draw)
    spread = distribute_tensor(weight, init_device_mesh("cpu", (size,)), [Shard(0)])
    found = []
    for matrix in (weight, spread):
        leaves = [x.clone().requires_grad_(), matrix.detach().clone().requires_grad_()]
        one = token_logps(*leaves, targets, softcap=3.0)
        gradients = torch.autograd.grad((one.logps_N * outer).sum(), leaves)
        found.append([one.logps_N, one.entropy_N, *(each.full_tensor() if isinstance(each, DTensor) else each for each in gradients)])
    for whole, part in zip(*found, strict=True):
        torch.testing.assert_close(part, whole, atol=1e-6, rtol=1e-5)


def curve(path: Path) -> list[float]:
    return [value for event in Run(path, RECIPE, None).events("train") for value in (event["loss"], event["accuracy"], event["margin"])]


def weights(path: Path) -> dict[str, torch.Tensor]:
    newest = checkpoint.newest(path / ".checkpoints.partial")
    assert newest is not None
    return checkpoint._tensors(newest, "model")


@pytest.mark.parametrize("size", [2, pytest.param(4, marks=pytest.mark.slow)])
def test_processes_compute_what_one_does(tmp_path: Path, size: int) -> None:
    together = tmp_path / "together"
    together.mkdir()
    mp.spawn(work, (size, str(together)), nprocs=size)
    for scored in (False, True):
        alone = tmp_path / str(scored)
        fit(alone, RandomPairs(1, scored))
        assert len(exact_losses(alone)) == SHORT.steps
        assert exact_losses(together / str(scored)) == pytest.approx(exact_losses(alone), abs=1e-6)
        assert curve(together / str(scored)) == pytest.approx(curve(alone), abs=2e-5)  # logged to five places
        for name, known in weights(alone).items():
            assert (weights(together / str(scored))[name] - known).abs().max() <= 1e-6, name


@pytest.mark.parametrize("scored", [False, True])
def test_a_run_cut_off_ends_in_the_same_bits(tmp_path: Path, scored: bool) -> None:
    often = replace(SHORT, checkpoint_seconds=0.0)
    fit(tmp_path / "whole", RandomPairs(2, scored), often)
    with pytest.raises(KeyboardInterrupt):
        fit(tmp_path / "cut", RandomPairs(2, scored, fail_at=2), often)
    fit(tmp_path / "cut", RandomPairs(2, scored), often)
    whole, cut = weights(tmp_path / "whole"), weights(tmp_path / "cut")
    assert all(torch.equal(value, cut[name]) for name, value in whole.items())
