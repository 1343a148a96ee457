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
         copies              2 (r - 1) / r of the shard's gradients beside it (HSDP, r copies)
    pp   each border         S m (its part of time) forward, as much backward
    ep   each layer          4 (n - 1) / n S m k: k experts a token, there and back, forward and backward, when evenly routed

(Narayanan et al. 2021, arXiv 2104.04473, section 3; Rajbhandari et al. 2020, section 7.) A test holds decoders without experts,
one stage a process, to what is sent, byte for byte; copies, experts and several stages a process are estimates.
"""

from __future__ import annotations

from groundup.models.config import ModelConfig
from groundup.planning.shapes import Piece, kept_whole, pieces
from groundup.training.layout import Layout, layers_of


def bytes_sent(
    config: ModelConfig, layout: Layout, rows: int, context: int, micros: int, *, stage: int = 0, label_smoothing: bool = False, number: int = 4
) -> dict[str, int]:
    """Bytes that a process of pipeline rank `stage` sends in a step of `micros` micro-batches of its own.

    `number`: bytes of a number.
    """
    stream, places = rows * context * config.width * number, rows * context
    sent = {"tp": 0, "dp": 0, "ep": 0, "pp": 0}
    count = layout.pp * layout.stages
    for index in layout.stage_indices(stage):
        first, last = index == 0, index == count - 1
        held = layout.layers(index, layers_of(config)) if layout.pp > 1 else range(layers_of(config))
        model = pieces(config, layout, index)
        sent["tp"] += _tp(config, layout, model, held, first, last, stream, places, micros, number, label_smoothing)
        sent["dp"] += _dp(layout, model, micros, number)
        if layout.ep > 1:
            sent["ep"] += 4 * (layout.ep - 1) * config.experts_a_token * len(held) * micros * stream // layout.ep
        if layout.pp > 1:
            borders = (not last) + (not first)
            sent["pp"] += borders * micros * stream // (layout.tp if layout.sequence else 1) + _tied(config, layout, first, last, number)
    return {axis: value for axis, value in sent.items() if value}


def _tp(
    config: ModelConfig, layout: Layout, model: tuple[Piece, ...], held: range, first: bool, last: bool, stream: int, places: int, micros: int, number: int,
    smoothing: bool,
) -> int:  # fmt: skip
    n = layout.tp
    if n == 1:
        return 0
    crossed = sum(layer >= config.layers for layer in held) if config.kind == "encoder-decoder" else 0
    parts = 4 * (2 * len(held) + crossed) * stream
    cut = stream if layout.sequence else 0
    parts += (2 * stream + cut) * first + (2 * stream + cut + 2 * places * number * (5 if smoothing else 3)) * last
    partial = sum(numel for name, numel in _whole(layout, model) if _found_in_parts(name, config, layout))
    return (n - 1) * (micros * parts + 2 * partial * number) // n


def _dp(layout: Layout, model: tuple[Piece, ...], micros: int, number: int) -> int:
    n, copies = layout.dp // layout.replicate, layout.replicate
    if layout.zero == 0:
        n, copies = layout.dp, 1
        return 2 * (n - 1) * sum(piece.numel for piece in model) * number // n
    padded = {piece.name: -(-piece.rows // n) * n * (piece.numel // piece.rows) for piece in model}
    layers = sum(padded[piece.name] for piece in model if piece.layer)
    rest = sum(padded.values()) - layers
    gathers = (layers + rest) if layout.zero < 3 else micros * (2 * layers + rest)
    reductions = (layers + rest) * (1 if layout.zero == 1 or layout.pp > 1 else micros)
    return ((n - 1) * (gathers + reductions) + 2 * (copies - 1) * (layers + rest) // copies) * number // n


def _whole(layout: Layout, model: tuple[Piece, ...]) -> list[tuple[str, int]]:
    """Parameters that every process of the tp axis has whole, as far as this one keeps them."""
    shards = layout.dp if layout.zero else 1
    return [(piece.name, -(-piece.rows // shards) * (piece.numel // piece.rows)) for piece in model if not piece.cut]


def _found_in_parts(name: str, config: ModelConfig, layout: Layout) -> bool:
    inside = name.startswith(("blocks.", "norm.", "shortcut."))
    of_heads = name.endswith(("q_norm.weight", "k_norm.weight"))
    return kept_whole(name, config, layout.tp) or of_heads or (layout.sequence and inside)


def _tied(config: ModelConfig, layout: Layout, first: bool, last: bool, number: int) -> int:
    """The gradient of an embedding that is the head too, added between the first and the last stage."""
    if not config.tied or not (first or last):
        return 0
    shards = layout.dp if layout.zero else 1
    own = -(-config.vocabulary // layout.tp)
    return -(-own // shards) * config.width * number  # an all-reduce of two
