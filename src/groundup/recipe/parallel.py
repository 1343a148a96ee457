"""How a run is spread over processes: section `parallel`. On one process nothing of it is needed."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from groundup.recipe.strict import Strict

Schedule = Literal["gpipe", "1f1b", "interleaved-1f1b", "looped-bfs", "zero-bubble", "zbv", "dualpipe-v"]
Count = Annotated[int, Field(ge=1)]


class Parallel(Strict):
    """Processes along each axis; their product is the number that torchrun starts."""

    dp: Count | None = None
    """Data parallel: processes (or groups of them) with rows of their own; what the other axes leave when not given."""
    tp: Count = 1
    """Tensor parallel: processes that share each layer; best within a node (Megatron-LM)."""
    pp: Count = 1
    """Pipeline parallel: stages of layers one behind the other."""
    ep: Count = 1
    """Expert parallel: of the dp processes, so many share a layer's experts; divides dp."""
    replicate: Count = 1
    """Of the dp axis, so many whole copies; ZeRO shards within each (HSDP). Divides dp."""
    zero: Literal[0, 1, 2, 3] = 0
    """What the dp processes share out (Rajbhandari et al. 2020): 0 nothing; 1 the optimizer's state; 2 gradients too; 3 parameters too."""
    sequence: bool = True
    """With tp: the stream between cut layers is cut along time (Korthikanti et al. 2022)."""
    schedule: Schedule = "1f1b"
    """With pp: in which order micro-batches pass (GPipe, Huang et al. 2019; 1F1B, Narayanan et al. 2021; zero bubble, Qi et al. 2024)."""
    stages: Count | None = None
    """With pp: stages a process holds; 2 for the schedules that interleave, else 1, when not given."""
    recompute: Literal["none", "selective", "full"] = "none"
    """What the backward pass computes again instead of keeping it: nothing; all but matrix products and attention; each layer
    from its input."""
    timeout_seconds: Annotated[float, Field(gt=0)] = 600.0
    """A message that takes longer means a process hangs: all end, and torchrun starts them again."""
    asynchronous: bool = True
    """Checkpoints are written while training goes on."""
