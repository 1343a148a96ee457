"""Answers that are compared, packed into batches of the trainer.

What must be seen together is an element: all answers of a ranking, or a group of labelled answers with the mismatched ones that
KTO's estimate of KL needs. A micro-batch holds so many elements, each answer with its prompt as a segment of its own; how they are
packed into rows, and how a step is cut into micro-batches, changes no loss (`training/preference.py` shows such a batch).

    ranking of K answers     K sequences, and its pairs, each of weight 1 / pairs
    group of G answers       2 G sequences: x_i y_i, and x_i y_(i+1), the answer to the next prompt of the group

Sums of log-probabilities under the model that tuning starts from are measured once, before the first step: an element is the same in
every epoch (groups are drawn once), only their order changes.

Shapes: B rows, T time, A answers, P pairs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from groundup.dialogue.chat_template import ChatTemplate
from groundup.dialogue.conversations import in_epochs
from groundup.dialogue.format.record import Labelled, Ranking
from groundup.dialogue.sequences import Answered, packed
from groundup.errors import GroundupError
from groundup.training.objectives import Batch


@dataclass(frozen=True)
class Element:
    """What is seen together."""

    sequences: tuple[Answered, ...]
    pairs: tuple[tuple[int, int], ...] = ()
    """(better, worse), places in `sequences`; empty in a group of labelled answers."""
    good: tuple[bool, ...] = ()
    """Of a group, for each sequence."""
    mismatched: tuple[bool, ...] = ()


def of_rankings(template: ChatTemplate, rankings: Iterable[Ranking], room: int) -> tuple[list[Element], int]:
    """Elements, and how many rankings are left out since one of their answers has more than `room` tokens with its prompt:
    a row and one, or a row where answers are scored."""
    found, left_out = [], 0
    for one in rankings:
        sequences = tuple(Answered.of(template, one.prompt, answer) for answer in one.answers)
        if max(len(sequence.tokens) for sequence in sequences) > room:
            left_out += 1
        else:
            found.append(Element(sequences, tuple(one.pairs)))
    return found, left_out


def of_labelled(template: ChatTemplate, labelled: Iterable[Labelled], room: int, group: int, seed: int) -> tuple[list[Element], int]:
    """Elements of `group` answers each (the last may be smaller, but has two), and how many answers are left out."""
    if group < 2:
        raise ValueError(f"a group of {group} has no mismatched answers")
    kept, left_out = [], 0
    for one in labelled:
        if len(Answered.of(template, one.prompt, one.answer).tokens) > room:
            left_out += 1
        else:
            kept.append(one)
    order = torch.randperm(len(kept), generator=torch.Generator().manual_seed(seed)).tolist()
    elements = []
    starts = [start for start in range(0, len(order), group) if len(order) - start >= 2]
    left_out += len(order) - sum(min(group, len(order) - start) for start in starts)
    for start in starts:
        members = [kept[place] for place in order[start : start + group]]
        own = [Answered.of(template, one.prompt, one.answer) for one in members]
        others = [Answered.of(template, one.prompt, members[(place + 1) % len(members)].answer) for place, one in enumerate(members)]
        fitting = [(one, other) for one, other in zip(members, others, strict=True) if len(other.tokens) <= room]
        sequences = (*own, *(other for _, other in fitting))
        good = (*(one.good for one in members), *(one.good for one, _ in fitting))
        elements.append(Element(sequences, (), good, (False,) * len(own) + (True,) * len(fitting)))
    return elements, left_out


@dataclass
class PackedPreferences:
    """A batch source of the trainer: elements in packed rows, each epoch in its own seeded order.

    A pure function of (step, micro). `scored`: for a reward model, whose rows hold the last token too and say where answers end.
    """

    elements: Sequence[Element]
    length: int
    """Tokens a row (T)."""
    each: int
    """Elements a micro-batch."""
    micro_batches: int
    seed: int
    pad: int
    scored: bool = False
    reference: list[list[float]] | None = None
    """By element, the sum of log-probabilities of each sequence's answer; see `measure`."""

    def __post_init__(self) -> None:
        if not self.elements:
            raise GroundupError("no preference is left to learn from", where="dialogue", do="Give preferences with shorter answers, or a longer context.")
        longest = max(len(one.tokens) for element in self.elements for one in element.sequences)
        if longest > self.length + (not self.scored):
            raise ValueError(f"{longest} tokens of a sequence for rows of {self.length}")

    @property
    def steps_per_epoch(self) -> float:
        """Optimizer steps that see each element once."""
        return len(self.elements) / (self.each * self.micro_batches)

    def parts(self, step: int) -> int:
        """Micro-batches a step is cut into."""
        return self.micro_batches

    def __call__(self, step: int, micro: int) -> Batch:
        """The batch of (step, micro)."""
        first = (step * self.micro_batches + micro) * self.each
        return self.batch([in_epochs(place, len(self.elements), self.seed) for place in range(first, first + self.each)])

    def measure(self, sums: Callable[[Batch], Tensor]) -> None:
        """Fill `reference`: `sums` gives the log-probabilities of a batch's answers, (A,), under the model that tuning starts from."""
        self.reference, measured = None, []
        for start in range(0, len(self.elements), self.each):
            part = list(range(start, min(start + self.each, len(self.elements))))
            values = sums(self.batch(part)).tolist()
            for number in part:
                count = len(self.elements[number].sequences)
                measured.append(values[:count])
                values = values[count:]
        self.reference = measured

    def batch(self, numbers: Sequence[int]) -> Batch:
        """These elements, packed."""
        elements = [self.elements[number] for number in numbers]
        sequences = [sequence for element in elements for sequence in element.sequences]
        offsets = [0]
        for element in elements:
            offsets.append(offsets[-1] + len(element.sequences))
        batch, spans = packed(sequences, self.length, self.pad, scored=self.scored)
        if self.scored:
            batch["ends"] = torch.tensor([(span.row, span.end) for span in spans])
        else:
            batch["answers"] = torch.full(batch["tokens"].shape, -1)
            for number, span in enumerate(spans):
                batch["answers"][span.row, span.places] = number
            batch["lengths"] = torch.tensor([float(len(one.tokens) - one.asked) for one in sequences])
        if self.reference is not None:
            batch["reference"] = torch.tensor([value for number in numbers for value in self.reference[number]])
        if elements[0].pairs:
            pairs = [(offset + better, offset + worse) for offset, element in zip(offsets, elements, strict=False) for better, worse in element.pairs]
            batch["pairs"] = torch.tensor(pairs)
            batch["pair_weights"] = torch.tensor([1 / len(element.pairs) for element in elements for _ in element.pairs])
        else:
            batch["good"] = torch.tensor([one for element in elements for one in element.good])
            batch["mismatched"] = torch.tensor([one for element in elements for one in element.mismatched])
            batch["groups"] = torch.tensor([group for group, element in enumerate(elements) for _ in element.sequences])
        return batch
