"""`clean`, with a preview of a change and a comparison of two corpora; and the classifiers that cleaning may use."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from groundup.commands.build import build_until, corpus_only, logged
from groundup.commands.options import Json, Name, Overrides, RecipeArgument, Runs, find_run, read_recipe
from groundup.errors import RequestError
from groundup.progress import say
from groundup.run import Run


def clean(
    recipe: RecipeArgument, overrides: Overrides = None, runs: Runs = Path("runs"), name: Name = None, as_json: Json = False,
    preview: Annotated[list[str] | None, typer.Option(metavar="STEP.FIELD=VALUE", help="Say what this change of the section clean would drop; builds nothing. May be repeated.")] = None,
    compare: Annotated[str | None, typer.Option(metavar="RUN", help="Then compare the corpus with this run's.")] = None,
    out: Annotated[Path | None, typer.Option(help="With --preview or --compare: write a page (.html) to this file.")] = None,
) -> None:  # fmt: skip
    """Collect and clean: documents without duplicates, held-out text set aside."""
    if preview and compare:
        raise RequestError("both --preview and --compare", where="clean", do="Give one of them.")
    if out is not None and not (preview or compare):
        raise RequestError("no page to write", where="--out", do="Give --preview or --compare too; a build's page is funnel.html in its folder.")
    if preview:
        _preview(recipe, overrides, runs, name, preview, out, as_json)
    elif compare:
        _compare(recipe, overrides, runs, name, compare, out, as_json)
    else:
        build_until("clean", recipe, overrides, runs, name, as_json)


def _preview(what: str, overrides: list[str] | None, runs: Path, name: str | None, changes: list[str], out: Path | None, as_json: bool) -> None:
    from groundup.corpus.preview import as_text, preview

    now = read_recipe(what, overrides, name)
    then = read_recipe(what, [*(overrides or []), *(f"clean.{change}" for change in changes)], name)
    found = preview(Run.follow(runs / now.name, now), then)
    if out is not None:
        from groundup.report.beside import write_preview

        write_preview(found, out)
        say(f"the page: {out}")
    print(json.dumps(found, ensure_ascii=False) if as_json else as_text(found))


def _compare(what: str, overrides: list[str] | None, runs: Path, name: str | None, other: str, out: Path | None, as_json: bool) -> None:
    from groundup.corpus.compare import as_text, compare

    chosen, beside = read_recipe(what, overrides, name), find_run(other, runs)
    run = Run.open(runs / chosen.name, chosen)
    try:
        logged(run, lambda: corpus_only(run, "clean"))
        found = logged(run, lambda: compare(run, beside))
    finally:
        run.close()
    if out is not None:
        from groundup.report.beside import write_comparison

        write_comparison(found, out)
        say(f"the page: {out}")
    print(json.dumps(found, ensure_ascii=False) if as_json else as_text(found))


def fit_quality(
    good: Annotated[Path, typer.Argument(help="File or folder of documents such as you want.")],
    bad: Annotated[Path, typer.Argument(help="File or folder of documents such as you do not want.")],
    out: Annotated[Path, typer.Argument(help="Where the model goes (.safetensors); name it as clean.classifier.model.")],
    as_json: Json = False,
) -> None:  # fmt: skip
    """Fit the quality classifier of the step `classifier` from good and bad examples, and say how well it tells them apart."""
    from groundup.corpus.classifier import fit_folders

    found = fit_folders(good, bad, out)
    print(json.dumps(found) if as_json else f"area under the ROC curve, unseen documents: {found['auc']:.3f}\n{_as_table(found['thresholds'])}")


def thresholds(
    model: Annotated[Path | None, typer.Argument(help="What `groundup fit-quality` wrote; the toxicity model that ships when not given.")] = None,
    as_json: Json = False,
) -> None:  # fmt: skip
    """What each threshold of a classifier lets through and drops, as measured when it was trained, on texts it had not seen."""
    from groundup.corpus import classifier
    from groundup.corpus.steps import toxicity

    rows = toxicity.thresholds() if model is None else classifier.Classifier.load(model).figures["thresholds"]
    print(json.dumps(rows) if as_json else _as_table(rows))


def _as_table(rows: list[dict[str, Any]]) -> str:
    names = sorted(rows[0], key=lambda name: name != "threshold")
    lines = ["  ".join(f"{name:>9}" for name in names)]
    lines += ["  ".join(f"{'-' if row[name] is None else f'{row[name]:.3f}':>{max(9, len(name))}}" for name in names) for row in rows]
    return "\n".join(lines)
