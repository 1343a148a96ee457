"""Beam search: the likeliest texts, not one token after the other but several texts side by side.

    beams 2        <s> ─ a ── b        each step every beam is continued by every token;
                      └─ c ── d        the two best continuations of all go on, wherever they come from

As transformers does it (`GenerationMixin._beam_search`, early_stopping=False): among the best 2 x beams continuations those
that end a text are put by with their score, log-probability / length ^ length_penalty, and the best others go on; the
search ends when no running text can beat the worst of `beams` ended ones. A test holds both to the same tokens.

Shapes: W beams, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from groundup.errors import RequestError
from groundup.generation.cache import Piece
from groundup.generation.engine import END_TOKENS, Engine, Prompt
from groundup.generation.runner import CachedRunner
from groundup.models.decoder import Decoder


@dataclass(frozen=True)
class Found:
    """A text that beam search found."""

    text: str
    tokens: list[int]
    """Without the token that ended it."""
    score: float
    """Summed log-probability, that of the ending token included, over the length to the power of the penalty."""
    ended: bool
    """By a token, not for want of room."""


@dataclass(frozen=True)
class _Beam:
    slot: int
    tokens: list[int]
    total: float


@torch.inference_mode()
def beam_search(
    engine: Engine, prompt: Prompt, beams: int, max_tokens: int, length_penalty: float = 1.0
) -> list[Found]:
    """The `beams` best texts that continue a prompt, best first. The engine must have nothing else to do."""
    runner = engine.runner
    if not isinstance(runner, CachedRunner) or not isinstance(engine.model, Decoder):
        raise RequestError("beam search needs a left-to-right decoder", do="Sample instead.")
    if not 1 <= beams <= runner.slots.count:
        raise RequestError(
            f"{beams} beams; the engine has {runner.slots.count} slots",
            do="Ask for fewer, or give it more slots.",
        )
    tokens, _ = engine.fit(prompt)
    room = min(max_tokens, engine.context - len(tokens))
    slots = runner.slots
    taken = [slots.take(tokens)]
    try:
        slot, kept = taken[0]
        taken += [slots.take([]) for _ in range(beams - 1)]
        return _search(engine, runner, [slot for slot, _ in taken], tokens, kept, room, length_penalty)
    finally:
        for slot, _ in taken:
            slots.give_back(slot)


def _search(
    engine: Engine,
    runner: CachedRunner,
    slots: list[int],
    prompt: list[int],
    kept: int,
    room: int,
    penalty: float,
) -> list[Found]:
    ends = {engine.tokenizer.special[name] for name in END_TOKENS}
    wide = len(slots)
    running = [_Beam(slots[0], [], 0.0)]
    finished: list[Found] = []
    logits_WV = runner.forward([Piece(slots[0], prompt[kept:])])
    for length in range(1, room + 1):
        totals_WV = logits_WV.log_softmax(dim=-1).cpu() + torch.tensor([[beam.total] for beam in running])
        totals_WV[:, engine.never.cpu()] = float("-inf")
        V = totals_WV.shape[1]
        best = totals_WV.flatten().topk(min((1 + len(ends)) * wide, totals_WV.numel()))
        going: list[tuple[_Beam, int, float]] = []
        for rank, (place, total) in enumerate(zip(best.indices.tolist(), best.values.tolist(), strict=True)):
            beam, token = running[place // V], place % V
            if total == float("-inf"):
                continue
            if token in ends or length == room:
                if rank < wide:
                    said = beam.tokens if token in ends else [*beam.tokens, token]
                    text = engine.tokenizer.decode(said)
                    finished.append(Found(text, said, total / length**penalty, token in ends))
            elif len(going) < wide:
                going.append((beam, token, total))
        finished = sorted(finished, key=lambda one: -one.score)[:wide]
        if not going or (len(finished) == wide and going[0][2] / length**penalty <= finished[-1].score):
            break
        running = _moved(runner, slots, going)
        logits_WV = runner.forward([Piece(beam.slot, [beam.tokens[-1]]) for beam in running])
    return finished


def _moved(runner: CachedRunner, slots: list[int], going: list[tuple[_Beam, int, float]]) -> list[_Beam]:
    """The next beams, in the order of their slots: the first continuation of a beam stays in its slot, others are copied into
    slots whose beam has none."""
    stays = {beam.slot for beam, _, _ in going}
    spare = [slot for slot in slots if slot not in stays]
    used: set[int] = set()
    moved = []
    for beam, token, total in going:
        slot = beam.slot
        if slot in used:
            slot = spare.pop()
            runner.slots.duplicate(beam.slot, slot)
        used.add(slot)
        moved.append(_Beam(slot, [*beam.tokens, token], total))
    return sorted(moved, key=lambda beam: beam.slot)
