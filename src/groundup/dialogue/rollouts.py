"""Batches that the model writes itself: rounds of answers to prompts, scored, measured, and packed for the one trainer.

    step  0  1  2  3 | 4  5  6  7 | 8 ...        a round of answers serves several steps (PPO), or one (GRPO, RLOO)
          ^            ^            ^
          the policy of this step writes the round

A round is a pure function of the seed, its number and the policy's weights at its first step. A run that goes on from a checkpoint within a
round cannot write it again, since those weights are gone: so rounds are kept beside the checkpoints, as long as any of these may
need them, and an adaptive beta goes on from the round before.

Shapes: W tokens written (of one answer), P prompts, K answers of a prompt.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar

import torch
from safetensors.torch import load_file, save
from torch import Tensor

from groundup.dialogue.author import Asked, Author, Written, logps_of, values_of
from groundup.dialogue.conversations import in_epochs
from groundup.dialogue.sequences import Answered, packed
from groundup.models.decoder import Decoder
from groundup.run import Run, digest, write_atomic
from groundup.tokens.loader import Batches
from groundup.training import checkpoint, policy
from groundup.training.objectives import Batch
from groundup.training.parallel import World
from groundup.training.precision import Precision
from groundup.training.value_head import ActorCritic

T = TypeVar("T")
FOLDER = "rounds"


@dataclass
class Experience:
    """What is learned from one answer: a number a token written, each (W,)."""

    sequence: Answered
    old_logps: Tensor
    reference_logps: Tensor
    advantages: Tensor
    weights: Tensor
    returns: Tensor
    old_values: Tensor

    PER_TOKEN = ("old_logps", "reference_logps", "advantages", "weights", "returns", "old_values")


Score = Callable[[Sequence[Asked], Sequence[Written]], list[float]]
"""The score of each answer."""


class Teach(Protocol):
    """From a round's scored answers to what is learned from them."""

    def __call__(self, written: Sequence[Written], scores: Sequence[float], logps: Sequence[Tensor], reference: Sequence[Tensor], values: Sequence[Tensor] | None, beta: float) -> list[Experience]:
        """The answers to one prompt stand together."""


