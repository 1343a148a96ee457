"""`kernels.c`, compiled for this processor when it is first needed and kept; and its structures.

Compiling takes two seconds, once for each machine and version. Where there is no C compiler, or what it made computes wrongly,
there are no kernels and decoding goes by torch's operations: the same texts, later.
"""

from __future__ import annotations

import ctypes
import os
import platform
import shlex
import shutil
import subprocess
import tempfile
from ctypes import Structure, addressof, c_float, c_int32, c_int64, c_void_p
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from groundup.progress import say
from groundup.run import cache_folder, digest

SOURCE = Path(__file__).with_name("kernels.c")
FLAGS = ("-O3", "-march=native", "-fopenmp", "-shared", "-fPIC", "-std=gnu11", "-fno-math-errno", "-fno-trapping-math")
PRODUCT = (32 + 8) * 1024  # floats of scratch: PANEL + SUMS of the source
FORMATS = {torch.float32: 0, torch.bfloat16: 1, torch.int8: 2}
NORMS = {"none": 0, "rms": 1, "layer": 2}


class Map(Structure):
    """A linear map; see the source for all of these."""

    _fields_ = (
        ("weight", c_void_p), ("scale", c_void_p), ("bias", c_void_p), ("outputs", c_int64), ("inputs", c_int64), ("format", c_int32),
    )  # fmt: skip


class Norm(Structure):
    """A norm."""

    _fields_ = (("weight", c_void_p), ("bias", c_void_p), ("eps", c_float), ("kind", c_int32))


class Frame(Structure):
    """What stands around a sublayer."""

    _fields_ = (("norm", Norm), ("alpha", c_float), ("factor", c_float), ("post", c_int32), ("width", c_int32))


class Attention(Structure):
    """An attention sublayer."""

    _fields_ = (
        ("frame", Frame), ("qkv", Map), ("out", Map), ("scales", c_void_p), ("turns", c_void_p), ("gate", c_void_p), ("values", c_void_p),
        ("slopes", c_void_p), ("eps", c_float), ("sharpness", c_float), ("scale", c_float), ("softcap", c_float), ("heads", c_int32),
        ("kv_heads", c_int32), ("head_width", c_int32), ("window", c_int32),
    )  # fmt: skip


class Feedforward(Structure):
    """A feed-forward sublayer."""

    _fields_ = (("frame", Frame), ("up", Map), ("down", Map), ("gated", c_int32), ("function", c_int32))


class Pass(Structure):
    """What all layers of a pass share."""

    _fields_ = (
        ("n", c_int64), ("tokens", c_void_p), ("positions", c_void_p), ("slots", c_void_p), ("capacity", c_int64), ("floats", c_int64),
        ("scratch", c_void_p), ("shared", c_void_p), ("threads", c_int32), ("cache_format", c_int32),
    )  # fmt: skip


def address(tensor: Tensor | None) -> int | None:
    """Where a tensor's numbers stand."""
    return None if tensor is None else tensor.data_ptr()


@cache
def library() -> Any | None:
    """The kernels, or None."""
    compiler = shlex.split(os.environ.get("CC", "")) or [shutil.which("cc") or shutil.which("gcc") or shutil.which("clang") or ""]
    if not shutil.which(compiler[0]):
        return None
    try:
        found = ctypes.CDLL(str(_compiled(compiler)))
        for name, arguments in (("attention", 5), ("feedforward", 4), ("head", 5)):
            getattr(found, name).argtypes, getattr(found, name).restype = [c_void_p] * arguments, None
        if not _right(found):
            raise OSError("they compute wrongly")
    except (OSError, subprocess.SubprocessError) as error:
        said = getattr(error, "stderr", None) or str(error)
        say(f"decoding goes without compiled kernels, slower: {' '.join(said.split())[:200]}")
        return None
    return found


def _compiled(compiler: list[str]) -> Path:
    """The shared library's file, made where it is not there yet."""
    version = subprocess.run([*compiler, "--version"], capture_output=True, text=True, check=True, timeout=60).stdout
    key = digest(SOURCE.read_text(), list(FLAGS), version, _processor())[:24]
    home = cache_folder("kernels")
    try:
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
        made = home / f"{key}.so"
        if made.is_file():
            return made
        place = tempfile.mkdtemp(dir=home)
    except OSError:  # a home that cannot be written to
        place = tempfile.mkdtemp()
        made = Path(place) / f"{key}.so"
    new = Path(place) / "new.so"
    subprocess.run([*compiler, *FLAGS, "-o", str(new), str(SOURCE), "-lm"], capture_output=True, text=True, check=True, timeout=300)
    new.replace(made)
    if made.parent != Path(place):
        shutil.rmtree(place)
    return made


def _processor() -> str:
    """What `-march=native` goes by: homes are shared between machines."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.platform() + platform.processor()
    return "\n".join(sorted({line for line in lines if line.startswith(("model name", "flags", "Features", "CPU part"))}))


def _right(found: Any) -> bool:
    """Whether a product of each format, of one row and of five, is torch's."""
    generator = torch.Generator().manual_seed(0)
    scratch, scale_O = torch.empty(PRODUCT + 64), torch.rand(21, generator=generator)
    for format in FORMATS:
        weight_OI = (20 * torch.randn(21, 37, generator=generator)).to(format)
        for n in (1, 5):
            x_nI, y_nO = torch.randn(n, 37, generator=generator), torch.empty(n, 21)
            frame = Frame(Norm(None, None, 0.0, NORMS["none"]), 0.0, 1.0, 0, 37)
            one = Map(address(weight_OI), address(scale_O), None, 21, 37, FORMATS[format])
            both = Pass(n=n, scratch=address(scratch), floats=PRODUCT, threads=1)
            found.head(addressof(frame), addressof(one), addressof(both), address(x_nI), address(y_nO))
            true_nO = x_nI @ weight_OI.float().T
            if not torch.allclose(y_nO, true_nO * scale_O if format == torch.int8 else true_nO, atol=1e-2):
                return False
    return True
