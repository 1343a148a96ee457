"""A language model behind an OpenAI-compatible URL, as a judge or as one who answers: messages in, its texts out.

    ask = ChatClient(Endpoint("http://127.0.0.1:8000/v1"), "my-judge")
    ask([[{"role": "user", "content": "..."}]])

A judge is asked at temperature 0, so that it says the same twice. Several requests are under way at once: a server works on them together.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from groundup.evaluation.endpoint import Endpoint
from groundup.evaluation.judge.prompts import Messages
from groundup.progress import bar

PATH = "chat/completions"
AT_ONCE = 8  # requests under way


class ChatClient:
    """Call it with several conversations."""

    def __init__(self, endpoint: Endpoint, model: str, *, max_tokens: int = 1024) -> None:
        self._endpoint, self._model, self._max_tokens = endpoint, model, max_tokens

    def __call__(self, several: Sequence[Messages]) -> list[str]:
        """The likeliest answer to each. Raises GroundupError where there is none."""
        return self.answers(several, [0.0] * len(several))

    def answers(self, several: Sequence[Messages], temperatures: Sequence[float]) -> list[str]:
        """An answer to each, drawn at its temperature, in their order."""
        workers = ThreadPoolExecutor(AT_ONCE)
        found: list[str] = []
        try:
            with bar(f"answers of {self._model}", len(several)) as running:
                for text in workers.map(self._answer, several, temperatures):
                    found.append(text)
                    running.advance()
        finally:
            workers.shutdown(cancel_futures=True)  # after an error nobody waits for what has not begun
        return found

    def _answer(self, messages: Messages, temperature: float) -> str:
        body = {"model": self._model, "messages": messages, "temperature": temperature, "max_tokens": self._max_tokens}
        answer = self._endpoint.post(PATH, body)
        try:
            text = answer["choices"][0]["message"]["content"]
        except (LookupError, TypeError):
            text = None
        if not isinstance(text, str):
            raise self._endpoint.error(PATH, "answered with no `choices[0].message.content`", "Name an OpenAI-compatible address, which ends with /v1.")
        return text
