"""Pairs of passages for BERT's second objective: does the second follow the first? (Devlin et al. 2019, section 3.1)

    <|class|> a1 a2 a3 # b1 b2 b3 # pad pad          # is <|end_of_text|>, here a border
    types     0 0 0 0 0 1 1 1 1

Half of the second passages follow the first in its document, half come from any other. One pair a row; each row is a function
of its number alone, so a run goes on from any step.

Shapes: B rows, T places.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from groundup.errors import GroundupError
from groundup.tokens.shards import TokenSplit

SHORT = 0.1  # of the pairs are shorter than the row, as BERT's are, so that all lengths are learned


class SentencePairs:
    """A batch source: `pairs(step, micro)` gives tokens, targets (the same text), weights, positions, segments, types, pairs.

    Raises GroundupError where there are fewer than two documents with three tokens.
    """

    def __init__(self, split: TokenSplit, context: int, rows: int, micro_batches: int, seed: int) -> None:
        self.split, self.context, self.rows, self._parts, self.seed = split, context, rows, micro_batches, seed
        self._long = np.flatnonzero(split.ends - split.starts >= 3)
        if len(self._long) < 2:
            raise GroundupError("fewer than two documents to make pairs of", where="tokens", do="Add text.")
        self._class, self._border, self._pad = split.special["<|class|>"], split.end_of_text, split.pad

    def parts(self, step: int) -> int:
        """Micro-batches a step is cut into."""
        return self._parts

    def __call__(self, step: int, micro: int) -> dict[str, Tensor]:
        """One micro-batch; `pairs` (B, 3): row, place of its first token, 1 where the second passage is any other."""
        shape = self.rows, self.context
        text = np.full(shape, self._pad, dtype=np.int64)
        types, real, other = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=bool), np.zeros(self.rows, dtype=np.int64)
        for row in range(self.rows):
            draw = np.random.Generator(np.random.PCG64([self.seed % 2**64, 2, (step * self._parts + micro) * self.rows + row]))
            first, second, other[row] = self._pair(draw)
            whole = np.concatenate(([self._class], first, [self._border], second, [self._border]))
            text[row, : len(whole)] = whole
            types[row, len(first) + 2 : len(whole)] = 1
            real[row, : len(whole)] = True
        pairs = np.stack([np.arange(self.rows), np.zeros(self.rows, dtype=np.int64), other], axis=1)
        tokens = torch.from_numpy(text)
        return {
            "tokens": tokens, "targets": tokens, "weights": torch.from_numpy(real.astype(np.float32)),
            "positions": torch.arange(self.context).expand(shape).contiguous(), "segments": torch.from_numpy((~real).astype(np.int64)),
            "types": torch.from_numpy(types), "pairs": torch.from_numpy(pairs),
        }  # fmt: skip

    def _pair(self, draw: np.random.Generator) -> tuple[np.ndarray, np.ndarray, int]:  # type: ignore[type-arg]
        """(first passage, second passage, whether the second is any other)."""
        room = self.context - 3
        if draw.random() < SHORT:
            room = int(draw.integers(2, room + 1))
        number = int(draw.choice(self._long))
        document = self.split.document(number)
        start = int(draw.integers(len(document) - 1))
        passage = document[start : start + room]
        cut = int(draw.integers(1, len(passage)))
        if draw.random() < 0.5:
            return passage[:cut], passage[cut:], 0
        while (elsewhere := int(draw.choice(self._long))) == number:
            pass
        document = self.split.document(elsewhere)
        start = int(draw.integers(len(document) - 1))
        return passage[:cut], document[start : start + room - cut], 1