@dataclass
class Rollouts:
    """A batch source of the trainer whose batches the trained model itself writes."""

    author: Author
    reference: Decoder
    prompts: Sequence[Asked]
    score: Score
    teach: Teach
    beta: policy.FixedKL
    answers: int
    """A round."""
    group: int
    """Answers a prompt."""
    minibatch: int
    """Answers a step."""
    inner_epochs: int
    rows: int
    """Rows of a micro-batch at most."""
    pad: int
    seed: int
    run: Run
    work: Path
    """The stage's folder."""
    title: str
    key: str
    precision: Precision = "fp32"
    """The trainer's."""
    unfinished: float | None = None
    """Score of an answer without an end, in place of its own: deviations from the mean of its round's with one."""
    pretraining: Batches | None = None
    """Text to mix in."""
    coefficient: float = 0.0
    """Its weight beside the policy's loss."""
    _round: int = field(default=-1, repr=False)
    _experience: list[Experience] = field(default_factory=list, repr=False)
    _step: int = field(default=-1, repr=False)
    _parts: list[Batch] = field(default_factory=list, repr=False)

    @property
    def steps_a_round(self) -> int:
        """Steps that learn from the same answers."""
        return self.inner_epochs * -(-self.answers // self.minibatch)

    def parts(self, step: int) -> int:
        """Micro-batches of a step; writes the answers where it begins a round."""
        self._prepare(step)
        return len(self._parts)

    def __call__(self, step: int, micro: int) -> Batch:
        """The batch of (step, micro)."""
        self._prepare(step)
        return self._parts[micro]

    def _prepare(self, step: int) -> None:
        if step == self._step:
            return
        number, within = divmod(step, self.steps_a_round)
        if number != self._round:
            if within:
                self._experience = self._read(number)
            else:
                self._experience = self._write(number, step)
            self._round = number
        a_pass = -(-self.answers // self.minibatch)
        epoch, place = divmod(within, a_pass)
        draw = torch.Generator().manual_seed(int(digest(self.seed, number, epoch)[:12], 16))
        order = torch.randperm(len(self._experience), generator=draw).tolist()
        chosen = sorted(order[place * self.minibatch : (place + 1) * self.minibatch])
        self._parts, self._step = self._packed([self._experience[number] for number in chosen], step), step

    def _packed(self, chosen: Sequence[Experience], step: int) -> list[Batch]:
        """Micro-batches of a step's answers, and of as many rows of text."""
        whole, spans = packed([one.sequence for one in chosen], self.author.model.config.context, self.pad)
        B = len(whole["tokens"])
        for name in Experience.PER_TOKEN:
            whole[name] = torch.zeros(whole["tokens"].shape)
            for one, span in zip(chosen, spans, strict=True):
                whole[name][span.row, span.places] = getattr(one, name)
        batches = [{name: value[first : first + self.rows] for name, value in whole.items()} for first in range(0, B, self.rows)]
        if self.pretraining is None:
            return batches
        texts = [self.pretraining(step, micro) for micro in range(len(batches))]
        weight = policy.mixed_weight(self.coefficient, float(whole["weights"].sum()), sum(float(text["weights"].sum()) for text in texts))
        return [_beside(batch, text, weight) for batch, text in zip(batches, texts, strict=True)]

    def _write(self, number: int, step: int) -> list[Experience]:
        """Write, score and measure a round, and keep it."""
        world = World.present()
        if number:
            self.beta.load(self._kept(number - 1)["beta"])
        wanted = self.answers // self.group
        asked = [self.prompts[in_epochs(place, len(self.prompts), self.seed)] for place in range(number * wanted, (number + 1) * wanted)]
        mine = asked[world.rank :: world.size]
        seed = int(digest(self.seed, "round", number)[:12], 16) + world.rank
        written = self.author.write(mine, seed, n=self.group)
        scores = self.score([prompt for prompt in mine for _ in range(self.group)], written)
        if world.size > 1:  # the answers to one prompt are one process's, so they stay together
            written, scores = _all(world, written), _all(world, scores)
        raw, used = scores, self.beta.beta
        if self.unfinished is not None:
            scores = policy.with_unfinished(scores, [one.ended for one in written], self.unfinished)
        figures = {
            "score": sum(scores) / len(scores), "score_as_it_stands": sum(raw) / len(raw), "beta": used,
            "response_tokens": sum(len(one.sequence.tokens) - one.sequence.asked for one in written) / len(written),
            "ended": sum(one.ended for one in written) / len(written),
        }  # fmt: skip
        if self.group > 1 and not used:
            figures["teaching"] = len(places := self._teaching(scores)) / len(scores)
            written, scores = [written[place] for place in places], [scores[place] for place in places]
        logps, reference, values = self._measured(world, [one.sequence for one in written])
        experience = self.teach(written, scores, logps, reference, values, used)
        kl = sum(float((own - other).sum()) for own, other in zip(logps, reference, strict=True)) / len(written)
        self.beta.update(kl, len(written))
        figures["kl"] = kl
        if world.first:
            self._keep(number, experience)
            self.run.log("rollout", stage=self.title, key=self.key, step=step, **{name: round(value, 5) for name, value in figures.items()})
        world.wait()
        return experience

    def _teaching(self, scores: Sequence[float]) -> list[int]:
        """The places of answers whose group has scores of more than one kind: without a KL in the loss the others teach nothing, and measuring
        and learning them would cost as much (DAPO, Yu et al. 2025, section 3.2, writes others in their place). One group stays in any case."""
        groups = [range(first, first + self.group) for first in range(0, len(scores), self.group)]
        mixed = [group for group in groups if len({scores[place] for place in group}) > 1]
        return [place for group in mixed or groups[:1] for place in group]

    def _measured(self, world: World, sequences: Sequence[Answered]) -> tuple[list[Tensor], list[Tensor], list[Tensor] | None]:
        """(log-probabilities, the reference's, what the critic expects) of each answer, the work shared."""
        mine, model = sequences[world.rank :: world.size], self.author.model
        measures: list[Callable[[], list[Tensor]]] = [lambda: logps_of(model, mine, self.pad, self.precision), lambda: logps_of(self.reference, mine, self.pad, self.precision)]
        if isinstance(model, ActorCritic):
            measures.append(lambda: values_of(model, mine, self.pad, self.precision))
        found: list[list[Tensor]] = []
        for measure in measures:
            parts = world.collect(measure())
            found.append([parts[place % world.size][place // world.size] for place in range(len(sequences))])
        return found[0], found[1], found[2] if len(found) > 2 else None

    def _path(self, number: int) -> Path:
        return self.work / FOLDER / f"round-{number:06d}"

    def _keep(self, number: int, experience: Sequence[Experience]) -> None:
        """Write a round down, and let go of those that no checkpoint can need."""
        folder = self.work / FOLDER
        folder.mkdir(exist_ok=True)
        sizes = [len(one.sequence.tokens) for one in experience]
        tensors = {name: torch.cat([getattr(one, name) for one in experience]) for name in Experience.PER_TOKEN}
        tensors["tokens"] = torch.tensor([token for one in experience for token in one.sequence.tokens])
        tensors["sizes"], tensors["asked"] = torch.tensor(sizes), torch.tensor([one.sequence.asked for one in experience])
        write_atomic(self._path(number).with_suffix(".safetensors"), save(tensors))
        write_atomic(self._path(number).with_suffix(".json"), json.dumps({"beta": self.beta.state()}) + "\n")
        oldest = min([step for step, _ in checkpoint.all_steps(self.work)], default=0) // self.steps_a_round - 1
        for path in folder.glob("round-*"):
            if int(path.stem.removeprefix("round-")) < oldest:
                path.unlink(missing_ok=True)

    def _kept(self, number: int) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self._path(number).with_suffix(".json").read_text())
        return found

    def _read(self, number: int) -> list[Experience]:
        """A round that an earlier try of this run wrote."""
        tensors = load_file(self._path(number).with_suffix(".safetensors"))
        sizes, asked = tensors["sizes"].tolist(), tensors["asked"].tolist()
        tokens = torch.split(tensors["tokens"], sizes)
        lengths = [size - before for size, before in zip(sizes, asked, strict=True)]
        parts = {name: torch.split(tensors[name], lengths) for name in Experience.PER_TOKEN}
        return [
            Experience(Answered(tuple(tokens[place].tolist()), asked[place]), **{name: parts[name][place] for name in Experience.PER_TOKEN})
            for place in range(len(sizes))
        ]  # fmt: skip


def _all(world: World, own: list[T]) -> list[T]:
    """What all processes have, in the order of their ranks."""
    return [one for each in world.collect(own) for one in each]


def _beside(batch: Batch, text: Batch, weight: float) -> Batch:
    """Rows of answers over rows of text, whose weights stand apart."""
    made: Batch = {}
    for name, value in batch.items():
        below = text[name] if name in ("tokens", "targets", "positions", "segments") else torch.zeros(text["tokens"].shape)
        made[name] = torch.cat([value, below])
    made["pretraining"] = torch.cat([torch.zeros(batch["weights"].shape), weight * text["weights"]])
    return made
