"""Cross-entropy of a linear head without ever holding all the logits.

At a vocabulary V of 65,536 and 4,096 tokens the logits alone are 1 GiB and their gradient another. Here the head works
through the tokens in chunks: scores, loss and both gradients of a chunk are done while it is still in the cache, then
its memory is used again. (The idea is Wijmans et al. 2024, arXiv 2411.09009; the chunks are Liger Kernel's way, 2410.10989.)

Shapes: N tokens, D model width, V vocabulary, C tokens of a chunk.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.tensor import DTensor
from torch.nn import functional as F

from groundup.training.collectives import Group, all_reduce, enter

CHUNK_BYTES = 8 * 2**20  # of scores


class HeadLoss(NamedTuple):
    """Sums over the tokens, in nats: what is minimised, and the plain cross-entropy within it."""

    loss_sum: Tensor
    nll_sum: Tensor
    right: Tensor | None = None
    """How many targets had the highest score of all, where that was asked."""


@dataclass(frozen=True)
class Vocabulary:
    """Over whom the rows of the head's matrix are spread."""

    group: Group
    start: int
    """The first row that is this process's."""

    def highest(self, x: Tensor) -> Tensor:
        """The greatest of all processes', element by element."""
        return all_reduce(x, self.group, dist.ReduceOp.MAX)

    def total(self, x: Tensor) -> Tensor:
        """The sum of all processes', element by element."""
        return all_reduce(x, self.group)


