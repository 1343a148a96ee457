"""`groundup generate` and `groundup chat`: from a run folder to a model that writes.

The newest whole checkpoint is used, of an unfinished stage too, so that one can try a model while it trains.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from groundup.dialogue.chat import chat
from groundup.dialogue.template import Message, Template
from groundup.errors import RequestError
from groundup.generation.engine import Engine
from groundup.generation.rereading import MASK, RereadingEngine
from groundup.generation.rereading import engine as engine_of
from groundup.generation.sampling import SamplingSettings
from groundup.progress import say
from groundup.run import Run
from groundup.tokens.tokenizer import Tokenizer
from groundup.training import checkpoint


def open_engine(run: Run, *, base: bool) -> tuple[Engine, Template | None]:
    """The run's engine and, where its model was tuned, the template of its conversations."""
    if not (run.path / "tokenizer" / "tokenizer.json").is_file():
        raise RequestError("no model here yet", where=str(run.path), do="Build it to the end first.")
    words = Tokenizer.load(run.path / "tokenizer")
    tuned = None if base else _newest(run.path / "dialogue")
    path = tuned or _newest(run.path / "checkpoints")
    if path is None:
        raise RequestError("no checkpoint here yet", where=str(run.path), do="Build it further first.")
    return engine_of(checkpoint.load_model(path, words.digest), words), Template(words) if tuned else None


def _newest(folder: Path) -> Path | None:
    return checkpoint.newest(folder) or checkpoint.newest(folder.with_name(f".{folder.name}.partial"))


def speak(run: Run, prompt: str, settings: SamplingSettings, *, base: bool, as_json: bool) -> None:
    """Complete or answer one prompt on stdout; a single text appears as it is written."""
    engine, template = open_engine(run, base=base)
    if isinstance(engine, RereadingEngine) and engine.model.config.kind == "encoder" and MASK in prompt:
        text = engine.fill(prompt)
        print(json.dumps({"prompt": prompt, "text": text}, ensure_ascii=False) if as_json else text)
        return
    tokens = template.fit([Message("user", prompt)], engine.context - 1)[0] if template else prompt
    if settings.n == 1 and not as_json:
        if template is None:
            print(prompt, end="")
        stream = engine.stream(tokens, settings)
        while True:
            try:
                print(next(stream), end="", flush=True)
            except StopIteration as end:
                cut = end.value.prompt_tokens_cut
                break
        print()
    else:
        done = engine.generate(tokens, settings)
        cut = done[0].prompt_tokens_cut
        if as_json:
            texts = [{"text": one.text, "tokens": len(one.tokens), "finish_reason": one.finish_reason} for one in done]
            print(json.dumps({"prompt": prompt, "completions": texts, "prompt_tokens_cut": cut}, ensure_ascii=False))
        else:
            for number, one in enumerate(done, 1):
                print(f"--- {number}\n{'' if template else prompt}{one.text}")
    if cut:
        say(f"(the prompt's first {cut} tokens did not fit into the context of {engine.context} and were left out)")
    sys.stdout.flush()


def converse(run: Run, settings: SamplingSettings, *, base: bool) -> None:
    """Talk in the terminal."""
    engine, template = open_engine(run, base=base)
    chat(engine, template, settings)
