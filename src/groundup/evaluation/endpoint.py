"""An OpenAI-compatible address: one POST that is tried again while that may help.

What may pass by itself (too many requests, a server that is busy or restarts, a broken connection) is tried again, each time after twice as
long; anything else is an error at once. The key is sent as a bearer token and shown nowhere.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import httpx

from groundup.errors import GroundupError

TRIES = 6
FIRST_WAIT_SECONDS = 1.0
PASSING = (408, 409, 425, 429, 500, 502, 503, 504)  # HTTP status codes after which one may try again


class Endpoint:
    """`url`: up to and with `/v1`."""

    def __init__(self, url: str, key: str | None = None, *, timeout_seconds: float = 120.0, sleep: Callable[[float], None] = time.sleep) -> None:
        self.url, self._sleep = url.rstrip("/"), sleep
        self._client = httpx.Client(timeout=timeout_seconds, headers={"Authorization": f"Bearer {key}"} if key else {})

    def post(self, path: str, body: dict[str, Any]) -> Any:
        """The answer's JSON. Raises GroundupError where there is none."""
        wait = FIRST_WAIT_SECONDS
        trouble = ""
        for left in reversed(range(TRIES)):
            try:
                response = self._client.post(f"{self.url}/{path}", json=body)
            except httpx.HTTPError as error:
                trouble = f"cannot be reached ({type(error).__name__})"
            else:
                if response.status_code == 200:
                    return self._json(path, response)
                trouble = f"answered {response.status_code}: {' '.join(response.text.split())[:200]}"
                if response.status_code not in PASSING:
                    raise self.error(path, trouble, "Check the address, the model's name and the key.")
            if left:
                self._sleep(wait)
                wait *= 2
        raise self.error(path, f"{trouble}, {TRIES} times", "Check that the server runs, and try again.")

    def _json(self, path: str, response: httpx.Response) -> Any:
        try:
            return response.json()
        except ValueError:
            raise self.error(path, "answered with no JSON", "Name an OpenAI-compatible address, which ends with /v1.") from None

    def error(self, path: str, what: str, do: str) -> GroundupError:
        """That something is wrong with this address."""
        return GroundupError(f"the server {what}", where=f"{self.url}/{path}", do=do)