def head_loss(
    x_ND: Tensor, weight_VD: Tensor, targets_N: Tensor, weights_N: Tensor, *,
    bias_V: Tensor | None = None, softcap: float = 0.0, label_smoothing: float = 0.0, z_loss: float = 0.0, count_right: bool = False,
) -> HeadLoss:  # fmt: skip
    """Weighted sums over the tokens of

        (1 - s) (-ln p(target)) + s (-mean over V of ln p) + z (ln Z)^2

    with s `label_smoothing` (Szegedy et al. 2016) and z `z_loss` (PaLM, 1e-4), p the softmax of
    c tanh(x W^T / c) with c `softcap`, or of x W^T (plus `bias_V`) where it is 0. Differentiable in `x_ND`, `weight_VD` and
    `bias_V`. The matrix (and the bias) may be a DTensor cut by rows: each process then scores its own tokens.
    """
    vocabulary = None
    if isinstance(weight_VD, DTensor):
        vocabulary = Vocabulary(weight_VD.device_mesh.get_group(), weight_VD.device_mesh.get_local_rank() * -(-weight_VD.shape[0] // weight_VD.device_mesh.size()))
        x_ND, weight_VD = enter(x_ND, vocabulary.group), weight_VD.to_local()
        bias_V = bias_V.to_local() if isinstance(bias_V, DTensor) else bias_V
    if torch.is_autocast_enabled(x_ND.device.type):
        dtype = torch.get_autocast_dtype(x_ND.device.type)
        x_ND, weight_VD = x_ND.to(dtype), weight_VD.to(dtype)
    loss_sum, nll_sum, right = _HeadLoss.apply(  # type: ignore[no-untyped-call]
        x_ND, weight_VD, bias_V, targets_N, weights_N, softcap, label_smoothing, z_loss, count_right, vocabulary
    )
    return HeadLoss(loss_sum, nll_sum, right if count_right else None)


class _HeadLoss(torch.autograd.Function):
    """The gradients are those of the sum, found on the way forward; backward only scales them."""

    @staticmethod
    def forward(
        ctx: Any, x_ND: Tensor, weight_VD: Tensor, bias_V: Tensor | None, targets_N: Tensor, weights_N: Tensor, softcap: float, smoothing: float,
        z: float, count_right: bool, vocabulary: Vocabulary | None,
    ) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
        N, V = x_ND.shape[0], weight_VD.shape[0]
        precise = torch.promote_types(x_ND.dtype, torch.float32)
        rows = max(1, min(N, CHUNK_BYTES // (4 * max(1, V))))
        learns = x_ND.requires_grad or weight_VD.requires_grad
        grad_x_ND = torch.empty_like(x_ND) if learns else None
        grad_weight_VD = torch.zeros(weight_VD.shape, dtype=precise, device=weight_VD.device) if learns else None
        grad_bias_V = torch.zeros(V, dtype=precise, device=weight_VD.device) if learns and bias_V is not None else None
        sums = torch.zeros(3, dtype=torch.float64, device=x_ND.device)
        for begin in range(0, N, rows):
            part = slice(begin, begin + rows)
            x_CD, weights_C1, targets_C1 = x_ND[part], weights_N[part, None], targets_N[part, None]
            scores_CV = F.linear(x_CD, weight_VD).to(precise)
            if bias_V is not None:
                scores_CV.add_(bias_V)
            if softcap:
                scores_CV.div_(softcap).tanh_().mul_(softcap)
            if vocabulary is None:
                logp_CV = F.log_softmax(scores_CV, dim=-1)
                nll_C1 = -logp_CV.gather(1, targets_C1)
                log_z_C1 = scores_CV[:, :1] - logp_CV[:, :1]
                here_C1, own_C1, all_V = None, targets_C1, V
                mean_C1 = logp_CV.mean(dim=-1, keepdim=True) if smoothing else None
                if count_right:
                    sums[2] += (logp_CV.amax(dim=-1, keepdim=True) <= -nll_C1).sum()
            else:
                top_C1 = vocabulary.highest(scores_CV.amax(dim=-1, keepdim=True))
                own_C1 = targets_C1 - vocabulary.start
                here_C1 = (own_C1 >= 0) & (own_C1 < V)
                own_C1 = own_C1.clamp(0, V - 1)
                target_C1 = scores_CV.gather(1, own_C1) * here_C1
                # one message: sums of exponentials, the targets' scores, sums of scores, how many tokens there are
                parts = [(scores_CV - top_C1).exp().sum(dim=-1, keepdim=True), target_C1]
                if smoothing:
                    parts += [scores_CV.sum(dim=-1, keepdim=True), torch.full_like(target_C1, V)]
                found = vocabulary.total(torch.cat(parts, dim=1)).chunk(len(parts), dim=1)
                log_z_C1 = top_C1 + found[0].log()
                logp_CV = scores_CV - log_z_C1
                nll_C1 = log_z_C1 - found[1]
                all_V = int(found[3][0]) if smoothing else V
                mean_C1 = found[2] / found[3] - log_z_C1 if smoothing else None
                if count_right:
                    sums[2] += (top_C1 <= found[1]).sum()
            loss_C1 = nll_C1
            if mean_C1 is not None:
                loss_C1 = (1 - smoothing) * nll_C1 - smoothing * mean_C1
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
                grad_CV.sub_(smoothing / all_V)
            asked_C1 = torch.full_like(nll_C1, smoothing - 1)
            grad_CV.scatter_add_(1, own_C1, asked_C1 if here_C1 is None else asked_C1 * here_C1)
            grad_CV.mul_(weights_C1)
            if softcap:
                grad_CV.mul_(scores_CV.div_(softcap).square_().neg_().add_(1))
            if grad_bias_V is not None:
                grad_bias_V += grad_CV.sum(dim=0)
            grad_CV = grad_CV.to(x_ND.dtype)
            torch.mm(grad_CV, weight_VD, out=grad_x_ND[part])
            if x_ND.dtype == precise:
                grad_weight_VD.addmm_(grad_CV.T, x_CD)
            else:
                grad_weight_VD += grad_CV.T @ x_CD
        ctx.save_for_backward(grad_x_ND, grad_weight_VD, grad_bias_V)
        ctx.dtype = weight_VD.dtype
        total = sums.to(precise)
        ctx.mark_non_differentiable(nll := total[1].clone(), right := total[2].clone())
        return total[0].clone(), nll, right

    @staticmethod
    def backward(ctx: Any, grad_loss: Tensor, *_: Any) -> Any:
        grad_x_ND, grad_weight_VD, grad_bias_V = ctx.saved_tensors
        # not in place: a pipeline that splits its backward pass comes here twice. A traced tensor has no numbers (planning/trace.py)
        if getattr(grad_loss, "fake_mode", None) is None and float(grad_loss) != 1.0:
            grad_x_ND, grad_weight_VD = grad_x_ND * grad_loss, grad_weight_VD * grad_loss
            grad_bias_V = None if grad_bias_V is None else grad_bias_V * grad_loss
        return grad_x_ND, grad_weight_VD.to(ctx.dtype), grad_bias_V, *([None] * 7)
