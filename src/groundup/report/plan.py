"""A plan as a page: memory of each pipeline rank as bars, the pipeline as a timeline, cost over device counts."""

from __future__ import annotations

import functools
from dataclasses import replace
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup, escape

from groundup.errors import RequestError
from groundup.planning.answer import as_text
from groundup.planning.devices import GIB
from groundup.planning.memory import memory
from groundup.planning.planner import USABLE, Job, Plan, best, figures
from groundup.report import words
from groundup.run import write_atomic

PARTS = {
    "weights": ("weights", "#3b6ea5"), "gradients": ("gradients", "#7aa6c2"), "optimizer": ("optimizer", "#b9d0dd"), "casts": ("bf16 copies", "#5b8f6b"),
    "activations": ("activations", "#e0a458"), "head": ("head", "#c97b4a"), "workspace": ("workspace", "#b86b77"), "buffers": ("messages", "#8d6a9f"),
    "allowance": ("allowance", "#a8a8a8"),
}  # fmt: skip
WIDTH = 900
SHOWN_RANKS, SHOWN_MICROS = 16, 24


def write(job: Job, plan: Plan, found: dict[str, Any], path: Path) -> None:
    """Write the page of a plan, as `answer.planned` gives it."""
    page = _template().render(
        found=found, device=job.device, memory=memory_bars(job, plan), legend=legend(job, plan), timeline=timeline(plan), shown_micros=shown_micros(plan),
        costs=costs(job), text=as_text(found), years=found["days"] >= 730, count=words.count, short=words.short,
    )  # fmt: skip
    write_atomic(path, page)


def memory_bars(job: Job, plan: Plan) -> Markup:
    """Each pipeline rank's memory as a stacked bar, beside what the device has."""
    ranks = _ranks(plan.layout.pp)
    found = {
        rank: memory(job.config, plan.layout, plan.rows, job.context, plan.micros, precision=job.precision, optimizer=job.optimizer, pp_rank=rank, device=job.device, counted=job.counted)
        for rank in ranks
    }
    most = max(job.device.memory_gib * GIB, *(one.total for one in found.values()))
    scale, height = (WIDTH - 190) / most, 30
    drawn = []
    for row, rank in enumerate(ranks):
        x, y = 110.0, 8 + row * height
        drawn.append(f'<text x="100" y="{y + 15}" text-anchor="end">{"each process" if plan.layout.pp == 1 else f"stage {rank}"}</text>')
        for name, size in vars(found[rank]).items():
            width = size * scale
            if width >= 0.3:
                said = f"{PARTS[name][0]}: {size / GIB:.2f} GiB"
                drawn.append(f'<rect x="{x:.1f}" y="{y}" width="{width:.1f}" height="20" fill="{PARTS[name][1]}"><title>{escape(said)}</title></rect>')
            x += width
        drawn.append(f'<text x="{x + 6:.1f}" y="{y + 15}">{found[rank].total / GIB:.1f} GiB</text>')
    end, limit = 8 + len(ranks) * height, 110 + job.device.memory_gib * GIB * scale
    usable = 110 + USABLE * job.device.memory_gib * GIB * scale
    drawn.append(f'<line x1="{usable:.1f}" x2="{usable:.1f}" y1="0" y2="{end}" class="soft"/>')
    drawn.append(f'<line x1="{limit:.1f}" x2="{limit:.1f}" y1="0" y2="{end}" class="limit"/>')
    drawn.append(f'<text x="{limit - 4:.1f}" y="{end + 14}" text-anchor="end">{job.device.memory_gib:g} GiB; plans may use {100 * USABLE:.0f} % of them</text>')
    return _svg(drawn, end + 20, "Memory of each pipeline stage's processes")


def legend(job: Job, plan: Plan) -> list[tuple[str, str, str]]:
    """(colour, name, GiB) of what the fullest rank holds."""
    return [(PARTS[name][1], PARTS[name][0], f"{size / GIB:.2f} GiB") for name, size in vars(plan.memory).items() if size / GIB >= 0.005]


