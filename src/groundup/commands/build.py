"""`build`, and a command for each stage: the chain up to there."""

from __future__ import annotations

import errno
import json
import os
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from groundup.commands.options import Json, Name, Overrides, RecipeArgument, Runs, read_recipe
from groundup.errors import GroundupError, Stopped
from groundup.run import NotReadyError, Run


def build(recipe: RecipeArgument, overrides: Overrides = None, runs: Runs = Path("runs"), name: Name = None, as_json: Json = False) -> None:
    """Build a model from a recipe or a folder of text: every stage, to the report."""
    build_until("report", recipe, overrides, runs, name, as_json)


def stage(until: str) -> Callable[..., None]:
    """The command that builds up to a stage."""

    def command(recipe: RecipeArgument, overrides: Overrides = None, runs: Runs = Path("runs"), name: Name = None, as_json: Json = False) -> None:
        build_until(until, recipe, overrides, runs, name, as_json)

    return command


def demo(
    minutes: Annotated[float, typer.Option(help="Training budget on 2 cores, tuning included (minutes).")] = 10.0,
    runs: Runs = Path("runs"), as_json: Json = False, overrides: Overrides = None,
) -> None:  # fmt: skip
    """The embedded build: Python's own reference, crawled from loopback; needs no download and no network."""
    from groundup.demo import demo as run_demo

    run_demo(minutes, runs, overrides or [], as_json=as_json, logged=logged)


def build_until(stage: str, recipe: str, overrides: list[str] | None, runs: Path, name: str | None, as_json: bool) -> None:
    """Build a recipe up to a stage and print the figures."""
    chosen = read_recipe(recipe, overrides, name)
    from groundup.report.figures import summary

    if stage in ("collect", "clean") and os.environ.get("WORLD_SIZE", "1") == "1":
        run = Run.open(runs / chosen.name, chosen)
        try:
            figures = logged(run, lambda: corpus_only(run, stage))
        finally:
            run.close()
        print(json.dumps(figures, ensure_ascii=False) if as_json else summary(run, figures))
        return
    from groundup.build import build
    from groundup.training import processes
    from groundup.training.layout import check_processes

    check_processes(chosen.parallel, processes.started())
    processes.join(chosen.parallel.timeout_seconds)
    if processes.follows():
        follow(Run.follow(runs / chosen.name, chosen), stage)
        return
    run = Run.open(runs / chosen.name, chosen)
    try:
        figures = logged(run, lambda: build(run, until=stage))
    finally:
        run.close()
        processes.leave()
    print(json.dumps(figures, ensure_ascii=False) if as_json else summary(run, figures))


def corpus_only(run: Run, stage: str) -> dict[str, Any]:
    """The stages before any model, as `build` does them, but without torch: to import it takes longer than to clean a thousand pages."""
    from groundup.corpus.collect import collect
    from groundup.corpus.pipeline import clean
    from groundup.report.figures import figures
    from groundup.report.page import write

    collected = collect(run)
    if stage == "clean":
        clean(run, collected)
    write(run)
    return figures(run)


def follow(run: Run, stage: str) -> None:
    """Build as a further process of several: wait for what the first one makes alone, and compute with it."""
    from groundup.build import build
    from groundup.training import processes

    while True:
        try:
            build(run, until=stage)
        except NotReadyError:
            time.sleep(0.2)
        else:
            break
    processes.leave()


def logged(run: Run, work: Any) -> Any:
    """Run a build; what ends it goes to the run's log with its traceback, and to the caller as one line."""
    try:
        return work()
    except Stopped as stop:
        run.log("stopped", reason=str(stop))
        raise
    except GroundupError as error:
        run.log("failed", error=str(error), traceback=traceback.format_exc())
        raise
    except Exception as error:
        if disk_full(error):
            raise GroundupError(
                "the disk is full", where=str(run.path), do="Nothing finished is lost: free some space and run the same command again."
            ) from None
        run.log("failed", error=repr(error), traceback=traceback.format_exc())
        raise GroundupError(
            f"unexpected {type(error).__name__}: {' '.join(str(error).split())[:300]}", where=str(run.path),
            do="Finished work is kept; the traceback is in log.jsonl. Please report it.",
        ) from error  # fmt: skip


def disk_full(error: BaseException) -> bool:
    """Whether this is, or came from, a full disk; not every library says it by the error's number."""
    said = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    return said or "No space left on device" in str(error) or "disk is full" in str(error)
