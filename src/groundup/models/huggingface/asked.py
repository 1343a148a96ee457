"""What a config.json asks for: read where it is computed here, refused by name where it is not."""

from __future__ import annotations

from typing import Any

from groundup.errors import RequestError
from groundup.models.huggingface.stock import STOCKS

Json = dict[str, Any]


def expect(theirs: Json, **computed: Any) -> None:
    """Raise RequestError where one of these keys says something else than what is computed; a key that is missing says nothing."""
    wrong = [f"{name}={theirs[name]!r}" for name, value in computed.items() if theirs.get(name) is not None and theirs[name] != value]
    if wrong:
        raise RequestError(f"a {theirs['model_type']} model with {', '.join(wrong)}, which is not computed here", where="config.json", do="Name another model.")


def activation(theirs: Json, key: str, default: str) -> str:
    """Our name of the activation that a key names."""
    said = theirs.get(key) or default
    known = STOCKS[theirs["model_type"]].activations
    same = {"gelu_fast": "gelu_new", "gelu_pytorch_tanh": "gelu_new", "gelu_new": "gelu_pytorch_tanh", "swish": "silu"}
    for ours, name in known.items():
        if said == name or (said not in known.values() and same.get(said) == name):
            return ours
    raise RequestError(f"a {theirs['model_type']} model with {key}={said!r}, which is not computed here", where="config.json", do="Name another model.")


def rotary(theirs: Json, base: float = 10_000.0) -> Json:
    """Our rotary fields. `rope_parameters` is where transformers 5 writes what older files have in `rope_theta` and `rope_scaling`."""
    found = theirs.get("rope_parameters") or theirs.get("rope_scaling") or {}
    kind = found.get("rope_type") or found.get("type") or "default"
    fields: Json = {"rope_base": float(theirs.get("rope_theta") or found.get("rope_theta") or base)}
    turned = theirs.get("partial_rotary_factor") or found.get("partial_rotary_factor") or 1.0
    if kind not in ("default", "linear", "llama3") or any(isinstance(value, dict) for value in found.values()) or turned != 1.0:
        said = "by layer type" if kind == "default" and turned == 1.0 else f"of a share of {turned} of each head" if turned != 1.0 else f"scaled by the rule '{kind}'"
        raise RequestError(f"rotary positions {said}, which are not computed here", where="config.json", do="Known are unscaled ones, linear and llama3.")
    if kind != "default":
        fields["rope_scaling"] = float(found["factor"])
    if kind == "llama3":
        whole = found.get("original_max_position_embeddings") or theirs["max_position_embeddings"]
        fields["rope_wavelengths"] = (whole / found["high_freq_factor"], whole / found["low_freq_factor"])
    return fields
