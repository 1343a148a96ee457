"""What leaves: a run's newest model with its tokenizer, read once for all formats."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from groundup.dialogue.chat_template import ChatTemplate
from groundup.dialogue.speaker import Speaker
from groundup.models.build import parameters
from groundup.models.config import ModelConfig
from groundup.run import Run
from groundup.tokens.tokenizer import Tokenizer
from groundup.training import checkpoint

DTYPES = {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}


@dataclass(frozen=True)
class Leaving:
    """A model on its way out."""

    run: Run
    config: ModelConfig
    weights: Mapping[str, Tensor]
    words: Tokenizer
    tokenizer_text: str
    """Of `tokenizer.json`."""
    template: ChatTemplate | None
    """How it is talked to; None where it goes on with a text."""
    step: int
    """Of the stage that it is from."""

    @classmethod
    def of(cls, run: Run, *, base: bool) -> Leaving:
        """The newest whole checkpoint, of an unfinished stage too; the tuned model's, unless `base`. Raises RequestError without one."""
        speaker = Speaker.of(run.path, base=base)
        model = speaker.model()
        step = int(checkpoint.read_state(speaker.path).get("step", 0))
        return cls(run, model.config, model.state_dict(), speaker.words, speaker.text, speaker.template, step)

    @property
    def parameters(self) -> int:
        """How many numbers it learned."""
        return parameters(self.config)

    @property
    def tuned(self) -> bool:
        """Whether it answers, or goes on with a text."""
        return self.template is not None

    @property
    def end(self) -> int:
        """The token that ends what it writes."""
        return self.words.special["<|end_of_text|>"] if self.template is None else self.template.end


def in_dtype(tensors: Mapping[str, Tensor], dtype: str) -> dict[str, Tensor]:
    """Numbers with a fraction in another format; whole numbers (a batch norm's count) as they are."""
    return {name: (tensor.to(DTYPES[dtype]) if tensor.is_floating_point() else tensor).contiguous() for name, tensor in tensors.items()}
