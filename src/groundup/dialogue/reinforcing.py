"""Learning from what the model itself writes: PPO, GRPO, RLOO.

    prompts -> the model writes -> a reward model or a rule scores -> advantages -> the one trainer -> the model writes ...

The reference that KL is measured to is the model that the stage starts from. Beside the checkpoints a stage keeps, while it is at work, its
rounds (rollouts.py).
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from groundup.dialogue import material
from groundup.dialogue.author import Asked, Author, Written, logps_of
from groundup.dialogue.format.prompts import Task
from groundup.dialogue.link import Link
from groundup.dialogue.reward_model import RewardModel
from groundup.dialogue.rollouts import FOLDER, Experience, Rollouts, Score, Teach
from groundup.dialogue.verify import verifier
from groundup.errors import GroundupError, RequestError
from groundup.generation.sampling import SamplingSettings
from groundup.models.decoder import Decoder
from groundup.progress import say
from groundup.recipe.methods import Group, Ppo
from groundup.recipe.methods import Stage as Method
from groundup.tokens.loader import BatchPhase, Loader
from groundup.training import policy
from groundup.training.objectives import Objective
from groundup.training.policy_losses import Policy, Reinforce
from groundup.training.schedules import Schedule
from groundup.training.trainer import Evaluate
from groundup.training.value_head import ActorCritic, ScoredDecoder

MEASURED = 64  # held-out prompts that are answered at each look
SLOTS = 64  # answers that are written side by side


def reinforce(link: Link) -> None:
    """Tune by one of the three."""
    wish = link.wish
    assert isinstance(wish, Ppo | Group)
    pad, context = link.speech.words.special["<|pad|>"], int(link.planned["model"]["context"])
    most = min(wish.max_tokens, context // 2)
    learned, held_out = _prompts(link, context - most)
    score = _score(link, [*learned, *held_out], pad)
    start, reference = link.start(), link.start().eval()
    model: Decoder
    if isinstance(wish, Ppo):
        model = ActorCritic.of(start, _critic(link, start))
        answers, group, minibatch, inner = wish.rollouts, 1, wish.minibatch, wish.inner_epochs
        beta = policy.FixedKL(wish.kl) if wish.kl_target is None else policy.AdaptiveKL(wish.kl, wish.kl_target, wish.kl_horizon)
        teach: Teach = _ppo(wish)
        objective: Objective = Policy(clip=wish.clip, value=wish.value_weight, value_clip=wish.value_clip)
    else:
        model = start
        answers, group, minibatch, inner = wish.batch, wish.answers, wish.batch, 1
        beta, teach = policy.FixedKL(wish.beta), _groups(wish, most)
        objective = Policy(clip=wish.clip, kl=wish.beta) if wish.method == "grpo" else Reinforce()
    model = link.low_rank(model)
    author = Author(
        model, lambda plain: link.engine(plain, SLOTS), SamplingSettings(temperature=wish.temperature, top_k=0, top_p=1.0, min_p=0.0, max_tokens=most)
    )
    batches = Rollouts(
        author, reference, learned, score, teach, beta, answers, group, minibatch, inner, int(link.planned["micro_batch"]), pad, link.recipe.seed,
        link.ground.run, link.stage.work, link.title, link.stage.key, link.planned["precision"], wish.unfinished,
    )  # fmt: skip
    if isinstance(wish, Ppo) and wish.pretraining:
        batches.pretraining, batches.coefficient = _text(link, context, minibatch), wish.pretraining
    rounds = max(1, round(wish.episodes / answers))
    steps = rounds * batches.steps_a_round
    say(f"{link.title}: {len(learned):,} prompts, {len(held_out):,} held out, {rounds:,} rounds of {answers:,} answers, {steps:,} steps")
    settings = link.settings(
        steps, link.adamw(wish.learning_rate_share), Schedule("constant", warmup=0.0), loss_falls=False, evaluations=wish.looks if held_out else 0
    )
    look = _look(author, reference, held_out[:MEASURED], score, pad, link.recipe.seed)
    first = _first(link, look, model)
    summary = link.train(model, objective, batches, settings, look)
    if not link.ground.run.follows:
        shutil.rmtree(link.stage.work / FOLDER, ignore_errors=True)
    looks = link.stage.run.events("evaluation", link.stage.key)
    last = {name: value for name, value in looks[-1].items() if name.startswith("held_out")} if looks else {}
    link.finish(summary, prompts=len(learned), held_out_prompts=len(held_out), episodes=rounds * answers, before=first, **last)


def _tasks(link: Link) -> list[Task]:
    return material.tasks(link.ground.wish.prompts, link.ground.wish.preferences)


def _prompts(link: Link, room: int) -> tuple[list[Asked], list[Asked]]:
    """Prompts that are learned from and those that are only measured on; longer ones than `room` are left out."""
    found: tuple[list[Asked], list[Asked]] = ([], [])
    out = 0
    for task in _tasks(link):
        tokens = tuple(link.speech.template.prompt(task.prompt))
        if len(tokens) > room:
            out += 1
            continue
        rule = None if task.verify is None else verifier(task.verify, task.where)
        found[material.held_out(task.prompt, link.wish.held_out)].append(Asked(tokens, rule))  # type: ignore[union-attr]
    if out:
        say(f"{link.title}: {out:,} prompts left out, longer than {room} tokens")
    if not found[0]:
        raise GroundupError("no prompt is left to write answers to", where="dialogue.prompts", do="Give shorter prompts, or a longer context.")
    return found


def unscored(wish: Method) -> RequestError:
    """The error of a stage without a reward model before it and without rules."""
    return RequestError(f"{wish.method} has nothing to score answers with", where="dialogue.stages", do="Put `reward` before it, or give prompts with rules (`verify`).")


def _score(link: Link, prompts: Sequence[Asked], pad: int) -> Score:
    """By the prompts' own rules, where they have any; else by the reward model before this stage."""
    ruled = sum(prompt.rule is not None for prompt in prompts)
    if ruled == len(prompts):
        return lambda asked, written: [prompt.rule(one.text) if prompt.rule else 0.0 for prompt, one in zip(asked, written, strict=True)]
    if ruled:
        raise RequestError(f"{len(prompts) - ruled} of {len(prompts)} prompts have no rule", where="dialogue.prompts", do="Give `verify` with each, or with none.")
    if link.reward is None:
        raise unscored(link.wish)
    judge = RewardModel.load(link.reward, link.speech.words.digest, pad)
    return lambda asked, written: judge.scores([one.sequence for one in written])


