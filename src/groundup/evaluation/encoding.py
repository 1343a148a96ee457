"""From the text of requests to tokens, by the rules of those whose scores one compares with, and without reading a text twice.

`split` is lm-eval's rule (`TemplateLM._encode_pair`): blanks at the context's end go over to the continuation; both together are encoded,
and the continuation's tokens are those after as many as the context alone has. An empty context is the end-of-text token.

    context "Answer: "    continuation "no"    ->    context "Answer:"    whole "Answer: no"    ->    [Answer][:] | [ no]

`common` is CORE's: whole prompts after an end-of-text token; the context is what an item's prompts begin with (choices) or all but what they
end with (schemas) in common.

The prompts of a task repeat each other: examples are drawn again, choices share all but their last words. Texts are cut where every
tokenizer's pieces end in any case (at a space between letters), on both sides of each blank line and near the context's end, and each
distinct stretch is encoded once.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Protocol

import numpy as np

from groundup.errors import RequestError
from groundup.evaluation.tasks.item import Item, Pairing, Request
from groundup.tokens.tokenizer import BORDER, END_OF_TEXT, Ids, Tokenizer

Pair = tuple[list[int], list[int]]
"""Tokens of the context and of the continuation, neither empty."""
NEAR = 120  # characters around a blank line, and before the context's end, within which a cut is looked for
_BLANK_LINE = re.compile(r"\n\n")


class Words(Protocol):
    """What is needed of a tokenizer: texts to tokens, no special ones among them."""

    def encode_batch(self, texts: Sequence[str]) -> list[Ids]:
        """Tokens of each text."""
        ...


class Encoder:
    """Requests to tokens with one tokenizer; keeps the tokens of stretches it has seen.

    `end_of_text`: the token that stands for an empty context; `cuts`: whether pieces of this tokenizer end at spaces between letters.
    """

    def __init__(self, words: Words, end_of_text: int, *, cuts: bool) -> None:
        self._words, self._end_of_text, self._cuts = words, end_of_text, cuts
        self._known: dict[str, Ids] = {}

    @classmethod
    def of(cls, tokenizer: Tokenizer) -> Encoder:
        """For one of our tokenizers."""
        return cls(tokenizer, tokenizer.special[END_OF_TEXT], cuts=tokenizer.cuts)

    def pairs(self, items: Sequence[Item], pairing: Pairing) -> list[list[Pair]]:
        """Each item's requests as tokens. Raises RequestError for a continuation without any."""
        rule = self._split if pairing == "split" else self._common
        moved = [[_moved(request) if pairing == "split" else request for request in item.requests] for item in items]
        self._learn(text for requests in moved for request in requests for text in self._stretches(request))
        found = [rule(requests) for requests in moved]
        for item, pairs in zip(items, found, strict=True):
            for request, (_, continuation) in zip(item.requests, pairs, strict=True):
                if not continuation:
                    raise RequestError(f"the answer {request.continuation!r} adds no token to its prompt", where=item.name, do="Correct the item, or take it out.")
        return found

    def _split(self, requests: Sequence[Request]) -> list[Pair]:
        found: list[Pair] = []
        contexts: dict[str, list[int]] = {}  # one list for all choices
        for request in requests:
            before, end, whole_end = self._parts(request)
            if request.context not in contexts:
                contexts[request.context] = self._joined([*before, end]) or [self._end_of_text]
            # what stands before `end` is the same in both, so as many tokens
            found.append((contexts[request.context], self._known[whole_end][len(self._known[end]) :].tolist()))
        return found

    def _common(self, requests: Sequence[Request]) -> list[Pair]:
        parts = [self._parts(request) for request in requests]
        wholes = [[self._end_of_text, *self._joined([*before, whole_end])] for before, _, whole_end in parts]
        if len(requests) == 1:
            before, end, _ = parts[0]
            context = [self._end_of_text, *self._joined([*before, end])]
            begin = min(_shared([context, wholes[0]]), len(wholes[0]) - 1)
            return [(wholes[0][:begin], wholes[0][begin:])]
        shortest = min(map(len, wholes))
        if all(request.context == requests[0].context for request in requests):
            begin = min(_shared(wholes), shortest - 1)
            return [(whole[:begin], whole[begin:]) for whole in wholes]
        ending = min(_shared([whole[::-1] for whole in wholes]), shortest - 1)
        return [(whole[:-ending], whole[-ending:]) if ending else (whole, []) for whole in wholes]

    def _stretches(self, request: Request) -> Iterable[str]:
        before, end, whole_end = self._parts(request)
        return (*before, end, whole_end)

    def _parts(self, request: Request) -> tuple[list[str], str, str]:
        """The context's stretches but its last, its last, and its last with the continuation."""
        places = _places(request.context) if self._cuts else ()
        bounds = [0, *places]
        last = request.context[bounds[-1] :]
        return [request.context[begin:end] for begin, end in zip(bounds, places, strict=False)], last, last + request.continuation

    def _joined(self, texts: Sequence[str]) -> list[int]:
        """The tokens of stretches, one after the other."""
        found: list[int] = np.concatenate([self._known[text] for text in texts]).tolist()
        return found

    def _learn(self, texts: Iterable[str]) -> None:
        new = list({text: None for text in texts if text not in self._known})
        self._known.update(zip(new, self._words.encode_batch(new), strict=True))


def fit(pair: Pair, context: int) -> tuple[Pair, bool]:
    """A pair that a model of `context` positions can read, and whether it had to be cut.

    The beginning goes, as in lm-eval: the last token of all is never read, so context + 1 stay. Of an answer longer than that its end is left.
    """
    before, after = pair
    room = context + 1 - len(after)
    if len(before) <= room:
        return pair, False
    return (before[-room:], after) if room > 0 else (after[-context - 1 : -context], after[-context:]), True


def _moved(request: Request) -> Request:
    """With the context's last blanks before the continuation."""
    context = request.context.rstrip()
    return request if context == request.context else Request(context, request.context[len(context) :] + request.continuation)


@lru_cache(maxsize=4096)
def _places(text: str) -> tuple[int, ...]:
    """Where a text may be cut: before and after each blank line, and near its end, if there is such a place."""
    found: list[int] = []

    def add(place: int | None) -> None:
        if place is not None and place > (found[-1] if found else 0):
            found.append(place)

    for line in _BLANK_LINE.finditer(text):
        add(_last(text, line.start()))
        after = BORDER.search(text, line.end(), line.end() + NEAR)
        add(after.start() if after else None)
    add(_last(text, len(text)))
    return tuple(found)


def _last(text: str, end: int) -> int | None:
    """The last border shortly before a place."""
    place = None
    for border in BORDER.finditer(text, max(0, end - NEAR), end):
        place = border.start()
    return place


def _shared(sequences: Sequence[Sequence[int]]) -> int:
    """How many tokens all begin with in common."""
    first = sequences[0]
    length = min(map(len, sequences))
    return next((place for place in range(length) if any(one[place] != first[place] for one in sequences)), length)

