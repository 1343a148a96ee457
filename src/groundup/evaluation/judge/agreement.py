"""How far a judge agrees with people: on the same pairs, who wins.

    agreement            the same verdict, of all pairs                     two that guess at random: 1/3
    agreement_no_ties    of the pairs in which neither says tie             two that guess at random: 1/2
    kappa                agreement beyond what their habits alone would give (Cohen 1960): 0 none, 1 complete

The first two are the set-ups of MT-bench's paper (arXiv 2306.05685, section 4.2); without ties GPT-4 agrees there with people on 85 % of the pairs,
people with each other on 81 %.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from groundup.errors import RequestError
from groundup.evaluation.judge.matches import Winner
from groundup.evaluation.scoring import Figure, mean

WINNERS: tuple[Winner, ...] = ("first", "second", "tie")


@dataclass(frozen=True)
class Agreement:
    """Of a judge with people, over the pairs that both have judged."""

    agreement: Figure
    agreement_no_ties: Figure | None
    """None where every pair is a tie to one of them."""
    kappa: float
    table: dict[Winner, dict[Winner, int]]
    """Pairs by the judge's verdict, then by people's."""


def agreement(judge: Mapping[str, Winner], people: Mapping[str, Winner]) -> Agreement:
    """Compare verdicts by pair. Raises RequestError where no pair is in both."""
    both = [name for name in judge if name in people]
    if not both:
        raise RequestError("no pair was judged by both", where="agreement", do="Name the pairs alike in both.")
    verdicts = [(judge[name], people[name]) for name in both]
    table = {one: {other: verdicts.count((one, other)) for other in WINNERS} for one in WINNERS}
    same = mean([float(one == other) for one, other in verdicts])
    clear = [float(one == other) for one, other in verdicts if "tie" not in (one, other)]
    its, theirs = Counter(one for one, _ in verdicts), Counter(other for _, other in verdicts)
    by_habit = sum(its[winner] * theirs[winner] for winner in WINNERS) / len(verdicts) ** 2
    kappa = (same.value - by_habit) / (1 - by_habit) if by_habit < 1 else 1.0
    return Agreement(same, mean(clear) if clear else None, kappa, table)


def majority(votes: Sequence[Winner]) -> Winner:
    """What most people say of a pair; a tie where no verdict has most."""
    counts = Counter(votes).most_common()
    return "tie" if not counts or (len(counts) > 1 and counts[0][1] == counts[1][1]) else counts[0][0]
