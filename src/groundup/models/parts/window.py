"""Attention that looks back a little way, in memory that grows with the window and not with the context.

The row is cut into blocks as long as the window w; the queries of a block need the keys of their own block and of the one
before, and no others:

        keys     1 1 1 2 2 2 3 3 3      w = 3
    q   2              x
        2            x x                each query sees itself and the w - 1 before it
        2          x x x
        3                x              ...

Shapes: B batch, T time, K heads, G kv-heads, H head width, W window, N blocks.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def windowed_attention(
    q_BKTH: Tensor, k_BGTH: Tensor, v_BGTH: Tensor, window: int, segments_BT: Tensor | None, *, scale: float | None = None,
    dropout: float = 0.0, both_ways: bool = False,
) -> Tensor:  # fmt: skip
    """Each query attends to itself and the `window` - 1 keys before it (`both_ways`: and after it) of its segment, (B, K, T, H)."""
    B, K, T, H = q_BKTH.shape
    G, W = k_BGTH.shape[1], window
    N = -(-T // W)
    pad = N * W - T
    q, k, v = (F.pad(x, (0, 0, 0, pad)) for x in (q_BKTH, k_BGTH, v_BGTH))
    real_T = torch.arange(N * W, device=q.device) < T
    segments = torch.zeros(1, T, dtype=torch.long, device=q.device) if segments_BT is None else segments_BT
    segments = F.pad(segments, (0, pad), value=-1)

    def blocks(x: Tensor, around: tuple[int, ...]) -> Tensor:
        """(..., N * W, rest) with neighbours of each block beside it, along dimension 2: (..., N, len(around) * W, rest)."""
        whole = x.view(*x.shape[:2], N, W, x.shape[-1])
        shifted = [whole if step == 0 else torch.roll(whole, step, dims=2) for step in around]
        return torch.cat(shifted, dim=3)

    around = (1, 0, -1) if both_ways else (1, 0)
    keys, values = blocks(k, around), blocks(v, around)
    place_NS = blocks(torch.arange(N * W, device=q.device)[None, None, :, None], around)[0, 0, :, :, 0]
    query_NW = torch.arange(N * W, device=q.device).view(N, W)
    apart_NWS = query_NW[:, :, None] - place_NS[:, None, :]
    near_NWS = (apart_NWS.abs() < W) if both_ways else (apart_NWS >= 0) & (apart_NWS < W)
    near_NWS = near_NWS & real_T[place_NS][:, None, :]
    owner = segments.view(segments.shape[0], N, W)
    owner_keys = blocks(segments[:, None, :, None], around)[:, 0, :, :, 0]
    mask = near_NWS & (owner[..., None] == owner_keys[:, :, None, :])  # (B or 1, N, W, S)
    mask = mask | (apart_NWS == 0)  # padding sees itself: a softmax over nothing is no number
    queries = q.view(B, K, N, W, H).transpose(1, 2).flatten(0, 1)  # (B * N, K, W, H)
    keys, values = (x.transpose(1, 2).flatten(0, 1) for x in (keys, values))
    y = F.scaled_dot_product_attention(
        queries, keys, values, attn_mask=mask.expand(B, -1, -1, -1).flatten(0, 1)[:, None], enable_gqa=K != G, dropout_p=dropout, scale=scale,
    )  # fmt: skip
    y_BKTH: Tensor = y.view(B, N, K, W, H).transpose(1, 2).reshape(B, K, N * W, H)[:, :, :T]
    return y_BKTH
