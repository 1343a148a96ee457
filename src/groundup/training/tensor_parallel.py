"""Layers cut over processes that work on the same tokens, from the outside: a model's modules are replaced, its code is not.

    attention      queries, keys, values by heads (columns), the output by rows
    feed-forward   up and gate by columns, down by rows
    vocabulary     embedding, head and its bias by tokens; the loss is worked out without all scores in one place
    experts        each as a feed-forward sublayer

With `sequence` the stream between these, norms and dropout included, is cut along time (Korthikanti et al. 2022). Keys and
values of fewer heads than processes are kept whole by each, which uses the heads that its queries need. Cut parameters
are DTensors, so FSDP and checkpoints know where they belong; the arithmetic is on plain local tensors.

Shapes: B batch, T time, D model width, K heads, G kv-heads, H head width.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor, Shard, distribute_tensor
from torch.nn import functional as F

from groundup.models.build import Model
from groundup.models.parts.attention import Attention
from groundup.models.parts.feedforward import Gated, Plain
from groundup.models.parts.moe import MixtureOfExperts
from groundup.models.parts.position import Relative
from groundup.models.parts.stacked import Stacked
from groundup.training.collectives import Group, cut, enter, gather, join, leave, scatter


def local(parameter: Tensor) -> Tensor:
    """This process's part of a parameter; all of one that is not cut."""
    return parameter.to_local() if isinstance(parameter, DTensor) else parameter


class Columns(nn.Linear):
    """A linear map of which each process has some output rows; what it reads must have been entered or gathered."""

    @classmethod
    def of(cls, whole: nn.Linear, mesh: DeviceMesh) -> Columns:
        """A map cut."""
        self = cls.__new__(cls)
        nn.Module.__init__(self)
        self.in_features, self.out_features = whole.in_features, whole.out_features
        self.weight = _cut(whole.weight, mesh, 0)
        self.bias = None if whole.bias is None else _cut(whole.bias, mesh, 0)
        return self

    def forward(self, x: Tensor) -> Tensor:
        """Own outputs."""
        return F.linear(x, local(self.weight), None if self.bias is None else local(self.bias))


class Chosen(nn.Linear):
    """A linear map that each process has whole and uses some rows of: its gradients are to be added."""

    rows: slice

    @classmethod
    def of(cls, whole: nn.Linear, rows: slice) -> Chosen:
        """A map of which `rows` are used here."""
        self = cls.__new__(cls)
        nn.Module.__init__(self)
        self.in_features, self.out_features, self.rows = whole.in_features, whole.out_features, rows
        self.weight, self.bias = whole.weight, whole.bias
        return self

    def forward(self, x: Tensor) -> Tensor:
        """Own outputs."""
        return F.linear(x, self.weight[self.rows], None if self.bias is None else self.bias[self.rows])


class Rows(nn.Linear):
    """A linear map of which each process has some input columns; the products are added."""

    group: Group
    sequence: bool

    @classmethod
    def of(cls, whole: nn.Linear, mesh: DeviceMesh, *, sequence: bool) -> Rows:
        """A map cut; with `sequence` each process gets its own stretch of time of the sum."""
        self = cls.__new__(cls)
        nn.Module.__init__(self)
        self.in_features, self.out_features = whole.in_features, whole.out_features
        self.group, self.sequence = mesh.get_group(), sequence
        self.weight, self.bias = _cut(whole.weight, mesh, 1), whole.bias
        return self

    def forward(self, x: Tensor) -> Tensor:
        """The sum of all processes' products, and the bias once."""
        y = F.linear(x, local(self.weight))
        y = scatter(y, self.group) if self.sequence else leave(y, self.group)
        return y if self.bias is None else y + self.bias


class Apart(nn.Module):
    """The matrices of a `Stacked` map one after the other, so that each can be cut by itself."""

    def __init__(self, parts: list[nn.Linear]) -> None:
        super().__init__()
        self.parts = nn.ModuleList(parts)
        self.rows = sum(part.out_features for part in parts)
        for part in parts:
            part.beside = self.rows  # type: ignore[assignment]  # what decides on its optimizer

    def forward(self, x: Tensor) -> Tensor:
        """All outputs side by side."""
        if torch.is_autocast_enabled(x.device.type):  # once, not by each part
            x = x.to(torch.get_autocast_dtype(x.device.type))
        return torch.cat([part(x) for part in self.parts], dim=-1)


