"""Text from a model: prefill the prompts once, then one token a step for all samples together.

    prompts ──left-padded──> one forward pass ──rows copied n times──> token, token, ... ──> text in whole characters

What leaves the engine is text a person may see: special tokens are never drawn (the two that end a text end it),
a character whose bytes span several tokens is held back until it is whole, and so is what may turn out to be the
beginning of a stop string.

Policies. The context is a hard limit: a text that fills it ends with `finish_reason` "length"; of a prompt that does
not leave room for at least one token, the beginning is cut off and `prompt_tokens_cut` says how much.

Shapes: B rows (samples of all prompts), T prompt time, V vocabulary.
"""

from __future__ import annotations

import codecs
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from groundup.errors import RequestError
from groundup.generation.cache import KVCache
from groundup.generation.sampling import SamplingSettings, sample
from groundup.models.decoder import Decoder
from groundup.tokens.tokenizer import Tokenizer

FinishReason = Literal["stop", "length"]
END_TOKENS = ("<|end_of_text|>", "<|end_of_turn|>")


@dataclass(frozen=True)
class Completion:
    """One finished sample."""

    text: str
    """Without special tokens and without the stop string that ended it."""
    tokens: list[int]
    """The tokens drawn, the ending special token left out."""
    finish_reason: FinishReason
    """`stop`: an ending token or a stop string; `length`: `max_tokens` or the context is full."""
    prompt_tokens_cut: int = 0
    """Tokens at the prompt's beginning that did not fit into the context."""


class TextStream:
    """Bytes of tokens in, showable text out: whole characters only, nothing of a stop string."""

    def __init__(self, stop: Sequence[str]) -> None:
        self._stop = stop
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._held = ""
        self.stopped = False

    def push(self, data: bytes) -> str:
        """Text that is now certain; sets `stopped` once a stop string is complete."""
        return self._release(self._decoder.decode(data), last=False)

    def finish(self) -> str:
        """What was still held back: the text ended without completing a stop string or a character."""
        return self._release(self._decoder.decode(b"", final=True), last=True)

    def _release(self, new: str, *, last: bool) -> str:
        text = self._held + new
        places = [place for stop in self._stop if (place := text.find(stop)) >= 0]
        if places:
            self.stopped, self._held = True, ""
            return text[: min(places)]
        keep = 0 if last else max((_overlap(text, stop) for stop in self._stop), default=0)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep]


def _overlap(text: str, stop: str) -> int:
    """Length of the longest end of `text` that begins `stop`."""
    return next((size for size in range(min(len(text), len(stop) - 1), 0, -1) if text.endswith(stop[:size])), 0)


class _Row:
    """One sample in the making."""

    def __init__(self, prompt: int, cut: int, settings: SamplingSettings, generator: torch.Generator) -> None:
        self.prompt, self.cut, self.generator = prompt, cut, generator
        self.tokens: list[int] = []
        self.pieces: list[str] = []
        self.stream = TextStream(settings.stop)
        self.reason: FinishReason | None = None

    def say(self, piece: str) -> str:
        self.pieces.append(piece)
        return piece


