"""Pairs of passages for BERT's second objective: does the second follow the first? (Devlin et al. 2019, section 3.1)

    <|class|> a1 a2 a3 # b1 b2 b3 # pad pad          # is <|end_of_text|>, here a border
    types     0 0 0 0 0 1 1 1 1

Half of the second passages follow the first in its document, half come from any other. One pair a row; each row is a function
of its number alone, so a run goes on from any step.

Shapes: B rows, T places.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from groundup.errors import GroundupError
from groundup.tokens.loader import BatchPhase, phase_at
from groundup.tokens.shards import NDArray, TokenSplit

TRIES = 10
SHORT = 0.1  # of the pairs are shorter than the row, as BERT's are, so that all lengths are learned


class SentencePairs:
    """A batch source: `pairs(step, micro)` gives tokens, targets (the same text), weights, positions, segments, types, pairs.

    Raises GroundupError where no document has three tokens.
    """

    def __init__(self, split: TokenSplit, phases: Sequence[BatchPhase], seed: int) -> None:
        self.split, self.phases, self.seed = split, list(phases), seed
        if not (split.ends - split.starts >= 3).any():
            raise GroundupError("no document is long enough to make pairs of", where="tokens", do="Add text.")
        self._class, self._border, self._pad = split.special["<|class|>"], split.end_of_text, split.pad

    def parts(self, step: int) -> int:
        """Micro-batches a step is cut into."""
        return phase_at(self.phases, step).micro_batches

    def __call__(self, step: int, micro: int) -> dict[str, Tensor]:
        """One micro-batch; `pairs` (B, 3): row, place of its first token, 1 where the second passage is any other."""
        phase = phase_at(self.phases, step)
        shape = phase.rows, phase.context
        text = np.full(shape, self._pad, dtype=np.int64)
        types, real, other = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=bool), np.zeros(phase.rows, dtype=np.int64)
        for row in range(phase.rows):
            draw = np.random.Generator(np.random.PCG64([self.seed % 2**64, 2, step, micro, row]))
            first, second, other[row] = self._pair(draw, phase.context)
            whole = np.concatenate(([self._class], first, [self._border], second, [self._border]))
            text[row, : len(whole)] = whole
            types[row, len(first) + 2 : len(whole)] = 1
            real[row, : len(whole)] = True
        pairs = np.stack([np.arange(phase.rows), np.zeros(phase.rows, dtype=np.int64), other], axis=1)
        tokens = torch.from_numpy(text)
        return {
            "tokens": tokens, "targets": tokens, "weights": torch.from_numpy(real.astype(np.float32)),
            "positions": torch.arange(phase.context).expand(shape).contiguous(), "segments": torch.from_numpy((~real).astype(np.int64)),
            "types": torch.from_numpy(types), "pairs": torch.from_numpy(pairs),
        }  # fmt: skip

    def _pair(self, draw: np.random.Generator, context: int) -> tuple[NDArray, NDArray, int]:
        """(first passage, second passage, whether the second is any other)."""
        room = context - 3
        if draw.random() < SHORT:
            room = int(draw.integers(2, room + 1))
        number, start = self._place(draw)
        document = self.split.document(number)
        passage = document[start : start + room]
        cut = int(draw.integers(1, len(passage)))
        if draw.random() < 0.5:
            return passage[:cut], passage[cut:], 0
        for _ in range(TRIES):  # another document where there is one
            elsewhere, start = self._place(draw)
            if elsewhere != number:
                break
        return passage[:cut], self.split.document(elsewhere)[start : start + room - cut], 1

    def _place(self, draw: np.random.Generator) -> tuple[int, int]:
        """A document of three tokens or more and a place in it with two to come; every token of the text is as likely."""
        while True:
            token = int(draw.integers(len(self.split.tokens)))
            number = int(np.searchsorted(self.split.starts, token, side="right")) - 1
            length = int(self.split.ends[number] - self.split.starts[number])
            if length >= 3:
                return number, min(token - int(self.split.starts[number]), length - 2)
