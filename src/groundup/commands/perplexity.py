"""`perplexity`: how well a run's model predicts any text, in every unit, and which words surprised it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from groundup.commands.options import Json, RunArgument, Runs, find_run
from groundup.errors import RequestError
from groundup.progress import say
from groundup.run import Run

if TYPE_CHECKING:
    from groundup.models.decoder import Decoder
    from groundup.tokens.documents import Text
    from groundup.tokens.tokenizer import Tokenizer

SHOWN = 24_000  # characters of the text that the page shows token by token
SHOWN_DOCUMENTS = 8


def perplexity(
    run: RunArgument,
    paths: Annotated[list[Path] | None, typer.Argument(metavar="[FILE|FOLDER]...", help="Text to measure on, in place of the run's own.")] = None,
    split: Annotated[str, typer.Option(help="Of the run's own text: held-out or train.")] = "held-out",
    by: Annotated[str | None, typer.Option(help="Also by source (of files: each by itself) or by domain.")] = None,
    context: Annotated[int | None, typer.Option(min=1, help="Tokens of a window; the model's own when not given.")] = None,
    stride: Annotated[int | None, typer.Option(min=1, help="Tokens a window moves on; as the recipe says, half the context, when not given.")] = None,
    baselines: Annotated[bool, typer.Option("--baselines", help="Beside xz, zstd and an n-gram of the training text on the same bytes.")] = False,
    tuned: Annotated[bool, typer.Option("--tuned", help="The tuned model of a tuned run, not the base model that its report measures.")] = False,
    out: Annotated[Path | None, typer.Option(help="Write a page (.html) on which each token is shaded by its surprise.")] = None,
    runs: Runs = Path("runs"), as_json: Json = False,
) -> None:  # fmt: skip
    """Perplexity per token, word and byte, bits per byte and per character, of any text."""
    from groundup.evaluation.baselines import baselines as beside
    from groundup.evaluation.perplexity import By, as_text, read_texts
    from groundup.evaluation.perplexity import perplexity as measure
    from groundup.tokens.documents import documents, texts

    if split not in ("held-out", "train"):
        raise RequestError(f"no split '{split}'", where="--split", do="Say held-out or train.")
    if by not in (None, *get_args(By)):
        raise RequestError(f"'{by}'", where="--by", do=f"Say {' or '.join(get_args(By))}.")
    if out is not None and out.suffix != ".html":
        raise RequestError(f"'{out.suffix}' is no kind of file this writes", where=str(out), do="Name a .html file.")
    found_run = find_run(run, runs)
    corpus = found_run.path / "corpus" / "clean"
    if not paths and not corpus.is_dir():
        raise RequestError("this run has no text of its own", where=str(found_run.path), do="Name a file or folder with text.")
    model, words = _model(found_run, tuned)
    window = model.config.context if context is None else context
    if window > model.config.context:
        raise RequestError(f"the model reads {model.config.context:,} tokens at once", where="--context", do="Ask for no more.")
    step = max(1, round(found_run.recipe.evaluation.stride * window)) if stride is None else stride
    if step > window:
        raise RequestError(f"a window of {window:,} tokens cannot move by {step:,} without leaving some out", where="--stride", do="Ask for less.")

    heard: list[Text] = []

    def listen(source: Iterator[Text]) -> Iterator[Text]:
        for text in source:
            if baselines or (out is not None and len(heard) < SHOWN_DOCUMENTS):
                heard.append(text)
            yield text

    source = read_texts(paths) if paths else documents(corpus, "train" if split == "train" else "held-out")
    found = measure(model, words, listen(source), window, step, by)  # type: ignore[arg-type]
    if baselines:
        say("baselines on the same bytes")
        found["baselines"] = beside(texts(corpus, "train") if corpus.is_dir() else None, (text.text for text in heard))
    what = ", ".join(map(str, paths)) if paths else f"{split} text"
    if out is not None:
        _page(out, found, heard[:SHOWN_DOCUMENTS], model, words, found_run.recipe.name, what)
        say(f"the page: {out}")
    print(json.dumps(found, ensure_ascii=False) if as_json else as_text(found, what))


def _model(run: Run, tuned: bool) -> tuple[Decoder, Tokenizer]:
    from groundup.models.decoder import Decoder
    from groundup.training import checkpoint

    model, words, _, was_tuned = checkpoint.open_run(run.path, base=not tuned)
    if tuned and not was_tuned:
        raise RequestError("its model was not tuned", where=str(run.path), do="Leave --tuned out.")
    if not isinstance(model, Decoder):
        raise RequestError("its model does not read from left to right, so text has no perplexity under it", where=str(run.path), do="Name a run of a decoder.")
    return model, words


def _page(out: Path, found: dict[str, Any], heard: list[Text], model: Decoder, words: Tokenizer, name: str, what: str) -> None:
    from groundup.corpus.document import border
    from groundup.evaluation.intrinsic import guesses
    from groundup.evaluation.perplexity import encoded
    from groundup.report.surprise import write

    most = SHOWN // len(heard)
    shown = [one._replace(text=one.text[: border(one.text, most)]) if len(one.text) > most else one for one in heard]
    parts = encoded(words, shown)
    write(out, found, shown, parts, guesses(model, parts, found["window_tokens"], found["stride_tokens"]), words, name, what)
