"""What each process of a layout sends in a step, in closed form: bytes a step by axis.

With n processes on an axis, a stream of S = rows x context x width numbers, m micro-batches a process, ring algorithms:

    tp   each sublayer       4 (n - 1) / n S m      (gather and reduce-scatter forward, the same backward; without
                                                    sequence parallelism two all-reduces, which send as much)
         embedding           2 (n - 1) / n S m      and (n - 1) / n S m where the stream is cut along time
         head                2 (n - 1) / n S m      the same; 2 (n - 1) / n x 3 numbers a token for the loss (5 with label smoothing)
         whole parameters    2 (n - 1) / n of those whose gradients are found in parts (norms, biases, shared key heads), once
    dp   ZeRO 0              2 (n - 1) / n of the parameters, once
         ZeRO 1              gather them once, reduce-scatter gradients once: as much
         ZeRO 2              gather once, reduce-scatter m times
         ZeRO 3              gather the layers 2 m times and the rest m times, reduce-scatter m times
    pp   each border         S m (its part of time) forward, as much backward

(Narayanan et al. 2021, arXiv 2104.04473, section 3; Rajbhandari et al. 2020, section 7.) Decoders without experts.
"""

from __future__ import annotations

import torch

from groundup.models.build import build
from groundup.models.config import ModelConfig
from groundup.training.layout import Layout

COLUMNS = ("qkv.weight", "qkv.bias", "gate_up.weight", "gate_up.bias", "up.weight", "up.bias", "embedding.weight", "head.weight")
ROWS = ("out.weight", "down.weight")


def bytes_sent(
    config: ModelConfig, layout: Layout, rows: int, context: int, micros: int, *, stage: int = 0, label_smoothing: bool = False, number: int = 4
) -> dict[str, int]:
    """Bytes that a process of pipeline stage `stage` (one a process) sends in a step of `micros` micro-batches of its own.

    `number`: bytes of a number. Raises ValueError for what the formulas leave out.
    """
    if config.kind != "decoder" or config.experts or layout.ep > 1 or layout.stages > 1 or layout.replicate > 1:
        raise ValueError("worked out for decoders without experts, one stage a process, no copies")
    held = layout.layers(stage, config.layers) if layout.pp > 1 else range(config.layers)
    first, last = stage == 0, stage == layout.pp - 1
    stream = rows * context * config.width * number
    sent = {"tp": _tp(config, layout, held, first, last, stream, rows * context, micros, number, label_smoothing), "dp": 0, "pp": 0}
    sent["dp"] = _dp(config, layout, held, first, last, micros, number)
    if layout.pp > 1:
        borders = (not last) + (not first)
        sent["pp"] = borders * micros * stream // (layout.tp if layout.sequence else 1) + _tied(config, layout, held, first, last, number)
    return {axis: value for axis, value in sent.items() if value}


def _tp(
    config: ModelConfig, layout: Layout, held: range, first: bool, last: bool, stream: int, places: int, micros: int, number: int, smoothing: bool
) -> int:  # fmt: skip
    n = layout.tp
    if n == 1:
        return 0
    parts = 8 * len(held) * stream  # two sublayers
    cut = stream if layout.sequence else 0
    parts += (2 * stream + cut) * first + (2 * stream + cut + 2 * places * number * (5 if smoothing else 3)) * last
    partial = sum(numel for name, numel in _whole(config, layout, held, first, last) if _found_in_parts(name, config, layout))
    return (n - 1) * (micros * parts + 2 * partial * number) // n


def _dp(config: ModelConfig, layout: Layout, held: range, first: bool, last: bool, micros: int, number: int) -> int:
    n = layout.dp
    if n == 1:
        return 0
    model = _local(config, layout, held, first, last)
    if layout.zero == 0:
        return 2 * (n - 1) * sum(numel for _, _, numel in model) * number // n
    padded = {name: -(-rows // n) * n * (numel // rows) for name, rows, numel in model}
    layers = sum(size for name, size in padded.items() if name.startswith("blocks."))
    rest = sum(padded.values()) - layers
    gathers = (layers + rest) if layout.zero < 3 else micros * (2 * layers + rest)
    reductions = (layers + rest) * (1 if layout.zero == 1 or layout.pp > 1 else micros)
    return (n - 1) * (gathers + reductions) * number // n


def _local(config: ModelConfig, layout: Layout, held: range, first: bool, last: bool) -> list[tuple[str, int, int]]:
    """(name, rows, numbers) of each parameter that a process has before ZeRO shards it; stacked matrices apart."""
    with torch.device("meta"):
        model = build(config)
    found = []
    for name, parameter in model.named_parameters():
        if not _held(name, config, held, first, last):
            continue
        stacked = [(name, len(parameter), parameter.numel())]
        if name.endswith(("qkv.weight", "qkv.bias")):
            inner, outer = config.kv_heads * config.head_width, config.heads * config.head_width
            stacked = [(f"{name}.{part}", size, size * parameter.numel() // len(parameter)) for part, size in enumerate((outer, inner, inner))]
        elif name.endswith(("gate_up.weight", "gate_up.bias")):
            stacked = [(f"{name}.{part}", len(parameter) // 2, parameter.numel() // 2) for part in range(2)]
        for part, rows, numel in stacked:
            n = 1 if _kept_whole(part, config, layout) else layout.tp
            if part.endswith(ROWS):
                found.append((part, rows, numel // n))
            elif any(column in f"{part}." for column in (f"{one}." for one in COLUMNS)):
                own = -(-rows // n)  # the first process's, where they do not go round evenly
                found.append((part, own, own * (numel // rows)))
            else:
                found.append((part, rows, numel))
    return found


def _kept_whole(part: str, config: ModelConfig, layout: Layout) -> bool:
    """Whether keys and values have too few heads to be cut."""
    return config.kv_heads % layout.tp != 0 and ("qkv.weight." in f"{part}." or "qkv.bias." in f"{part}.") and not part.endswith(".0")


def _whole(config: ModelConfig, layout: Layout, held: range, first: bool, last: bool) -> list[tuple[str, int]]:
    """Parameters that every process of the tp axis has whole, as far as this one keeps them."""
    shards = layout.dp if layout.zero else 1
    found = []
    for name, rows, numel in _local(config, layout, held, first, last):
        cut = name.endswith(ROWS) or any(f"{one}." in f"{name}." for one in COLUMNS)
        if not cut or _kept_whole(name, config, layout):
            found.append((name, -(-rows // shards) * (numel // rows)))
    return found


def _found_in_parts(name: str, config: ModelConfig, layout: Layout) -> bool:
    inside = name.startswith(("blocks.", "norm.", "shortcut."))
    return _kept_whole(name, config, layout) or (layout.sequence and inside)


def _held(name: str, config: ModelConfig, held: range, first: bool, last: bool) -> bool:
    if name.startswith("blocks."):
        return int(name.split(".")[1]) in held
    if name.startswith(("norm.", "head.")):
        return last
    if name.startswith(("embedding.", "projection.")):
        return first or (last and config.tied)
    return first


def _tied(config: ModelConfig, layout: Layout, held: range, first: bool, last: bool, number: int) -> int:
    """The gradient of an embedding that is the head too, added between the first and the last stage."""
    if not config.tied or not (first or last):
        return 0
    shards = layout.dp if layout.zero else 1
    own = -(-config.vocabulary // layout.tp)
    return -(-own // shards) * config.width * number  # an all-reduce of two
