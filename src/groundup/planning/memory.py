"""What a process of a plan holds at its fullest moment, in closed form.

    weights       fp32, a share each with ZeRO; whole besides while they are gathered
    gradients     fp32; with ZeRO 1 whole until the step's end, with ZeRO 2 and 3 a share and one layer's
    optimizer     its state, a share each with ZeRO
    casts         bf16 copies of the matrices, kept from a micro-batch's forward pass to its backward pass
    activations   what the layers keep for their gradients, times the micro-batches in flight (`in_flight`)
    head          the gradient of the head's matrix, found on the way forward, and a chunk of scores
    workspace     of the one layer that is being computed
    buffers       what a pipeline receives into
    allowance     fragmentation, kernels, the communication library

Activations of one token in one layer are worked out from what each part keeps, as Korthikanti et al. 2022 (arXiv 2205.05198) do for
GPT; for a GPT with dropout, without fused attention, in fp16 theirs is `korthikanti`. A test holds ours to what autograd keeps.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Literal

from groundup.models.config import ModelConfig
from groundup.planning.devices import GIB, Device
from groundup.planning.shapes import Piece, pieces
from groundup.training.layout import Layout, layers_of

Recompute = Literal["none", "selective", "full"]
CHUNK = 8 * 2**20  # bytes of scores at a time: training/cross_entropy.py
UPDATE = {"muon": 2.5, "lion": 1.0}
"""Numbers a parameter that an update works with: Muon's momentum ahead and the largest stack of matrices, thrice."""
STATE = {"adamw": 8, "adam": 8, "muon": 4, "lion": 4, "sgd": 4, "adafactor": 4}
"""Bytes of optimizer state a parameter, fp32; Muon's embeddings and vectors have AdamW's 8."""
GPU_ALLOWANCE = (1.2 * GIB, 0.05)
"""CUDA context, kernels and NCCL's buffers; fragmentation, a share of the rest. A rule of thumb, not measured here."""


@dataclass(frozen=True)
class Memory:
    """Bytes by what they are for."""

    weights: float
    gradients: float
    optimizer: float
    casts: float
    activations: float
    head: float
    workspace: float
    buffers: float
    allowance: float = 0.0

    @property
    def total(self) -> float:
        """Bytes in all."""
        return float(sum(asdict(self).values()))

    def gib(self) -> dict[str, float]:
        """The same in GiB."""
        return {name: value / GIB for name, value in asdict(self).items()}


def state_bytes(parameters: float, shards: int, zero: int, *, weights: float = 2, gradients: float = 2, optimizer: float = 12) -> float:
    """Model states of a process, in the mixed precision of the ZeRO paper (Rajbhandari et al. 2020, figure 1; K = 12) unless said
    otherwise: what one would hold if nothing were ever gathered."""
    shared = [weights if zero >= 3 else 0, gradients if zero >= 2 else 0, optimizer if zero >= 1 else 0]
    return parameters * (weights + gradients + optimizer - sum(shared) + sum(shared) / shards)


def korthikanti(rows: int, context: int, width: int, heads: int, tp: int = 1, *, sequence: bool = False, recompute: Recompute = "none") -> float:
    """Bytes of a GPT layer's activations in fp16 with dropout (Korthikanti et al. 2022, table 2)."""
    sbh, scores = rows * context * width, 5 * heads * context / width
    if recompute == "full":
        return 2.0 * sbh
    if recompute == "selective":
        scores = 0.0
    return sbh * (34 + scores) / tp if sequence else sbh * (10 + (24 + scores) / tp)


def in_flight(layout: Layout, micros: int, pp_rank: int) -> float:
    """Micro-batches of which a pipeline rank keeps the activations of all its stages at once."""
    if layout.pp == 1:
        return 1.0
    p, v = layout.pp, layout.stages
    match layout.schedule:
        case "gpipe" | "looped-bfs":
            return float(micros)
        case "1f1b":
            return float(min(micros, p - pp_rank))
        case "interleaved-1f1b":  # Narayanan et al. 2021: 2 (p - rank - 1) + (v - 1) p + 1 stages' worth
            return min(float(micros), (2 * (p - pp_rank - 1) + (v - 1) * p + 1) / v)
        case "zero-bubble":  # weights' gradients wait, and what they need with them
            return min(float(micros), (2 * (p - pp_rank - 1) + (v - 1) * p + 1) / v + 1)
        case "zbv":
            return min(float(micros), float(p))
        case _:
            return min(float(micros), p + 0.5)


