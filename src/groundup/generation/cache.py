"""Keys and values of what each slot has read, so that a new token costs one position of work and not all of them.

A forward pass reads some tokens for some slots, all in one row for the matrix products; attention then looks at each
slot's own past:

    pieces   slot 0: f      slot 1: q r      slot 2: b      slot 3: k
    row      f | q r | b | k                                positions 5 | 1 2 | 3 | 7
    work     slot 0 alone · slot 1, two queries under a mask · slots 2 and 3 together: neighbours that read one token each

One block of memory a layer, slot by slot, grown by doubling as slots and texts need it. The number of keys looked at is
rounded up to a multiple of `STRETCH` and what is too many masked, so that views are made once in many steps and a slot's
sums run over the same places whoever its neighbours are.

Shapes: N tokens of a pass, n slots of a stretch, T tokens of a piece, S keys looked at, C capacity, K heads, G kv-heads, H head width.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional as F

from groundup.models.config import ModelConfig

STRETCH = 64
VIEWS = 32  # of all layers, kept at most
Bias = Callable[[Tensor], Tensor]
"""Distances (n, S) between a query and its keys to what is added to its scores, (n, K, S)."""


@dataclass(frozen=True)
class Piece:
    """Tokens for one slot to read after what it holds."""

    slot: int
    tokens: Sequence[int]
    wanted: int = 1
    """Of how many of them, from the last on, the scores of the next token are asked for."""


@dataclass
class _Stretch:
    """Rows of a pass whose attention is computed together: one piece, or neighbouring slots with one token each."""

    rows: slice
    slots: slice
    start: int
    """Of a piece with several tokens: the place of its first."""
    length: int
    """Tokens that the longest slot holds, the new ones included."""
    single: bool
    keys: int = 0
    masks: dict[int, Tensor | None] = field(default_factory=dict)
    """By window (0: none): what is added to the scores, (n, 1 or G, 1 or K/G, S) or (1, 1 or K, T, S); None: plain causal."""


class KVCache:
    """The keys and values of all layers, `[layer][slot, place, key or value, G, H]`."""

    def __init__(
        self, config: ModelConfig, layers: int, slots: int, dtype: torch.dtype, device: torch.device
    ) -> None:
        """`slots`: as many there may come to be."""
        self.most, self.heads, self.kv_heads, self.head_width = (
            slots,
            config.heads,
            config.kv_heads,
            config.head_width,
        )
        self._widths = [self.heads * self.head_width, 2 * self.kv_heads * self.head_width]
        self._context = config.context
        self._scale, self._softcap = config.attention_scale, config.attention_softcap
        self._windows = sorted({config.window(layer) for layer in range(layers)})
        self._window = [config.window(layer) for layer in range(layers)]
        self.dtype, self._device = dtype, device
        self._kv = [self._empty(0, 0) for _ in range(layers)]
        self.addresses: list[int] = []
        """Where each layer's block stands."""
        self._flat = [kv.flatten(0, 1) for kv in self._kv]
        self._places = torch.arange(0, device=device)
        self._edges: dict[int, Tensor] = {}
        self._views: dict[tuple[int, int, int], list[tuple[Tensor, Tensor]]] = {}

    @property
    def capacity(self) -> int:
        """Places of a slot."""
        return self._kv[0].shape[1]

    def lay_out(self, slots: int, capacity: int) -> None:
        """Give back all memory and take room for so many slots of so many places, empty, and no more than that."""
        self.most, self._context = slots, capacity
        self._kv = [self._empty(0, 0) for _ in self._kv]
        self.reserve(slots, capacity)

    def copy(self, source: int, target: int, length: int) -> None:
        """What one slot holds of its first `length` tokens, to another."""
        self.reserve(target + 1, length)
        for kv in self._kv:
            kv[target, :length] = kv[source, :length]

    def plan(self, pieces: Sequence[Piece], starts: Sequence[int], bias: Bias | None) -> Plan:
        """Make room for a pass and lay out its attention. `starts`: tokens that each piece's slot holds before it."""
        ends = [start + len(piece.tokens) for piece, start in zip(pieces, starts, strict=True)]
        self.reserve(1 + max(piece.slot for piece in pieces), max(ends))
        capacity = self._kv[0].shape[1]
        positions = [place for start, end in zip(starts, ends, strict=True) for place in range(start, end)]
        index = [
            piece.slot * capacity + place
            for piece, start, end in zip(pieces, starts, ends, strict=True)
            for place in range(start, end)
        ]
        stretches = _stretches(pieces, starts)
        index_N, positions_N = torch.tensor([index, positions], device=self._device)
        for stretch in stretches:
            self._mask(stretch, positions_N, bias)
        return Plan(stretches, index_N, positions_N)

    def attend(self, layer: int, plan: Plan, qkv_NX: Tensor) -> Tensor:
        """Store a layer's new keys and values, and let each query attend to its slot's, (N, K x H).

        `qkv_NX`: queries, keys and values of each token side by side, (N, (K + 2 G) x H).
        """
        q_NX, kv_NX = torch.split(qkv_NX, self._widths, dim=1)
        if self.dtype != torch.float32:
            q_NX, kv_NX = q_NX.to(self.dtype), kv_NX.to(self.dtype)
        self._flat[layer].index_copy_(0, plan.index_N, kv_NX)
        window = self._window[layer]
        if len(plan.stretches) == 1:
            y_NX = self._stretch(layer, plan.stretches[0], q_NX, plan.stretches[0].masks[window])
        else:
            y_NX = torch.cat(
                [self._stretch(layer, one, q_NX[one.rows], one.masks[window]) for one in plan.stretches]
            )
        return y_NX if self.dtype == torch.float32 else y_NX.float()

    def _stretch(self, layer: int, stretch: _Stretch, q_nX: Tensor, added: Tensor | None) -> Tensor:
        K, G, H = self.heads, self.kv_heads, self.head_width
        if stretch.single:  # the queries that share a key head stand where a piece's tokens stand
            n = q_nX.shape[0]
            k_nGSH, v_nGSH = self._often(stretch)[layer]
            y = weigh(q_nX.view(n, G, K // G, H), k_nGSH, v_nGSH, added, self._scale, self._softcap)
            return y.reshape(n, K * H)
        T = q_nX.shape[0]
        k_nGSH, v_nGSH = _halves(self._kv[layer][stretch.slots, : stretch.keys])
        q_1KTH = q_nX.view(T, K, H).transpose(0, 1)[None]
        y = weigh(q_1KTH, k_nGSH, v_nGSH, added, self._scale, self._softcap, causal=added is None)
        return y[0].transpose(0, 1).reshape(T, K * H)

    def _often(self, stretch: _Stretch) -> list[tuple[Tensor, Tensor]]:
        """All layers' keys and values of neighbouring slots: made once for all steps in which they are looked at alike."""
        key = stretch.slots.start, stretch.slots.stop, stretch.keys
        if key not in self._views:
            if len(self._views) >= VIEWS:
                self._views.clear()
            self._views[key] = [_halves(kv[stretch.slots, : stretch.keys]) for kv in self._kv]
        return self._views[key]

    def _mask(self, stretch: _Stretch, positions_N: Tensor, bias: Bias | None) -> None:
        """Work out the stretch's number of keys and its masks."""
        K, G = self.heads, self.kv_heads
        fresh = not stretch.single and stretch.start == 0 and bias is None and not self._softcap
        capacity = self._kv[0].shape[1]
        stretch.keys = stretch.length if fresh else min(capacity, -(-stretch.length // STRETCH) * STRETCH)
        if fresh and all(not window or window >= stretch.length for window in self._windows):
            stretch.masks = dict.fromkeys(self._windows)
            return
        added_nKS = None
        if bias is not None:
            added_nKS = bias(positions_N[stretch.rows, None] - self._places[: stretch.keys]).to(self.dtype)
        for window in self._windows:
            mask_nS = self._hidden(window, stretch, positions_N)
            if added_nKS is None:
                stretch.masks[window] = mask_nS[:, None, None] if stretch.single else mask_nS[None, None]
            else:
                mask_nKS = added_nKS + mask_nS[:, None]
                stretch.masks[window] = (
                    mask_nKS.view(-1, G, K // G, stretch.keys) if stretch.single else mask_nKS.transpose(0, 1)[None]
                )

    def _hidden(self, window: int, stretch: _Stretch, positions_N: Tensor) -> Tensor:
        """-inf where a query does not look, 0 where it does, (n, S): each row a piece of one long edge,

        distance to the key   C-1 ... window   window-1 ... 0   -1 ... 1-C
                              -inf             0                -inf
        """
        C = self._places.shape[0]
        if window not in self._edges:
            edge = torch.full((2 * C - 1,), float("-inf"), dtype=self.dtype, device=self._device)
            edge[max(0, C - window) if window else 0 : C] = 0.0
            self._edges[window] = edge
        edge = self._edges[window]
        if stretch.length - stretch.start == 1 and stretch.rows.stop - stretch.rows.start == 1:
            begin = C - stretch.length
            return edge[begin : begin + stretch.keys][None]
        return edge.unfold(0, stretch.keys, 1)[C - 1 - positions_N[stretch.rows]]

    def _empty(self, slots: int, capacity: int) -> Tensor:
        shape = (slots, capacity, 2, self.kv_heads, self.head_width)
        return torch.zeros(shape, dtype=self.dtype, device=self._device)

    def reserve(self, slots: int, capacity: int) -> None:
        """Grow, where needed, to at least so many slots of so many places."""
        had_slots, had = self._kv[0].shape[:2]
        if slots <= had_slots and capacity <= had:
            return
        slots = had_slots if slots <= had_slots else max(slots, min(2 * had_slots, self.most))
        capacity = had if capacity <= had else _capacity(capacity, self._context)
        for layer, old in enumerate(self._kv):
            new = self._empty(slots, capacity)
            new[:had_slots, :had] = old
            self._kv[layer], self._flat[layer] = new, new.view(slots * capacity, -1)
        self._places = torch.arange(capacity, device=self._device)
        self._edges.clear()
        self._views.clear()
        self.addresses = [kv.data_ptr() for kv in self._kv]


def _halves(kv_nS2GH: Tensor) -> tuple[Tensor, Tensor]:
    """Keys and values, each (n, G, S, H)."""
    k_nSGH, v_nSGH = kv_nS2GH.unbind(2)
    return k_nSGH.transpose(1, 2), v_nSGH.transpose(1, 2)


def _capacity(needed: int, context: int) -> int:
    """The next power of two of stretches, up to the context's whole stretches."""
    stretches = 1 << (-(-needed // STRETCH) - 1).bit_length()
    return min(STRETCH * stretches, -(-context // STRETCH) * STRETCH)


@dataclass(frozen=True)
class Plan:
    """The attention of one pass, the same for all layers."""

    stretches: list[_Stretch]
    index_N: Tensor
    """Where in a layer's memory each token's keys and values go."""
    positions_N: Tensor
    """The token's place in its text."""


def _stretches(pieces: Sequence[Piece], starts: Sequence[int]) -> list[_Stretch]:
    """Pieces in order, neighbouring slots with one token each taken together."""
    found: list[_Stretch] = []
    rows = itertools.accumulate((len(piece.tokens) for piece in pieces), initial=0)
    for piece, start, row in zip(pieces, starts, rows, strict=False):
        size = len(piece.tokens)
        last = found[-1] if found else None
        if last is not None and size == 1 and last.single and last.slots.stop == piece.slot:
            last.rows, last.slots = slice(last.rows.start, row + 1), slice(last.slots.start, piece.slot + 1)
            last.length = max(last.length, start + 1)
        else:
            found.append(
                _Stretch(
                    slice(row, row + size),
                    slice(piece.slot, piece.slot + 1),
                    start,
                    start + size,
                    single=size == 1,
                )
            )
    return found


def weigh(
    q_nKTH: Tensor, k_nGSH: Tensor, v_nGSH: Tensor, added: Tensor | None, scale: float | None, softcap: float, *,
    causal: bool = False,
) -> Tensor:  # fmt: skip
    """softmax(q k^T scale, capped, + added) v, (n, K, T, H)."""
    K, G = q_nKTH.shape[1], k_nGSH.shape[1]
    if not softcap:
        y: Tensor = F.scaled_dot_product_attention(
            q_nKTH, k_nGSH, v_nGSH, attn_mask=added, is_causal=causal, enable_gqa=K != G, scale=scale
        )
        return y
    assert added is not None
    k, v = (x.repeat_interleave(K // G, dim=1) if K != G else x for x in (k_nGSH, v_nGSH))
    scores = q_nKTH @ k.transpose(-1, -2) * (q_nKTH.shape[-1] ** -0.5 if scale is None else scale)
    return (softcap * torch.tanh(scores / softcap) + added).softmax(dim=-1) @ v
