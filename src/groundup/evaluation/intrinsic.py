"""Bits per byte: how well a model predicts text it never saw, counted on the text's own bytes.

Perplexity per token depends on the tokenizer; bits per byte does not: the summed -log2 p of all tokens over the UTF-8
bytes they stand for. Every token is predicted exactly once, by a window that slides over its document:

    context 6, stride 3      # t1 t2 t3 t4 t5 t6 t7 t8 t9 ...        # is <|end_of_text|>
    window 0                 # t1 t2 t3 t4 t5                        predicts t1 ... t6
    window 1                          t3 t4 t5 t6 t7 t8              predicts t7 t8 t9: at least context - stride + 1
                                                                     tokens stand before each
A document begins after <|end_of_text|> and ends with its last token: the text's tokens alone are counted, not the
<|end_of_text|> after them, because the bytes are the text's alone. (Tokens are one way of many to write the text, so
this is an upper bound of the bits the model needs.)

Shapes: T time, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from groundup.errors import GroundupError
from groundup.progress import bar
from groundup.tokens.shards import TokenSplit

BATCH_TOKENS = 8192  # padded tokens of a forward pass
CHUNK = 4096  # windows sorted by length and batched at once


@dataclass(frozen=True)
class _Window:
    """Inputs [start, end) of a document that begins with <|end_of_text|>; the last `scored` of them predict."""

    document: int
    start: int
    end: int
    scored: int


def bits_per_byte(model: nn.Module, split: TokenSplit, context: int, stride: int, batch_tokens: int = BATCH_TOKENS) -> dict[str, Any]:
    """The split's bits per byte under a model called as `model(tokens, positions, None) -> logits`.

    `stride`: tokens a window moves on, 1 to `context`; `batch_tokens`: padded tokens a forward pass sees, which bounds the
    memory of its scores (x V x 4 bytes). Returns `bits_per_byte`, `perplexity_per_token`, `held_out_tokens`,
    `held_out_bytes`, `window_tokens`, `stride_tokens`. Raises GroundupError where there is no text.
    """
    if not 1 <= stride <= context:
        raise ValueError(f"a stride of {stride} with a context of {context}")
    windows = (window for number in range(len(split.starts)) for window in _slide(split, number, context, stride))
    with bar("held-out tokens", len(split.tokens) - len(split.starts)) as task:
        nats, tokens = _score(model, split, windows, batch_tokens, task.advance)
    measured = _figures(nats, tokens, int(split.byte_counts.sum()))
    return {
        "bits_per_byte": measured["bits_per_byte"],
        "perplexity_per_token": measured["perplexity_per_token"],
        "held_out_tokens": tokens,
        "held_out_bytes": measured["bytes"],
        "window_tokens": context,
        "stride_tokens": stride,
    }


def quick_bits_per_byte(model: nn.Module, split: TokenSplit, context: int, tokens: int, seed: int) -> float:
    """An estimate for curves: the same sums over windows that do not overlap, drawn until they hold `tokens` tokens.

    The draw depends on the seed alone, so all points of a curve are measured on the same text. A little higher than
    `bits_per_byte`, because the tokens at a window's start have little before them.
    """
    windows = [window for number in range(len(split.starts)) for window in _slide(split, number, context, context)]
    drawn: list[_Window] = []
    size = bytes_drawn = 0
    for place in np.random.Generator(np.random.PCG64(seed % 2**64)).permutation(len(windows)).tolist():
        if size >= tokens:
            break
        window = windows[place]
        drawn.append(window)
        size += window.scored
        targets = split.document(window.document)[window.end - window.scored : window.end]
        bytes_drawn += int(split.byte_lengths[targets].sum())
    nats, counted = _score(model, split, drawn, BATCH_TOKENS, lambda scored: None)
    return float(_figures(nats, counted, bytes_drawn)["bits_per_byte"])


def _figures(nats: float, tokens: int, size: int) -> dict[str, Any]:
    if tokens == 0 or size == 0:
        raise GroundupError("no held-out text to measure on", where="evaluation", do="Hold out more, or add text.")
    return {
        "bits_per_byte": nats / math.log(2) / size,
        "perplexity_per_token": math.exp(min(nats / tokens, 700.0)),
        "bytes": size,
    }


def _slide(split: TokenSplit, number: int, context: int, stride: int) -> Iterator[_Window]:
    """The windows of one document of n tokens: together they score each token once."""
    end_of_stream = split.starts[number + 1] if number + 1 < len(split.starts) else len(split.tokens)
    n = int(end_of_stream - split.starts[number]) - 1
    done = start = 0
    while done < n:
        end = min(start + context, n)
        yield _Window(number, start, end, end - done)
        done, start = end, start + stride


def _score(
    model: nn.Module, split: TokenSplit, windows: Iterable[_Window], batch_tokens: int, advance: Callable[[int], None]
) -> tuple[float, int]:
    """Summed -ln p (nats) and number of the scored tokens of all windows; `advance` is told of them batch by batch."""
    was_training = model.training
    model.eval()
    nats, tokens = 0.0, 0
    try:
        with torch.inference_mode():
            for batch in _batches(windows, batch_tokens):
                nats += _score_batch(model, split, batch)
                scored = sum(window.scored for window in batch)
                tokens += scored
                advance(scored)
    finally:
        model.train(was_training)
    return nats, tokens


def _batches(windows: Iterable[_Window], batch_tokens: int) -> Iterator[list[_Window]]:
    """Windows of like length together, at most `batch_tokens` after padding."""
    held: list[_Window] = []

    def cut() -> Iterator[list[_Window]]:
        held.sort(key=lambda window: window.start - window.end)
        while held:
            rows = max(1, batch_tokens // (held[0].end - held[0].start))
            yield held[:rows]
            del held[:rows]

    for window in windows:
        held.append(window)
        if len(held) == CHUNK:
            yield from cut()
    yield from cut()


def _score_batch(model: nn.Module, split: TokenSplit, batch: Sequence[_Window]) -> float:
    """Summed -ln p of a batch: rows padded on the right, where a causal model does not look."""
    device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    T = max(window.end - window.start for window in batch)
    tokens_BT = np.full((len(batch), T), split.end_of_text, dtype=np.int64)
    targets: list[Tensor] = []
    for row, window in enumerate(batch):
        document = split.document(window.document)
        read = document[max(0, window.start - 1) : window.end - 1]
        length = window.end - window.start
        tokens_BT[row, length - len(read) : length] = read
        targets.append(torch.from_numpy(document[window.end - window.scored : window.end].astype(np.int64)).to(device))
    positions_BT = torch.arange(T, device=device).expand(len(batch), T)
    logits_BTV = model(torch.from_numpy(tokens_BT).to(device), positions_BT, None)
    total = 0.0
    for row, window in enumerate(batch):  # row by row: a second copy of all logits would double the memory
        length = window.end - window.start
        logits_TV = logits_BTV[row, length - window.scored : length].float()
        total += float(F.cross_entropy(logits_TV, targets[row], reduction="none").double().sum())
    return total
