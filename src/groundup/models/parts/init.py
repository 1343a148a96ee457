"""Initialisation: what every weight starts from, by name of the scheme.

    normal      N(0, std)                                                     std 0.02: BERT, GPT-1
    gpt2        the same, projections back into the stream / sqrt(2 layers)    GPT-2, GPT-3, LLaMA's practice
    xavier      uniform within sqrt(6 / (in + out))                            Glorot & Bengio 2010; Vaswani et al. 2017
    he          N(0, 2 / in)                                                   He et al. 2015, for ReLUs
    orthogonal  a random rotation (Saxe et al. 2014)
    small       N(0, 2 / (5 width)), back into the stream 2 / (layers sqrt(width))   Nguyen & Salazar 2019; Wang & Komatsuzaki
    mup         normal, the layers' std falling with sqrt(base width / width), an untied head at zero    muP (Yang et al. 2022)
    t-fixup     xavier, then scaled down with depth so that neither norm nor warm-up is needed (Huang et al. 2020); published
                for encoder-decoders, for a decoder alone an extrapolation and experimental
    fast        by fan-in, projections back into the stream and the head at zero     nanochat

PaLM and T5 start from embeddings N(0, 1) and the rest by fan-in (Chowdhery et al. 2022, section 2; Raffel et al.'s code).
DeepNet scales the feed-forward sublayers, values and outputs of whatever scheme by (8 layers)^(-1/4).
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from groundup.models.config import ModelConfig
from groundup.models.parts.stacked import Stacked

INTO_RESIDUAL = ("attention.out.weight", "cross.out.weight", ".down.weight")  # two per layer, hence sqrt(2 layers)
TABLES = ("embedding.weight", "places.weight", "types.weight")


def initialise(model: nn.Module, config: ModelConfig, seed: int) -> None:
    """Fill every parameter from one seeded generator, in the model's own order; norm scales stay 1, biases 0."""
    own = dict(model.named_parameters())
    with torch.no_grad():
        for name, value in initial_values(model, config, seed):
            own[name].copy_(value)


def initial_values(model: nn.Module, config: ModelConfig, seed: int) -> Iterator[tuple[str, Tensor]]:
    """What each parameter starts from, one after the other: the model itself may lie on the meta device, and a process that
    keeps a part of each never holds more than one whole."""
    generator = torch.Generator().manual_seed(seed)
    stacks = {f"{name}.weight": module.sizes for name, module in model.named_modules() if isinstance(module, Stacked)}
    for name, parameter in model.named_parameters():
        value = torch.zeros(parameter.shape, dtype=parameter.dtype)
        with torch.no_grad():
            if name.startswith("shortcut."):
                # a stronger stream and more of the embedding in early layers (nanochat)
                first, last = (1.15, 1.05) if name.endswith("stream") else (0.20, 0.05)
                value.copy_(torch.linspace(first, last, config.layers))
            elif name.endswith(("bias", "gains", "hidden_token")):
                pass
            elif parameter.ndim >= 2:
                _fill(name, value, stacks.get(name), config, generator)
            else:
                value.fill_(1.0)
        yield name, value


def _fill(name: str, parameter: Tensor, sizes: tuple[int, ...] | None, config: ModelConfig, generator: torch.Generator) -> None:
    if config.init in ("xavier", "orthogonal", "t-fixup") and not name.endswith(TABLES) and not name.startswith("ngrams."):
        # of matrices that share a product each has a scale of its own
        for part in torch.split(parameter, list(sizes)) if sizes else [parameter]:
            if config.init == "orthogonal":
                nn.init.orthogonal_(part, generator=generator)
            else:
                nn.init.xavier_uniform_(part, generator=generator)
    else:
        std = _std(name, parameter, config)
        parameter.normal_(0.0, std, generator=generator) if std else parameter.zero_()
    if config.family == "t5" and config.init == "normal" and (name.endswith("cross.query.weight") or (name.endswith("attention.qkv.weight") and sizes)):
        # its scores are not divided by the root of the head width: its queries start as much smaller (Raffel et al.'s code)
        torch.split(parameter, list(sizes))[0].mul_(config.head_width**-0.5) if sizes else parameter.mul_(config.head_width**-0.5)
    if config.init == "t-fixup":
        _t_fixup(name, parameter, sizes, config)
    if config.residual == "deepnet":
        beta = (8 * config.layers) ** -0.25
        if name.endswith(INTO_RESIDUAL) or "feedforward" in name:
            parameter.mul_(beta)
        elif name.endswith("attention.qkv.weight") and sizes:
            torch.split(parameter, list(sizes))[2].mul_(beta)


def _t_fixup(name: str, parameter: Tensor, sizes: tuple[int, ...] | None, config: ModelConfig) -> None:
    """Embeddings, values, outputs and the feed-forward sublayers: 0.67 N^(-1/4) in an encoder of N layers, (9 M)^(-1/4) in a
    decoder of M; the shared embedding (9 N)^(-1/4)."""
    factor = (9 * (config.layers if config.decoder_layers is None else config.decoder_layers)) ** -0.25
    if name.startswith("encoder."):
        factor = 0.67 * config.layers**-0.25
    if name.endswith("embedding.weight"):
        parameter.mul_((9 * config.layers) ** -0.25)
    elif name.endswith((".out.weight", ".down.weight", ".up.weight", ".gate_up.weight")):
        parameter.mul_(factor)
    elif name.endswith(("attention.qkv.weight", "cross.key_value.weight")) and sizes:
        torch.split(parameter, list(sizes))[-1].mul_(factor)


def _std(name: str, parameter: Tensor, config: ModelConfig) -> float:
    """Standard deviation of a matrix that is drawn from a normal distribution; 0: it starts at zero."""
    into, table, fan_in = name.endswith(INTO_RESIDUAL), name.endswith(TABLES), parameter.shape[-1]
    if config.zero_output:  # the rules of the fast family
        if into or name.startswith("ngrams."):
            return 0.0
        if name.startswith("embedding."):
            return 0.8 if config.embedding_norm and not config.tied else config.init_std
        if name.startswith("head."):
            return 0.001
        return float((0.4 if name.endswith("feedforward.up.weight") else 1.0) / math.sqrt(fan_in))
    if name == "distance.weight":
        return config.init_std
    if config.family in ("palm", "t5") and config.init == "normal":  # embeddings N(0, 1), the rest by fan-in
        return 1.0 if table else 1 / math.sqrt(config.width if name.endswith("distance.weight") else fan_in)
    match config.init:
        case "he":
            return config.init_std if table else math.sqrt(2 / fan_in)
        case "small":
            return 2 / (config.layers * math.sqrt(config.width)) if into else math.sqrt(2 / (5 * config.width))
        case "mup":
            return 0.0 if name == "head.weight" else config.init_std * (1.0 if table else math.sqrt(config.base_width / config.width))
        case "xavier" | "orthogonal":
            return config.init_std
        case "t-fixup":
            return 1 / math.sqrt(config.width)
        case "gpt2" | "normal" | "fast":
            return config.init_std / (math.sqrt(2 * config.layers) if into and config.init == "gpt2" else 1.0)
    raise AssertionError(config.init)
