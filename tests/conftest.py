"""Shared fixtures: small models, one thread, so that results are exact and quick."""

from __future__ import annotations

import os

os.environ.setdefault("DO_NOT_TRACK", "true")

import pytest
import torch
from hypothesis import settings

from groundup.models.config import FAMILIES, ModelConfig

settings.register_profile("untimed", deadline=None)  # a busy machine is no failure
settings.load_profile("untimed")


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def tiny() -> ModelConfig:
    """A decoder that trains in milliseconds."""
    return ModelConfig(vocabulary=64, context=16, layers=2, width=32, heads=4, kv_heads=2, feedforward=64)


@pytest.fixture
def quick(tiny: ModelConfig) -> ModelConfig:
    """The same size with every part of the fast family, n-gram tables hashed and not."""
    return tiny.model_copy(update={"family": "fast", **FAMILIES["fast"], "softcap": 15.0, "ngram_rows": (4096, 200, 100)})


@pytest.fixture(params=["tiny", "quick"])
def either(request: pytest.FixtureRequest) -> ModelConfig:
    """Both in turn."""
    config: ModelConfig = request.getfixturevalue(request.param)
    return config
