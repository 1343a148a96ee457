"""Checkpoints: a folder of safetensors and JSON, written whole or not at all, checked when read.

    step-0000120/
      model.safetensors       parameters (and a batch norm's running statistics) by name
      average.safetensors     the running average of the weights, where there is one: what is evaluated and used
      optimizer.safetensors   the optimizer's state by parameter name
      config.json             ModelConfig
      state.json              step, what it belongs to, the spike guard's window, what the model has beside its config's (`form`), BLAKE2b
                            of each file above

Nothing in it depends on the clock or the machine, so equal runs end in equal files. There is no random state to
keep: the trainer seeds every step by its number.
"""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from groundup.errors import GroundupError, RequestError
from groundup.models.build import Model, build
from groundup.models.config import ModelConfig
from groundup.progress import say
from groundup.run import digest_file, read_json, sync_folder, write_atomic, write_json
from groundup.tokens.tokenizer import Tokenizer
from groundup.training import lora, tuned
from groundup.training.lora import LowRank
from groundup.training.optimizers import Optimizers
from groundup.training.value_head import ActorCritic, ScoredDecoder

FILES = ("model.safetensors", "optimizer.safetensors", "config.json")
AVERAGE = "average.safetensors"
NAME = re.compile(r"step-(\d{7,})")


def save(
    folder: Path, step: int, model: nn.Module, config: ModelConfig, optimizer: Optimizers, state: dict[str, Any],
    average: dict[str, Tensor] | None = None,
) -> Path:  # fmt: skip
    """Write `folder/step-NNNNNNN` through a temporary folder and a rename."""
    final = folder / f"step-{step:07d}"
    work = folder / f".step-{step:07d}.tmp"
    if work.exists():
        shutil.rmtree(work)
    work.mkdir(parents=True)
    _save_tensors(model.state_dict(), work / "model.safetensors")
    _save_tensors(_optimizer_state(model, optimizer), work / "optimizer.safetensors")
    if average:
        _save_tensors(average, work / AVERAGE)
    write_atomic(work / "config.json", config.model_dump_json(indent=1) + "\n")
    names = [*FILES, *([AVERAGE] if average else [])]
    write_json(work / "state.json", {**state, "step": step, "form": form(model), "files": {name: digest_file(work / name) for name in names}})
    sync_folder(work)
    if final.exists():
        shutil.rmtree(final)
    work.rename(final)
    sync_folder(folder)
    return final


def all_steps(folder: Path) -> list[tuple[int, Path]]:
    """The checkpoints in a folder, oldest first."""
    if not folder.is_dir():
        return []
    return sorted((int(match[1]), path) for path in folder.iterdir() if (match := NAME.fullmatch(path.name)))


def newest(folder: Path) -> Path | None:
    """The newest whole checkpoint in a folder; a damaged one is named and passed over."""
    for _, path in reversed(all_steps(folder)):
        if problem := damage(path):
            say(f"checkpoint {path.name} is damaged ({problem}); the one before it is used")
        else:
            return path
    return None


def of_run(run: Path, *, base: bool) -> tuple[Path, bool]:
    """The newest whole checkpoint of a run's folder, of an unfinished stage too, and whether it is of a model tuned to answer: the tuned
    one where there is one, unless `base`. A tuned one's tokenizer stands beside it (`tuned.py`). Raises RequestError where there is none yet."""
    places = [*((folder, True) for folder in (() if base else tuned.folders(run))), (run / "checkpoints", False), (run / ".checkpoints.partial", False)]
    found = next(((path, answers) for folder, answers in places if (path := newest(folder)) is not None), None)
    if found is None or not (found[1] or (run / "tokenizer" / "tokenizer.json").is_file()):
        raise RequestError("no model here yet", where=str(run), do="Build it further first.")
    return found


class Opened(NamedTuple):
    """A run's model, ready to be used."""

    model: Model
    words: Tokenizer
    path: Path
    """Of the checkpoint."""
    tuned: bool
    """Whether it answers, or goes on with a text."""


def open_run(run: Path, *, base: bool) -> Opened:
    """The model of `of_run` with its tokenizer."""
    path, answers = of_run(run, base=base)
    words = Tokenizer.load(path.parent if answers else run / "tokenizer")
    return Opened(load_model(path, words.digest), words, path, answers)


def damage(path: Path) -> str | None:
    """What is wrong with a checkpoint's files, or None."""
    try:
        expected = read_json(path / "state.json")["files"]
        if missing := (set() if is_sharded(path) else set(FILES)) - set(expected):
            return f"no digest of {', '.join(sorted(missing))}"
        for name, known in expected.items():
            if digest_file(path / name) != known:
                return f"{name} does not match its digest"
    except (OSError, GroundupError, KeyError, TypeError) as error:
        return f"{type(error).__name__}: {error}"
    return None


