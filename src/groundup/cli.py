"""Arguments in, one call out.

Exit codes: 0 done (or stopped and saved), 1 the build failed, 2 the request was wrong. Results go to stdout, with
`--json` one object and nothing else; everything for the eye goes to stderr.
"""

from __future__ import annotations

import errno
import json
import os
import re
import signal
import sys
import time
import traceback
from pathlib import Path
from types import FrameType
from typing import Annotated, Any, cast

import typer

from groundup import progress
from groundup import recipe as recipes
from groundup.errors import GroundupError, RequestError, Stopped
from groundup.progress import say
from groundup.recipe import Recipe
from groundup.run import NotReadyError, Run

app = typer.Typer(
    add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False,
    help="Build a language model from the ground up: text in, a model you can talk to out.",
)  # fmt: skip

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
    path = Path(what).expanduser()
    return Run.read(path if (path / "recipe.yaml").is_file() else runs / what)


def build_until(stage: str, recipe: str, overrides: list[str] | None, runs: Path, name: str | None, as_json: bool) -> None:
    """Build a recipe up to a stage and print the figures."""
    chosen = read_recipe(recipe, overrides, name)
    from groundup.report.figures import summary

    if stage in ("collect", "clean") and os.environ.get("WORLD_SIZE", "1") == "1":
        run = Run.open(runs / chosen.name, chosen)
        try:
            figures = logged(run, lambda: _corpus(run, stage))
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


def _corpus(run: Run, stage: str) -> dict[str, Any]:
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


@app.command()
def build(recipe: RecipeArgument, overrides: Overrides = None, runs: Runs = Path("runs"), name: Name = None, as_json: Json = False) -> None:
    """Build a model from a recipe or a folder of text: every stage, to the report."""
    build_until("report", recipe, overrides, runs, name, as_json)


@app.command()
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
        logged(run, lambda: _corpus(run, "clean"))
        found = logged(run, lambda: compare(run, beside))
    finally:
        run.close()
    if out is not None:
        from groundup.report.beside import write_comparison

        write_comparison(found, out)
        say(f"the page: {out}")
    print(json.dumps(found, ensure_ascii=False) if as_json else as_text(found))


def _stage_command(stage: str, help: str) -> None:
    def command(recipe: RecipeArgument, overrides: Overrides = None, runs: Runs = Path("runs"), name: Name = None, as_json: Json = False) -> None:
        build_until(stage, recipe, overrides, runs, name, as_json)

    app.command(stage, help=help)(command)


_stage_command("collect", "Collect the sources: crawl, list files.")
_stage_command("tokenize", "Up to tokenizer and shards.")
_stage_command("pretrain", "Up to the base model.")
_stage_command("tune", "Up to the tuned model.")
_stage_command("evaluate", "Up to the evaluation.")


@app.command()
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


@app.command()
def presets(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="Show one in full.")] = None, as_json: Json = False,
) -> None:  # fmt: skip
    """The field's models by name: architecture, size, published training settings, sources."""
    from groundup.models import presets as kit

    chosen = [kit.named(name, "presets")] if name else list(kit.PRESETS.values())
    rows = [kit.described(preset, full=name is not None) for preset in chosen]
    if as_json:
        print(json.dumps(rows[0] if name else rows))
    elif name:
        print("\n".join(f"{key}: {value}" for key, value in rows[0].items() if value not in ("", {}, None)))
    else:
        print(f"{'name':<20}{'family':<13}{'layers':>7}{'width':>8}{'heads':>7}{'context':>9}{'vocabulary':>12}{'parameters':>18}")
        for row in rows:
            print("{name:<20}{family:<13}{layers:>7}{width:>8}{heads:>7}{context:>9}{vocabulary:>12,}{parameters:>18,}".format(**row))


@app.command("import")
def import_(
    folder: Annotated[Path, typer.Argument(help="A Hugging Face folder: config.json, *.safetensors, tokenizer.json.")],
    runs: Runs = Path("runs"), name: Name = None, as_json: Json = False,
) -> None:  # fmt: skip
    """Bring in a model of Hugging Face's: gpt2, openai-gpt, llama, mistral, mixtral, qwen2, qwen3, falcon, bert, t5, xlnet."""
    from groundup.imported import bring_in

    found = bring_in(folder, runs, name or folder.resolve().name)
    said = "{family}, {parameters:,} parameters, vocabulary {vocabulary:,}, in {path}".format(**found)
    print(json.dumps(found) if as_json else said)


