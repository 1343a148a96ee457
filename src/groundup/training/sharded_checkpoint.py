"""Checkpoints that all processes write together and any number of processes can read: torch's DCP over safetensors files.

    step-0000120/
      shards/shard-00001-model-00001-of-00001.safetensors     what process 0 holds, with its place in the whole; ...
      config.json             ModelConfig
      state.json              step, what it belongs to, the spike guard's window, BLAKE2b of each file above

The matrices that one process keeps side by side lie apart here (`qkv.parts.0.weight`), so that each can be cut by itself.
Nothing is pickled. A checkpoint is written beside and renamed when all of it is there.
"""

from __future__ import annotations

import re
import shutil
import threading
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import torch
import torch.distributed as dist
from safetensors.torch import load_file
from torch import Tensor
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader, HuggingFaceStorageWriter
from torch.distributed.checkpoint.metadata import TensorStorageMetadata
from torch.distributed.checkpoint.state_dict_loader import load as load_tensors
from torch.distributed.checkpoint.state_dict_saver import save

from groundup.errors import GroundupError
from groundup.models.config import ModelConfig
from groundup.run import digest_file, sync_folder, write_atomic, write_json
from groundup.training.optimizers import Optimizers
from groundup.training.parts import Part

SHARDS = "shards"
PART = re.compile(r"\.parts\.(\d+)\.")


class Spread(Protocol):
    """A model spread over processes."""

    config: ModelConfig
    parts: list[Part]
    optimizer: Optimizers


def states(sharded: Spread, average: dict[str, Tensor]) -> dict[str, Tensor]:
    """Everything that a checkpoint keeps, by name: each tensor with its place in the whole."""
    found: dict[str, Tensor] = {}
    for part in sharded.parts:
        found[f"model.{part.name}"] = part.parameter.detach()
        for key, value in sharded.optimizer.state_of(part.local).items():
            found[f"optimizer.{part.name}:{key}"] = part.like(value.detach())
        if part.name in average:
            found[f"average.{part.name}"] = part.like(average[part.name])
    return found


class Saving:
    """A checkpoint on its way to the disk."""

    def __init__(
        self, folder: Path, step: int, sharded: Spread, state: dict[str, Any], average: dict[str, Tensor], group: Any,
        *, asynchronous: bool,
    ) -> None:  # fmt: skip
        """Start writing `folder/step-NNNNNNN`: all processes together. `group`: for the messages of the writing alone."""
        self.final, self.work = folder / f"step-{step:07d}", folder / f".step-{step:07d}.tmp"
        self._group, self._config, self._state = group, sharded.config, {**state, "step": step}
        self.error: str | None = None
        self._digests: dict[str, str] = {}
        if dist.get_rank() == 0:
            try:
                shutil.rmtree(self.work, ignore_errors=True)
                (self.work / SHARDS).mkdir(parents=True)
            except OSError as error:
                self.error = f"process 0: {error}"
        dist.barrier(group)
        writer = HuggingFaceStorageWriter(str(self.work / SHARDS), save_distributed=True)
        kept = {name: value.clone() if asynchronous else value for name, value in states(sharded, average).items()}
        self._thread = threading.Thread(target=self._write, args=(kept, writer), daemon=True)
        self._thread.start()
        if not asynchronous:
            self._thread.join()

    def _write(self, kept: dict[str, Tensor], writer: HuggingFaceStorageWriter) -> None:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                save(kept, storage_writer=writer, process_group=self._group)
            mine = f"shard-{dist.get_rank() + 1:05d}-"
            self._digests = {f"{SHARDS}/{path.name}": digest_file(path) for path in (self.work / SHARDS).iterdir() if path.name.startswith(mine)}
        except CheckpointException as error:  # a full disk on one process is everyone's
            self.error = "; ".join(f"process {rank}: {cause}" for rank, (cause, _) in sorted(error.failures.items()))
        except Exception as error:
            self.error = f"process {dist.get_rank()}: {type(error).__name__}: {error}".splitlines()[0]

    @property
    def ready(self) -> bool:
        """Whether this process's part is done, well or not."""
        return not self._thread.is_alive()

    def finish(self) -> str | None:
        """Put the checkpoint in its place when everyone is ready: all processes together. Returns why it could not be, or None."""
        self._thread.join()
        told: list[Any] = [None] * dist.get_world_size()
        dist.all_gather_object(told, (self.error, self._digests))
        problem = next((error for error, _ in told if error), None)
        if dist.get_rank() == 0:
            try:
                if problem is None:
                    files = {name: value for _, digests in told for name, value in digests.items()}
                    write_atomic(self.work / "config.json", self._config.model_dump_json(indent=1) + "\n")
                    files["config.json"] = digest_file(self.work / "config.json")
                    write_json(self.work / "state.json", {**self._state, "files": files})
                    sync_folder(self.work)
                    if self.final.exists():
                        shutil.rmtree(self.final)
                    self.work.rename(self.final)
                    sync_folder(self.final.parent)
                else:
                    shutil.rmtree(self.work, ignore_errors=True)
            except OSError as error:
                problem = f"process 0: {error}"
                shutil.rmtree(self.work, ignore_errors=True)
        told = [problem]
        dist.broadcast_object_list(told, src=0)
        return told[0]  # type: ignore[no-any-return]


