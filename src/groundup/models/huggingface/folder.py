"""Weights in a Hugging Face folder: one file, or several with an index of which tensor is where.

    model.safetensors
    model.safetensors.index.json, model-00001-of-00003.safetensors, ...

Only safetensors are opened. A .bin file is a pickle, and a pickle is a program.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from groundup.errors import RequestError
from groundup.run import write_json

INDEX = "model.safetensors.index.json"
SHARD_BYTES = 5_000_000_000  # transformers' own limit for long


def read_tensors(folder: Path) -> dict[str, Tensor]:
    """All tensors of a folder. Raises RequestError where there are none, one is missing, or a file is damaged."""
    tensors: dict[str, Tensor] = {}
    try:
        for path in _files(folder):
            tensors |= load_file(path)
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise RequestError(f"its weights cannot be read ({error})", where=str(folder), do="Fetch the folder again: a file is missing or damaged.") from None
    if tensors:
        return tensors
    pickles = sorted(path.name for pattern in ("*.bin", "*.pt", "*.pth", "*.ckpt") for path in folder.glob(pattern))
    only = f", only {pickles[0]}, a pickle, which may run anything when it is opened" if pickles else ""
    raise RequestError(f"no *.safetensors here{only}", where=str(folder), do="Convert its weights to safetensors first.")


def _files(folder: Path) -> list[Path]:
    """Those that hold the model; an index leaves out what lies beside it (Mistral's consolidated copy)."""
    if (folder / INDEX).is_file():
        wanted = set(json.loads((folder / INDEX).read_text(encoding="utf-8"))["weight_map"].values())
        return [folder / Path(str(name)).name for name in sorted(wanted)]
    one = folder / "model.safetensors"
    return [one] if one.is_file() else sorted(folder.glob("*.safetensors"))


def write_tensors(folder: Path, tensors: Mapping[str, Tensor], limit: int = SHARD_BYTES) -> None:
    """Write tensors, in files of at most `limit` bytes unless one tensor alone has more, with an index if they are several."""
    shards: list[dict[str, Tensor]] = [{}]
    held = 0
    for name, tensor in sorted(tensors.items()):
        if held + tensor.nbytes > limit and shards[-1]:
            shards.append({})
            held = 0
        shards[-1][name] = tensor
        held += tensor.nbytes
    files = [f"model-{number:05d}-of-{len(shards):05d}.safetensors" for number in range(1, len(shards) + 1)] if len(shards) > 1 else ["model.safetensors"]
    for name, shard in zip(files, shards, strict=True):
        save_file(shard, folder / name, metadata={"format": "pt"})
    if len(shards) > 1:
        where = {tensor: name for name, shard in zip(files, shards, strict=True) for tensor in shard}
        size = sum(tensor.nbytes for tensor in tensors.values())
        write_json(folder / INDEX, {"metadata": {"total_size": size}, "weight_map": dict(sorted(where.items()))})