@app.command()
def export(
    run: RunArgument,
    out: Annotated[Path, typer.Argument(help="A new folder (hf, safetensors) or a new file (gguf).")],
    to: Annotated[str, typer.Option(help="hf: a folder for transformers; gguf: a file for llama.cpp; safetensors: our own names, without the optimizer.")],
    base: Annotated[bool, typer.Option("--base", help="The base model of a tuned run.")] = False,
    dtype: Annotated[str | None, typer.Option(help="hf, safetensors: f32, f16 or bf16; f32 when not given.")] = None,
    quantize: Annotated[str | None, typer.Option(help="gguf: f16, q8_0 or q4_0; f16 when not given.")] = None,
    runs: Runs = Path("runs"), as_json: Json = False,
) -> None:  # fmt: skip
    """Write a run's model for others: Hugging Face with its tokenizer and a model card, GGUF for llama.cpp, plain safetensors."""
    if to not in ("hf", "gguf", "safetensors"):
        raise RequestError(f"no format '{to}'", where="--to", do="These are known: hf, gguf, safetensors.")
    from groundup.export import export as write

    found = write(find_run(run, runs), cast(Any, to), out.expanduser().absolute(), base=base, dtype=dtype, quantize=quantize)
    said = "{family}, {parameters:,} parameters, {bytes:,} bytes, in {path}".format(**found)
    print(json.dumps(found, ensure_ascii=False) if as_json else said)


tokens_app = typer.Typer(add_completion=False, no_args_is_help=True, help="Look at tokens, pairs and batches.")
app.add_typer(tokens_app, name="tokens")


@tokens_app.command("show")
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


@app.command()
def demo(
    minutes: Annotated[float, typer.Option(help="Training budget on 2 cores, tuning included (minutes).")] = 10.0,
    runs: Runs = Path("runs"), as_json: Json = False, overrides: Overrides = None,
) -> None:  # fmt: skip
    """The embedded build: Python's own reference, crawled from loopback; needs no download and no network."""
    from groundup.demo import demo as run_demo

    run_demo(minutes, runs, overrides or [], as_json=as_json, logged=logged)


@app.command()
def report(run: RunArgument, runs: Runs = Path("runs"), as_json: Json = False) -> None:
    """Write a run's report.html anew; with --json print its figures instead."""
    found = find_run(run, runs)
    if as_json:
        from groundup.report.figures import figures

        print(json.dumps(figures(found), ensure_ascii=False))
    else:
        from groundup.report.page import write

        print(write(found))


Precision = Annotated[str, typer.Option(help="Of the weights: fp32, bf16, int8 (1 byte a weight, slightly other scores), or auto.")]


@app.command()
def generate(
    run: RunArgument,
    prompts: Annotated[list[str], typer.Argument(metavar="PROMPT...", help="Texts to go on from; questions to a tuned model; - reads one from stdin.")],
    temperature: Annotated[float, typer.Option(min=0, help="0 is greedy.")] = 0.8,
    top_k: Annotated[int, typer.Option(min=0, help="Keep the k likeliest tokens; 0 is off.")] = 40,
    top_p: Annotated[float, typer.Option(min=0, max=1, help="Keep the likeliest tokens up to this probability; 1 is off.")] = 0.95,
    min_p: Annotated[float, typer.Option(min=0, max=1, help="Drop tokens below this share of the likeliest; 0 is off.")] = 0.05,
    typical_p: Annotated[float, typer.Option(min=0, max=1, help="Keep the tokens whose surprise is nearest to the expected one; 1 is off.")] = 1.0,
    repetition_penalty: Annotated[float, typer.Option(min=0.01, help="Above 1 discourages tokens already there.")] = 1.0,
    presence_penalty: Annotated[float, typer.Option(min=-2, max=2, help="Taken from the scores of tokens already written.")] = 0.0,
    frequency_penalty: Annotated[float, typer.Option(min=-2, max=2, help="The same for each time they were written.")] = 0.0,
    logit_bias: Annotated[list[str] | None, typer.Option(metavar="TOKEN=VALUE", help="Add to the score of a token id; may be repeated.")] = None,
    stop: Annotated[list[str] | None, typer.Option(help="End before this text; may be repeated.")] = None,
    seed: Annotated[int, typer.Option(help="Of the sampling.")] = 0,
    n: Annotated[int, typer.Option(min=1, help="Completions.")] = 1,
    max_tokens: Annotated[int, typer.Option(min=1, help="Tokens at most.")] = 200,
    min_tokens: Annotated[int, typer.Option(min=0, help="Tokens at least.")] = 0,
    logprobs: Annotated[int | None, typer.Option(min=0, help="With --json: each token's log-probability and those of so many others.")] = None,
    regex: Annotated[str | None, typer.Option(help="The text must match this.")] = None,
    json_schema: Annotated[str | None, typer.Option(help="The text must be JSON of this schema: JSON, or @FILE.")] = None,
    beams: Annotated[int, typer.Option(min=0, help="Search for the likeliest texts with so many beams instead of sampling.")] = 0,
    guess_ahead: Annotated[int, typer.Option(min=0, help="Guess so many tokens from the text itself; the same text, sooner where it repeats.")] = 0,
    precision: Precision = "auto",
    base: Annotated[bool, typer.Option("--base", help="Use the base model of a tuned run: complete, do not answer.")] = False,
    runs: Runs = Path("runs"),
    as_json: Json = False,
) -> None:
    """Complete prompts (base model) or answer them (tuned model)."""
    from groundup.dialogue.speak import speak
    from groundup.generation.sampling import SamplingSettings

    if logprobs is not None and not as_json:
        raise RequestError("log-probabilities have no place in plain text", where="--logprobs", do="Add --json.")
    if json_schema is not None and json_schema.startswith("@"):
        json_schema = _text_of(Path(json_schema[1:]), "--json-schema")
    settings = SamplingSettings(
        temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p, typical_p=typical_p, repetition_penalty=repetition_penalty,
        presence_penalty=presence_penalty, frequency_penalty=frequency_penalty, logit_bias=_biases(logit_bias or []),
        stop=tuple(stop or ()), seed=seed, n=n, max_tokens=max_tokens, min_tokens=min_tokens, logprobs=logprobs, regex=regex,
        json_schema=json_schema, guess_ahead=guess_ahead,
    )  # fmt: skip
    given = [_stdin() if prompt == "-" else prompt for prompt in prompts]
    speak(find_run(run, runs), given, settings, base=base, as_json=as_json, precision=_precision(precision), beams=beams)


