"""The architecture: section `model`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from groundup.recipe.strict import Strict


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
    """The architecture. What is not given is the family's, or derived from the budget, the data and the measured machine."""

    family: Literal["llama", "fast"] = "llama"
    """`llama` (Touvron et al. 2023): pre-RMSNorm, rotary positions, SwiGLU, no biases; exports to stock classes.
    `fast`: what small budgets gain from (squared ReLU, QK-norm, learned shortcuts, n-gram and value
    embeddings); learns more in the same minutes and runs only here."""
    layers: Annotated[int, Field(ge=1)] | None = None
    """Transformer layers."""
    width: Annotated[int, Field(ge=8)] | None = None
    """Width of the residual stream."""
    heads: Annotated[int, Field(ge=1)] | None = None
    """Attention heads; they divide the width into even parts."""
    kv_heads: Annotated[int, Field(ge=1)] | None = None
    """Heads of keys and values; equal to `heads` when not given."""
    feedforward: Annotated[int, Field(ge=8)] | None = None
    """Inner width of the feed-forward sublayer; not given: 8/3 of the width rounded up to a multiple of 32 for SwiGLU
    (Shazeer 2020), 4 times the width for squared ReLU."""
    context: Annotated[int, Field(ge=8)] | None = None
    """Positions the model sees at once (tokens)."""
    tied: bool | None = None
    """Share the input embedding and the output head; llama: yes (at this scale the embedding is much of the model),
    fast: no."""
    activation: Literal["swiglu", "relu2"] | None = None
    """Of the feed-forward sublayer; llama: swiglu, fast: relu2."""
    norm: Literal["rms", "layer", "batch"] | None = None
    """Normalisation; both families: rms. `batch` depends on how a batch is cut into micro-batches."""
    qk_norm: bool | None = None
    """RMSNorm on queries and keys; fast: yes."""
    softcap: Annotated[float, Field(ge=0)] | None = None
    """Logits are kept within +-softcap by a tanh (Gemma 2: 30, nanochat: 15); 0 is off, as in both families."""
    shortcut: bool | None = None
    """Learned scalars mix the embedding into each layer's input; fast: yes."""
    value_embeddings: bool | None = None
    """A gated embedding of the token is added to the values of every other layer; fast: yes."""
    zero_output: bool | None = None
    """Output projections start at zero; fast: yes."""
    ngram_rows: list[Annotated[int, Field(ge=1)]] | None = None
    """Rows of the tables that embed a token with the one, two, ... tokens before it; derived for fast, none for llama."""
    ngram_dropout: Annotated[float, Field(ge=0, lt=1)] | None = None
    """Probability of leaving out an n-gram's vector in training; more passes over the text want more of it."""
    dropout: Dropout = Dropout()
    """None by default: pretraining that sees its text a few times does not overfit (PaLM)."""
    rope_base: Annotated[float, Field(gt=1)] = 10_000.0
    """Base of the rotary frequencies (Su et al. 2021)."""
    init_std: Annotated[float, Field(gt=0)] = 0.02
    """Standard deviation of the normal initialisation; projections back into the residual stream are scaled
    by 1/sqrt(2 layers) (GPT-2)."""
