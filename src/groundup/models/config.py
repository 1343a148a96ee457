"""What a model is: every number needed to build it, and nothing about how it is trained."""

from __future__ import annotations

from typing import Literal

from pydantic import model_validator
from pydantic_core import PydanticCustomError

from groundup.recipe import Strict


class ModelConfig(Strict):
    """A fully resolved architecture; saved as `config.json` beside the weights."""

    family: Literal["llama"] = "llama"
    vocabulary: int
    """Tokens in the embedding and the head."""
    context: int
    """Positions the model sees at once (tokens)."""
    layers: int
    width: int
    heads: int
    kv_heads: int
    feedforward: int
    """Inner width of SwiGLU."""
    tied: bool = True
    dropout: float = 0.0
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


def default_feedforward(width: int) -> int:
    """SwiGLU's inner width: 8/3 of the width, as many parameters as a 4x plain layer (Shazeer 2020), to 32."""
    return -(-(8 * width // 3) // 32) * 32
