"""A parameter of which this process holds a part, and where the part belongs in the whole."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.distributed.tensor._utils import compute_local_shape_and_global_offset


@dataclass(frozen=True)
class Part:
    """A parameter of a stage: its name in the whole model, and this process's local part of it as the optimizer sees it."""

    name: str
    parameter: nn.Parameter
    local: nn.Parameter
    copies: int
    """Processes that hold this very part."""

    def gradient(self) -> Tensor | None:
        """The local part of the gradient."""
        grad = self.parameter.grad
        return grad.to_local() if isinstance(grad, DTensor) else grad

    def like(self, state: Tensor) -> Tensor:
        """A state of the optimizer of the local part's shape as a part of the whole, which checkpoints cut anew."""
        whole = self.parameter
        if not isinstance(whole, DTensor) or state.ndim == 0 or state.shape[0] != self.local.shape[0]:
            return state
        shape = whole.shape if state.shape == self.local.shape else torch.Size((whole.shape[0], *state.shape[1:]))
        stride = torch.empty(shape, device="meta").stride()
        return DTensor.from_local(state, whole.device_mesh, whole.placements, run_check=False, shape=shape, stride=stride)

    def whole(self, local: Tensor) -> Tensor:
        """A whole tensor from everyone's parts."""
        made = self.like(local)
        return made.full_tensor() if isinstance(made, DTensor) else made

    def own(self, whole: Tensor) -> Tensor:
        """The local part of a whole tensor."""
        like = self.parameter
        if not isinstance(like, DTensor):
            return whole
        shape, offset = compute_local_shape_and_global_offset(whole.shape, like.device_mesh, like.placements)
        return whole[tuple(slice(start, start + length) for start, length in zip(offset, shape, strict=True))]
