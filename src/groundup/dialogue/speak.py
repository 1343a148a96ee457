"""`groundup generate` and `groundup chat`: from a run folder to a model that writes.

The newest whole checkpoint is used, of an unfinished stage too, so that one can try a model while it trains.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from groundup.dialogue.chat import chat
from groundup.dialogue.chat_template import ChatTemplate
from groundup.dialogue.format.record import Message
from groundup.dialogue.speaker import Speaker
from groundup.generation import Completion, Engine, SamplingSettings, beam_search
from groundup.generation.fill import fill
from groundup.generation.runner import MASK
from groundup.generation.weights import Choice
from groundup.models.encoder import Encoder
from groundup.progress import say
from groundup.run import Run


def open_engine(run: Run, *, base: bool, precision: Choice = "auto") -> tuple[Engine, ChatTemplate | None]:
    """The run's engine and, where its model was tuned, the template of its conversations."""
    speaker = Speaker.of(run.path, base=base)
    return speaker.engine(precision), speaker.template


def speak(
    run: Run, prompts: Sequence[str], settings: SamplingSettings, *, base: bool, as_json: bool, precision: Choice = "auto",
    beams: int = 0,
) -> None:  # fmt: skip
    """Complete or answer prompts on stdout; a single text appears as it is written."""
    engine, template = open_engine(run, base=base, precision=precision)
    if isinstance(engine.model, Encoder) and any(MASK in prompt for prompt in prompts):
        texts = [fill(engine, prompt) for prompt in prompts]
        if as_json:
            _print_json([{"prompt": prompt, "text": text} for prompt, text in zip(prompts, texts, strict=True)])
        else:
            print("\n".join(texts))
        return
    asked: list[str | list[int]] = [
        template.fit([Message("user", prompt)], engine.context - 1)[0] if template else prompt for prompt in prompts
    ]
    if beams:
        _search(engine, prompts, asked, beams, settings.max_tokens, as_json)
        return
    if len(prompts) == 1 and settings.n == 1 and not as_json:
        _print_stream(engine, asked[0], settings, "" if template else prompts[0])
        return
    found = engine.generate_many(asked, settings)
    if as_json:
        _print_json([
            {"prompt": prompt, "completions": [_as_json(engine, one) for one in done], "prompt_tokens_cut": done[0].prompt_tokens_cut}
            for prompt, done in zip(prompts, found, strict=True)
        ])  # fmt: skip
    else:
        for prompt, done in zip(prompts, found, strict=True):
            for number, one in enumerate(done, 1):
                print(f"--- {number}\n{'' if template else prompt}{one.text}")
    _say_cut([done[0] for done in found], engine)


def _print_stream(engine: Engine, asked: str | list[int], settings: SamplingSettings, before: str) -> None:
    """The text as it is written, after what it goes on from; nothing where the request is refused."""
    stream = engine.stream(asked, settings)
    while True:
        try:
            piece = next(stream)
        except StopIteration as end:
            print(before)
            _say_cut([end.value], engine)
            return
        print(before + piece, end="", flush=True)
        before = ""


def _print_json(rows: list[dict[str, Any]]) -> None:
    """One object: that of the one prompt, or `results` with one for each."""
    print(json.dumps(rows[0] if len(rows) == 1 else {"results": rows}, ensure_ascii=False))


def _as_json(engine: Engine, one: Completion) -> dict[str, Any]:
    row: dict[str, Any] = {"text": one.text, "tokens": len(one.tokens), "finish_reason": one.finish_reason}
    if one.logprobs is not None:

        def name(token: int) -> str:
            return engine.tokenizer.token_bytes[token].decode(errors="replace")

        row["logprobs"] = [
            {"token": name(each.token), "logprob": each.logprob, "top": [[name(token), value] for token, value in each.top]}
            for each in one.logprobs
        ]
    return row


def _search(
    engine: Engine, prompts: Sequence[str], asked: Sequence[str | list[int]], beams: int, max_tokens: int, as_json: bool
) -> None:
    found = [beam_search(engine, tokens, beams, max_tokens) for tokens in asked]
    if as_json:
        _print_json([
            {"prompt": prompt, "beams": [{"text": one.text, "tokens": len(one.tokens), "score": one.score, "ended": one.ended} for one in texts]}
            for prompt, texts in zip(prompts, found, strict=True)
        ])  # fmt: skip
        return
    for prompt, tokens, texts in zip(prompts, asked, found, strict=True):
        for number, one in enumerate(texts, 1):
            print(f"--- {number}, {one.score:.3f}\n{prompt if isinstance(tokens, str) else ''}{one.text}")


def _say_cut(done: Sequence[Completion], engine: Engine) -> None:
    if most := max(one.prompt_tokens_cut for one in done):
        say(f"(the prompt's first {most} tokens did not fit into the context of {engine.context} and were left out)")


def converse(run: Run, settings: SamplingSettings, *, base: bool, precision: Choice = "auto") -> None:
    """Talk in the terminal."""
    engine, template = open_engine(run, base=base, precision=precision)
    chat(engine, template, settings)
