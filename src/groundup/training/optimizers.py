"""Optimizers and who gets which: Muon is for matrices, the rest of a model needs another beside it.

torch's own fused kernels where it has them; Lion and Muon are here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn

from groundup.models.parts.stacked import Stacked

GATE = 16  # a matrix with a side as small is a gate and no matter for Muon
Name = Literal["adamw", "adam", "sgd", "adafactor", "lion", "muon"]


@dataclass(frozen=True)
class OptimizerSettings:
    """Which optimizer, with its constants; see the recipe's `training` section for each."""

    name: Name = "adamw"
    learning_rate: float = 3e-3
    matrix_learning_rate: float = 0.02
    embedding_factor: float = 1.0
    scalar_factor: float = 1.0
    hidden_factor: float = 1.0
    """Peak of the layers' matrices as a multiple of the rate (muP: base width over width); their decay is divided by it."""
    betas: tuple[float, float] = (0.9, 0.95)
    eps: float = 1e-8
    momentum: float = 0.95
    sparse_learning_rate: float = 0.1
    weight_decay: float = 0.1


class Optimizers:
    """One or two torch optimizers over disjoint parameters, driven as one."""

    def __init__(self, parts: list[torch.optim.Optimizer]) -> None:
        self.parts = parts
        self._peaks = [[float(group["lr"]) for group in part.param_groups] for part in parts]

    def begin(self) -> None:
        """Make the state that Adam and Muon would make in their first step. What lasts is better there before what comes and goes: made
        between a step's gradients it lies among holes that the next step's activations do not fit into (docs/measurements.md)."""
        for part in self.parts:
            if isinstance(part, Muon):
                part.begin()
            elif isinstance(part, torch.optim.Adam):  # AdamW is one
                for parameter in (parameter for group in part.param_groups for parameter in group["params"]):
                    zeros = {name: torch.zeros_like(parameter) for name in ("exp_avg", "exp_avg_sq")}
                    part.state[parameter].update(step=torch.zeros((), dtype=torch.float32, device=parameter.device), **zeros)

    def step(self, share: float) -> None:
        """One update at `share` of every group's peak learning rate."""
        for part, peaks in zip(self.parts, self._peaks, strict=True):
            for group, peak in zip(part.param_groups, peaks, strict=True):
                group["lr"] = peak * share
            part.step()

    def state_of(self, parameter: nn.Parameter) -> dict[str, Tensor]:
        """A parameter's state by name; empty before `begin` or its first update."""
        for part in self.parts:
            if parameter in part.state:
                return {name: torch.as_tensor(value) for name, value in part.state[parameter].items() if value is not None}
        return {}

    def set_state(self, parameter: nn.Parameter, state: dict[str, Tensor]) -> None:
        """Put a parameter's state back."""
        for part in self.parts:
            if any(parameter is one for group in part.param_groups for one in group["params"]):
                part.state[parameter] = dict(state)


class Part(Protocol):
    """A parameter spread over processes: what this one holds of it."""

    @property
    def local(self) -> nn.Parameter:
        """The local part, which the optimizer works on."""
        ...

    def whole(self, local: Tensor) -> Tensor:
        """A whole tensor from everyone's parts."""
        ...

    def own(self, whole: Tensor) -> Tensor:
        """The local part of a whole tensor."""
        ...


def optimizers(model: nn.Module | Sequence[nn.Module], settings: OptimizerSettings, parts: Mapping[nn.Parameter, Part] | None = None) -> Optimizers:
    """The optimizer of a model, or of its stages; `parts`: by parameter, where parameters are spread over processes.

    Weight decay, decoupled from the loss (Loshchilov & Hutter 2019), falls on matrices and embeddings and leaves
    scales and other vectors alone (GPT-3, LLaMA practice); Adam and SGD decay nothing by themselves: for them set l2.
    Embeddings with sparse gradients get row-wise Adagrad: rows seldom seen keep a large step, and a step costs what it
    touches.
    """
    sorted_ = _sort([model] if isinstance(model, nn.Module) else model, parts or {})
    hidden, matrices = [weight for weight, _ in sorted_.blocks], sorted_.others
    muon: list[torch.optim.Optimizer] = []
    if settings.name == "muon":
        muon = [Muon(sorted_.blocks, settings.matrix_learning_rate, settings.momentum, settings.weight_decay, sorted_.parts)] if sorted_.blocks else []
        hidden = []
    decay = settings.weight_decay if settings.name not in ("adam", "sgd") else 0.0
    groups = [
        {"params": parameters, "weight_decay": weight_decay, "lr": settings.learning_rate * factor}
        for parameters, weight_decay, factor in (
            (sorted_.tables, decay, settings.embedding_factor), (hidden, decay / settings.hidden_factor, settings.hidden_factor),
            (matrices, decay, 1.0), (sorted_.vectors, 0.0, settings.scalar_factor),
        ) if parameters
    ]  # fmt: skip
    sparse = [RowAdagrad(sorted_.sparse, lr=settings.sparse_learning_rate)] if sorted_.sparse else []
    return Optimizers([*muon, _one(groups, settings), *sparse])