def load(path: Path, sharded: Spread, average: dict[str, Tensor]) -> None:
    """Fill the parts of this process and their optimizer's state from a checkpoint that any number of processes wrote."""
    if not (path / SHARDS).is_dir():
        _load_whole(path, sharded, average)
        return
    reader = HuggingFaceStorageReader(str(path / SHARDS))
    known = {name: one.size for name, one in reader.read_metadata().state_dict_metadata.items() if isinstance(one, TensorStorageMetadata)}
    keys = _keys(known)
    wanted: dict[str, Tensor] = {}
    made: list[tuple[Part, str, Tensor]] = []
    for part in sharded.parts:
        name = f"model.{part.name}"
        if known.get(name) != part.parameter.shape:
            raise _unfit(path, part)
        wanted[name] = part.parameter.detach()
        for key in keys.get(part.name, []):
            size = known[f"optimizer.{part.name}:{key}"]
            local = torch.zeros(_local_shape(part, size), dtype=torch.float32 if not size else part.local.dtype, device=part.local.device)
            made.append((part, key, local))
            wanted[f"optimizer.{part.name}:{key}"] = part.like(local)
        if f"average.{part.name}" in known:
            average[part.name] = torch.zeros_like(part.local.detach())
            wanted[f"average.{part.name}"] = part.like(average[part.name])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        load_tensors(wanted, storage_reader=reader)
    found: dict[Part, dict[str, Tensor]] = {}
    for part, key, local in made:
        value = wanted[f"optimizer.{part.name}:{key}"]
        found.setdefault(part, {})[key] = local if value.ndim else value
    for part, state in found.items():
        sharded.optimizer.set_state(part.local, state)


def _load_whole(path: Path, sharded: Spread, average: dict[str, Tensor]) -> None:
    """The same from a checkpoint that one process wrote."""
    rows: dict[str, dict[int, int]] = {}
    for part in sharded.parts:  # how many rows each of the matrices has that one process keeps side by side
        if (match := PART.search(part.name)) is not None:
            rows.setdefault(part.name.replace(match[0], "."), {})[int(match[1])] = len(part.parameter)

    def own(part: Part, value: Tensor) -> Tensor:
        if (match := PART.search(part.name)) is not None and value.ndim:
            sizes = rows[part.name.replace(match[0], ".")]
            value = torch.split(value, [sizes[number] for number in sorted(sizes)])[int(match[1])]
        if not value.ndim:
            return value.clone()
        return part.own(value).to(part.local.device, part.local.dtype if value.is_floating_point() else value.dtype, copy=True)

    def named(part: Part) -> str:
        return PART.sub(".", part.name)

    weights, states = load_file(path / "model.safetensors"), load_file(path / "optimizer.safetensors")
    averages = load_file(path / "average.safetensors") if (path / "average.safetensors").exists() else {}
    keys = _keys({f"optimizer.{name}": value.shape for name, value in states.items()})
    for part in sharded.parts:
        if named(part) not in weights:
            raise _unfit(path, part)
        value = own(part, weights[named(part)])
        if value.shape != part.local.shape:
            raise _unfit(path, part)
        with torch.no_grad():
            part.local.copy_(value)
        if state := {key: own(part, states[f"{named(part)}:{key}"]) for key in keys.get(named(part), [])}:
            sharded.optimizer.set_state(part.local, state)
        if named(part) in averages:
            average[part.name] = own(part, averages[named(part)])


def _keys(known: Mapping[str, object]) -> dict[str, list[str]]:
    """The kinds of the optimizer's state by parameter."""
    keys: dict[str, list[str]] = {}
    for name in known:
        if name.startswith("optimizer."):
            of, _, key = name.removeprefix("optimizer.").rpartition(":")
            keys.setdefault(of, []).append(key)
    return keys


def _unfit(path: Path, part: Part) -> GroundupError:
    return GroundupError("the weights do not fit the model", where=str(path), do=f"{part.name} is missing or of another shape.")


def _local_shape(part: Part, size: torch.Size) -> tuple[int, ...]:
    if not size:
        return ()
    if size == part.parameter.shape:
        return tuple(part.local.shape)
    return (part.local.shape[0], *size[1:])


def whole(path: Path, kind: str = "model") -> dict[str, Tensor]:
    """The tensors of one kind (`model`, `optimizer`, `average`) whole, under the names they have on one process."""
    reader = HuggingFaceStorageReader(str(path / SHARDS))
    try:
        known = reader.read_metadata().state_dict_metadata
    except Exception as error:  # DCP's own errors are of many kinds
        raise GroundupError(f"cannot be read: {error}", where=str(path), do="Remove this checkpoint; the one before it is used.") from None
    tensors: dict[str, Any] = {
        name: torch.empty(one.size, dtype=one.properties.dtype) for name, one in known.items()
        if isinstance(one, TensorStorageMetadata) and name.startswith(f"{kind}.")
    }  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        load_tensors(tensors, storage_reader=reader, no_dist=True)
    return joined({name.removeprefix(f"{kind}."): value for name, value in tensors.items()})


def joined(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Matrices that lie apart put side by side again; of their counters one."""
    found: dict[str, Tensor] = {}
    parts: dict[str, dict[int, Tensor]] = {}
    for name, value in tensors.items():
        if (match := PART.search(name)) is None:
            found[name] = value
        else:
            parts.setdefault(name.replace(match[0], "."), {})[int(match[1])] = value
    for name, numbered in parts.items():
        ordered = [numbered[number] for number in sorted(numbered)]
        found[name] = torch.cat(ordered) if ordered[0].ndim else ordered[0]
    return found


__all__ = ["SHARDS", "Saving", "joined", "load", "states", "whole"]
