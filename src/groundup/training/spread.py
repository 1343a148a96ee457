"""From a recipe's `parallel` section to what the trainer drives: the whole model, or this process's part of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from groundup.models.build import Model, build
from groundup.models.config import ModelConfig
from groundup.models.parts.init import initial_values
from groundup.recipe.parallel import Parallel
from groundup.tokens.loader import BatchPhase
from groundup.training import checkpoint
from groundup.training.layout import layout
from groundup.training.objectives import Objective
from groundup.training.parallel import World
from groundup.training.processes import device
from groundup.training.stage import layers_in, recompute
from groundup.training.trainer import Settings

if TYPE_CHECKING:
    from groundup.training.sharded import Sharded


def spread(
    wish: Parallel, config: ModelConfig, objective: Objective, phases: Sequence[BatchPhase], settings: Settings, folder: Path, start: Model | None = None
) -> Model | Sharded:  # fmt: skip
    """The model as the present processes hold it; `folder`: of its checkpoints; `start`: what to start from, else a new one from the
    run's seed. Raises RequestError where the plan cannot be."""
    plan = layout(wish, config, phases, World.present().size, begun=bool(checkpoint.all_steps(folder)))
    if not plan.cut:
        whole = build(config, seed=settings.seed) if start is None else start
        for layer in layers_in(whole):
            recompute(layer, plan.recompute)
        return whole
    from groundup.training.sharded import Sharded  # FSDP and pipelines take long to import

    if start is None:
        with torch.device("meta"):
            weights = initial_values(build(config), config, settings.seed)
    else:
        weights = ((name, parameter.detach()) for name, parameter in start.named_parameters())
    return Sharded(
        config, objective, plan, weights, settings.optimizer, folder, precision=settings.precision, asynchronous=wish.asynchronous, device=device(),
    )
