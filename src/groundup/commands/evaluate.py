"""`evaluate`: a model on suites and tasks; or, of a recipe without any of them named, the build up to its evaluation."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from groundup.commands.build import build_until
from groundup.commands.options import Json, Name, Overrides, Runs
from groundup.errors import RequestError


def evaluate(
    what: Annotated[str, typer.Argument(metavar="MODEL|RECIPE", help="A run (folder or name), a Hugging Face folder, a URL; without --suite and --tasks a recipe.")],
    overrides: Overrides = None,
    suite: Annotated[str | None, typer.Option(help="open-llm-v1, core, zero-shot, tiny; several with commas.")] = None,
    tasks: Annotated[str | None, typer.Option(metavar="A,B", help="Tasks by name, and .jsonl files of your own, with commas between.")] = None,
    data: Annotated[Path | None, typer.Option(help="Folder of the tasks' files.")] = None,
    hub: Annotated[bool, typer.Option("--hub", help="Fetch files that are not in --data into it from the Hugging Face hub.")] = False,
    seconds: Annotated[float | None, typer.Option(min=0, help="Ask as many items, drawn at random, as this time allows for all tasks together.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Ask so many items of each task at most, drawn at random.")] = None,
    shots: Annotated[int | None, typer.Option(min=0, help="Examples before each question; each task's usual number when not given.")] = None,
    base: Annotated[bool, typer.Option("--base", help="The base model of a tuned run.")] = False,
    run_code: Annotated[bool, typer.Option("--run-code", help="Run what the model wrote (HumanEval), with limits; no wall against an attacker.")] = False,
    contamination: Annotated[bool, typer.Option(help="Search the run's own corpus for the items.")] = True,
    beside: Annotated[bool, typer.Option("--beside", help="Published rows below: the Open LLM Leaderboard's, and of CORE.")] = False,
    unverified: Annotated[bool, typer.Option("--unverified", help="With --beside: also rows whose source nobody here has opened.")] = False,
    against: Annotated[Path | None, typer.Option(help="A file that --out wrote for another model: the difference, item by item.")] = None,
    model: Annotated[str, typer.Option(help="Of a URL: the name that the server has for the model.")] = "",
    tokenizer: Annotated[Path | None, typer.Option(help="Of a URL: the model's tokenizer.json, or its folder.")] = None,
    context: Annotated[int, typer.Option(min=8, help="Of a URL: tokens that the model reads at once.")] = 2048,
    out: Annotated[Path | None, typer.Option(help="Also write a page (.html), or the result with each item's (.json).")] = None,
    runs: Runs = Path("runs"), name: Name = None, as_json: Json = False,
) -> None:  # fmt: skip
    """Put suites and tasks to a model: scores, how sure they are, and what chance gives. Of a recipe alone: build up to the evaluation."""
    if suite is None and tasks is None:
        given = {"--data": data, "--hub": hub or None, "--seconds": seconds, "--limit": limit, "--shots": shots, "--against": against, "--out": out, "--model": model or None}
        if stray := [option for option, value in given.items() if value is not None]:
            raise RequestError("no suite or task is named", where=stray[0], do="Give --suite or --tasks; without them a recipe is built up to its evaluation.")
        build_until("evaluate", what, overrides, runs, name, as_json)
        return
    if overrides:
        raise RequestError(f"'{overrides[0]}' overrides nothing", where="evaluate", do="A model is evaluated as it is; build it anew with other settings.")
    if out is not None and out.suffix not in (".json", ".html"):
        raise RequestError(f"'{out.suffix}' is no kind of file this writes", where=f"--out {out}", do="Name a .html or a .json file.")
    named = [one.strip() for one in f"{suite or ''},{tasks or ''}".split(",") if one.strip()]
    found = _evaluated(
        what, [one for one in named if not one.endswith(".jsonl")], [Path(one).expanduser() for one in named if one.endswith(".jsonl")], data=data, hub=hub, seconds=seconds,
        limit=limit, shots=shots, base=base, run_code=run_code, contamination=contamination, served=(model, tokenizer, context), runs=runs,
    )  # fmt: skip
    from groundup.evaluation import table
    from groundup.evaluation.exam import CORE
    from groundup.evaluation.reference_rows import CORE_ROWS
    from groundup.evaluation.reference_rows import beside as published
    from groundup.run import read_json, write_json

    rows = published(unverified=unverified) if beside else []
    core_rows = CORE_ROWS if beside and any(one["suite"] == CORE for one in found["suites"]) else ()
    if beside:
        found["reference_rows"] = [{**vars(row), "mean": row.mean} for row in rows]
        found["reference_core"] = [vars(row) for row in core_rows]
    if against is not None:
        if not against.is_file():
            raise RequestError("there is no such file", where=f"--against {against}", do="Name one that --out wrote.")
        found["against"] = table.against(found, read_json(against))
    if out is not None and out.suffix == ".html":
        from groundup.report import tasks as page

        page.write(out, found)
    elif out is not None:
        write_json(out, found)
    del found["items"]
    if as_json:
        print(json.dumps(found, ensure_ascii=False))
        return
    print(table.as_text(found, rows, core_rows))
    if against is not None:
        print(f"\nminus {against.name}:\n{table.against_as_text(found['against'])}")


def _evaluated(
    what: str, names: list[str], own: list[Path], *, data: Path | None, hub: bool, seconds: float | None, limit: int | None, shots: int | None, base: bool,
    run_code: bool, contamination: bool, served: tuple[str, Path | None, int], runs: Path,
) -> dict[str, Any]:  # fmt: skip
    """The result, with `items`: what each item got."""
    from groundup.evaluation import exam
    from groundup.evaluation.contamination import contaminated
    from groundup.evaluation.subject import Server, find
    from groundup.tokens.documents import texts

    begun = time.monotonic()
    papers = exam.read_papers(names, own, data, shots, hub=hub)
    subject = find(what, runs, base=base, server=Server(*served))
    marked = exam.sit(papers, subject, exam.Limits(seconds, limit, run_code=run_code))
    run = subject.run
    if contamination and run is not None and (clean := run.path / "corpus" / "clean").is_dir():
        exam.search(marked, lambda its: contaminated(its, texts(clean, "train"), run.recipe.clean.decontaminate))
    return {
        "model": subject.name, "kind": subject.kind, **exam.as_json(marked), "total_seconds": round(time.monotonic() - begun, 3),
        "items": exam.item_values(marked),
    }  # fmt: skip