def timeline(plan: Plan) -> Markup | None:
    """Who computes what when: micro-batches forward and backward, one row a pipeline rank; None without a pipeline."""
    if plan.layout.pp == 1:
        return None
    ranks, micros = plan.layout.pp, shown_micros(plan)
    spans = one_forward_one_backward(ranks, micros)
    last = max(end for _, _, _, _, end in spans)
    scale, height = (WIDTH - 120) / last, 24 if ranks <= SHOWN_RANKS else max(3, 380 // ranks)
    drawn = [f'<text x="100" y="{8 + rank * height + min(15, height - 1)}" text-anchor="end">stage {rank}</text>' for rank in _ranks(ranks)]
    for rank, micro, backward, start, end in spans:
        x, width = 110 + start * scale, (end - start) * scale
        name = f"{'backward' if backward else 'forward'} of micro-batch {micro}"
        drawn.append(
            f'<rect x="{x:.2f}" y="{8 + rank * height}" width="{max(0.4, width - 0.6):.2f}" height="{max(2, height - 4)}" class="{"backward" if backward else "forward"}"><title>{name}</title></rect>'
        )
        if width >= 14 and height >= 18:
            drawn.append(f'<text x="{x + width / 2:.1f}" y="{8 + rank * height + 15}" text-anchor="middle" class="in">{micro}</text>')
    return _svg(drawn, 8 + ranks * height + 6, "The pipeline as a timeline")


def shown_micros(plan: Plan) -> int:
    """As many micro-batches as fill the pipeline and then some."""
    return min(plan.micros, max(SHOWN_MICROS, 2 * plan.layout.pp))


def one_forward_one_backward(ranks: int, micros: int) -> list[tuple[int, int, bool, float, float]]:
    """(rank, micro-batch, backward?, start, end) of a 1F1B pipeline in forward passes' time; a backward pass takes two."""
    done: dict[tuple[int, int, bool], float] = {}
    orders = []
    for rank in range(ranks):
        warm = min(micros, ranks - rank)
        order: list[tuple[int, bool]] = [(micro, False) for micro in range(warm)]
        forward = warm
        for micro in range(micros):
            order.append((micro, True))
            if forward < micros:
                order.append((forward, False))
                forward += 1
        orders.append(order)
    at, place, found = [0.0] * ranks, [0] * ranks, []
    left = sum(len(order) for order in orders)
    while left:
        for rank, order in enumerate(orders):
            while place[rank] < len(order):
                micro, backward = order[place[rank]]
                if backward:
                    needed = (rank + 1, micro, True) if rank + 1 < ranks else (rank, micro, False)
                else:
                    needed = (rank - 1, micro, False)
                if not (rank == 0 and not backward) and needed not in done:
                    break
                start = max(at[rank], done.get(needed, 0.0))
                end = start + (2.0 if backward else 1.0)
                done[rank, micro, backward] = at[rank] = end
                found.append((rank, micro, backward, start, end))
                place[rank] += 1
                left -= 1
    return found


def costs(job: Job) -> list[dict[str, Any]]:
    """Days and money over device counts around the one asked for, each with its own best layout."""
    rows: list[dict[str, Any]] = []
    counts = sorted({max(1, round(job.count * factor)) for factor in (0.25, 0.5, 1, 2, 4)})
    for count in counts:
        try:
            other = replace(job, count=count, rows=None, tried=job.tried if count == job.count else None)
            found = figures(other, best(other)[0])
        except RequestError as error:
            rows.append({"count": count, "problem": str(error)})
            continue
        made = found["layout"]
        rows.append({
            "count": count, "days": found["days"], "cost": found["cost_usd"], "mfu": found["mfu"], "fits": found["fits"], "memory": found["memory_gib"]["total"],
            "layout": f"tp {made['tp']} x pp {made['pp']} x dp {made['dp']}, ZeRO {made['zero']}, {made['recompute']}", "here": count == job.count,
        })  # fmt: skip
    most = max((float(row["cost"]) for row in rows if row.get("cost")), default=0.0)
    for row in rows:
        row["share"] = 100 * row["cost"] / most if most and row.get("cost") else 0
    return rows


def _ranks(pp: int) -> list[int]:
    if pp <= SHOWN_RANKS:
        return list(range(pp))
    return sorted({round(number * (pp - 1) / (SHOWN_RANKS - 1)) for number in range(SHOWN_RANKS)})


def _svg(drawn: list[str], height: float, label: str) -> Markup:
    return Markup(f'<svg viewBox="0 0 {WIDTH} {height:.0f}" role="img" aria-label="{escape(label)}">{"".join(drawn)}</svg>')


@functools.cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(loader=jinja2.PackageLoader("groundup.report", package_path="."), autoescape=True, trim_blocks=True, lstrip_blocks=True)
    return environment.get_template("plan.html.j2")