def _one(groups: list[dict[str, Any]], settings: OptimizerSettings) -> torch.optim.Optimizer:
    if settings.name in ("adamw", "muon"):
        return torch.optim.AdamW(groups, betas=settings.betas, eps=settings.eps, fused=True)
    if settings.name == "adam":
        return torch.optim.Adam(groups, betas=settings.betas, eps=settings.eps, fused=True)
    if settings.name == "lion":
        return Lion(groups, betas=settings.betas)
    if settings.name == "adafactor":
        return torch.optim.Adafactor(groups)
    return torch.optim.SGD(groups, momentum=settings.momentum, nesterov=settings.momentum > 0, fused=True)


@dataclass
class _Sorted:
    """A model's parameters by what they are."""

    blocks: list[tuple[nn.Parameter, tuple[int, ...]]]
    """The layers' matrices, each with the row counts of the matrices stacked in it."""
    tables: list[nn.Parameter]
    sparse: list[nn.Parameter]
    others: list[nn.Parameter]
    """The head and small gates."""
    vectors: list[nn.Parameter]
    parts: dict[nn.Parameter, Part]
    """By local part, where parameters are spread over processes."""


def _sort(models: Sequence[nn.Module], parts: Mapping[nn.Parameter, Part]) -> _Sorted:
    found = _Sorted([], [], [], [], [], {part.local: part for part in parts.values()})

    def local(parameter: nn.Parameter) -> nn.Parameter:
        return parts[parameter].local if parameter in parts else parameter

    for model in models:
        own = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
        for name, module in model.named_modules():
            weight = own.get(f"{name}.weight")
            if weight is None:
                continue
            if isinstance(module, nn.Embedding):
                (found.sparse if module.sparse else found.tables).append(local(own.pop(f"{name}.weight")))
            elif isinstance(module, nn.Linear) and ".blocks." in f".{name}" and min(getattr(module, "beside", len(weight)), weight.shape[1]) > GATE:
                sizes = module.sizes if isinstance(module, Stacked) else (module.out_features,)
                found.blocks.append((local(own.pop(f"{name}.weight")), sizes))
        found.others += [local(parameter) for parameter in own.values() if parameter.ndim >= 2]
        found.vectors += [local(parameter) for parameter in own.values() if parameter.ndim < 2]
    return found


class Lion(torch.optim.Optimizer):
    """Evolved sign momentum (Chen et al. 2023, arXiv 2302.06675): p -= lr (sign(b1 m + (1 - b1) g) + decay p)."""

    def __init__(self, params: Any, lr: float = 1e-4, betas: tuple[float, float] = (0.9, 0.99), weight_decay: float = 0.0) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """One update of every parameter that has a gradient."""
        for group in self.param_groups:
            parameters = [parameter for parameter in group["params"] if parameter.grad is not None]
            if not parameters:
                continue
            gradients = [parameter.grad for parameter in parameters]
            moments = [self.state[parameter].setdefault("exp_avg", torch.zeros_like(parameter)) for parameter in parameters]
            first, second = group["betas"]
            updates = torch._foreach_lerp(moments, gradients, 1 - first)
            torch._foreach_sign_(updates)
            torch._foreach_mul_(parameters, 1 - group["lr"] * group["weight_decay"])
            torch._foreach_add_(parameters, updates, alpha=-group["lr"])
            torch._foreach_lerp_(moments, gradients, 1 - second)


class RowAdagrad(torch.optim.Optimizer):
    """Adagrad (Duchi et al. 2011) with one sum a row, as recommenders train their embeddings (Naumov et al. 2019):
    s_row += mean(g_row^2); p_row -= lr g_row / sqrt(s_row). Takes sparse and dense gradients."""

    def __init__(self, params: Any, lr: float = 0.1) -> None:
        super().__init__(params, {"lr": lr})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """One update of the rows that have a gradient."""
        for group in self.param_groups:
            for table in group["params"]:
                if table.grad is None:
                    continue
                sum_R1 = self.state[table].setdefault("sum", torch.zeros(len(table), 1, device=table.device))
                if table.grad.is_sparse:
                    once = table.grad.coalesce()
                    rows, gradient_RD = once.indices()[0], once.values()
                else:
                    rows = table.grad.abs().amax(dim=1).nonzero()[:, 0]
                    gradient_RD = table.grad[rows]
                after_R1 = sum_R1[rows] + gradient_RD.square().mean(dim=1, keepdim=True)
                sum_R1[rows] = after_R1
                table.index_add_(0, rows, gradient_RD / (after_R1.sqrt() + 1e-10), alpha=-group["lr"])


