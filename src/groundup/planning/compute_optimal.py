"""How large a model and how much text for a given amount of computing (Hoffmann et al. 2022, arXiv 2203.15556, approach 3).

    L(N, D) = E + A / N^a + B / D^b,    C = 6 N D
    N = G (C / 6)^(b / (a + b)),    D = (C / 6) / N,    G = (a A / b B)^(1 / (a + b))

The constants printed in the paper were rounded and contradict its own 20 tokens a parameter; Epoch AI fitted the paper's data again
(Besiroglu et al. 2024, arXiv 2404.10102). They belong to MassiveText and its tokenizer: take losses as a comparison, not a promise.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Law:
    """Constants of the loss."""

    name: str
    E: float
    A: float
    B: float
    a: float
    b: float

    def loss(self, parameters: float, tokens: float) -> float:
        """Nats a token."""
        return float(self.E + self.A / parameters**self.a + self.B / tokens**self.b)

    def optimum(self, flops: float) -> tuple[float, float]:
        """(parameters, tokens) of the least loss for so many FLOPs."""
        g = (self.a * self.A / (self.b * self.B)) ** (1 / (self.a + self.b))
        parameters = g * (flops / 6) ** (self.b / (self.a + self.b))
        return parameters, flops / 6 / parameters


EPOCH = Law("epoch", 1.8172, 482.01, 2085.43, 0.3478, 0.3658)
HOFFMANN = Law("hoffmann", 1.6934, 406.4, 410.7, 0.3392, 0.2849)
LAWS = {law.name: law for law in (EPOCH, HOFFMANN)}


def shape(parameters: float, vocabulary: int = 32_000) -> tuple[int, int, int]:
    """(layers, width, heads) of a LLaMA of about so many parameters: heads of 128, the width 128 times the layers as in LLaMA 7B to 65B,
    less deep below a billion."""
    best = (1, 128, 1)
    error = float("inf")
    for width in range(128, 32_769, 128):
        head = 64 if width < 1024 else 128
        if width % head:
            continue
        left = parameters - 2 * vocabulary * width
        layers = round(left / (12 * width * width))
        if layers < 2 or not 60 <= width / layers <= 160:
            continue
        found = abs(12 * layers * width * width + 2 * vocabulary * width - parameters) / parameters + 0.0005 * abs(width / layers - 110)
        if found < error:
            best, error = (layers, width, width // head), found
    return best
