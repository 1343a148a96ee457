"""`generate` and `chat`: text from a run's model."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any, get_args

import typer

from groundup.commands.options import Json, RunArgument, Runs, find_run
from groundup.errors import RequestError

Precision = Annotated[str, typer.Option(help="Of the weights: fp32, bf16, int8 (1 byte a weight, slightly other scores), or auto.")]


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
    from groundup.generation.weights import Choice

    if name not in get_args(Choice):
        raise RequestError(f"no precision '{name}'", where="--precision", do=f"These are known: {', '.join(get_args(Choice))}.")
    return name


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
