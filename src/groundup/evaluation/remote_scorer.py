"""Likelihoods from any server with OpenAI's old completions and its `echo` and `logprobs` (vLLM, llama.cpp, our own).

The prompt is the whole text, as tokens; the server says how likely each of them was and writes one more, which nobody reads:

    {"prompt": [[17, 4, 90, 8, 2]], "echo": true, "logprobs": 1, "max_tokens": 1}
        -> token_logprobs [null, -3.1, -0.2, -1.9, -1.3, -0.7]     of context 17 4 90 and continuation 8 2: -1.9 - 1.3

The tokenizer must be the served model's: tokens are sent, not text, because a server cannot tell where in a text the continuation begins.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from groundup.evaluation.encoding import Pair
from groundup.evaluation.endpoint import Endpoint
from groundup.evaluation.scorer import Scored

PATH = "completions"
BATCH = 16  # prompts of a request
CLOSE = 1e-6  # log-probabilities that are the same number


class RemoteScorer:
    """A `Scorer`. `context`: tokens that the served model reads at once."""

    def __init__(self, endpoint: Endpoint, model: str, context: int) -> None:
        # one token less: the server writes one
        self._endpoint, self._model, self.context = endpoint, model, context - 2

    def log_likelihoods(self, pairs: Sequence[Pair]) -> list[Scored]:
        """Of each pair, in their order. Raises GroundupError where the server does not say."""
        found: list[Scored] = []
        for start in range(0, len(pairs), BATCH):
            lot = pairs[start : start + BATCH]
            body = {
                "model": self._model, "prompt": [[*before, *after] for before, after in lot], "echo": True, "logprobs": 1, "max_tokens": 1, "temperature": 0,
            }  # fmt: skip
            answer = self._endpoint.post(PATH, body)
            try:
                choices = sorted(answer["choices"], key=lambda choice: int(choice["index"]))
                if len(choices) != len(lot):
                    raise ValueError
                found += [_scored(pair, choice["logprobs"]) for pair, choice in zip(lot, choices, strict=True)]
            except (LookupError, TypeError, ValueError):
                do = "Name a server that has `echo` with `logprobs` for prompts of tokens."
                raise self._endpoint.error(PATH, "answered with no log-probabilities of the prompts' tokens", do) from None
        return found


def _scored(pair: Pair, said: dict[str, Any]) -> Scored:
    before, after = pair
    span = slice(len(before), len(before) + len(after))
    logs = [float(log) for log in said["token_logprobs"][span]]
    if len(logs) != len(after):
        raise ValueError
    best = [max(map(float, top.values())) for top in said["top_logprobs"][span]]
    return sum(logs), all(log >= top - CLOSE for log, top in zip(logs, best, strict=True))
