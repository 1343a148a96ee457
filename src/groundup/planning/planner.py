"""What a run needs, takes and costs: FLOPs, memory a process, messages, time, energy, money; and the layout that is fastest.

Time comes, in this order, from `mfu` (the share of the peak that the model's own FLOPs take), from `flops_per_device` (what a device
sustains, what it computes twice counted), from passes tried on this machine (`here.py`), or from the step's closed form (`time.py`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from typing import Any

from groundup.errors import RequestError
from groundup.models.build import parameters as parameters_of
from groundup.models.config import ModelConfig
from groundup.models.flops import attention_flops_per_token
from groundup.planning.devices import GIB, Device
from groundup.planning.memory import Memory, memory
from groundup.planning.time import AGAIN, BAND, StepTime, step_time
from groundup.planning.traffic import bytes_sent
from groundup.recipe.parallel import Parallel
from groundup.tokens.loader import BatchPhase
from groundup.training.layout import Layout, layers_of, layout

PUE = 1.1
"""Power of the whole data centre over that of the devices (LLaMA, Touvron et al. 2023, table 15)."""
MOST_ROWS = 64
USABLE = 0.93
"""Of a device's memory: what its driver and firmware keep, and room for error in the estimate."""
CLOSE = 0.02  # a batch this near to the one asked for is taken


@dataclass(frozen=True)
class Job:
    """What is to be trained, and on what."""

    name: str
    config: ModelConfig
    device: Device
    count: int
    tokens: float
    batch_tokens: int
    parallel: Parallel = field(default_factory=Parallel)
    rows: int | None = None
    """Of a micro-batch; the best when not given."""
    precision: str = "bf16"
    optimizer: str = "adamw"
    mfu: float | None = None
    flops_per_device: float | None = None
    tried: float | None = None
    """Tokens/s, where it was tried out."""
    price_usd: float | None = None
    counted: tuple[float, float] | None = None
    """Bytes a token of activations in one layer and around them, where there is no closed form (trace.py)."""

    @property
    def context(self) -> int:
        """Tokens of a row."""
        return self.config.context


@dataclass(frozen=True)
class Plan:
    """A layout with what it comes to."""

    layout: Layout
    rows: int
    micros: int
    """Micro-batches of each data-parallel process."""
    memory: Memory
    """Of the pipeline rank that needs most."""
    fullest_rank: int
    time: StepTime
    fits: bool

    @property
    def tokens_a_step(self) -> int:
        """Without the context: rows a step."""
        return self.micros * self.rows * self.layout.dp


def active_parameters(config: ModelConfig) -> int:
    """Of a mixture of experts those that a token takes; else all."""
    if not config.experts:
        return parameters_of(config)
    idle = config.experts - config.experts_a_token
    each = (3 if config.gated else 2) * config.width * config.feedforward
    return parameters_of(config) - config.layers * idle * each


def flops(config: ModelConfig, tokens: float) -> dict[str, float]:
    """The run's FLOPs by the three counts that papers use."""
    six, attention = 6.0 * active_parameters(config), attention_flops_per_token(config)
    return {
        "flops": six * tokens, "flops_with_attention": (six + attention) * tokens, "flops_with_causal_attention": (six + attention / 2) * tokens,
    }  # fmt: skip


def one(job: Job, wish: Parallel, rows: int) -> Plan:
    """The plan of a layout and a micro-batch. Raises RequestError where it cannot be."""
    dp = job.count // (wish.tp * wish.pp)
    micros = max(1, round(job.batch_tokens / (job.context * rows * max(1, dp))))
    made = _layout(wish, job.config, rows, job.context, micros, job.count)
    return _weighed(job, made, rows, micros)


def _weighed(job: Job, made: Layout, rows: int, micros: int) -> Plan:
    fullest, most = 0, None
    for rank in _heaviest(job.config, made):
        found = memory(
            job.config, made, rows, job.context, micros, precision=job.precision, optimizer=job.optimizer, pp_rank=rank, device=job.device, counted=job.counted
        )
        if most is None or found.total > most.total:
            fullest, most = rank, found
    assert most is not None
    took = step_time(job.config, made, rows, job.context, micros, job.device, precision=job.precision)
    return Plan(made, rows, micros, most, fullest, took, most.total <= USABLE * job.device.memory_gib * GIB)


def _heaviest(config: ModelConfig, made: Layout) -> list[int]:
    """Pipeline ranks among which the fullest is: the first, the last, and of those between with as many layers the earliest, which has
    most micro-batches in flight."""
    if made.schedule not in ("gpipe", "1f1b"):
        return list(range(made.pp))
    total = layers_of(config)
    earliest: dict[int, int] = {}
    for rank in range(1, made.pp - 1):
        earliest.setdefault(len(made.layers(rank, total)), rank)
    return sorted({0, made.pp - 1, *earliest.values()})


