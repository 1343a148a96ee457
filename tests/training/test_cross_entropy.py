"""The chunked head against the plain formula, values and gradients."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from groundup.training import cross_entropy
from groundup.training.cross_entropy import head_loss


def plain(x, weight, targets, weights, softcap, smoothing, z):
    logits = x @ weight.T
    if softcap:
        logits = softcap * torch.tanh(logits / softcap)
    losses = F.cross_entropy(logits, targets, reduction="none", label_smoothing=smoothing)
    losses = losses + z * logits.logsumexp(-1).square()
    return (losses * weights).sum()


@pytest.mark.parametrize("softcap", [0.0, 2.0])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("z", [0.0, 0.01])
@pytest.mark.parametrize("chunk_rows", [1, 7, 1000])
def test_values_and_gradients_are_those_of_the_formula(monkeypatch, softcap, smoothing, z, chunk_rows) -> None:
    V, D, N = 50, 12, 33
    monkeypatch.setattr(cross_entropy, "CHUNK_BYTES", 4 * V * chunk_rows)
    generator = torch.Generator().manual_seed(3)
    x, weight = torch.randn(N, D, generator=generator), torch.randn(V, D, generator=generator)
    targets, weights = torch.randint(V, (N,), generator=generator), torch.rand(N, generator=generator)
    weights[::5] = 0
    results = []
    for one in (head_loss, plain):
        a, b = x.clone().requires_grad_(), weight.clone().requires_grad_()
        if one is plain:
            loss = plain(a, b, targets, weights, softcap, smoothing, z)
        else:
            both = head_loss(a, b, targets, weights, softcap=softcap, label_smoothing=smoothing, z_loss=z)
            loss = both.loss_sum
            torch.testing.assert_close(both.nll_sum, plain(x, weight, targets, weights, softcap, 0.0, 0.0), rtol=1e-5, atol=1e-4)
        (3 * loss).backward()
        results.append((loss.detach(), a.grad, b.grad))
    for ours, known in zip(*results, strict=True):
        torch.testing.assert_close(ours, known, rtol=1e-5, atol=1e-4)


def test_nothing_is_kept_where_no_gradient_is_asked_for() -> None:
    loss = head_loss(torch.randn(4, 3), torch.randn(5, 3), torch.zeros(4, dtype=torch.int64), torch.ones(4))
    assert not loss.loss_sum.requires_grad


def test_bf16_stays_near() -> None:
    torch.manual_seed(0)
    x, weight = torch.randn(20, 16, requires_grad=True), torch.randn(40, 16, requires_grad=True)
    targets, weights = torch.randint(40, (20,)), torch.ones(20)
    exact = head_loss(x, weight, targets, weights).loss_sum
    with torch.autocast("cpu", dtype=torch.bfloat16):
        near = head_loss(x, weight, targets, weights).loss_sum
    near.backward()
    assert float(near.detach()) == pytest.approx(float(exact.detach()), rel=0.01)
    assert x.grad is not None and x.grad.dtype == torch.float32
