"""What most commands are told: a recipe with overrides, a run, where runs are; and how those names are read."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Annotated

import typer

from groundup import recipe as recipes
from groundup.errors import RequestError
from groundup.recipe import Recipe
from groundup.run import Run, run_folder

RecipeArgument = Annotated[str, typer.Argument(metavar="RECIPE|FOLDER", help="A recipe file, a shipped recipe's name, or a folder of text.")]
Overrides = Annotated[list[str] | None, typer.Argument(metavar="[SECTION.KEY=VALUE]...", help="Overrides of the recipe.")]
RunArgument = Annotated[str, typer.Argument(metavar="RUN", help="A run's folder or its name under --runs.")]
Runs = Annotated[Path, typer.Option("--runs", help="Folder that holds the runs.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object to stdout and nothing else there.")]
Name = Annotated[str | None, typer.Option("--name", help="Name of the run folder; default: the recipe's.")]


def read_recipe(what: str, overrides: list[str] | None, name: str | None) -> Recipe:
    """A recipe file, the name of a shipped recipe, or a folder (or file) of text; with what `training.like` stands for."""
    found = _read_recipe(what, overrides, name)
    if found.training.like is None:
        return found
    from groundup.models.presets import settled

    return settled(found)


def _read_recipe(what: str, overrides: list[str] | None, name: str | None) -> Recipe:
    changes = [*(overrides or []), *([f"name={json.dumps(name)}"] if name else [])]
    path = Path(what).expanduser()
    if path.suffix in (".yaml", ".yml"):
        sys.path.append(str(path.parent.resolve()))  # functions that the recipe names may stand beside it
        return recipes.load(path, changes)
    if path.exists():
        label = re.sub(r"[^A-Za-z0-9._-]+", "-", path.resolve().stem).strip("-._") or "text"
        data = {"name": label, "sources": [{"kind": "files", "path": str(path.resolve())}]}
        return recipes.parse(data, changes, where=what)
    if (ready := recipes.shipped(what)) is not None:
        return recipes.load(ready, changes)
    raise RequestError("no such recipe or folder", where=what, do="Give a recipe file, a folder of text, or a shipped recipe's name.")


def find_run(what: str, runs: Path) -> Run:
    """A run by its folder or by its name under `runs`."""
    return Run.read(run_folder(what, runs) or runs / what)
