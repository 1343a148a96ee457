"""Who speaks: a checkpoint, its tokenizer, and the chat template that it was tuned with.

    runs/<name>/tokenizer/                  the base model's
    runs/<name>/dialogue/<n>-<method>/      a stage of tuning: beside its checkpoints
        tokenizer.json                      the base's, with the marks that the chat format needs
        chat.json                           the format's name, and the class that answers are asked for in
        chat_template.jinja                 the same for other software

The stage with the highest number speaks for a run; a reward model does not speak.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from groundup.dialogue.chat_formats import FORMATS, ChatFormat, format_named
from groundup.dialogue.chat_template import ChatTemplate, added_tokens, with_tokens
from groundup.errors import GroundupError
from groundup.generation.engine import Engine
from groundup.generation.few_rows import suits
from groundup.generation.weights import Choice, chosen
from groundup.models.build import Model, parameters
from groundup.run import read_json
from groundup.tokens.tokenizer import END_OF_TEXT, Tokenizer
from groundup.training import checkpoint

BEGINNINGS = ("<s>", "<|begin_of_text|>", "<bos>", "<|startoftext|>")
"""What tokenizers call the token that begins a text."""


@dataclass(frozen=True)
class Speech:
    """A tokenizer with the chat template in its words."""

    text: str
    """Of `tokenizer.json`."""
    words: Tokenizer
    template: ChatTemplate

    @classmethod
    def of(cls, text: str, chat_format: ChatFormat) -> Speech:
        """A tokenizer learns a format: special tokens that it lacks are added after its own. Raises RequestError where it has no token
        that begins a text, and the format needs one."""
        special = added_tokens(text)
        bos = next((name for name in BEGINNINGS if name in special), "")
        end_of_text = Tokenizer(text).special[END_OF_TEXT]
        eos = next((name for name, token in special.items() if token == end_of_text), END_OF_TEXT)
        wanted = [name.replace("{bos}", bos).replace("{eos}", eos) for name in chat_format.needs]
        lacking = [name for name in wanted if name and name not in special]
        text = with_tokens(text, lacking) if lacking else text
        words = Tokenizer(text)
        return cls(text, words, ChatTemplate(words, chat_format, special=added_tokens(text), bos=bos, eos=eos))

    @classmethod
    def load(cls, folder: Path) -> Speech:
        """What `files` says, read back."""
        path = folder / "tokenizer.json"
        try:
            found: dict[str, Any] = read_json(folder / "chat.json")
            return cls.of(path.read_text(encoding="utf-8"), format_named(found["format"]).of_class(found["condition"]))
        except (OSError, ValueError, KeyError) as error:
            raise GroundupError(f"no readable tokenizer with its chat template ({error})", where=str(folder), do="Remove this folder and tune again.") from error

    @property
    def files(self) -> dict[str, str]:
        """By name, what a stage keeps of it."""
        chat_format = self.template.format
        return {
            "tokenizer.json": self.text, "chat_template.jinja": chat_format.jinja + "\n",
            "chat.json": json.dumps({"format": chat_format.name, "condition": chat_format.condition}, ensure_ascii=False) + "\n",
        }  # fmt: skip


def usual_format(text: str) -> ChatFormat:
    """The format whose marks a tokenizer has already, `plain` where it has none's: an imported model was told them apart before."""
    special = added_tokens(text)
    marked = (one for name, one in FORMATS.items() if name in ("chatml", "llama-3"))
    return next((one for one in marked if all(mark in special for mark in one.needs)), FORMATS["plain"])


@dataclass(frozen=True)
class Speaker:
    """A checkpoint with what it takes to talk to it."""

    path: Path
    """Of the checkpoint."""
    text: str
    """Of its `tokenizer.json`."""
    words: Tokenizer
    template: ChatTemplate | None
    """None: it was never tuned, and goes on with text."""

    @classmethod
    def of(cls, run: Path, *, base: bool = False) -> Speaker:
        """The newest whole checkpoint of a run's folder, of an unfinished stage too; the tuned one where there is one, unless `base`.
        Raises RequestError where there is none yet."""
        path, tuned = checkpoint.of_run(run, base=base)
        if tuned:
            return cls.at(path.parent, path)
        tokenizer = run / "tokenizer"
        return cls(path, (tokenizer / "tokenizer.json").read_text(encoding="utf-8"), Tokenizer.load(tokenizer), None)

    @classmethod
    def at(cls, folder: Path, path: Path | None = None) -> Speaker:
        """Of a stage of tuning; its newest checkpoint when none is given."""
        path, speech = path or checkpoint.newest(folder), Speech.load(folder)
        if path is None:
            raise GroundupError("no whole checkpoint", where=str(folder), do="Remove this folder and tune again.")
        return cls(path, speech.text, speech.words, speech.template)

    def model(self) -> Model:
        """Its model, in evaluation mode."""
        return checkpoint.load_model(self.path, self.words.digest)

    def engine(self, precision: Choice = "fp32") -> Engine:
        """The model ready to write; what it says ends with its template's mark too."""
        model = self.model()
        ends = [] if self.template is None else [self.template.end]
        return Engine(model, self.words, precision=chosen(precision, parameters(model.config), kernels=suits(model)), ends=ends)

