"""How a base model becomes an assistant: the methods of `dialogue.stages`, each with its published settings.

Peaks of the learning rate are shares of pretraining's peak (AdamW's): a published rate belongs to a model of billions, and the
small models that train here want rates as much larger as in pretraining. Where a method's paper tunes a model of known
pretraining, the share is theirs: InstructGPT 9e-6 of GPT-3 6.7B's 1.2e-4.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from groundup.recipe.strict import Strict

Share = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]


class LowRank(Strict):
    """LoRA (Hu et al. 2021): the model stays as it is and learns a correction of low rank beside each of its layers' matrices."""

    rank: Count = 8
    """Rows of a correction (Hu et al. 2021, table 6: 4 to 8 suffice)."""
    alpha: Annotated[float, Field(gt=0)] = 16.0
    """A correction counts alpha / rank times (twice: common practice since Alpaca-LoRA)."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """On what a correction reads (QLoRA, Dettmers et al. 2023: 0.05 to 0.1 for the smaller models)."""


class Supervised(Strict):
    """Loss on the assistant's turns; its budget and data are the section's own."""

    method: Literal["sft"] = "sft"


class Lima(Strict):
    """A thousand good examples, many epochs (LIMA, Zhou et al. 2023, arXiv 2305.11206, section 3)."""

    method: Literal["lima"]
    examples: Count | None = 1000
    """So many are picked by quality and diversity where there are more (dialogue/selection.py); null: all are taken."""
    epochs: Count = 15
    """Passes; each one's model is kept."""
    batch: Count = 32
    """Examples a step."""
    learning_rate_share: Share = 1 / 15
    """Peak: 1e-5 of LLaMA 65B's 1.5e-4. It falls as a line to a tenth, without warm-up; AdamW with 0.9, 0.95 and decay 0.1."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.3
    """Residual dropout of the last layer, rising from 0 in the first."""
    choice: Literal["last", "loss"] | Count | Annotated[str, Field(pattern=r"^[\w.]+:\w+$")] = "last"
    """Which epoch's model is taken: the last; the one of the lowest held-out loss (misleads: answers get better while it rises, LIMA's
    appendix B); the n-th; or what a function says, `module:function`, given the checkpoints' folders in order."""


class OpenChat(Strict):
    """C-RLFT: data of mixed quality, each class with a prefix and a weight of its own (OpenChat, Wang et al. 2023, arXiv 2309.11235)."""

    method: Literal["openchat"]
    classes: dict[str, Annotated[float, Field(ge=0)]] = {"GPT4": 1.0, "GPT3": 0.1}
    """Weight of each `condition` of the data; answers are asked for in the class of the highest (section 4.1)."""
    epochs: Count = 5
    """Section 4.1."""
    batch_tokens: Count | None = None
    """Tokens a step; not given: pretraining's (OpenChat: 200,000)."""
    learning_rate_share: Share = 0.22
    """Peak: 6.7e-5 of LLaMA 2 13B's 3e-4, falling as a cosine to a tenth; AdamW with 0.9, 0.95 and decay 0.1."""


class Reward(Strict):
    """A model that scores answers, from rankings (InstructGPT, Ouyang et al. 2022, section 3.5 and appendix C.2)."""

    method: Literal["reward"]
    epochs: Count = 1
    """More overfit (appendix C.2)."""
    batch: Count = 64
    """Prompts a step, each with all its answers."""
    learning_rate_share: Share = 0.075
    """Peak: 9e-6 of 1.2e-4, falling as a cosine to a tenth."""
    held_out: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """Share of the prompts that accuracy and calibration are measured on and nothing is learned from."""


BETAS = {"dpo": 0.1, "ipo": 0.1, "kto": 0.1, "orpo": 0.1, "simpo": 2.0}
"""DPO: Rafailov et al. 2023, appendix B; IPO and KTO: the same; ORPO: lambda of Hong et al. 2024, table 8; SimPO: Meng et al. 2024, table 7."""


class Preference(Strict):
    """Learning from preferences without a reward model; see docs/dialogue.md for which is for what."""

    method: Literal["dpo", "ipo", "kto", "orpo", "simpo"]
    beta: Annotated[float, Field(gt=0)] | None = None
    """How far the model may go from where it started (ORPO: the odds ratio's weight); not given: 0.1, SimPO 2."""
    gamma: Annotated[float, Field(ge=0)] = 1.0
    """simpo: the margin asked for (table 7: 0.3 to 1.6)."""
    pair_smoothing: Annotated[float, Field(ge=0, lt=0.5)] = 0.0
    """dpo: share of the pairs taken to be the wrong way round (Mitchell 2023)."""
    liked: Annotated[float, Field(gt=0)] = 1.0
    """kto: weight of answers that were liked (section 4.2: so that both kinds weigh alike)."""
    disliked: Annotated[float, Field(gt=0)] = 1.0
    """kto: of those that were not."""
    epochs: Count = 3
    """Tülu 2 (Ivison et al. 2023) and Zephyr (Tunstall et al. 2023): 3."""
    batch: Count = 64
    """Pairs, or answers, a step (Rafailov et al. 2023, appendix B)."""
    learning_rate_share: Share = 0.02
    """Peak: Zephyr's 5e-7 to Meng et al.'s 8e-6 (ORPO) of Mistral's unknown one stand between 0.002 and 0.03 of LLaMA's 3e-4. A tenth
    of the run rises, then it falls as a line to 0."""
    held_out: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """Share of the prompts that accuracy is measured on."""


