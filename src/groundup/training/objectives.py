"""What is learned: an objective maps (model, batch) to sums; the trainer divides once by the global weight sum.

Shapes: B batch, T time, D model width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional as F

from groundup.models.decoder import Decoder
from groundup.models.encoder import Encoder
from groundup.models.encoder_decoder import EncoderDecoder
from groundup.models.permutation import PermutationModel
from groundup.training.cross_entropy import head_loss

Batch = dict[str, Tensor]
"""`tokens`, `targets`, `weights` (0 = not trained on), `positions`, `segments`; each (B, T)."""


@dataclass(frozen=True)
class Sums:
    """Sums over a batch: of weighted losses (nats), of weights, and of anything worth logging."""

    loss_sum: Tensor
    weight_sum: Tensor
    metrics: dict[str, Tensor] = field(default_factory=dict)
    """Further sums; logged divided by `weight_sum`."""


Objective = Callable[[Decoder, Batch], Sums]


@dataclass(frozen=True)
class NextToken:
    """Weighted cross-entropy of each target; with weights of 0 and 1 the usual language-model loss.

    Pretraining weighs every token within a document 1; supervised tuning weighs the answers alone.
    """

    label_smoothing: float = 0.0
    z_loss: float = 0.0

    def __call__(self, model: Decoder, batch: Batch) -> Sums:
        """The sums; where smoothing or the z-loss is on, `metrics` has the plain cross-entropy beside it."""
        segments = batch["segments"]
        whole = bool((segments == segments[:, :1]).all())  # rows of one document each need no mask, which costs time
        x_BTD = model.hidden(batch["tokens"], batch["positions"], None if whole else segments)
        weights = batch["weights"].flatten()
        loss = head_loss(
            x_BTD.flatten(0, 1), model.head_weight, batch["targets"].flatten(), weights,
            softcap=model.config.softcap, label_smoothing=self.label_smoothing, z_loss=self.z_loss,
        )  # fmt: skip
        plain = {"cross_entropy": loss.nll_sum} if self.label_smoothing or self.z_loss else {}
        return Sums(loss.loss_sum, weights.sum(), plain)


next_token = NextToken()
"""Plain cross-entropy."""


@dataclass(frozen=True)
class Masked:
    """BERT's objective (Devlin et al. 2019, section 3.1): a share of the tokens is chosen and asked for; of these most are
    hidden behind <|mask|>, some replaced by any token, the rest left as they are.

    Reads the text from a next-token batch's `targets`, so the same loader serves. Draws from torch's generator, which the
    trainer seeds by the step.
    """

    mask: int
    """Id of <|mask|>."""
    ordinary: tuple[int, int]
    """[first, past the last) of the ids that stand for text: what a token may be replaced by."""
    share: float = 0.15
    hidden: float = 0.8
    replaced: float = 0.1
    begins_word: Tensor | None = None
    """Bool (V,): which tokens begin a word; given, all tokens of a word are chosen together (whole-word masking)."""

    def __call__(self, model: Encoder, batch: Batch) -> Sums:
        """The sums; `metrics`: how many of the chosen tokens are guessed right."""
        text_BT, there_BT = batch["targets"], batch["weights"] > 0
        first, last = self.ordinary
        there_BT = there_BT & (text_BT >= first) & (text_BT < last)
        chosen_BT = self._choose(text_BT) & there_BT
        fate_BT = torch.rand(text_BT.shape)
        read_BT = torch.where(chosen_BT & (fate_BT < self.hidden), self.mask, text_BT)
        any_BT = torch.randint(first, last, text_BT.shape)
        swapped_BT = chosen_BT & (fate_BT >= self.hidden) & (fate_BT < self.hidden + self.replaced)
        read_BT = torch.where(swapped_BT, any_BT, read_BT)
        segments = batch["segments"]
        whole = bool((segments == segments[:, :1]).all())
        x_BTD = model.hidden(read_BT, batch["positions"], None if whole else segments)
        logits_NV = model.logits(x_BTD[chosen_BT])
        targets_N = text_BT[chosen_BT]
        right = (logits_NV.argmax(-1) == targets_N).sum().float()
        loss = F.cross_entropy(logits_NV, targets_N, reduction="sum")
        return Sums(loss, chosen_BT.sum().float(), {"accuracy": right})

    def _choose(self, text_BT: Tensor) -> Tensor:
        """Which tokens are asked for, bool (B, T)."""
        if self.begins_word is None:
            return torch.rand(text_BT.shape) < self.share
        starts_BT = self.begins_word[text_BT]
        starts_BT[:, 0] = True
        word_BT = starts_BT.long().cumsum(1) - 1
        return torch.rand(text_BT.shape).gather(1, word_BT) < self.share


@dataclass(frozen=True)
class MaskedAndNext:
    """BERT's two objectives together: hidden tokens, and whether the second sentence follows the first.

    Beside a masked batch: `types` (B, T), and `pairs` (P, 3): row, place of the pair's first token, 1 if the second sentence
    is any other.
    """

    masked: Masked

    def __call__(self, model: Encoder, batch: Batch) -> Sums:
        """The sums: the mean loss over the pairs is added to the mean over the hidden tokens, as BERT adds them."""
        found = self.masked(model, batch)
        row_P, place_P, other_P = batch["pairs"].unbind(1)
        x_BTD = model.hidden(batch["tokens"], batch["positions"], batch["segments"], batch["types"])
        scores_P2 = model.follows(x_BTD[row_P, place_P])
        loss = F.cross_entropy(scores_P2, other_P)
        right = (scores_P2.argmax(-1) == other_P).float().mean()
        weight = found.weight_sum
        return Sums(found.loss_sum + weight * loss, weight, {**found.metrics, "next_sentence_accuracy": weight * right, "next_sentence_loss": weight * loss.detach()})


@dataclass(frozen=True)
class SequenceToSequence:
    """Next token of the target, given the source: `source`, `source_positions`, `source_segments` beside the usual batch."""

    label_smoothing: float = 0.0
    z_loss: float = 0.0

    def __call__(self, model: EncoderDecoder, batch: Batch) -> Sums:
        """The sums, as NextToken's."""
        memory_BSD = model.encode(batch["source"], batch["source_positions"], batch["source_segments"])
        x_BTD = model.hidden(batch["tokens"], batch["positions"], batch["segments"], memory_BSD, batch["source_segments"])
        weights = batch["weights"].flatten()
        loss = head_loss(
            x_BTD.flatten(0, 1) * model.config.logits_scale, model.head_weight, batch["targets"].flatten(), weights,
            label_smoothing=self.label_smoothing, z_loss=self.z_loss,
        )  # fmt: skip
        plain = {"cross_entropy": loss.nll_sum} if self.label_smoothing or self.z_loss else {}
        return Sums(loss.loss_sum, weights.sum(), plain)


