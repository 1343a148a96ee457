"""Writing with models that keep no cache: each new token is found by reading all there is once more.

    encoder            text so far, then <|mask|>        -> the scores of the mask's place
    encoder-decoder    the prompt is read, the answer so far written on from <|pad|>
    permutation        text so far, then a place to guess: the query stream's scores of it

Everything else (sampling, streams, stops) is the engine's. An encoder can also fill in what is masked in the middle of a text.

Shapes: P prompts, B rows, T time, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor

from groundup.generation.cache import KVCache
from groundup.generation.engine import Engine
from groundup.models.build import Model
from groundup.models.decoder import Decoder
from groundup.models.encoder import Encoder
from groundup.models.encoder_decoder import EncoderDecoder
from groundup.tokens.tokenizer import Tokenizer

MASK = "<|mask|>"


class Texts:
    """What each row holds so far: its prompt, and what was written."""

    def __init__(self, prompts: list[list[int]]) -> None:
        self.prompts = list(prompts)
        self.written: list[list[int]] = [[] for _ in prompts]

    def select(self, rows: Sequence[int]) -> None:
        """Keep the given rows, in that order; a row named several times is copied."""
        self.prompts = [self.prompts[row] for row in rows]
        self.written = [list(self.written[row]) for row in rows]


class RereadingEngine(Engine):
    """An engine for models of the other kinds; `fill` for encoders."""

    def __init__(self, model: Model, tokenizer: Tokenizer, context: int | None = None) -> None:
        super().__init__(cast(Decoder, model), tokenizer, context)
        self._other = model

    @torch.no_grad()
    def _prefill(self, prompts: list[list[int]], capacity: int) -> tuple[KVCache, Tensor, Tensor]:
        texts = Texts(prompts)
        logits_PV = self._scores(texts)
        seen_PV = torch.zeros_like(logits_PV, dtype=torch.bool)
        for row, tokens in enumerate(prompts):
            seen_PV[row, tokens] = True
        return cast(KVCache, texts), logits_PV, seen_PV

    @torch.no_grad()
    def _step(self, cache: KVCache, tokens_B: Tensor) -> Tensor:
        texts = cast(Texts, cache)
        for row, token in zip(texts.written, tokens_B.tolist(), strict=True):
            row.append(token)
        return self._scores(texts)

    def _scores(self, texts: Texts) -> Tensor:
        """The scores of each row's next token, (B, V); row by row, since rows are of different lengths."""
        return torch.stack([self._next(prompt, written) for prompt, written in zip(texts.prompts, texts.written, strict=True)])

    def _next(self, prompt: list[int], written: list[int]) -> Tensor:
        model = self._other
        special = self.tokenizer.special
        if isinstance(model, EncoderDecoder):
            source, target = torch.tensor([prompt]), torch.tensor([[special["<|pad|>"], *written]])
            scores_BTV: Tensor = model(target, _places(target), source, _places(source))
            return scores_BTV[0, -1]
        read = torch.tensor([[*prompt, *written, special[MASK]]])
        if isinstance(model, Encoder):
            return model.logits(model.hidden(read, _places(read))[:, -1])[0]
        hidden = torch.zeros(1, read.shape[1], read.shape[1], dtype=torch.bool)
        hidden[:, :, -1] = True  # what stands at the guessed place is never read
        scores_BTV = model(read, hidden)
        return scores_BTV[0, -1]

    @torch.no_grad()
    def fill(self, text: str) -> str:
        """The text with each <|mask|> in it replaced by the likeliest token, the surest first."""
        model = self._other
        assert isinstance(model, Encoder)
        mask = self.tokenizer.special[MASK]
        tokens: list[int] = []
        for number, piece in enumerate(text.split(MASK)):
            tokens += [mask] * (number > 0) + self.tokenizer.encode(piece)
        tokens = tokens[: self.context]
        while mask in tokens:
            read = torch.tensor([tokens])
            logits_TV = model(read, _places(read))[0]
            logits_TV[:, self._never] = float("-inf")
            logits_TV[:, list(self._ends)] = float("-inf")
            sure_T, likeliest_T = logits_TV.softmax(-1).max(-1)
            place = max((place for place, token in enumerate(tokens) if token == mask), key=lambda place: float(sure_T[place]))
            tokens[place] = int(likeliest_T[place])
        return self.tokenizer.decode(tokens)


def _places(tokens_BT: Tensor) -> Tensor:
    return torch.arange(tokens_BT.shape[1]).expand_as(tokens_BT)


def engine(model: Model, tokenizer: Tokenizer) -> Engine:
    """The engine that suits a model."""
    return Engine(model, tokenizer) if isinstance(model, Decoder) else RereadingEngine(model, tokenizer)
