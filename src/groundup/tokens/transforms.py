"""What can be made of a document before it is learned: fill-in-the-middle and span corruption.

A piece is a document, or a part of one, as `packing.py` hands it over: the token before its first target, then its
targets. A transform gives back another piece and the weight of each target.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from groundup.recipe import Tokens
from groundup.tokens.packing import NDArray, Transform
from groundup.tokens.tokenizer import END_OF_TEXT

Floats = np.ndarray[Any, np.dtype[np.float32]]


def of_recipe(wish: Tokens, special: dict[str, int]) -> Transform | None:
    """The transform that a recipe asks for."""
    if wish.span_corruption:
        return span_corruption(special, special[END_OF_TEXT])
    if wish.fill_in_the_middle:
        return fill_in_the_middle(special, special[END_OF_TEXT], wish.fill_in_the_middle)
    return None


def fill_in_the_middle(special: dict[str, int], end_of_text: int, share: float) -> Transform:
    """Move a document's middle to its end, for a `share` of the documents (Bavarian et al. 2022, arXiv 2207.14255).

        # a b c d e f #   ->   # <|fim_prefix|> a b <|fim_suffix|> e f <|fim_middle|> c d #

    The two cuts are drawn evenly from all places. Half of the documents go in the order suffix, prefix, middle: the paper
    found both orders together better than either.
    """
    prefix, middle, suffix = (np.array([special[f"<|fim_{name}|>"]]) for name in ("prefix", "middle", "suffix"))

    def transform(piece: NDArray, draw: np.random.Generator) -> tuple[NDArray, Floats]:
        begin, end = int(piece[0] == end_of_text), len(piece) - int(piece[-1] == end_of_text)
        chosen, suffix_first = draw.random(2) < (share, 0.5)
        if chosen and end - begin > 1:
            one, other = (begin + np.sort(draw.integers(end - begin + 1, size=2))).tolist()
            a, b, c = piece[begin:one], piece[one:other], piece[other:end]
            order = (prefix, suffix, c, middle, a, b) if suffix_first else (prefix, a, suffix, c, middle, b)
            piece = np.concatenate([piece[:begin], *order, piece[end:]])
        return piece, np.ones(len(piece) - 1, dtype=np.float32)

    return transform


def span_corruption(
    special: dict[str, int], end_of_text: int, density: float = 0.15, mean_span: float = 3.0
) -> Transform:
    """Blank spans out and ask for them alone (T5, Raffel et al. 2020, section 3.1.4: 15 % in spans of 3 on average).

        # a b c d e f g #   ->   # a <0> d e <1> g <0> b c <1> f #       asked for: <0> b c <1> f #

    The blanks are <|sentinel_0|>, <|sentinel_1|>, ...; a piece has at most as many spans as there are of them. For a
    decoder, shown text and answer stand in one row.
    """
    sentinels: list[int] = []
    while (name := f"<|sentinel_{len(sentinels)}|>") in special:
        sentinels.append(special[name])

    def transform(piece: NDArray, draw: np.random.Generator) -> tuple[NDArray, Floats]:
        begin, end = int(piece[0] == end_of_text), len(piece) - int(piece[-1] == end_of_text)
        text = piece[begin:end]
        spans = noise_spans(len(text), density, mean_span, len(sentinels), draw)
        if not spans:
            return piece, np.ones(len(piece) - 1, dtype=np.float32)
        shown: list[NDArray] = [piece[:begin]]
        answer: list[NDArray] = []
        done = 0
        for (one, other), sentinel in zip(spans, sentinels, strict=False):
            mark = np.array([sentinel])
            shown += [text[done:one], mark]
            answer += [mark, text[one:other]]
            done = other
        shown.append(text[done:])
        question = np.concatenate(shown)
        whole = np.concatenate([question, *answer, piece[end:]])
        weights = np.ones(len(whole) - 1, dtype=np.float32)
        weights[: len(question) - 1] = 0
        return whole, weights

    return transform


def noise_spans(length: int, density: float, mean_span: float, most: int, draw: np.random.Generator) -> list[tuple[int, int]]:
    """[begin, end) of the spans to blank out of `length` tokens, in order; none where there are fewer than two.

    T5's draw: as many noisy tokens and spans as the density and the mean say, both cut into parts of random lengths of at
    least 1, kept and noisy parts in turn, a kept one first.
    """
    if length < 2:
        return []
    noisy = min(max(round(length * density), 1), length - 1)
    count = min(max(round(noisy / mean_span), 1), noisy, length - noisy, most)
    if count == 0:
        return []
    lengths = np.stack([_parts(length - noisy, count, draw), _parts(noisy, count, draw)], axis=1).reshape(-1)
    ends = np.cumsum(lengths)
    return list(zip(ends[::2].tolist(), ends[1::2].tolist(), strict=True))


def _parts(total: int, count: int, draw: np.random.Generator) -> NDArray:
    """`total` cut into `count` parts of at least 1, every way alike."""
    borders = np.sort(draw.choice(total - 1, size=count - 1, replace=False)) + 1 if count > 1 else np.zeros(0, dtype=np.int64)
    return np.diff(np.concatenate(([0], borders, [total])))
