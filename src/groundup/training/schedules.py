"""How the learning rate moves over a run."""

from __future__ import annotations

import math


def cosine(step: int, steps: int, warmup_steps: int, final_share: float) -> float:
    """Share of the peak learning rate at `step` (0-based): linear rise, then half a cosine down to `final_share`.

    GPT-3 (Brown et al. 2020, appendix B) and LLaMA use it with a final share of 0.1. The first step already moves
    (1/warmup_steps), the last one is at `final_share` but for half a step.
    """
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    through = (step - warmup_steps) / max(1, steps - warmup_steps)
    return final_share + (1 - final_share) * 0.5 * (1 + math.cos(math.pi * through))
