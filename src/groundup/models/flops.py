"""Floating-point operations of a training step.

Counting rule of PaLM (Chowdhery et al. 2022, appendix B): 6 N per token, N the parameters of matrix products, plus
12 L K H T for attention, a multiply and an add counted as two, masked-out positions counted like the others. The
embeddings are look-ups and cost nothing; the head is a product and counts, tied or not.
"""

from __future__ import annotations

from groundup.models.build import matmul_parameters
from groundup.models.config import ModelConfig


def training_flops_per_token(config: ModelConfig, context: int | None = None) -> float:
    """Forward and backward FLOPs of one token in a row of `context` tokens (default: the config's)."""
    T = context or config.context
    return 6.0 * matmul_parameters(config) + 12.0 * config.layers * config.width * T
