"""`tune`: the chain of stages from a base model to an assistant, and a look at what it would learn from."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from groundup import recipe as recipes
from groundup.commands.build import build_chosen, logged
from groundup.commands.options import Json, Name, Overrides, RecipeArgument, Runs, read_recipe
from groundup.errors import GroundupError, RequestError
from groundup.recipe import Dialogue, Recipe
from groundup.recipe.methods import METHODS
from groundup.run import Run, run_folder

Method = Annotated[str | None, typer.Option("--method", help=f"Tune up to this method: {', '.join(METHODS)}; with what it builds on where the recipe does not have it.")]


def tune(
    recipe: RecipeArgument, overrides: Overrides = None, runs: Runs = Path("runs"), name: Name = None, as_json: Json = False, method: Method = None,
    lint: Annotated[bool, typer.Option("--lint", help="Say what is wrong with the conversations; trains nothing.")] = False,
    show: Annotated[int, typer.Option("--show", min=0, help="Print so many conversations, what is trained on in colour; trains nothing.")] = 0,
) -> None:  # fmt: skip
    """Up to the tuned model: the stages of the recipe's section `dialogue`, or of an imported run."""
    if method is not None and method not in METHODS:
        raise RequestError(f"no method '{method}'", where="--method", do=f"Choose {', '.join(METHODS)}.")
    brought = imported(recipe, runs)
    chosen = tuned_by(recipes.load(brought / "recipe.yaml", overrides) if brought else read_recipe(recipe, overrides, name), method)
    if lint or show:
        _look(brought or runs / chosen.name, chosen, lint, show, as_json)
    elif brought is not None:
        _tune_imported(brought, chosen, as_json)
    else:
        build_chosen("tune", chosen, runs, as_json)


def tuned_by(recipe: Recipe, method: str | None) -> Recipe:
    """The recipe with its chain cut, or set, to end with a method."""
    if method is None:
        return recipe
    return recipe.model_copy(update={"dialogue": (recipe.dialogue or Dialogue()).until(method)})


def imported(what: str, runs: Path) -> Path | None:
    """The folder of a run that `groundup import` made, which has a model and no stages before it."""
    path = run_folder(what, runs)
    return path if path is not None and (path / "checkpoints").is_dir() and not (path / "checkpoints" / "manifest.json").is_file() else None


def _tune_imported(path: Path, recipe: Recipe, as_json: bool) -> None:
    from groundup.dialogue.tune import tune_imported

    if recipe.dialogue is None:
        raise RequestError("the recipe has no dialogue section", where=str(path), do="Say what to learn: dialogue.pairs=[my.jsonl], or --method.")
    run = Run.open(path, recipe)
    try:
        stage = logged(run, lambda: tune_imported(run))
    finally:
        run.close()
    assert stage.manifest is not None
    counts: dict[str, Any] = stage.manifest["counts"]
    print(json.dumps(counts) if as_json else f"{stage.name}: {counts['steps']:,} steps\ngo on with: groundup chat {path}")


def _look(path: Path, recipe: Recipe, lint: bool, show: int, as_json: bool) -> None:
    """Lint, or show, by the run's tokenizer, which is built where it is not there yet."""
    from groundup.dialogue.inspect import Inspected

    run = Run.open(path, recipe)
    try:
        if not (path / "tokenizer" / "tokenizer.json").is_file():
            from groundup.build import tokenised

            logged(run, lambda: tokenised(run))
        found = logged(run, lambda: Inspected.of(run))
        if show and not as_json:
            print(found.shown(show, colour=sys.stdout.isatty()))
        if lint:
            reports = logged(run, found.lint)
            print(json.dumps({name: report.figures for name, report in reports.items()}, ensure_ascii=False) if as_json else "\n\n".join(f"{name}\n{report.text()}" for name, report in reports.items()))
            if bad := [name for name, report in reports.items() if report.failed]:
                raise GroundupError("the conversations are not in order", where=", ".join(bad), do="Correct what is named above, or take those rows out.")
    finally:
        run.close()
