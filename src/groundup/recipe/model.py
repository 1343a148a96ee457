"""The architecture: section `model`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from groundup.recipe.strict import Strict

Family = Literal[
    "llama", "fast", "gpt1", "gpt2", "gpt3", "falcon", "falcon-rw", "palm", "moe", "bert", "transformer", "t5", "xlnet"
]  # fmt: skip
Activation = Literal["relu", "relu2", "gelu", "gelu_tanh", "silu", "reglu", "geglu", "geglu_tanh", "swiglu"]
Norm = Literal["rms", "layer", "batch", "none"]
Position = Literal["rotary", "learned", "sinusoidal", "alibi", "relative", "none"]
Init = Literal["normal", "gpt2", "xavier", "he", "orthogonal", "small", "t-fixup", "mup", "fast"]
Parallel = Literal["no", "one-norm", "two-norms"]
Residual = Literal["plain", "rezero", "deepnet", "depth"]


class Dropout(Strict):
    """Shares of values set to zero in training. A bare number sets all three."""

    embedding: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """On the embedding."""
    attention: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """On the attention weights."""
    residual: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """On each sublayer's output before it is added to the stream."""
    by_depth: bool = False
    """Residual dropout rises linearly from 0 in the first layer to its value in the last (LIMA, Zhou et al. 2023: to 0.3)."""

    @model_validator(mode="before")
    @classmethod
    def _number(cls, data: Any) -> Any:
        return {"embedding": data, "attention": data, "residual": data} if isinstance(data, int | float) else data


class Model(Strict):
    """The architecture. What is not given is the preset's or the family's, or derived from the budget, the data and the
    measured machine."""

    like: str | None = None
    """A preset to start from (`groundup presets`): its family, its size and its parts; what else is given here goes before it."""
    family: Family | None = None
    """llama when neither this nor `like` is given. Decoders: `llama` (Touvron et al. 2023: pre-RMSNorm, rotary positions, SwiGLU,
    no biases; exports to stock classes), `gpt1`, `gpt2`, `gpt3`, `falcon`, `falcon-rw`, `palm`, `moe` (llama with experts), and
    `fast`: what small budgets gain from (squared ReLU, QK-norm, learned shortcuts, n-gram and value embeddings), learns more in the same
    minutes and runs only here. Encoder: `bert`. Encoder-decoders: `transformer` (2017), `t5`. Permutation: `xlnet`."""
    layers: Annotated[int, Field(ge=1)] | None = None
    """Transformer layers; of an encoder-decoder the encoder's."""
    decoder_layers: Annotated[int, Field(ge=1)] | None = None
    """Encoder-decoder: the decoder's; as many as the encoder's when not given."""
    width: Annotated[int, Field(ge=8)] | None = None
    """Width of the residual stream."""
    heads: Annotated[int, Field(ge=1)] | None = None
    """Attention heads; they divide the width into even parts, unless `head_size` is given."""
    kv_heads: Annotated[int, Field(ge=1)] | None = None
    """Heads of keys and values; equal to `heads` when not given, 1 for falcon and palm."""
    head_size: Annotated[int, Field(ge=1)] | None = None
    """Width of one head; the width over the heads when not given."""
    feedforward: Annotated[int, Field(ge=8)] | None = None
    """Inner width of the feed-forward sublayer; not given: 8/3 of the width rounded up to a multiple of 32 for gated ones
    (Shazeer 2020), 4 times the width for others and for palm."""
    context: Annotated[int, Field(ge=8)] | None = None
    """Positions the model sees at once (tokens)."""
    tied: bool | None = None
    """Share the input embedding and the output head; llama: yes (at this scale the embedding is much of the model),
    fast: no."""
    activation: Activation | None = None
    """Of the feed-forward sublayer; the last four are gated."""
    bias: bool | None = None
    """Biases in the layers' linear maps."""
    norm: Norm | None = None
    """Normalisation. `batch` depends on how a batch is cut into micro-batches; `none` wants residual=rezero or init=t-fixup."""
    norm_place: Literal["pre", "post"] | None = None
    """Before each sublayer (GPT-2) or after its sum with the stream (Vaswani et al. 2017)."""
    parallel: Parallel | None = None
    """Attention and feed-forward side by side, behind one norm (PaLM, Falcon 7B) or two (Falcon 40B)."""
    residual: Residual | None = None
    """x + f; `rezero`: x + a f with a learned from 0 (Bachlechner et al. 2020); `deepnet`: c x + f (Wang et al. 2022);
    `depth`: x + f times `base_layers` over the layers (CompleteP, Dey et al. 2025, arXiv 2505.01618)."""
    position: Position | None = None
    """How a token knows where it stands."""
    rope_base: Annotated[float, Field(gt=1)] | None = None
    """Base of the rotary frequencies; 10,000 when not given (Su et al. 2021)."""
    rope_scaling: Annotated[float, Field(ge=1)] | None = None
    """Positions are divided by it (Chen et al. 2023)."""
    windows: list[Annotated[int, Field(ge=0)]] | None = None
    """Tokens a layer looks back at most, by layer, repeated to the end; 0 is all. GPT-3's alternating dense and banded layers: [0, 256]."""
    qk_norm: bool | None = None
    """RMSNorm on queries and keys; fast: yes."""
    attention_softcap: Annotated[float, Field(ge=0)] | None = None
    """Attention scores are kept within +-softcap by a tanh (Gemma 2: 50); 0 is off."""
    softcap: Annotated[float, Field(ge=0)] | None = None
    """Logits are kept within +-softcap by a tanh (Gemma 2: 30, nanochat: 15); 0 is off."""
    experts: Annotated[int, Field(ge=0)] | None = None
    """Feed-forward sublayers to choose from, a token at a time; 0: one that all take; moe: 8 (Mixtral)."""
    experts_a_token: Annotated[int, Field(ge=1)] | None = None
    """How many of them a token takes; 2 when not given (Mixtral)."""
    shared_experts: Annotated[int, Field(ge=0)] | None = None
    """Further ones that all tokens take (DeepSeekMoE)."""
    expert_capacity: Annotated[float, Field(gt=0)] | None = None
    """Places an expert has, as a multiple of its fair share (Switch: 1.25); not given: as many as come."""
    embedding_rank: Annotated[int, Field(ge=1)] | None = None
    """Factorised embedding: tables of this width, then a projection (ALBERT)."""
    shortcut: bool | None = None
    """Learned scalars mix the embedding into each layer's input; fast: yes."""
    value_embeddings: bool | None = None
    """A gated embedding of the token is added to the values of every other layer; fast: yes."""
    zero_output: bool | None = None
    """Output projections start at zero; fast: yes."""
    ngram_rows: list[Annotated[int, Field(ge=1)]] | None = None
    """Rows of the tables that embed a token with the one, two, ... tokens before it; derived for fast, none for others."""
    ngram_dropout: Annotated[float, Field(ge=0, lt=1)] | None = None
    """Probability of leaving out an n-gram's vector in training; more passes over the text want more of it."""
    dropout: Dropout = Dropout()
    """None by default: pretraining that sees its text a few times does not overfit (PaLM)."""
    init: Init | None = None
    """What the weights start from; see models/parts/init.py."""
    base_width: Annotated[int, Field(ge=8)] | None = None
    """init=mup: width of the small model whose learning rate is carried over; 128 when not given."""
    base_layers: Annotated[int, Field(ge=1)] | None = None
    """residual=depth: layers of that small model; 4 when not given."""
    init_std: Annotated[float, Field(gt=0)] | None = None
    """Standard deviation of a normal initialisation; 0.02 when not given (GPT-2)."""
