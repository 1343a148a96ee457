"""What is learned: an objective maps (model, batch) to sums; the trainer divides once by the global weight sum.

It does so in three steps, so that a model may be spread over machines: `prepare` draws whatever is random about the
batch, `states` runs the model up to its last layer, `sums` makes a loss of what came out.

Shapes: B batch, T time, D model width, V vocabulary.
"""

from __future__ import annotations

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


class Objective:
    """From a model of the kind it is for, and a batch, to sums: the three steps one after the other."""

    def prepare(self, batch: Batch) -> Batch:
        """The batch with everything drawn, from torch's generator, which the trainer seeds by step and micro-batch."""
        return batch

    def states(self, model: Any, batch: Batch) -> Any:
        """The last layer's output for a prepared batch."""
        raise NotImplementedError

    def sums(self, model: Any, states: Any, batch: Batch) -> Sums:
        """The loss of a prepared batch, given the last layer's output."""
        raise NotImplementedError

    def aside(self, model: Any, batch: Batch) -> Sums | None:
        """What layers are taught beside their output (routers), once they have run; part of `sums`."""
        return None

    def __call__(self, model: Any, batch: Batch) -> Sums:
        """All of it."""
        batch = self.prepare(batch)
        return self.sums(model, self.states(model, batch), batch)


def borders(batch: Batch) -> Tensor | None:
    """The segments, where a row has more than one: rows of one document each need no mask, which costs time."""
    segments = batch["segments"]
    return None if bool((segments == segments[:, :1]).all()) else segments


@dataclass(frozen=True)
class NextToken(Objective):
    """Weighted cross-entropy of each target; with weights of 0 and 1 the usual language-model loss.

    Pretraining weighs every token within a document 1; supervised tuning weighs the answers alone.
    """

    label_smoothing: float = 0.0
    z_loss: float = 0.0
    router_balance: float = 0.01
    """Mixture of experts: weight of the loss that evens out their work."""
    router_z: float = 0.001
    """Mixture of experts: weight of the router's z-loss."""

    def states(self, model: Decoder, batch: Batch) -> Tensor:
        """(B, T, D)."""
        return model.hidden(batch["tokens"], batch["positions"], borders(batch), prefix_BT=batch.get("prefix"))

    def sums(self, model: Decoder, states: Tensor, batch: Batch) -> Sums:
        """The sums; where anything is added to it, `metrics` has the plain cross-entropy beside the loss.

        The routers' losses are means over the micro-batch: the one part that depends on how a batch is cut.
        """
        found, aside = _written(model, states, batch, self.label_smoothing, self.z_loss), self.aside(model, batch)
        if aside is None:
            return found
        metrics = {"cross_entropy": found.loss_sum.detach(), **found.metrics, **aside.metrics}
        return Sums(found.loss_sum + aside.loss_sum, found.weight_sum, metrics)

    def aside(self, model: Decoder, batch: Batch) -> Sums | None:
        """The routers' losses of the layers that are here."""
        if not model.config.experts:
            return None
        balance, z = model.router_losses()
        weight = batch["weights"].sum()
        loss = weight * (self.router_balance * balance + self.router_z * z)
        return Sums(loss, weight, {"router_balance": weight * balance.detach() / model.config.layers})


def _written(model: Decoder | EncoderDecoder, states_BTD: Tensor, batch: Batch, label_smoothing: float, z_loss: float) -> Sums:
    """The weighted cross-entropy of a batch's targets."""
    if model.config.logits_scale != 1.0:
        states_BTD = states_BTD * model.config.logits_scale
    weights = batch["weights"].flatten()
    loss = head_loss(
        states_BTD.flatten(0, 1), model.head_weight, batch["targets"].flatten(), weights,
        softcap=model.config.softcap, label_smoothing=label_smoothing, z_loss=z_loss,
    )  # fmt: skip
    return Sums(loss.loss_sum, weights.sum(), {"cross_entropy": loss.nll_sum} if label_smoothing or z_loss else {})


next_token = NextToken()
"""Plain cross-entropy."""


