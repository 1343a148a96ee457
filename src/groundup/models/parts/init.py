"""Initialisation: normal, with the projections back into the residual stream scaled down by depth (GPT-2), or, for the
`fast` family, by fan-in with those projections and the head at zero (muP's rule for them; nanochat)."""

from __future__ import annotations

import math

import torch
from torch import nn

from groundup.models.config import ModelConfig

INTO_RESIDUAL = ("attention.out.weight", "feedforward.down.weight")  # two per layer, hence sqrt(2 layers)


def initialise(model: nn.Module, config: ModelConfig, seed: int) -> None:
    """Fill every parameter from one seeded generator, in the model's own order; norm scales stay 1."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.startswith("shortcut."):
                # a stronger stream and more of the embedding in early layers (nanochat)
                first, last = (1.15, 1.05) if name.endswith("stream") else (0.20, 0.05)
                parameter.copy_(torch.linspace(first, last, config.layers))
            elif parameter.ndim >= 2:
                std = _std(name, parameter, config)
                parameter.normal_(0.0, std, generator=generator) if std else parameter.zero_()


def _std(name: str, parameter: nn.Parameter, config: ModelConfig) -> float:
    if not config.zero_output:
        return config.init_std / (math.sqrt(2 * config.layers) if name.endswith(INTO_RESIDUAL) else 1.0)
    if name.endswith(INTO_RESIDUAL) or name.startswith("ngrams."):
        return 0.0
    if name.startswith("embedding."):
        return 0.8 if config.embedding_norm and not config.tied else config.init_std
    if name.startswith("head."):
        return 0.001
    return float((0.4 if name.endswith("feedforward.up.weight") else 1.0) / math.sqrt(parameter.shape[1]))
