"""Each optimizer against its closed form or torch's own, and what tells the kinds of decay apart."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from groundup.models.build import build
from groundup.models.config import FAMILIES, ModelConfig
from groundup.training.optimizers import (
    Lion,
    Muon,
    Name,
    Optimizers,
    OptimizerSettings,
    RowAdagrad,
    optimizers,
    orthogonalise,
)

NAMES: tuple[Name, ...] = ("adamw", "adam", "sgd", "adafactor", "lion", "muon")


class Two(nn.Module):
    """A matrix within layers and a vector."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([nn.Linear(24, 40, bias=False)])
        self.scale = nn.Parameter(torch.ones(5))


def gradients(model: nn.Module, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=generator)


def run(model: nn.Module, optimizer: Optimizers | torch.optim.Optimizer, steps: int = 6) -> list[Tensor]:
    for step in range(steps):
        gradients(model, step)
        optimizer.step(1.0) if isinstance(optimizer, Optimizers) else optimizer.step()
    return [parameter.detach().clone() for parameter in model.parameters()]


def twins() -> tuple[Two, Two]:
    torch.manual_seed(0)
    one, other = Two(), Two()
    other.load_state_dict(one.state_dict())
    return one, other


def test_adamw_decays_matrices_alone_and_is_otherwise_its_formula() -> None:
    one, _ = twins()
    w, v = one.blocks[0].weight.detach().clone().double(), one.scale.detach().clone().double()
    settings = OptimizerSettings("adamw", learning_rate=0.01, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.3)
    found = run(one, optimizers(one, settings))
    state = [[torch.zeros_like(w), torch.zeros_like(w)], [torch.zeros_like(v), torch.zeros_like(v)]]
    other = Two()
    for step in range(6):
        gradients(other, step)
        for number, (value, grad, decay) in enumerate(((w, other.blocks[0].weight.grad, 0.3), (v, other.scale.grad, 0.0))):
            assert grad is not None
            m, s = state[number]
            m.mul_(0.9).add_(0.1 * grad)
            s.mul_(0.95).add_(0.05 * grad.double() ** 2)
            value -= 0.01 * decay * value
            value -= 0.01 * (m / (1 - 0.9 ** (step + 1))) / ((s / (1 - 0.95 ** (step + 1))).sqrt() + 1e-8)
    torch.testing.assert_close(found[1].double(), w, atol=1e-6, rtol=0)
    torch.testing.assert_close(found[0].double(), v, atol=1e-6, rtol=0)


@pytest.mark.parametrize("name", ["adam", "sgd", "adafactor"])
def test_torchs_own_are_torchs_own(name: Name) -> None:
    one, other = twins()
    found = run(one, optimizers(one, OptimizerSettings(name, learning_rate=0.01, momentum=0.9, weight_decay=0.3)))
    if name == "adam":
        theirs: torch.optim.Optimizer = torch.optim.Adam(other.parameters(), lr=0.01, betas=(0.9, 0.95))
    elif name == "sgd":
        theirs = torch.optim.SGD(other.parameters(), lr=0.01, momentum=0.9, nesterov=True)
    else:
        theirs = torch.optim.Adafactor([{"params": [other.blocks[0].weight], "weight_decay": 0.3}, {"params": [other.scale]}], lr=0.01)
    for ours, known in zip(found, run(other, theirs), strict=True):
        torch.testing.assert_close(ours, known, atol=1e-6, rtol=1e-5)


def test_lion_is_its_formula() -> None:
    one, other = twins()
    found = run(one, Optimizers([Lion(one.parameters(), lr=0.01, betas=(0.9, 0.99), weight_decay=0.1)]))
    moments = [torch.zeros_like(parameter) for parameter in other.parameters()]
    for step in range(6):
        gradients(other, step)
        with torch.no_grad():
            for parameter, moment in zip(other.parameters(), moments, strict=True):
                grad = parameter.grad
                assert grad is not None
                parameter -= 0.01 * ((0.9 * moment + 0.1 * grad).sign() + 0.1 * parameter)
                moment.mul_(0.99).add_(0.01 * grad)
    for ours, known in zip(found, other.parameters(), strict=True):
        torch.testing.assert_close(ours, known.detach(), atol=1e-6, rtol=0)


def test_row_adagrad_is_its_formula_and_the_same_for_sparse_and_dense_gradients() -> None:
    torch.manual_seed(0)
    sparse, dense = nn.Embedding(9, 4, sparse=True), nn.Embedding(9, 4)
    dense.load_state_dict(sparse.state_dict())
    expected, total = dense.weight.detach().clone(), torch.zeros(9)
    parts = [RowAdagrad(table.parameters(), lr=0.1) for table in (sparse, dense)]
    for step in range(4):
        rows = torch.tensor([step, 2, 2, 7])
        scale = torch.randn(4, 4)
        for table, optimizer in zip((sparse, dense), parts, strict=True):
            table.weight.grad = None
            (table(rows) * scale).sum().backward()
            optimizer.step()
        known = dense.weight.grad
        total += known.square().mean(1)
        expected -= 0.1 * known / (total.sqrt() + 1e-10)[:, None]
        torch.testing.assert_close(dense.weight.detach(), expected)
        torch.testing.assert_close(sparse.weight, dense.weight)