def read_state(path: Path) -> dict[str, Any]:
    """The checkpoint's state.json."""
    state: dict[str, Any] = read_json(path / "state.json")
    return state


def form(model: nn.Module) -> dict[str, Any]:
    """What a model has beside what its config says: a score, a critic, corrections of low rank."""
    low = next((module for module in model.modules() if isinstance(module, LowRank)), None)
    found: dict[str, Any] = {"score": True} if isinstance(model, ScoredDecoder) else {"critic": True} if isinstance(model, ActorCritic) else {}
    return found if low is None else {**found, "lora": {"rank": low.rank, "alpha": low.scale * low.rank}}


def load_model(path: Path, tokenizer_digest: str | None = None) -> Model:
    """The model of a checkpoint as it is used, in evaluation mode: averaged weights in place, corrections of low rank merged, a critic left
    out; a reward model is a `ScoredDecoder`.

    With `tokenizer_digest`, raises GroundupError unless the checkpoint was trained with that very tokenizer.
    """
    check_tokenizer(path, tokenizer_digest)
    config = ModelConfig.model_validate_json((path / "config.json").read_text(encoding="utf-8"))
    its = (read_state(path).get("form") or {}) if (path / "state.json").is_file() else {}  # an exported folder has no state
    model: Model = ScoredDecoder(config) if its.get("score") else ActorCritic(config) if its.get("critic") else build(config)
    if "lora" in its:
        lora.apply(model, **its["lora"], seed=0)
    load_parameters(path, model)
    use(load_average(path), model)
    if "lora" in its:
        lora.merge(model)
    if isinstance(model, ActorCritic):
        del model.critic
        policy = build(config)
        policy.load_state_dict(model.state_dict())
        model = policy
    return model.eval()


def check_tokenizer(path: Path, tokenizer_digest: str | None) -> None:
    """Raise GroundupError if a checkpoint was trained with another tokenizer."""
    if tokenizer_digest is not None and read_state(path).get("tokenizer") != tokenizer_digest:
        raise GroundupError(
            "this checkpoint was trained with another tokenizer: its tokens mean something else", where=str(path),
            do="Use the tokenizer it was trained with, or train again.",
        )


def load_parameters(path: Path, model: nn.Module) -> None:
    """Fill a model's parameters (and buffers that are kept) from a checkpoint."""
    tensors, own = _tensors(path, "model"), model.state_dict()
    if {name: value.shape for name, value in own.items()} != {name: value.shape for name, value in tensors.items()}:
        raise GroundupError("the weights do not fit the model", where=str(path), do="config.json belongs to other weights.")
    model.load_state_dict(tensors)


def load_average(path: Path) -> dict[str, Tensor]:
    """The averaged weights of a checkpoint by name; empty where none are kept."""
    return _tensors(path, "average") if is_sharded(path) or (path / AVERAGE).exists() else {}


def use(weights: dict[str, Tensor], model: nn.Module) -> None:
    """Put the named weights into a model."""
    own = dict(model.named_parameters())
    with torch.no_grad():
        for name, value in weights.items():
            own[name].copy_(value)


def load_optimizer(path: Path, model: nn.Module, optimizer: Optimizers) -> None:
    """Fill an optimizer's state from a checkpoint."""
    tensors = _tensors(path, "optimizer")
    states: dict[str, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        name, _, kind = key.rpartition(":")
        states.setdefault(name, {})[kind] = value
    for name, parameter in model.named_parameters():
        if name in states:
            optimizer.set_state(parameter, states[name])


def _optimizer_state(model: nn.Module, optimizer: Optimizers) -> dict[str, Tensor]:
    return {
        f"{name}:{key}": value for name, parameter in model.named_parameters() for key, value in optimizer.state_of(parameter).items()
    }


def _save_tensors(tensors: dict[str, Tensor], path: Path) -> None:
    save_file({name: tensor.detach().contiguous() for name, tensor in sorted(tensors.items())}, path)
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def is_sharded(path: Path) -> bool:
    """Whether several processes wrote a checkpoint, each its part (`sharded_checkpoint.py`)."""
    return (path / "shards").is_dir()


def _tensors(path: Path, kind: str) -> dict[str, Tensor]:
    """The tensors of one kind of a checkpoint, whoever wrote it."""
    if is_sharded(path):
        from groundup.training.sharded_checkpoint import whole  # torch.distributed takes long to import

        return whole(path, kind)
    return _load_tensors(path / f"{kind}.safetensors")


def _load_tensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise GroundupError(f"cannot be read: {error}", where=str(path), do="Remove this checkpoint; the one before it is used.") from None
