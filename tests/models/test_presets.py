"""Each preset has exactly the parameters that its makers' own code has."""

from __future__ import annotations

import pytest
import torch

from groundup.models.build import build, parameters
from groundup.models.presets import PRESETS

# shared/reference/architectures-scaling-planning.md, section A: built from transformers' classes on the meta device, or computed
COUNTS = {
    "gpt1": 116_534_784, "gpt2": 124_439_808, "gpt2-medium": 354_823_168, "gpt2-large": 774_030_080, "gpt2-xl": 1_557_611_200,
    "gpt3-small": 125_226_240, "gpt3-medium": 355_871_744, "gpt3-large": 760_300_032, "gpt3-xl": 1_315_723_264, "gpt3-2.7b": 2_651_553_280,
    "gpt3-6.7b": 6_658_404_352, "gpt3-13b": 12_853_386_240, "gpt3-175b": 174_604_259_328,
    "llama-7b": 6_738_415_616, "llama-13b": 13_015_864_320, "llama-33b": 32_528_943_616, "llama-65b": 65_285_660_672,
    "falcon-7b": 6_921_720_704, "falcon-40b": 41_303_293_952, "falcon-180b": 178_557_088_768, "falcon-rw-1b": 1_311_625_216,
    "palm-8b": 8_632_012_800, "palm-62b": 62_495_662_080, "palm-540b": 540_356_474_880,
    "mixtral-8x7b": 46_702_792_704,
    "bert-base": 110_106_428, "bert-large": 336_226_108, "transformer-base": 63_082_496, "transformer-big": 214_245_376,
    "t5-small": 60_506_624, "t5-base": 222_903_552, "t5-large": 737_668_096, "t5-3b": 2_851_598_336, "t5-11b": 11_307_321_344,
    "xlnet-base": 116_750_336, "xlnet-large": 360_300_800,
}  # fmt: skip


@pytest.mark.parametrize("name", list(COUNTS))
def test_parameters_are_exact(name: str) -> None:
    config = PRESETS[name].config()
    with torch.device("meta"):
        built = sum(parameter.numel() for parameter in build(config).parameters())
    assert built == COUNTS[name]
    assert config.kind != "decoder" or parameters(config) == COUNTS[name]


def test_the_rest_builds_too() -> None:
    for name, preset in PRESETS.items():
        if name not in COUNTS and preset.config().kind == "decoder":
            with torch.device("meta"):
                assert sum(parameter.numel() for parameter in build(preset.config()).parameters()) == parameters(preset.config())
        assert preset.source
