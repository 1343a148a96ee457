"""How well a model does what it was taught, on text it never saw: for models that are no plain left-to-right decoders.

Their bits per byte are those of the tokens that were asked for, given everything the model was shown: a masked model sees both
sides and is asked for little, so the figure compares with models of the same objective alone.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch

from groundup.models.build import Model
from groundup.tokens.loader import Batches
from groundup.training.objectives import Objective


def objective_bits_per_byte(
    model: Model, objective: Objective, batches: Batches, steps: int, byte_lengths: np.ndarray[Any, Any], seed: int
) -> dict[str, Any]:
    """`objective_bits_per_byte` (of the tokens asked for) and `objective_accuracy` where the objective counts it, over `steps` steps
    of held-out batches; what is asked for depends on the seed alone."""
    was_training = model.training
    model.eval()
    nats = right = weight = 0.0
    size, counts = 0, False
    lengths = torch.from_numpy(np.ascontiguousarray(byte_lengths))
    try:
        with torch.inference_mode(), torch.random.fork_rng(devices=[]):
            for step in range(steps):
                torch.manual_seed(seed * 1_000_003 + step)
                for micro in range(batches.parts(step)):
                    batch = batches(step, micro)
                    # names of blanks and ends of texts stand for no bytes and are not counted, as in bits_per_byte
                    batch["weights"] = batch["weights"] * (lengths[batch["targets"]] > 0)
                    sums = objective(model, batch)
                    asked = batch["targets"][batch["weights"] > 0] if sums.asked is None else sums.asked
                    nats += float(sums.metrics.get("cross_entropy", sums.loss_sum))
                    weight += float(sums.weight_sum)
                    size += int(lengths[asked].sum())
                    if "accuracy" in sums.metrics:
                        right, counts = right + float(sums.metrics["accuracy"]), True
    finally:
        model.train(was_training)
    return {
        "objective_bits_per_byte": nats / math.log(2) / max(1, size), "objective_accuracy": right / weight if counts else None,
    }  # fmt: skip
