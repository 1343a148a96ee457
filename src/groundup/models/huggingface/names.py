"""Which tensor of theirs is which of ours: one table for each family, read in either direction.

    same       as it is
    turned     transposed: Conv1D of GPT-1 and GPT-2 keeps (in, out)
    stacked    ours is several of theirs, one above the other
    grouped    ours is queries, keys, values, one block each; theirs has them by group: some queries, a key, a value (Falcon)

            ours      q1 q2 q3 q4  k1 k2  v1 v2
            theirs    q1 q2 k1 v1  q3 q4 k2 v2
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from groundup.errors import RequestError

Tensors = dict[str, Tensor]


@dataclass(frozen=True)
class Pair:
    """One tensor of ours, and of theirs as many as it is made of."""

    ours: str
    theirs: tuple[str, ...]
    read: Callable[[Sequence[Tensor]], Tensor]
    write: Callable[[Tensor], Sequence[Tensor]]
    copies: tuple[str, ...] = ()
    """Further names of theirs under which the same numbers are written; nobody needs them to read."""


def bare(ours: str, theirs: str, *, copies: tuple[str, ...] = ()) -> Pair:
    """A tensor by its whole name, as it is."""
    return Pair(ours, (theirs,), lambda found: found[0], lambda tensor: [tensor], copies)


def same(ours: str, theirs: str, *, bias: bool = False) -> list[Pair]:
    """A module's weight, and its bias if it has one."""
    return [bare(f"{ours}.{kind}", f"{theirs}.{kind}") for kind in _kinds(bias)]


def turned(ours: str, theirs: str) -> list[Pair]:
    """A Conv1D's weight and bias."""
    weight = Pair(f"{ours}.weight", (f"{theirs}.weight",), lambda found: found[0].T, lambda tensor: [tensor.T])
    return [weight, bare(f"{ours}.bias", f"{theirs}.bias")]


def stacked(ours: str, theirs: Iterable[str], sizes: tuple[int, ...], *, bias: bool = False) -> list[Pair]:
    """Several maps one above the other; `sizes`: the rows of each."""
    names = tuple(theirs)

    def read(found: Sequence[Tensor]) -> Tensor:
        return torch.cat(list(found))

    def write(tensor: Tensor) -> Sequence[Tensor]:
        return torch.split(tensor, list(sizes))

    return [Pair(f"{ours}.{kind}", tuple(f"{name}.{kind}" for name in names), read, write) for kind in _kinds(bias)]


def grouped(ours: str, theirs: str, heads: int, groups: int, head_width: int, *, bias: bool = False) -> list[Pair]:
    """Queries, keys and values that theirs mixes by group."""

    def read(found: Sequence[Tensor]) -> Tensor:
        mixed = found[0].view(groups, heads // groups + 2, head_width, *found[0].shape[1:])
        parts = mixed[:, :-2], mixed[:, -2:-1], mixed[:, -1:]
        return torch.cat([part.reshape(-1, *found[0].shape[1:]) for part in parts])

    def write(tensor: Tensor) -> list[Tensor]:
        rest = tensor.shape[1:]
        q, k, v = torch.split(tensor, [heads * head_width, groups * head_width, groups * head_width])
        parts = q.view(groups, -1, head_width, *rest), k.view(groups, 1, head_width, *rest), v.view(groups, 1, head_width, *rest)
        return [torch.cat(parts, dim=1).reshape(tensor.shape)]

    return [Pair(f"{ours}.{kind}", (f"{theirs}.{kind}",), read, write) for kind in _kinds(bias)]


def _kinds(bias: bool) -> tuple[str, ...]:
    return ("weight", "bias") if bias else ("weight",)


def to_ours(pairs: Iterable[Pair], tensors: Mapping[str, Tensor], prefix: str) -> Tensors:
    """Their tensors under our names. `prefix`: begins their names, but in files of a model without its head.

    Raises RequestError for one that is not there.
    """
    known = {**{_newer(name): tensor for name, tensor in tensors.items()}, **tensors}

    def get(name: str) -> Tensor:
        found = known.get(name, known.get(name.removeprefix(prefix)))
        if found is None:
            raise RequestError(f"the weights lack {name}", where="*.safetensors", do="config.json belongs to other weights.")
        return found

    return {pair.ours: pair.read([get(name) for name in pair.theirs]) for pair in pairs}


def _newer(name: str) -> str:
    """What a scale and a shift are called today; files of 2018 (BERT's) have TensorFlow's words."""
    return name.removesuffix("gamma") + "weight" if name.endswith(".gamma") else name.removesuffix("beta") + "bias" if name.endswith(".beta") else name


def to_theirs(pairs: Iterable[Pair], weights: Mapping[str, Tensor]) -> Tensors:
    """Our weights under their names, each in memory of its own."""
    found: Tensors = {}
    for pair in pairs:
        written = pair.write(weights[pair.ours])
        found |= dict(zip(pair.theirs, written, strict=True)) | dict.fromkeys(pair.copies, written[0])
    return {name: tensor.detach().clone(memory_format=torch.contiguous_format) for name, tensor in found.items()}
