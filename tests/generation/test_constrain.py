"""Constrained text matches, whatever the model would rather say."""

from __future__ import annotations

import json
import re

import pytest

from groundup.errors import RequestError
from groundup.generation import Engine, SamplingSettings

pytest.importorskip("llguidance")
SCHEMA = {
    "type": "object", "properties": {"name": {"type": "string", "maxLength": 4}, "age": {"type": "integer", "minimum": 0, "maximum": 99}},
    "required": ["name", "age"], "additionalProperties": False,
}  # fmt: skip


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_an_expression_is_matched_whole(model, words, temperature: float) -> None:
    settings = SamplingSettings(
        temperature=temperature,
        seed=1,
        n=5 if temperature else 1,
        max_tokens=20,
        regex=r"(yes|no), [a-c]{2,4}!",
    )
    for one in Engine(model, words).generate("ab", settings):
        assert re.fullmatch(r"(yes|no), [a-c]{2,4}!", one.text) and one.finish_reason == "stop"


def test_json_of_a_schema(model, words) -> None:
    settings = SamplingSettings(temperature=1.0, seed=3, n=6, max_tokens=40, json_schema=json.dumps(SCHEMA))
    for one in Engine(model, words).generate("a", settings):
        if one.finish_reason == "stop":
            said = json.loads(one.text)
            assert one.text == json.dumps(said, separators=(",", ":"), ensure_ascii=False) or "\\" in one.text
            assert set(said) == {"name", "age"} and len(said["name"]) <= 4 and 0 <= said["age"] <= 99


def test_neighbours_are_free_and_guesses_keep_to_it(model, words) -> None:
    engine = Engine(model, words)
    bound = SamplingSettings(temperature=0.0, max_tokens=12, regex="(ab)+c")
    free = SamplingSettings(temperature=0.0, max_tokens=12)
    (one,), (other,), (ahead,) = engine.generate_many(
        ["ababab", "ab", "ababab"],
        [bound, free, SamplingSettings(temperature=0.0, max_tokens=12, regex="(ab)+c", guess_ahead=4)],
    )
    assert re.match("(ab)*", one.text) and other == engine.generate("ab", free)[0] and ahead == one


@pytest.mark.parametrize(
    "wrong", [{"regex": "(["}, {"json_schema": "{not json"}, {"json_schema": '{"type": "nonsense"}'}]
)
def test_what_is_no_constraint_is_refused(model, words, wrong) -> None:
    engine = Engine(model, words)
    with pytest.raises(RequestError, match=r"cannot be matched|no schema"):
        engine.generate("ab", SamplingSettings(**wrong))
    assert engine.idle
