"""What parameters a process holds under a layout: every one by name, cut as training cuts it, before ZeRO shards it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch

from groundup.models.build import build
from groundup.models.config import ModelConfig
from groundup.training.layout import Layout, layers_of

COLUMNS = ("qkv.weight", "qkv.bias", "query.weight", "query.bias", "key_value.weight", "key_value.bias", "gate_up.weight", "gate_up.bias", "up.weight", "up.bias",
           "embedding.weight", "head.weight", "head_bias")  # fmt: skip
ROWS = ("out.weight", "down.weight")


@dataclass(frozen=True)
class Piece:
    """A parameter, or one matrix of a stacked one, as a process has it."""

    name: str
    rows: int
    numel: int
    cut: bool
    """Over tp; False: every process of the axis has all of it."""

    @property
    def layer(self) -> bool:
        """Whether it is a layer's."""
        return "blocks." in self.name


def pieces(config: ModelConfig, layout: Layout, stage: int) -> tuple[Piece, ...]:
    """What a process of a stage holds. With ep its share of the experts."""
    held = layout.layers(stage, layers_of(config)) if layout.pp > 1 else range(layers_of(config))
    return _pieces(config, held, stage == 0, stage == layout.pp * layout.stages - 1, layout.tp, layout.ep)


@lru_cache(maxsize=1024)
def _pieces(config: ModelConfig, held: range, first: bool, last: bool, tp: int, ep: int) -> tuple[Piece, ...]:
    found = []
    for name, shape in _named(config):
        if not _held(name, config, held, first, last):
            continue
        if ep > 1 and ".experts." in name and int(name.split(".experts.")[1].split(".")[0]) >= config.experts // ep:
            continue
        for part, rows, numel in _matrices(name, shape, config):
            n = 1 if kept_whole(part, config, tp) else tp
            if part.endswith(ROWS):
                found.append(Piece(part, rows, numel // n, n > 1))
            elif any(f"{one}." in f"{part}." for one in COLUMNS):
                own = -(-rows // n)  # the first process's, where they do not go round evenly
                found.append(Piece(part, own, own * (numel // rows), n > 1))
            else:
                found.append(Piece(part, rows, numel, False))
    return tuple(found)


def kept_whole(part: str, config: ModelConfig, tp: int) -> bool:
    """Whether keys and values have too few heads to be cut."""
    return config.kv_heads % tp != 0 and ("qkv.weight." in f"{part}." or "qkv.bias." in f"{part}.") and not part.endswith(".0")


@lru_cache(maxsize=8)
def _named(config: ModelConfig) -> list[tuple[str, tuple[int, ...]]]:
    with torch.device("meta"):
        return [(name, tuple(parameter.shape)) for name, parameter in build(config).named_parameters()]


def _matrices(name: str, shape: tuple[int, ...], config: ModelConfig) -> list[tuple[str, int, int]]:
    """(name, rows, numbers), stacked matrices apart."""
    rows, numel = (shape[0] if shape else 1), 1
    for size in shape:
        numel *= size
    outer, inner = config.heads * config.head_width, config.kv_heads * config.head_width
    if name.endswith(("qkv.weight", "qkv.bias")):
        sizes: tuple[int, ...] = (outer, inner, inner)
    elif name.endswith(("key_value.weight", "key_value.bias")):
        sizes = (outer, outer)
    elif name.endswith(("gate_up.weight", "gate_up.bias")):
        sizes = (rows // 2, rows // 2)
    else:
        return [(name, rows, numel)]
    return [(f"{name}.{part}", size, size * numel // rows) for part, size in enumerate(sizes)]


def _held(name: str, config: ModelConfig, held: range, first: bool, last: bool) -> bool:
    side, found, rest = name.partition("blocks.")
    if found:
        return int(rest.split(".")[0]) + (config.layers if side == "decoder." else 0) in held
    if name.startswith("value_embeddings."):
        return int(name.split(".")[1]) in held
    if name.startswith("encoder."):
        return config.layers - 1 in held
    if name.startswith(("norm.", "head.", "decoder.", "transform", "head_bias", "pooler.", "next_sentence.")):
        return last
    if name.startswith(("embedding.", "projection.")):
        begins = config.kind == "encoder-decoder" and config.layers in held
        return first or begins or (last and config.tied)
    if name.startswith("shortcut."):
        return True
    return first
