"""Cached decoding equals the model itself; text leaves whole, stopped where it should."""

from __future__ import annotations

import pytest
import torch

from groundup.errors import RequestError
from groundup.generation import Engine, SamplingSettings
from groundup.generation.cache import KVCache
from groundup.generation.engine import TextStream

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
    assert [one.tokens for (one,) in batch] == [uncached_argmax(model, words, prompt, 12) for prompt in PROMPTS]
    assert any(one.tokens for (one,) in batch)


def test_cache_gives_the_scores_of_one_pass_however_the_text_is_cut(model) -> None:
    tokens = torch.randint(270, (2, 20), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        whole = model(tokens, torch.arange(20).expand(2, -1), None)
        cache = KVCache(model.config, 20, [0, 0], dtype=torch.float32, device=torch.device("cpu"))
        cut = tokens.split([7, 1, 5, 7], dim=1)
        parts = [model(part, cache.expect(part.shape[1]), None, cache) for part in cut]
    torch.testing.assert_close(torch.cat(parts, dim=1), whole, rtol=1e-4, atol=1e-4)


def test_padding_is_never_seen(model) -> None:
    text = torch.randint(270, (1, 6), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        alone = model(text, torch.arange(6)[None], None)
        scores = []
        for padding in (3, 250):  # whatever the padding token is
            row = torch.cat((torch.full((1, 4), padding), text), dim=1)
            cache = KVCache(model.config, 10, [4], dtype=torch.float32, device=torch.device("cpu"))
            scores.append(model(row, cache.expect(10), None, cache)[:, 4:])
    assert torch.equal(scores[0], scores[1])
    torch.testing.assert_close(scores[0], alone, rtol=1e-4, atol=1e-4)


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
    engine = Engine(scripted(words.encode(text), prompt=2), words)
    pieces = list(engine.stream("ab", SamplingSettings(temperature=0.0, stop=("STOP", "never"))))
    assert "".join(pieces) == "Sünde, S€ STand ✓ "
    assert "�" not in "".join(pieces)
    assert len(pieces) > 10  # streamed, not kept to the end
    (one,) = engine.generate("ab", SamplingSettings(temperature=0.0, stop=("STOP",)))
    assert one.finish_reason == "stop" and one.text == "Sünde, S€ STand ✓ "


@pytest.mark.parametrize("cut", range(1, 8))
def test_a_stop_string_is_found_wherever_tokens_cut_it(cut: int) -> None:
    data = b"one\n\nUser:two"
    stream = TextStream(("\n\nUser:", "\nX"))
    shown = ""
    for begin in range(0, len(data), cut):
        shown += stream.push(data[begin : begin + cut])
        if stream.stopped:
            break
    assert stream.stopped and shown == "one"


def test_what_was_held_back_is_said_when_the_text_ends(scripted, words) -> None:
    engine = Engine(scripted([*words.encode("an ST"), words.special["<|end_of_turn|>"]], prompt=1), words)
    (one,) = engine.generate("a", SamplingSettings(temperature=0.0, stop=("STOP",)))
    assert (one.text, one.finish_reason, one.tokens) == ("an ST", "stop", words.encode("an ST"))


def test_special_tokens_are_never_drawn(scripted, words) -> None:
    engine = Engine(scripted([3, 6, 1, 3, 4, 2], prompt=1), words)  # wants <|user|>, <|mask|>, <|pad|>, ...
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


def test_positions_count_from_each_texts_own_beginning(model) -> None:
    cache = KVCache(model.config, 8, [0, 2], dtype=torch.float32, device=torch.device("cpu"))
    assert cache.expect(4).tolist() == [[0, 1, 2, 3], [0, 0, 0, 1]]


def test_a_text_that_outlasts_a_long_neighbour_is_what_it_would_be_alone(model, words) -> None:
    engine, settings = Engine(model, words), SamplingSettings(temperature=1.0, seed=5, max_tokens=100)
    assert engine.generate_many(["x" * 46, "x"], settings)[1] == engine.generate_many(["x"], settings)[0]
    assert len(engine.generate("x", settings)[0].tokens) > 10


def test_a_short_prompt_is_not_cut_short_by_a_long_neighbour(scripted, words) -> None:
    engine = Engine(scripted(words.encode("y" * 100), prompt=1, context=48), words)
    long, short = engine.generate_many(["x" * 45, "x"], SamplingSettings(temperature=0.0, max_tokens=100))
    assert (len(long[0].tokens), len(short[0].tokens)) == (3, 47)
    assert long[0].finish_reason == short[0].finish_reason == "length"


def test_an_empty_prompt_begins_a_document(model, words) -> None:
    engine = Engine(model, words)
    assert engine.generate("", GREEDY) == engine.generate([words.special["<|end_of_text|>"]], GREEDY)


def test_a_foreign_tokenizer_is_refused(scripted, words) -> None:
    words.size = 10_000
    with pytest.raises(RequestError, match="trained with"):
        Engine(scripted([8], prompt=1), words)
