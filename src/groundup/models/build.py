"""From a config to a model, and its parameters in closed form."""

from __future__ import annotations

import torch
from torch import Tensor

from groundup.models.config import Kind, ModelConfig
from groundup.models.decoder import Decoder
from groundup.models.encoder import Encoder
from groundup.models.encoder_decoder import EncoderDecoder
from groundup.models.parts.attention import GATE_CHANNELS
from groundup.models.parts.init import initialise
from groundup.models.permutation import PermutationModel

Model = Decoder | Encoder | EncoderDecoder | PermutationModel
"""Any model of the kit: it has a `config`, and an `embedding` of its tokens."""
CLASSES: dict[Kind, type[Decoder] | type[Encoder] | type[EncoderDecoder] | type[PermutationModel]] = {
    "decoder": Decoder, "encoder": Encoder, "encoder-decoder": EncoderDecoder, "permutation": PermutationModel,
}  # fmt: skip


def build(config: ModelConfig, seed: int | None = None) -> Model:
    """A model with seeded initial weights; with `seed` None its weights are torch's and meant to be loaded over."""
    model = CLASSES[config.kind](config)
    if seed is not None:
        initialise(model, config, seed)
    return model


def widened(model: Model, vocabulary: int) -> Model:
    """The same model with rows for further tokens in all that has a row for each token."""
    wide = build(model.config.model_copy(update={"vocabulary": vocabulary}))
    theirs = dict(model.named_parameters())
    with torch.no_grad():
        for name, parameter in wide.named_parameters():
            parameter.copy_(_longer(theirs[name], len(parameter)) if parameter.shape != theirs[name].shape else theirs[name])
    return wide


def _longer(rows: Tensor, wanted: int) -> Tensor:
    return torch.cat([rows, rows.mean(0, keepdim=True).expand(wanted - len(rows), *rows.shape[1:])])


def matmul_parameters(config: ModelConfig) -> int:
    """Parameters that a token meets in a matrix product: the layers' and the head's, tied or not.

    Of a mixture of experts those that one token takes.
    """
    D, outer, inner = config.width, config.heads * config.head_width, config.kv_heads * config.head_width
    taken = config.experts_a_token + config.shared_experts if config.experts else 1
    layer = 2 * D * outer + 2 * D * inner + taken * _feedforward(config) + D * config.experts
    head = config.vocabulary * D
    match config.kind:
        case "encoder":
            return config.layers * layer + head + D * D
        case "encoder-decoder":  # of two tokens of a text one is read and one written
            decoders = config.decoder_layers or config.layers
            return (config.layers * layer + decoders * (layer + 4 * D * outer) + head) // 2
        case "permutation":  # two streams
            return 2 * config.layers * layer + head
        case "decoder":
            gates = sum(config.has_value_embedding(layer) for layer in range(config.layers)) * GATE_CHANNELS * config.kv_heads
            if (rank := config.embedding_rank) is not None:
                head = rank * D + (rank * (config.vocabulary + D) if config.tied else head)
            return config.layers * layer + gates + head


def parameters(config: ModelConfig) -> int:
    """Parameters of a config, shared ones counted once: a decoder's in closed form (a test holds it to the built model), others by
    building it without holding its weights."""
    if config.kind != "decoder":
        with torch.device("meta"):
            return sum(parameter.numel() for parameter in build(config).parameters())
    D, L = config.width, config.layers
    outer, inner = config.heads * config.head_width, config.kv_heads * config.head_width
    sublayers = config.experts + config.shared_experts if config.experts else 1
    matrices = L * (2 * D * outer + 2 * D * inner + sublayers * _feedforward(config) + D * config.experts)
    widths = (2 if config.gated else 1) * config.feedforward + D
    biases = L * ((outer + 2 * inner) * config.qkv_bias + D * config.out_bias + sublayers * widths * config.bias)
    gates = sum(config.has_value_embedding(layer) for layer in range(L)) * GATE_CHANNELS * config.kv_heads
    tables = sum(config.has_value_embedding(layer) for layer in range(L)) * config.vocabulary * inner + sum(config.ngram_rows) * D
    each = 0 if config.norm == "none" or not config.norm_scale else D * (2 if config.norm == "batch" or (config.norm == "layer" and config.norm_bias) else 1)
    norms = each * (L * (1 if config.parallel == "one-norm" else 2) + (config.norm_place == "pre"))
    norms += 2 * L * config.head_width * config.qk_norm_scale
    rank = config.embedding_rank
    embedding = config.vocabulary * (rank or D) + (rank * D if rank else 0) + (0 if config.tied else config.vocabulary * D)
    places = config.context * D if config.position == "learned" else config.relative_buckets * config.heads if config.position == "relative" else 0
    scalars = (2 * L if config.shortcut else 0) + (2 * L if config.residual == "rezero" else 0)
    return matrices + biases + gates + tables + norms + embedding + places + scalars


def _feedforward(config: ModelConfig) -> int:
    """Of one sublayer, without biases."""
    return (3 if config.gated else 2) * config.width * config.feedforward
