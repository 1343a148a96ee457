"""Models that leave the building.

    run folder --Leaving.of--> config, weights, tokenizer --+--> hf           a stock Hugging Face class, its tokenizer, a model card
                                                            +--> gguf         one file for llama.cpp
                                                            +--> safetensors  our own names: a checkpoint without its optimizer

Everything is written beside OUT under a hidden name and renamed when whole; what fails leaves nothing behind.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from groundup.errors import RequestError
from groundup.export import gguf, huggingface
from groundup.export.leaving import DTYPES, Leaving, in_dtype
from groundup.models.huggingface.folder import write_tensors
from groundup.run import Run, sync_folder, write_atomic

Format = Literal["hf", "gguf", "safetensors"]


def export(run: Run, to: Format, out: Path, *, base: bool = False, dtype: str | None = None, quantize: str | None = None) -> dict[str, Any]:
    """Write a run's newest model, the tuned one where there is one unless `base`; returns what was written.

    `dtype`: f32 (when not given), f16, bf16, of hf and safetensors; `quantize`: f16 (when not given), q8_0, q4_0, of gguf. Raises
    RequestError where the model or its tokenizer has no equal in that format, or where OUT is taken.
    """
    for given, name, known, belongs in ((dtype, "--dtype", tuple(DTYPES), to != "gguf"), (quantize, "--quantize", gguf.QUANTIZATIONS, to == "gguf")):
        if given is not None and not belongs:
            raise RequestError(f"{name} says nothing of {to}", where=name, do="Say --quantize for gguf, --dtype for hf and safetensors.")
        if given is not None and given not in known:
            raise RequestError(f"no {name[2:]} '{given}'", where=name, do=f"These are known: {', '.join(known)}.")
    free(out, folder=to != "gguf")
    leaving = Leaving.of(run, base=base)
    with appearing(out) as work:
        if to == "gguf":
            gguf.write(leaving, work, quantize or "f16")
        else:
            work.mkdir()
            if to == "hf":
                huggingface.write(leaving, work, dtype or "f32")
            else:
                write_tensors(work, in_dtype(leaving.weights, dtype or "f32"))
                write_atomic(work / "config.json", leaving.config.model_dump_json(indent=1) + "\n")
                write_atomic(work / "tokenizer.json", leaving.tokenizer_text)
    return {
        "name": run.recipe.name, "path": str(out), "format": to, "family": leaving.config.family, "tuned": leaving.tuned,
        "parameters": leaving.parameters, "dtype": None if to == "gguf" else dtype or "f32", "quantization": (quantize or "f16") if to == "gguf" else None,
        "bytes": sum(path.stat().st_size for path in ([out] if out.is_file() else out.rglob("*")) if path.is_file()),
    }  # fmt: skip


def free(out: Path, *, folder: bool) -> None:
    """Raise RequestError where something is in the way: nothing is ever written over."""
    if out.is_dir() and folder and not any(out.iterdir()):
        return
    if out.exists() or out.is_symlink():
        what = "a folder of this name, and it is not empty" if out.is_dir() and folder else f"a {'folder' if out.is_dir() else 'file'} of this name"
        raise RequestError(f"there is {what}", where=str(out), do="Name a new one." if folder else "Name a new file, such as model.gguf.")


@contextmanager
def appearing(out: Path) -> Iterator[Path]:
    """A hidden path beside `out` to write to, a file or a folder; renamed to `out` at the end, removed where the end is not reached."""
    out.parent.mkdir(parents=True, exist_ok=True)
    work = out.with_name(f".{out.name}.tmp")
    _remove(work)  # of an export that was killed
    try:
        yield work
        for path in [work] if work.is_file() else [path for path in work.rglob("*") if path.is_file()]:
            path.chmod(work.stat().st_mode & 0o666)  # safetensors writes for its owner's eyes alone
            with path.open("rb+") as file:
                os.fsync(file.fileno())
        work.replace(out)
        sync_folder(out.parent)
    finally:
        _remove(work)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
