"""Cross-entropy of a linear head without ever holding all the logits.

At a vocabulary V of 65,536 and 4,096 tokens the logits alone are 1 GiB and their gradient another. Here the head works
through the tokens in chunks: scores, loss and both gradients of a chunk are done while it is still in the cache, then
its memory is used again. (The idea is Wijmans et al. 2024, arXiv 2411.09009; the chunks are Liger Kernel's way, 2410.10989.)

Shapes: N tokens, D model width, V vocabulary, C tokens of a chunk.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

CHUNK_BYTES = 8 * 2**20  # of scores


class HeadLoss(NamedTuple):
    """Sums over the tokens, in nats: what is minimised, and the plain cross-entropy within it."""

    loss_sum: Tensor
    nll_sum: Tensor


def head_loss(
    x_ND: Tensor, weight_VD: Tensor, targets_N: Tensor, weights_N: Tensor, *,
    softcap: float = 0.0, label_smoothing: float = 0.0, z_loss: float = 0.0,
) -> HeadLoss:  # fmt: skip
    """Weighted sums over the tokens of

        (1 - s) (-ln p(target)) + s (-mean over V of ln p) + z (ln Z)^2

    with s `label_smoothing` (Szegedy et al. 2016) and z `z_loss` (PaLM, 1e-4), p the softmax of
    c tanh(x W^T / c) with c `softcap`, or of x W^T where it is 0. Differentiable in `x_ND` and `weight_VD`.
    """
    if torch.is_autocast_enabled(x_ND.device.type):
        dtype = torch.get_autocast_dtype(x_ND.device.type)
        x_ND, weight_VD = x_ND.to(dtype), weight_VD.to(dtype)
    loss_sum, nll_sum = _HeadLoss.apply(x_ND, weight_VD, targets_N, weights_N, softcap, label_smoothing, z_loss)  # type: ignore[no-untyped-call]
    return HeadLoss(loss_sum, nll_sum)


class _HeadLoss(torch.autograd.Function):
    """The gradients are those of the sum, found on the way forward; backward only scales them."""

    @staticmethod
    def forward(
        ctx: Any, x_ND: Tensor, weight_VD: Tensor, targets_N: Tensor, weights_N: Tensor, softcap: float, smoothing: float, z: float
    ) -> tuple[Tensor, Tensor]:
        N, V = x_ND.shape[0], weight_VD.shape[0]
        rows = max(1, min(N, CHUNK_BYTES // (4 * V)))
        learns = x_ND.requires_grad or weight_VD.requires_grad
        grad_x_ND = torch.empty_like(x_ND) if learns else None
        grad_weight_VD = torch.zeros(weight_VD.shape, dtype=torch.float32, device=weight_VD.device) if learns else None
        sums = torch.zeros(2, dtype=torch.float64, device=x_ND.device)
        for begin in range(0, N, rows):
            part = slice(begin, begin + rows)
            x_CD, weights_C1, targets_C1 = x_ND[part], weights_N[part, None], targets_N[part, None]
            scores_CV = F.linear(x_CD, weight_VD).float()
            if softcap:
                scores_CV.div_(softcap).tanh_().mul_(softcap)
            logp_CV = F.log_softmax(scores_CV, dim=-1)
            nll_C1 = -logp_CV.gather(1, targets_C1)
            loss_C1 = nll_C1
            log_z_C1 = scores_CV[:, :1] - logp_CV[:, :1]
            if smoothing:
                loss_C1 = (1 - smoothing) * nll_C1 - smoothing * logp_CV.mean(dim=-1, keepdim=True)
            if z:
                loss_C1 = loss_C1 + z * log_z_C1.square()
            sums[0] += (loss_C1 * weights_C1).sum(dtype=torch.float64)
            sums[1] += (nll_C1 * weights_C1).sum(dtype=torch.float64)
            if grad_x_ND is None or grad_weight_VD is None:
                continue
            grad_CV = logp_CV.exp_()
            if z:
                grad_CV.mul_(1 + 2 * z * log_z_C1)
            if smoothing:
                grad_CV.sub_(smoothing / V)
            grad_CV.scatter_add_(1, targets_C1, torch.full_like(nll_C1, smoothing - 1))
            grad_CV.mul_(weights_C1)
            if softcap:
                grad_CV.mul_(scores_CV.div_(softcap).square_().neg_().add_(1))
            grad_CV = grad_CV.to(x_ND.dtype)
            torch.mm(grad_CV, weight_VD, out=grad_x_ND[part])
            if x_ND.dtype == torch.float32:
                grad_weight_VD.addmm_(grad_CV.T, x_CD)
            else:
                grad_weight_VD += grad_CV.T @ x_CD
        ctx.save_for_backward(grad_x_ND, grad_weight_VD)
        ctx.dtype = weight_VD.dtype
        total = sums.float()
        ctx.mark_non_differentiable(nll := total[1].clone())
        return total[0].clone(), nll

    @staticmethod
    def backward(ctx: Any, grad_loss: Tensor, grad_nll: Tensor) -> Any:
        grad_x_ND, grad_weight_VD = ctx.saved_tensors
        if float(grad_loss) != 1.0:
            grad_x_ND, grad_weight_VD = grad_x_ND * grad_loss, grad_weight_VD * grad_loss
        return grad_x_ND, grad_weight_VD.to(ctx.dtype), None, None, None, None, None