@dataclass(frozen=True)
class Permutation:
    """XLNet's objective: of a random order of each row's tokens the last ones are guessed, each from all before it
    (Yang et al. 2019, section 2.2). `share` of the places, in spans: of every mask_alpha spans' worth of text one span of
    mask_alpha / mask_beta-th is guessed (their flags: 6 and 1, which is a sixth)."""

    share: float = 1 / 6
    longest_span: int = 5

    def __call__(self, model: PermutationModel, batch: Batch) -> Sums:
        """The sums over the guessed places."""
        text_BT, there_BT = batch["targets"], batch["weights"] > 0
        B, T = text_BT.shape
        guessed_BT = self._spans(B, T) & there_BT
        rank_BT = torch.rand(B, T).argsort(1).argsort(1)
        place_BT = torch.where(guessed_BT, rank_BT, torch.full_like(rank_BT, -1))
        hidden_BTT = (place_BT[:, :, None] <= place_BT[:, None, :]) & guessed_BT[:, None, :]
        segments = batch["segments"]
        apart_BTT = segments[:, :, None] != segments[:, None, :]
        found = model.streams(text_BT, hidden_BTT | apart_BTT, segments, guess=True)
        assert found.query_BTD is not None
        logits_NV = model.logits(found.query_BTD[guessed_BT])
        loss = F.cross_entropy(logits_NV, text_BT[guessed_BT], reduction="sum")
        return Sums(loss, guessed_BT.sum().float())

    def _spans(self, B: int, T: int) -> Tensor:
        """Spans of 1 to `longest_span` places, each at a random place of a stretch 1/share times as long."""
        guessed = torch.zeros(B, T, dtype=torch.bool)
        for row in range(B):
            done = 0
            while done < T:
                length = int(torch.randint(1, self.longest_span + 1, (1,)))
                stretch = max(length, round(length / self.share))
                start = done + int(torch.randint(0, stretch - length + 1, (1,)))
                guessed[row, start : start + length] = True
                done += stretch
        return guessed
