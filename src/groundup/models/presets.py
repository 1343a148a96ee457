"""The field's models by name: architecture, published training settings, and where both are written.

What a paper does not say is left out. Counts are exact for what is built here; `published` is the paper's own figure.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field
from typing import Any

from groundup.errors import RequestError
from groundup.models.build import parameters
from groundup.models.config import ModelConfig, resolved
from groundup.recipe import Model, Recipe, Training
from groundup.recipe.model import Family


@dataclass(frozen=True)
class Preset:
    """A model of the field."""

    name: str
    family: Family
    model: dict[str, Any]
    """What differs from the family."""
    source: str
    published: str = ""
    """Size as its makers state it."""
    training: dict[str, Any] = field(default_factory=dict)
    """Published settings, in the recipe's names; `tokens`: seen in all; `warmup_tokens`."""
    notes: str = ""

    def config(self, **overrides: Any) -> ModelConfig:
        """The architecture, with anything overridden."""
        return resolved(self.family, **{**self.model, **overrides})


def named(name: str, where: str) -> Preset:
    """The preset of a name; raises RequestError with the nearest one."""
    if name not in PRESETS:
        near = difflib.get_close_matches(name, PRESETS, n=1, cutoff=0.0)
        raise RequestError(f"no preset '{name}'; the nearest is '{near[0]}'", where=where, do="`groundup presets` lists them.")
    return PRESETS[name]


def adamw_rate(width: int) -> float:
    """Peak learning rate of AdamW, by the width: measured on small models (docs/measurements.md), falling as muP says."""
    return min(6e-3, 3e-3 * 256 / width)


def settled(recipe: Recipe) -> Recipe:
    """The recipe with what `training.like` names filled in, wherever it says nothing itself.

    Of a published warm-up its share of the run is taken, of the batch whole rows of the published context.
    """
    if recipe.training.like is None:
        return recipe
    preset = named(recipe.training.like, "training.like")
    published = preset.training
    taken: dict[str, Any] = {key: value for key, value in published.items() if key in Training.model_fields and key not in ("steps", "batch_tokens")}
    if batch := published.get("batch_tokens"):
        context = preset.config().context
        taken["batch_tokens"] = max(1, round(batch / context)) * context
        whole = published.get("tokens") or published.get("steps", 0) * batch
        warm = published.get("warmup_tokens") or published.get("warmup_steps", 0) * batch
        if whole and warm:
            taken["warmup"] = warm / whole
    said = recipe.training.model_fields_set
    training = Training.model_validate({**{key: value for key, value in taken.items() if key not in said}, **recipe.training.model_dump(include=said)})
    model = recipe.model
    if "dropout" in published and "dropout" not in model.model_fields_set:
        model = Model.model_validate({**model.model_dump(include=model.model_fields_set), "dropout": published["dropout"]})
    return recipe.model_copy(update={"training": training, "model": model})


def described(preset: Preset, *, full: bool = False) -> dict[str, Any]:
    """A preset as plain data; `full`: with its whole config, its training settings and notes."""
    config = preset.config()
    row: dict[str, Any] = {
        "name": preset.name, "family": preset.family, "layers": config.layers, "width": config.width, "heads": config.heads,
        "context": config.context, "vocabulary": config.vocabulary, "parameters": parameters(config), "source": preset.source,
    }  # fmt: skip
    if full:
        row |= {"published": preset.published, "training": preset.training, "notes": preset.notes, "model": config.model_dump()}
    return row


def _shape(layers: int, width: int, heads: int, **more: Any) -> dict[str, Any]:
    return {"layers": layers, "width": width, "heads": heads, **more}


PRESETS: dict[str, Preset] = {}


def _add(preset: Preset) -> None:
    PRESETS[preset.name] = preset


