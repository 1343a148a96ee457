"""Text from a model: one engine for `generate`, `chat`, the server, evaluation and rollouts.

    submit ──> waiting ──> a slot ──> reads its prompt ──> a token a step ──> done; the slot keeps its text
                             │        in parts, so that
                             │        others go on writing
                             └─ goes on from what any slot has of this prompt already

A step is one forward pass for all that is going on: a part of the prompts that are being read, and a token for each text
that is being written. Requests may come and be cancelled between any two steps; what a text becomes does not hang on its
neighbours.

What leaves the engine is text a person may see: special tokens are never drawn (the two that end a text end it), a
character whose bytes span several tokens is held back until it is whole, and so is what may turn out to be the beginning
of a stop string.

Policies. The context is a hard limit: a text that fills it ends with `finish_reason` "length"; of a prompt that does not
leave room for at least one token, the beginning is cut off and `prompt_tokens_cut` says how much. An empty prompt is
<|end_of_text|>: what stands before a document's first token in training.

Shapes: R rows (places that are drawn for), V vocabulary.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from groundup.errors import RequestError
from groundup.generation.cache import Piece
from groundup.generation.constrain import Constraint, constraint
from groundup.generation.lookup import Lookup
from groundup.generation.runner import CachedRunner, runner
from groundup.generation.sampling import SamplingSettings, sample
from groundup.generation.text import TextStream
from groundup.generation.weights import Precision
from groundup.models.build import Model
from groundup.tokens.tokenizer import Tokenizer

FinishReason = Literal["stop", "length", "cancelled"]
Prompt = str | Sequence[int]
END_TOKENS = ("<|end_of_text|>", "<|end_of_turn|>")
READ_AT_ONCE = 256  # tokens of prompts in one step: writers wait for no more than that
WORTH_WAITING = 32  # tokens: a prompt that begins like one being read waits for it and goes on from there


@dataclass(frozen=True)
class Chosen:
    """A token drawn, its log-probability under the model alone, and the likeliest tokens with theirs."""

    token: int
    logprob: float
    top: tuple[tuple[int, float], ...]


@dataclass(frozen=True)
class Completion:
    """One finished sample."""

    text: str
    """Without special tokens and without the stop string that ended it."""
    tokens: list[int]
    """The tokens drawn, the ending special token left out."""
    finish_reason: FinishReason
    """`stop`: an ending token, a stop string, or what was asked for is complete; `length`: `max_tokens` or the context is full."""
    prompt_tokens_cut: int = 0
    """Tokens at the prompt's beginning that did not fit into the context."""
    logprobs: tuple[Chosen, ...] | None = None
    """Of each token and of the one that ended the text, where they were asked for."""
    prompt_tokens: int = field(default=0, compare=False)
    cached_tokens: int = field(default=0, compare=False)
    """Of the prompt's, those that had been computed before."""


class _Sample:
    """One text in the making."""

    def __init__(self, request: Request, number: int, generator: torch.Generator) -> None:
        self.request, self.number, self.generator = request, number, generator
        self.slot = -1
        self.unread: list[int] = []
        self.begun = 0  # tokens the slot held when writing began
        self.cached = 0
        self.tokens: list[int] = []
        self.pieces: list[str] = []
        self.stream = TextStream(request.settings.stop)
        self.reason: FinishReason | None = None
        self.chosen: list[Chosen] = []
        self.seen: Tensor | None = None
        self.counts: Tensor | None = None
        self.lookup: Lookup | None = None
        self.constraint: Constraint | None = None


class Request:
    """A prompt and the texts that are to continue it."""

    def __init__(self, prompt: list[int], cut: int, settings: SamplingSettings) -> None:
        self.prompt, self.cut, self.settings = prompt, cut, settings
        self.samples = [
            _Sample(self, number, generator) for number, generator in enumerate(settings.generators())
        ]

    @property
    def done(self) -> bool:
        """Whether all its texts have ended."""
        return all(one.reason is not None for one in self.samples)

    def completions(self) -> list[Completion]:
        """Its texts; it has to be done."""
        return [_completion(one) for one in self.samples]


