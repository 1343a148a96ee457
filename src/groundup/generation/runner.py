"""From pieces of text in slots to scores of what comes next: what the engine needs of a model, whatever its kind.

    decoder             reads each token once; the slot keeps what it computed
    encoder-decoder     the prompt is encoded when a slot is opened; the answer is written on from <|pad|>, cached likewise
    encoder             text so far, then <|mask|> -> the scores of the mask's place; all is read once more for each token
    permutation         text so far, then a place to guess, likewise

Shapes: W places whose scores are wanted, N tokens of a pass, T time, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, cast

import torch
from torch import Tensor

from groundup.generation.cache import KVCache, Piece
from groundup.generation.few_rows import FewRows, few, suits
from groundup.generation.layout import Layout
from groundup.generation.program import Memory, Program, source_memory
from groundup.generation.slots import Slots
from groundup.generation.weights import Precision, multiplies_bf16
from groundup.models.build import Model
from groundup.models.decoder import Decoder
from groundup.models.encoder import Encoder
from groundup.models.encoder_decoder import EncoderDecoder
from groundup.tokens.tokenizer import Tokenizer

MASK = "<|mask|>"


class Runner(Protocol):
    """A model that reads pieces."""

    slots: Slots
    goes_back: bool
    """Whether `slots.cut` may take back what was read (for guesses ahead)."""

    def open(self, slot: int, prompt: list[int]) -> list[int]:
        """Begin a text in a slot: the tokens that are then to be read, and written on from."""
        ...

    def forward(self, pieces: Sequence[Piece]) -> Tensor:
        """Read the pieces, in the order of their slots; the scores (W, V) of the wanted places, piece by piece."""
        ...


class CachedRunner:
    """Decoders, and the writing side of encoder-decoders. `context`: of a text, its answer included."""

    goes_back = True

    def __init__(
        self, model: Decoder | EncoderDecoder, pad: int, precision: Precision, slots: int, context: int
    ) -> None:
        self._model, self._pad, self._precision = model, pad, precision
        self._layers = len(model.blocks if isinstance(model, Decoder) else model.decoder.blocks)
        self._device = model.embedding.weight.device
        self._memory: Memory = {}
        self.slots = Slots(slots, context, self._copy if isinstance(model, Decoder) else None)
        self.refresh()

    def refresh(self) -> None:
        """Take the model's weights anew (after a training step); what was computed with the old ones is forgotten."""
        model = self._model
        dtype = torch.bfloat16 if self._precision != "fp32" and multiplies_bf16() else torch.float32
        self.cache = KVCache(model.config, self._layers, self.slots.count, dtype, self._device)
        with torch.inference_mode():
            known = suits(model)
            layout = Layout(model, self._precision, rows=known)
            self._program = Program(model, layout, self.cache, self._memory)
            self._few = FewRows(cast(Decoder, model), layout, self.cache) if known else None
        for slot in range(self.slots.count):
            self.slots.cut(slot, 0)

    @torch.inference_mode()
    def lay_out(self, slots: int, context: int) -> None:
        """Another number of slots and another context, all empty; the weights stay as they are laid out."""
        self.slots = Slots(slots, context, self._copy if isinstance(self._model, Decoder) else None)
        self.cache.lay_out(slots, context)

    @torch.inference_mode()
    def open(self, slot: int, prompt: list[int]) -> list[int]:
        """A decoder reads the prompt; an encoder-decoder's answer begins with <|pad|>, as T5's does."""
        if isinstance(self._model, Decoder):
            return prompt
        self._memory[slot] = source_memory(self._model, prompt)
        return [self._pad]

    @torch.inference_mode()
    def forward(self, pieces: Sequence[Piece]) -> Tensor:
        """The scores of the wanted places, (W, V)."""
        history = self._program.history
        before = [self.slots.text(piece.slot)[-history:] if history else [] for piece in pieces]
        starts = [self.slots.write(piece.slot, piece.tokens) for piece in pieces]
        try:
            return self._read(pieces, starts, before)
        except BaseException:  # Ctrl-C too: what was not computed must not be gone on from
            for piece, start in zip(pieces, starts, strict=True):
                self.slots.cut(piece.slot, start)
            raise

    def _read(self, pieces: Sequence[Piece], starts: Sequence[int], before: list[list[int]]) -> Tensor:
        rows: list[tuple[slice, int]] = []
        wanted: list[int] = []
        row = 0
        for piece in pieces:
            end = row + len(piece.tokens)
            rows.append((slice(row, end), piece.slot))
            wanted += range(end - piece.wanted, end)
            row = end
        tokens = [token for piece in pieces for token in piece.tokens]
        if self._few is not None and few(pieces, starts):
            positions = [start + place for piece, start in zip(pieces, starts, strict=True) for place in range(len(piece.tokens))]
            slots = [piece.slot for piece in pieces for _ in piece.tokens]
            self.cache.reserve(1 + max(slots), 1 + max(positions))
            pieces_3N = torch.tensor([tokens, positions, slots])
            x_ND = self._few(self._program.embed(pieces_3N[0], pieces_3N[1], rows, before), pieces_3N)
            return self._few.logits(x_ND if len(wanted) == row else x_ND[wanted])
        plan = self.cache.plan(pieces, starts, self._program.bias)
        tokens_N = torch.tensor(tokens, device=self._device)
        x_ND = self._program(self._program.embed(tokens_N, plan.positions_N, rows, before), tokens_N, plan, rows)
        if len(wanted) < row:
            x_ND = x_ND[torch.tensor(wanted, device=self._device)] if wanted else x_ND[:0]
        return self._program.logits(x_ND)

    def _copy(self, source: int, target: int, length: int) -> None:
        self.cache.copy(source, target, length)


