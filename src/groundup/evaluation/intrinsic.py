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

Shapes: N tokens of a split, T time, V vocabulary, K likeliest tokens.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
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
    tokens = len(split.tokens) - len(split.starts)
    with bar("held-out tokens", tokens) as task:
        nats = float(surprise(model, split, context, stride, batch_tokens, task.advance).sum(dtype=np.float64))
    measured = _figures(nats, tokens, int(split.byte_counts.sum()))
    return {
        "bits_per_byte": measured["bits_per_byte"],
        "perplexity_per_token": measured["perplexity_per_token"],
        "held_out_tokens": tokens,
        "held_out_bytes": measured["bytes"],
        "window_tokens": context,
        "stride_tokens": stride,
    }


def surprise(
    model: nn.Module, split: TokenSplit, context: int, stride: int, batch_tokens: int = BATCH_TOKENS, advance: Callable[[int], None] = lambda scored: None
) -> NDArray[np.float32]:
    """-ln p of each token (nats), (N,), at its place in the split; 0 at each <|end_of_text|>, which nobody asks for.

    `advance` is told of the scored tokens, batch by batch.
    """
    nats_N = np.zeros(len(split.tokens), dtype=np.float32)

    def note(window: _Window, logits_TV: Tensor, targets_T: Tensor) -> None:
        nats_N[_places(split, window)] = F.cross_entropy(logits_TV, targets_T, reduction="none").cpu().numpy()

    _score(model, split, _windows(split, context, stride), batch_tokens, note, advance)
    return nats_N


@dataclass(frozen=True)
class Guesses:
    """What a model made of each token of a split."""

    nats_N: NDArray[np.float32]
    """As `surprise` gives it."""
    likeliest_NK: NDArray[np.int64]
    """The tokens it expected most, best first."""
    shares_NK: NDArray[np.float32]
    """Their probabilities."""


def guesses(model: nn.Module, split: TokenSplit, context: int, stride: int, most: int = 3) -> Guesses:
    """The surprise of each token, and the `most` tokens that were expected in its place."""
    N, K = len(split.tokens), most
    found = Guesses(np.zeros(N, np.float32), np.zeros((N, K), np.int64), np.zeros((N, K), np.float32))

    def note(window: _Window, logits_TV: Tensor, targets_T: Tensor) -> None:
        places = _places(split, window)
        logs_TV = logits_TV.log_softmax(dim=-1)
        best = logs_TV.topk(K)
        found.nats_N[places] = -logs_TV.gather(1, targets_T[:, None])[:, 0].cpu().numpy()
        found.likeliest_NK[places], found.shares_NK[places] = best.indices.cpu().numpy(), best.values.exp().cpu().numpy()

    _score(model, split, _windows(split, context, stride), BATCH_TOKENS, note)
    return found


def quick_bits_per_byte(model: nn.Module, split: TokenSplit, context: int, tokens: int, seed: int) -> float:
    """An estimate for curves: the same sums over windows that do not overlap, drawn until they hold `tokens` tokens.

    The draw depends on the seed alone, so all points of a curve are measured on the same text. A little higher than
    `bits_per_byte`, because the tokens at a window's start have little before them.
    """
    windows = list(_windows(split, context, context))
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
    nats = 0.0

    def add(window: _Window, logits_TV: Tensor, targets_T: Tensor) -> None:
        nonlocal nats
        nats += float(F.cross_entropy(logits_TV, targets_T, reduction="none").double().sum())

    _score(model, split, drawn, BATCH_TOKENS, add)
    return float(_figures(nats, size, bytes_drawn)["bits_per_byte"])


def _figures(nats: float, tokens: int, size: int) -> dict[str, Any]:
    if tokens == 0 or size == 0:
        raise GroundupError("no held-out text to measure on", where="evaluation", do="Hold out more, or add text.")
    return {
        "bits_per_byte": nats / math.log(2) / size,
        "perplexity_per_token": math.exp(min(nats / tokens, 700.0)),
        "bytes": size,
    }


def _windows(split: TokenSplit, context: int, stride: int) -> Iterator[_Window]:
    """The windows of all documents: together they score each token once."""
    if not 1 <= stride <= context:
        raise ValueError(f"a stride of {stride} with a context of {context}")
    for number, n in enumerate((split.ends - split.starts).tolist()):
        done = start = 0
        while done < n:
            end = min(start + context, n)
            yield _Window(number, start, end, end - done)
            done, start = end, start + stride


def _places(split: TokenSplit, window: _Window) -> slice:
    """Of the tokens that a window scores, in the split."""
    first = int(split.starts[window.document])
    return slice(first + window.end - window.scored, first + window.end)


def _score(
    model: nn.Module, split: TokenSplit, windows: Iterable[_Window], batch_tokens: int,
    note: Callable[[_Window, Tensor, Tensor], None], advance: Callable[[int], None] = lambda scored: None,
) -> None:  # fmt: skip
    """Call `note` with each window, its logits (T, V) in float32 and the T tokens that it scores."""
    was_training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            for batch in _batches(windows, batch_tokens):
                _score_batch(model, split, batch, note)
                advance(sum(window.scored for window in batch))
    finally:
        model.train(was_training)


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


def _score_batch(model: nn.Module, split: TokenSplit, batch: Sequence[_Window], note: Callable[[_Window, Tensor, Tensor], None]) -> None:
    """One forward pass: rows padded on the right, where a causal model does not look."""
    device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    T = max(window.end - window.start for window in batch)
    tokens_BT = np.full((len(batch), T), split.end_of_text, dtype=np.int64)
    for row, window in enumerate(batch):
        read = split.document(window.document)[max(0, window.start - 1) : window.end - 1]
        length = window.end - window.start
        tokens_BT[row, length - len(read) : length] = read
    positions_BT = torch.arange(T, device=device).expand(len(batch), T)
    logits_BTV = model(torch.from_numpy(tokens_BT).to(device), positions_BT, None)
    for row, window in enumerate(batch):  # row by row: a second copy of all logits would double the memory
        length = window.end - window.start
        targets_T = torch.from_numpy(split.tokens[_places(split, window)].astype(np.int64)).to(device)
        note(window, logits_BTV[row, length - window.scored : length].float(), targets_T)