class Engine:
    """A model and its tokenizer, ready to write.

    `context` (tokens) defaults to the model's own and cannot exceed it; `precision`: what the weights are read in; `slots`:
    texts at once at most, whose keys and values are kept.
    """

    def __init__(
        self,
        model: Model,
        tokenizer: Tokenizer,
        context: int | None = None,
        *,
        precision: Precision = "fp32",
        slots: int = 16,
    ) -> None:
        V = model.config.vocabulary
        if tokenizer.size > V:
            raise RequestError(
                f"the tokenizer knows {tokenizer.size} tokens, the model {V}",
                do="Use the tokenizer that the model was trained with.",
            )
        self.model, self.tokenizer, self.precision = model.eval(), tokenizer, precision
        self.context = min(context or model.config.context, model.config.context)
        self.runner = runner(model, tokenizer, precision, slots, self.context)
        self.ends = sorted(tokenizer.special[name] for name in END_TOKENS)
        controls = {token for token in range(tokenizer.size) if not tokenizer.token_bytes[token]}
        never = (controls | set(range(tokenizer.size, V))) - set(self.ends)
        self.never = torch.tensor(sorted(never), device=model.embedding.weight.device)
        self._stops = torch.tensor(self.ends, device=self.never.device)
        self._waiting: deque[_Sample] = deque()
        self._active: dict[int, _Sample] = {}

    # --- what callers use ------------------------------------------------------------------------------------------------

    def generate(self, prompt: Prompt, settings: SamplingSettings) -> list[Completion]:
        """The `settings.n` samples that continue a prompt (text or tokens)."""
        return self.generate_many([prompt], settings)[0]

    def generate_many(
        self, prompts: Sequence[Prompt], settings: SamplingSettings | Sequence[SamplingSettings]
    ) -> list[list[Completion]]:
        """The samples of several prompts, as many at once as there are slots; one setting for all, or one for each."""
        each = [settings] * len(prompts) if isinstance(settings, SamplingSettings) else settings
        requests: list[Request] = []
        try:
            for prompt, one in zip(prompts, each, strict=True):
                requests.append(self.submit(prompt, one))
            while not all(request.done for request in requests):
                self.step()
        finally:
            for request in requests:
                self.cancel(request)
        return [request.completions() for request in requests]

    def stream(self, prompt: Prompt, settings: SamplingSettings) -> Generator[str, None, Completion]:
        """The pieces of one sample's text as they become certain; returns the whole Completion at the end. Closing it early
        ends the work at once."""
        if settings.n != 1:
            raise RequestError(
                f"n is {settings.n}; a stream carries one sample", do="Ask for one, or do not stream."
            )
        request = self.submit(prompt, settings)
        (one,) = request.samples
        said = 0
        try:
            while not request.done:
                self.step()
                while said < len(one.pieces):
                    said += 1
                    yield one.pieces[said - 1]
        finally:
            self.cancel(request)
        return _completion(one)

    def submit(self, prompt: Prompt, settings: SamplingSettings) -> Request:
        """Put a request in the queue; `step` works on it. Raises RequestError for what is no prompt."""
        tokens, cut = self.fit(prompt)
        for token in settings.logit_bias:
            if not 0 <= token < self.tokenizer.size:
                raise RequestError(
                    f"logit_bias names token {token}; there are {self.tokenizer.size}",
                    do="Give ids of tokens.",
                )
        request = Request(tokens, cut, settings)
        for one in request.samples:
            one.constraint = constraint(settings, self.tokenizer, self.model.config.vocabulary)
            if settings.penalises:
                V = self.model.config.vocabulary
                one.seen, one.counts = torch.zeros(V, dtype=torch.bool), torch.zeros(V)
                one.seen[tokens] = True
            if settings.guess_ahead and self.runner.goes_back:
                one.lookup = Lookup(tokens)
        self._waiting += request.samples
        return request

    def cancel(self, request: Request) -> None:
        """End what is not done of a request; its slots are free at once, what was said is kept."""
        for one in request.samples:
            if one.reason is None:
                one.reason = "cancelled"
                self._release(one)
        if any(one.request is request for one in self._waiting):
            self._waiting = deque(one for one in self._waiting if one.request is not request)

    @property
    def idle(self) -> bool:
        """Whether there is nothing to do."""
        return not self._active and not self._waiting

    @torch.inference_mode()
    def step(self) -> list[tuple[Request, int, str]]:
        """One forward pass; the pieces of text it made certain: (request, number of the sample, text)."""
        self._admit()
        pieces: list[Piece] = []
        writing: list[tuple[_Sample, list[int]]] = []
        left = READ_AT_ONCE
        for slot in sorted(self._active):
            one = self._active[slot]
            if one.unread:
                read, one.unread = one.unread[:left], one.unread[left:]
                if not read:
                    continue
                left -= len(read)
                pieces.append(Piece(slot, read, wanted=0 if one.unread else 1))
                if not one.unread:
                    writing.append((one, []))
            else:
                guessed = self._guess(one)
                pieces.append(Piece(slot, [one.tokens[-1], *guessed], wanted=1 + len(guessed)))
                writing.append((one, guessed))
        if not pieces:
            return []
        return self._write(writing, self.runner.forward(pieces))

    def refresh(self) -> None:
        """Take the model's weights anew, as rollouts do after each training step."""
        if isinstance(self.runner, CachedRunner):
            self.runner.refresh()

    def fit(self, prompt: Prompt) -> tuple[list[int], int]:
        """A prompt's tokens, cut from the left to leave room for one, and how many were cut."""
        if isinstance(prompt, str):
            tokens = self.tokenizer.encode(prompt)
        elif isinstance(prompt, bytes | bytearray) or not isinstance(prompt, Sequence) or any(type(one) is not int for one in prompt):
            raise RequestError(
                f"a prompt of type {type(prompt).__name__}", do="Give text, or a list of token ids; several prompts to generate_many."
            )
        else:
            tokens = [int(token) for token in prompt]
            for place, token in enumerate(tokens):
                if not 0 <= token < self.tokenizer.size:
                    raise RequestError(f"token {token} at place {place}; the tokenizer has {self.tokenizer.size}", do="Use its own ids.")
        tokens = tokens or [self.tokenizer.special["<|end_of_text|>"]]
        cut = max(0, len(tokens) - (self.context - 1))
        return tokens[cut:], cut

    # --- one step ----------------------------------------------------------------------------------------------------------

    def _admit(self) -> None:
        """Give slots to those who wait, but for a prompt that begins like one which is being read: it goes on from that, soon."""
        slots, later = self.runner.slots, []
        reading = [one.request.prompt for one in self._active.values() if one.unread]
        for _ in range(
            min(len(self._waiting), 2 * slots.count)
        ):  # not the whole of a long queue at every step
            if not slots.free:
                break
            one = self._waiting.popleft()
            prompt = one.request.prompt
            if any(slots.shares(prompt, other) >= WORTH_WAITING for other in reading):
                later.append(one)
                continue
            one.slot, kept = slots.take(prompt)
            first = self.runner.open(one.slot, prompt)
            one.unread, one.begun, one.cached = first[kept:], len(first), kept
            self._active[one.slot] = one
            reading.append(prompt)
        self._waiting.extendleft(reversed(later))

    def _guess(self, one: _Sample) -> list[int]:
        if one.lookup is None:
            return []
        settings, used = one.request.settings, one.begun + len(one.tokens)
        return one.lookup.guess(
            min(settings.guess_ahead, settings.max_tokens - len(one.tokens) - 1, self.context - used)
        )

    def _write(
        self, writing: list[tuple[_Sample, list[int]]], logits_WV: Tensor
    ) -> list[tuple[Request, int, str]]:
        """Draw for each place as far as the guesses hold."""
        said: list[tuple[Request, int, str]] = []
        row, rows = 0, []
        for one, guessed in writing:
            rows.append((one, guessed, row))
            row += 1 + len(guessed)
        depth = 0
        while rows:
            whole = depth == 0 and len(rows) == len(logits_WV)
            drawn = self._draw(
                [one for one, _, _ in rows],
                logits_WV if whole else logits_WV[[first + depth for _, _, first in rows]],
            )
            going = []
            for (one, guessed, first), token in zip(rows, drawn, strict=True):
                piece = self._take(one, token)
                if piece:
                    said.append((one.request, one.number, piece))
                if one.reason is None and depth < len(guessed) and token == guessed[depth]:
                    going.append((one, guessed, first))
                    continue
                if depth < len(guessed):  # the guesses from here on were wrong
                    self.runner.slots.cut(one.slot, one.begun + len(one.tokens) - (token not in self.ends))
                if one.reason is not None:
                    self._release(one)
            rows, depth = going, depth + 1
        return said

    def _draw(self, ones: list[_Sample], logits_RV: Tensor) -> list[int]:
        """A token for each row."""
        telling = any(one.request.settings.logprobs is not None for one in ones)
        raw_RV = logits_RV.clone() if telling else logits_RV
        logits_RV = logits_RV.index_fill_(1, self.never, -math.inf)
        short = [row for row, one in enumerate(ones) if len(one.tokens) < one.request.settings.min_tokens]
        if len(short) == len(ones):
            logits_RV.index_fill_(1, self._stops, -math.inf)
        elif short:
            logits_RV[torch.tensor(short)[:, None], self._stops] = -math.inf
        for row, one in enumerate(ones):
            if one.constraint is not None:
                allowed_V = one.constraint.allowed().to(logits_RV.device)
                allowed_V[self._stops] = allowed_V[self._stops].any()
                logits_RV[row].masked_fill_(~allowed_V, -math.inf)
        groups: dict[tuple[object, ...], list[int]] = {}
        for row, one in enumerate(ones):
            groups.setdefault(one.request.settings.drawn_alike, []).append(row)
        drawn = [0] * len(ones)
        for rows in groups.values():
            tokens = self._draw_alike(
                [ones[row] for row in rows], logits_RV if len(groups) == 1 else logits_RV[rows]
            )
            for row, token in zip(rows, tokens, strict=True):
                drawn[row] = token
        if telling:
            for one, token, raw_V in zip(ones, drawn, raw_RV, strict=True):
                if (most := one.request.settings.logprobs) is not None:
                    one.chosen.append(_chosen(raw_V, token, most))
        return drawn

    @staticmethod
    def _draw_alike(ones: list[_Sample], scores_RV: Tensor) -> list[int]:
        """The same for rows whose settings agree."""
        settings = ones[0].request.settings
        seen_RV = counts_RV = None
        if settings.penalises:
            seen_RV = torch.stack([one.seen for one in ones if one.seen is not None]).to(scores_RV.device)
            counts_RV = torch.stack([one.counts for one in ones if one.counts is not None]).to(
                scores_RV.device
            )
        tokens: list[int] = sample(
            scores_RV, settings, seen_RV, [one.generator for one in ones], counts_RV
        ).tolist()
        return tokens

    def _take(self, one: _Sample, token: int) -> str:
        """Account for a text's new token; returns the text it makes certain and sets the reason when it ends."""
        settings = one.request.settings
        if token in self.ends:
            one.reason = "stop"
            return self._say(one, one.stream.finish())
        one.tokens.append(token)
        if one.seen is not None and one.counts is not None:
            one.seen[token] = True
            one.counts[token] += 1
        if one.lookup is not None:
            one.lookup.extend([token])
        piece = one.stream.push(self.tokenizer.token_bytes[token])
        if one.stream.stopped:
            one.reason = "stop"
        elif one.constraint is not None and one.constraint.take(token):
            one.reason = "stop"
            piece += one.stream.finish()
        elif len(one.tokens) >= settings.max_tokens or one.begun + len(one.tokens) >= self.context:
            one.reason = "length"
            piece += one.stream.finish()
        return self._say(one, piece)

    @staticmethod
    def _say(one: _Sample, piece: str) -> str:
        if piece:
            one.pieces.append(piece)
        return piece

    def _release(self, one: _Sample) -> None:
        if self._active.get(one.slot) is one:
            del self._active[one.slot]
            self.runner.slots.give_back(one.slot)


def _chosen(logits_V: Tensor, token: int, most: int) -> Chosen:
    log_V = logits_V.log_softmax(dim=-1)
    best = log_V.topk(most) if most else None
    top = () if best is None else tuple(zip(best.indices.tolist(), best.values.tolist(), strict=True))
    return Chosen(token, float(log_V[token]), top)


def _completion(one: _Sample) -> Completion:
    assert one.reason is not None, "the sample is not finished"
    request = one.request
    logprobs = None if request.settings.logprobs is None else tuple(one.chosen)
    return Completion(
        "".join(one.pieces),
        one.tokens,
        one.reason,
        request.cut,
        logprobs,
        prompt_tokens=len(request.prompt),
        cached_tokens=one.cached,
    )
