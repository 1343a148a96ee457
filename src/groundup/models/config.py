"""What a model is: every number needed to build it, and nothing about how it is trained."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import model_validator
from pydantic_core import PydanticCustomError

from groundup.recipe import Strict

Family = Literal["llama", "fast"]


class ModelConfig(Strict):
    """A fully resolved architecture; saved as `config.json` beside the weights."""

    family: Family = "llama"
    vocabulary: int
    """Tokens in the embedding and the head."""
    context: int
    """Positions the model sees at once (tokens)."""
    layers: int
    width: int
    heads: int
    kv_heads: int
    feedforward: int
    """Inner width of the feed-forward sublayer."""
    activation: Literal["swiglu", "relu2"] = "swiglu"
    norm: Literal["rms", "layer", "batch"] = "rms"
    norm_scale: bool = True
    """Learned scale (and shift, but in RMSNorm) of the norms."""
    qk_norm: bool = False
    """RMSNorm on each head's queries and keys after rotation."""
    embedding_norm: bool = False
    """The norm without scale on the embedding's output."""
    softcap: float = 0.0
    """Logits are softcap * tanh(logits / softcap); 0 is off."""
    shortcut: bool = False
    """Each layer starts from a * x + b * embedding, both learned scalars."""
    value_embeddings: bool = False
    """Every other layer, the last one included, adds a gated embedding of the token to its values."""
    ngram_rows: tuple[int, ...] = ()
    """Rows of the tables that embed the token with the one before it, the two before it, ...; empty is off."""
    ngram_dropout: float = 0.0
    """Probability of leaving out an n-gram's vector in training."""
    zero_output: bool = False
    """Projections back into the residual stream and the head start at zero."""
    tied: bool = True
    embedding_dropout: float = 0.0
    attention_dropout: float = 0.0
    residual_dropout: float = 0.0
    dropout_by_depth: bool = False
    """Residual dropout rises linearly from 0 in the first layer to its value in the last (LIMA)."""
    rope_base: float = 10_000.0
    norm_eps: float = 1e-5
    init_std: float = 0.02

    @model_validator(mode="after")
    def _sensible(self) -> ModelConfig:
        if self.width % self.heads:
            raise PydanticCustomError("heads", "width {w} is not divisible by {h} heads", {"w": self.width, "h": self.heads})
        if self.width // self.heads % 2:
            raise PydanticCustomError("heads", "head width {h} is odd; rotary positions need pairs", {"h": self.width // self.heads})
        if self.heads % self.kv_heads:
            raise PydanticCustomError(
                "kv_heads", "{h} heads cannot share {k} kv_heads evenly", {"h": self.heads, "k": self.kv_heads}
            )
        return self

    @property
    def head_width(self) -> int:
        """Width of one head."""
        return self.width // self.heads

    @property
    def portable(self) -> bool:
        """Whether a stock Hugging Face class computes the same."""
        return self.family == "llama"

    def has_value_embedding(self, layer: int) -> bool:
        """Every other layer, the last one included (nanochat)."""
        return self.value_embeddings and (self.layers - 1 - layer) % 2 == 0

    def residual_dropout_at(self, layer: int) -> float:
        """The residual dropout of a layer, 0-based."""
        return self.residual_dropout * (layer / max(1, self.layers - 1) if self.dropout_by_depth else 1.0)


FAMILIES: dict[Family, dict[str, Any]] = {
    # Touvron et al. 2023, arXiv 2302.13971
    "llama": {},
    # what small runs gain from, each documented in modded-nanogpt's records and nanochat's log: ReLU^2 (So et al. 2021),
    # QK-norm, zero-initialised outputs, embedding shortcut, value embeddings (Zhou et al. 2024); n-gram tables are derived
    "fast": {
        "activation": "relu2", "norm_scale": False, "qk_norm": True, "embedding_norm": True,
        "shortcut": True, "value_embeddings": True, "zero_output": True, "tied": False,
    },
}  # fmt: skip
"""What a family sets; a recipe may override each part."""


def default_feedforward(width: int, activation: str = "swiglu") -> int:
    """SwiGLU's inner width: 8/3 of the width, as many parameters as a 4x plain layer (Shazeer 2020), to 32; else 4x."""
    return -(-(8 * width // 3) // 32) * 32 if activation == "swiglu" else 4 * width