# --- GPT: Radford et al. 2018, 2019; Brown et al. 2020, arXiv 2005.14165 ---------------------------------------------
_add(
    Preset(
        "gpt1", "gpt1", _shape(12, 768, 12, vocabulary=40_478, context=512), "Radford et al. 2018", "117 M",
        {"optimizer": "adamw", "learning_rate": 2.5e-4, "schedule": "cosine", "final_share": 0.0, "batch_tokens": 64 * 512, "dropout": 0.1, "weight_decay": 0.01,
         "warmup_steps": 2000, "epochs": 100},
    )
)  # fmt: skip
for _name, _layers, _width, _heads, _size in (
    ("gpt2", 12, 768, 12, "124 M"), ("gpt2-medium", 24, 1024, 16, "355 M"), ("gpt2-large", 36, 1280, 20, "774 M"), ("gpt2-xl", 48, 1600, 25, "1.5 B"),
):  # fmt: skip
    _add(
        Preset(
            _name, "gpt2", _shape(_layers, _width, _heads, vocabulary=50_257, context=1024), "Radford et al. 2019", _size,
            {"batch_tokens": 512 * 1024, "dropout": 0.1}, "The paper gives neither learning rate nor schedule.",
        )
    )  # fmt: skip
_GPT3 = {
    "optimizer": "adamw", "betas": (0.9, 0.95), "eps": 1e-8, "clip": 1.0, "weight_decay": 0.1, "schedule": "cosine", "final_share": 0.1,
    "tokens": 300e9, "decay_tokens": 260e9, "warmup_tokens": 375e6, "ramp_from_batch_tokens": 32_000,
}  # fmt: skip
for _name, _layers, _width, _heads, _batch, _rate, _note in (
    ("small", 12, 768, 12, 0.5e6, 6e-4, ""), ("medium", 24, 1024, 16, 0.5e6, 3e-4, ""), ("large", 24, 1536, 16, 0.5e6, 2.5e-4, ""),
    ("xl", 24, 2048, 16, 1e6, 2e-4, "Table 2.1 says 24 heads of width 128, which is 3,072 and not the model's 2,048; 16 heads fit and give 1.3 B."),
    ("2.7b", 32, 2560, 32, 1e6, 1.6e-4, ""), ("6.7b", 32, 4096, 32, 2e6, 1.2e-4, ""),
    ("13b", 40, 5120, 40, 2e6, 1e-4, "Table 2.1 says width 5,140, which 40 heads of width 128 do not make; 5,120 does."),
    ("175b", 96, 12_288, 96, 3.2e6, 0.6e-4, ""),
):  # fmt: skip
    _add(
        Preset(
            f"gpt3-{_name}", "gpt3", _shape(_layers, _width, _heads, vocabulary=50_257, context=2048), "Brown et al. 2020, table 2.1, appendix B",
            _name, {**_GPT3, "batch_tokens": _batch, "learning_rate": _rate}, _note,
        )
    )  # fmt: skip

_add(
    Preset(
        "megatron-1t", "gpt3", _shape(128, 25_600, 160, vocabulary=51_200, context=2048), "Narayanan et al. 2021, arXiv 2104.04473, table 1", "1 T",
        {"batch_tokens": 3072 * 2048, "tokens": 450e9}, "Trained for a few steps, to measure.",
    )
)  # fmt: skip

# --- LLaMA: Touvron et al. 2023, arXiv 2302.13971 --------------------------------------------------------------------
for _name, _layers, _width, _heads, _inner, _rate, _tokens in (
    ("7b", 32, 4096, 32, 11_008, 3e-4, 1e12), ("13b", 40, 5120, 40, 13_824, 3e-4, 1e12), ("33b", 60, 6656, 52, 17_920, 1.5e-4, 1.4e12),
    ("65b", 80, 8192, 64, 22_016, 1.5e-4, 1.4e12),
):  # fmt: skip
    _add(
        Preset(
            f"llama-{_name}", "llama",
            _shape(_layers, _width, _heads, feedforward=_inner, vocabulary=32_000, context=2048, tied=False, norm_eps=1e-6), "Touvron et al. 2023, table 2",
            _name, {"optimizer": "adamw", "betas": (0.9, 0.95), "learning_rate": _rate, "weight_decay": 0.1, "clip": 1.0, "schedule": "cosine",
                    "final_share": 0.1, "warmup_steps": 2000, "batch_tokens": 4e6, "tokens": _tokens},
        )
    )  # fmt: skip

