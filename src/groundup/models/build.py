"""From a config to a model."""

from __future__ import annotations

from groundup.models.config import ModelConfig
from groundup.models.decoder import Decoder
from groundup.models.parts.init import initialise


def build(config: ModelConfig, seed: int | None = None) -> Decoder:
    """A model with seeded initial weights; with `seed` None its weights are torch's and meant to be loaded over."""
    model = Decoder(config)
    if seed is not None:
        initialise(model, config, seed)
    return model


def parameters(config: ModelConfig) -> int:
    """Parameters of a config, shared ones counted once, in closed form (a test holds it to the built model)."""
    D, H, F = config.width, config.head_width, config.feedforward
    attention = D * (config.heads + 2 * config.kv_heads) * H + D * D
    layer = attention + 3 * D * F + 2 * D
    return config.vocabulary * D * (1 if config.tied else 2) + config.layers * layer + D
