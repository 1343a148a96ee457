"""A reward model after its training: its scores, and how far they can be trusted.

A loss of differences leaves open where scores have their zero. InstructGPT shifts them so that what people wrote has 0 on average
(section 3.5); here it is the better answers that it was trained on. `reward.json` keeps that mean, and their standard deviation beside it:

    {"mean": 0.83, "deviation": 1.21, "accuracy": 0.68, "length_accuracy": 0.55, ...}
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from groundup.dialogue.preference_batches import Element
from groundup.dialogue.sequences import Answered, packed
from groundup.errors import GroundupError
from groundup.run import read_json
from groundup.training import checkpoint
from groundup.training.preference_losses import calibration, expected_calibration_error
from groundup.training.value_head import ScoredDecoder

FILE = "reward.json"
AT_ONCE = 8  # rows of a forward pass


@dataclass(frozen=True)
class RewardModel:
    """Scores answers."""

    model: ScoredDecoder
    pad: int
    mean: float = 0.0

    @classmethod
    def load(cls, folder: Path, digest: str, pad: int) -> RewardModel:
        """Of a finished stage; `digest`: of the tokenizer."""
        path = checkpoint.newest(folder)
        model = None if path is None else checkpoint.load_model(path, digest)
        if not isinstance(model, ScoredDecoder):
            raise GroundupError("no whole reward model", where=str(folder), do="Remove this folder and tune again.")
        return cls(model, pad, float(read_json(folder / FILE)["mean"]))

    @torch.no_grad()
    def scores(self, sequences: Sequence[Answered]) -> list[float]:
        """Of each answer, read at its last token; 0 is what an average better answer gets."""
        was = self.model.training
        self.model.eval()
        found = [0.0] * len(sequences)
        T = self.model.config.context
        for batch, numbers, places in rows_of(sequences, T, self.pad, scored=True):
            scores_BT = self.model.scores(batch["tokens"], batch["positions"], batch["segments"])
            for number, (row, _, end) in zip(numbers, places, strict=True):
                found[number] = float(scores_BT[row, end]) - self.mean
        self.model.train(was)
        return found


def rows_of(sequences: Sequence[Answered], length: int, pad: int, *, scored: bool = False) -> list[tuple[dict[str, Tensor], list[int], list[tuple[int, slice, int]]]]:
    """The sequences as a few rows at a time: (batch, numbers of the sequences in it, their row, span and end)."""
    batch, spans = packed(sequences, length, pad, scored=scored)
    found = []
    for first in range(0, len(batch["tokens"]), AT_ONCE):
        part = {name: value[first : first + AT_ONCE] for name, value in batch.items()}
        numbers = [number for number, span in enumerate(spans) if first <= span.row < first + AT_ONCE]
        found.append((part, numbers, [(spans[n].row - first, spans[n].places, spans[n].end) for n in numbers]))
    return found


def measured(model: RewardModel, learned: Sequence[Element], held_out: Sequence[Element]) -> dict[str, Any]:
    """What `reward.json` says: `mean` and `deviation` of the better answers that were learned from (before any shift), and on held-out pairs
    `accuracy` with its `standard_error`, the accuracy of "the longer answer wins" and of chance, the expected calibration error, and
    confidence beside accuracy in bins."""
    better = model.scores([element.sequences[place] for element in learned for place in sorted({pair[0] for pair in element.pairs})])
    values = torch.tensor(better, dtype=torch.float64)
    found: dict[str, Any] = {"mean": float(values.mean()), "deviation": float(values.std()) if len(values) > 1 else 0.0}
    scores = iter(model.scores([sequence for element in held_out for sequence in element.sequences]))
    margins, longer = [], []
    for element in held_out:
        its = [next(scores) for _ in element.sequences]
        lengths = [len(one.tokens) for one in element.sequences]
        for one, other in element.pairs:
            margins.append(its[one] - its[other])
            longer.append(_won(lengths[one] - lengths[other]))
    if not margins:
        return found
    right = [_won(margin) for margin in margins]
    bins = calibration(torch.tensor(margins, dtype=torch.float64))
    accuracy = sum(right) / len(right)
    return {
        **found, "held_out_prompts": len(held_out), "held_out_pairs": len(margins), "accuracy": accuracy,
        "standard_error": (accuracy * (1 - accuracy) / len(margins)) ** 0.5, "chance": 0.5, "length_accuracy": sum(longer) / len(longer),
        "expected_calibration_error": expected_calibration_error(bins), "calibration": bins,
    }  # fmt: skip


def _won(margin: float) -> float:
    return 1.0 if margin > 0 else 0.5 if margin == 0 else 0.0
