"""Bits per byte of held-out text, counted on its original bytes, whatever the tokenizer.

A window of T tokens slides over each document by a stride; a token is scored once, in the first window that holds it,
so all but a document's first tokens have at least T - stride tokens before them:

    document   E 1 2 3 4 5 6 7 8 9        E is <|end_of_text|>, seen but, being no text, not scored
    window 1   E 1 2 3 4                  scores 1 2 3 4 5        (T = 5, stride 2)
    window 2       2 3 4 5 6              scores 6 7              (7 is what follows 6)
    window 3           4 5 6 7 8          scores 8 9

The end of a document is not scored either: it stands for no byte.

Shapes: B windows, T time, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from groundup.progress import bar
from groundup.tokens.shards import TokenSplit

Model = Callable[..., Tensor]
Window = tuple[int, int, int]
"""Place of the first input token, number of input tokens, how many of the last targets are scored."""


def windows(split: TokenSplit, context: int, stride: int) -> list[Window]:
    """All windows of a split; each text token is the scored target of exactly one."""
    result: list[Window] = []
    for number, start in enumerate(split.starts.tolist()):
        end = start + len(split.document(number))
        if end == start:
            continue
        first, scored = start - 1, start  # the token before a document is an <|end_of_text|>
        while scored < end:
            last = min(first + context, end - 1)  # one past the last input; its target is at `last`
            length = last - first
            result.append((first, length, last - scored + 1))
            scored = last + 1
            first += stride
    return result


def bits_per_byte(model: Model, split: TokenSplit, context: int, stride: int, batch_tokens: int = 8192) -> dict[str, Any]:
    """Exact figures over a whole split: bits_per_byte, perplexity_per_token and what they were counted on."""
    chosen = windows(split, context, stride)
    nats = _score(model, split, chosen, batch_tokens, show=True)
    tokens = sum(scored for _, _, scored in chosen)
    size = int(split.byte_counts.sum())
    return {
        "bits_per_byte": nats / math.log(2) / size,
        "perplexity_per_token": math.exp(nats / tokens),
        "held_out_bytes": size,
        "held_out_tokens": tokens,
        "window_tokens": context,
        "stride_tokens": stride,
    }


def quick_bits_per_byte(model: Model, split: TokenSplit, context: int, tokens: int, seed: int) -> float:
    """An estimate for curves: windows without overlap, a fixed draw of about `tokens` tokens, the same each time.

    Bytes are taken at the split's mean bytes per token; the exact figure is `bits_per_byte`'s.
    """
    chosen = windows(split, context, context)
    order = np.random.Generator(np.random.PCG64([seed, 2])).permutation(len(chosen))
    drawn: list[Window] = []
    count = 0
    for place in order.tolist():
        if count >= tokens:
            break
        drawn.append(chosen[place])
        count += chosen[place][2]
    nats = _score(model, split, drawn, 8192)
    bytes_per_token = float(split.byte_counts.sum()) / sum(scored for _, _, scored in chosen)
    return nats / math.log(2) / (count * bytes_per_token)


def _score(model: Model, split: TokenSplit, chosen: list[Window], batch_tokens: int, *, show: bool = False) -> float:
    """Nats of all scored targets. Windows of like length go together, padded at their end."""
    ordered = sorted(chosen, key=lambda window: (-window[1], window[0]))
    total, at = 0.0, 0
    with torch.inference_mode(), bar("held-out text" if show else "", len(ordered)) as progress:
        while at < len(ordered):
            T = ordered[at][1]
            group = ordered[at : at + max(1, batch_tokens // T)]
            at += len(group)
            tokens, targets = torch.zeros(len(group), T, dtype=torch.int64), torch.zeros(len(group), T, dtype=torch.int64)
            weights = torch.zeros(len(group), T)
            for row, (first, length, scored) in enumerate(group):
                ids = torch.from_numpy(split.tokens[first : first + length + 1].astype(np.int64))
                tokens[row, :length], targets[row, :length] = ids[:-1], ids[1:]
                weights[row, length - scored : length] = 1
            logits_BTV = model(tokens, torch.arange(T).expand_as(tokens), None)
            losses = F.cross_entropy(logits_BTV.flatten(0, 1), targets.flatten(), reduction="none")
            total += float((losses.double() * weights.flatten()).sum())
            if show:
                progress.advance(len(group))
    return total
