"""`groundup plan --hardware ...`: from what a person asks to a plan, its reasons, and what it would be with another budget."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any

from groundup.errors import RequestError
from groundup.models import presets
from groundup.models.build import parameters as parameters_of
from groundup.models.config import ModelConfig, resolved
from groundup.planning.compute_optimal import LAWS, shape
from groundup.planning.devices import GIB, THIS_MACHINE, Device, device
from groundup.planning.planner import CLOSE, Job, Plan, active_parameters, best, figures, settle
from groundup.recipe import Recipe

UNITS = {"": 1.0, "k": 1e3, "m": 1e6, "b": 1e9, "g": 1e9, "t": 1e12}
DEFAULT_MFU = 0.4  # of large published runs (LLaMA 44 to 51 %, Falcon 40 %), where no layout is there to estimate from
VOCABULARY = 32_000  # where a recipe's tokenizer is not learned yet
TOKENS_PER_PARAMETER = 20  # Hoffmann et al. 2022, where nobody says how many tokens
GPU_BATCH = 4_194_304  # tokens a step where nobody says (LLaMA's); a hundredth of a model's tokens at most


def number(text: str, where: str) -> float:
    """1T, 140B, 5e9, 300_000. Raises RequestError for anything else."""
    found = re.fullmatch(r"\s*([0-9._,]*[0-9.](?:e[+-]?[0-9]+)?)\s*([kmbgt]?)\s*", text.lower())
    try:
        if found:
            return float(found[1].replace("_", "").replace(",", "")) * UNITS[found[2]]
    except ValueError:
        pass
    raise RequestError(f"'{text}' is no number", where=where, do="Write it as 140B, 1T, 3e11 or 300000.")


def dollars(text: str) -> float:
    """5000usd, $5k, 25000."""
    return number(re.sub(r"(usd|\$|dollars?)", "", text.lower()), "--budget")


@dataclass(frozen=True)
class Wish:
    """What was asked."""

    hardware: str
    count: int = 1
    tokens: str | None = None
    best: bool = False
    mfu: float | None = None
    flops_per_device: float | None = None
    price_usd: float | None = None


def config_of(recipe: Recipe) -> ModelConfig:
    """A recipe's model without its text: what `model.like` or its fields say. Raises RequestError where that leaves the shape open."""
    asked = recipe.model
    preset = presets.named(asked.like, "model.like") if asked.like else None
    given = {**(preset.model if preset else {}), **asked.model_dump(exclude_none=True, exclude={"like", "family", "dropout"})}
    given |= {"embedding_dropout": asked.dropout.embedding, "attention_dropout": asked.dropout.attention, "residual_dropout": asked.dropout.residual}
    missing = [name for name in ("layers", "width", "heads", "context") if name not in given]
    if missing:
        raise RequestError(
            f"the recipe does not say model.{', model.'.join(missing)}: they are derived from its text and this machine", where="plan",
            do="Set them, or model.like, or leave --hardware out to build up to the plan.",
        )  # fmt: skip
    given.setdefault("vocabulary", recipe.tokens.vocabulary or VOCABULARY)
    return resolved(asked.family or (preset.family if preset else "llama"), **given)


def job_of(recipe: Recipe, wish: Wish) -> Job:
    """What is to be planned."""
    config, hardware = config_of(recipe), device(wish.hardware)
    preset = presets.PRESETS.get(recipe.model.like or "")
    published = preset.training if preset else {}
    tokens = number(wish.tokens, "--tokens") if wish.tokens else None
    training = recipe.training
    batch = training.batch_tokens if isinstance(training.batch_tokens, int) else None
    if tokens is None:
        tokens = published.get("tokens") or published.get("steps", 0) * published.get("batch_tokens", 0) or (training.steps or 0) * (batch or 0) or TOKENS_PER_PARAMETER * active_parameters(config)
    if batch is None:
        most = max(config.context * wish.count, min(GPU_BATCH if not hardware.cpu else 16_384, int(tokens / 100)))
        batch = most // config.context * config.context
    counted = None
    if config.kind not in ("decoder", "encoder"):
        from groundup.planning.trace import counted as count

        counted = count(config, config.context, precision="fp32" if hardware.cpu else "bf16", how=recipe.parallel.recompute)
    return Job(
        recipe.name, config, hardware, wish.count, float(tokens), batch, recipe.parallel, training.micro_batch if isinstance(training.micro_batch, int) else None,
        "fp32" if hardware.cpu else "bf16", training.optimizer, wish.mfu, wish.flops_per_device, price_usd=wish.price_usd, counted=counted,
    )  # fmt: skip


