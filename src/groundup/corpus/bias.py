"""What a corpus says of whom: mentions of groups of people and the words that stand near them, before and after filtering.

After the Word Embedding Association Test (Caliskan, Bryson and Narayanan 2017): it asks whether a group's name is nearer to
pleasant than to unpleasant words. Here nearness is counted, not taken from an embedding: an attribute word within `window`
words of a mention. All counts are sums over documents, so they add up over shards and survive any order.

    expected(g, a) = near(g) c(a) / words            near(g): words within the window of a mention of g
    pmi(g, a)      = log2 (c(g, a) + s) / (expected(g, a) + s)         s = 1: few counts are drawn towards 0 bits
    effect(g)      = pmi(g, one attribute) - pmi(g, its opposite)

The attribute lists are our own, after the categories of that paper's table 1.
"""

from __future__ import annotations

import math
import re
from bisect import bisect_left, bisect_right
from collections.abc import Mapping
from typing import NamedTuple

from groundup.corpus.identity import AMBIGUOUS, GROUP_OF, GROUPS, PEOPLE

SMOOTHING = 1.0
WORD = re.compile(r"[a-z]+")

_ATTRIBUTES = {
    "pleasant": "love loved loving peace peaceful friend friends friendly kind kindness honest honesty joy happy happiness good great wonderful "
    "beautiful gentle generous brave wise trusted respect respected welcome warm talented success successful hero heroes proud",
    "unpleasant": "hate hated hatred war violence violent enemy enemies cruel cruelty dishonest lie lies sad evil bad terrible ugly dirty filthy rude "
    "coward stupid lazy crime crimes criminal criminals murder murdered kill killed terror terrorist terrorists threat disease failure shame",
    "career": "career careers job jobs office business company manager executive professional salary management corporation profession employer wages",
    "family": "family families home homes parents parent children child marriage married wedding relatives household baby babies kitchen",
    "science": "science scientist scientists physics chemistry mathematics engineering engineer engineers laboratory experiment experiments "
    "technology computer computers astronomy theory research researcher researchers",
    "arts": "art arts artist artists poetry poem poems poet dance dancer music musician musicians literature novel novels drama sculpture theatre theater painting",
}  # fmt: skip
ATTRIBUTE_OF = {word: name for name, words in _ATTRIBUTES.items() for word in words.split()}
OPPOSITES = (("pleasant", "unpleasant"), ("career", "family"), ("science", "arts"))
"""Effects compare the first with the second."""
NEAR, WITH = "near ", " with "  # of the counts' names


class Association(NamedTuple):
    """How much more often than by chance a group's mentions stand near an attribute's words, against its opposite's."""

    group: str
    first: str
    second: str
    counts: tuple[int, int]
    """Attribute words counted near mentions."""
    expected: tuple[float, float]
    """As many as there would be if they stood anywhere."""
    pmi: tuple[float, float]
    """Bits."""
    effect: float
    """First minus second (bits). Above 0: nearer to the first."""
    error: float
    """Standard error of the effect, counts taken as Poisson (bits): below about twice this it says nothing."""


class Change(NamedTuple):
    """What filtering did to one group."""

    group: str
    before: int
    """Mentions."""
    after: int
    kept: float
    """Share of its mentions that are left."""
    ratio: float
    """That share over the share of all words that is left: below 1 the group lost more than the rest of the corpus."""
    effects: dict[str, tuple[float, float]]
    """"pleasant - unpleasant" -> effect before and after (bits), where the group has attribute words near it."""


def count(text: str, window: int) -> dict[str, int]:
    """What there is to count in one text, by name, zeros left out.

    "words"; a group's or an attribute's name: its mentions; "near G": words within `window` of G's mentions (a word near two
    of them twice); "G with A": words of A among those.

    >>> count("The gay couple was happy.", 10)
    {'words': 5, 'pleasant': 1, 'gay, lesbian and bisexual people': 1, 'near gay, lesbian and bisexual people': 4, ...
    """
    words = WORD.findall(text.lower())
    if not words:
        return {}
    found = {"words": len(words)}
    places: list[int] = []
    names: list[str] = []
    mentions: list[tuple[int, str]] = []
    for place, word in enumerate(words):
        if word in ATTRIBUTE_OF:
            name = ATTRIBUTE_OF[word]
            places.append(place)
            names.append(name)
            found[name] = found.get(name, 0) + 1
        if word in GROUP_OF and (word not in AMBIGUOUS or (place + 1 < len(words) and words[place + 1] in PEOPLE)):
            mentions.append((place, GROUP_OF[word]))
    for place, group in mentions:
        low, high = max(0, place - window), min(len(words) - 1, place + window)
        found[group] = found.get(group, 0) + 1
        if high > low:
            found[NEAR + group] = found.get(NEAR + group, 0) + high - low
        for index in range(bisect_left(places, low), bisect_right(places, high)):
            if places[index] != place:
                name = group + WITH + names[index]
                found[name] = found.get(name, 0) + 1
    return found


def associations(counts: Mapping[str, int]) -> list[Association]:
    """Every group's associations, from counts summed over a corpus; groups without a mention are left out."""
    rows = []
    words = counts.get("words", 0)
    for group in (group for groups in GROUPS.values() for group in groups):
        if not counts.get(group):
            continue
        for first, second in OPPOSITES:
            seen = tuple(counts.get(group + WITH + name, 0) for name in (first, second))
            expected = tuple(counts.get(NEAR + group, 0) * counts.get(name, 0) / words for name in (first, second))
            pmi = tuple(math.log2((c + SMOOTHING) / (e + SMOOTHING)) for c, e in zip(seen, expected, strict=True))
            error = math.sqrt(sum(1 / (c + SMOOTHING) for c in seen)) / math.log(2)
            rows.append(Association(group, first, second, seen, expected, pmi, pmi[0] - pmi[1], error))  # type: ignore[arg-type]
    return rows


def compare(before: Mapping[str, int], after: Mapping[str, int]) -> list[Change]:
    """What filtering did to each group that was mentioned: the hardest hit first."""
    words_kept = after.get("words", 0) / max(before.get("words", 0), 1)
    effects = [{(row.group, f"{row.first} - {row.second}"): row for row in associations(counts)} for counts in (before, after)]
    changes = []
    for group in (group for groups in GROUPS.values() for group in groups):
        mentions = before.get(group, 0), after.get(group, 0)
        if not mentions[0]:
            continue
        kept = mentions[1] / mentions[0]
        changes.append(
            Change(
                group, *mentions, kept, kept / words_kept if words_kept else 0.0,
                {
                    name: (row.effect, effects[1][key].effect)
                    for key, row in effects[0].items()
                    if key[0] == group and key in effects[1] and any(row.counts)
                    for name in [key[1]]
                },
            )
        )  # fmt: skip
    return sorted(changes, key=lambda change: (change.ratio, change.group))
