"""What is learned: an objective maps (model, batch) to sums; the trainer divides once by the global weight sum.

Shapes: B batch, T time, D model width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

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
    """Further sums; logged divided by `weight_sum`. `cross_entropy` where the loss is more than that."""
    asked: Tensor | None = None
    """Ids of the tokens that were asked for, (N,), where they are not the batch's weighted targets."""


Objective = Callable[[Any, Batch], Sums]
"""From a model of the kind it is for, and a batch."""


def borders(batch: Batch) -> Tensor | None:
    """The segments, where a row has more than one: rows of one document each need no mask, which costs time."""
    segments = batch["segments"]
    return None if bool((segments == segments[:, :1]).all()) else segments


@dataclass(frozen=True)
class NextToken:
    """Weighted cross-entropy of each target; with weights of 0 and 1 the usual language-model loss.

    Pretraining weighs every token within a document 1; supervised tuning weighs the answers alone.
    """

    label_smoothing: float = 0.0
    z_loss: float = 0.0
    router_balance: float = 0.01
    """Mixture of experts: weight of the loss that evens out their work."""
    router_z: float = 0.001
    """Mixture of experts: weight of the router's z-loss."""

    def __call__(self, model: Decoder, batch: Batch) -> Sums:
        """The sums; where anything is added to it, `metrics` has the plain cross-entropy beside the loss.

        The routers' losses are means over the micro-batch: the one part that depends on how a batch is cut.
        """
        x_BTD = model.hidden(batch["tokens"], batch["positions"], borders(batch), prefix_BT=batch.get("prefix"))
        if model.config.logits_scale != 1.0:
            x_BTD = x_BTD * model.config.logits_scale
        weights = batch["weights"].flatten()
        loss = head_loss(
            x_BTD.flatten(0, 1), model.head_weight, batch["targets"].flatten(), weights,
            softcap=model.config.softcap, label_smoothing=self.label_smoothing, z_loss=self.z_loss,
        )  # fmt: skip
        metrics = {"cross_entropy": loss.nll_sum} if self.label_smoothing or self.z_loss or model.config.experts else {}
        loss_sum = loss.loss_sum
        if model.config.experts:
            balance, z = model.router_losses()
            loss_sum = loss_sum + weights.sum() * (self.router_balance * balance + self.router_z * z)
            metrics["router_balance"] = weights.sum() * balance.detach() / model.config.layers
        return Sums(loss_sum, weights.sum(), metrics)


next_token = NextToken()
"""Plain cross-entropy."""


@dataclass(frozen=True)
class Prefix:
    """Prefix language model (Raffel et al. 2020, section 3.2.1): the beginning of each document is seen both ways, the rest is
    asked for one token after the other. Where the beginning ends is drawn anew, evenly over the document's part of the row.

        document  a b c d e      b is the prefix's last token; asked for: c after "a b", then d, e
    """

    after: NextToken

    def __call__(self, model: Decoder, batch: Batch) -> Sums:
        """The sums over what follows the prefixes."""
        segments = batch["segments"]
        B, T = segments.shape
        place_BT = batch["positions"]
        length_BS = torch.zeros(B, T, dtype=torch.long).scatter_add_(1, segments, torch.ones_like(segments))
        cut_BS = (torch.rand(B, T) * length_BS).long()
        prefix_BT = place_BT - place_BT.gather(1, first_of(segments)) <= cut_BS.gather(1, segments)
        next_BT = prefix_BT.roll(-1, 1) & (segments.roll(-1, 1) == segments)
        next_BT[:, -1] = False
        weights = batch["weights"] * ~next_BT
        found = self.after(model, {**batch, "weights": weights, "prefix": prefix_BT})
        return replace(found, asked=batch["targets"][weights > 0])


def first_of(segments_BT: Tensor) -> Tensor:
    """The first place of each place's segment, (B, T)."""
    T = segments_BT.shape[1]
    opens = torch.ones_like(segments_BT, dtype=torch.bool)
    opens[:, 1:] = segments_BT[:, 1:] != segments_BT[:, :-1]
    return torch.where(opens, torch.arange(T), 0).cummax(1).values


