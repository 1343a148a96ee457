"""The budget and the optimizer: section `training`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from groundup.recipe.strict import Strict

Task = Literal["next-token", "prefix", "masked", "masked-and-next-sentence", "span-corruption", "continuation", "permutation"]


class Phase(Strict):
    """A part of the run with its own batch and context: small and short early learns more in the same time."""

    until: Annotated[float, Field(gt=0, le=1)]
    """Share of the run's tokens at which the phase ends; the last one's is 1."""
    batch_tokens: Annotated[int, Field(ge=8)] | None = None
    """Tokens an optimizer step sees; `training.batch_tokens` when not given."""
    context: Annotated[int, Field(ge=8)] | None = None
    """Row length (tokens), a divisor of the model's context; the model's when not given."""


class Training(Strict):
    """The objective, the budget and the optimizer of pretraining."""

    like: str | None = None
    """A preset whose published settings are taken (`groundup presets NAME`): optimizer, rates, schedule, batch, decay, dropout;
    what else is given here goes before it. The budget stays this run's."""
    objective: Task | None = None
    """Not given: decoders `next-token`, bert `masked-and-next-sentence`, t5 `span-corruption`, transformer `continuation`, xlnet
    `permutation`. See docs/models.md."""
    whole_words: bool = False
    """masked: choose all tokens of a word together (BERT's later whole-word masking)."""
    minutes: Annotated[float, Field(gt=0)] | None = 10.0
    """Training time the steps are derived from; ignored when `steps` is given (minutes)."""
    steps: Annotated[int, Field(ge=1)] | None = None
    """Optimizer steps, exactly."""
    batch_tokens: Annotated[int, Field(ge=8)] | Literal["auto"] | None = None
    """Tokens an optimizer step sees; accumulation is derived from it. `auto`: as many as one forward pass can hold, found
    by trying; not given: derived from the model's width."""
    micro_batch: Annotated[int, Field(ge=1)] | Literal["auto"] | None = None
    """Rows a forward pass sees; not given: the fastest known to fit; `auto`: the most that fit, found by trying."""
    phases: list[Phase] = []
    """Batch size and context on the way, in order; empty: the same all the way."""
    max_epochs: Annotated[float, Field(gt=0)] = 20.0
    """Passes over the text at most when steps are derived. Up to 4 repeats are nearly as good as new text, past
    about 16 they are worth little (Muennighoff et al. 2023, arXiv 2305.16264)."""
    optimizer: Literal["adamw", "adam", "sgd", "adafactor", "lion", "muon"] = "muon"
    """After 250 steps of a small llama muon stands at 2.60 bits per byte and adamw at 3.41 (docs/measurements.md), hence the default.
    `muon` (Jordan et al. 2024) moves the layers' matrices and AdamW the rest; `adafactor` (Shazeer & Stern 2018),
    `lion` (Chen et al. 2023); `adam` and `sgd` decay nothing by themselves (set l2)."""
    learning_rate: Annotated[float, Field(gt=0)] | None = None
    """Peak; derived from the optimizer and the width when not given. With muon: AdamW's, for all but the matrices."""
    matrix_learning_rate: Annotated[float, Field(gt=0)] = 0.02
    """Muon's peak (Jordan et al. 2024; nanochat)."""
    embedding_factor: Annotated[float, Field(gt=0)] | None = None
    """Peak of the embeddings as a multiple of `learning_rate`; derived when not given: 1, and much more for the fast
    family, whose embedding is normalised."""
    sparse_learning_rate: Annotated[float, Field(gt=0)] | None = None
    """Peak of the n-gram tables' Adagrad; derived when not given: 0.1 where the run sees its text about once, 0.01 where it
    sees it more often, since what a table sees twice it knows by heart."""
    schedule: Literal["constant", "step", "exponential", "linear", "cosine", "inverse_sqrt", "wsd", "one_cycle"] = "wsd"
    """How the learning rate falls after the warm-up. `wsd` stays at the peak and falls over the last `cooldown` of the run (Hägele et
    al. 2024: as good as cosine, which GPT-3 and LLaMA used). See them: `groundup plan RECIPE --schedule`."""
    warmup: Annotated[float, Field(ge=0, lt=1)] = 0.02
    """Share of the run with a linear rise."""
    final_share: Annotated[float, Field(ge=0, le=1)] | None = None
    """Learning rate at the end as a share of the peak; not given: 0.1 for cosine and exponential (GPT-3, LLaMA), 0 for the others."""
    cooldown: Annotated[float, Field(gt=0, le=1)] = 0.4
    """wsd: share of the run in which the rate falls (modded-nanogpt: 0.4 and more as runs get shorter)."""
    cooldown_shape: Literal["linear", "sqrt", "cosine"] = "linear"
    """wsd: how it falls; `sqrt` is 1 - sqrt(x) (Hägele et al. 2024)."""
    step_at: list[Annotated[float, Field(gt=0, lt=1)]] = [0.5, 0.75]
    """step: where on the way the rate drops (He et al. 2016)."""
    step_factor: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """step: by which factor (He et al. 2016)."""
    betas: tuple[float, float] = (0.9, 0.95)
    """Adam's, AdamW's and Lion's (GPT-3, LLaMA)."""
    eps: Annotated[float, Field(gt=0)] = 1e-8
    """Adam's and AdamW's (GPT-3)."""
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.95
    """SGD's and Muon's, in Nesterov's form (Jordan et al. 2024)."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.1
    """Decoupled, on matrices only (GPT-3, LLaMA: 0.1)."""
    l2: Annotated[float, Field(ge=0)] = 0.0
    """True L2: the loss gains l2 / 2 times the sum of squared weights of matrices, before clipping and the optimizer."""
    l1: Annotated[float, Field(ge=0)] = 0.0
    """L1: the loss gains l1 times the sum of the absolute weights of matrices."""
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of each target spread over the vocabulary (Szegedy et al. 2016; Vaswani et al. 2017: 0.1)."""
    z_loss: Annotated[float, Field(ge=0)] = 0.0
    """Weight of (ln Z)^2, which keeps logits from drifting (PaLM: 1e-4)."""
    router_balance: Annotated[float, Field(ge=0)] = 0.01
    """Experts: weight of the loss that evens out their work (Switch, Fedus et al. 2022: 0.01)."""
    router_z: Annotated[float, Field(ge=0)] = 0.001
    """Experts: weight of the router's z-loss (ST-MoE, Zoph et al. 2022: 0.001)."""
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Decay of a running average of the weights, which is then evaluated and kept; 0 is off (0.999 averages about 1,000
    steps; Polyak & Juditsky 1992)."""
    early_stopping: Annotated[int, Field(ge=1)] | None = None
    """Stop after so many evaluations in a row without a better one and keep the best; not given: never."""
    clip: Annotated[float, Field(gt=0)] = 1.0
    """Norm the gradient is clipped to (GPT-3, LLaMA)."""
    spike_sigmas: Annotated[float, Field(gt=0)] | None = 6.0
    """A step whose loss or gradient norm lies so many standard deviations above the mean of the last 128 is skipped
    (OLMo-core's SkipStepAdamW: 6); null: only what is not a number."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """`auto`: bf16 where the measured matrix product is at least 1.2 times fp32's."""
    compile: Literal["auto"] | bool = "auto"
    """`auto`: torch.compile where a C++ compiler is there and the run is long enough to pay for it."""
    evaluations: Annotated[int, Field(ge=0)] = 10
    """Times the held-out loss is measured on the way, evenly spaced."""
    keep_checkpoints: Annotated[int, Field(ge=1)] = 2
    """Checkpoints kept, one each tenth of the run; the newest is always kept."""
    checkpoint_seconds: Annotated[float, Field(ge=0)] = 15.0
    """Seconds between checkpoints; stretched so that writing them stays under 2 % of the time."""
    loader_threads: Annotated[int, Field(ge=0)] = 0
    """Threads that prepare batches ahead. A batch costs well under a hundredth of a step on a CPU, so none; an accelerator
    wants some."""
    track: list[Literal["tensorboard", "wandb"]] = ["tensorboard"]
    """Where curves go beside log.jsonl: `tensorboard` writes event files into the run folder; `wandb` needs the `track`
    extra and follows WANDB_MODE (offline: into the run folder)."""

    @property
    def falls_to(self) -> float:
        """`final_share`, settled."""
        usual = 0.1 if self.schedule in ("cosine", "exponential") else 0.0
        return usual if self.final_share is None else self.final_share

    @model_validator(mode="after")
    def _consistent(self) -> Training:
        ends = [phase.until for phase in self.phases]
        if ends and (ends != sorted(set(ends)) or ends[-1] != 1):
            raise PydanticCustomError("phases", "phases end at {e}; they must rise and the last one end at 1", {"e": str(ends)})
        if self.schedule == "wsd" and self.warmup + self.cooldown > 1:
            raise PydanticCustomError("cooldown", "warmup and cooldown together are more than the whole run")
        if self.schedule == "exponential" and self.falls_to == 0:
            raise PydanticCustomError("final_share", "an exponential schedule never reaches 0; set final_share above it")
        if self.schedule == "inverse_sqrt" and self.warmup == 0:
            raise PydanticCustomError("warmup", "inverse_sqrt falls from its warm-up; set warmup above 0")
        return self