# Polar Express (Amsel et al. 2025, arXiv 2505.16932), five steps, the coefficients for singular values in [0.001, 1]
# with their safety factor of 1.02; each step is a X + b X X'X + c X X'X X'X
POLAR_EXPRESS = (
    (8.156554524902461, -22.48329292557795, 15.878769915207462),
    (4.042929935166739, -2.808917465908714, 0.5000178451051316),
    (3.8916678022926607, -2.772484153217685, 0.5060648178503393),
    (3.285753657755655, -2.3681294933425376, 0.46449024233003106),
    (2.3465413258596377, -1.7097828382687081, 0.42323551169305323),
)


def orthogonalise(g_NRC: Tensor) -> Tensor:
    """The nearest (semi-)orthogonal matrix of each of N matrices (R x C), about: singular values within 15 % of 1.

    Singular values below a thousandth of the largest come out smaller. Raises nothing; a zero matrix stays zero.
    """
    x_NRC = g_NRC.mT if g_NRC.shape[-2] > g_NRC.shape[-1] else g_NRC
    x_NRC = x_NRC / (x_NRC.norm(dim=(-2, -1), keepdim=True) * 1.01 + 1e-7)
    for a, b, c in POLAR_EXPRESS:
        gram = x_NRC @ x_NRC.mT
        x_NRC = torch.baddbmm(x_NRC, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x_NRC, beta=a)
    return x_NRC.mT if g_NRC.shape[-2] > g_NRC.shape[-1] else x_NRC


class Muon(torch.optim.Optimizer):
    """Momentum, orthogonalised (Jordan et al. 2024): every direction of a matrix moves by the same length.

    The update of an R x C matrix is lr sqrt(max(1, R / C)) times the orthogonalised Nesterov momentum. Matrices of the
    same shape are orthogonalised in one batched product. Decay is decoupled and cautious: it acts where it and the
    update agree (Liang et al. 2024, arXiv 2411.16085).
    """

    def __init__(
        self, matrices: list[tuple[nn.Parameter, tuple[int, ...]]], lr: float = 0.02, momentum: float = 0.95,
        weight_decay: float = 0.0, parts: Mapping[nn.Parameter, Part] | None = None,
    ) -> None:  # fmt: skip
        """`matrices`: each parameter with the row counts of the matrices stacked in it; `parts`: of those spread over processes, whose
        momentum is gathered and orthogonalised by each (they hold one matrix each)."""
        defaults = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay}
        super().__init__([weight for weight, _ in matrices], defaults)
        self._sizes, self._parts = dict(matrices), parts or {}

    def begin(self) -> None:
        """Momentum of every matrix, 0."""
        for group in self.param_groups:
            for weight in group["params"]:
                self.state[weight].setdefault("momentum", torch.zeros_like(weight))

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """One update of every matrix that has a gradient."""
        for group in self.param_groups:
            weights = [weight for weight in group["params"] if weight.grad is not None]
            if not weights:
                continue
            gradients = [weight.grad for weight in weights]
            moments = [self.state[weight]["momentum"] if self.state[weight] else self.state[weight].setdefault("momentum", torch.zeros_like(weight)) for weight in weights]
            torch._foreach_lerp_(moments, gradients, 1 - group["momentum"])
            ahead = torch._foreach_lerp(gradients, moments, group["momentum"])
            shapes: dict[tuple[int, ...], list[tuple[Tensor, Tensor, Part | None]]] = {}
            for weight, update in zip(weights, ahead, strict=True):
                if (spread := self._parts.get(weight)) is not None:
                    whole = spread.whole(update)
                    shapes.setdefault(tuple(whole.shape), []).append((weight, whole, spread))
                    continue
                sizes = self._sizes[weight]
                for part, piece in zip(torch.split(weight, list(sizes)), torch.split(update, list(sizes)), strict=True):
                    shapes.setdefault(tuple(part.shape), []).append((part, piece, None))
            for (rows, columns), found in shapes.items():
                rate = group["lr"] * math.sqrt(max(1.0, rows / columns))
                updates_NRC = orthogonalise(torch.stack([piece for _, piece, _ in found]))
                for (part, _, spread), update_RC in zip(found, updates_NRC, strict=True):
                    if spread is not None:
                        update_RC = spread.own(update_RC)
                    if group["weight_decay"]:
                        part.mul_(1 - group["lr"] * group["weight_decay"] * (update_RC * part > 0))
                    part.sub_(update_RC, alpha=rate)
