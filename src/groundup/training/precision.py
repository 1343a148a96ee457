"""How a model's arithmetic is carried out: number format and compilation."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, nullcontext
from typing import Literal

import torch

from groundup.models.build import Model
from groundup.models.config import ModelConfig
from groundup.models.decoder import Decoder
from groundup.run import cache_folder

Precision = Literal["fp32", "bf16"]


def autocast(precision: Precision, device_type: str = "cpu") -> AbstractContextManager[object]:
    """bf16 matrix products over fp32 weights, or plain fp32."""
    if precision == "bf16":
        return torch.autocast(device_type, dtype=torch.bfloat16)
    return nullcontext()


def compilable(config: ModelConfig) -> bool:
    """Whether compiling is of use: decoders alone, and where no router decides token by token."""
    return config.kind == "decoder" and not config.experts


def compiled(model: Model) -> None:
    """Compile a decoder's layers in place; what the compiler made is kept between runs in the user's cache folder."""
    assert isinstance(model, Decoder)
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(cache_folder("inductor")))
    model.stack = torch.compile(model.stack)  # type: ignore[method-assign]
