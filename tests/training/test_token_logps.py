"""Log-probabilities of tokens, their gradients and entropies are those of all the logits."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from groundup.training import cross_entropy, token_logps


@pytest.mark.parametrize("softcap", [0.0, 3.0])
@pytest.mark.parametrize("chunk", [1 << 30, 4 * 11 * 3])
def test_they_equal_the_whole_softmax(softcap: float, chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token_logps, "CHUNK_BYTES", chunk)
    monkeypatch.setattr(cross_entropy, "CHUNK_BYTES", chunk)
    draw = torch.Generator().manual_seed(0)
    x, weight = (torch.randn(*shape, generator=draw, dtype=torch.float64).requires_grad_() for shape in ((7, 5), (11, 5)))
    targets, outer = torch.randint(11, (7,), generator=draw), torch.randn(7, generator=draw, dtype=torch.float64)
    found = token_logps.token_logps(x, weight, targets, softcap=softcap)
    scores = x @ weight.T
    scores = softcap * torch.tanh(scores / softcap) if softcap else scores
    logp = F.log_softmax(scores, dim=-1)
    expected = logp.gather(1, targets[:, None])[:, 0]
    torch.testing.assert_close(found.logps_N, expected)
    torch.testing.assert_close(found.entropy_N, -(logp.exp() * logp).sum(-1))
    ours = torch.autograd.grad((found.logps_N * outer).sum().tanh(), (x, weight))
    theirs = torch.autograd.grad((expected * outer).sum().tanh(), (x, weight))
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other)


def test_no_tokens_are_no_trouble() -> None:
    x, weight = torch.zeros(0, 5, requires_grad=True), torch.randn(11, 5, requires_grad=True)
    found = token_logps.token_logps(x, weight, torch.zeros(0, dtype=torch.long))
    assert found.logps_N.shape == found.entropy_N.shape == (0,)
    found.logps_N.sum().backward()
    assert weight.grad is not None and not weight.grad.any()


def test_sums_by_owner() -> None:
    values = torch.tensor([1.0, 2.0, 4.0], requires_grad=True)
    assert token_logps.summed(values, torch.tensor([2, 0, 2]), 4).tolist() == [2.0, 0.0, 5.0, 0.0]
