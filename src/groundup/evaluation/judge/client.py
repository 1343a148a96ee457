"""A language model behind an OpenAI-compatible URL, as a judge or as one who answers: messages in, its text out.

    ask = ChatClient(Endpoint("http://127.0.0.1:8000/v1"), "my-judge")
    ask([{"role": "user", "content": "..."}])

A judge is asked at temperature 0, so that it says the same twice.
"""

from __future__ import annotations

from groundup.evaluation.endpoint import Endpoint
from groundup.evaluation.judge.prompts import Messages

PATH = "chat/completions"


class ChatClient:
    """Call it with messages."""

    def __init__(self, endpoint: Endpoint, model: str, *, max_tokens: int = 1024) -> None:
        self._endpoint, self._model, self._max_tokens = endpoint, model, max_tokens

    def __call__(self, messages: Messages) -> str:
        """The likeliest answer. Raises GroundupError where there is none."""
        return self.answer(messages, 0)

    def answer(self, messages: Messages, temperature: float) -> str:
        """An answer drawn at a temperature."""
        answer = self._endpoint.post(PATH, {"model": self._model, "messages": messages, "temperature": temperature, "max_tokens": self._max_tokens})
        try:
            text = answer["choices"][0]["message"]["content"]
        except (LookupError, TypeError):
            text = None
        if not isinstance(text, str):
            raise self._endpoint.error(PATH, "answered with no `choices[0].message.content`", "Name an OpenAI-compatible address, which ends with /v1.")
        return text
