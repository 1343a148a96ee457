"""Win rates between the stages of a chain: whose answers to held-out prompts the chain's reward model likes better.

Each stage that speaks gives its likeliest answer to the same prompts, and every two are compared; ties are half a win. The judge is the
reward model that PPO was trained against, so PPO's wins are what it was made for: they say that it works, not that people would agree.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from groundup.dialogue import material
from groundup.dialogue.format.record import Message
from groundup.dialogue.reward_model import RewardModel
from groundup.dialogue.sequences import Answered
from groundup.dialogue.speaker import Speaker
from groundup.generation.sampling import SamplingSettings

COMPARED = 64  # prompts at most
TOKENS = 128  # of an answer at most; half of the context where that is less


def win_rates(stages: Mapping[str, Path], judge: Path, prompts: Sequence[Sequence[Message]]) -> list[dict[str, Any]]:
    """For every two stages, by name in the order of the chain: `stage`, `over` an earlier one, `win_rate`, its `standard_error`, `prompts`."""
    scores: dict[str, list[float]] = {}
    for name, folder in stages.items():
        speaker = Speaker.at(folder)
        assert speaker.template is not None
        reward = RewardModel.load(judge, speaker.words.digest, speaker.words.special["<|pad|>"])
        engine = speaker.engine()
        most = min(TOKENS, engine.context // 2)
        asked = [tokens for tokens in map(speaker.template.prompt, prompts) if len(tokens) <= engine.context - most][:COMPARED]
        found = engine.generate_many(asked, SamplingSettings(temperature=0.0, max_tokens=most))
        said = [(*tokens, *one[0].tokens, *([] if one[0].end is None else [one[0].end])) for tokens, one in zip(asked, found, strict=True)]
        scores[name] = reward.scores([Answered(whole, len(tokens)) for whole, tokens in zip(said, asked, strict=True)])
    names, rows = list(scores), []
    for place, later in enumerate(names):
        for earlier in names[:place]:
            wins = [1.0 if one > other else 0.5 if one == other else 0.0 for one, other in zip(scores[later], scores[earlier], strict=True)]
            if wins:
                rate = sum(wins) / len(wins)
                rows.append({"stage": later, "over": earlier, "win_rate": rate, "standard_error": (rate * (1 - rate) / len(wins)) ** 0.5, "prompts": len(wins)})
    return rows


def held_out_prompts(preferences: Sequence[str], share: float) -> list[tuple[Message, ...]]:
    """The prompts that no stage learns from."""
    return [task.prompt for task in material.tasks([], preferences) if material.held_out(task.prompt, share)]
