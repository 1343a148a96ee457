"""Arguments in, one call out.

Exit codes: 0 done (or stopped and saved), 1 the build failed, 2 the request was wrong. Results go to stdout, with
`--json` one object and nothing else; everything for the eye goes to stderr.
"""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType

import typer

from groundup import progress
from groundup.commands import build, clean, evaluate, generate, judge, look, model, perplexity, plan, tune
from groundup.errors import GroundupError, Stopped
from groundup.progress import say

app = typer.Typer(
    add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False,
    help="Build a language model from the ground up: text in, a model you can talk to out.",
)  # fmt: skip
app.command()(build.build)
app.command()(build.demo)
app.command("collect", help="Collect the sources: crawl, list files.")(build.stage("collect"))
app.command()(clean.clean)
app.command("tokenize", help="Up to tokenizer and shards.")(build.stage("tokenize"))
app.command("pretrain", help="Up to the base model.")(build.stage("pretrain"))
app.command()(tune.tune)
app.command()(evaluate.evaluate)
app.command()(perplexity.perplexity)
app.command()(look.report)
app.command()(generate.generate)
app.command()(generate.chat)
app.command()(plan.plan)
app.command()(model.presets)
app.command("import")(model.import_)
app.command()(model.export)
app.command("fit-quality")(clean.fit_quality)
app.command()(clean.thresholds)

tokens = typer.Typer(add_completion=False, no_args_is_help=True, help="Look at tokens, pairs and batches.")
tokens.command("show")(look.tokens_show)
app.add_typer(tokens, name="tokens")

judges = typer.Typer(add_completion=False, no_args_is_help=True, help="Answers judged by a language model, or by people.")
judges.command()(judge.pairwise)
judges.command()(judge.single)
judges.command()(judge.rate)
app.add_typer(judges, name="judge")


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
