"""Requests to tokens: lm-eval's and CORE's rules written out plainly, and the same tokens from stretches as from whole texts."""

from __future__ import annotations

import random

import pytest

from groundup.errors import RequestError
from groundup.evaluation.encoding import Encoder, fit
from groundup.evaluation.tasks.item import Item, Request, choice_item
from groundup.tokens.tokenizer import Tokenizer
from groundup.tokens.trainers import bytes_only, train_bpe

TEXT = [
    "Question: Which gas do plants take in from the air?\nAnswer: carbon dioxide\n\n", "The quick brown fox can't jump over 12 345 dogs; it won't.\n\n",
    "Ünïcode läßt grüßen, “quoted” — and\ttabs  and  blanks \n\n", "A\n\nB\n\nC d e f\n\n", "def f(x):\n    return x\n\n",
]  # fmt: skip


@pytest.fixture(scope="module", params=["bpe", "bytes"])
def tokenizer(request: pytest.FixtureRequest) -> Tokenizer:
    return Tokenizer(bytes_only()) if request.param == "bytes" else Tokenizer(train_bpe(TEXT * 20, 400, must_reach=False))


def plainly(tokenizer: Tokenizer, context: str, continuation: str) -> tuple[list[int], list[int]]:
    """As lm-eval's `_encode_pair`."""
    blanks = len(context) - len(context.rstrip())
    if blanks:
        context, continuation = context[:-blanks], context[-blanks:] + continuation
    before, whole = tokenizer.encode(context), tokenizer.encode(context + continuation)
    return before or [tokenizer.special["<|end_of_text|>"]], whole[len(before) :]


@pytest.mark.parametrize("seed", range(10))
def test_the_same_as_whole_texts(tokenizer: Tokenizer, seed: int) -> None:
    draw = random.Random(seed)
    items = []
    for number in range(20):
        context = "".join(draw.choices(TEXT, k=draw.randrange(0, 6))) + draw.choice(["", "Question: Why? \nAnswer:", "ends in a blank ", "a word", "x\n\n"])
        items.append(choice_item(str(number), context, [draw.choice(["yes", "no it is not", "12", "é", "\n"]) + draw.choice(["", ".", " s"]) for _ in range(3)], 0))
    encoder = Encoder.of(tokenizer)
    for item, pairs in zip(items, encoder.pairs(items, "split"), strict=True):
        assert pairs == [plainly(tokenizer, request.context, request.continuation) for request in item.requests]


def test_most_is_encoded_once(tokenizer: Tokenizer) -> None:
    seen = 0

    class Counting:
        def encode_batch(self, texts):
            nonlocal seen
            seen += sum(map(len, texts))
            return tokenizer.encode_batch(texts)

    draw = random.Random(0)
    items = [choice_item(str(n), "".join(draw.choices(TEXT[:3], k=25)) + f"Question: number {n}?\nAnswer:", ["yes", "no", "maybe"], 0) for n in range(40)]
    Encoder(Counting(), 0, cuts=True).pairs(items, "split")
    assert seen < 0.1 * sum(len(request.context) for item in items for request in item.requests)


def test_a_tokenizer_that_cannot_be_cut_reads_whole_texts() -> None:
    class Whole:
        def encode_batch(self, texts):
            assert all(text.startswith("Some text") for text in texts)
            return Tokenizer(bytes_only()).encode_batch(texts)

    Encoder(Whole(), 0, cuts=False).pairs([choice_item("1", "Some text of words and more\n\nof them here", ["yes"], 0)], "split")


def test_an_empty_context_is_the_end_of_text_token(tokenizer: Tokenizer) -> None:
    (((before, after),),) = Encoder.of(tokenizer).pairs([choice_item("1", "", ["Good."], 0)], "split")
    assert before == [tokenizer.special["<|end_of_text|>"]] and tokenizer.decode(after) == " Good."


def test_an_answer_without_tokens_is_an_error(tokenizer: Tokenizer) -> None:
    with pytest.raises(RequestError, match="adds no token"):
        Encoder.of(tokenizer).pairs([Item("f:3", (Request("context", ""),))], "split")


def test_core_takes_what_prompts_have_in_common(tokenizer: Tokenizer) -> None:
    end = tokenizer.special["<|end_of_text|>"]
    choices = Item("1", (Request("The sky is ", "blue"), Request("The sky is ", "black")))
    schema = Item("2", (Request("Ann met Bo so Ann", " was glad."), Request("Ann met Bo so Bo", " was glad.")))
    language = Item("3", (Request("To be or not", " to be"),))
    found = Encoder.of(tokenizer).pairs([choices, schema, language], "common")
    for item, pairs in zip((choices, schema, language), found, strict=True):
        for request, (before, after) in zip(item.requests, pairs, strict=True):
            assert [*before, *after] == [end, *tokenizer.encode(request.context + request.continuation)] and after
    (one, _), (other, _) = found[0]
    assert one == other and found[0][0][1][0] != found[0][1][1][0]
    assert found[1][0][1] == found[1][1][1] and found[1][0][0][-1] != found[1][1][0][-1]
    assert found[2][0][0] == [end, *tokenizer.encode("To be or not")]


@pytest.mark.parametrize(
    ("pair", "context", "fitted", "cut"),
    [
        (([1, 2, 3], [4]), 3, ([1, 2, 3], [4]), False),  # the last token is not read
        (([1, 2, 3], [4]), 2, ([2, 3], [4]), True),
        (([1, 2, 3], [4, 5]), 2, ([3], [4, 5]), True),
        (([1, 2, 3], [4, 5, 6]), 2, ([4], [5, 6]), True),
        (([1], [2, 3, 4, 5]), 2, ([3], [4, 5]), True),
    ],
)
def test_what_is_too_long_loses_its_beginning(pair, context: int, fitted, cut: bool) -> None:
    found, was = fit(pair, context)
    assert (found, was) == (fitted, cut)
    before, after = pair
    assert [*found[0], *found[1]] == [*before, *after][-(context + 1) :]
