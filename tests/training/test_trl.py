"""Our preference losses beside TRL's, where a TRL is installed that still has them as methods (0.24; later ones fold them into the step).

The methods are taken out of TRL's files and run by themselves: they need no model, and TRL's imports would.
"""

from __future__ import annotations

import ast
import importlib.util
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from groundup.training.preference_losses import dpo_loss, ipo_loss, kto_kl, kto_loss, orpo_loss, simpo_loss

BETA = 0.3


def method(file: str, name: str) -> Any:
    """A method of TRL as a function of self and its arguments."""
    found = importlib.util.find_spec("trl")
    if found is None or found.origin is None:
        pytest.skip("no TRL here")
    path = Path(found.origin).parent / "trainer" / file
    tree = ast.parse(path.read_text(encoding="utf-8")) if path.is_file() else ast.Module([], [])
    node = next((one for one in ast.walk(tree) if isinstance(one, ast.FunctionDef) and one.name == name), None)
    if node is None:
        pytest.skip(f"this TRL has no {name}")
    node.decorator_list = []
    space: dict[str, Any] = {
        "torch": torch, "F": F, "FDivergenceType": SimpleNamespace(ALPHA_DIVERGENCE="alpha", JS_DIVERGENCE="js"), "log1mexp": lambda x: torch.log1p(-torch.exp(x)),
    }  # fmt: skip
    future = ast.ImportFrom("__future__", [ast.alias("annotations")], 0)
    exec(compile(ast.fix_missing_locations(ast.Module([future, node], [])), str(path), "exec"), space)
    return space[name]


def trainer(**more: Any) -> SimpleNamespace:
    accelerator = SimpleNamespace(device="cpu", gather_for_metrics=lambda x: x)
    return SimpleNamespace(beta=BETA, label_smoothing=0.1, reference_free=False, f_divergence_type="reverse_kl", accelerator=accelerator, **more)


def logps(number: int, seed: int = 0) -> list[torch.Tensor]:
    return list((-8 * torch.rand(number, 9, generator=torch.Generator().manual_seed(seed)) - 0.1).unbind(0))


@pytest.mark.parametrize("kind", ["sigmoid", "ipo"])
def test_dpo_and_ipo(kind: str) -> None:
    better, worse, better_reference, worse_reference = logps(4)
    theirs = method("dpo_trainer.py", "dpo_loss")(trainer(), better, worse, better_reference, worse_reference, kind)[0]
    ratio = (better - better_reference) - (worse - worse_reference)
    ours = dpo_loss(ratio, BETA, 0.1) if kind == "sigmoid" else ipo_loss(ratio, BETA)
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


def test_kto() -> None:
    chosen, rejected, mismatched, *reference = logps(6)
    theirs, _, _, kl = method("kto_trainer.py", "kto_loss")(
        trainer(calculate_KL=True, loss_type="kto", desirable_weight=1.5, undesirable_weight=0.5), chosen, rejected, mismatched, *reference
    )
    estimate = kto_kl(mismatched - reference[2], torch.zeros(9, dtype=torch.long), 1)
    torch.testing.assert_close(estimate[0], kl)
    ratio = torch.cat([chosen - reference[0], rejected - reference[1]])
    ours = kto_loss(ratio, torch.arange(18) < 9, estimate.expand(18), BETA, 1.5, 0.5)
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


def test_orpo() -> None:
    better, worse = logps(2)
    theirs = method("orpo_trainer.py", "odds_ratio_loss")(trainer(), better, worse)
    ours, odds = orpo_loss(better, worse, BETA)
    torch.testing.assert_close(ours, -better - theirs[0], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(odds.mean(), theirs[4], rtol=1e-5, atol=1e-5)


def test_simpo() -> None:
    better, worse = logps(2)
    theirs = method("cpo_trainer.py", "cpo_loss")(
        SimpleNamespace(beta=BETA, label_smoothing=0.0, loss_type="simpo", simpo_gamma=0.5, alpha=0.0, accelerator=SimpleNamespace(device="cpu")), better, worse
    )[0]
    torch.testing.assert_close(simpo_loss(better, worse, BETA, 0.5), theirs, rtol=1e-5, atol=1e-5)
