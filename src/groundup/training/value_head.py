"""A decoder that scores instead of writing: one number at each place.

    reward model     the score of an answer is read at its last token (InstructGPT, section 3.5: the unembedding gives way to one)
    value function   the score of each place is what is still to come (PPO): a model of its own beside the policy, which starts as the
                     reward model (InstructGPT, appendix C.4)
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from groundup.models.config import ModelConfig
from groundup.models.decoder import Decoder


class ScoredDecoder(Decoder):
    """A decoder with a `score` beside its head."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        self.score = nn.Linear(config.width, 1)

    @classmethod
    def of(cls, decoder: Decoder, seed: int) -> ScoredDecoder:
        """With the weights of a decoder, which it takes over and shares; the score starts at a normal draw of variance 1 / (D + 1)
        (Stiennon et al. 2020, appendix B.1) and bias 0."""
        with torch.device("meta"):
            made = cls(decoder.config)
        for name, module in decoder.named_children():
            made.add_module(name, module)
        made.score = nn.Linear(decoder.config.width, 1)
        draw = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            made.score.weight.normal_(std=(decoder.config.width + 1) ** -0.5, generator=draw)
            made.score.bias.zero_()
        return made.train(decoder.training)

    def scores(self, tokens_BT: Tensor, positions_BT: Tensor, segments_BT: Tensor | None = None) -> Tensor:
        """The score at each place, (B, T)."""
        return at_least_float(self.score(self.hidden(tokens_BT, positions_BT, segments_BT)).squeeze(-1))


class ActorCritic(Decoder):
    """A policy and, as `critic`, its value function: what PPO trains at once. To all else it is the policy."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        self.critic = ScoredDecoder(config)

    @classmethod
    def of(cls, policy: Decoder, critic: ScoredDecoder) -> ActorCritic:
        """Of two models, whose weights it shares. They are of one shape."""
        with torch.device("meta"):
            made = cls(policy.config)
        for name, module in policy.named_children():
            made.add_module(name, module)
        made.critic = critic
        return made.train(policy.training)


def at_least_float(x: Tensor) -> Tensor:
    """Out of bf16, whose steps are too coarse for differences of scores."""
    return x.to(torch.promote_types(x.dtype, torch.float32))