def token_bytes(config: ModelConfig, context: int, precision: str, *, tp: int = 1, sequence: bool = False, recompute: Recompute = "none") -> float:
    """What a decoder's or an encoder's layer keeps of one token for the backward pass, bytes."""
    c = 2 if precision == "bf16" else 4
    t, cut = tp, tp if sequence else 1
    D, outer, inner, K = config.width, config.heads * config.head_width, config.kv_heads * config.head_width, config.heads
    kv = inner / t if config.kv_heads % t == 0 else config.head_width * max(1, config.kv_heads // t)
    qkv = outer / t + 2 * kv
    kept_beside = (4 * D / cut if config.shortcut else 0.0) + (0.5 * 4 * kv if config.value_embeddings else 0.0)
    if recompute == "full":
        return 4 * D / cut + kept_beside
    gated = config.gated
    up = (2 if gated else 1) * config.feedforward / t
    if recompute == "selective":
        feed = (up + D) * max(1, config.experts_a_token if config.experts else 1)
        return 4 * D / cut + kept_beside + c * (qkv + outer / t + D + feed) + 4 * K / t
    sublayers = 1 if config.parallel == "one-norm" else 2
    # norms, and what the linear maps read
    if config.norm == "rms":
        normal = (4 * D + 4) / cut
        read = 0.0 if c == 4 and not config.norm_scale and t == 1 else c * D
    elif config.norm == "layer":
        normal, read = (4 * D + 8) / cut, c * D
    else:
        normal, read = (4 * D / cut if config.norm == "batch" else 0.0), c * D
    found = sublayers * (normal + read)
    if config.parallel == "two-norms":  # both keep the same stream
        found -= normal if config.norm == "layer" else 0
    if config.parallel == "one-norm" and c == 2:  # each reader has a bf16 copy of its own
        found += read
    # attention: projections, rotated or normalised queries and keys, output, a mask of the row, a bias of each head
    found += c * (qkv + outer / t) + 4 * K / t
    turned = outer / t + kv
    if config.qk_norm or config.qk_norm_scale:
        found += 4 * turned + c * turned + 4 * (K + config.kv_heads) / t
    elif config.position == "rotary":
        found += c * turned
    window = _window(config, context)
    if config.position in ("alibi", "relative"):
        found += c * (K / t) * context
    elif window < context:
        found += c * (2 * window + outer / t + 4 * kv)
    if config.attention_softcap:
        found += 3 * 4 * (K / t) * context
    if config.value_embeddings:  # every other layer: its gate, the values made anew, so that the projections go
        found += 0.5 * (c * kv + 12 - c * qkv)
    found += kept_beside
    if config.residual == "rezero":
        found += 2 * c * D / cut
    # feed-forward: before the activation, after it, and what the second map reads
    F = config.feedforward / t
    one = 4 * F if gated else F if config.activation == "relu" else 2 * F
    if config.experts:
        k, X = config.experts_a_token, config.experts
        taken = k * (c * (one + 2 * D) + 4 * D) + 4 * (5 * X + 6 * k)
        found += taken + (config.shared_experts * c * one if config.shared_experts else 0)
    else:
        found += c * one
    return found + (config.residual_dropout > 0) * 2 * D / cut + (config.attention_dropout > 0 and c == 4) * 9 * K * context / t


def _window(config: ModelConfig, context: int) -> float:
    """Places a layer looks back on average."""
    if not config.windows:
        return context
    return sum(min(window or context, context) for window in config.windows) / len(config.windows)


def outside_bytes(config: ModelConfig, context: int, precision: str, *, tp: int = 1, sequence: bool = False) -> float:
    """What is kept of one token around the layers: the mask, the last norm, the head's gradient of its input, tables, the batch itself."""
    c, cut = 2 if precision == "bf16" else 4, tp if sequence else 1
    D = config.width
    last = (4 * D + 8) / cut if config.norm_place == "pre" and config.norm in ("rms", "layer") else 0.0
    asked = 0.15 if config.kind == "encoder" else 1.0  # BERT scores what was hidden alone
    transform = asked * 3 * c * D if config.kind == "encoder" else 0.0
    embedded = 4 * D if config.embedding_norm or config.ngram_rows else 0.0
    masked = c * context if config.position not in ("alibi", "relative") and not config.windows else 0.0  # one for all layers
    return masked + last + transform + embedded + asked * c * D + (4 * config.head_width if config.position == "rotary" else 0) + 5 * 8


def memory(
    config: ModelConfig, layout: Layout, rows: int, context: int, micros: int, *, precision: str = "bf16", optimizer: str = "adamw", pp_rank: int = 0,
    device: Device | None = None, counted: tuple[float, float] | None = None,
) -> Memory:  # fmt: skip
    """The fullest moment of a process of pipeline rank `pp_rank`, with `micros` micro-batches a step of `rows` x `context` tokens.

    `counted`: bytes a token in one layer and around the layers, in place of the closed form (kinds it does not know).
    """
    indices = layout.stage_indices(pp_rank)
    model = tuple(piece for index in indices for piece in pieces(config, layout, index))
    total = layers_of(config)
    layers = sum(len(layout.layers(index, total)) if layout.pp > 1 else total for index in indices)
    last, first = layout.pp * layout.stages - 1 in indices, 0 in indices
    N = sum(piece.numel for piece in model)
    tables = sum(piece.numel for piece in model if piece.name.startswith("ngrams."))  # whose gradients are of the rows met alone
    matrices = sum(piece.numel for piece in model if piece.layer and piece.numel > 2 * piece.rows)
    shards = layout.dp // layout.replicate if layout.zero else 1
    own = sum(-(-piece.rows // shards) * (piece.numel // piece.rows) for piece in model)
    largest = _largest_layer(model)
    rest = sum(piece.numel for piece in model if not piece.layer)
    # torch's pipelines neither reshard nor reduce before the step's last backward pass
    gathered = 0.0 if layout.zero == 0 else 4.0 * N if layout.zero < 3 or layout.pp > 1 else 4.0 * (rest + 2 * largest)
    whole_gradients = layout.zero == 1 or (layout.zero > 1 and layout.pp > 1)
    if whole_gradients:  # shares are made of them at the end, when the activations are gone
        gradients = 4.0 * N
    else:
        gradients = 4.0 * (own - tables / shards) + (4.0 * max(largest, rest) if layout.zero else 0.0)
    state = _state(model, optimizer) * own / max(1, N)
    tokens = rows * context
    recompute: Recompute = layout.recompute  # type: ignore[assignment]
    layer, around = counted or (
        token_bytes(config, context, precision, tp=layout.tp, sequence=layout.sequence, recompute=recompute),
        outside_bytes(config, context, precision, tp=layout.tp, sequence=layout.sequence),
    )
    gradients += 2 * tokens * len(config.ngram_rows) * (4 * config.width + 8) * (tables > 0)
    flying = in_flight(layout, micros, pp_rank)
    casts = 2.0 * matrices * flying if precision == "bf16" and recompute == "none" else 2.0 * matrices / max(1, layers) if precision == "bf16" else 0.0
    activations = tokens * flying * (layers * layer + (around if last else 0))
    inside = tokens * token_bytes(config, context, precision, tp=layout.tp, sequence=layout.sequence) if recompute != "none" else 0.0
    c = 2 if precision == "bf16" else 4
    working = tokens * (c * (4 if config.gated else 2) * config.feedforward / layout.tp + 3 * 4 * config.width)
    updating = 4.0 * UPDATE.get(optimizer, 0.0) * sum(piece.numel for piece in model if piece.layer) / shards
    working = max(working, updating - tokens * layers * layer)  # when it updates, the activations are gone
    V = -(-config.vocabulary // layout.tp)
    head = 4.0 * V * config.width if last else 0.0
    working = max(working + inside, 3.0 * max(CHUNK, 4 * V) if last else 0.0)
    # the head's gradient becomes the parameter's where there was none; gradients of one micro-batch come as activations go
    if micros == 1 and layout.zero == 0 and layout.pp == 1:
        gradients = max(0.0, gradients - activations - working - (head if not config.tied else 0.0))
    stream = rows * context * config.width * 4.0 / (layout.tp if layout.sequence else 1)
    borders = 2 * len(indices) - first - last if layout.pp > 1 else 0
    received = borders * micros * stream
    parts = Memory(4.0 * own + gathered, gradients, state, casts, activations, head, working, received)
    if device is None or device.cpu:
        return parts
    fixed, share = GPU_ALLOWANCE
    return Memory(**{**asdict(parts), "allowance": fixed + share * parts.total})


def _largest_layer(model: tuple[Piece, ...]) -> int:
    sizes: dict[str, int] = {}
    for piece in model:
        if piece.layer:
            head, _, tail = piece.name.partition("blocks.")
            key = f"{head}{tail.split('.')[0]}"
            sizes[key] = sizes.get(key, 0) + piece.numel
    return max(sizes.values(), default=0)


def _state(model: tuple[Piece, ...], optimizer: str) -> float:
    """Bytes of optimizer state of all that a process holds; tables of n-grams have one number a row."""
    dense = [piece for piece in model if not piece.name.startswith("ngrams.")]
    rows = 4.0 * sum(piece.rows for piece in model if piece.name.startswith("ngrams."))
    if optimizer != "muon":
        return rows + float(STATE[optimizer]) * sum(piece.numel for piece in dense)
    return rows + float(sum(piece.numel * (4 if piece.layer and piece.numel > piece.rows else 8) for piece in dense))
