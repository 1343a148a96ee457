"""LoRA: each matrix stays as it is and learns a correction of low rank beside it (Hu et al. 2021, 2106.09685, equation 3).

    y = W x + (alpha / r) B A x          A: r rows, normal draws; B: r columns, zeros: at the start nothing is changed

Applied to a built model from the outside: the model's code does not know of it, the names of its weights stay, and beside
`layer.weight` stand `layer.lora_a` and `layer.lora_b`. Where several matrices are stacked in one (queries, keys and values), each has an
A and a B of its own, as if they stood apart:

    W = [W_q; W_k; W_v]      A = [A_q; A_k; A_v]  (3 r, D)      B = [B_q; B_k; B_v]  (rows of W, r)

For use and export the corrections are merged: W + (alpha / r) B A, a model like any other, without cost.

Shapes: D inner width, E rows of a matrix, S stacked matrices, R rank.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from groundup.errors import RequestError
from groundup.models.parts.stacked import Stacked

EVERYWHERE = ("attention", "feedforward")
"""All matrices of the layers (QLoRA, Dettmers et al. 2023, section 4: needed to match full tuning); Hu et al. took queries and values."""


class LowRank(Stacked):
    """A linear layer, or several stacked ones, with its correction."""

    lora_a: nn.Parameter
    lora_b: nn.Parameter

    def __init__(self, inner: int, sizes: tuple[int, ...], bias: bool, rank: int, alpha: float, dropout: float) -> None:
        with torch.device("meta"):  # the weights are the wrapped layer's own
            super().__init__(inner, sizes, bias)
        self.rank, self.scale, self.dropout = rank, alpha / rank, dropout
        self.lora_a = nn.Parameter(torch.empty(rank * len(sizes), inner))
        self.lora_b = nn.Parameter(torch.zeros(sum(sizes), rank))

    @classmethod
    def of(cls, layer: nn.Linear, rank: int, alpha: float, dropout: float, draw: torch.Generator) -> LowRank:
        """Around a layer whose weights it shares."""
        sizes = layer.sizes if isinstance(layer, Stacked) else (layer.out_features,)
        made = cls(layer.in_features, tuple(sizes), layer.bias is not None, rank, alpha, dropout)
        made.weight, made.bias = layer.weight, layer.bias
        with torch.no_grad():
            made.lora_a.normal_(std=1 / math.sqrt(layer.in_features), generator=draw)
        made.to(layer.weight.device, layer.weight.dtype)
        return made.train(layer.training)

    def forward(self, x: Tensor) -> Tensor:
        """(..., D) to (..., E)."""
        low = F.linear(F.dropout(x, self.dropout, self.training), self.lora_a)
        parts = [F.linear(part, b) for part, b in zip(low.chunk(len(self.sizes), dim=-1), torch.split(self.lora_b, list(self.sizes)), strict=True)]
        return F.linear(x, self.weight, self.bias) + self.scale * torch.cat(parts, dim=-1)

    def correction(self) -> Tensor:
        """What is added to the weight when they are merged, (E, D)."""
        pairs = zip(torch.split(self.lora_b, list(self.sizes)), self.lora_a.chunk(len(self.sizes)), strict=True)
        return self.scale * torch.cat([b @ a for b, a in pairs])


def apply(model: nn.Module, rank: int = 8, alpha: float = 16.0, *, seed: int, dropout: float = 0.0, where: Sequence[str] = EVERYWHERE) -> int:
    """Freeze a model and give every linear layer with one of `where` in its name a correction to learn; returns how many parameters do.

    Raises RequestError where no layer is of that name. A `score` goes on learning.
    """
    if rank < 1:
        raise RequestError(f"rank {rank}", where="dialogue.lora", do="Give a rank from 1 on.")
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    draw = torch.Generator().manual_seed(seed)
    chosen = [(parent, name, layer) for path, parent, name, layer in _linears(model) if any(part in path for part in where)]
    if not chosen:
        raise RequestError(f"no linear layer has {' or '.join(where)} in its name", where="dialogue.lora", do=f"Choose among {', '.join(EVERYWHERE)}.")
    for parent, name, layer in chosen:
        setattr(parent, name, LowRank.of(layer, rank, alpha, dropout, draw))
    for name, parameter in model.named_parameters():
        if "score." in name:
            parameter.requires_grad_(True)
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


def merge(model: nn.Module) -> None:
    """Add the corrections to the weights and put the layers back as they were, all free to learn again."""
    for _, parent, name, layer in list(_linears(model)):
        if isinstance(layer, LowRank):
            with torch.no_grad():
                layer.weight += layer.correction().to(layer.weight.dtype)
            with torch.device("meta"):
                plain = Stacked(layer.in_features, layer.sizes, layer.bias is not None) if len(layer.sizes) > 1 else nn.Linear(layer.in_features, layer.out_features, layer.bias is not None)
            plain.weight, plain.bias = layer.weight, layer.bias
            setattr(parent, name, plain.train(layer.training))
    for parameter in model.parameters():
        parameter.requires_grad_(True)


def merged_state(model: nn.Module) -> dict[str, Tensor]:
    """The weights as they are when merged, by the names of the model without LoRA: what a checkpoint for use holds. The model stays as it is."""
    layers = {name: module for name, module in model.named_modules() if isinstance(module, LowRank)}
    state = {}
    for name, value in model.state_dict().items():
        owner, _, last = name.rpartition(".")
        if owner in layers and last in ("lora_a", "lora_b"):
            continue
        state[name] = value + layers[owner].correction().detach().to(value.dtype) if owner in layers and last == "weight" else value
    return state


def _linears(model: nn.Module) -> Iterator[tuple[str, nn.Module, str, nn.Linear]]:
    """(path, parent, name, layer) of each linear layer within the blocks."""
    for path, module in list(model.named_modules()):
        if isinstance(module, nn.Linear) and "blocks." in path:
            parent, _, name = path.rpartition(".")
            yield path, model.get_submodule(parent), name, module
