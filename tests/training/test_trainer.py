"""The trainer's promises: the update does not depend on how a batch is cut, and a cut run ends in the same bits."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch

from groundup import recipe as recipes
from groundup.errors import GroundupError, Stopped
from groundup.models.build import build
from groundup.models.config import ModelConfig
from groundup.run import Run, Stage
from groundup.training import checkpoint
from groundup.training.objectives import Batch, next_token
from groundup.training.trainer import Settings, Summary, train

RECIPE = recipes.parse({"name": "x", "sources": [{"kind": "files", "path": "here"}]})
SETTINGS = Settings(
    steps=12, learning_rate=1e-2, warmup_steps=2, final_share=0.1, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.1, clip=1.0,
    precision="fp32", compile=False, evaluations=3, keep_checkpoints=2, checkpoint_seconds=1e9, seed=5,
)  # fmt: skip


@dataclass
class RandomBatches:
    """Rows of random tokens; the same rows whatever the number of micro-batches."""

    config: ModelConfig
    micro_batches: int = 1
    rows: int = 4
    weight: float = 1.0
    fail_at: int | None = None

    def __call__(self, step: int, micro: int) -> Batch:
        if step == self.fail_at:
            raise KeyboardInterrupt
        generator = torch.Generator().manual_seed(step)
        tokens = torch.randint(self.config.vocabulary, (self.rows, self.config.context + 1), generator=generator)
        weights = self.weight * (torch.rand(self.rows, self.config.context, generator=generator) < 0.7)
        size = self.rows // self.micro_batches
        part = slice(micro * size, (micro + 1) * size)
        whole = {
            "tokens": tokens[:, :-1], "targets": tokens[:, 1:], "weights": weights.float(),
            "positions": torch.arange(self.config.context).expand(self.rows, -1), "segments": torch.zeros_like(tokens[:, :-1]),
        }  # fmt: skip
        return {name: tensor[part] for name, tensor in whole.items()}


def opened(path: Path) -> Stage:
    path.mkdir(exist_ok=True)
    return Run(path, RECIPE, None).stage("pretrain", "checkpoints", depends={}, inputs={}, keep=True)


def fit(path: Path, batches: RandomBatches, settings: Settings = SETTINGS, **arguments: object) -> Summary:
    model = build(batches.config, seed=1)
    return train(model, next_token, batches, settings, stage=opened(path), title="pretrain", tokenizer="t", **arguments)  # type: ignore[arg-type]


def weights_of(path: Path) -> dict[str, bytes]:
    newest = checkpoint.newest(path / ".checkpoints.partial")
    assert newest is not None and newest.name == "step-0000012"
    return {file.name: file.read_bytes() for file in sorted(newest.iterdir())}


def test_micro_batches_change_nothing_but_rounding(tmp_path: Path, tiny: ModelConfig) -> None:
    losses = [fit(tmp_path / str(parts), RandomBatches(tiny, parts), replace(SETTINGS, steps=3)).final_loss for parts in (1, 2, 4)]
    assert losses == pytest.approx([losses[0]] * 3, abs=1e-5)
    models = [checkpoint.load_model(tmp_path / str(parts) / ".checkpoints.partial" / "step-0000003") for parts in (1, 2, 4)]
    for other in models[1:]:
        for a, b in zip(models[0].parameters(), other.parameters(), strict=True):
            # Adam turns the sign of a gradient that is all rounding into a whole step, so compare against the rate
            assert (a - b).abs().mean() < 1e-3 * SETTINGS.learning_rate


def test_weights_are_relative(tmp_path: Path, tiny: ModelConfig) -> None:
    one = fit(tmp_path / "one", RandomBatches(tiny), replace(SETTINGS, steps=2)).final_loss
    many = fit(tmp_path / "many", RandomBatches(tiny, weight=8.0), replace(SETTINGS, steps=2)).final_loss
    assert one == many


@pytest.mark.parametrize("cut", [1, 5, 11])
def test_a_run_cut_anywhere_ends_in_the_same_bits(tmp_path: Path, tiny: ModelConfig, cut: int) -> None:
    config = tiny.model_copy(update={"dropout": 0.1})
    fit(tmp_path / "whole", RandomBatches(config))
    often = replace(SETTINGS, checkpoint_seconds=0.0)
    with pytest.raises(KeyboardInterrupt):
        fit(tmp_path / "cut", RandomBatches(config, fail_at=cut), replace(often))
    summary = fit(tmp_path / "cut", RandomBatches(config), replace(often))
    whole, cut_files = weights_of(tmp_path / "whole"), weights_of(tmp_path / "cut")
    for name in ("model.safetensors", "optimizer.safetensors", "config.json"):
        assert whole[name] == cut_files[name], name
    assert summary.steps == 12
    kept = [[path.name for path in sorted((tmp_path / run / ".checkpoints.partial").glob("step-*"))] for run in ("whole", "cut")]
    assert kept[0] == kept[1], "equal runs leave equal folders"


def test_sigterm_saves_and_a_second_start_finishes(tmp_path: Path, tiny: ModelConfig) -> None:
    fit(tmp_path / "whole", RandomBatches(tiny))

    @dataclass
    class Terminated(RandomBatches):
        def __call__(self, step: int, micro: int) -> Batch:
            if step == 4:
                os.kill(os.getpid(), signal.SIGTERM)
            return super().__call__(step, micro)

    with pytest.raises(Stopped, match="saved at step 5 of 12"):
        fit(tmp_path / "cut", Terminated(tiny))
    fit(tmp_path / "cut", RandomBatches(tiny))
    assert weights_of(tmp_path / "whole") == weights_of(tmp_path / "cut")


def test_a_damaged_newest_checkpoint_is_passed_over(tmp_path: Path, tiny: ModelConfig, capsys: pytest.CaptureFixture[str]) -> None:
    fit(tmp_path / "whole", RandomBatches(tiny))
    with pytest.raises(KeyboardInterrupt):
        fit(tmp_path / "cut", RandomBatches(tiny, fail_at=9))
    newest = checkpoint.newest(tmp_path / "cut" / ".checkpoints.partial")
    assert newest is not None
    data = bytearray((newest / "model.safetensors").read_bytes())
    data[-1] ^= 1
    (newest / "model.safetensors").write_bytes(data)
    fit(tmp_path / "cut", RandomBatches(tiny))
    assert "is damaged" in capsys.readouterr().err
    assert weights_of(tmp_path / "whole") == weights_of(tmp_path / "cut")


def test_evaluation_comes_after_its_checkpoint_and_once_each(tmp_path: Path, tiny: ModelConfig) -> None:
    def evaluate(model: torch.nn.Module, step: int) -> dict[str, float]:
        assert (tmp_path / "run" / ".checkpoints.partial" / f"step-{step:07d}").is_dir()
        assert not model.training
        return {"bits_per_byte": 1.0}

    fit(tmp_path / "run", RandomBatches(tiny), evaluate=evaluate)
    assert [event["step"] for event in Run(tmp_path / "run", RECIPE, None).events("evaluation")] == [4, 8, 12]


def test_a_batch_is_learned_by_heart(tmp_path: Path, tiny: ModelConfig) -> None:
    @dataclass
    class Same(RandomBatches):
        def __call__(self, step: int, micro: int) -> Batch:
            return super().__call__(0, micro)

    assert fit(tmp_path / "run", Same(tiny, rows=2), replace(SETTINGS, steps=150)).final_loss < 0.1


def test_a_batch_without_targets_is_an_error(tmp_path: Path, tiny: ModelConfig) -> None:
    with pytest.raises(GroundupError, match="every target is masked"):
        fit(tmp_path / "run", RandomBatches(tiny, weight=0.0))


def test_a_loss_that_is_no_number_stops_and_keeps_the_last_checkpoint(tmp_path: Path, tiny: ModelConfig) -> None:
    @dataclass
    class Broken(RandomBatches):
        def __call__(self, step: int, micro: int) -> Batch:
            batch = super().__call__(step, micro)
            return {**batch, "weights": batch["weights"] * (float("inf") if step == 7 else 1)}

    with pytest.raises(GroundupError, match=r"step 7, micro-batch 0: the loss is (inf|nan)"):
        fit(tmp_path / "run", Broken(tiny))
    newest = checkpoint.newest(tmp_path / "run" / ".checkpoints.partial")
    assert newest is not None and all(parameter.isfinite().all() for parameter in checkpoint.load_model(newest).parameters())


def test_a_wild_initialisation_is_noticed_at_once(tmp_path: Path, tiny: ModelConfig) -> None:
    with pytest.raises(GroundupError, match=r"far from ln\(vocabulary\) = 4.159"):
        fit(tmp_path / "run", RandomBatches(tiny.model_copy(update={"init_std": 2.0})), replace(SETTINGS))


def test_a_checkpoint_knows_its_tokenizer(tmp_path: Path, tiny: ModelConfig) -> None:
    fit(tmp_path / "run", RandomBatches(tiny))
    newest = checkpoint.newest(tmp_path / "run" / ".checkpoints.partial")
    assert newest is not None
    checkpoint.load_model(newest, "t")
    with pytest.raises(GroundupError, match="another tokenizer"):
        checkpoint.load_model(newest, "another")
