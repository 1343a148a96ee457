"""The thousand conversations that LIMA would pick: good ones, and each with something new (Zhou et al. 2023, arXiv 2305.11206).

LIMA's authors picked by hand, for quality of answers and diversity of prompts. This does it by what can be counted, without
embeddings. Each conversation has a quality from 0 to 1, the product of

    length        1 while the answers have `shortest` to `longest` words; below and above, their share of that bound (or the bound's of them)
    format        1, times 0.5 for each that is so: an answer breaks off, repeats its question, repeats itself (under half of its word
                  4-grams differ), is in capitals, or speaks of being a language model
    perplexity    of the answers under a model (the stage `lima` takes the one it starts from): 1 at the set's median, falling with the distance of its rank to the
                  middle as 1 - d^4, d in [0, 1], to 0 for the lowest and the highest. Very low is boilerplate, very high is noise. 1 for all where it is not given

Then the greedy rule, one pick after another: the highest quality x novelty, novelty the share of a conversation's different word
n-grams (3, of questions and answers) that no pick so far has. A duplicate of a pick has novelty 0 and is never picked. What is picked is
therefore diverse in words; whether it is so in meaning is not asked.

Gains only fall as picks cover more, so a stale gain is an upper bound and most need not be computed anew (lazy greedy, Minoux 1978). Ties go to the earlier row, so the same input always gives the same picks.
"""

from __future__ import annotations

import heapq
import re
from collections.abc import Sequence
from dataclasses import dataclass

from groundup.dialogue.format.record import Conversation
from groundup.dialogue.lint import breaks_off

NGRAM, REPEAT = 3, 4  # words
WORD = re.compile(r"\w+")
MODEL_TALK = re.compile(r"\b(as an? (ai|artificial intelligence|large )?(language )?(model|assistant)|as an ai|openai|chatgpt)\b", re.IGNORECASE)
SHORTEST, LONGEST = 20, 800  # words of all answers; LIMA's answers are long: it cut at 2,048 tokens and kept those of 1,200 to 4,096 characters


@dataclass(frozen=True)
class Pick:
    """One that was picked, in the order of the picks."""

    place: int
    """In the input."""
    quality: float
    novelty: float


def select(
    talks: Sequence[Conversation], number: int, perplexities: Sequence[float] | None = None, *, shortest: int = SHORTEST, longest: int = LONGEST
) -> list[Pick]:
    """Up to `number` picks; fewer where the rest says nothing new. Raises ValueError for another number of perplexities."""
    if perplexities is not None and len(perplexities) != len(talks):
        raise ValueError(f"{len(perplexities)} perplexities for {len(talks)} conversations")
    middle = _middle(perplexities) if perplexities is not None else [1.0] * len(talks)
    grams = [_grams(talk) for talk in talks]
    qualities = [length_score(talk, shortest, longest) * format_score(talk) * its for talk, its in zip(talks, middle, strict=True)]
    covered: set[int] = set()
    heap = [(-quality, place, 0) for place, (quality, its) in enumerate(zip(qualities, grams, strict=True)) if quality > 0 and its]
    heapq.heapify(heap)
    picks: list[Pick] = []
    while heap and len(picks) < number:
        _, place, known = heapq.heappop(heap)
        novelty = len(grams[place] - covered) / len(grams[place])
        if known < len(picks) and novelty < 1:  # the gain may be stale
            if novelty > 0:
                heapq.heappush(heap, (-qualities[place] * novelty, place, len(picks)))
            continue
        picks.append(Pick(place, qualities[place], novelty))
        covered |= grams[place]
    return picks


def length_score(talk: Conversation, shortest: int, longest: int) -> float:
    """1 within the bounds (words of all answers), less outside."""
    words = sum(len(message.content.split()) for message in talk.messages if message.role == "assistant")
    return min(1.0, words / shortest, longest / words) if words else 0.0


def format_score(talk: Conversation) -> float:
    """1, halved for each flaw that any answer has."""
    flaws: set[str] = set()
    asked = ""
    for message in talk.messages:
        if message.role != "assistant":
            asked = message.content.strip()
            continue
        said = message.content.strip()
        words = [word.lower() for word in WORD.findall(said)]
        runs = [tuple(words[place : place + REPEAT]) for place in range(len(words) - REPEAT + 1)]
        letters = [letter for letter in said if letter.isalpha()]
        if breaks_off(said):
            flaws.add("breaks off")
        if len(asked.split()) > NGRAM and said.startswith(asked):
            flaws.add("repeats its question")
        if len(runs) > 2 * REPEAT and len(set(runs)) < len(runs) / 2:
            flaws.add("repeats itself")
        if len(letters) > 20 and sum(letter.isupper() for letter in letters) > 0.7 * len(letters):
            flaws.add("capitals")
        if MODEL_TALK.search(said):
            flaws.add("model talk")
    return float(0.5 ** len(flaws))


def _middle(perplexities: Sequence[float]) -> list[float]:
    """1 - d^4, with d the distance of each rank from the middle; equal values have equal ranks."""
    if len(perplexities) < 3:
        return [1.0] * len(perplexities)
    last = len(perplexities) - 1
    order = sorted(perplexities)
    first: dict[float, int] = {}
    final: dict[float, int] = {}
    for rank, value in enumerate(order):
        first.setdefault(value, rank)
        final[value] = rank
    return [1 - abs((first[value] + final[value]) / last - 1) ** 4 for value in perplexities]


def _grams(talk: Conversation) -> set[int]:
    """Hashes of the different word n-grams of all turns but the system's; of a shorter text the words themselves."""
    found: set[int] = set()
    for message in talk.messages:
        if message.role == "system":
            continue
        words = [word.lower() for word in WORD.findall(message.content)]
        n = min(NGRAM, max(1, len(words)))
        found |= {hash(tuple(words[place : place + n])) for place in range(len(words) - n + 1)}
    return found
