"""The stages of a chain side by side: what they answer to the same questions, and whose answers its reward model likes better.

Each stage that speaks gives its likeliest answers. For win rates every two are compared on held-out prompts; ties are half a win. The judge
is the reward model that PPO was trained against, so PPO's wins are what it was made for: they say that it works, not that people would agree.
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
from groundup.recipe import Dialogue
from groundup.recipe.methods import Lima, OpenChat, Supervised

QUESTIONS = 5
COMPARED = 64  # prompts at most
TOKENS = 128  # of an answer at most; half of the context where that is less


def questions(wish: Dialogue) -> list[str]:
    """What all stages are asked: the recipe's questions, or prompts of one message that its later stages hold out, or those of its first conversations."""
    if wish.questions:
        return wish.questions[:QUESTIONS]
    shares = [method.held_out for method in wish.stages if not isinstance(method, Supervised | Lima | OpenChat) and method.method != "kto"]
    if shares:
        prompts = held_out_prompts(wish.prompts, wish.preferences, min(shares))
    else:
        files = [name for name in wish.pairs if name != material.REFERENCE_PAGES]
        prompts = [talk.messages[:-1] for talk in material.conversations(files, None, None)[0]] if files else []
    return [prompt[0].content for prompt in prompts if len(prompt) == 1][:QUESTIONS]


def side_by_side(stages: Mapping[str, Path], asked: Sequence[str]) -> list[dict[str, Any]]:
    """For every question: `question`, and `answers`, by stage."""
    rows: list[dict[str, Any]] = [{"question": question, "answers": {}} for question in asked]
    for name, folder in stages.items():
        speaker = Speaker.at(folder)
        assert speaker.template is not None
        engine = speaker.engine()
        prompts = [speaker.template.ask(question)[-(engine.context - 1) :] for question in asked]
        found = engine.generate_many(prompts, SamplingSettings(temperature=0.0, max_tokens=min(TOKENS, engine.context // 2)))
        for row, one in zip(rows, found, strict=True):
            row["answers"][name] = one[0].text
    return rows


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


def held_out_prompts(prompts: Sequence[str], preferences: Sequence[str], share: float) -> list[tuple[Message, ...]]:
    """The prompts, or else those of the preferences, that no stage learns rewards or preferences from."""
    return [task.prompt for task in material.tasks(prompts, preferences) if material.held_out(task.prompt, share)]
