"""What is evaluated: a run of ours, a Hugging Face folder, or a model behind a URL; each as a scorer, a writer and an encoder.

    demo, runs/demo               the newest checkpoint of a run, tuned if it was (base=True: before that)
    models/gpt2                   a Hugging Face folder: through this kit where the family is known, else through transformers
    http://127.0.0.1:8000/v1      an OpenAI-compatible server with `echo` and `logprobs`; its tokenizer is named beside it

Tuned models are asked as base models are, without the marks of a conversation: so are those that one compares with.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from groundup.errors import RequestError
from groundup.evaluation.cached_lanes import scorer_of
from groundup.evaluation.encoding import Encoder
from groundup.evaluation.endpoint import Endpoint
from groundup.evaluation.remote_scorer import RemoteScorer
from groundup.evaluation.remote_writer import RemoteWriter
from groundup.evaluation.scorer import Scorer
from groundup.evaluation.transformers_model import TransformersModel
from groundup.evaluation.writer import EngineWriter, Writer
from groundup.generation.engine import Engine
from groundup.generation.weights import Precision
from groundup.models import huggingface
from groundup.models.build import Model
from groundup.models.widen import widened
from groundup.run import Run, read_json, run_folder
from groundup.tokens.tokenizer import END_OF_TEXT, Tokenizer
from groundup.tokens.trainers import adopt
from groundup.training import checkpoint

KEY = "OPENAI_API_KEY"
"""The variable of the environment that holds the key of a server."""


@dataclass(frozen=True)
class Server:
    """What a URL does not say by itself."""

    model: str = ""
    """The name that the server has for the model."""
    tokenizer: Path | None = None
    """Its tokenizer.json, or the folder of it."""
    context: int = 2048


@dataclass(frozen=True)
class Subject:
    """A model to be evaluated."""

    name: str
    kind: str
    scorer: Scorer
    encoder: Encoder
    writer: Callable[[], Writer]
    """Made when first needed: it lays the weights out once more."""
    run: Run | None = None
    """A run of ours, whose corpus can be searched."""


def find(what: str, runs: Path, *, base: bool = False, server: Server | None = None) -> Subject:
    """A model by its run (folder, or name under `runs`), its Hugging Face folder, or its URL. Raises RequestError where it is none."""
    if what.startswith(("http://", "https://")):
        return of_url(what, server or Server())
    if (folder := run_folder(what, runs)) is not None:
        return of_run(Run.read(folder), base=base)
    path = Path(what).expanduser()
    if (path / "config.json").is_file():
        return of_folder(path)
    raise RequestError("no such model", where=what, do="Name a run, a Hugging Face folder (config.json, weights, tokenizer.json), or an OpenAI-compatible URL.")


def of_run(run: Run, *, base: bool = False) -> Subject:
    """A run's newest checkpoint."""
    model, words, _, tuned = checkpoint.open_run(run.path, base=base)
    return of_model(model, words, run.path.name, "tuned run" if tuned else "run", run=run)


def of_model(model: Model, words: Tokenizer, name: str, kind: str, *, run: Run | None = None, begin: int | None = None, precision: Precision = "fp32") -> Subject:
    """A model of this kit; `begin`: the token that stands for an empty context, if not the end of a text."""
    encoder = Encoder(words, words.special[END_OF_TEXT] if begin is None else begin, cuts=words.cuts)
    return Subject(name, kind, scorer_of(model, precision), encoder, lambda: EngineWriter(Engine(model, words, precision=precision)), run)


def of_folder(folder: Path) -> Subject:
    """A Hugging Face folder."""
    config = read_json(folder / "config.json")
    name = folder.resolve().name
    if config.get("model_type") not in huggingface.FAMILIES or not (folder / "tokenizer.json").is_file():
        theirs = TransformersModel(folder)
        return Subject(name, "Hugging Face folder, by transformers", theirs, Encoder(theirs, theirs.end_of_text, cuts=False), lambda: theirs)
    model, text = huggingface.load(folder), adopt(folder)
    words = Tokenizer(text)
    if words.size > model.config.vocabulary:
        model = widened(model, words.size)
    return of_model(model.eval(), words, name, "Hugging Face folder", begin=_begin(folder, text))


def _begin(folder: Path, tokenizer: str) -> int | None:
    """The token that begins texts, where the tokenizer's config names one: lm-eval puts it in place of an empty context."""
    path = folder / "tokenizer_config.json"
    name = read_json(path).get("bos_token") if path.is_file() else None
    name = name.get("content") if isinstance(name, dict) else name
    return next((int(token["id"]) for token in json.loads(tokenizer)["added_tokens"] if token["content"] == name), None)


def of_url(url: str, server: Server) -> Subject:
    """A model behind an OpenAI-compatible URL."""
    if not server.model or server.tokenizer is None:
        raise RequestError("a server's model is known by its name and its tokenizer", where=url, do="Give --model and --tokenizer (a tokenizer.json, or its folder).")
    words = Tokenizer(adopt(server.tokenizer))
    endpoint = Endpoint(url, os.environ.get(KEY))
    scorer = RemoteScorer(endpoint, server.model, server.context)
    return Subject(server.model, "URL", scorer, Encoder.of(words), lambda: RemoteWriter(endpoint, server.model, server.context, words))
