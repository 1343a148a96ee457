"""`plan`: what a run needs, takes and costs before it starts; the settings of a run here; the course of its learning rate."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from groundup import recipe as recipes
from groundup.commands.build import logged
from groundup.commands.options import Json, Name, Overrides, Runs, read_recipe
from groundup.errors import RequestError
from groundup.progress import say
from groundup.run import Run


def plan(
    recipe: Annotated[str | None, typer.Argument(metavar="[PRESET|RECIPE|FOLDER]", help="A preset, a recipe file, a shipped recipe's name, a folder of text.")] = None,
    overrides: Overrides = None, runs: Runs = Path("runs"), name: Name = None, as_json: Json = False,
    hardware: Annotated[str | None, typer.Option(help="Plan for this: a100-40gb, h100, this-machine, ... (docs/planning.md has all).")] = None,
    count: Annotated[int, typer.Option(min=1, help="Devices.")] = 1,
    tokens: Annotated[str | None, typer.Option(help="Of the run: 140B, 1T; the preset's, or 20 a parameter, when not given.")] = None,
    best: Annotated[bool, typer.Option("--best", help="Search for the fastest layout that fits, whatever the recipe says.")] = False,
    trace: Annotated[int | None, typer.Option(help="Build and step this process of the plan without numbers; report what it really holds.")] = None,
    budget: Annotated[str | None, typer.Option(help="The other way round: which model and how much text for 5000usd.")] = None,
    days: Annotated[float | None, typer.Option(min=0.001, help="The other way round: which model and how much text in so many days.")] = None,
    mfu: Annotated[float | None, typer.Option(min=0.001, max=1, help="Share of the peak that the model's FLOPs take, in place of the estimate.")] = None,
    flops_per_device: Annotated[float | None, typer.Option(min=1, help="FLOP/s that a device sustains, recomputation counted, in place of the estimate.")] = None,
    price: Annotated[float | None, typer.Option(min=0, help="USD for a device-hour, in place of the table's.")] = None,
    known: Annotated[bool, typer.Option("--known", help="Published runs, and what the planner makes of them.")] = False,
    schedule: Annotated[bool, typer.Option("--schedule", help="Draw the learning rate over the run; builds nothing.")] = False,
    out: Annotated[Path | None, typer.Option(help="Write a page (.html; with --schedule a drawing: .png, .svg, .pdf) to this file.")] = None,
) -> None:  # fmt: skip
    """What a run needs, takes and costs before it starts; without --hardware the settings of a run here (builds up to the tokens)."""
    if known:
        from dataclasses import asdict

        from groundup.planning import known as published

        print(json.dumps([{**asdict(row), "off": row.off} for row in published.known()]) if as_json else published.table())
        return
    if hardware is not None:
        _plan_for(recipe, overrides, name, hardware, count, tokens, best, trace, budget, days, mfu, flops_per_device, price, out, as_json)
        return
    if recipe is None:
        raise RequestError("nothing to plan", where="plan", do="Name a preset or a recipe, and --hardware; `groundup presets` lists the presets.")
    chosen = read_recipe(recipe, overrides, name)
    if schedule:
        from groundup.planning import drawing

        found = drawing.course(chosen.training)
        if out is not None:
            drawing.draw(found, out)
        print(json.dumps({**found, "picture": str(out) if out else None}) if as_json else drawing.as_text(found))
        return
    from groundup.build import plan_only

    run = Run.open(runs / chosen.name, chosen)
    try:
        planned = logged(run, lambda: plan_only(run))
    finally:
        run.close()
    print(json.dumps(planned) if as_json else "\n".join(planned["reasons"]))


def _plan_for(
    what: str | None, overrides: list[str] | None, name: str | None, hardware: str, count: int, tokens: str | None, best: bool, trace: int | None,
    budget: str | None, days: float | None, mfu: float | None, flops_per_device: float | None, price: float | None, out: Path | None, as_json: bool,
) -> None:  # fmt: skip
    from groundup.planning import answer

    if budget is not None or days is not None:
        if budget is not None and days is not None:
            raise RequestError("both a budget and days", where="--budget", do="Give one of them.")
        money = answer.dollars(budget) if budget is not None else None
        bought = answer.affordable(hardware, count, budget_usd=money, days=days, mfu=mfu, price_usd=price)
        print(json.dumps(bought) if as_json else answer.affordable_as_text(bought))
        return
    if what is None:
        raise RequestError("no model to plan", where="plan", do="Name a preset or a recipe, or say --budget or --days.")
    if mfu is not None and flops_per_device is not None:
        raise RequestError("both --mfu and --flops-per-device", where="--mfu", do="Give one of them.")
    from groundup.models.presets import PRESETS, named

    if not Path(what).expanduser().exists() and (what in PRESETS or recipes.shipped(what) is None):
        named(what, "plan")
        data = {"name": what, "sources": [{"kind": "files", "path": "."}], "model": {"like": what}, "training": {"like": what}}
        changes = [*(overrides or []), *([f"name={json.dumps(name)}"] if name else [])]
        from groundup.models.presets import settled

        chosen = settled(recipes.parse(data, changes, where=what))
    else:
        chosen = read_recipe(what, overrides, name)
    wish = answer.Wish(hardware, count, tokens, best, mfu, flops_per_device, price)
    job, settled_plan, found = answer.planned(chosen, wish, trace)
    if out is not None:
        from groundup.report.plan import write

        write(job, settled_plan, found, out)
        say(f"the page: {out}")
    print(json.dumps(found) if as_json else answer.as_text(found))
