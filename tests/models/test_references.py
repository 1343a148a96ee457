"""PaLM and the Transformer of 2017 against the plainest code that follows their papers; values and gradients."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from groundup.models.build import build
from groundup.models.config import resolved

V, T = 53, 11


def woken(**given: Any) -> Any:
    model = build(resolved(**given), seed=0)
    draw = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=draw))
    return model


def same(model: Any, mine: Tensor, other: Tensor) -> None:
    torch.testing.assert_close(mine, other, atol=1e-5, rtol=1e-5)
    target = torch.randint(V, mine.shape[:2], generator=torch.Generator().manual_seed(9)).flatten()
    parameters = list(model.parameters())
    one, two = (torch.autograd.grad(F.cross_entropy(logits.flatten(0, 1), target), parameters, retain_graph=True) for logits in (mine, other))
    for a, b in zip(one, two, strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)


def softmax_attention(q: Tensor, k: Tensor, v: Tensor, hidden: Tensor | None) -> Tensor:
    """One head: q (T, H), k and v (S, H)."""
    scores = q @ k.T / math.sqrt(q.shape[-1])
    if hidden is not None:
        scores = scores.masked_fill(hidden, float("-inf"))
    return scores.softmax(-1) @ v


LATER = torch.ones(T, T, dtype=torch.bool).triu(1)


def test_palm() -> None:
    """y = x + MLP(LN(x)) + Attention(LN(x)); SwiGLU, one key-value head, rotary positions, no biases, shared embedding, scaled
    logits (Chowdhery et al. 2022, section 2)."""
    D, K, H, L = 24, 3, 10, 2
    model = woken(family="palm", vocabulary=V, context=T, layers=L, width=D, heads=K, head_size=H)
    tokens = torch.randint(V, (2, T), generator=torch.Generator().manual_seed(2))
    w = dict(model.named_parameters())

    def turned(x: Tensor) -> Tensor:
        """Pairs (i, i + H/2) of (T, H) turned by place / 10,000^(2i/H)."""
        angle = torch.arange(T)[:, None] * 10_000 ** (-2 * torch.arange(H // 2) / H)
        one, two = x[:, : H // 2], x[:, H // 2 :]
        return torch.cat((one * angle.cos() - two * angle.sin(), two * angle.cos() + one * angle.sin()), dim=1)

    def reference(row: Tensor) -> Tensor:
        x = w["embedding.weight"][row]
        for layer in range(L):
            name = f"blocks.{layer}."
            seen = F.layer_norm(x, (D,), w[name + "attention_norm.weight"], None, 1e-5)
            qkv = seen @ w[name + "attention.qkv.weight"].T
            key, value = turned(qkv[:, K * H : K * H + H]), qkv[:, K * H + H :]
            heads = [softmax_attention(turned(qkv[:, h * H : h * H + H]), key, value, LATER) for h in range(K)]
            gate, up = (seen @ w[name + "feedforward.gate_up.weight"].T).chunk(2, dim=-1)
            x = x + torch.cat(heads, dim=1) @ w[name + "attention.out.weight"].T + (F.silu(gate) * up) @ w[name + "feedforward.down.weight"].T
        return F.layer_norm(x, (D,), w["norm.weight"], None, 1e-5) @ w["embedding.weight"].T / math.sqrt(D)

    assert model.config.feedforward == 4 * D
    same(model, model(tokens, torch.arange(T).expand_as(tokens)), torch.stack([reference(row) for row in tokens]))


def test_the_transformer_of_2017() -> None:
    """Post-norm encoder and decoder, sinusoidal positions, embedding times the root of the width, shared with the head
    (Vaswani et al. 2017, section 3)."""
    D, K, L, S = 24, 4, 2, 9
    H = D // K
    model = woken(family="transformer", vocabulary=V, context=16, layers=L, width=D, heads=K)
    draw = torch.Generator().manual_seed(2)
    source, target = torch.randint(V, (2, S), generator=draw), torch.randint(V, (2, T), generator=draw)
    w = dict(model.named_parameters())

    def places(length: int) -> Tensor:
        table = torch.zeros(length, D)
        for place in range(length):
            for i in range(0, D, 2):
                angle = place / 10_000 ** (i / D)
                table[place, i], table[place, i + 1] = math.sin(angle), math.cos(angle)
        return table

    def linear(x: Tensor, name: str, part: slice = slice(None)) -> Tensor:
        return x @ w[f"{name}.weight"][part].T + w[f"{name}.bias"][part]

    def normed(x: Tensor, name: str) -> Tensor:
        return F.layer_norm(x, (D,), w[f"{name}.weight"], w[f"{name}.bias"], 1e-5)

    def attention(q: Tensor, k: Tensor, v: Tensor, hidden: Tensor | None) -> Tensor:
        return torch.cat([softmax_attention(*(x[:, h * H : h * H + H] for x in (q, k, v)), hidden) for h in range(K)], dim=1)

    def itself(x: Tensor, name: str, hidden: Tensor | None) -> Tensor:
        q, k, v = linear(x, f"{name}.attention.qkv").chunk(3, dim=1)
        return normed(x + linear(attention(q, k, v, hidden), f"{name}.attention.out"), f"{name}.attention_norm")

    def feedforward(x: Tensor, name: str) -> Tensor:
        return normed(x + linear(F.relu(linear(x, f"{name}.feedforward.up")), f"{name}.feedforward.down"), f"{name}.feedforward_norm")

    def reference(read: Tensor, written: Tensor) -> Tensor:
        x = w["embedding.weight"][read] * math.sqrt(D) + places(S)
        for layer in range(L):
            x = feedforward(itself(x, f"encoder.blocks.{layer}", None), f"encoder.blocks.{layer}")
        y = w["embedding.weight"][written] * math.sqrt(D) + places(T)
        for layer in range(L):
            name = f"decoder.blocks.{layer}"
            y = itself(y, name, LATER)
            k, v = linear(x, f"{name}.cross.key_value").chunk(2, dim=1)
            seen = attention(linear(y, f"{name}.cross.query"), k, v, None)
            y = feedforward(normed(y + linear(seen, f"{name}.cross.out"), f"{name}.cross_norm"), name)
        return y @ w["embedding.weight"].T

    mine = model(target, torch.arange(T).expand_as(target), source, torch.arange(S).expand_as(source))
    same(model, mine, torch.stack([reference(*pair) for pair in zip(source, target, strict=True)]))
