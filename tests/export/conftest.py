"""Runs with a small random model and a tokenizer of any kind."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from small import SHAPE, tokenizer_text

from groundup import recipe as recipes
from groundup.models.build import build
from groundup.models.config import resolved
from groundup.run import Run, write_atomic
from groundup.tokens.tokenizer import Tokenizer
from groundup.training import checkpoint
from groundup.training.optimizers import OptimizerSettings, optimizers


@pytest.fixture
def make_run(tmp_path: Path) -> Callable[..., Run]:
    """A run folder with a random model, tuned if asked for, none of whose weights is zero."""

    def make(family: Any = "llama", kind: str = "qwen2", *, tuned: bool = False, name: str = "small", **more: Any) -> Run:
        text = tokenizer_text(kind)
        words = Tokenizer(text)
        config = resolved(family, **{"vocabulary": words.size, **SHAPE, **more})
        model = build(config, seed=1)
        generator = torch.Generator().manual_seed(2)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
        path = tmp_path / "runs" / name
        Run.open(path, recipes.parse({"name": name, "sources": [{"kind": "files", "path": str(tmp_path / "private" / "texts")}]})).close()
        (path / "tokenizer").mkdir()
        write_atomic(path / "tokenizer" / "tokenizer.json", text)
        for folder in ("checkpoints", *(["dialogue"] if tuned else [])):
            checkpoint.save(path / folder, 7, model, config, optimizers(model, OptimizerSettings()), {"tokenizer": words.digest})
        return Run.read(path)

    return make
