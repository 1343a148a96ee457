"""The client against a server on the loopback: what it sends, when it tries again, what it says in the end."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from groundup.errors import GroundupError
from groundup.evaluation.judge.client import TRIES, ChatClient

ANSWER = {"choices": [{"message": {"role": "assistant", "content": "[[A]]"}}]}


class Server:
    """Answers with the given (status, body) pairs one after the other, the last one for ever."""

    def __init__(self) -> None:
        self.answers: list[tuple[int, object]] = [(200, ANSWER)]
        self.asked: list[tuple[str, dict, str | None]] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                server.asked.append((self.path, body, self.headers.get("Authorization")))
                status, answer = server.answers.pop(0) if len(server.answers) > 1 else server.answers[0]
                data = answer.encode() if isinstance(answer, str) else json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *words: object) -> None:
                pass

        self.http = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/v1"
        threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()


@pytest.fixture
def server() -> Iterator[Server]:
    one = Server()
    yield one
    one.http.shutdown()
    one.http.server_close()


MESSAGES = [{"role": "user", "content": "Which?"}]


def test_what_is_sent(server: Server) -> None:
    assert ChatClient(server.url + "/", "judge", "secret")(MESSAGES) == "[[A]]"
    path, body, key = server.asked[0]
    assert path == "/v1/chat/completions" and key == "Bearer secret"
    assert body == {"model": "judge", "messages": MESSAGES, "temperature": 0, "max_tokens": 1024}


def test_what_passes_is_tried_again_ever_later(server: Server) -> None:
    server.answers = [(429, "later"), (503, "busy"), (200, ANSWER)]
    waits: list[float] = []
    assert ChatClient(server.url, "judge", sleep=waits.append)(MESSAGES) == "[[A]]"
    assert waits == [1.0, 2.0] and len(server.asked) == 3


def test_it_gives_up_in_the_end(server: Server) -> None:
    server.answers = [(500, "broken")]
    waits: list[float] = []
    with pytest.raises(GroundupError, match=rf"answered 500: broken, {TRIES} times"):
        ChatClient(server.url, "judge", sleep=waits.append)(MESSAGES)
    assert len(server.asked) == TRIES and len(waits) == TRIES - 1


@pytest.mark.parametrize(("status", "answer", "said"), [(401, "no key", "answered 401: no key"), (200, "<html>", "no `choices"), (200, {"choices": []}, "no `choices")])
def test_what_will_not_pass_is_an_error_at_once(server: Server, status: int, answer: object, said: str) -> None:
    server.answers = [(status, answer)]
    with pytest.raises(GroundupError, match=said) as caught:
        ChatClient(server.url, "judge", "secret", sleep=lambda wait: pytest.fail("waited"))(MESSAGES)
    assert len(server.asked) == 1 and "secret" not in str(caught.value)


def test_nobody_there() -> None:
    server = Server()
    server.http.shutdown()
    server.http.server_close()
    with pytest.raises(GroundupError, match="cannot be reached"):
        ChatClient(server.url, "judge", sleep=lambda wait: None)(MESSAGES)
