"""Filling in what is masked in the middle of a text, as encoders do."""

from __future__ import annotations

import torch

from groundup.errors import RequestError
from groundup.generation.engine import Engine
from groundup.generation.runner import MASK, places
from groundup.models.encoder import Encoder


@torch.inference_mode()
def fill(engine: Engine, text: str) -> str:
    """The text with each <|mask|> in it replaced by the likeliest token, the surest first."""
    model, words = engine.model, engine.tokenizer
    if not isinstance(model, Encoder):
        raise RequestError(
            "only encoders fill in what is masked", do="Let this model continue the text instead."
        )
    mask = words.special[MASK]
    tokens: list[int] = []
    for number, piece in enumerate(text.split(MASK)):
        tokens += [mask] * (number > 0) + words.encode(piece)
    tokens = tokens[: engine.context]
    while mask in tokens:
        read_1T = torch.tensor([tokens], device=model.embedding.weight.device)
        logits_TV = model(read_1T, places(read_1T))[0]
        logits_TV[:, engine.never] = float("-inf")
        logits_TV[:, engine.ends] = float("-inf")
        sure_T, likeliest_T = logits_TV.softmax(-1).max(-1)
        masked = [place for place, token in enumerate(tokens) if token == mask]
        place = max(masked, key=lambda place: float(sure_T[place]))
        tokens[place] = int(likeliest_T[place])
    return words.decode(tokens)
