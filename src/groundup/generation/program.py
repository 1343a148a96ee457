"""A model's forward pass as decoding needs it: no gradients, no packed documents, weights in 32, 16 or 8 bits, few calls.

A small model's token is a few hundred small operations, and Python's way to each costs more than the operation. So the
layers are laid out here once as plain closures over their weights: queries, keys and values in one product; pairs that a
rotation turns laid side by side, so that it is one complex multiplication in place; what a sublayer makes added by the
product itself. It computes what `models/decoder.py` and the decoder of `models/encoder_decoder.py` compute (a test holds
every family to that), except that experts have no capacity: what a text gets must not hang on its neighbours.

Shapes: N tokens of a pass (of several texts), D model width, K heads, G kv-heads, H head width, V vocabulary, S source time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from groundup.generation.cache import Bias, KVCache, Plan, weigh
from groundup.generation.layout import Layout
from groundup.models.decoder import Decoder
from groundup.models.encoder_decoder import CrossAttention, EncoderDecoder, Layer
from groundup.models.parts.attention import GATE_CHANNELS, SHARPNESS, Attention
from groundup.models.parts.block import Block
from groundup.models.parts.embedding import NgramEmbedding
from groundup.models.parts.feedforward import FUNCTIONS, Gated, Plain
from groundup.models.parts.moe import MixtureOfExperts
from groundup.models.parts.norm import RMSNorm
from groundup.models.parts.position import Alibi, Relative

Sublayer = Callable[[Tensor], Tensor]
Onto = Callable[[Tensor, Tensor], Tensor]
"""(stream, what the sublayer reads) to the stream with what it makes added."""
Memory = dict[int, list[tuple[Tensor, Tensor]]]
"""By slot and layer: keys and values of the source text, each (1, K, S, H)."""


@dataclass
class Pass:
    """What all layers of one forward pass share."""

    plan: Plan
    slots: list[tuple[slice, int]]
    """Rows and slot of each piece."""
    turn_N1H: Tensor | None
    """The rotation of each token, complex, (N, 1, H/2)."""
    tokens_N: Tensor


class Program:
    """The layers of a decoder (or of an encoder-decoder's decoder) in a given precision."""

    def __init__(self, model: Decoder | EncoderDecoder, layout: Layout, cache: KVCache, memory: Memory) -> None:
        config = model.config
        self.config, self._model, self._layout, self._cache, self._memory = config, model, layout, cache, memory
        side = model if isinstance(model, Decoder) else model.decoder
        self.bias = _bias(side.distance)
        self._turns = layout.turns
        self._layers = [self._layer(number, cast(Block | Layer, block)) for number, block in enumerate(side.blocks)]
        self._norm = norm(side.norm)
        self._head = layout.head
        plain = isinstance(model, Decoder) and model.projection is None and model.ngrams is None and config.embedding_scale == 1.0
        self._plain = plain and config.position not in ("learned", "sinusoidal") and not config.embedding_norm

    def __call__(self, x_ND: Tensor, tokens_N: Tensor, plan: Plan, slots: list[tuple[slice, int]]) -> Tensor:
        """The last layer's normalised output, (N, D), from the embedding."""
        turn = None if self._turns is None else self._turns.index_select(0, plan.positions_N).unsqueeze(1)
        one = Pass(plan, slots, turn, tokens_N)
        first_ND = x_ND
        for layer in self._layers:
            x_ND = layer(x_ND, first_ND, one)
        return self._norm(x_ND)

    @property
    def history(self) -> int:
        """Tokens before a piece that the embedding looks at."""
        ngrams = self._model.ngrams if isinstance(self._model, Decoder) else None
        return 0 if ngrams is None else ngrams.history

    def logits(self, x_ND: Tensor) -> Tensor:
        """Scores over the vocabulary, (N, V), float32."""
        if self.config.logits_scale != 1.0:
            x_ND = x_ND * self.config.logits_scale
        logits_NV = self._head(x_ND)
        if self.config.softcap:
            logits_NV = self.config.softcap * torch.tanh(logits_NV / self.config.softcap)
        return logits_NV

    def embed(self, tokens_N: Tensor, positions_N: Tensor, slots: list[tuple[slice, int]], before: list[list[int]]) -> Tensor:
        """What the first layer reads, (N, D). `before`: the last tokens before each piece, as many as `history` says."""
        if self._plain:
            return F.embedding(tokens_N, self._model.embedding.weight)
        model = self._model
        if not isinstance(model, Decoder) or model.ngrams is None:
            return model.embed(tokens_N[None], positions_N[None])[0]
        return model.embed(tokens_N[None], positions_N[None], self._ngrams(model.ngrams, tokens_N, positions_N, slots, before))[0]

    @staticmethod
    def _ngrams(
        ngrams: NgramEmbedding, tokens_N: Tensor, positions_N: Tensor, slots: list[tuple[slice, int]], before: list[list[int]]
    ) -> Tensor:  # fmt: skip
        """(1, N, D), piece by piece but for neighbours of one token each."""
        parts, pieces = [], list(zip(slots, before, strict=True))
        while pieces:
            alike = 1
            if _size(pieces[0]) == 1:
                alike = next((place for place, piece in enumerate(pieces) if _size(piece) != 1), len(pieces))
            rows = slice(pieces[0][0][0].start, pieces[alike - 1][0][0].stop)
            shape = (alike, -1)
            longest = max(len(earlier) for _, earlier in pieces[:alike])
            padded = [[0] * (longest - len(earlier)) + earlier for _, earlier in pieces[:alike]]
            earlier_BS = torch.tensor(padded, dtype=torch.long, device=positions_N.device).view(alike, longest)
            parts.append(ngrams(tokens_N[rows].view(shape), positions_N[rows].view(shape), earlier_BS).flatten(0, 1))
            del pieces[:alike]
        return torch.cat(parts)[None]

    def _layer(self, number: int, block: Block | Layer) -> Callable[[Tensor, Tensor, Pass], Tensor]:
        """One layer: the stream, the embedding and the pass to the stream."""
        attend, feed = self._attention(number, block.attention), self._feedforward(block.feedforward)
        attention_norm = norm(block.attention_norm)
        model, post = self._model, block.post
        if isinstance(block, Layer):
            feedforward_norm = norm(block.feedforward_norm)
            cross = None if block.cross is None else self._cross(number, block.cross)
            cross_norm = None if block.cross_norm is None else norm(block.cross_norm)

            def written(x_ND: Tensor, first_ND: Tensor, one: Pass) -> Tensor:
                x_ND = attention_norm(attend(x_ND, x_ND, one)) if post else attend(x_ND, attention_norm(x_ND), one)
                if cross is not None and cross_norm is not None:
                    x_ND = cross_norm(cross(x_ND, x_ND, one)) if post else cross(x_ND, cross_norm(x_ND), one)
                return feedforward_norm(feed(x_ND, x_ND)) if post else feed(x_ND, feedforward_norm(x_ND))

            return written

        one_norm, parallel = block.parallel == "one-norm", block.parallel != "no"
        feedforward_norm = attention_norm if one_norm else norm(block.feedforward_norm)
        alpha, share = block.alpha, block.share
        gains = None if block.gains is None else block.gains.tolist()
        if alpha != 1.0 or share != 1.0 or gains is not None:
            factors = (share, share) if gains is None else (share * gains[0], share * gains[1])
            attend, feed = _scaled(attend, alpha, factors[0]), _scaled(feed, alpha, factors[1])
        assert isinstance(model, Decoder)
        stream, embedding = 1.0, 0.0
        if model.shortcut is not None:
            stream, embedding = float(model.shortcut.stream[number]), float(model.shortcut.embedding[number])
        mixes = model.shortcut is not None

        def layer(x_ND: Tensor, first_ND: Tensor, one: Pass) -> Tensor:
            if mixes:
                x_ND = torch.add(x_ND * stream, first_ND, alpha=embedding)
            if parallel:
                seen_ND = attention_norm(x_ND)
                other_ND = seen_ND if one_norm else feedforward_norm(x_ND)
                return feed(attend(x_ND, seen_ND, one), other_ND)
            if post:
                x_ND = attention_norm(attend(x_ND, x_ND, one))
                return feedforward_norm(feed(x_ND, x_ND))
            x_ND = attend(x_ND, attention_norm(x_ND), one)
            return feed(x_ND, feedforward_norm(x_ND))

        return layer

    def _attention(self, number: int, module: Attention) -> Callable[[Tensor, Tensor, Pass], Tensor]:
        K, G, H = module.heads, module.kv_heads, module.head_width
        turned = self._turns is not None
        qkv, out = self._layout.qkv(module), self._layout.map(module.out)
        normed, eps, attend = module.qk_norm, module.eps, self._cache.attend
        scales = self._layout.scales(module)
        gate = None if module.value_gate is None else module.value_gate.weight.detach()
        values = self._model.value_embeddings[str(number)].weight if gate is not None else None  # type: ignore[union-attr,index]

        def sublayer(stream_ND: Tensor, x_ND: Tensor, one: Pass) -> Tensor:
            qkv_NX = qkv(x_ND)
            N = qkv_NX.shape[0]
            heads_NXH = qkv_NX.view(N, K + 2 * G, H)
            if scales is not None:
                heads_NXH[:, : K + G].copy_(F.rms_norm(heads_NXH[:, : K + G], (H,), None, eps).mul_(scales))
            if turned:
                assert one.turn_N1H is not None
                torch.view_as_complex(qkv_NX.view(N, K + 2 * G, H // 2, 2))[:, : K + G].mul_(one.turn_N1H)
            if normed:
                qk_NXH = heads_NXH[:, : K + G]
                qk_NXH.copy_(F.rms_norm(qk_NXH, (H,), None, eps)).mul_(SHARPNESS)
            if gate is not None:
                assert values is not None
                gate_NG1 = 3 * torch.sigmoid(F.linear(x_ND[:, :GATE_CHANNELS], gate)).unsqueeze(-1)
                heads_NXH[:, K + G :].addcmul_(
                    gate_NG1, F.embedding(one.tokens_N, cast(Tensor, values)).view(N, G, H)
                )
            return out.onto(stream_ND, attend(number, one.plan, qkv_NX))

        return sublayer

    def _cross(self, number: int, module: CrossAttention) -> Callable[[Tensor, Tensor, Pass], Tensor]:
        K, H, scale, memory = module.heads, module.head_width, module.scale, self._memory
        query, out = self._layout.map(module.query), self._layout.map(module.out)

        def sublayer(stream_ND: Tensor, x_ND: Tensor, one: Pass) -> Tensor:
            q_NKH = query(x_ND).view(-1, K, H)
            parts = []
            for rows, slot in one.slots:
                k_1KSH, v_1KSH = memory[slot][number]
                y_1KTH = weigh(q_NKH[rows].transpose(0, 1)[None], k_1KSH, v_1KSH, None, scale, 0.0)
                parts.append(y_1KTH[0].transpose(0, 1).flatten(1))
            return out.onto(stream_ND, torch.cat(parts))

        return sublayer

    def _feedforward(self, module: nn.Module) -> Onto:
        if isinstance(module, MixtureOfExperts):
            return _mixture(
                module,
                [self._feedforward(expert) for expert in module.experts],
                self._feedforward(module.shared) if module.shared is not None else None,
            )
        assert isinstance(module, Gated | Plain)
        down, function = self._layout.map(module.down), module.function
        if function is FUNCTIONS["relu2"]:
            function = _squared_relu
        if isinstance(module, Gated):
            gate_up = self._layout.map(module.gate_up)

            def gated(stream_ND: Tensor, x_ND: Tensor) -> Tensor:
                gate, other = gate_up(x_ND).chunk(2, dim=1)
                return down.onto(stream_ND, function(gate).mul_(other))

            return gated
        up = self._layout.map(module.up)
        return lambda stream_ND, x_ND: down.onto(stream_ND, function(up(x_ND)))


def norm(module: nn.Module) -> Sublayer:
    """A norm in one call where torch has one, else the module."""
    if isinstance(module, RMSNorm):
        return _rms_norm(None if module.weight is None else module.weight.detach(), module.eps)
    if isinstance(module, nn.LayerNorm):
        shape, weight, bias, eps = list(module.normalized_shape), module.weight, module.bias, module.eps
        return lambda x_ND: F.layer_norm(x_ND, shape, weight, bias, eps)
    if isinstance(module, nn.Identity):
        return lambda x_ND: x_ND
    return lambda x_ND: cast(Tensor, module(x_ND))


def _rms_norm(scale_D: Tensor | None, eps: float) -> Sublayer:
    """RMSNorm in operations that cost a third of torch's own on a CPU, of one row with its length as a plain number."""

    def normed(x_ND: Tensor) -> Tensor:
        N, D = x_ND.shape
        square_N = torch.linalg.vecdot(x_ND, x_ND)
        if N == 1:
            y_ND = x_ND * float((square_N.item() / D + eps) ** -0.5)
        else:
            y_ND = x_ND * square_N.mul_(1 / D).add_(eps).rsqrt_().unsqueeze(-1)
        return y_ND if scale_D is None else y_ND.mul_(scale_D)

    return normed


def _scaled(onto: Callable[..., Tensor], alpha: float, factor: float) -> Callable[..., Tensor]:
    """alpha stream + factor (what the sublayer makes)."""

    def scaled(stream_ND: Tensor, *read: object) -> Tensor:
        made_ND = onto(torch.zeros_like(stream_ND), *read)
        return torch.add(stream_ND * alpha, made_ND, alpha=factor)

    return scaled


def _squared_relu(x: Tensor) -> Tensor:
    positive = F.relu(x)
    return positive * positive


def _mixture(module: MixtureOfExperts, experts: list[Onto], shared: Onto | None) -> Onto:
    """Each token to its experts, as many tokens an expert as come."""

    def routed(stream_ND: Tensor, x_ND: Tensor) -> Tensor:
        best_Nk, expert_Nk = F.linear(x_ND, module.router.weight).topk(module.chosen, dim=-1)
        weight_Nk = best_Nk.softmax(dim=-1)
        y_ND = stream_ND.clone() if shared is None else shared(stream_ND, x_ND)
        for number in torch.unique(expert_Nk).tolist():
            token, choice = (expert_Nk == number).nonzero(as_tuple=True)
            given_CD = experts[number](
                torch.zeros(len(token), x_ND.shape[1], device=x_ND.device), x_ND[token]
            )
            y_ND.index_add_(0, token, given_CD.mul_(weight_Nk[token, choice].unsqueeze(-1)))
        return y_ND

    return routed


def _bias(distance: nn.Module | None) -> Bias | None:
    """What positions add to the scores, by the distance to the key; places after the query count as none."""
    if isinstance(distance, Alibi):
        slopes_K1 = distance.slopes[:, None]
        return lambda before_nS: -slopes_K1 * before_nS.clamp(min=0)[:, None]
    if isinstance(distance, Relative):
        relative = distance
        return lambda before_nS: relative.weight[relative.bucket(before_nS.clamp(min=0))].transpose(1, 2)
    return None


def _size(piece: tuple[tuple[slice, int], list[int]]) -> int:
    rows = piece[0][0]
    return int(rows.stop - rows.start)


def source_memory(model: EncoderDecoder, source: list[int]) -> list[tuple[Tensor, Tensor]]:
    """Keys and values of a source text for each layer of the decoder, each (1, K, S, H)."""
    device = model.embedding.weight.device
    source_1S = torch.tensor([source], device=device)
    memory_1SD = model.encode(source_1S, torch.arange(len(source), device=device)[None])
    return [cast(CrossAttention, cast(Layer, block).cross).keys_values(memory_1SD) for block in model.decoder.blocks]
