"""Initialisation: normal, with the projections back into the residual stream scaled down by depth (GPT-2)."""

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
            if parameter.ndim >= 2:
                scaled = 1 / math.sqrt(2 * config.layers) if name.endswith(INTO_RESIDUAL) else 1.0
                parameter.normal_(0.0, config.init_std * scaled, generator=generator)
