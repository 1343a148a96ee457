"""Which process does what, and whether that is possible at all; plain arithmetic, nothing is started.

Ranks count up along tp first, then ep, dp and pp, so that what talks most is nearest:

    rank = ((pp_rank x replicate + replica) x shards + shard) x tp + tp_rank            shards = dp / replicate
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate

from groundup.errors import RequestError
from groundup.models.config import ModelConfig
from groundup.recipe.parallel import Parallel
from groundup.tokens.loader import BatchPhase

TWO_STAGES = ("interleaved-1f1b", "looped-bfs", "zero-bubble", "zbv", "dualpipe-v")
SPLIT_BACKWARD = ("zero-bubble", "zbv", "dualpipe-v")
V_SHAPED = ("zbv", "dualpipe-v")


@dataclass(frozen=True)
class Layout:
    """A checked plan."""

    pp: int = 1
    dp: int = 1
    replicate: int = 1
    ep: int = 1
    tp: int = 1
    zero: int = 0
    sequence: bool = False
    schedule: str = "1f1b"
    stages: int = 1
    """A process holds."""
    recompute: str = "none"
    cuts: tuple[int, ...] = ()
    """First layer of each stage but the first."""

    @property
    def world(self) -> int:
        """Processes in all."""
        return self.pp * self.dp * self.tp

    @property
    def cut(self) -> bool:
        """Whether any process holds less than the whole model and its state."""
        return self.pp > 1 or self.tp > 1 or self.ep > 1 or self.zero > 0

    def stage_indices(self, pp_rank: int) -> list[int]:
        """The stages of a pipeline rank: in turn, or down and up again (V)."""
        if self.pp == 1:
            return [0]
        if self.schedule in V_SHAPED:
            return [pp_rank, 2 * self.pp - 1 - pp_rank]
        return [pp_rank + turn * self.pp for turn in range(self.stages)]

    def layers(self, stage: int, total: int) -> range:
        """The layers of a stage, counted over encoder and decoder."""
        edges = [0, *self.cuts, total]
        return range(edges[stage], edges[stage + 1])


def layers_of(config: ModelConfig) -> int:
    """Layers in all, an encoder-decoder's encoder first."""
    return config.layers + ((config.decoder_layers or config.layers) if config.kind == "encoder-decoder" else 0)


def check_processes(wish: Parallel, world: int) -> None:
    """Raise RequestError where so many processes cannot be laid out so; known before anything else is."""
    tp, pp = wish.tp, wish.pp
    if world % (tp * pp):
        raise _refused(
            "parallel", f"{world} process{'' if world == 1 else 'es'} for tp {tp} x pp {pp}",
            f"Start a multiple of {tp * pp}: torchrun --nproc-per-node {_nearest_multiple(world, tp * pp)} -m groundup.cli ...",
        )  # fmt: skip
    dp = world // (tp * pp)
    if wish.dp is not None and wish.dp != dp:
        raise _refused("parallel.dp", f"tp {tp} x pp {pp} x dp {wish.dp} is {tp * pp * wish.dp} processes, there are {world}",
                       f"Start {tp * pp * wish.dp} processes or set parallel.dp={dp}.")  # fmt: skip