class Tokens(nn.Embedding):
    """An embedding of which each process has some tokens."""

    group: Group
    start: int

    @classmethod
    def of(cls, whole: nn.Embedding, mesh: DeviceMesh) -> Tokens:
        """A table cut by tokens."""
        self = cls.__new__(cls)
        nn.Module.__init__(self)
        _as(self, whole)
        self.weight, self.group = _cut(whole.weight, mesh, 0), mesh.get_group()
        self.start = mesh.get_local_rank() * -(-whole.num_embeddings // mesh.size())
        return self

    def forward(self, tokens_BT: Tensor) -> Tensor:
        """(B, T, D), whole."""
        weight_VD = local(self.weight)
        own_BT = tokens_BT - self.start
        there_BT = (own_BT >= 0) & (own_BT < len(weight_VD))
        found = F.embedding(own_BT * there_BT, weight_VD) * there_BT.unsqueeze(-1)
        return leave(found, self.group)


class Channels(nn.Embedding):
    """An embedding of which each process uses some columns: cut, or kept whole where they are too few to go round."""

    columns: slice

    @classmethod
    def of(cls, whole: nn.Embedding, mesh: DeviceMesh, columns: slice | None) -> Channels:
        """A table cut by columns, or whole with the `columns` that are used here."""
        self = cls.__new__(cls)
        nn.Module.__init__(self)
        _as(self, whole)
        self.weight = _cut(whole.weight, mesh, 1) if columns is None else whole.weight
        self.columns = columns or slice(None)
        return self

    def forward(self, tokens_BT: Tensor) -> Tensor:
        """(B, T, own columns)."""
        return F.embedding(tokens_BT, local(self.weight))[..., self.columns]


def _as(self: nn.Embedding, whole: nn.Embedding) -> None:
    self.num_embeddings, self.embedding_dim, self.sparse = whole.num_embeddings, whole.embedding_dim, whole.sparse


def _cut(whole: Tensor, mesh: DeviceMesh, dim: int) -> nn.Parameter:
    part = distribute_tensor(whole.detach(), mesh, [Shard(dim)], src_data_rank=None)
    return nn.Parameter(part, requires_grad=whole.requires_grad)


@dataclass(frozen=True)
class TensorParallel:
    """Cuts modules over the processes of a mesh of one dimension."""

    mesh: DeviceMesh
    sequence: bool
    partial: set[str] = field(default_factory=set)
    """Names of parameters that each process has whole and of whose gradient it finds a part: to be added over the mesh."""

    @property
    def group(self) -> Group:
        """The processes."""
        return self.mesh.get_group()

    def cut_layer(self, layer: nn.Module, prefix: str) -> None:
        """Cut a layer's sublayers in place; `prefix`: its name in the model, with a dot."""
        for name, module in list(layer.named_modules()):
            if isinstance(module, Attention):
                self._attention(module, f"{prefix}{name}.")
            elif type(module).__name__ == "CrossAttention":
                self._cross(module, f"{prefix}{name}.")
            elif isinstance(module, MixtureOfExperts):
                self._experts(module, f"{prefix}{name}.")
            elif isinstance(module, Gated | Plain) and ".experts" not in f".{name}" and ".shared" not in f".{name}":
                self._feedforward(module, f"{prefix}{name}.", inside=False)
        if self.sequence:  # what is left works on its own stretch of time
            for name, parameter in layer.named_parameters():
                if not isinstance(parameter, DTensor) and "router" not in name and ".experts." not in name and ".shared." not in name:
                    self.partial.add(f"{prefix}{name}")

    def cut_around(self, model: Model) -> None:
        """Cut what is around the layers: embedding, head, and the way in and out of the layers."""
        if isinstance(model.embedding, nn.Embedding):
            model.embedding = Tokens.of(model.embedding, self.mesh)
        head = getattr(model, "head", None)
        if isinstance(head, nn.Linear):
            model.head = Columns.of(head, self.mesh)
        bias = getattr(model, "head_bias", None)
        if isinstance(bias, nn.Parameter):
            model.head_bias = _cut(bias, self.mesh, 0)
        for name, module in model.named_modules():
            if isinstance(module, Relative):  # each process has scores of its own heads alone
                self.partial.add(f"{name}.weight")
        tables = getattr(model, "value_embeddings", {})
        for layer, table in tables.items():
            columns = self._kept(model.config.kv_heads, model.config.head_width)
            tables[layer] = Channels.of(table, self.mesh, columns)
            if columns is not None:
                self.partial.add(f"value_embeddings.{layer}.weight")
        if self.sequence:
            self.partial.update(name for name, _ in model.named_parameters() if name.startswith(("norm.", "shortcut.")))

    def _kept(self, kv_heads: int, head_width: int) -> slice | None:
        """Which of the keys' rows are used here where there are fewer heads than processes; None: they are cut."""
        n = self.mesh.size()
        if kv_heads % n == 0:
            return None
        one = self.mesh.get_local_rank() * kv_heads // n
        return slice(one * head_width, (one + 1) * head_width)

    def _before(self, x: Tensor) -> Tensor:
        return gather(x, self.group) if self.sequence else enter(x, self.group)

    def _columns(self, module: nn.Linear, prefix: str, kept: list[slice | None]) -> nn.Module:
        """A map cut by columns; `kept`: of each of its matrices, the rows used here of one that stays whole."""
        if not isinstance(module, Apart):
            return self._one(module, prefix, kept[0])
        module.parts = nn.ModuleList(
            self._one(part, f"{prefix}parts.{number}.", rows) for number, (part, rows) in enumerate(zip(module.parts, kept, strict=True))
        )
        for part in module.parts:
            part.beside = module.rows  # type: ignore[assignment]
        return module

    def _one(self, module: Any, prefix: str, rows: slice | None) -> nn.Linear:
        if rows is None:
            return Columns.of(module, self.mesh)
        self.partial.update({f"{prefix}weight", *([f"{prefix}bias"] if module.bias is not None else [])})
        return Chosen.of(module, rows)

    def _attention(self, module: Attention, prefix: str) -> None:
        n, rank = self.mesh.size(), self.mesh.get_local_rank()
        kept = self._kept(module.kv_heads, module.head_width)
        module.qkv = self._columns(module.qkv, f"{prefix}qkv.", [None, kept, kept])  # type: ignore[assignment]
        module.out = Rows.of(module.out, self.mesh, sequence=self.sequence)
        if module.value_gate is not None:
            gates = self._kept(module.kv_heads, 1)
            module.value_gate = self._one(module.value_gate, f"{prefix}value_gate.", gates)
        if module.q_norm is not None:  # of its own heads alone does each process find a gradient
            self.partial.update({f"{prefix}q_norm.weight", f"{prefix}k_norm.weight"})
        module.heads, module.kv_heads = module.heads // n, max(1, module.kv_heads // n)
        heads = slice(rank * module.heads, (rank + 1) * module.heads)

        def before(_: nn.Module, given: tuple[Any, ...]) -> tuple[Any, ...]:
            x, *rest = given
            if len(rest) > 3 and rest[3] is not None:
                rest[3] = rest[3][:, heads]
            return self._before(x), *rest

        module.register_forward_pre_hook(before)

    def _cross(self, module: Any, prefix: str) -> None:
        module.query = self._columns(module.query, f"{prefix}query.", [None])
        module.key_value = self._columns(module.key_value, f"{prefix}key_value.", [None, None])
        module.out = Rows.of(module.out, self.mesh, sequence=False)
        module.heads //= self.mesh.size()
        module.register_forward_pre_hook(lambda _, given: (enter(given[0], self.group), enter(given[1], self.group), *given[2:]))

    def _feedforward(self, module: Gated | Plain, prefix: str, *, inside: bool) -> None:
        """`inside`: an expert's, whose tokens are no stretch of time."""
        if isinstance(module, Gated):
            module.gate_up = self._columns(module.gate_up, f"{prefix}gate_up.", [None, None])  # type: ignore[assignment]
        else:
            module.up = Columns.of(module.up, self.mesh)
        module.down = Rows.of(module.down, self.mesh, sequence=self.sequence and not inside)
        before = (lambda x: enter(x, self.group)) if inside else self._before
        module.register_forward_pre_hook(lambda _, given: (before(given[0]), *given[1:]))

    def _experts(self, module: MixtureOfExperts, prefix: str) -> None:
        """All processes route all tokens alike; each has a part of every expert."""
        for name, expert in module.named_modules():
            if isinstance(expert, Gated | Plain):
                self._feedforward(expert, f"{prefix}{name}.", inside=True)
        if self.sequence:
            module.register_forward_pre_hook(lambda _, given: (join(given[0], self.group),))
            module.register_forward_hook(lambda _, __, y: cut(y, self.group))


def apart(model: nn.Module) -> None:
    """Replace every `Stacked` map in place by its matrices; their names become `NAME.parts.N.weight`."""
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, Stacked):
                parts = []
                for number, rows in enumerate(child.sizes):
                    part = nn.Linear(child.in_features, rows, bias=child.bias is not None, device="meta")
                    start = sum(child.sizes[:number])
                    part.weight = nn.Parameter(child.weight.detach()[start : start + rows])
                    if child.bias is not None:
                        part.bias = nn.Parameter(child.bias.detach()[start : start + rows])
                    parts.append(part)
                setattr(module, name, Apart(parts))
