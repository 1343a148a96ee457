"""A decoder's forward pass over few tokens, a sublayer a call of `kernels.c`.

It computes what `program.py` computes, for the decoders it knows (`suits`), and writes the same cache. It is the faster way for
passes of few tokens (`few`): steps of writing, guesses, short prompts.

Shapes: N tokens of a pass, W places whose scores are wanted, D model width, K heads, G kv-heads, H head width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from ctypes import addressof
from typing import Any, cast

import torch
from torch import Tensor, nn

from groundup.generation import kernels
from groundup.generation.cache import KVCache, Piece
from groundup.generation.kernels import FORMATS, NORMS, address
from groundup.generation.layout import Layout
from groundup.generation.weights import Rows
from groundup.models.decoder import Decoder
from groundup.models.parts.attention import SHARPNESS, Attention
from groundup.models.parts.block import Block
from groundup.models.parts.feedforward import FUNCTIONS, Gated, Plain
from groundup.models.parts.norm import RMSNorm
from groundup.models.parts.position import Alibi

MOST_ROWS = 64
MOST_LOOKS = 16_384  # of a piece of several tokens at places of its slot; torch reads the past once for all of them, the kernels for each
CODES = {FUNCTIONS[name]: code for code, name in enumerate(("relu", "relu2", "gelu", "gelu_tanh", "silu"))}


def suits(model: nn.Module) -> bool:
    """Whether the kernels know all of a model's parts, and there are kernels."""
    if not isinstance(model, Decoder) or model.embedding.weight.device.type != "cpu" or not isinstance(model.distance, Alibi | None):
        return False
    blocks = [cast(Block, block) for block in model.blocks]
    norms = [model.norm, *(block.attention_norm for block in blocks), *(block.feedforward_norm for block in blocks if block.parallel != "one-norm")]
    known = all(isinstance(norm, RMSNorm | nn.LayerNorm | nn.Identity) for norm in norms)
    return known and all(isinstance(block.feedforward, Gated | Plain) for block in blocks) and kernels.library() is not None


def few(pieces: Sequence[Piece], starts: Sequence[int]) -> bool:
    """Whether the kernels are the faster way for a pass. `starts`: tokens that each piece's slot holds before it."""
    sizes = [len(piece.tokens) for piece in pieces]
    return sum(sizes) <= MOST_ROWS and all(size == 1 or size * (start + size) <= MOST_LOOKS for size, start in zip(sizes, starts, strict=True))


