"""Decoding: slots and their cache, sampling, beam search, and the engine that turns prompts into text."""

from groundup.generation.beam import Found, beam_search
from groundup.generation.engine import Chosen, Completion, Engine, Request
from groundup.generation.sampling import SamplingSettings

__all__ = ["Chosen", "Completion", "Engine", "Found", "Request", "SamplingSettings", "beam_search"]