class Engine:
    """A model and its tokenizer, ready to write. `context` (tokens) defaults to the model's own and cannot exceed it."""

    def __init__(self, model: Decoder, tokenizer: Tokenizer, context: int | None = None) -> None:
        if tokenizer.size > model.config.vocabulary:
            raise RequestError(
                f"the tokenizer knows {tokenizer.size} tokens, the model {model.config.vocabulary}",
                do="Use the tokenizer that the model was trained with.",
            )
        self.model, self.tokenizer = model.eval(), tokenizer
        self.context = min(context or model.config.context, model.config.context)
        weight = model.embedding.weight
        self._device, self._dtype = weight.device, weight.dtype
        self._ends = {tokenizer.special[name] for name in END_TOKENS}
        never = set(tokenizer.special.values()) - self._ends | set(range(tokenizer.size, model.config.vocabulary))
        self._never = torch.tensor(sorted(never), device=self._device)

    def generate(self, prompt: str | Sequence[int], settings: SamplingSettings) -> list[Completion]:
        """The `settings.n` samples that continue a prompt (text or tokens)."""
        return self.generate_many([prompt], settings)[0]

    def generate_many(
        self, prompts: Sequence[str | Sequence[int]], settings: SamplingSettings
    ) -> list[list[Completion]]:
        """The samples of several prompts, computed in one batch; a prompt's samples do not depend on its neighbours."""
        rows: list[_Row] = []
        for _ in self._decode(prompts, settings, rows):
            pass
        completions: list[list[Completion]] = [[] for _ in prompts]
        for row in rows:
            completions[row.prompt].append(_completion(row))
        return completions

    def stream(
        self, prompt: str | Sequence[int], settings: SamplingSettings
    ) -> Generator[str, None, Completion]:
        """The pieces of one sample's text as they become certain; returns the whole Completion at the end."""
        if settings.n != 1:
            raise RequestError(f"n is {settings.n}; a stream carries one sample", do="Ask for one, or do not stream.")
        rows: list[_Row] = []
        for _, piece in self._decode([prompt], settings, rows):
            if piece:
                yield piece
        return _completion(rows[0])

    @torch.no_grad()
    def _prefill(self, prompts: list[list[int]], capacity: int) -> tuple[KVCache, Tensor, Tensor]:
        """The cache after all prompts, the scores of each one's next token (P, V), and the tokens seen (P, V)."""
        longest = max(map(len, prompts))
        starts = [longest - len(tokens) for tokens in prompts]
        pad = self.tokenizer.special["<|pad|>"]
        tokens_PT = torch.tensor(
            [[pad] * start + tokens for start, tokens in zip(starts, prompts, strict=True)], device=self._device
        )
        cache = KVCache(self.model.config, capacity, starts, dtype=self._dtype, device=self._device)
        x_PTD = self.model.hidden(tokens_PT, cache.expect(longest), None, cache)
        logits_PV = self.model.logits(x_PTD[:, -1])
        seen_PV = torch.zeros_like(logits_PV, dtype=torch.bool).scatter_(1, tokens_PT, True)
        return cache, logits_PV, seen_PV

    @torch.no_grad()
    def _step(self, cache: KVCache, tokens_B: Tensor) -> Tensor:
        """The scores (B, V) after one more token a row."""
        logits_BTV: Tensor = self.model(tokens_B[:, None], cache.expect(1), None, cache)
        return logits_BTV[:, -1]

    def _decode(
        self, prompts: Sequence[str | Sequence[int]], settings: SamplingSettings, rows: list[_Row]
    ) -> Generator[tuple[_Row, str], None, None]:
        """Fill `rows` (the samples of all prompts) and yield each new piece of text with its row.

        A finished row leaves the batch at once, so nobody waits or pays for it.
        """
        fitted = [self._fit(prompt) for prompt in prompts]
        if not fitted:
            return
        lengths = [len(tokens) for tokens, _ in fitted]
        capacity = max(lengths) + min(settings.max_tokens, self.context - min(lengths))
        for prompt, (_, cut) in enumerate(fitted):
            rows += [_Row(prompt, cut, settings, generator) for generator in settings.generators()]
        cache, logits_PV, seen_PV = self._prefill([tokens for tokens, _ in fitted], capacity)
        live = list(range(len(rows)))
        copies = [row.prompt for row in rows]
        cache.select(copies)
        logits_BV, seen_BV = logits_PV[copies], seen_PV[copies]
        while live:
            logits_BV[:, self._never] = float("-inf")
            drawn_B = sample(logits_BV, settings, seen_BV, [rows[index].generator for index in live])
            for index, token in zip(live, drawn_B.tolist(), strict=True):
                yield rows[index], self._take(rows[index], token, lengths[rows[index].prompt], settings)
            places = [place for place, index in enumerate(live) if rows[index].reason is None]
            if len(places) < len(live):
                live = [live[place] for place in places]
                if not live:
                    return
                cache.select(places)
                drawn_B, seen_BV = drawn_B[places], seen_BV[places]
            seen_BV.scatter_(1, drawn_B[:, None], True)
            logits_BV = self._step(cache, drawn_B)

    def _fit(self, prompt: str | Sequence[int]) -> tuple[list[int], int]:
        """A prompt's tokens, cut from the left to leave room for one, and how many were cut.

        An empty prompt becomes <|end_of_text|>: what stands before the first token of a document in training.
        """
        tokens = self.tokenizer.encode(prompt) if isinstance(prompt, str) else list(prompt)
        tokens = tokens or [self.tokenizer.special["<|end_of_text|>"]]
        cut = max(0, len(tokens) - (self.context - 1))
        return tokens[cut:], cut

    def _take(self, row: _Row, token: int, prompt_length: int, settings: SamplingSettings) -> str:
        """Account for a row's new token; returns the text it makes certain and sets the row's reason when it ends."""
        if token in self._ends:
            row.reason = "stop"
            return row.say(row.stream.finish())
        row.tokens.append(token)
        piece = row.stream.push(self.tokenizer.decode_bytes([token]))
        if row.stream.stopped:
            row.reason = "stop"
        elif len(row.tokens) >= settings.max_tokens or prompt_length + len(row.tokens) >= self.context:
            row.reason = "length"
            piece += row.stream.finish()
        return row.say(piece)


def _completion(row: _Row) -> Completion:
    assert row.reason is not None, "the sample is not finished"
    return Completion("".join(row.pieces), row.tokens, row.reason, row.cut)
