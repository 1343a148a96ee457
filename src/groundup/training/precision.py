"""How a model's arithmetic is carried out: number format and compilation."""

from __future__ import annotations

import os
import struct
from contextlib import AbstractContextManager, nullcontext, suppress
from pathlib import Path
from typing import Literal

import torch

from groundup.models.build import Model
from groundup.models.config import ModelConfig
from groundup.models.decoder import Decoder
from groundup.run import cache_folder

Precision = Literal["fp32", "bf16"]
os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(cache_folder("inductor")))  # before the first step of an optimizer, with which torch settles it


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
    forget_unfinished(Path(os.environ["TORCHINDUCTOR_CACHE_DIR"]))
    model.stack = torch.compile(model.stack)  # type: ignore[method-assign]


def forget_unfinished(folder: Path) -> None:
    """Remove libraries that a compiler was killed over: torch takes any file of the right name for a finished one and would fail on it
    for ever. One that a process is at work on is left to it."""
    from torch.utils._filelock import FileLock  # torch's own lock, of the name that its compiler takes

    for path in folder.glob("*/*.so"):
        if _whole(path):
            continue
        (folder / "locks").mkdir(exist_ok=True)
        with suppress(TimeoutError), FileLock(str(folder / "locks" / f"{path.name.partition('.')[0]}.lock"), timeout=0):
            if not _whole(path):
                path.unlink(missing_ok=True)


def _whole(path: Path) -> bool:
    """Whether a 64-bit ELF library (Linux) has its table of sections, which ends the file; of other systems' nothing but that it is not empty
    is asked."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            head = file.read(64)
    except FileNotFoundError:
        return True
    if size == 0 or not any(head):
        return False
    if head[:5] != b"\x7fELF\x02" or len(head) < 64:
        return head[:4] != b"\x7fELF"
    (sections,) = struct.unpack_from("<Q", head, 40)
    each, number = struct.unpack_from("<HH", head, 58)
    return bool(sections > 0 and sections + each * number <= size)
