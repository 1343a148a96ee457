"""From a config to a model."""

from __future__ import annotations

from groundup.models.config import ModelConfig
from groundup.models.decoder import Decoder
from groundup.models.parts.attention import GATE_CHANNELS
from groundup.models.parts.init import initialise


def build(config: ModelConfig, seed: int | None = None) -> Decoder:
    """A model with seeded initial weights; with `seed` None its weights are torch's and meant to be loaded over."""
    model = Decoder(config)
    if seed is not None:
        initialise(model, config, seed)
    return model


def matmul_parameters(config: ModelConfig) -> int:
    """Parameters that a token meets in a matrix product: the layers' and the head's, tied or not."""
    D, E = config.width, config.kv_heads * config.head_width
    feedforward = (3 if config.activation == "swiglu" else 2) * D * config.feedforward
    gates = sum(config.has_value_embedding(layer) for layer in range(config.layers)) * GATE_CHANNELS * config.kv_heads
    return config.layers * (2 * D * D + 2 * D * E + feedforward) + gates + config.vocabulary * D


def parameters(config: ModelConfig) -> int:
    """Parameters of a config, shared ones counted once, in closed form (a test holds it to the built model)."""
    D, E, L = config.width, config.kv_heads * config.head_width, config.layers
    tables = sum(config.has_value_embedding(layer) for layer in range(L)) * config.vocabulary * E + sum(config.ngram_rows) * D
    norms = (2 * L + 1) * D * (1 if config.norm == "rms" else 2) if config.norm_scale else 0
    embedding = 0 if config.tied else config.vocabulary * D
    return matmul_parameters(config) + embedding + tables + norms + (2 * L if config.shortcut else 0)
