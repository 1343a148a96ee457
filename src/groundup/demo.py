"""The embedded build: Python's own reference as web pages on loopback, to a model you can ask about it.

Nothing here is special to the demo but the recipe (`recipes/demo.yaml`) and the budget: it is an ordinary build.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from groundup import recipe as recipes
from groundup.errors import GroundupError, RequestError
from groundup.progress import say
from groundup.run import Run, read_json

TUNING_SHARE = 0.25  # of the training budget


def demo(minutes: float, runs: Path, overrides: list[str], *, as_json: bool, logged: Callable[[Run, Callable[[], Any]], Any]) -> None:
    """Build the demo in `runs/demo` and print the five questions with the model's answers.

    `minutes`: training budget, tuning included; `logged` wraps the build so that its failure is in the run's log.
    """
    if minutes <= 0:
        raise RequestError(f"a budget of {minutes:g} minutes", where="--minutes", do="Give more than 0.")
    path = recipes.shipped("demo")
    if path is None:
        raise GroundupError("the shipped recipe `demo` is missing", do="Install groundup again.")
    shares = [f"training.minutes={minutes * (1 - TUNING_SHARE):g}", f"dialogue.minutes={minutes * TUNING_SHARE:g}"]
    recipe = recipes.load(path, [*shares, *overrides])
    from groundup.build import build
    from groundup.report.figures import summary

    say(f"The demo builds a model of Python's own reference in {runs / recipe.name}: {minutes:g} minutes of training and a few around it.")
    run = Run.open(runs / recipe.name, recipe)
    try:
        found = logged(run, lambda: build(run))
        results = read_json(run.path / "evaluation" / "results.json")
    finally:
        run.close()
    if as_json:
        print(json.dumps({**found, "answers": results["answers"]}, ensure_ascii=False))
        return
    for answer in results["answers"]:
        print(f"\n> {answer['question']}\n{answer['tuned']}")
    print("\n" + summary(run, found))