def _tried(job: Job, plan: Plan) -> float:
    """Tokens/s on this machine."""
    from groundup.planning.here import pace
    from groundup.training.optimizers import OptimizerSettings

    found = pace(
        job.config, plan.rows, job.context, precision="fp32", settings=OptimizerSettings(name=job.optimizer), how=plan.layout.recompute,  # type: ignore[arg-type]
        peak=job.device.peak_flops,
    )  # fmt: skip
    return plan.micros * plan.rows * job.context / found.run(1, plan.micros)


def planned(recipe: Recipe, wish: Wish, trace_rank: int | None = None) -> tuple[Job, Plan, dict[str, Any]]:
    """The job, its plan, and both as plain data: the planner's figures, `reasons`, `runners_up`; `asked`, the recipe's own layout, beside
    the best one; `instead`, where nothing fits; and where asked for `trace`, of one process."""
    job = job_of(recipe, wish)
    said = "parallel" in recipe.model_fields_set
    plans = settle(job, search=wish.best or not said)
    if job.device.name == THIS_MACHINE and job.count == 1:
        job = replace(job, tried=_tried(job, plans[0]))
    found = figures(job, plans[0])
    found["reasons"] = [] if said and not wish.best else reasons(job, plans)
    found["runners_up"] = [_short(figures(job, plan)) for plan in plans[1:]]
    if abs(found["batch_tokens"] / job.batch_tokens - 1) > CLOSE:
        found["reasons"].append(f"a step has {found['batch_tokens']:,} tokens, not the {job.batch_tokens:,} asked for: {job.count} devices do not share those out")
    if wish.best and said:
        found["asked"] = _short(figures(job, settle(job, search=False)[0]))
    if not plans[0].fits:
        found["instead"] = _instead(job)
    if trace_rank is not None:
        found["trace"] = traced(job, plans[0], trace_rank)
    return job, plans[0], found


def traced(job: Job, plan: Plan, rank: int) -> dict[str, Any]:
    """What the true code would hold as process `rank`, in a process of its own. Raises RequestError where there is no such process."""
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor

    from groundup.planning.memory import memory
    from groundup.planning.trace import trace
    from groundup.training.optimizers import OptimizerSettings

    if not 0 <= rank < job.count:
        raise RequestError(f"no process {rank} of {job.count}", where="--trace", do=f"Choose one from 0 to {job.count - 1}.")
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        found = pool.submit(
            trace, job.config, plan.layout, rank, plan.rows, job.context, plan.micros, precision=job.precision,  # type: ignore[arg-type]
            settings=OptimizerSettings(name=job.optimizer),  # type: ignore[arg-type]
        ).result()  # fmt: skip
    pp_rank = rank // (plan.layout.dp * plan.layout.tp)
    formula = memory(job.config, plan.layout, plan.rows, job.context, plan.micros, precision=job.precision, optimizer=job.optimizer, pp_rank=pp_rank)
    return {
        "rank": rank, "pipeline_rank": pp_rank, "weights_gib": found.weights / GIB, "gradients_gib": found.gradients / GIB, "optimizer_gib": found.optimizer / GIB,
        "rest_gib": found.activations / GIB, "peak_gib": found.peak / GIB, "formula_gib": formula.total / GIB, "micro_batches_in_flight": found.in_flight,
        "seconds": found.seconds,
    }  # fmt: skip


def _short(found: dict[str, Any]) -> dict[str, Any]:
    return {
        "layout": found["layout"], "memory_gib": found["memory_gib"]["total"], "mfu": found["mfu"], "days": found["days"], "cost_usd": found["cost_usd"],
        "fits": found["fits"], "bubble_share": found["bubble_share"],
    }  # fmt: skip


