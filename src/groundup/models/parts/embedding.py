"""Embeddings of a token and of the tokens before it.

A table of hashed n-grams gives the first layer at once what attention would have to learn: which characters or word
pieces just passed. A look-up costs no floating-point operation, which is what a CPU has least of;
gradients are sparse, so a step costs what it touches and not the table's size. Seen often, tables learn text by heart:
`dropout` leaves out each vector with that probability in training (whole and unscaled: a shorter context, not noise).

Shapes: B batch, T time, S earlier time, D model width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

# odd constants of multiplicative hashing: the golden ratio's and two others of xxHash's primes
PRIMES = (2_654_435_761, 2_246_822_519, 3_266_489_917, 668_265_263, 374_761_393)


class NgramEmbedding(nn.Module):
    """The sum of learned vectors of the last 2, 3, ... tokens; zero where the document has not so many yet."""

    def __init__(self, vocabulary: int, rows: tuple[int, ...], width: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.dropout = dropout
        self.vocabulary, self.rows = vocabulary, rows
        self.tables = nn.ModuleList(nn.Embedding(count, width, sparse=True) for count in rows)

    @property
    def history(self) -> int:
        """Tokens before the present one that are looked at."""
        return len(self.tables)

    def forward(self, tokens_BT: Tensor, positions_BT: Tensor, earlier_BS: Tensor | None = None) -> Tensor:
        """(B, T, D). `positions_BT`: places within the document; `earlier_BS`: the tokens before."""
        T, history = tokens_BT.shape[1], self.history
        padded = tokens_BT if earlier_BS is None else torch.cat((earlier_BS[:, -history:], tokens_BT), dim=1)
        padded = F.pad(padded, (history + T - padded.shape[1], 0))
        total: Tensor | None = None
        key = tokens_BT
        for back, table in enumerate(self.tables, start=1):
            previous = padded[:, history - back : history - back + T]
            rows = self.rows[back - 1]
            if back == 1 and self.vocabulary**2 <= rows:  # room for every pair: no hashing
                key = tokens_BT * self.vocabulary + previous
                row = key
            else:
                key = (key * PRIMES[(back - 1) % len(PRIMES)] + previous + 1) & 0x7FFFFFFF
                row = ((key * PRIMES[0] & 0x7FFFFFFF) >> 7) % rows
            there = positions_BT >= back
            if self.training and self.dropout:
                there = there & (torch.rand(tokens_BT.shape, device=tokens_BT.device) >= self.dropout)
            vectors = table(row) * there.unsqueeze(-1)
            total = vectors if total is None else total + vectors
        assert total is not None
        return total