def layout(wish: Parallel, config: ModelConfig, phases: Sequence[BatchPhase], world: int, *, begun: bool = False) -> Layout:
    """The plan for `world` processes. Raises RequestError for one that cannot be, with the nearest that can. `begun`: a run goes
    on, maybe with fewer processes: then its micro-batches need not be a multiple of dp, and some wait."""
    tp, pp, ep = wish.tp, wish.pp, wish.ep
    check_processes(wish, world)
    dp = world // (tp * pp)
    if dp % wish.replicate:
        raise _refused("parallel.replicate", f"{wish.replicate} copies do not divide dp {dp}", f"Set {_divisor(dp, wish.replicate)}.")
    if ep > 1:
        if not config.experts:
            raise _refused("parallel.ep", f"a model of the {config.family} family has no experts", "Set parallel.ep=1 or model.experts.")
        if (dp // wish.replicate) % ep:
            raise _refused("parallel.ep", f"ep {ep} does not divide dp {dp} within a copy", f"Set {_divisor(dp // wish.replicate, ep)}.")
        if config.experts % ep:
            raise _refused("parallel.ep", f"{config.experts} experts do not go evenly over {ep} processes", f"Set {_divisor(config.experts, ep)}.")
    sequence = _check_tp(wish, config, phases) if tp > 1 else False
    stages, cuts = _check_pp(wish, config, phases, dp) if pp > 1 else (1, ())
    for phase in phases:
        if phase.micro_batches % dp and not begun:
            raise _refused(
                "parallel", f"a step has {phase.micro_batches} micro-batches, no multiple of dp {dp}",
                f"Set training.batch_tokens to {_nearest_multiple(phase.micro_batches, dp) * phase.rows * phase.context} or training.micro_batch lower.",
            )  # fmt: skip
    if config.norm == "batch" and (dp > 1 or sequence):
        raise _refused("model.norm", "batch norm keeps statistics of what one process sees", "Choose rms or layer.")
    return Layout(pp, dp, wish.replicate, ep, tp, wish.zero if dp // wish.replicate > 1 else 0, sequence, wish.schedule, stages, wish.recompute, cuts)


def _check_tp(wish: Parallel, config: ModelConfig, phases: Sequence[BatchPhase]) -> bool:
    """Whether time is cut too."""
    tp = wish.tp
    if config.kind == "permutation":
        raise _refused("parallel.tp", "xlnet's layers are not cut; its two streams share their weights", "Use dp with parallel.zero.")
    if config.embedding_rank is not None:
        raise _refused("parallel.tp", "a factorised embedding is not cut by tokens", "Leave model.embedding_rank out.")
    if config.ngram_rows:
        raise _refused("parallel.tp", "tables of n-grams are not cut", "Set model.ngram_rows=[].")
    if config.heads % tp:
        fitting = [n for n in range(1, config.heads + 1) if config.heads % n == 0]
        nearest = min(fitting, key=lambda n: abs(n - tp))
        why = " (a prime number: only 1 fits)" if len(fitting) == 2 else ""
        raise _refused("parallel.tp", f"{config.heads} heads do not go evenly over {tp} processes", f"Set {nearest}{why}; more processes can go to dp or pp.")
    if config.kv_heads % tp and tp % config.kv_heads:
        fitting = [n for n in range(1, config.heads + 1) if config.heads % n == 0 and (config.kv_heads % n == 0 or n % config.kv_heads == 0)]
        raise _refused("parallel.tp", f"{config.kv_heads} kv_heads go neither evenly over {tp} processes nor each to as many", f"Set {min(fitting, key=lambda n: abs(n - tp))}.")
    if config.feedforward % tp:
        raise _refused("parallel.tp", f"feedforward {config.feedforward} is no multiple of {tp}", f"Set model.feedforward={_nearest_multiple(config.feedforward, tp)}.")
    if tp > config.vocabulary:
        raise _refused("parallel.tp", f"{config.vocabulary} tokens for {tp} processes", "Lower parallel.tp.")
    even = config.kind != "encoder-decoder" and all(phase.context % tp == 0 for phase in phases)  # a pair's sides have any length
    return wish.sequence and even and config.norm != "batch"


def _check_pp(wish: Parallel, config: ModelConfig, phases: Sequence[BatchPhase], dp: int) -> tuple[int, tuple[int, ...]]:
    """Stages a process holds, and where the layers are cut."""
    pp, schedule = wish.pp, wish.schedule
    if config.kind == "permutation":
        raise _refused("parallel.pp", "xlnet's memory goes back to each layer, so its layers stay together", "Use dp with parallel.zero.")
    stages = wish.stages or (2 if schedule in TWO_STAGES else 1)
    if schedule in V_SHAPED and stages != 2:
        raise _refused("parallel.stages", f"{schedule} has two stages a process", "Set 2.")
    if schedule in ("gpipe", "1f1b") and stages != 1:
        raise _refused("parallel.stages", f"{schedule} has one stage a process", "Set 1, or parallel.schedule=interleaved-1f1b.")
    if wish.zero == 3 and schedule in SPLIT_BACKWARD:  # seen: other gradients, without a word
        raise _refused("parallel.zero", f"{schedule} computes weights' gradients when FSDP has given their weights away", "Set 2, or choose 1f1b or interleaved-1f1b.")
    total = layers_of(config)
    if pp * stages > total:
        raise _refused("parallel.pp", f"{pp} x {stages} stages for {total} layers", f"Set parallel.pp={max(1, total // stages)} or model.layers={pp * stages}.")
    for phase in phases:
        micros = -(-phase.micro_batches // dp)
        if schedule == "dualpipe-v" and micros < 2 * pp:
            raise _refused("parallel.schedule", f"dualpipe-v needs {2 * pp} micro-batches a step and dp rank, there are {micros}", "Choose zbv, or lower training.micro_batch.")
        if schedule in ("interleaved-1f1b", "zero-bubble") and micros % max(1, micros // pp):
            raise _refused("parallel.schedule", f"{micros} micro-batches do not make whole rounds of {pp} stages", f"Make them {_nearest_multiple(micros, pp)}.")
    return stages, cuts(config, pp * stages)


@lru_cache(maxsize=256)
def cuts(config: ModelConfig, stages: int) -> tuple[int, ...]:
    """Where layers are cut so that the dearest stage is as cheap as can be: a layer costs its matrices' parameters, the last
    stage the head's too, an encoder-decoder's decoder layers their look at the source."""
    outer, inner = config.heads * config.head_width, config.kv_heads * config.head_width
    taken = config.experts_a_token + config.shared_experts if config.experts else 1
    layer = 2 * config.width * (outer + inner) + taken * (3 if config.gated else 2) * config.width * config.feedforward + config.width * config.experts
    total = layers_of(config)
    costs = [layer + (4 * config.width * outer if config.kind == "encoder-decoder" and number >= config.layers else 0) for number in range(total)]
    costs[-1] += config.vocabulary * config.width
    upto = [0, *accumulate(costs)]
    # best[s][n]: cost of the dearest of s stages over the first n layers, and where the last one begins
    best = {(1, n): (upto[n], 0) for n in range(1, total + 1)}
    for s in range(2, stages + 1):
        for n in range(s, total + 1):
            best[s, n] = min((max(best[s - 1, m][0], upto[n] - upto[m]), m) for m in range(s - 1, n))
    edges, n = [], total
    for s in range(stages, 1, -1):
        n = best[s, n][1]
        edges.append(n)
    return tuple(reversed(edges))


def _refused(where: str, what: str, do: str) -> RequestError:
    return RequestError(what, where=where, do=do)


def _nearest_multiple(value: int, of: int) -> int:
    return max(1, round(value / of)) * of


def _divisor(value: int, near: int) -> int:
    return min((n for n in range(1, value + 1) if value % n == 0), key=lambda n: abs(n - near))
