"""What processes send in a step is what the formulas say, byte for byte."""

from __future__ import annotations

from typing import Any

import pytest
import torch.distributed as dist
from together import ADAMW, CONTEXT, ROWS, Rows, config_of, sharded, take_steps, together

from groundup.models.config import Family
from groundup.planning.traffic import bytes_sent
from groundup.recipe.parallel import Parallel
from groundup.training.traffic import traffic


def sent(rank: int, size: int, family: Family, plan: dict[str, Any], micros: int) -> tuple[dict[str, int], dict[str, int]]:
    config = config_of(family, vocabulary=64)
    engine = sharded(config, Parallel(**plan), micros, ADAMW)
    rows = Rows(config, micros)
    take_steps(engine, rows, range(1))  # a pipeline tells its shapes once
    axes = {engine.mesh[axis].get_group().group_name: "dp" if axis in ("replicate", "outer") else axis for axis in ("pp", "outer", "tp")}
    axes |= {group.group_name: "pp" for _, group in engine._shared if group is not None}
    with traffic(axes) as counted:
        take_steps(engine, rows, (1,))
    layout = engine.layout
    everyone = axes.get(dist.group.WORLD.group_name)  # an axis of all processes: three sums of the whole step, of 8 bytes each, go the same way
    if everyone is not None:
        counted[everyone] -= 2 * (size - 1) * 16 // size + 2 * (size - 1) * 8 // size
    expected = bytes_sent(config, layout, ROWS, CONTEXT, micros // layout.dp, stage=engine.pp_rank, label_smoothing=True, number=8)
    return {axis: value for axis, value in counted.items() if axis != "other" and value}, expected


@pytest.mark.parametrize("family, plan, size, micros", [
    ("llama", {"tp": 2}, 2, 2), ("gpt2", {"tp": 2, "sequence": False}, 2, 2), ("llama", {"tp": 4}, 4, 1), ("llama", {"zero": 1}, 2, 4),
    ("llama", {"zero": 2}, 2, 4), ("llama", {"zero": 3}, 2, 4), ("llama", {"pp": 2}, 2, 4), ("gpt2", {"pp": 2, "tp": 2, "zero": 2}, 8, 4),
], ids=str)  # fmt: skip
def test_bytes_are_the_formulas(family: Family, plan: dict[str, Any], size: int, micros: int) -> None:
    for counted, expected in together(size, sent, family, plan, micros):
        assert counted == expected
    assert not dist.is_initialized()
