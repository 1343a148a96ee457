"""Parts whose gradients are written out agree with torch's own formulas, in value and in gradient."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from groundup.models.config import ModelConfig
from groundup.models.parts.feedforward import Plain
from groundup.models.parts.norm import rms_norm
from groundup.models.parts.position import Rotary, rotate


def same(mine: Callable[..., Tensor], theirs: Callable[..., Tensor], *inputs: Tensor) -> None:
    """Values and all gradients of the two are equal to float64's rounding."""
    inputs = tuple(part.double().requires_grad_() for part in inputs)
    expected, found = theirs(*inputs), mine(*inputs)
    torch.testing.assert_close(found, expected)
    weight = torch.randn_like(expected)
    for a, b in zip(torch.autograd.grad(found, inputs, weight), torch.autograd.grad(expected, inputs, weight), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-6)


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def test_rms_norm_with_and_without_scale() -> None:
    """Both forms against torch's."""
    x, scale = torch.randn(3, 5, 16), torch.randn(16)
    same(lambda x, s: rms_norm(x, s, 1e-3), lambda x, s: F.rms_norm(x, (16,), s, 1e-3), x, scale)
    same(lambda x: rms_norm(x, eps=1e-3), lambda x: F.rms_norm(x, (16,), eps=1e-3), x)


def test_rms_norm_of_a_vector_of_zeros_has_a_finite_gradient() -> None:
    """Padding may be all zeros."""
    x = torch.zeros(2, 4, requires_grad=True)
    rms_norm(x).sum().backward()
    assert x.grad is not None and x.grad.isfinite().all()


def test_rotation() -> None:
    """Against the plain formula; the format of the input is kept."""
    rotary = Rotary(8, 5, 10_000.0)
    cosine, sine = rotary(torch.arange(5)[None])

    def plain(x: Tensor) -> Tensor:
        first, second = x.chunk(2, dim=-1)
        return torch.cat((first * cosine - second * sine, second * cosine + first * sine), dim=-1)

    x = torch.randn(2, 5, 3, 8)
    torch.testing.assert_close(rotate(x, cosine, sine), plain(x))
    x.requires_grad_()
    weight = torch.randn(2, 5, 3, 8)
    mine, theirs = torch.autograd.grad(rotate(x, cosine, sine), x, weight), torch.autograd.grad(plain(x), x, weight)
    torch.testing.assert_close(mine, theirs)
    assert rotate(x.bfloat16(), cosine, sine).dtype == torch.bfloat16


def test_squared_relu() -> None:
    """The whole sublayer against its formula, gradients of its weights as well."""
    config = ModelConfig(vocabulary=8, context=4, layers=1, width=4, heads=1, kv_heads=1, feedforward=8, activation="relu2")
    layer = Plain(config.width, config.feedforward, "relu2").double()
    up, down = layer.up.weight, layer.down.weight
    x = torch.randn(2, 3, 4, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(2, 3, 4, dtype=torch.float64)
    mine = torch.autograd.grad(layer(x), (x, up, down), weight)
    theirs = torch.autograd.grad(F.relu(x @ up.T).square() @ down.T, (x, up, down), weight)
    for a, b in zip(mine, theirs, strict=True):
        torch.testing.assert_close(a, b)
