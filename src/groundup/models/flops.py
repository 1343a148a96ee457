"""Floating-point operations of a training step.

Counting rule of PaLM (Chowdhery et al. 2022, appendix B): 6 N per token, N the parameters of matrix products, plus
12 L K H T for attention, a multiply and an add counted as two, masked-out positions counted like the others. The
embeddings are look-ups and cost nothing; the head is a product and counts, tied or not.

Papers count otherwise: 6 N with all parameters and no attention (Kaplan et al. 2020), or attention's lower half alone
(causal kernels compute no more). The planner shows all three.
"""

from __future__ import annotations

from groundup.models.build import matmul_parameters
from groundup.models.config import ModelConfig


def training_flops_per_token(config: ModelConfig, context: int | None = None) -> float:
    """Forward and backward FLOPs of one token in a row of `context` tokens (default: the config's)."""
    return 6.0 * matmul_parameters(config) + attention_flops_per_token(config, context)


def attention_flops_per_token(config: ModelConfig, context: int | None = None) -> float:
    """Of scores and weighted sums alone: 12 x heads x head width x the places a layer looks at, summed over the layers."""
    T = context or config.context
    places = sum(min(config.window(layer) or T, T) for layer in range(config.layers))
    return 12.0 * config.heads * config.head_width * places