@dataclass(frozen=True)
class Masked:
    """BERT's objective (Devlin et al. 2019, section 3.1): a share of the tokens is chosen and asked for; of these most are
    hidden behind <|mask|>, some replaced by any token, the rest left as they are.

    Reads the text from a next-token batch's `targets`, so the same loader serves. Draws from torch's generator, which the
    trainer seeds by the step.
    """

    mask: int
    """Id of <|mask|>."""
    ordinary: Tensor
    """Which ids stand for text, bool (V,): they alone are asked for and put in another's place."""
    share: float = 0.15
    hidden: float = 0.8
    replaced: float = 0.1
    begins_word: Tensor | None = None
    """Bool (V,): which tokens begin a word; given, all tokens of a word are chosen together (whole-word masking)."""

    def __call__(self, model: Encoder, batch: Batch) -> Sums:
        """The sums; `metrics`: how many of the chosen tokens are guessed right."""
        text_BT, there_BT = batch["targets"], batch["weights"] > 0
        chosen_BT = self._choose(text_BT) & there_BT & self.ordinary[text_BT]
        fate_BT = torch.rand(text_BT.shape)
        read_BT = torch.where(chosen_BT & (fate_BT < self.hidden), self.mask, text_BT)
        ids = self.ordinary.nonzero().flatten()
        any_BT = ids[torch.randint(len(ids), text_BT.shape)]
        swapped_BT = chosen_BT & (fate_BT >= self.hidden) & (fate_BT < self.hidden + self.replaced)
        read_BT = torch.where(swapped_BT, any_BT, read_BT)
        x_BTD = model.hidden(read_BT, batch["positions"], borders(batch), batch.get("types"))
        logits_NV = model.logits(x_BTD[chosen_BT])
        targets_N = text_BT[chosen_BT]
        right = (logits_NV.argmax(-1) == targets_N).sum().float()
        loss = F.cross_entropy(logits_NV, targets_N, reduction="sum")
        return Sums(loss, chosen_BT.sum().float(), {"accuracy": right}, targets_N)

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
        metrics = {
            **found.metrics, "cross_entropy": found.loss_sum.detach(), "next_sentence_accuracy": weight * right,
            "next_sentence_loss": weight * loss.detach(),
        }  # fmt: skip
        return Sums(found.loss_sum + weight * loss, weight, metrics, found.asked)


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
    (Yang et al. 2019, section 2.2); a row is read in `pieces`, each with the states of the one before as memory (section 2.4).

    What is guessed: spans of 1 to 5 tokens, shorter ones likelier by 1 / length, each somewhere in a stretch of 1 + `mask_alpha` /
    `mask_beta` times its length; then single tokens until mask_beta in mask_alpha are (the paper's code: 6 and 1, so a sixth).
    """

    mask_alpha: int = 6
    mask_beta: int = 1
    longest_span: int = 5
    pieces: int = 2

    def __call__(self, model: PermutationModel, batch: Batch) -> Sums:
        """The sums over the guessed places."""
        memory, before = None, None
        losses, asked = [], []
        for text_BT, weights_BT, segments_BT in zip(*(batch[name].chunk(self.pieces, 1) for name in ("targets", "weights", "segments")), strict=True):
            B, T = text_BT.shape
            guessed_BT = self.choose(B, T) & (weights_BT > 0)
            rank_BT = torch.rand(B, T).argsort(1).argsort(1)
            place_BT = torch.where(guessed_BT, rank_BT, torch.full_like(rank_BT, -1))
            hidden_BTT = (place_BT[:, :, None] <= place_BT[:, None, :]) & guessed_BT[:, None, :]
            seen_BS = segments_BT if before is None else torch.cat((before, segments_BT), dim=1)
            apart_BTS = segments_BT[:, :, None] != seen_BS[:, None, :]
            hidden_BTS = F.pad(hidden_BTT, (seen_BS.shape[1] - T, 0), value=False) | apart_BTS
            found = model.streams(text_BT, hidden_BTS, memory=memory, guess=True)
            assert found.query_BTD is not None
            targets_N = text_BT[guessed_BT]
            losses.append(F.cross_entropy(model.logits(found.query_BTD[guessed_BT]), targets_N, reduction="sum"))
            asked.append(targets_N)
            memory, before = found.recent(T), segments_BT
        whole = torch.cat(asked)
        return Sums(torch.stack(losses).sum(), torch.tensor(float(len(whole))), {}, whole)

    def choose(self, B: int, T: int) -> Tensor:
        """Which places are guessed, bool (B, T)."""
        guessed = torch.zeros(B, T, dtype=torch.bool)
        wanted = max(1, T * self.mask_beta // self.mask_alpha)
        odds = 1 / torch.arange(1, self.longest_span + 1)
        for row in range(B):
            done = 0
            while done < T:
                length = int(torch.multinomial(odds, 1)) + 1
                around = length * self.mask_alpha // self.mask_beta
                start = done + int(torch.randint(around, (1,)))
                guessed[row, start : start + length] = True
                done += length + around
            chosen = guessed[row].nonzero().flatten()
            if len(chosen) > wanted:
                guessed[row, chosen[torch.randperm(len(chosen))[wanted:]]] = False
            elif len(chosen) < wanted:
                others = (~guessed[row]).nonzero().flatten()
                guessed[row, others[torch.randperm(len(others))[: wanted - len(chosen)]]] = True
        return guessed