def reasons(job: Job, plans: list[Plan]) -> list[str]:
    """Why the first of the plans."""
    first, time = plans[0], plans[0].time
    if not first.fits:
        return [f"no layout of {job.count} x {job.device.title} holds it: this one needs the least, {first.memory.total / GIB:,.1f} GiB of {job.device.memory_gib:g}"]
    told = [f"of the layouts that fit into {job.device.memory_gib:g} GiB it is the fastest"]
    share = {name: value / time.total for name, value in vars(time).items() if value / time.total >= 0.005}
    told.append("of a step: " + ", ".join(f"{name} {100 * value:.0f} %" for name, value in sorted(share.items(), key=lambda one: -one[1])))
    if first.layout.tp > 1:
        told.append(f"tp {first.layout.tp} stays within a node of {job.device.node}")
    if first.layout.pp > 1:
        told.append(f"pp {first.layout.pp} with {first.micros} micro-batches leaves a bubble of {100 * (first.layout.pp - 1) / first.micros:.1f} %")
    if first.layout.recompute != "none":
        told.append(f"without recomputation ({first.layout.recompute}) this layout does not fit")
    if len(plans) > 1:
        other = plans[1]
        told.append(f"the next, tp {other.layout.tp} pp {other.layout.pp} dp {other.layout.dp} ZeRO {other.layout.zero}, is {100 * (other.time.total / time.total * first.tokens_a_step / other.tokens_a_step - 1):.1f} % slower")
    return told


def _instead(job: Job) -> str:
    """What would fit: another layout of as many devices, else more of them."""
    count = job.count
    for turn in range(13):
        try:
            found = best(replace(job, count=count, rows=None))
        except RequestError:
            found = []
        if found and found[0].fits:
            layout = found[0].layout
            made = f"tp {layout.tp} x pp {layout.pp} x dp {layout.dp}, ZeRO {layout.zero}, recomputation {layout.recompute}"
            return f"{made} fits" if turn == 0 else f"{count} of these hold it: {made}"
        count *= 2
    return f"no number of these up to {count // 2:,} holds it"


def affordable(hardware: str, count: int, *, budget_usd: float | None, days: float | None, mfu: float | None = None, price_usd: float | None = None) -> dict[str, Any]:
    """The other way round: the model and the tokens that money or time buys, by both fits of the law, and the nearest presets."""
    machine: Device = device(hardware)
    price = machine.price_usd if price_usd is None else price_usd
    share = mfu or (DEFAULT_MFU if not machine.cpu else 0.5)
    if budget_usd is not None:
        if not price:
            raise RequestError(f"{machine.title} has no price", where="--budget", do="Set --price, in USD an hour.")
        hours = budget_usd / price
    else:
        assert days is not None
        hours = days * 24 * count
    total = hours * 3600 * machine.peak_flops * share
    laws = {}
    for name, law in LAWS.items():
        parameters, tokens = law.optimum(total)
        layers, width, heads = shape(parameters)
        near = min(
            (preset for preset in presets.PRESETS.values() if preset.config().kind == "decoder" and not preset.config().experts),
            key=lambda preset: abs(parameters_of(preset.config()) / parameters - 1),
        )
        laws[name] = {
            "parameters": parameters, "tokens": tokens, "tokens_per_parameter": tokens / parameters, "loss_nats": law.loss(parameters, tokens),
            "layers": layers, "width": width, "heads": heads, "nearest_preset": near.name,
        }  # fmt: skip
    return {
        "hardware": machine.name, "count": count, "device_hours": hours, "days": hours / 24 / count, "cost_usd": hours * price, "price_usd_per_hour": price,
        "mfu": share, "flops": total, "law": "epoch", **laws["epoch"], "hoffmann": laws["hoffmann"],
    }  # fmt: skip