class FewRows:
    """The layers and the head of a decoder, as the kernels' structures."""

    def __init__(self, model: Decoder, layout: Layout, cache: KVCache) -> None:
        self._library: Any = kernels.library()
        self._cache, self._layout = cache, layout
        self._kept: list[Any] = []  # what the structures point at
        config = model.config
        self._turns = None if layout.turns is None else self._keep(torch.view_as_real(layout.turns).contiguous())
        self._layers = [self._layer(model, number, cast(Block, block)) for number, block in enumerate(model.blocks)]
        self._frame, self._head = self._framed(model.norm, 0.0, 1.0, False, config.width), self._map(layout.head)
        self._logits_scale, self._softcap = config.logits_scale, config.softcap
        self._floats = config.width + max(kernels.PRODUCT, config.heads * (config.context + 64))
        self._row = config.width + max((2 * config.heads + 2 * config.kv_heads) * config.head_width, 2 * config.feedforward)
        self._pass = kernels.Pass(cache_format=FORMATS[cache.dtype], floats=self._floats)
        self._scratch, self._shared = torch.empty(0), torch.empty(0)

    def __call__(self, x_ND: Tensor, pieces_3N: Tensor) -> Tensor:
        """The last layer's output, not normalised yet, (N, D). `x_ND`: the embedding, written over; `pieces_3N`: tokens, their
        places and their slots, for which the cache has room."""
        one = self._ready(x_ND.shape[0])
        start, size = pieces_3N.data_ptr(), 8 * x_ND.shape[0]
        one.tokens, one.positions, one.slots, one.capacity = start, start + size, start + 2 * size, self._cache.capacity
        first_ND = x_ND.clone() if self._layers and self._layers[0].mixes else x_ND
        for layer, kv in zip(self._layers, self._cache.addresses, strict=True):
            layer(x_ND, first_ND, addressof(one), kv)
        return x_ND

    def logits(self, x_WD: Tensor) -> Tensor:
        """Scores over the vocabulary, (W, V), float32."""
        logits_WV = torch.empty(x_WD.shape[0], self._head.outputs)
        if x_WD.shape[0]:
            one = self._ready(x_WD.shape[0])
            self._library.head(addressof(self._frame), addressof(self._head), addressof(one), x_WD.data_ptr(), logits_WV.data_ptr())
        if self._logits_scale != 1.0:
            logits_WV *= self._logits_scale
        return self._softcap * torch.tanh(logits_WV / self._softcap) if self._softcap else logits_WV

    def _ready(self, N: int) -> kernels.Pass:
        one, threads = self._pass, torch.get_num_threads()
        if self._scratch.numel() < threads * self._floats:
            self._scratch = torch.empty(threads * self._floats)
            one.scratch = self._scratch.data_ptr()
        if self._shared.numel() < N * self._row:
            self._shared = torch.empty(N * self._row)
            one.shared = self._shared.data_ptr()
        one.n, one.threads = N, threads
        return one

    def _layer(self, model: Decoder, number: int, block: Block) -> _Layer:
        attention, feedforward, post = block.attention, block.feedforward, block.post
        gains = (1.0, 1.0) if block.gains is None else block.gains.tolist()
        width, share = model.config.width, block.share
        first = self._framed(block.attention_norm, block.alpha, share * gains[0], post, width)
        second_norm = block.attention_norm if block.parallel == "one-norm" else block.feedforward_norm
        second = self._framed(second_norm, block.alpha, share * gains[1], post, width)
        assert isinstance(feedforward, Gated | Plain)
        gated = isinstance(feedforward, Gated)
        up = feedforward.gate_up if isinstance(feedforward, Gated) else feedforward.up
        mix = None
        if model.shortcut is not None:
            mix = float(model.shortcut.stream[number]), float(model.shortcut.embedding[number])
        return _Layer(
            self._library, self._attention(model, number, attention, first),
            kernels.Feedforward(second, self._map(self._layout.map(up)), self._map(self._layout.map(feedforward.down)), gated, CODES[feedforward.function]),
            block.parallel != "no", mix,
        )  # fmt: skip

    def _attention(self, model: Decoder, number: int, module: Attention, frame: kernels.Frame) -> kernels.Attention:
        gate = None if module.value_gate is None else module.value_gate.weight.detach()
        values = None if gate is None else cast(nn.Embedding, model.value_embeddings[str(number)]).weight.detach()
        slopes = model.distance.slopes if isinstance(model.distance, Alibi) else None
        return kernels.Attention(
            frame, self._map(self._layout.qkv(module)), self._map(self._layout.map(module.out)), self._keep(self._layout.scales(module)), self._turns,
            self._keep(gate), self._keep(values), self._keep(slopes), module.eps, SHARPNESS if module.qk_norm else 0.0,
            module.head_width**-0.5 if module.scale is None else module.scale, module.softcap, module.heads, module.kv_heads, module.head_width,
            module.window,
        )  # fmt: skip

    def _framed(self, norm: nn.Module, alpha: float, factor: float, post: bool, width: int) -> kernels.Frame:
        one = kernels.Norm(None, None, 0.0, NORMS["none"])
        if isinstance(norm, RMSNorm):
            one = kernels.Norm(self._keep(norm.weight), None, norm.eps, NORMS["rms"])
        elif isinstance(norm, nn.LayerNorm):
            one = kernels.Norm(self._keep(norm.weight), self._keep(norm.bias), norm.eps, NORMS["layer"])
        return kernels.Frame(one, alpha, factor, post, width)

    def _map(self, rows: Any) -> kernels.Map:
        assert isinstance(rows, Rows)
        outputs, inputs = rows.weight.shape
        self._kept.append(rows)
        return kernels.Map(address(rows.weight), address(rows.scale), address(rows.bias), outputs, inputs, FORMATS[rows.weight.dtype])

    def _keep(self, tensor: Tensor | None) -> int | None:
        """A float32 tensor's address, the tensor kept as long as this."""
        if tensor is None:
            return None
        tensor = tensor.detach().float().contiguous()
        self._kept.append(tensor)
        return tensor.data_ptr()


class _Layer:
    """Two calls."""

    def __init__(
        self, library: Any, attention: kernels.Attention, feedforward: kernels.Feedforward, parallel: bool, mix: tuple[float, float] | None
    ) -> None:  # fmt: skip
        self._kept = attention, feedforward
        self._attention, self._feedforward = addressof(attention), addressof(feedforward)
        self._attend, self._feed = library.attention, library.feedforward
        self._parallel, self._mix, self.mixes = parallel, mix, mix is not None

    def __call__(self, x_ND: Tensor, first_ND: Tensor, one: int, kv: int) -> None:
        """Write a layer's output over its input."""
        if self._mix is not None:
            x_ND.mul_(self._mix[0]).add_(first_ND, alpha=self._mix[1])
        stream = x_ND.data_ptr()
        read_ND = x_ND.clone() if self._parallel else x_ND  # both sublayers read what the layer was given
        read = read_ND.data_ptr()
        self._attend(self._attention, one, kv, read, stream)
        self._feed(self._feedforward, one, read, stream)