@dataclass(frozen=True)
class Prefix(NextToken):
    """Prefix language model (Raffel et al. 2020, section 3.2.1): the beginning of each document is seen both ways, the rest is
    asked for one token after the other. Where the beginning ends is drawn anew, evenly over the document's part of the row.

        document  a b c d e      b is the prefix's last token; asked for: c after "a b", then d, e
    """

    def prepare(self, batch: Batch) -> Batch:
        """`prefix` marks the beginnings; only what follows them is weighed."""
        segments = batch["segments"]
        B, T = segments.shape
        place_BT = batch["positions"]
        length_BS = torch.zeros(B, T, dtype=torch.long).scatter_add_(1, segments, torch.ones_like(segments))
        cut_BS = (torch.rand(B, T) * length_BS).long()
        prefix_BT = place_BT - place_BT.gather(1, first_of(segments)) <= cut_BS.gather(1, segments)
        next_BT = prefix_BT.roll(-1, 1) & (segments.roll(-1, 1) == segments)
        next_BT[:, -1] = False
        return {**batch, "weights": batch["weights"] * ~next_BT, "prefix": prefix_BT}

    def sums(self, model: Decoder, states: Tensor, batch: Batch) -> Sums:
        """The sums over what follows the prefixes."""
        return replace(super().sums(model, states, batch), asked=batch["targets"][batch["weights"] > 0])


def first_of(segments_BT: Tensor) -> Tensor:
    """The first place of each place's segment, (B, T)."""
    T = segments_BT.shape[1]
    opens = torch.ones_like(segments_BT, dtype=torch.bool)
    opens[:, 1:] = segments_BT[:, 1:] != segments_BT[:, :-1]
    return torch.where(opens, torch.arange(T), 0).cummax(1).values


@dataclass(frozen=True)
class Masked(Objective):
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

    def prepare(self, batch: Batch) -> Batch:
        """`tokens` as they are shown, `weights` 1 where a token is asked for."""
        text_BT, there_BT = batch["targets"], batch["weights"] > 0
        chosen_BT = self._choose(text_BT) & there_BT & self.ordinary[text_BT]
        fate_BT = torch.rand(text_BT.shape)
        read_BT = torch.where(chosen_BT & (fate_BT < self.hidden), self.mask, text_BT)
        ids = self.ordinary.nonzero().flatten()
        any_BT = ids[torch.randint(len(ids), text_BT.shape)]
        swapped_BT = chosen_BT & (fate_BT >= self.hidden) & (fate_BT < self.hidden + self.replaced)
        return {**batch, "tokens": torch.where(swapped_BT, any_BT, read_BT), "weights": chosen_BT.float()}

    def states(self, model: Encoder, batch: Batch) -> Tensor:
        """(B, T, D)."""
        return model.hidden(batch["tokens"], batch["positions"], borders(batch), batch.get("types"))

    def sums(self, model: Encoder, states: Tensor, batch: Batch) -> Sums:
        """The sums; `metrics`: how many of the chosen tokens are guessed right."""
        chosen_BT = batch["weights"] > 0
        targets_N = batch["targets"][chosen_BT]
        loss = head_loss(
            model.shaped(states[chosen_BT]), model.embedding.weight, targets_N, torch.ones(len(targets_N)), bias_V=model.head_bias, count_right=True
        )
        assert loss.right is not None
        return Sums(loss.loss_sum, chosen_BT.sum().float(), {"accuracy": loss.right}, targets_N)

    def _choose(self, text_BT: Tensor) -> Tensor:
        """Which tokens are asked for, bool (B, T)."""
        if self.begins_word is None:
            return torch.rand(text_BT.shape) < self.share
        starts_BT = self.begins_word[text_BT]
        starts_BT[:, 0] = True
        word_BT = starts_BT.long().cumsum(1) - 1
        return torch.rand(text_BT.shape).gather(1, word_BT) < self.share


@dataclass(frozen=True)
class MaskedAndNext(Masked):
    """BERT's two objectives together: hidden tokens, and whether the second sentence follows the first.

    Beside a masked batch: `types` (B, T), and `pairs` (P, 3): row, place of the pair's first token, 1 if the second sentence
    is any other.
    """

    def sums(self, model: Encoder, states: Tensor, batch: Batch) -> Sums:
        """The sums: the mean loss over the pairs is added to the mean over the hidden tokens, as BERT adds them."""
        found = super().sums(model, states, batch)
        row_P, place_P, other_P = batch["pairs"].unbind(1)
        scores_P2 = model.follows(states[row_P, place_P])
        loss = F.cross_entropy(scores_P2, other_P)
        right = (scores_P2.argmax(-1) == other_P).float().mean()
        weight = found.weight_sum
        metrics = {
            **found.metrics, "cross_entropy": found.loss_sum.detach(), "next_sentence_accuracy": weight * right,
            "next_sentence_loss": weight * loss.detach(),
        }  # fmt: skip
        return Sums(found.loss_sum + weight * loss, weight, metrics, found.asked)