@pytest.mark.parametrize("shape", [(64, 64), (128, 32), (32, 128), (3, 48, 96)])
def test_muons_update_is_orthogonal(shape: tuple[int, ...]) -> None:
    """Singular values within 15 % of 1 for a gradient whose own go down to a hundredth of the largest, and the same
    singular vectors: the polar factor."""
    generator = torch.Generator().manual_seed(1)
    shape = shape if len(shape) == 3 else (1, *shape)
    u, _, vh = torch.linalg.svd(torch.randn(shape, generator=generator), full_matrices=False)
    values = torch.logspace(0, -2, u.shape[-1])
    found = orthogonalise(u @ torch.diag(values) @ vh)
    singular = torch.linalg.svdvals(found)
    assert singular.max() < 1.15 and singular.min() > 0.85
    aligned = u.mT @ found @ vh.mT
    torch.testing.assert_close(aligned, torch.diag_embed(torch.diagonal(aligned, dim1=-2, dim2=-1)), atol=1e-3, rtol=0)


def test_muon_moves_each_stacked_matrix_by_itself() -> None:
    torch.manual_seed(0)
    weight = nn.Parameter(torch.zeros(96, 32))
    weight.grad = torch.randn(96, 32) * torch.tensor([1.0, 50.0, 0.1]).repeat_interleave(32)[:, None]
    Muon([(weight, (32, 32, 32))], lr=0.5, momentum=0.0).step()
    for part in (-weight.detach() / 0.5).split(32):
        assert torch.linalg.svdvals(part).sub(1).abs().max() < 0.2
    tall = nn.Parameter(torch.zeros(128, 32))
    tall.grad = torch.randn(128, 32)
    Muon([(tall, (128,))], lr=0.5, momentum=0.0).step()
    assert torch.linalg.svdvals(tall.detach()).sub(0.5 * math.sqrt(4)).abs().max() < 0.15


def test_muon_is_torchs_muon_but_for_the_iteration() -> None:
    """Same momentum, same direction; torch's five steps of older coefficients end less orthogonal."""
    torch.manual_seed(0)
    one, other = nn.Parameter(torch.randn(48, 48)), nn.Parameter(torch.zeros(48, 48))
    other.data.copy_(one.data)
    ours = Muon([(one, (48,))], lr=0.02, momentum=0.95)
    theirs = torch.optim.Muon([other], lr=0.02, momentum=0.95, weight_decay=0.0, nesterov=True)
    before = one.detach().clone()
    for step in range(5):
        one.grad = torch.randn(48, 48, generator=torch.Generator().manual_seed(step))
        other.grad = one.grad.clone()
        ours.step()
        theirs.step()
    moved, known = (one - before).detach().flatten(), (other - before).detach().flatten()
    assert torch.cosine_similarity(moved, known, dim=0) > 0.98


def test_every_parameter_has_one_optimizer_and_muon_the_matrices_of_layers(tiny: ModelConfig) -> None:
    config = tiny.model_copy(update={**FAMILIES["fast"], "ngram_rows": (100, 50), "width": 64, "feedforward": 128})
    model = build(config, seed=1)
    for name in NAMES:
        owned = [id(p) for part in optimizers(model, OptimizerSettings(name)).parts for g in part.param_groups for p in g["params"]]
        assert sorted(owned) == sorted(id(parameter) for parameter in model.parameters())
    muon = optimizers(model, OptimizerSettings("muon")).parts[0]
    names = {name for name, parameter in model.named_parameters() if any(parameter is p for p in muon.param_groups[0]["params"])}
    assert names == {f"blocks.{n}.{part}.weight" for n in (0, 1) for part in ("attention.qkv", "attention.out", "feedforward.up", "feedforward.down")}


@pytest.mark.parametrize("name", NAMES)
def test_state_survives_a_round_trip(name: Name) -> None:
    one, other = twins()
    first, second = (optimizers(model, OptimizerSettings(name)) for model in (one, other))
    run(one, first, 3)
    other.load_state_dict(one.state_dict())
    for mine, theirs in zip(one.parameters(), other.parameters(), strict=True):
        second.set_state(theirs, {key: value.clone() for key, value in first.state_of(mine).items()})
    for model, optimizer in ((one, first), (other, second)):
        gradients(model, 9)
        optimizer.step(0.5)
    for a, b in zip(one.parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b)


def test_the_share_scales_every_rate() -> None:
    one, other = twins()
    run(one, optimizers(one, OptimizerSettings("sgd", learning_rate=0.1, momentum=0.0)), 1)
    before = [parameter.detach().clone() for parameter in other.parameters()]
    gradients(other, 0)
    optimizers(other, OptimizerSettings("sgd", learning_rate=0.2, momentum=0.0)).step(0.5)
    for a, b, start in zip(one.parameters(), other.parameters(), before, strict=True):
        torch.testing.assert_close(a, b)
        assert not torch.equal(a, start)


@pytest.mark.parametrize("name", NAMES)
def test_state_made_at_once_changes_no_bit(name: Name) -> None:
    one, other = twins()
    early, late = optimizers(one, OptimizerSettings(name)), optimizers(other, OptimizerSettings(name))
    early.begin()
    if name in ("adamw", "adam", "muon"):
        assert all(early.state_of(parameter) for parameter in one.parameters()) and not any(late.state_of(parameter) for parameter in other.parameters())
    for found, expected in zip(run(one, early), run(other, late), strict=True):
        assert torch.equal(found, expected)
