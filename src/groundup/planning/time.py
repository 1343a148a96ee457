"""How long a step of a plan takes, in closed form: what is computed, what is waited for.

    compute        hardware FLOPs of the dearest stage over what a device sustains
    bubble         (p - 1) of a pipeline's p stages wait at its ends: (p - 1) / m of the time, a v-th of that with v stages a process
    tensor         messages within a layer, which nothing hides
    data           gradients and parameters, behind half of the backward passes where there is time
    pipeline       what crosses the borders of stages
    optimizer      reads and writes of weights, gradients and state

(Narayanan et al. 2021, arXiv 2104.04473, sections 2 and 3; Rajbhandari et al. 2020.) What a device sustains is a column of
`devices.py`, chosen so that published runs come out within the band (docs/planning.md); narrow layers reach less of it.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

from groundup.models.build import matmul_parameters
from groundup.models.config import ModelConfig
from groundup.models.flops import attention_flops_per_token
from groundup.planning.devices import Device
from groundup.planning.shapes import pieces
from groundup.planning.traffic import bytes_sent
from groundup.training.layout import Layout

HALF_WIDTH = 400.0
"""Width of a matrix (its part on one device) at which products run at half of what is sustained; launches and edges of tiles."""
HALF_TOKENS = 100.0
"""Tokens of a pass at which products run at half of that: the same overheads along the other side."""
LINK_SHARE = 0.7  # of a link's rate that collectives of large messages reach
BAND = (0.7, 1.15)
"""Published long runs come to this share of the estimate; docs/planning.md."""
AGAIN = {"none": 0.0, "selective": 0.02, "full": 1 / 3}
"""Further layer FLOPs that recomputation costs, as a share of forward and backward."""


@dataclass(frozen=True)
class StepTime:
    """Seconds of one step."""

    compute: float
    bubble: float
    tensor: float
    data: float
    pipeline: float
    experts: float
    optimizer: float

    @property
    def total(self) -> float:
        """Seconds in all."""
        return float(sum(asdict(self).values()))


def stage_flops(config: ModelConfig, layout: Layout, context: int) -> float:
    """Hardware FLOPs a token that the dearest pipeline rank computes, over all of its tp processes."""
    whole = 6.0 * matmul_parameters(config)
    head = 6.0 * config.vocabulary * config.width
    again = 1 + AGAIN[layout.recompute]
    layers = (whole - head + attention_flops_per_token(config, context)) * again
    if layout.pp == 1:
        return layers + head
    total = config.layers + ((config.decoder_layers or config.layers) if config.kind == "encoder-decoder" else 0)
    found = []
    for rank in range(layout.pp):
        indices = layout.stage_indices(rank)
        held = sum(len(layout.layers(index, total)) for index in indices)
        found.append(layers * held / total + (head if layout.pp * layout.stages - 1 in indices else 0.0))
    return max(found)


def step_time(config: ModelConfig, layout: Layout, rows: int, context: int, micros: int, device: Device, *, precision: str = "bf16") -> StepTime:
    """Seconds of a step of `micros` micro-batches a data-parallel process, each `rows` x `context` tokens."""
    t, p = layout.tp, layout.pp
    width = min(config.width, max(config.heads * config.head_width, config.feedforward) / t)
    narrow, short = (HALF_WIDTH, HALF_TOKENS) if not device.cpu else (30.0, 30.0)
    tokens = rows * context
    sustained = device.peak_flops * device.sustained * width / (width + narrow) * tokens / (tokens + short)
    compute = micros * rows * context * stage_flops(config, layout, context) / t / sustained
    stages = layout.stages if layout.schedule in ("interleaved-1f1b", "looped-bfs") else 2 * layout.stages if layout.schedule in ("zero-bubble", "zbv", "dualpipe-v") else 1
    bubble = compute * (p - 1) / micros / stages
    number = 2 if precision == "bf16" else 4
    sent = bytes_sent(config, layout, rows, context, micros, stage=0, number=4)
    near = t * (layout.ep if layout.ep > 1 else 1) <= device.node
    link = LINK_SHARE * (device.link if near else device.network)
    tensor = sent.get("tp", 0) * number / 4 / link
    experts = sent.get("ep", 0) * number / 4 / link
    outside = LINK_SHARE * (device.network if layout.world > device.node else device.link)
    hidden = compute / 3 if layout.zero > 1 and p == 1 else compute / 3 / micros  # a pipeline reduces behind its last backward pass alone
    data = max(sent.get("dp", 0) / outside - hidden, 0.1 * sent.get("dp", 0) / outside)
    pipeline = 0.25 * sent.get("pp", 0) / outside
    shards = layout.dp // layout.replicate if layout.zero else 1
    own = sum(piece.numel for index in layout.stage_indices(0) for piece in pieces(config, layout, index)) / shards
    return StepTime(compute, bubble, tensor, data, pipeline, experts, 28.0 * own / device.bandwidth)
