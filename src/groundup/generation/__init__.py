"""Decoding: the cache, sampling, and the engine that turns prompts into text."""

from groundup.generation.engine import Completion, Engine
from groundup.generation.sampling import SamplingSettings

__all__ = ["Completion", "Engine", "SamplingSettings"]
