"""Look at what a run has: its tokens, pairs and batches; its report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, cast

import typer

from groundup.commands.options import Json, RunArgument, Runs, find_run
from groundup.errors import RequestError


def tokens_show(
    run: RunArgument,
    document: Annotated[int, typer.Option(min=0, help="Which document, counted from 0.")] = 0,
    split: Annotated[str, typer.Option(help="train or held-out.")] = "train",
    pairs: Annotated[int, typer.Option(min=0, help="Input-output pairs to print.")] = 12,
    batch: Annotated[bool, typer.Option("--batch", help="Show a training batch instead: rows, segments, weights.")] = False,
    step: Annotated[int, typer.Option(min=0, help="With --batch: of which step.")] = 0,
    rows: Annotated[int, typer.Option(min=1, help="With --batch: rows to show.")] = 4,
    places: Annotated[int, typer.Option(min=1, help="With --batch: places of the first row to list.")] = 40,
    out: Annotated[Path | None, typer.Option(help="Write to this file instead (.svg, .html, .txt).")] = None,
    runs: Runs = Path("runs"), as_json: Json = False,
) -> None:  # fmt: skip
    """Documents as coloured tokens and the pairs they make; with --batch what a training step is given."""
    from groundup.build import look_at_batch
    from groundup.tokens import show
    from groundup.tokens.shards import TokenShards
    from groundup.tokens.tokenizer import Tokenizer

    found = find_run(run, runs)
    if split not in ("train", "held-out"):
        raise RequestError(f"no split '{split}'", where="--split", do="Say train or held-out.")
    if found.manifest("tokens") is None:
        raise RequestError("it has no tokens yet", where=str(found.path), do="Run `groundup tokenize` first.")
    words, data = Tokenizer.load(found.path / "tokenizer"), TokenShards(found.path / "tokens").split(cast(Any, split))
    if batch:
        given = look_at_batch(found, data, step)
        if as_json:
            print(json.dumps({"step": step, "rows": show.batch_as_json(words, given, rows)}, ensure_ascii=False))
        else:
            show.write(show.batch(words, given, rows, places), out)
        return
    if as_json:
        print(json.dumps(show.document_as_json(words, data, document, pairs), ensure_ascii=False))
    else:
        show.write(show.document(words, data, document, pairs), out)


def report(run: RunArgument, runs: Runs = Path("runs"), as_json: Json = False) -> None:
    """Write a run's report.html anew; with --json print its figures instead."""
    found = find_run(run, runs)
    if as_json:
        from groundup.report.figures import figures

        print(json.dumps(figures(found), ensure_ascii=False))
    else:
        from groundup.report.page import write

        print(write(found))
