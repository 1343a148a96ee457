"""Our models under lm-eval (`pip install 'groundup[eval]'`), for its thousands of tasks:

    python -m groundup.evaluation.harness run --model groundup --model_args run=demo --tasks wikitext,arc_easy
    lm_eval's own command line, with one more model        a run (folder, or name under `runs`), or a Hugging Face folder

lm-eval 0.4.13 looks for models among its own files alone, so somebody has to tell it of others: `register` does, which is also what a program calls
before `lm_eval.simple_evaluate(model="groundup", model_args={"run": "demo"})`.

    lm-eval asks for              it gets
    loglikelihood                 the prefix scorer's, as `groundup evaluate` does
    loglikelihood_rolling         whole windows one after the other; the last one reaches back as far as the model reads
    generate_until                the engine's texts

A tuned model is asked as base models are: the marks of a conversation are no text that could stand in a prompt.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from groundup.errors import RequestError
from groundup.evaluation.encoding import Pair, fit
from groundup.evaluation.scorer import Scored
from groundup.evaluation.subject import Subject, find
from groundup.evaluation.tasks.item import Item, Request
from groundup.evaluation.writer import EngineWriter, Writer, kept
from groundup.generation.sampling import SamplingSettings

MAX_TOKENS = 256
"""Of a text where the task does not say (lm-eval's own default)."""
LENGTHS = ("max_gen_toks", "max_new_tokens", "max_tokens", "max_completion_tokens")
"""What tasks call that, the first one that is there counts (lm_eval/models/utils.py, `normalize_gen_kwargs`)."""
DRAWN = ("top_k", "top_p", "min_p", "repetition_penalty")


class Adapter:
    """What lm-eval asks of a model, without lm-eval: texts in, numbers and texts out."""

    def __init__(self, subject: Subject, seed: int = 0) -> None:
        self._subject, self._seed = subject, seed
        self._writer: Writer | None = None

    def log_likelihoods(self, requests: Sequence[tuple[str, str]]) -> list[Scored]:
        """Of (context, continuation), in their order; a context that is too long loses its beginning."""
        pairs = self._pairs([Request(*request) for request in requests])
        return self._subject.scorer.log_likelihoods([fit(pair, self._subject.scorer.context)[0] for pair in pairs])

    def rolling(self, texts: Sequence[str]) -> list[float]:
        """ln p of each whole text, however long."""
        encoded = iter(self._pairs([Request("", text) for text in texts if text]))
        windows = [list(windows_of(*next(encoded), self._subject.scorer.context)) if text else [] for text in texts]
        scored = iter(self._subject.scorer.log_likelihoods([window for its in windows for window in its]))
        return [sum(next(scored)[0] for _ in its) for its in windows]

    def texts(self, requests: Sequence[tuple[str, Mapping[str, Any]]]) -> list[str]:
        """What the model writes after each (prompt, settings), up to the first stop string; the likeliest text unless the settings say otherwise."""
        found = [""] * len(requests)
        alike: dict[str, list[int]] = {}
        for place, (_, asked) in enumerate(requests):
            alike.setdefault(json.dumps(asked, sort_keys=True), []).append(place)
        for places in alike.values():
            settings = settings_of(requests[places[0]][1], self._seed)
            for place, text in zip(places, self._write([requests[place][0] for place in places], settings), strict=True):
                found[place] = text
        return found

    def _write(self, prompts: list[str], settings: SamplingSettings) -> list[str]:
        self._writer = self._writer or self._subject.writer()
        if settings.temperature == 0 and settings.repetition_penalty == 1:
            return [one.text for one in self._writer.write(prompts, settings.stop, settings.max_tokens)]
        if not isinstance(self._writer, EngineWriter):
            raise RequestError("this model writes the likeliest text alone", where=self._subject.name, do="Ask with do_sample=false.")
        engine = self._writer.engine
        room = kept(engine.context, settings.max_tokens)
        return [one[0].text for one in engine.generate_many([engine.tokenizer.encode(prompt)[-room:] for prompt in prompts], settings)]

    def _pairs(self, requests: Sequence[Request]) -> list[Pair]:
        items = [Item("lm-eval", (request,)) for request in requests]
        return [pair for (pair,) in self._subject.encoder.pairs(items, "split")]


def windows_of(before: list[int], tokens: list[int], context: int) -> Iterator[Pair]:
    """Windows of `context` tokens that together score each token once, the last one as full as the others (lm_eval/utils.py, `get_rolling_token_windows`).

    `before`: the token that stands at a text's beginning.

        context 4:   # a b c -> a b c d      d e f g -> e f g h      f g h i -> (g h) i j
    """
    for start in range(0, len(tokens), context):
        end = min(start + context, len(tokens))
        first = max(0, end - context)
        yield (tokens[first - 1 : start] if first else before), tokens[start:end]


def settings_of(asked: Mapping[str, Any], seed: int) -> SamplingSettings:
    """A task's `generation_kwargs` as settings of the engine: the likeliest text unless a temperature is given and sampling not forbidden, as there.

    Raises RequestError for values outside their range.
    """
    until = asked.get("until") or ()
    stop = tuple(one for one in ((until,) if isinstance(until, str) else until) if one)
    length = next((int(asked[name]) for name in LENGTHS if asked.get(name) is not None), MAX_TOKENS)
    drawn = {name: asked[name] for name in DRAWN if asked.get(name) is not None}
    temperature = 0.0 if asked.get("do_sample") is False else float(asked.get("temperature") or 0.0)
    return SamplingSettings(temperature=temperature, stop=stop, max_tokens=length, seed=seed, **{"min_p": 0.0, **drawn})


def model_class() -> type[Any]:
    """lm-eval's kind of model. Raises RequestError where lm-eval is not installed."""
    try:
        from lm_eval.api.model import LM
    except ImportError:
        raise RequestError("lm-eval is not installed", where="groundup.evaluation.harness", do="Install it: pip install 'groundup[eval]'.") from None

    class GroundupLM(LM):  # type: ignore[misc]
        """`run`: a run or a Hugging Face folder; `base`: the base model of a tuned run. lm-eval's batch sizes and device are not needed."""

        def __init__(
            self, run: str, runs: str = "runs", base: bool = False, seed: int = 0, batch_size: Any = None, max_batch_size: Any = None, device: Any = None
        ) -> None:
            super().__init__()
            self._adapter = Adapter(find(str(run), Path(runs), base=base), seed)

        def loglikelihood(self, requests: Sequence[Any]) -> list[Scored]:
            """(ln p, whether it is the likeliest) of each (context, continuation)."""
            return self._adapter.log_likelihoods([one.args for one in requests])

        def loglikelihood_rolling(self, requests: Sequence[Any]) -> list[float]:
            """ln p of each text."""
            return self._adapter.rolling([one.args[0] for one in requests])

        def generate_until(self, requests: Sequence[Any]) -> list[str]:
            """The text after each (prompt, settings)."""
            return self._adapter.texts([one.args for one in requests])

    return GroundupLM


def register() -> None:
    """Tell lm-eval of `--model groundup`."""
    made = model_class()
    import lm_eval.models  # noqa: F401  else it takes ours for all there are
    from lm_eval.api.registry import model_registry, register_model

    if "groundup" not in model_registry:
        register_model("groundup")(made)


def main() -> None:
    """lm-eval's command line, with `--model groundup`."""
    register()
    from lm_eval.__main__ import cli_evaluate

    cli: Callable[[], None] = cli_evaluate
    cli()


if __name__ == "__main__":
    main()