@lru_cache(maxsize=4096)
def _layout(wish: Parallel, config: ModelConfig, rows: int, context: int, micros: int, count: int) -> Layout:
    dp = max(1, count // (wish.tp * wish.pp))
    return layout(wish, config, [BatchPhase(1, context, rows, micros * dp)], count)


def candidates(job: Job) -> Iterator[Plan]:
    """Every layout that can be, fitting or not: tp within a node, pp, ZeRO, micro-batch, recomputation."""
    sequences = max(1, job.batch_tokens // job.context)
    divisors = [n for n in range(1, job.count + 1) if job.count % n == 0]
    for tp in [n for n in divisors if n <= job.device.node and n <= 64]:
        for pp in [n for n in divisors if n <= layers_of(job.config) and job.count % (n * tp) == 0]:
            dp = job.count // (tp * pp)
            if dp > sequences:
                continue
            for rows in [job.rows] if job.rows else [2**n for n in range(7) if 2**n <= MOST_ROWS]:
                micros = max(1, round(sequences / (dp * rows)))
                if abs(micros * dp * rows / sequences - 1) > CLOSE or (pp > 1 and micros < pp):
                    continue
                for zero in (0, 1, 2, 3) if dp > 1 else (0,):
                    for recompute in ("none", "selective", "full"):
                        wish = Parallel(tp=tp, pp=pp, zero=zero, recompute=recompute)
                        try:
                            plan = one(job, wish, rows)
                        except RequestError:
                            break
                        yield plan
                        if plan.fits:  # computing more again is only slower
                            break


def best(job: Job, runners_up: int = 5) -> list[Plan]:
    """The fastest plans that fit, each of another (tp, pp, ZeRO) kind; the one nearest to fitting where none does. Raises RequestError
    where no layout is possible at all."""
    found = sorted(candidates(job), key=lambda plan: plan.time.total / (plan.micros * plan.rows * plan.layout.dp))
    if not found:
        raise RequestError(
            f"no layout of {job.count} devices makes steps of {job.batch_tokens:,} tokens", where="--count",
            do="Choose a count whose divisors divide the batch, or set training.batch_tokens.",
        )  # fmt: skip
    fitting = [plan for plan in found if plan.fits]
    if not fitting:
        as_asked = [plan for plan in found if plan.layout.recompute == job.parallel.recompute] or found
        return [min(as_asked, key=lambda plan: plan.memory.total)]
    kinds: dict[tuple[int, int, int], Plan] = {}
    for plan in fitting:
        kinds.setdefault((plan.layout.tp, plan.layout.pp, plan.layout.zero), plan)
    return list(kinds.values())[: runners_up + 1]


def figures(job: Job, plan: Plan) -> dict[str, Any]:
    """A plan as plain data, keys with their units."""
    config, device, made = job.config, job.device, plan.layout
    total = flops(config, job.tokens)
    per_token = total["flops"] / job.tokens
    batch = plan.rows * plan.micros * made.dp * job.context
    peak = device.peak_flops * job.count
    if job.mfu is not None:
        rate, how = job.mfu * peak / per_token, "given"
    elif job.flops_per_device is not None:
        rate, how = job.flops_per_device * job.count / (per_token * (1 + AGAIN[made.recompute])), "given"
    elif job.tried is not None:
        rate, how = job.tried, "tried"
    else:
        rate, how = batch / plan.time.total, "estimated"
    low, high = BAND if how == "estimated" else (1.0, 1.0)
    days = job.tokens / rate / 86_400
    hours = days * 24 * job.count
    price = device.price_usd if job.price_usd is None else job.price_usd
    mfu = per_token * rate / peak
    return {
        "name": job.name, "hardware": device.name, "count": job.count, "parameters": parameters_of(config), "active_parameters": active_parameters(config),
        "tokens": job.tokens, "tokens_per_parameter": job.tokens / active_parameters(config), "context": job.context, **total,
        "layout": {
            "tp": made.tp, "pp": made.pp, "dp": made.dp, "ep": made.ep, "zero": made.zero, "recompute": made.recompute, "schedule": made.schedule,
            "stages": made.stages, "sequence": made.sequence, "micro_batch": plan.rows, "micro_batches": plan.micros,
        },
        "batch_tokens": batch, "batch_tokens_asked": job.batch_tokens, "steps": round(job.tokens / batch),
        "memory_gib": {**plan.memory.gib(), "total": plan.memory.total / GIB}, "fullest_pipeline_rank": plan.fullest_rank,
        "device_memory_gib": device.memory_gib, "fits": plan.fits,
        "communication_bytes_per_step": bytes_sent(config, made, plan.rows, job.context, plan.micros, number=2 if job.precision == "bf16" else 4),
        "bubble_share": (made.pp - 1) / (plan.micros * made.stages + made.pp - 1), "step_seconds": {**asdict(plan.time), "total": batch / rate},
        "tokens_per_second": rate, "speed": how, "mfu": mfu, "mfu_with_attention": mfu * total["flops_with_attention"] / total["flops"],
        "mfu_low": mfu * low, "mfu_high": mfu * high, "days": days, "days_low": days / high, "days_high": days / low, "years": days / 365,
        "device_hours": hours, "energy_mwh": None if device.watts is None else hours * device.watts * PUE / 1e6, "price_usd_per_hour": price,
        "cost_usd": hours * price,
    }  # fmt: skip


def settle(job: Job, *, search: bool) -> list[Plan]:
    """The plan that the job's own layout makes; with `search` the best ones."""
    if search:
        return best(job)
    if job.rows:
        return [one(job, job.parallel, job.rows)]
    found: list[Plan] = []
    problem: RequestError | None = None
    for rows in (2**n for n in range(7)):
        dp = max(1, job.count // (job.parallel.tp * job.parallel.pp))
        if rows > 1 and (job.batch_tokens % (job.context * rows * dp) or rows * dp * job.context > job.batch_tokens):
            continue
        try:
            found.append(one(job, job.parallel, rows))
        except RequestError as error:
            problem = problem or error
    if not found:
        assert problem is not None
        raise problem
    fitting = [plan for plan in found if plan.fits] or found[:1]
    return [min(fitting, key=lambda plan: plan.time.total / plan.tokens_a_step)]
