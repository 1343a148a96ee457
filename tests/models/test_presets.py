"""Each preset has exactly the parameters that its makers' own code has."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch

from groundup import recipe as recipes
from groundup.errors import RequestError
from groundup.models.build import build, parameters
from groundup.models.presets import PRESETS, settled

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


def recipe(**sections: Any) -> recipes.Recipe:
    return recipes.parse({"name": "x", "sources": [{"kind": "files", "path": "here"}], **sections}, [], where="test")


def test_training_like_takes_what_was_published_and_leaves_what_is_said() -> None:
    training = settled(recipe(training={"like": "gpt3-175b", "learning_rate": 0.001, "minutes": 3})).training
    assert (training.optimizer, training.betas, training.clip, training.final_share) == ("adamw", (0.9, 0.95), 1.0, 0.1)
    assert (training.learning_rate, training.minutes) == (0.001, 3)
    assert training.warmup == pytest.approx(375e6 / 300e9)
    assert isinstance(training.batch_tokens, int) and training.batch_tokens % 2048 == 0
    assert training.batch_tokens == pytest.approx(3.2e6, rel=0.001)


def test_dropout_is_the_model_s_and_steps_are_not_taken() -> None:
    found = settled(recipe(training={"like": "transformer-base"}))
    assert found.model.dropout.residual == 0.1 and found.training.label_smoothing == 0.1 and found.training.schedule == "inverse_sqrt"
    assert found.training.steps is None and found.training.warmup == pytest.approx(0.04)
    assert settled(recipe(training={"like": "bert-base"}, model={"dropout": 0.0})).model.dropout.residual == 0.0


def test_nothing_is_changed_without_it() -> None:
    plain = recipe(training={"minutes": 3})
    assert settled(plain) is plain


@pytest.mark.parametrize("name", list(PRESETS))
def test_every_preset_s_settings_are_valid(name: str) -> None:
    settled(recipe(training={"like": name}))


def test_an_unknown_preset_names_the_nearest() -> None:
    with pytest.raises(RequestError, match="nearest is 'gpt3-175b'"):
        settled(recipe(training={"like": "gpt3-174b"}))


def test_the_command_lists_and_shows(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    from groundup.cli import main

    for arguments in (["presets", "--json"], ["presets", "gpt3-13b", "--json"]):
        monkeypatch.setattr("sys.argv", ["groundup", *arguments])
        with pytest.raises(SystemExit) as end:
            main()
        assert end.value.code == 0
    every, one = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert [row["name"] for row in every] == list(PRESETS)
    assert set(every[0]) == {"name", "family", "layers", "width", "heads", "context", "vocabulary", "parameters", "source"}
    assert one["training"]["learning_rate"] == 1e-4 and "5,140" in one["notes"] and one["model"]["width"] == 5120
