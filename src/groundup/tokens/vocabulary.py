"""How many tokens: compression against what the embedding costs the planned model.

A larger vocabulary writes a text in fewer tokens, each of which costs the model more: its head multiplies by a row for
every token of the vocabulary. What a byte of text costs, in multiplications, is

    (body + vocabulary x width) / bytes a token

where body is what the planned model has in its layers; of the sizes that cost next to the least the largest is taken,
because fewer tokens also mean that a context holds more text. (Tao et al. 2024, arXiv 2407.13623, come to the same
trade-off: the best vocabulary grows with the model.) Tried on books with 2 layers of width 128, 100 s: 1,024 ended at 1.741
bits per byte, 2,048 at 1.732, 4,096 at 1.797, 8,192 at 1.908, and cost 1.00, 1.06, 1.30 and 1.84 of the least.
Above all stands a bound that the text sets: rows seen too seldom learn nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from groundup.tokens.tokenizer import Tokenizer
from groundup.tokens.trainers import shortened

SMALLEST, LARGEST = 512, 65_536  # tokens; up to the largest an id fits into two bytes
NEXT_TO_LEAST = 1.07

Shape = Callable[[int, int], tuple[int, int]]
"""(vocabulary, tokens of training text) -> (parameters of the layers, width) of the model that would be trained."""


@dataclass(frozen=True)
class Candidate:
    """A size that was looked at."""

    vocabulary: int
    bytes_per_token: float
    """On a sample of the training text."""
    body_parameters: int
    """Of the model that would be planned with the smallest vocabulary: its layers."""
    head_parameters: int
    """Vocabulary times width."""

    @property
    def cost(self) -> float:
        """Multiplications a byte of text costs, forward."""
        return (self.body_parameters + self.head_parameters) / self.bytes_per_token


def most_tokens(train_bytes: int) -> int:
    """The power of two nearest to twice the square root of the text's bytes, within SMALLEST and LARGEST.

    The number of different words grows about as the square root of a text (Heaps' law, exponent 0.4 to 0.6: Manning et
    al. 2008, section 5.1.1), so with this rule a merge is seen about equally often at every size. Measured on books:
    the last hundred merges are used 36 times (median) in 1.1 MB with 2,048 tokens, 42 in 4 MB with 4,096, 69 in 19 MB
    with 8,192; merges seen SEEN_AT_LEAST times would allow 6,900 and 14,400 in the first two.
    """
    return min(LARGEST, max(SMALLEST, 1 << round(math.log2(2 * math.sqrt(max(1, train_bytes))))))


def candidates(text: str, sample: Sequence[str], shape: Shape, train_bytes: int) -> list[Candidate]:
    """The powers of two up to a trained byte-level BPE's own size, each measured on the sample."""
    full = Tokenizer(text)
    sizes = [size for power in range(9, 17) if (size := 2**power) < full.size] + [full.size]
    measured = sum(len(one.encode()) for one in sample)
    rates = []
    for size in sizes:
        words = full if size == full.size else Tokenizer(shortened(text, size))
        rates.append(measured / max(1, sum(map(len, words.encode_batch(sample)))))
    body, width = shape(sizes[0], round(train_bytes / rates[0]))  # one model for all: what is weighed is the vocabulary alone
    return [Candidate(size, round(rate, 4), body, size * width) for size, rate in zip(sizes, rates, strict=True)]


def choose(found: Sequence[Candidate]) -> Candidate:
    """The largest of those with which a byte of text costs next to the least."""
    least = min(one.cost for one in found)
    return max((one for one in found if one.cost <= NEXT_TO_LEAST * least), key=lambda one: one.vocabulary)


def table(found: Sequence[Candidate], chosen: Candidate) -> list[str]:
    """The trade-off in lines for a person; the chosen size is marked."""
    lines = ["vocabulary   bytes/token   layers (M)   head (M)   head of all   cost of a byte"]
    for one in found:
        share = one.head_parameters / (one.head_parameters + one.body_parameters)
        lines.append(
            f"{one.vocabulary:>10,}   {one.bytes_per_token:>11.3f}   {one.body_parameters / 1e6:>10.2f}   {one.head_parameters / 1e6:>8.2f}"
            f"   {100 * share:>9.0f} %   {one.cost / chosen.cost:>12.2f} x" + ("  <-" if one is chosen else "")
        )
    return lines