# --- Falcon: Almazrouei et al. 2023, arXiv 2311.16867, and the model cards ---------------------------------------------
for _name, _layers, _width, _heads, _kv, _norms, _rate, _last, _rows, _ramp, _tokens in (
    ("7b", 32, 4544, 71, 1, "one-norm", 6e-4, 1.2e-5, 2304, 30e9, 1.5e12), ("40b", 60, 8192, 128, 8, "two-norms", 1.85e-4, 1.85e-5, 1152, 100e9, 1e12),
    ("180b", 80, 14_848, 232, 8, "two-norms", 1.25e-4, 1.25e-5, 2048, 100e9, 3.5e12),
):  # fmt: skip
    _add(
        Preset(
            f"falcon-{_name}", "falcon", _shape(_layers, _width, _heads, kv_heads=_kv, parallel=_norms, vocabulary=65_024, context=2048),
            "Almazrouei et al. 2023; model card", _name,
            {"optimizer": "adamw", "learning_rate": _rate, "final_share": _last / _rate, "schedule": "cosine", "weight_decay": 0.1, "z_loss": 1e-4,
             "batch_tokens": _rows * 2048, "ramp_tokens": _ramp, "warmup_tokens": 4e9, "tokens": _tokens},
        )
    )  # fmt: skip
_add(Preset("falcon-rw-1b", "falcon-rw", _shape(24, 2048, 32, vocabulary=50_304, context=2048), "Penedo et al. 2023, arXiv 2306.01116", "1.3 B", {"tokens": 350e9}))

# --- Mixtral: Jiang et al. 2024, arXiv 2401.04088 -----------------------------------------------------------------------
_add(
    Preset(
        "mixtral-8x7b", "moe",
        _shape(32, 4096, 32, kv_heads=8, feedforward=14_336, vocabulary=32_000, context=32_768, tied=False, rope_base=1e6), "Jiang et al. 2024, table 1",
        "47 B, 13 B a token", {}, "Its makers publish no training settings.",
    )
)  # fmt: skip
_add(
    Preset(
        "moe-20m", "moe", _shape(6, 256, 4, vocabulary=8192, context=256), "groundup's own ladder", "",
        {"optimizer": "adamw", "betas": (0.9, 0.95), "weight_decay": 0.1, "clip": 1.0, "schedule": "cosine", "final_share": 0.1, "warmup": 0.02,
         "learning_rate": round(adamw_rate(256), 6), "batch_tokens": 2048},
        "Derived as the ladder of decoders is.",
    )
)  # fmt: skip

# --- PaLM: Chowdhery et al. 2022, arXiv 2204.02311 ---------------------------------------------------------------------
for _name, _layers, _width, _heads, _said in (("8b", 32, 4096, 16, "8.63 B"), ("62b", 64, 8192, 32, "62.50 B"), ("540b", 118, 18_432, 48, "540.35 B")):
    _add(
        Preset(
            f"palm-{_name}", "palm",
            _shape(_layers, _width, _heads, head_size=256, vocabulary=256_000, context=2048),
            "Chowdhery et al. 2022, table 1, section 5", _said,
            {"optimizer": "adafactor", "learning_rate": 1e-2, "schedule": "inverse_sqrt", "warmup_steps": 10_000, "clip": 1.0, "z_loss": 1e-4,
             "batch_tokens": 2048 * 2048, "ramp": {"512": 0, "1024": 50_000, "2048": 115_000}, "tokens": 780e9},
        )
    )  # fmt: skip