class _OnPolicy(Strict):
    """What methods share that learn from what the model itself writes."""

    episodes: Count = 4096
    """Answers written in all (InstructGPT: 256,000)."""
    max_tokens: Count = 128
    """Tokens of an answer at most; half of the context where that is less."""
    temperature: Annotated[float, Field(gt=0)] = 1.0
    """Of the writing. Other than 1, what is written is not quite the policy's that is learned."""
    clip: Annotated[float, Field(gt=0)] = 0.2
    """How far a token's probability may move before it stops to count (Schulman et al. 2017)."""
    held_out: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """Share of the prompts that are only measured on."""
    looks: Annotated[int, Field(ge=0)] = 5
    """Times the held-out prompts are answered on the way."""


class Ppo(_OnPolicy):
    """Proximal policy optimization against a reward model or rules (InstructGPT, section 3.5 and appendix C.4)."""

    method: Literal["ppo"]
    rollouts: Count = 512
    """Answers written at once, with one and the same policy."""
    minibatch: Count = 64
    """Answers a step."""
    inner_epochs: Count = 1
    """Passes over what was written."""
    learning_rate_share: Share = 0.075
    """Of policy and value function, constant: 9e-6 of 1.2e-4."""
    kl: Annotated[float, Field(ge=0)] = 0.02
    """beta: taken from the reward for each nat a token's probability has moved from the start's."""
    kl_target: Annotated[float, Field(gt=0)] | None = None
    """Given: beta follows, so that an answer's KL becomes so many nats (Ziegler et al. 2019: 6)."""
    kl_horizon: Count = 10_000
    """Answers: how slowly beta follows."""
    gamma: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Discount a token."""
    lam: Annotated[float, Field(ge=0, le=1)] = 0.95
    """Of generalised advantage estimation (Schulman et al. 2016). At 1 mistakes of the value function add noise and no bias: better where
    there are few rounds for it to learn in (docs/dialogue.md)."""
    value_weight: Annotated[float, Field(gt=0)] = 0.1
    """Of the value function's loss (Ziegler et al. 2019)."""
    value_clip: Annotated[float, Field(gt=0)] = 0.2
    """How far a value may move in a round before it stops to count."""
    whiten_rewards: bool = True
    """Rewards are divided by their standard deviation over what was written (Ziegler et al. 2019); their mean stays."""
    pretraining: Annotated[float, Field(ge=0)] = 27.8
    """PPO-ptx: weight of the next-token loss on the build's own text, as many rows of it as of answers; 0: none."""
    unfinished: float = -1.0
    """Score of an answer that came to no end, in deviations from the mean of the round's that did (Huang et al. 2024, arXiv 2403.17031,
    detail 2.3: -1 as it stands, of scores that lie about 0); the reward model never saw one."""


class Group(_OnPolicy):
    """Several answers to one prompt are each other's baseline: GRPO (Shao et al. 2024, arXiv 2402.03300), RLOO (Ahmadian et al. 2024,
    arXiv 2402.14740)."""

    method: Literal["grpo", "rloo"]
    group: Annotated[int, Field(ge=2)] | None = None
    """Answers a prompt; not given: 64 (GRPO, section 4.2), 4 (RLOO, section 4)."""
    batch: Count = 1024
    """Answers a step, which are all written by the policy of that step; prompts are as many as groups go into it (section 4.2)."""
    learning_rate_share: Share = 0.0024
    """Constant: 1e-6 of DeepSeekMath 7B's 4.2e-4."""
    kl: Annotated[float, Field(ge=0)] | None = None
    """beta: in the loss of GRPO (0.04), in the reward of RLOO (0.03) when not given."""
    scale: bool = True
    """grpo: advantages are divided by their group's standard deviation; Liu et al. 2025 (Dr. GRPO) do not."""
    weigh: Literal["token", "sequence", "constant"] = "sequence"
    """grpo: what counts the same, each token (DAPO), each answer (GRPO's equation 3), or neither's length (Dr. GRPO)."""
    unfinished: float | None = None
    """The same as PPO's; not given: what rule or reward model say of it as it stands."""

    @property
    def answers(self) -> int:
        """`group`, settled."""
        return self.group or (64 if self.method == "grpo" else 4)

    @property
    def beta(self) -> float:
        """`kl`, settled."""
        return self.kl if self.kl is not None else 0.04 if self.method == "grpo" else 0.03

    @model_validator(mode="after")
    def _whole_groups(self) -> Group:
        if self.batch % self.answers:
            raise PydanticCustomError("batch", "a batch of {b} answers is no whole number of groups of {g}", {"b": self.batch, "g": self.answers})
        return self


Stage = Annotated[Supervised | Lima | OpenChat | Reward | Preference | Ppo | Group, Field(discriminator="method")]
METHODS = ("sft", "lima", "openchat", "reward", "ppo", "grpo", "rloo", "dpo", "ipo", "kto", "orpo", "simpo")
BEFORE = {"reward": ("sft",), "ppo": ("sft", "reward"), **dict.fromkeys(("grpo", "rloo", "dpo", "ipo", "kto", "simpo"), ("sft",))}
"""What a method builds on, where a recipe does not say; the others begin with the base model."""