def _critic(link: Link, start: Decoder) -> ScoredDecoder:
    """The value function: it starts as the reward model, or, where rules score, as the policy with a new score."""
    if link.reward is None:
        return ScoredDecoder.of(link.start(), link.recipe.seed)
    judge = RewardModel.load(link.reward, link.speech.words.digest, 0)
    critic = judge.model
    if critic.config != start.config:
        raise RequestError("the reward model is of another shape than the policy", where=link.title, do="Train both in one chain.")
    with torch.no_grad():
        critic.score.bias.sub_(judge.mean)
    return critic.train()


def _text(link: Link, context: int, minibatch: int) -> Loader:
    """The build's own text, as many rows a micro-batch as there are of answers at most."""
    shards, rows = link.ground.pretraining(), int(link.planned["micro_batch"])
    if shards is None:
        raise RequestError("there is no text of the build's own to mix in", where="dialogue.stages.pretraining", do="Set it to 0.")
    return Loader(shards.split("train"), [BatchPhase(1, context, rows, -(-minibatch // rows))], link.recipe.seed)


def _ppo(wish: Ppo) -> Teach:
    """Rewards with KL a token, advantages by GAE, both whitened over the round."""

    def teach(
        written: Sequence[Written], scores: Sequence[float], logps: Sequence[Tensor], reference: Sequence[Tensor], values: Sequence[Tensor] | None, beta: float
    ) -> list[Experience]:  # fmt: skip
        assert values is not None
        mask = _padded([torch.ones_like(one) for one in logps])
        rewards = policy.shaped_rewards(torch.tensor(list(scores)), _padded(logps), _padded(reference), mask, beta)
        if wish.whiten_rewards:
            rewards = policy.whiten(rewards, mask, policy.moments(rewards, mask), shift=False)
        advantages, returns = policy.advantages(rewards, _padded(values), mask, gamma=wish.gamma, lam=wish.lam)
        advantages = policy.whiten(advantages, mask, policy.moments(advantages, mask))
        return [
            Experience(one.sequence, logps[n], reference[n], advantages[n, : len(logps[n])], torch.ones_like(logps[n]), returns[n, : len(logps[n])], values[n])
            for n, one in enumerate(written)
        ]

    return teach


def _groups(wish: Group, most: int) -> Teach:
    """Each answer against the others of its prompt."""

    def teach(
        written: Sequence[Written], scores: Sequence[float], logps: Sequence[Tensor], reference: Sequence[Tensor], values: Sequence[Tensor] | None, beta: float
    ) -> list[Experience]:  # fmt: skip
        mask = _padded([torch.ones_like(one) for one in logps])
        found = torch.tensor(list(scores))
        if wish.method == "rloo":  # KL is part of the reward of a whole answer
            found = found - beta * torch.stack([(own - other).sum() for own, other in zip(logps, reference, strict=True)])
            advantage = policy.rloo_advantages(found.view(-1, wish.answers)).flatten()
            weights = policy.token_weights(mask, "token")
        else:
            advantage = policy.group_advantages(found.view(-1, wish.answers), scale=wish.scale).flatten()
            weights = policy.token_weights(mask, wish.weigh, most)
        zeros = [torch.zeros_like(one) for one in logps]
        return [
            Experience(one.sequence, logps[n], reference[n], advantage[n].expand(len(logps[n])).clone(), weights[n, : len(logps[n])], zeros[n], zeros[n])
            for n, one in enumerate(written)
        ]

    return teach


def _padded(rows: Sequence[Tensor]) -> Tensor:
    return torch.nn.utils.rnn.pad_sequence(list(rows), batch_first=True)


def _look(author: Author, reference: Decoder, prompts: Sequence[Asked], score: Score, pad: int, seed: int) -> Evaluate:
    """Answers to held-out prompts, drawn with the same numbers each time: mean score with its standard error, KL to the start (nats an answer),
    length, and how many came to an end."""

    def evaluate(model: Any, step: int) -> dict[str, Any]:
        written = author.write(prompts, seed)
        scores = torch.tensor(score(prompts, written), dtype=torch.float64)
        sequences = [one.sequence for one in written]
        kl = [float((own - other).sum()) for own, other in zip(logps_of(author.model, sequences, pad), logps_of(reference, sequences, pad), strict=True)]
        n = len(written)
        figures = {
            "score": float(scores.mean()), "standard_error": float(scores.std()) / n**0.5 if n > 1 else 0.0, "kl": sum(kl) / n,
            "response_tokens": sum(len(one.tokens) - one.asked for one in sequences) / n, "ended": sum(one.ended for one in written) / n,
        }  # fmt: skip
        return {f"held_out_{name}": round(value, 5) for name, value in figures.items()}

    return evaluate


def _first(link: Link, look: Evaluate, model: Decoder) -> dict[str, Any] | None:
    """What the model that the stage starts from does on the held-out prompts; measured once, before the first step."""
    path = link.stage.work / "before.json"
    if path.is_file():
        found: dict[str, Any] = json.loads(path.read_text())
        return found
    try:
        found = look(model, 0)
    except ZeroDivisionError:
        return None
    link.stage.write("before.json", json.dumps(found) + "\n")
    return found