# --- a ladder for one's own machine: LLaMA's parts, depth growing with width --------------------------------------------
_LADDER = {
    "optimizer": "adamw", "betas": (0.9, 0.95), "weight_decay": 0.1, "clip": 1.0, "schedule": "cosine", "final_share": 0.1, "warmup": 0.02,
}  # fmt: skip
for _name, _layers, _width, _heads in (
    ("tiny-1m", 3, 128, 4), ("llama-5m", 6, 256, 4), ("llama-15m", 8, 384, 6), ("llama-30m", 8, 512, 8), ("llama-60m", 10, 640, 10), ("llama-125m", 12, 768, 12),
):  # fmt: skip
    _add(
        Preset(
            _name, "llama", _shape(_layers, _width, _heads, vocabulary={"tiny-1m": 2048}.get(_name, 8192 if _width < 512 else 32_000), context=256 if _width < 512 else 1024),
            "groundup's own ladder",
            "",
            {**_LADDER, "learning_rate": round(adamw_rate(_width), 6), "batch_tokens": 2048 if _width < 512 else 16_384 if _width < 768 else 131_072},
            "Derived, not published: LLaMA's optimizer and schedule; the peak rate falls with the width from 6e-3 at 128; batches as the planner's.",
        )
    )  # fmt: skip

# --- BERT, the Transformer of 2017, T5, XLNet ----------------------------------------------------------------------------
for _name, _layers, _width, _heads in (("base", 12, 768, 12), ("large", 24, 1024, 16)):
    for _case, _vocabulary in (("", 30_522), ("-cased", 28_996)):
        _add(
            Preset(
                f"bert-{_name}{_case}", "bert", _shape(_layers, _width, _heads, vocabulary=_vocabulary, context=512, feedforward=4 * _width),
                "Devlin et al. 2019, section 3, appendix A.2", {"base": "110 M", "large": "340 M"}[_name],
                {"optimizer": "adamw", "learning_rate": 1e-4, "betas": (0.9, 0.999), "eps": 1e-6, "weight_decay": 0.01, "warmup_steps": 10_000, "steps": 1_000_000,
                 "schedule": "linear", "batch_tokens": 256 * 512, "dropout": 0.1}, "90 % of the steps at a context of 128.",
            )
        )  # fmt: skip
for _name, _width, _heads, _drop in (("base", 512, 8, 0.1), ("big", 1024, 16, 0.3)):
    _add(
        Preset(
            f"transformer-{_name}", "transformer",
            _shape(6, _width, _heads, vocabulary=37_000, context=512, feedforward=4 * _width), "Vaswani et al. 2017, table 3",
            {"base": "65 M", "big": "213 M"}[_name],
            {"optimizer": "adam", "betas": (0.9, 0.98), "eps": 1e-9, "schedule": "inverse_sqrt", "warmup_steps": 4000, "label_smoothing": 0.1,
             "learning_rate": _width**-0.5 * 4000**-0.5, "dropout": _drop, "steps": {"base": 100_000, "big": 300_000}[_name], "batch_tokens": 25_000},
            "Counted here with biases in the attention's maps and a vocabulary of 37,000.",
        )
    )  # fmt: skip
for _name, _layers, _width, _heads, _head, _inner in (
    ("small", 6, 512, 8, 64, 2048), ("base", 12, 768, 12, 64, 3072), ("large", 24, 1024, 16, 64, 4096), ("3b", 24, 1024, 32, 128, 16_384),
    ("11b", 24, 1024, 128, 128, 65_536),
):  # fmt: skip
    _add(
        Preset(
            f"t5-{_name}", "t5",
            _shape(_layers, _width, _heads, head_size=_head, feedforward=_inner, vocabulary=32_128, context=512),
            "Raffel et al. 2020, section 3.7", {"small": "60 M", "base": "220 M", "large": "770 M", "3b": "3 B", "11b": "11 B"}[_name],
            {"optimizer": "adafactor", "schedule": "inverse_sqrt", "learning_rate": 0.01, "warmup_steps": 10_000, "batch_tokens": 65_536,
             "tokens": 34e9, "dropout": 0.1},
        )
    )  # fmt: skip
for _name, _layers, _width, _heads in (("base", 12, 768, 12), ("large", 24, 1024, 16)):
    _add(
        Preset(
            f"xlnet-{_name}", "xlnet", _shape(_layers, _width, _heads, feedforward=4 * _width, vocabulary=32_000, context=512),
            "Yang et al. 2019, appendix A.4", "", {"optimizer": "adamw", "learning_rate": 4e-4, "steps": 500_000, "batch_tokens": 8192 * 512, "dropout": 0.1, "schedule": "linear"},
        )
    )  # fmt: skip
