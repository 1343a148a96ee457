"""A language model behind an OpenAI-compatible URL, as a judge: messages in, its text out.

    ask = ChatClient("http://127.0.0.1:8000/v1", "my-judge")
    ask([{"role": "user", "content": "..."}])

At temperature 0. What may pass by itself (too many requests, a server that is busy or restarts, a broken connection) is tried again,
each time after twice as long; anything else is an error at once.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import httpx

from groundup.errors import GroundupError
from groundup.evaluation.judge.prompts import Messages

TRIES = 6
FIRST_WAIT_SECONDS = 1.0
PASSING = (408, 409, 425, 429, 500, 502, 503, 504)  # HTTP status codes after which one may try again


class ChatClient:
    """Call it with messages. `url`: up to and with `/v1`; `key`: sent as a bearer token, and shown nowhere."""

    def __init__(
        self, url: str, model: str, key: str | None = None, *, max_tokens: int = 1024, timeout_seconds: float = 120.0,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:  # fmt: skip
        self._url, self._model, self._max_tokens, self._sleep = f"{url.rstrip('/')}/chat/completions", model, max_tokens, sleep
        self._client = httpx.Client(timeout=timeout_seconds, headers={"Authorization": f"Bearer {key}"} if key else {})

    def __call__(self, messages: Messages) -> str:
        """The model's answer. Raises GroundupError where there is none."""
        body = {"model": self._model, "messages": messages, "temperature": 0, "max_tokens": self._max_tokens}
        wait = FIRST_WAIT_SECONDS
        for left in reversed(range(TRIES)):
            try:
                response = self._client.post(self._url, json=body)
            except httpx.HTTPError as error:
                trouble = f"cannot be reached ({type(error).__name__})"
            else:
                if response.status_code == 200:
                    return self._text(response)
                trouble = f"answered {response.status_code}: {' '.join(response.text.split())[:200]}"
                if response.status_code not in PASSING:
                    raise self._error(trouble, "Check the address, the model's name and the key.")
            if left:
                self._sleep(wait)
                wait *= 2
        raise self._error(f"{trouble}, {TRIES} times", "Check that the server runs, and try again.")

    def _text(self, response: httpx.Response) -> str:
        try:
            answer: Any = response.json()
            text = answer["choices"][0]["message"]["content"]
        except (ValueError, LookupError, TypeError):
            text = None
        if not isinstance(text, str):
            raise self._error("answered with no `choices[0].message.content`", "Name an OpenAI-compatible address, which ends with /v1.")
        return text

    def _error(self, what: str, do: str) -> GroundupError:
        return GroundupError(f"the judge {what}", where=self._url, do=do)
