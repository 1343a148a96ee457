"""Which stock Hugging Face class computes what a config says, and which of its parts that class does not.

A family has its class; within LLaMA's it hangs on the parts:

    experts: MixtralForCausalLM      windows: MistralForCausalLM
    qk_norm_scale: Qwen3ForCausalLM  biases of queries, keys and values: Qwen2ForCausalLM      else: LlamaForCausalLM

A class leaves some parts free (sizes, mostly), knows some values of others, and of all the rest what `ModelConfig` has when
nothing is said. What differs is a misfit, and a model with a misfit is written for no one else: it would say something else there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import EllipsisType
from typing import Any

from groundup.errors import RequestError
from groundup.models.config import ModelConfig

Values = tuple[Any, ...] | EllipsisType
"""What a class knows of a part: these values, or (...) all."""

_GATED = {"swiglu": "silu", "geglu": "gelu", "geglu_tanh": "gelu_pytorch_tanh", "reglu": "relu"}
_PLAIN = {"gelu_tanh": "gelu_new", "gelu": "gelu", "relu": "relu", "silu": "silu", "relu2": "relu2"}
_SIZES: dict[str, Values] = dict.fromkeys(("vocabulary", "context", "layers", "width", "heads", "kv_heads", "feedforward", "norm_eps"), ...)
_ROTARY: dict[str, Values] = {"rope_base": ..., "rope_scaling": ..., "rope_wavelengths": ...}
_LLAMA: dict[str, Values] = {**_SIZES, **_ROTARY, "head_size": ..., "tied": ...}
_GPT: dict[str, Values] = {**_SIZES, "norm": ("layer",), "position": ("learned",), "bias": (True,), "tied": ...}
_FALCON: dict[str, Values] = {
    **_SIZES, "norm": ("layer",), "parallel": ..., "bias": ..., "tied": ..., "rope_base": ..., "rope_scaling": ...,
}  # fmt: skip
_ABSENT = {
    "family", "init", "init_std", "base_width", "zero_output", "embedding_dropout", "attention_dropout", "residual_dropout", "dropout_by_depth",
    "ngram_dropout", "activation", "windows",
}  # fmt: skip
"""Of training, which no class computes with; and what has rules of its own below."""


@dataclass(frozen=True)
class Stock:
    """A class of transformers."""

    name: str
    model_type: str
    """`model_type` of its config.json."""
    parts: Mapping[str, Values]
    activations: Mapping[str, str] = field(default_factory=lambda: _GATED)
    """Ours to theirs."""


STOCKS: dict[str, Stock] = {
    stock.model_type: stock
    for stock in (
        Stock("LlamaForCausalLM", "llama", {**_LLAMA, "bias": ..., "attention_bias": (None, "all")}),
        Stock("MistralForCausalLM", "mistral", _LLAMA),
        Stock("MixtralForCausalLM", "mixtral", {**_LLAMA, "experts": ..., "experts_a_token": ...}),
        Stock("Qwen2ForCausalLM", "qwen2", {**_LLAMA, "attention_bias": ("qkv",)}),
        Stock("Qwen3ForCausalLM", "qwen3", {**_LLAMA, "qk_norm_scale": (True,), "attention_bias": (None, "all")}),
        Stock("GPT2LMHeadModel", "gpt2", _GPT, _PLAIN),
        Stock("OpenAIGPTLMHeadModel", "openai-gpt", {**_GPT, "norm_place": ("post",)}, {"gelu_tanh": "gelu", "relu": "relu", "silu": "silu"}),
        Stock("FalconForCausalLM", "falcon", {**_FALCON, "position": ("rotary", "alibi")}, _PLAIN),
        Stock(
            "BertForPreTraining", "bert", {**_GPT, "norm_place": ("post",), "causal": (False,), "token_types": ..., "tied": (True,)}, {"gelu": "gelu"},
        ),
        Stock(
            "T5ForConditionalGeneration", "t5",
            {**_SIZES, "head_size": ..., "decoder_layers": ..., "position": ("relative",), "relative_buckets": ..., "relative_distance": ...,
             "attention_scale": (1.0,), "tied": ..., "logits_scale": ...},
            {"relu": "relu", "gelu": "gelu", "silu": "silu", "geglu_tanh": "gated-gelu", "swiglu": "gated-silu", "reglu": "gated-relu"},
        ),
        Stock(
            "XLNetLMHeadModel", "xlnet", {**_SIZES, "norm": ("layer",), "norm_place": ("post",), "position": ("none",), "bias": (True,)}, _PLAIN,
        ),
    )
}  # fmt: skip
"""By `model_type`."""

_OF_FAMILY = {
    "gpt1": "openai-gpt", "gpt2": "gpt2", "gpt3": "gpt2", "falcon": "falcon", "falcon-rw": "falcon", "palm": "falcon", "bert": "bert", "t5": "t5",
    "transformer": "t5", "xlnet": "xlnet",
}  # fmt: skip


def stock(config: ModelConfig) -> Stock:
    """The class nearest to a config; `misfits` says whether it is near enough."""
    if config.family in _OF_FAMILY:
        return STOCKS[_OF_FAMILY[config.family]]
    if config.experts:
        return STOCKS["mixtral"]
    if config.qk_norm_scale:
        return STOCKS["qwen3"]
    if config.attention_bias == "qkv":
        return STOCKS["qwen2"]
    return STOCKS["mistral" if any(config.windows) else "llama"]


def misfits(config: ModelConfig) -> list[str]:
    """The parts (`name=value`) that the nearest class does not compute; empty: it computes the same."""
    near = stock(config)
    asleep = _ABSENT | _asleep(config)
    found = []
    for name, about in ModelConfig.model_fields.items():
        known = near.parts.get(name, (about.default,))
        if name not in asleep and not isinstance(known, EllipsisType) and getattr(config, name) not in known:
            found.append(name)
    if config.activation not in near.activations:
        found.append("activation")
    return [f"{name}={getattr(config, name)}" for name in dict.fromkeys([*found, *_rules(config, near)])]


def check(config: ModelConfig) -> Stock:
    """The class that computes what a config says. Raises RequestError with all that it does not."""
    near = stock(config)
    if wrong := misfits(config):
        raise RequestError(
            f"no stock class computes this model; {near.name}, the nearest, has no {', '.join(wrong)}", where=f"a model of the {config.family} family",
            do="Train one of a portable family as it is (model.family=llama, gpt2, falcon, ...), or export --to safetensors, which groundup reads.",
        )  # fmt: skip
    return near


def _asleep(config: ModelConfig) -> set[str]:
    """Fields without effect beside the others."""
    found = set()
    if config.position != "rotary":
        found |= set(_ROTARY)
    if config.position != "relative":
        found |= {"relative_buckets", "relative_distance"}
    if not config.experts:
        found |= {"experts_a_token", "shared_experts", "expert_capacity"}
    if config.residual != "depth":
        found |= {"base_layers"}
    if config.head_size is not None and config.head_size * config.heads == config.width:
        found |= {"head_size"}
    if config.attention_scale == config.head_width**-0.5 and config.kind != "encoder-decoder":
        found |= {"attention_scale"}
    return found


def _rules(config: ModelConfig, near: Stock) -> list[str]:
    """What single values do not say."""
    wrong = []
    kinds = {window for window in config.windows if window}
    if near.model_type in ("mistral", "mixtral"):
        wrong += ["windows"] * (kinds != set() and len(set(config.windows)) > 1)
    elif near.model_type in ("qwen2", "qwen3"):
        wrong += ["windows"] * (len(kinds) > 1)
    elif kinds:
        wrong += ["windows"]
    if near.model_type in ("gpt2", "openai-gpt", "bert", "t5", "xlnet") and config.kv_heads != config.heads:
        wrong += ["kv_heads"]
    if near.model_type == "llama" and config.width % config.heads:
        wrong += ["heads"]
    if near.model_type == "openai-gpt" and config.feedforward != 4 * config.width:
        wrong += ["feedforward"]
    if near.model_type == "bert" and not config.token_types:
        wrong += ["token_types"]
    if near.model_type == "t5" and config.logits_scale != 1.0 and not (config.tied and config.logits_scale == config.width**-0.5):
        wrong += ["logits_scale"]
    if near.model_type == "falcon":
        if config.parallel == "no" and config.kv_heads not in (1, config.heads):
            wrong += ["kv_heads"]
        if config.position == "alibi" and config.family != "falcon-rw":  # whose slopes are divided by the root of the head width
            wrong += ["position"]
    return wrong