def _stdin() -> str:
    try:
        return sys.stdin.buffer.read().decode()
    except UnicodeDecodeError as error:
        raise RequestError(f"the prompt is no UTF-8 text (byte {error.start})", where="stdin", do="Give text.") from None


def _text_of(path: Path, where: str) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RequestError(f"no readable text ({error})", where=where, do="Name a text file after the @.") from None


def _biases(given: list[str]) -> dict[int, float]:
    found = {}
    for one in given:
        token, _, value = one.partition("=")
        try:
            found[int(token)] = float(value)
        except ValueError:
            raise RequestError(f"'{one}'", where="--logit-bias", do="Write TOKEN=VALUE with the id of a token, such as 42=-5.") from None
    return found


def _precision(name: str) -> Any:
    if name not in ("auto", "fp32", "bf16", "int8"):
        raise RequestError(f"no precision '{name}'", where="--precision", do="Say auto, fp32, bf16 or int8.")
    return name


@app.command()
def chat(
    run: RunArgument,
    temperature: Annotated[float, typer.Option(min=0, help="0 is greedy.")] = 0.7,
    seed: Annotated[int, typer.Option(help="Of the sampling.")] = 0,
    max_tokens: Annotated[int, typer.Option(min=1, help="Tokens of an answer at most.")] = 300,
    precision: Precision = "auto",
    base: Annotated[bool, typer.Option("--base", help="Talk to the base model of a tuned run.")] = False,
    runs: Runs = Path("runs"),
) -> None:
    """Talk to a run's model in the terminal."""
    from groundup.dialogue.speak import converse
    from groundup.generation.sampling import SamplingSettings

    settings = SamplingSettings(temperature=temperature, seed=seed, max_tokens=max_tokens)
    converse(find_run(run, runs), settings, base=base, precision=_precision(precision))


@app.command("fit-quality")
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


@app.command()
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


def _stop(number: int, frame: FrameType | None) -> None:
    raise Stopped("stopped")


def main() -> None:
    """The console script: run a command, turn its end into one line and an exit code."""
    signal.signal(signal.SIGTERM, _stop)
    try:
        app(standalone_mode=False)
    except Stopped as stop:
        say(f"{stop}. The same command goes on from here.")
        code = 0
    except KeyboardInterrupt:
        say("interrupted. Finished work is kept; the same command goes on from there.")
        code = 130
    except typer.Exit as done:
        code = done.exit_code
    except GroundupError as error:
        say(f"error: {error}" if not progress.quiet else f"process {os.environ.get('RANK')}: {error}", always=True)
        code = error.exit_code
    except typer.Abort:
        code = 1
    except Exception as error:
        # typer's own usage errors (click underneath) carry an exit code and their own words
        if hasattr(error, "format_message"):
            say(f"error: {error.format_message()}")
            code = 2
        else:
            raise
    else:
        code = 0
    if "WORLD_SIZE" in os.environ:
        # torch's caches hold groups past their end, whose threads may abort the process while Python takes itself apart
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


if __name__ == "__main__":
    main()
