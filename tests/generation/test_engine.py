"""Cached decoding equals the model itself; text leaves whole, stopped where it should."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
import torch

from groundup.errors import RequestError
from groundup.generation import Engine, Request, SamplingSettings
from groundup.models.build import build
from groundup.models.config import ModelConfig

GREEDY = SamplingSettings(temperature=0.0, max_tokens=12)
PROMPTS = ["ab", "a longer prompt", "x"]


def allowed(words) -> torch.Tensor:
    """What may be drawn: bytes and the two ends."""
    ends = {words.special["<|end_of_text|>"], words.special["<|end_of_turn|>"]}
    return torch.tensor(sorted(ends | (set(range(words.size)) - set(words.special.values()))))


def uncached_argmax(model, words, prompt: str, count: int) -> list[int]:
    tokens, said = words.encode(prompt), []
    for _ in range(count):
        row = torch.tensor([tokens + said])
        with torch.no_grad():
            scores = model(row, torch.arange(row.shape[1])[None], None)[0, -1]
        best = int(allowed(words)[scores[allowed(words)].argmax()])
        if best in (0, 5):
            break
        said.append(best)
    return said


def test_cached_batch_of_different_lengths_equals_uncached_argmax(model, words) -> None:
    batch = Engine(model, words).generate_many(PROMPTS, GREEDY)
    assert [one.tokens for (one,) in batch] == [
        uncached_argmax(model, words, prompt, 12) for prompt in PROMPTS
    ]
    assert any(one.tokens for (one,) in batch)


def test_samples_depend_on_the_seed_and_their_number_alone(model, words) -> None:
    engine = Engine(model, words)
    four = engine.generate("ab", SamplingSettings(seed=3, n=4, max_tokens=10))
    assert four == engine.generate("ab", SamplingSettings(seed=3, n=4, max_tokens=10))
    assert four[:2] == engine.generate("ab", SamplingSettings(seed=3, n=2, max_tokens=10))
    assert len({tuple(one.tokens) for one in four}) == 4
    among_others = engine.generate_many(["zzzz zzzz", "ab"], SamplingSettings(seed=3, n=2, max_tokens=10))
    assert among_others[1] == four[:2]
    assert four != engine.generate("ab", SamplingSettings(seed=4, n=4, max_tokens=10))


def test_stream_says_what_generate_says(model, words) -> None:
    engine, settings = Engine(model, words), SamplingSettings(seed=1, max_tokens=30)
    pieces, stream = [], engine.stream("ab", settings)
    while True:
        try:
            pieces.append(next(stream))
        except StopIteration as end:
            completion = end.value
            break
    assert "".join(pieces) == completion.text == engine.generate("ab", settings)[0].text
    with pytest.raises(RequestError, match="one sample"):
        next(engine.stream("ab", SamplingSettings(n=2)))


def test_characters_are_never_split_and_stop_strings_never_shown(scripted, words) -> None:
    text = "Sünde, S€ STand ✓ STOP tail"
    engine = scripted(words.encode(text), prompt=2)
    pieces = list(engine.stream("ab", SamplingSettings(temperature=0.0, stop=("STOP", "never"))))
    assert "".join(pieces) == "Sünde, S€ STand ✓ "
    assert "�" not in "".join(pieces)
    assert len(pieces) > 10  # streamed, not kept to the end
    (one,) = engine.generate("ab", SamplingSettings(temperature=0.0, stop=("STOP",)))
    assert one.finish_reason == "stop" and one.text == "Sünde, S€ STand ✓ "


def test_what_was_held_back_is_said_when_the_text_ends(scripted, words) -> None:
    engine = scripted([*words.encode("an ST"), words.special["<|end_of_turn|>"]], prompt=1)
    (one,) = engine.generate("a", SamplingSettings(temperature=0.0, stop=("STOP",)))
    assert (one.text, one.finish_reason, one.tokens) == ("an ST", "stop", words.encode("an ST"))


def test_special_tokens_are_never_drawn(scripted, words) -> None:
    engine = scripted([3, 6, 1, 3, 4, 2], prompt=1)  # wants <|user|>, <|mask|>, <|pad|>, ...
    (one,) = engine.generate("a", SamplingSettings(temperature=1.0, seed=0, max_tokens=5))
    assert all(token >= 7 for token in one.tokens)


def test_a_full_context_ends_the_text_and_a_long_prompt_loses_its_beginning(model, words) -> None:
    engine = Engine(model, words)
    (full,) = engine.generate("a" * 40, SamplingSettings(seed=0, temperature=5.0, max_tokens=100))
    assert full.finish_reason == "stop" or len(full.tokens) == 8
    (one,) = engine.generate("b" * 13 + "a" * 47, SamplingSettings(seed=0, max_tokens=100))
    (same,) = engine.generate("a" * 47, SamplingSettings(seed=0, max_tokens=100))
    assert one.prompt_tokens_cut == 13 and same.prompt_tokens_cut == 0
    assert one.tokens == same.tokens and len(one.tokens) <= 1


def test_a_text_that_outlasts_a_long_neighbour_is_what_it_would_be_alone(model, words) -> None:
    engine, settings = Engine(model, words), SamplingSettings(temperature=1.0, seed=5, max_tokens=100)
    assert engine.generate_many(["x" * 46, "x"], settings)[1] == engine.generate_many(["x"], settings)[0]
    assert len(engine.generate("x", settings)[0].tokens) > 10


def test_a_short_prompt_is_not_cut_short_by_a_long_neighbour(scripted, words) -> None:
    engine = scripted(words.encode("y" * 100), prompt=1, context=48)
    long, short = engine.generate_many(["x" * 45, "x"], SamplingSettings(temperature=0.0, max_tokens=100))
    assert (len(long[0].tokens), len(short[0].tokens)) == (3, 47)
    assert long[0].finish_reason == short[0].finish_reason == "length"


def test_an_empty_prompt_begins_a_document(model, words) -> None:
    engine = Engine(model, words)
    assert engine.generate("", GREEDY) == engine.generate([words.special["<|end_of_text|>"]], GREEDY)


def test_a_foreign_tokenizer_is_refused(model, words) -> None:
    words.size = 10_000
    with pytest.raises(RequestError, match="trained with"):
        Engine(model, words)


@pytest.mark.parametrize("wrong, said", [
    (7, "type int"), (b"bytes", "type bytes"), (["one", "two"], "generate_many"), ([1, -1], "token -1 at place 1"), ([9999], "token 9999 at place 0"), ([True], "type list"),
])  # fmt: skip
def test_what_is_no_prompt_is_refused_and_nothing_is_lost(model, words, wrong, said) -> None:
    engine = Engine(model, words)
    with pytest.raises(RequestError, match=said):
        engine.generate_many(["ab", wrong], GREEDY)
    assert engine.idle and engine.runner.slots.free == engine.runner.slots.count
    with pytest.raises(RequestError, match="logit_bias names token 5000"):
        engine.generate("ab", SamplingSettings(logit_bias={5000: 1.0}))


def test_odd_prompts_are_text_like_any_other(model, words) -> None:
    engine = Engine(model, words)
    for prompt in (" ", "\n\n", "\x00", "\ud800", "é" * 100, "<|user|>"):
        (one,) = engine.generate(prompt, GREEDY)
        assert one.finish_reason in ("stop", "length")
    assert engine.generate_many([], GREEDY) == []


def alone(model, words, prompt, settings):
    return Engine(model, words).generate(prompt, settings)


def test_prompts_that_begin_alike_are_read_once(model, words) -> None:
    """More samples than slots, with one system message: each reads its own end alone."""
    engine, system = Engine(model, words, slots=3), "a system message of forty tokens, say..."[:36]
    read = watched(engine)
    prompts = [system + end for end in ("one", "two", "three", "four")]
    found = engine.generate_many(prompts, GREEDY)
    assert found == [alone(model, words, prompt, GREEDY) for prompt in prompts]
    assert [one.cached_tokens for (one,) in found] == [0, 36, 37, 36]  # "two" and "three" share a letter more
    prompts_read = sum(read) - sum(
        max(0, len(one.tokens) - (one.finish_reason == "length")) for (one,) in found
    )
    assert prompts_read == 39 + 3 + 4 + 4


def watched(engine: Engine) -> list[int]:
    read: list[int] = []
    forward = engine.runner.forward

    def counted(pieces):
        read.append(sum(len(piece.tokens) for piece in pieces))
        return forward(pieces)

    engine.runner.forward = counted
    return read


def test_a_long_prompt_is_read_in_parts_while_others_write(model, words, monkeypatch) -> None:
    monkeypatch.setattr("groundup.generation.engine.READ_AT_ONCE", 5)
    engine, settings = Engine(model, words), SamplingSettings(temperature=0.0, max_tokens=9, min_tokens=9)
    first = engine.submit("ab", settings)
    engine.step()
    read = watched(engine)
    second = engine.submit("a longer prompt", settings)
    while not second.done:
        engine.step()
    assert read[:3] == [6, 6, 6]
    assert first.completions() == alone(model, words, "ab", settings)
    assert second.completions() == alone(model, words, "a longer prompt", settings)


def test_guessing_ahead_changes_the_steps_and_not_the_text(model, words, scripted) -> None:
    say = words.encode("abcabcabcabcabcabcx")
    for ahead, steps in ((0, 19), (4, 9)):
        engine = scripted([*say, 0], prompt=2)
        (one,) = engine.generate("zz", SamplingSettings(temperature=0.0, guess_ahead=ahead))
        assert one.text == "abcabcabcabcabcabcx" and one.finish_reason == "stop"
        assert len(engine.runner.read) <= steps + 1
    for settings in (
        SamplingSettings(temperature=0.0, max_tokens=30),
        SamplingSettings(temperature=0.3, seed=4, n=3, max_tokens=30, stop=("q",)),
    ):
        plain = Engine(model, words).generate("abababab", settings)
        ahead = Engine(model, words)
        assert ahead.generate("abababab", replace(settings, guess_ahead=5)) == plain
        again = ahead.generate(
            "abababab" + plain[0].text, settings
        )  # what the slot kept is what was read, no guess among it
        assert again == alone(model, words, "abababab" + plain[0].text, settings)


def test_log_probabilities_are_the_models_own(model, words) -> None:
    settings = SamplingSettings(
        temperature=0.7,
        seed=1,
        max_tokens=6,
        logprobs=3,
        top_k=5,
        logit_bias={20: 2.0},
        repetition_penalty=1.2,
    )
    (one,) = Engine(model, words).generate("ab", settings)
    tokens = words.encode("ab") + one.tokens
    with torch.no_grad():
        row = torch.tensor([tokens])
        log = model(row, torch.arange(len(tokens))[None])[0].log_softmax(-1)
    assert one.logprobs is not None and len(one.logprobs) == len(one.tokens) + (one.finish_reason == "stop")
    for place, chosen in enumerate(one.logprobs[: len(one.tokens)], start=1):
        assert chosen.token == tokens[place + 1]
        assert chosen.logprob == pytest.approx(float(log[place, chosen.token]), abs=1e-4)
        best = log[place].topk(3)
        assert [token for token, _ in chosen.top] == best.indices.tolist()
        assert [value for _, value in chosen.top] == pytest.approx(best.values.tolist(), abs=1e-4)


def test_an_end_is_not_drawn_before_its_time(scripted, words) -> None:
    end = words.special["<|end_of_turn|>"]
    engine = scripted([end] * 50, prompt=1)
    (one,) = engine.generate("a", SamplingSettings(temperature=0.0, min_tokens=4))
    assert len(one.tokens) == 4 and one.finish_reason == "stop"


def test_a_bias_forbids_and_forces(model, words) -> None:
    (one,) = Engine(model, words).generate(
        "ab", SamplingSettings(temperature=0.0, max_tokens=5, logit_bias={50: 1e4})
    )
    assert one.tokens == [50] * 5
    (first,) = Engine(model, words).generate("ab", SamplingSettings(temperature=0.0, max_tokens=1))
    (other,) = Engine(model, words).generate(
        "ab", SamplingSettings(temperature=0.0, max_tokens=1, logit_bias={first.tokens[0]: float("-inf")})
    )
    assert other.tokens != first.tokens


def test_a_cancelled_request_frees_its_slot_and_keeps_what_was_said(model, words) -> None:
    engine, settings = (
        Engine(model, words, slots=2),
        SamplingSettings(temperature=0.0, max_tokens=20, min_tokens=20),
    )
    one, two, three = (engine.submit(prompt, settings) for prompt in PROMPTS)
    for _ in range(5):
        engine.step()
    engine.cancel(one)
    assert engine.runner.slots.free == 1 and one.completions()[0].finish_reason == "cancelled"
    assert one.completions()[0].tokens == alone(model, words, PROMPTS[0], settings)[0].tokens[:5]
    while not engine.idle:
        engine.step()
    for request, prompt in ((two, PROMPTS[1]), (three, PROMPTS[2])):
        assert request.completions() == alone(model, words, prompt, settings)
    stream = engine.stream("ab", settings)
    next(stream)
    stream.close()
    assert engine.idle and engine.runner.slots.free == 2


def test_what_ctrl_c_left_uncomputed_is_not_gone_on_from(model, words, monkeypatch) -> None:
    prompt = "a prompt of some length"
    fresh = Engine(model, words)
    read = type(fresh.runner)._read

    def breaks(self, *given):
        read(self, *given)
        raise KeyboardInterrupt

    monkeypatch.setattr(type(fresh.runner), "_read", breaks)
    with pytest.raises(KeyboardInterrupt):
        fresh.generate(prompt, GREEDY)
    monkeypatch.undo()
    assert fresh.idle and fresh.runner.slots.text(0) == []
    assert fresh.generate(prompt, GREEDY) == alone(model, words, prompt, GREEDY)


def test_a_thousand_requests_at_random_get_what_each_gets_alone(words) -> None:
    config = ModelConfig(
        vocabulary=270, context=96, layers=2, width=32, heads=4, kv_heads=2, feedforward=64, init_std=0.3
    )
    model, draw = build(config, seed=3).eval(), random.Random(0)
    engine, one_by_one = Engine(model, words, slots=7), Engine(model, words, slots=1)
    shared = ["", "You are a helpful model. ", "The quick brown fox jumps over the lazy dog. " * 2]
    waiting = [
        (draw.choice(shared) + "".join(draw.choices("abcdef ", k=draw.randrange(1, 30))), SamplingSettings(temperature=0.0, max_tokens=draw.randrange(1, 14)))
        for _ in range(1000)
    ]  # fmt: skip
    sent: list[tuple[Request, str, SamplingSettings, bool]] = []
    while waiting or not engine.idle:
        for _ in range(draw.randrange(4)):
            if waiting:
                prompt, settings = waiting.pop()
                sent.append((engine.submit(prompt, settings), prompt, settings, draw.random() < 0.15))
        engine.step()
        for request, _, _, goes in sent:
            if goes and not request.done and draw.random() < 0.3:
                engine.cancel(request)
    assert len(sent) == 1000
    for request, prompt, settings, _ in sent:
        (one,) = request.completions()
        (lonely,) = one_by_one.generate(prompt, settings)
        if one.finish_reason == "cancelled":
            assert lonely.tokens[: len(one.tokens)] == one.tokens
        else:
            assert one == lonely
    assert engine.runner.slots.free == 7
