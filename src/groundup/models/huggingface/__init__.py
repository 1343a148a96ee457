"""Models of Hugging Face folders into this kit, and models of this kit into stock Hugging Face classes.

    config.json  --read-->   ModelConfig  --write-->  config.json
    their names  <------ names(ModelConfig) ------>   our names

Each family is a file with these three. `names` is the only table of names there is: both directions read it (names.py). `stock.py` says
which class computes what a config says, and which parts no class has; `asked.py` refuses what a config.json asks for and is not
computed here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from groundup.errors import RequestError
from groundup.models.build import Model, build
from groundup.models.config import ModelConfig
from groundup.models.huggingface import bert, falcon, gpt, llama, t5, xlnet
from groundup.models.huggingface.folder import read_tensors
from groundup.models.huggingface.names import Tensors, to_ours, to_theirs
from groundup.models.huggingface.stock import check

FAMILIES: dict[str, tuple[ModuleType, str]] = {
    "gpt2": (gpt, "transformer."), "openai-gpt": (gpt, "transformer."), "llama": (llama, "model."), "mistral": (llama, "model."),
    "mixtral": (llama, "model."), "qwen2": (llama, "model."), "qwen3": (llama, "model."), "falcon": (falcon, "transformer."),
    "bert": (bert, "bert."), "t5": (t5, ""), "xlnet": (xlnet, "transformer."),
}  # fmt: skip
"""By `model_type`: the file, and what begins the names of a model with its head."""


def load(folder: Path) -> Model:
    """The model of a Hugging Face folder. Raises RequestError where it is none of ours or its files are damaged."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RequestError(f"no readable model ({error})", where=str(folder), do="Name a folder with config.json and *.safetensors.") from None
    ours, weights = translate(config, read_tensors(folder))
    model = build(ours)
    fill(model, weights, str(folder))
    return model


def translate(config: dict[str, Any], tensors: Mapping[str, Tensor]) -> tuple[ModelConfig, Tensors]:
    """Our config and weights. Raises RequestError for a type of model that is not known, or one with parts that are not."""
    kind = config.get("model_type")
    if kind not in FAMILIES:
        raise RequestError(f"a model of type '{kind}'", where="config.json", do=f"These are known: {', '.join(FAMILIES)}.")
    if config.get("quantization_config"):
        raise RequestError("quantised weights", where="config.json", do="Name the folder of the model that they were made from.")
    family, prefix = FAMILIES[kind]
    try:
        ours: ModelConfig = family.read(config, tensors)
    except KeyError as error:
        raise RequestError(f"it says nothing of {error}", where="config.json", do="It is not whole; fetch it again.") from None
    return ours, to_ours(family.names(ours), tensors, prefix)


def written(config: ModelConfig, weights: Mapping[str, Tensor]) -> tuple[dict[str, Any], Tensors]:
    """Their config.json and tensors of a model of ours. Raises RequestError where no stock class computes the same."""
    near = check(config)
    family, _ = FAMILIES[near.model_type]
    return {"architectures": [near.name], "model_type": near.model_type, **family.write(config)}, to_theirs(family.names(config), weights)


def fill(model: nn.Module, weights: Tensors, where: str) -> None:
    """Put the weights in; every one of the model's has to be there, in its shape. Raises RequestError."""
    own = dict(model.named_parameters())
    missing, extra = sorted(own.keys() - weights.keys()), sorted(weights.keys() - own.keys())
    wrong = [name for name in own.keys() & weights.keys() if own[name].shape != weights[name].shape]
    if missing or extra or wrong:
        named = f"missing {missing[:3]}" if missing else f"left over {extra[:3]}" if extra else f"of another shape {wrong[:3]}"
        raise RequestError(f"the weights do not fit the model: {named}", where=where, do="config.json belongs to other weights.")
    with torch.no_grad():
        for name, parameter in own.items():
            parameter.copy_(weights[name])
