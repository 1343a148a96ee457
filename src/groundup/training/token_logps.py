"""Log-probabilities of given tokens under a linear head, without ever holding all the logits.

What preference and policy losses are made of. `cross_entropy.head_loss` knows the weight of each token beforehand; here the
loss is a function of the log-probabilities, so the gradient of each is known only on the way back. Forward works through
the tokens in chunks and keeps the log-probabilities alone; backward has, for g_n = dL / d logp_n, the same gradient as the
weighted cross-entropy with weights -g_n, and lets `head_loss` compute it. The price is the head's product once more.

Shapes: N tokens, C tokens of a chunk, D model width, V vocabulary, A answers.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor
from torch.nn import functional as F

from groundup.training.cross_entropy import CHUNK_BYTES, Vocabulary, head_loss


class TokenLogps(NamedTuple):
    """Of each token."""

    logps_N: Tensor
    """ln p(token), differentiable, float32."""
    entropy_N: Tensor
    """-sum over V of p ln p, nats, without a gradient."""


def token_logps(x_ND: Tensor, weight_VD: Tensor, targets_N: Tensor, *, softcap: float = 0.0) -> TokenLogps:
    """ln p of each target under the softmax of x W^T, or of c tanh(x W^T / c) with c `softcap`.

    Differentiable in `x_ND` and `weight_VD`. The matrix may be a DTensor cut by rows, as in tensor parallelism.
    """
    if torch.is_autocast_enabled(x_ND.device.type):
        dtype = torch.get_autocast_dtype(x_ND.device.type)
        x_ND, weight_VD = x_ND.to(dtype), weight_VD.to(dtype)
    logps_N, entropy_N = _TokenLogps.apply(x_ND, weight_VD, targets_N, softcap)  # type: ignore[no-untyped-call]
    return TokenLogps(logps_N, entropy_N)


def summed(values_N: Tensor, owners_N: Tensor, owners: int) -> Tensor:
    """Sums of the values by owner, (owners,); differentiable."""
    return values_N.new_zeros(owners).index_add(0, owners_N, values_N)


class _TokenLogps(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x_ND: Tensor, weight_VD: Tensor, targets_N: Tensor, softcap: float) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(x_ND, weight_VD, targets_N)
        ctx.softcap = softcap
        own_VD, vocabulary = weight_VD, None
        if isinstance(weight_VD, DTensor):
            mesh = weight_VD.device_mesh
            vocabulary = Vocabulary(mesh.get_group(), mesh.get_local_rank() * -(-weight_VD.shape[0] // mesh.size()))
            own_VD = weight_VD.to_local()
        V = own_VD.shape[0]
        precise = torch.promote_types(x_ND.dtype, torch.float32)
        rows = max(1, min(x_ND.shape[0], CHUNK_BYTES // (4 * max(1, V))))
        logps, entropies = [], []
        for x_CD, targets_C in zip(torch.split(x_ND, rows), torch.split(targets_N, rows), strict=True):
            scores_CV = F.linear(x_CD, own_VD).to(precise)
            if softcap:
                scores_CV = softcap * torch.tanh(scores_CV / softcap)
            top_C1 = scores_CV.amax(dim=-1, keepdim=True)
            top_C1 = top_C1 if vocabulary is None else vocabulary.highest(top_C1)
            scores_CV = scores_CV - top_C1
            start = 0 if vocabulary is None else vocabulary.start
            here_C1 = ((targets_C >= start) & (targets_C < start + V))[:, None]
            target_C1 = scores_CV.gather(1, (targets_C - start).clamp(0, V - 1)[:, None]) * here_C1
            odds_CV = scores_CV.exp()
            parts = torch.cat([odds_CV.sum(dim=-1, keepdim=True), (odds_CV * scores_CV).sum(dim=-1, keepdim=True), target_C1], dim=1)
            z_C, mixed_C, score_C = (parts if vocabulary is None else vocabulary.total(parts)).unbind(1)
            logps.append(score_C - z_C.log())
            entropies.append(z_C.log() - mixed_C / z_C)
        empty = x_ND.new_zeros(0, dtype=precise)
        entropy_N = torch.cat([empty, *entropies])
        ctx.mark_non_differentiable(entropy_N)
        return torch.cat([empty, *logps]), entropy_N

    @staticmethod
    def backward(ctx: Any, grad_N: Tensor, *_: Any) -> Any:
        x_ND, weight_VD, targets_N = ctx.saved_tensors
        if x_ND.shape[0] == 0:
            return torch.zeros_like(x_ND), torch.zeros_like(weight_VD), None, None
        with torch.enable_grad(), torch.autocast(x_ND.device.type, enabled=False):
            x_ND, weight_VD = x_ND.detach().requires_grad_(), weight_VD.detach().requires_grad_()
            loss = head_loss(x_ND, weight_VD, targets_N, -grad_N, softcap=ctx.softcap).loss_sum
            grad_x_ND, grad_weight_VD = torch.autograd.grad(loss, (x_ND, weight_VD))
        return grad_x_ND, grad_weight_VD, None, None
