"""Texts from any OpenAI-compatible server's completions."""

from __future__ import annotations

from collections.abc import Sequence

from groundup.evaluation.encoding import Words
from groundup.evaluation.endpoint import Endpoint
from groundup.evaluation.remote_scorer import BATCH, PATH
from groundup.evaluation.writer import Written, kept

MOST_STOPS = 4
"""Of a request, by OpenAI's reference; what further ones would end is cut off here."""


class RemoteWriter:
    """A `Writer`. `context`: tokens that the served model reads at once; `words`: its tokenizer."""

    def __init__(self, endpoint: Endpoint, model: str, context: int, words: Words) -> None:
        self._endpoint, self._model, self._context, self._words = endpoint, model, context, words

    def write(self, prompts: Sequence[str], until: Sequence[str], max_tokens: int) -> list[Written]:
        """One request for several prompts. Raises GroundupError where the server answers otherwise."""
        room = kept(self._context, max_tokens)
        tokens = [ids.tolist() for ids in self._words.encode_batch(prompts)]
        found: list[Written] = []
        for start in range(0, len(tokens), BATCH):
            lot = tokens[start : start + BATCH]
            body = {
                "model": self._model, "prompt": [one[-room:] for one in lot], "max_tokens": max_tokens, "temperature": 0, "stop": list(until[:MOST_STOPS]),
            }  # fmt: skip
            answer = self._endpoint.post(PATH, body)
            try:
                texts = [str(choice["text"]) for choice in sorted(answer["choices"], key=lambda choice: int(choice["index"]))]
                found += [Written(before(text, until), len(one) > room) for text, one in zip(texts, lot, strict=True)]
            except (LookupError, TypeError, ValueError):
                raise self._endpoint.error(PATH, "answered with no text for each prompt", "Name an OpenAI-compatible address, which ends with /v1.") from None
        return found


def before(text: str, until: Sequence[str]) -> str:
    """A text up to the first of the stop strings."""
    return text[: min((place for stop in until if (place := text.find(stop)) >= 0), default=len(text))]