def as_text(found: dict[str, Any]) -> str:
    """A plan for a terminal."""
    made = found["layout"]
    memory = {name: value for name, value in found["memory_gib"].items() if name != "total" and value >= 0.005}
    lines = [
        f"{found['name']} on {found['count']:,} x {found['hardware']}: {found['parameters']:,} parameters"
        + (f" ({found['active_parameters']:,} a token)" if found["active_parameters"] != found["parameters"] else "")
        + f", {found['tokens']:.4g} tokens ({found['tokens_per_parameter']:.1f} a parameter)",
        f"  FLOPs     {found['flops']:.4g} (6 N), {found['flops_with_attention']:.4g} with attention, {found['flops_with_causal_attention']:.4g} with its lower half",
        f"  layout    tp {made['tp']} x pp {made['pp']} x dp {made['dp']}, ZeRO {made['zero']}, recomputation {made['recompute']}, micro-batch {made['micro_batch']}, "
        f"{made['micro_batches']} a step, {found['batch_tokens']:,} tokens a step",
        f"  memory    {found['memory_gib']['total']:.1f} GiB of {found['device_memory_gib']:g} a device"
        + ("" if found["fits"] else ", DOES NOT FIT") + ": " + ", ".join(f"{name} {value:.2f}" for name, value in memory.items()),
        f"  speed     {found['tokens_per_second']:,.0f} tokens/s, {100 * found['mfu']:.1f} % of the peak ({found['speed']}"
        + (f"; {100 * found['mfu_low']:.0f} to {100 * found['mfu_high']:.0f}" if found["speed"] == "estimated" else "") + f"), {100 * found['mfu_with_attention']:.1f} % with attention",
        f"  takes     {_time(found['days'])}" + (f" ({_time(found['days_low'])} to {_time(found['days_high'])})" if found["speed"] == "estimated" else "") + f", {found['device_hours']:,.0f} device-hours",
        f"  costs     ${found['cost_usd']:,.0f} at ${found['price_usd_per_hour']:g} an hour" + ("" if found["energy_mwh"] is None else f", {found['energy_mwh']:,.4g} MWh"),
    ]  # fmt: skip
    lines += [f"  because   {reason}" for reason in found["reasons"]]
    if "instead" in found:
        lines.append(f"  instead   {found['instead']}")
    for word, other in [*(("asked", one) for one in [found.get("asked")] if one), *(("or", one) for one in found["runners_up"])]:
        one = other["layout"]
        lines.append(
            f"  {word:<9} tp {one['tp']} x pp {one['pp']} x dp {one['dp']}, ZeRO {one['zero']}, recomputation {one['recompute']}, micro-batch {one['micro_batch']}: "
            f"{other['memory_gib']:.1f} GiB, {100 * other['mfu']:.1f} %, {_time(other['days'])}, ${other['cost_usd']:,.0f}"
        )
    if "trace" in found:
        traced = found["trace"]
        lines.append(f"  traced    process {traced['rank']}: {traced['peak_gib']:.2f} GiB at its fullest by the true code without numbers, the formula says {traced['formula_gib']:.2f} ({traced['seconds']:.0f} s)")
    return "\n".join(lines)


def affordable_as_text(found: dict[str, Any]) -> str:
    """What money or time buys, for a terminal."""
    lines = [
        f"${found['cost_usd']:,.0f}, {_time(found['days'])} on {found['count']:,} x {found['hardware']} at {100 * found['mfu']:.0f} % of the peak: {found['flops']:.3g} FLOPs",
    ]
    for name, one in (("epoch", found), ("hoffmann", found["hoffmann"])):
        lines.append(
            f"  {name:<9} {one['parameters'] / 1e9:.3g} B parameters, {one['tokens'] / 1e9:.4g} B tokens ({one['tokens_per_parameter']:.1f} a parameter); "
            f"model.layers={one['layers']} model.width={one['width']} model.heads={one['heads']}; nearest preset {one['nearest_preset']}"
        )
    return "\n".join(lines)


def _time(days: float) -> str:
    if days >= 730:
        return f"{days / 365:,.1f} years"
    if days >= 2:
        return f"{days:,.1f} days"
    return f"{days * 24:.1f} hours" if days * 24 >= 1 else f"{days * 1440:.1f} minutes"
