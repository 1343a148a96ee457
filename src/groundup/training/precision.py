"""Which number format a forward pass runs in."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Literal

import torch

Precision = Literal["fp32", "bf16"]


def autocast(precision: Precision, device_type: str = "cpu") -> AbstractContextManager[object]:
    """bf16 matrix products over fp32 weights, or plain fp32."""
    if precision == "bf16":
        return torch.autocast(device_type, dtype=torch.bfloat16)
    return nullcontext()
