"""The trainer's promises: the update does not depend on how a batch is cut, and a cut run ends in the same bits."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
import torch.multiprocessing as mp
from batches import RECIPE, SETTINGS, RandomBatches, exact_losses, fit, work

from groundup.errors import GroundupError, Stopped
from groundup.models.build import build
from groundup.models.config import ModelConfig
from groundup.run import Run
from groundup.training import checkpoint
from groundup.training.objectives import Batch, NextToken
from groundup.training.optimizers import OptimizerSettings
from groundup.training.schedules import Schedule


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
            assert (a - b).abs().mean() < 1e-3 * SETTINGS.optimizer.learning_rate


def test_weights_are_relative(tmp_path: Path, tiny: ModelConfig) -> None:
    one = fit(tmp_path / "one", RandomBatches(tiny), replace(SETTINGS, steps=2)).final_loss
    many = fit(tmp_path / "many", RandomBatches(tiny, weight=8.0), replace(SETTINGS, steps=2)).final_loss
    assert one == many


@pytest.mark.parametrize("cut", [1, 5, 11])
def test_a_run_cut_anywhere_ends_in_the_same_bits(tmp_path: Path, tiny: ModelConfig, cut: int) -> None:
    config = tiny.model_copy(update={"residual_dropout": 0.1})
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


@dataclass
class Broken(RandomBatches):
    """Weights that make the loss infinite in some steps."""

    broken: range = range(0)

    def __call__(self, step: int, micro: int) -> Batch:
        batch = super().__call__(step, micro)
        return {**batch, "weights": batch["weights"] * (float("inf") if step in self.broken else 1)}


def test_a_step_whose_loss_is_no_number_is_skipped_and_logged(tmp_path: Path, tiny: ModelConfig) -> None:
    summary = fit(tmp_path / "run", Broken(tiny, broken=range(7, 8)))
    assert (summary.steps, summary.skipped_steps) == (12, 1)
    assert torch.tensor(summary.final_loss).isfinite()
    (event,) = Run(tmp_path / "run", RECIPE, None).events("skipped")
    assert event["step"] == 8 and "nan" in event["reason"]


def test_a_loss_that_stays_no_number_stops_and_keeps_the_last_good_checkpoint(tmp_path: Path, tiny: ModelConfig) -> None:
    with pytest.raises(GroundupError, match=r"step 16: training diverges: 10 steps in a row were skipped.*Lower training.learning_rate"):
        fit(tmp_path / "run", Broken(tiny, broken=range(7, 99)), replace(SETTINGS, steps=40))
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


def final(path: Path, step: int = 4) -> dict[str, torch.Tensor]:
    return dict(checkpoint.load_model(path / ".checkpoints.partial" / f"step-{step:07d}").named_parameters())


@pytest.mark.parametrize(("size", "family"), [(2, "quick"), pytest.param(4, "tiny", marks=pytest.mark.slow)])
def test_two_and_four_processes_compute_what_one_does(tmp_path: Path, request: pytest.FixtureRequest, size: int, family: str) -> None:
    """Equal to 1e-6 in fp32 (Adagrad divides a row's gradient by itself, rounding and all: there on average); with 3 micro-batches the processes' shares are unequal and one of four has none."""
    config: ModelConfig = request.getfixturevalue(family)
    settings = replace(SETTINGS, steps=4, optimizer=OptimizerSettings("sgd", learning_rate=1e-2))
    for cut, rows in ((4, 4), (3, 3)):
        alone, together = tmp_path / f"alone-{cut}", tmp_path / f"together-{cut}"
        together.mkdir()
        fit(alone, RandomBatches(config, 1, rows), settings, NextToken(z_loss=1e-4))
        mp.spawn(work, (size, str(together), config.model_dump_json(), cut, rows), nprocs=size)
        assert len(exact_losses(alone)) == settings.steps
        assert exact_losses(together) == pytest.approx(exact_losses(alone), abs=1e-6)
        for name, known in final(alone).items():
            difference = (final(together)[name] - known).abs()
            assert difference.max() <= 1e-6 if family == "tiny" else difference.mean() <= 1e-6, name


def test_padding_and_packing_change_nothing(tiny: ModelConfig) -> None:
    """Three documents one a row with padding, or packed into one row: the same sums and gradients to 1e-6."""
    generator = torch.Generator().manual_seed(0)
    lengths = (5, 8, 3)
    texts = [torch.randint(64, (length + 1,), generator=generator) for length in lengths]
    T = 16
    padded = {name: torch.zeros(3, T, dtype=torch.int64) for name in ("tokens", "targets", "positions", "segments")}
    padded["weights"] = torch.zeros(3, T)
    packed = {name: torch.zeros(1, T, dtype=torch.int64) for name in ("tokens", "targets", "positions", "segments")}
    packed["weights"] = torch.zeros(1, T)
    at = 0
    for row, text in enumerate(texts):
        for batch, place, begin in ((padded, row, 0), (packed, 0, at)):
            span = slice(begin, begin + len(text) - 1)
            batch["tokens"][place, span], batch["targets"][place, span] = text[:-1], text[1:]
            batch["positions"][place, span] = torch.arange(len(text) - 1)
            batch["segments"][place, span] = row + 1
            batch["weights"][place, span] = 1
        at += len(text) - 1
    found = []
    for batch in (padded, packed):
        model = build(tiny, seed=1)
        sums = NextToken()(model, batch)
        (sums.loss_sum / sums.weight_sum).backward()
        found.append((sums.loss_sum / sums.weight_sum, [parameter.grad for parameter in model.parameters()]))
    torch.testing.assert_close(found[0][0], found[1][0], atol=1e-6, rtol=0)
    for a, b in zip(found[0][1], found[1][1], strict=True):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=0)


@pytest.mark.parametrize("optimizer", ["muon", "adafactor", "lion", "sgd"])
def test_every_optimizer_resumes_to_the_same_bits(tmp_path: Path, quick: ModelConfig, optimizer: str) -> None:
    settings = replace(SETTINGS, optimizer=OptimizerSettings(optimizer, learning_rate=1e-3), ema=0.9, checkpoint_seconds=0.0)  # type: ignore[arg-type]
    fit(tmp_path / "whole", RandomBatches(quick, 2), settings)
    with pytest.raises(KeyboardInterrupt):
        fit(tmp_path / "cut", RandomBatches(quick, 2, fail_at=7), settings)
    fit(tmp_path / "cut", RandomBatches(quick, 2), settings)
    assert weights_of(tmp_path / "whole") == weights_of(tmp_path / "cut")


def test_killed_in_the_middle_of_a_step_and_of_an_epoch(tmp_path: Path, tiny: ModelConfig) -> None:
    """kill -9 between two micro-batches of a step."""
    script = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from dataclasses import replace\n"
        "import torch\n"
        "from batches import *\n"
        "torch.set_num_threads(1)\n"
        "class Killed(RandomBatches):\n"
        "    def __call__(self, step, micro):\n"
        "        if (step, micro) == (7, 1): os.kill(os.getpid(), 9)\n"
        "        return super().__call__(step, micro)\n"
        "config = ModelConfig.model_validate_json(sys.argv[2])\n"
        "fit(Path(sys.argv[1]), Killed(config, 2), replace(SETTINGS, checkpoint_seconds=0.0))\n"
    )
    killed = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "cut"), tiny.model_dump_json()], cwd=Path(__file__).parent, timeout=120,
        capture_output=True, text=True,
    )  # fmt: skip
    assert killed.returncode == -9, killed.stderr
    often = replace(SETTINGS, checkpoint_seconds=0.0)
    fit(tmp_path / "whole", RandomBatches(tiny, 2), often)
    fit(tmp_path / "cut", RandomBatches(tiny, 2), often)
    assert weights_of(tmp_path / "whole") == weights_of(tmp_path / "cut")


def test_a_full_disk_loses_nothing(tmp_path: Path, tiny: ModelConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk fills up in the middle of a checkpoint's largest file; with room again the run ends in the same bits."""
    fit(tmp_path / "whole", RandomBatches(tiny))
    real, calls = checkpoint.save_file, [0]

    def fills(tensors: dict[str, torch.Tensor], path: Path) -> None:
        calls[0] += 1
        if calls[0] == 6:
            path.write_bytes(b"half a file")
            raise OSError(errno.ENOSPC, "No space left on device")
        real(tensors, path)

    monkeypatch.setattr(checkpoint, "save_file", fills)
    with pytest.raises(OSError, match="No space left"):
        fit(tmp_path / "cut", RandomBatches(tiny))
    assert checkpoint.newest(tmp_path / "cut" / ".checkpoints.partial") is not None
    fit(tmp_path / "cut", RandomBatches(tiny))
    assert weights_of(tmp_path / "whole") == weights_of(tmp_path / "cut")


def test_ctrl_c_once_saves_and_stops_twice_stops_at_once(tmp_path: Path, tiny: ModelConfig) -> None:
    @dataclass
    class Interrupted(RandomBatches):
        times: int = 1

        def __call__(self, step: int, micro: int) -> Batch:
            if step == 4:
                for _ in range(self.times):
                    os.kill(os.getpid(), signal.SIGINT)
            return super().__call__(step, micro)

    with pytest.raises(Stopped, match="saved at step 5 of 12"):
        fit(tmp_path / "once", Interrupted(tiny))
    with pytest.raises(KeyboardInterrupt):
        fit(tmp_path / "twice", Interrupted(tiny, times=2))
    assert [step for step, _ in checkpoint.all_steps(tmp_path / "twice" / ".checkpoints.partial")] == [2, 4]  # milestones


def test_the_three_decays_are_told_apart(tmp_path: Path, tiny: ModelConfig) -> None:
    """A loss without gradient shows each decay alone.

    With SGD: decoupled decay does nothing (SGD has none), L2 shrinks each weight by a factor, L1 by a length. With
    AdamW's decoupled decay the factor is lr x decay whatever the gradient; L2 through Adam is a step of its own size.
    """
    rate, steps = 1e-3, 5
    flat = Schedule("constant", warmup=0.0)

    def trained(name: str, **changes: float) -> torch.Tensor:
        optimizer = OptimizerSettings(
            "sgd" if name.startswith("sgd") else "adamw", learning_rate=rate, momentum=0.0, weight_decay=changes.pop("weight_decay", 0.0)
        )
        settings = replace(SETTINGS, steps=steps, schedule=flat, optimizer=optimizer, clip=1e9, **changes)  # type: ignore[arg-type]
        folder = tmp_path / f"{name}-{sorted(changes.items())}-{optimizer.weight_decay}"
        fit(folder, RandomBatches(tiny), settings, _flat_loss)
        return final(folder, steps)["blocks.0.feedforward.down.weight"]

    start = dict(build(tiny, seed=1).named_parameters())["blocks.0.feedforward.down.weight"].detach()
    assert torch.equal(trained("sgd"), start)
    torch.testing.assert_close(trained("sgd", l2=2.0), start * (1 - rate * 2.0) ** steps, atol=1e-8, rtol=1e-5)
    shrunk = trained("sgd", l1=0.5)
    far = start.abs() > 2 * steps * rate * 0.5
    torch.testing.assert_close(shrunk[far], (start - steps * rate * 0.5 * start.sign())[far], atol=1e-7, rtol=1e-5)
    torch.testing.assert_close(trained("adamw", weight_decay=2.0), start * (1 - rate * 2.0) ** steps, atol=1e-8, rtol=1e-5)
    through_adam = trained("adamw", l2=2.0)
    torch.testing.assert_close((start - through_adam)[far], (steps * rate * start.sign())[far], atol=0.2 * steps * rate, rtol=0)


def _flat_loss(model, batch):
    """A loss whose gradient is zero, so that decay alone moves the weights."""
    sums = NextToken()(model, batch)
    return replace(sums, loss_sum=sums.loss_sum * 0 + 4.158 * float(sums.weight_sum))


def test_label_smoothing_and_z_loss_are_trained_and_the_plain_loss_is_logged(tmp_path: Path, tiny: ModelConfig) -> None:
    fit(tmp_path / "run", RandomBatches(tiny), SETTINGS, NextToken(label_smoothing=0.1, z_loss=1e-3))
    for event in Run(tmp_path / "run", RECIPE, None).events("train"):
        assert event["loss"] > event["cross_entropy"] > 0


def test_the_average_is_what_is_evaluated_and_kept(tmp_path: Path, tiny: ModelConfig) -> None:
    seen: list[dict[str, torch.Tensor]] = []

    def evaluate(model: torch.nn.Module, step: int) -> dict[str, float]:
        seen.append({name: parameter.detach().clone() for name, parameter in model.named_parameters()})
        return {"bits_per_byte": 1.0}

    decay = 0.5
    fit(tmp_path / "run", RandomBatches(tiny), replace(SETTINGS, steps=10, ema=decay, evaluations=10, keep_checkpoints=20), evaluate=evaluate)
    folder = tmp_path / "run" / ".checkpoints.partial"
    expected = {name: parameter.detach().clone() for name, parameter in build(tiny, seed=1).named_parameters()}
    for step in range(1, 11):
        raw = checkpoint._load_tensors(folder / f"step-{step:07d}" / "model.safetensors")
        for name in expected:
            expected[name] = decay * expected[name] + (1 - decay) * raw[name]
            torch.testing.assert_close(seen[step - 1][name], expected[name], atol=1e-6, rtol=1e-5)
    kept = dict(checkpoint.load_model(folder / "step-0000010").named_parameters())
    assert all(torch.equal(kept[name], seen[-1][name]) for name in kept)
    assert not torch.equal(kept["norm.weight"], raw["norm.weight"])


def test_early_stopping_keeps_the_best(tmp_path: Path, tiny: ModelConfig) -> None:
    figures = {2: 3.0, 4: 2.0, 6: 2.5, 8: 2.4}
    looked: list[int] = []

    def evaluate(model: torch.nn.Module, step: int) -> dict[str, float]:
        looked.append(step)
        return {"bits_per_byte": figures[step]}

    stopping = replace(SETTINGS, early_stopping=2, evaluations=6)
    summary = fit(tmp_path / "run", RandomBatches(tiny), stopping, evaluate=evaluate)
    assert looked == [2, 4, 6, 8] and summary.steps == 4
    assert [step for step, _ in checkpoint.all_steps(tmp_path / "run" / ".checkpoints.partial")][-1] == 4
    looked.clear()

    def cut(model: torch.nn.Module, step: int) -> dict[str, float]:
        if step == 6:
            raise KeyboardInterrupt
        return evaluate(model, step)

    with pytest.raises(KeyboardInterrupt):
        fit(tmp_path / "cut", RandomBatches(tiny), stopping, evaluate=cut)
    assert fit(tmp_path / "cut", RandomBatches(tiny), stopping, evaluate=evaluate).steps == 4
    assert looked == [2, 4, 6, 8]


def test_tensorboard_has_the_curves(tmp_path: Path, tiny: ModelConfig) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    settings = replace(SETTINGS, track=("tensorboard",))
    with pytest.raises(KeyboardInterrupt):
        fit(tmp_path / "run", RandomBatches(tiny, fail_at=6), settings)
    time.sleep(1.1)  # event files are ordered by the second in their names
    fit(tmp_path / "run", RandomBatches(tiny), settings)
    events = EventAccumulator(str(tmp_path / "run" / "tensorboard" / "pretrain"))
    events.Reload()
    curve = events.Scalars("train/loss")
    logged = {event["step"]: event["loss"] for event in Run(tmp_path / "run", RECIPE, None).events("train")}
    assert [point.step for point in curve] == list(range(1, 13))
    assert [point.value for point in curve] == pytest.approx([logged[step] for step in range(1, 13)], rel=1e-6)


def test_wandb_offline_keeps_everything_in_the_run_folder(tmp_path: Path, tiny: ModelConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb", reason="wandb is not installed")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.setenv("HOME", str(tmp_path))
    fit(tmp_path / "run", RandomBatches(tiny), replace(SETTINGS, steps=3, track=("wandb",)))
    (file,) = (tmp_path / "run" / "wandb").glob("offline-run-*/*.wandb")
    until = time.monotonic() + 30  # its own process writes the file
    while b"train/loss" not in file.read_bytes() and time.monotonic() < until:
        time.sleep(0.1)
    assert b"train/loss" in file.read_bytes()


def test_equal_memory_after_many_steps(tmp_path: Path, tiny: ModelConfig) -> None:
    import psutil

    sizes: list[int] = []

    def evaluate(model: torch.nn.Module, step: int) -> dict[str, float]:
        sizes.append(psutil.Process().memory_info().rss)
        return {"bits_per_byte": 1.0}

    fit(tmp_path / "run", RandomBatches(tiny), replace(SETTINGS, steps=300, evaluations=6), evaluate=evaluate)
    assert sizes[-1] - sizes[1] < 8 * 2**20
