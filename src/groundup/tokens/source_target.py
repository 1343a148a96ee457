"""Pairs for encoder-decoders, made of rows of text: what is read, and what is to be written.

    span corruption   text      a b c d e f g h                              (T5, Raffel et al. 2020, section 3.1.4)
                      source    a <0> d e f <1> h
                      target    <0> b c <1> g #

    continuation      source    a b c d
                      target    e f g h

The decoder reads its target moved on by one place, <|pad|> first. A row is one pair, whatever documents it holds; each is a
function of its step alone, so a run goes on from any step.

Shapes: B rows, S places of the source, T of the target.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from torch import Tensor

from groundup.errors import RequestError
from groundup.tokens.loader import Loader
from groundup.tokens.packing import NDArray
from groundup.tokens.transforms import noise_spans

DENSITY, MEAN_SPAN = 0.15, 3.0  # T5's


class SourceTarget:
    """A batch source over a loader's rows: `source`, `source_positions`, `source_segments` (B, S) beside the usual tensors of the
    target, (B, T). Padding is segment 1, all else 0; `read` is the number of text tokens the batch was made of."""

    def __init__(self, loader: Loader, how: Literal["span-corruption", "continuation"]) -> None:
        self._loader, self._how = loader, how
        special = loader.split.special
        self._pad, self._end = loader.split.pad, loader.split.end_of_text
        self._sentinels: list[int] = []
        while (name := f"<|sentinel_{len(self._sentinels)}|>") in special:
            self._sentinels.append(special[name])
        if how == "span-corruption" and not self._sentinels:
            raise RequestError("span corruption needs sentinels and the tokenizer has none", where="tokens.sentinels", do="Set it to 100 (T5).")

    def parts(self, step: int) -> int:
        """Micro-batches a step is cut into."""
        return self._loader.parts(step)

    def __call__(self, step: int, micro: int) -> dict[str, Tensor]:
        """One micro-batch."""
        batch = self._loader(step, micro)
        text, there = batch["targets"].numpy(), batch["weights"].numpy() > 0
        pairs = [self._pair(row[real], step, micro, number) for number, (row, real) in enumerate(zip(text, there, strict=True))]
        source, source_real = self._stack([one for one, _ in pairs])
        target, target_real = self._stack([other for _, other in pairs])
        read = np.concatenate([np.full((len(target), 1), self._pad, dtype=np.int64), target[:, :-1]], axis=1)
        return {
            "source": torch.from_numpy(source), "source_positions": torch.arange(source.shape[1]).expand(source.shape).contiguous(),
            "source_segments": torch.from_numpy((~source_real).astype(np.int64)),
            "tokens": torch.from_numpy(read), "targets": torch.from_numpy(target), "weights": torch.from_numpy(target_real.astype(np.float32)),
            "positions": torch.arange(target.shape[1]).expand(target.shape).contiguous(),
            "segments": torch.from_numpy((~target_real).astype(np.int64)), "read": torch.tensor(text.size),
        }  # fmt: skip

    def _pair(self, text: NDArray, step: int, micro: int, row: int) -> tuple[NDArray, NDArray]:
        if self._how == "continuation":
            cut = (len(text) + 1) // 2
            return text[:cut], text[cut:]
        draw = np.random.Generator(np.random.PCG64([self._loader.seed % 2**64, 3, step, micro, row]))
        shown: list[NDArray] = []
        answer: list[NDArray] = []
        done = 0
        spans = noise_spans(len(text), DENSITY, MEAN_SPAN, len(self._sentinels), draw)
        for (begin, end), sentinel in zip(spans, self._sentinels, strict=False):
            mark = np.array([sentinel])
            shown += [text[done:begin], mark]
            answer += [mark, text[begin:end]]
            done = end
        return np.concatenate([*shown, text[done:]]), np.concatenate([*answer, np.array([self._end])])

    def _stack(self, rows: list[NDArray]) -> tuple[NDArray, NDArray]:
        """The rows padded on the right, and which places are real."""
        longest = max(1, *map(len, rows)) if len(rows) > 1 else max(1, len(rows[0]))
        whole = np.full((len(rows), longest), self._pad, dtype=np.int64)
        real = np.zeros(whole.shape, dtype=bool)
        for number, row in enumerate(rows):
            whole[number, : len(row)], real[number, : len(row)] = row, True
        return whole, real