@dataclass(frozen=True)
class SequenceToSequence(Objective):
    """Next token of the target, given the source: `source`, `source_positions`, `source_segments` beside the usual batch."""

    label_smoothing: float = 0.0
    z_loss: float = 0.0

    def states(self, model: EncoderDecoder, batch: Batch) -> Tensor:
        """(B, T, D)."""
        memory_BSD = model.encode(batch["source"], batch["source_positions"], batch["source_segments"])
        return model.hidden(batch["tokens"], batch["positions"], batch["segments"], memory_BSD, batch["source_segments"])

    def sums(self, model: EncoderDecoder, states: Tensor, batch: Batch) -> Sums:
        """The sums, as NextToken's."""
        return _written(model, states, batch, self.label_smoothing, self.z_loss)


@dataclass(frozen=True)
class Permutation(Objective):
    """XLNet's objective: of a random order of each row's tokens the last ones are guessed, each from all before it
    (Yang et al. 2019, section 2.2); a row is read in `pieces`, each with the states of the one before as memory (section 2.4).

    What is guessed: spans of 1 to 5 tokens, shorter ones likelier by 1 / length, each somewhere in a stretch of 1 + `mask_alpha` /
    `mask_beta` times its length; then single tokens until mask_beta in mask_alpha are (the paper's code: 6 and 1, so a sixth).
    """

    mask_alpha: int = 6
    mask_beta: int = 1
    longest_span: int = 5
    pieces: int = 2

    def prepare(self, batch: Batch) -> Batch:
        """`weights` 1 where a token is guessed; `rank`: each token's place in the order of its piece."""
        guessed, ranks = [], []
        for weights_BT in batch["weights"].chunk(self.pieces, 1):
            B, T = weights_BT.shape
            guessed.append(self.choose(B, T) & (weights_BT > 0))
            ranks.append(torch.rand(B, T).argsort(1).argsort(1))
        return {**batch, "weights": torch.cat(guessed, 1).float(), "rank": torch.cat(ranks, 1)}

    def states(self, model: PermutationModel, batch: Batch) -> Tensor:
        """The query stream's, (B, T, D)."""
        memory, before = None, None
        states = []
        for text_BT, weights_BT, rank_BT, segments_BT in zip(
            *(batch[name].chunk(self.pieces, 1) for name in ("targets", "weights", "rank", "segments")), strict=True
        ):
            T = text_BT.shape[1]
            guessed_BT = weights_BT > 0
            place_BT = torch.where(guessed_BT, rank_BT, torch.full_like(rank_BT, -1))
            hidden_BTT = (place_BT[:, :, None] <= place_BT[:, None, :]) & guessed_BT[:, None, :]
            seen_BS = segments_BT if before is None else torch.cat((before, segments_BT), dim=1)
            apart_BTS = segments_BT[:, :, None] != seen_BS[:, None, :]
            hidden_BTS = F.pad(hidden_BTT, (seen_BS.shape[1] - T, 0), value=False) | apart_BTS
            found = model.streams(text_BT, hidden_BTS, memory=memory, guess=True)
            assert found.query_BTD is not None
            states.append(found.query_BTD)
            memory, before = found.recent(T), segments_BT
        return torch.cat(states, dim=1)

    def sums(self, model: PermutationModel, states: Tensor, batch: Batch) -> Sums:
        """The sums over the guessed places."""
        guessed_BT = batch["weights"] > 0
        targets_N = batch["targets"][guessed_BT]
        loss = head_loss(states[guessed_BT], model.embedding.weight, targets_N, torch.ones(len(targets_N)), bias_V=model.head_bias)
        return Sums(loss.loss_sum, torch.tensor(float(len(targets_N))), {}, targets_N)

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
