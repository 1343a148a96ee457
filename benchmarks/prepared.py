"""What the time-to-quality benchmarks do before their clock starts: a shipped recipe's text, cleaned and tokenised."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def prepared(recipe: str, source: str, runs: Path, name: str, minutes: float, seed: int, extra: list[str]) -> tuple[Any, Any, Any]:
    """The open run of a shipped recipe on `source`, its tokenizer stage and its tokens stage."""
    from groundup import recipe as recipes
    from groundup.build import tokenised
    from groundup.run import Run

    path = recipes.shipped(recipe)
    assert path is not None
    changes = [f"sources.0.path={source}", f"training.minutes={minutes}", f"seed={seed}", f"name={name}", *extra]
    run = Run.open(runs / name, recipes.load(path, changes))
    return run, *tokenised(run)
