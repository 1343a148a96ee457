"""Keys and values of earlier positions, so that each new token costs one position of work and not all of them.

One block of memory a layer, allocated once and written in place. Rows of different prompt lengths stand with their
last tokens in one column (left padding), so that every row's next token falls in the same place:

    row 0   . . a b c | d        `.` padding: a key that no real query sees
    row 1   e f g h i | j        start = (2, 0), length = 5 before the new column

Shapes: B rows, G kv-heads, C capacity (time), T new time, S all time so far, H head width.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from groundup.models.config import ModelConfig


class KVCache:
    """A static cache that obeys `models.parts.attention.Cache`.

    Before each forward pass call `expect(T)` with the number of new columns; the model then asks once for `mask()` and
    appends once a layer.
    """

    def __init__(
        self, config: ModelConfig, capacity: int, starts: Sequence[int], *, dtype: torch.dtype, device: torch.device
    ) -> None:
        """`capacity`: columns at most; `starts`: for each row, how many padding columns it begins with."""
        shape = (2, len(starts), config.kv_heads, capacity, config.head_width)
        self._kv = [torch.zeros(shape, dtype=dtype, device=device) for _ in range(config.layers)]
        self._lengths = [0] * config.layers
        self._start_B = torch.tensor(list(starts), device=device)
        self._padded = any(starts)
        self._new = 0
        self._tokens: Tensor | None = None

    @property
    def length(self) -> int:
        """Columns filled so far."""
        return self._lengths[-1]

    def expect(self, new: int) -> Tensor:
        """Announce `new` columns; returns their positions within each row's text, (B, T), padding at 0."""
        self._new = new
        columns_T = torch.arange(self.length, self.length + new, device=self._start_B.device)
        return (columns_T - self._start_B[:, None]).clamp(min=0)

    def append(self, layer: int, k_BGTH: Tensor, v_BGTH: Tensor) -> tuple[Tensor, Tensor]:
        """Store a layer's new keys and values in place; returns views of all so far, each (B, G, S, H)."""
        begin = self._lengths[layer]
        end = self._lengths[layer] = begin + k_BGTH.shape[2]
        keys_BGCH, values_BGCH = self._kv[layer]
        keys_BGCH[:, :, begin:end] = k_BGTH
        values_BGCH[:, :, begin:end] = v_BGTH
        return keys_BGCH[:, :, :end], values_BGCH[:, :, :end]

    def earlier(self, tokens_BT: Tensor) -> Tensor:
        """Store the new tokens and return all before them, (B, S - T), padding included; for n-gram embeddings."""
        before = self._tokens
        self._tokens = tokens_BT if before is None else torch.cat((before, tokens_BT), dim=1)
        return tokens_BT[:, :0] if before is None else before

    def mask(self) -> Tensor | None:
        """Which columns each expected query sees, bool (B, 1, T, S); None where plain causal attention says the same.

        That is so when no row is padded and the pass is the first one or one column wide. A padding query sees itself
        alone, so that its softmax is never over nothing; no real query ever sees it.
        """
        if not self._padded and (self._new == 1 or self.length == 0):
            return None
        query_T1 = torch.arange(self.length, self.length + self._new, device=self._start_B.device)[:, None]
        key_1S = torch.arange(self.length + self._new, device=self._start_B.device)[None, :]
        real_B1S = key_1S[None] >= self._start_B[:, None, None]
        return (((key_1S <= query_T1)[None] & real_B1S) | (key_1S == query_T1)[None])[:, None]

    def select(self, rows: Sequence[int]) -> None:
        """Keep the given rows, in that order; a row named several times is copied (one prompt, several samples)."""
        index = torch.tensor(list(rows), device=self._start_B.device)
        self._kv = [kv.index_select(1, index) for kv in self._kv]
        self._start_B = self._start_B.index_select(0, index)
        self._tokens = None if self._tokens is None else self._tokens.index_select(0, index)