class RereadingRunner:
    """Models that see both ways: nothing of what was computed for a shorter text holds for a longer one."""

    goes_back = False

    def __init__(self, model: Model, tokenizer: Tokenizer, slots: int, context: int) -> None:
        self._model, self._mask = model, tokenizer.special[MASK]
        self.slots = Slots(slots, context, None)

    def open(self, slot: int, prompt: list[int]) -> list[int]:
        """The prompt."""
        return prompt

    @torch.inference_mode()
    def forward(self, pieces: Sequence[Piece]) -> Tensor:
        """The scores of each wanted piece's next token, (W, V); text by text, since they are of different lengths."""
        for piece in pieces:
            self.slots.write(piece.slot, piece.tokens)
        scores = [self._next(self.slots.text(piece.slot)) for piece in pieces if piece.wanted]
        return torch.stack(scores) if scores else torch.empty(0, self._model.config.vocabulary)

    def _next(self, text: list[int]) -> Tensor:
        model = self._model
        device = model.embedding.weight.device
        read_1T = torch.tensor([[*text, self._mask]], device=device)
        if isinstance(model, Encoder):
            return model.logits(model.hidden(read_1T, places(read_1T))[:, -1])[0]
        hidden_1TT = torch.zeros(1, read_1T.shape[1], read_1T.shape[1], dtype=torch.bool, device=device)
        hidden_1TT[:, :, -1] = True  # what stands at the guessed place is never read
        scores_1TV: Tensor = model(read_1T, hidden_1TT)
        return scores_1TV[0, -1]


def places(tokens_BT: Tensor) -> Tensor:
    """0, 1, 2, ... in each row."""
    return torch.arange(tokens_BT.shape[1], device=tokens_BT.device).expand_as(tokens_BT)


def runner(
    model: Model, tokenizer: Tokenizer, precision: Precision, slots: int, context: int
) -> CachedRunner | RereadingRunner:
    """The runner that suits a model. A model that is read anew for each token keeps its own precision."""
    if isinstance(model, Decoder | EncoderDecoder):
        return CachedRunner(model, tokenizer.special["<|pad|>"], precision, slots, context)
    return RereadingRunner(model, tokenizer, slots, context)
