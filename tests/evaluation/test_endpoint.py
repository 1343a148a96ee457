"""Models behind an address, against a server on the loopback: what is sent, when it is tried again, what is said in the end."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from plain import PlainScorer, shared_pairs
from served import Server

from groundup.errors import GroundupError
from groundup.evaluation.endpoint import TRIES, Endpoint
from groundup.evaluation.judge.client import ChatClient
from groundup.evaluation.remote_scorer import BATCH, RemoteScorer
from groundup.models.build import build
from groundup.models.config import ModelConfig

ANSWER = {"choices": [{"message": {"role": "assistant", "content": "[[A]]"}}]}
MESSAGES = [{"role": "user", "content": "Which?"}]


@pytest.fixture
def server() -> Iterator[Server]:
    one = Server((200, ANSWER))
    yield one
    one.close()


def never(wait: float) -> None:
    pytest.fail("waited")


def test_what_a_judge_is_sent(server: Server) -> None:
    assert ChatClient(Endpoint(server.url + "/", "secret"), "judge")([MESSAGES]) == ["[[A]]"]
    path, body, key = server.asked[0]
    assert path == "/v1/chat/completions" and key == "Bearer secret"
    assert body == {"model": "judge", "messages": MESSAGES, "temperature": 0, "max_tokens": 1024}


def test_several_conversations_are_answered_in_their_order(server: Server) -> None:
    """Several requests are under way at once; a server may answer them in any order."""
    server.answers = [(200, lambda body: {"choices": [{"message": {"content": f"{body['messages'][0]['content']} at {body['temperature']}"}}]})]
    asked = [[{"role": "user", "content": str(number)}] for number in range(40)]
    found = ChatClient(Endpoint(server.url), "one").answers(asked, [number / 10 for number in range(40)])
    assert found == [f"{number} at {number / 10}" for number in range(40)]
    assert ChatClient(Endpoint(server.url), "one").answers([], []) == []


def test_after_an_error_no_more_is_asked(server: Server) -> None:
    server.answers = [(200, ANSWER)] * 3 + [(401, "no")]
    with pytest.raises(GroundupError, match="401"):
        ChatClient(Endpoint(server.url), "judge")([MESSAGES] * 400)
    assert len(server.asked) < 200


def test_what_passes_is_tried_again_ever_later(server: Server) -> None:
    server.answers = [(429, "later"), (503, "busy"), (200, ANSWER)]
    waits: list[float] = []
    assert ChatClient(Endpoint(server.url, sleep=waits.append), "judge")([MESSAGES]) == ["[[A]]"]
    assert waits == [1.0, 2.0] and len(server.asked) == 3


def test_it_gives_up_in_the_end(server: Server) -> None:
    server.answers = [(500, "broken")]
    waits: list[float] = []
    with pytest.raises(GroundupError, match=rf"answered 500: broken, {TRIES} times"):
        ChatClient(Endpoint(server.url, sleep=waits.append), "judge")([MESSAGES])
    assert len(server.asked) == TRIES and len(waits) == TRIES - 1


@pytest.mark.parametrize(("status", "answer", "said"), [(401, "no key", "answered 401: no key"), (200, "<html>", "no JSON"), (200, {"choices": []}, "no `choices"), (200, [], "no `choices")])
def test_what_will_not_pass_is_an_error_at_once(server: Server, status: int, answer: Any, said: str) -> None:
    server.answers = [(status, answer)]
    with pytest.raises(GroundupError, match=said) as caught:
        ChatClient(Endpoint(server.url, "secret", sleep=never), "judge")([MESSAGES])
    assert len(server.asked) == 1 and "secret" not in str(caught.value)


def test_nobody_there() -> None:
    server = Server((200, ANSWER))
    server.close()
    with pytest.raises(GroundupError, match="cannot be reached"):
        ChatClient(Endpoint(server.url, sleep=lambda wait: None), "judge")([MESSAGES])


def test_a_served_model_scores_as_the_model_itself(server: Server) -> None:
    config = ModelConfig(vocabulary=17, context=64, layers=1, width=16, heads=2, kv_heads=2, feedforward=32, init_std=0.5)
    model = build(config, seed=2).eval()

    def completions(body: dict[str, Any]) -> dict[str, Any]:
        assert body["echo"] and body["logprobs"] == 1 and body["max_tokens"] == 1 and body["temperature"] == 0
        choices = []
        for index, tokens in enumerate(body["prompt"]):
            with torch.inference_mode():
                logs_TV = model(torch.tensor([tokens]), torch.arange(len(tokens))[None], None)[0].log_softmax(-1)
            token_logs = [None, *(float(logs_TV[place, token]) for place, token in enumerate(tokens[1:])), float(logs_TV[-1].max())]
            top = [None, *({"x": float(logs_V.max())} for logs_V in logs_TV)]
            choices.append({"index": index, "text": "...", "logprobs": {"token_logprobs": token_logs, "top_logprobs": top}})
        return {"choices": choices[::-1]}

    server.answers = [(200, completions)]
    pairs = shared_pairs(0, vocabulary=17)
    likeliest = max(range(17), key=lambda token: PlainScorer(model, 64).log_likelihoods([([3, 4], [token])])[0][0])
    pairs.append(([3, 4], [likeliest]))
    scorer = RemoteScorer(Endpoint(server.url), "served", 64)
    found, expected = scorer.log_likelihoods(pairs), PlainScorer(model, 64).log_likelihoods(pairs)
    assert [log for log, _ in found] == pytest.approx([log for log, _ in expected], abs=1e-4)
    assert [greedy for _, greedy in found] == [greedy for _, greedy in expected] and found[-1][1]
    assert len(server.asked) == -(-len(pairs) // BATCH) and scorer.context == 62


@pytest.mark.parametrize("answer", [{"choices": []}, {"choices": [{"index": 0, "logprobs": None}]}, {"choices": [{"index": 0, "logprobs": {"token_logprobs": [None], "top_logprobs": [None]}}]}, {}])
def test_a_server_that_does_not_echo(server: Server, answer: Any) -> None:
    server.answers = [(200, answer)]
    with pytest.raises(GroundupError, match="no log-probabilities"):
        RemoteScorer(Endpoint(server.url), "served", 64).log_likelihoods([([1, 2], [3])])
