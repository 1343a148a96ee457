"""A policy that is being trained, as an author: it writes answers with its weights of now, and what it wrote is measured.

Log-probabilities are measured by the trainer's own forward pass, so that a first step's ratio is exactly 1; the engine's agree to 1e-4 in
fp32 (a test). Special tokens are never drawn but for the end, which takes what probability they have: nothing, after SFT.

Shapes: B rows, T time, D width, N tokens, W tokens written (of one answer).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from groundup.dialogue.reward_model import rows_of
from groundup.dialogue.sequences import Answered
from groundup.generation.engine import Completion, Engine
from groundup.generation.sampling import SamplingSettings
from groundup.models.decoder import Decoder
from groundup.run import digest
from groundup.training import checkpoint
from groundup.training.lora import merged_state
from groundup.training.precision import Precision, autocast
from groundup.training.token_logps import token_logps
from groundup.training.value_head import ActorCritic


@dataclass(frozen=True)
class Asked:
    """A prompt in tokens, with what judges answers to it."""

    tokens: tuple[int, ...]
    rule: Callable[[str], float] | None = None


@dataclass(frozen=True)
class Written:
    """An answer."""

    sequence: Answered
    text: str
    ended: bool
    """Whether it came to an end of its own."""
    logps: tuple[float, ...] = ()
    """The engine's, of each token."""


class Author:
    """Writes with a policy that is being trained."""

    def __init__(self, model: Decoder, engine: Callable[[Decoder], Engine], settings: SamplingSettings) -> None:
        """`engine`: makes one of a model; a policy of low rank writes with its merged weights."""
        self.model, self.settings = model, settings
        self._plain = merged_copy(model) if "lora" in checkpoint.form(model) else None
        self._engine = engine(self._plain or model)
        model.train()

    def write(self, prompts: Sequence[Asked], seed: int, *, n: int = 1, logprobs: bool = False, greedy: bool = False) -> list[Written]:
        """n answers to each prompt, one after the other, with the weights of now."""
        was = self.model.training
        self.model.eval()
        if self._plain is not None:
            take_merged(self._plain, self.model)
        self._engine.refresh()
        settings = [
            replace(self.settings, seed=int(digest(seed, number)[:12], 16), n=n, logprobs=0 if logprobs else None, temperature=0.0 if greedy else self.settings.temperature)
            for number in range(len(prompts))
        ]  # fmt: skip
        found = self._engine.generate_many([list(prompt.tokens) for prompt in prompts], settings)
        self.model.train(was)
        return [self._written(prompt, one) for prompt, several in zip(prompts, found, strict=True) for one in several]

    def _written(self, prompt: Asked, one: Completion) -> Written:
        said = tuple(one.tokens) if one.end is None else (*one.tokens, one.end)
        logps = tuple(chosen.logprob for chosen in one.logprobs or ())
        return Written(Answered((*prompt.tokens, *said), len(prompt.tokens)), one.text, one.end is not None, logps)


def merged_copy(model: Decoder) -> Decoder:
    """A plain decoder to write with, of a policy with corrections of low rank."""
    return Decoder(model.config).eval()


def take_merged(plain: Decoder, model: Decoder) -> None:
    """Give it the policy's weights of now, corrections merged."""
    own = plain.state_dict()
    plain.load_state_dict({name: value for name, value in merged_state(model).items() if name in own})


@torch.no_grad()
def logps_of(model: Decoder, sequences: Sequence[Answered], pad: int, precision: Precision = "fp32") -> list[Tensor]:
    """ln p of each token written, each (W,), by the trainer's forward pass in its precision."""
    was = model.training
    model.eval()
    found: list[Tensor] = [torch.empty(0)] * len(sequences)
    for batch, numbers, places in rows_of(sequences, model.config.context, pad):
        there = batch["weights"] > 0
        logps_BT = torch.zeros(there.shape)
        with autocast(precision):
            states_BTD = model.hidden(batch["tokens"], batch["positions"], batch["segments"]) * model.config.logits_scale
            logps_BT[there] = token_logps(states_BTD[there], model.head_weight, batch["targets"][there], softcap=model.config.softcap).logps_N
        for number, (row, span, _) in zip(numbers, places, strict=True):
            found[number] = logps_BT[row, span].clone()
    model.train(was)
    return found


@torch.no_grad()
def values_of(model: ActorCritic, sequences: Sequence[Answered], pad: int, precision: Precision = "fp32") -> list[Tensor]:
    """What the critic expects at each place that writes, each (W,)."""
    found: list[Tensor] = [torch.empty(0)] * len(sequences)
    model.critic.eval()
    for batch, numbers, places in rows_of(sequences, model.config.context, pad):
        with autocast(precision):
            scores_BT = model.critic.scores(batch["tokens"], batch["positions"], batch["segments"])
        for number, (row, span, _) in zip(numbers, places, strict=True):
            found[number] = scores_BT[row, span].clone()
    model.critic.train(model.training)
    return found
