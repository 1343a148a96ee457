"""What judging came to, for a program and as lines of text: pairs, marks, the relative score, ratings, agreement with people."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from groundup.evaluation.judge.agreement import agreement
from groundup.evaluation.judge.matches import Marks, PairVerdict, relative_per_cent, win_rate
from groundup.evaluation.judge.questions import Question
from groundup.evaluation.judge.ratings import Rating, bradley_terry, elo
from groundup.evaluation.judge.votes import Vote, by_pair
from groundup.evaluation.scoring import mean


def pair(first: str, second: str, verdicts: Sequence[PairVerdict], unread: Sequence[str]) -> dict[str, Any]:
    """Of two models: counts, the first one's share of wins (a tie is half a win), and how often both orders agreed."""
    counts = {winner: sum(one.winner == winner for one in verdicts) for winner in ("first", "tie", "second")}
    rate = win_rate(verdicts)
    categories = sorted({one.category for one in verdicts})
    return {
        "first": first, "second": second, "wins": counts["first"], "ties": counts["tie"], "losses": counts["second"],
        "win_rate": rate.value, "standard_error": rate.standard_error, "n": rate.n,
        "consistent_share": mean([float(one.consistent) for one in verdicts]).value,
        "win_rate_by_category": {category: win_rate(one for one in verdicts if one.category == category).value for category in categories},
        "unread": list(unread),
    }  # fmt: skip


def single(model: str, marks: Marks, questions: Sequence[Question]) -> dict[str, Any]:
    """Of one model: the mean mark, over all questions and by category."""
    categories = {question.name: question.category for question in questions}
    by_category: dict[str, list[float]] = {}
    for name, (mark, *_) in marks.by_question.items():
        by_category.setdefault(categories[name], []).append(mark)
    whole = mean([mark for marks_ in by_category.values() for mark in marks_])
    return {
        "model": model, "mark": whole.value, "standard_error": whole.standard_error, "n": whole.n,
        "mark_by_category": {category: mean(by_category[category]).value for category in sorted(by_category)}, "unread": marks.unread,
    }  # fmt: skip


def relative(model: str, reference: str, marks: Marks) -> dict[str, Any]:
    """Of one model beside a reference: both sums of marks, and their ratio in per cent."""
    figure = relative_per_cent(marks)
    sums = [sum(pair[place] for pair in marks.by_question.values()) for place in (0, 1)]
    return {
        "model": model, "reference": reference, "per_cent": figure.value, "standard_error": figure.standard_error, "n": figure.n,
        "sum_of_marks": sums[0], "sum_of_marks_of_reference": sums[1], "unread": marks.unread,
    }  # fmt: skip


def ratings(votes: Sequence[Vote]) -> dict[str, list[dict[str, Any]]]:
    """Bradley-Terry strengths and Elo ratings of all models in some verdicts, strongest first."""
    matches = [vote.match for vote in votes]
    return {"bradley_terry": [_rating(one) for one in bradley_terry(matches)], "elo": [_rating(one) for one in elo(matches)]}


def beside_people(judge: Iterable[Vote], people: Iterable[Vote]) -> dict[str, Any]:
    """How far the judge agrees with what most people say of the same pairs."""
    found = agreement(by_pair(judge), by_pair(people))
    return {
        "agreement": found.agreement.value, "standard_error": found.agreement.standard_error, "pairs": found.agreement.n,
        "agreement_no_ties": found.agreement_no_ties.value if found.agreement_no_ties else None,
        "pairs_no_ties": found.agreement_no_ties.n if found.agreement_no_ties else 0, "kappa": found.kappa,
    }  # fmt: skip


def as_text(found: Mapping[str, Any]) -> str:
    """Whatever of all this there is."""
    lines: list[str] = []
    if pairs := found.get("pairs"):
        width = max(len(f"{one['first']} against {one['second']}") for one in pairs)
        lines.append(f"{'':<{width}}  wins  ties  losses  win rate            both orders agree")
        lines += [
            f"{one['first'] + ' against ' + one['second']:<{width}}  {one['wins']:>4}  {one['ties']:>4}  {one['losses']:>6}  {_figure(one['win_rate'], one['standard_error'], 100):<18}  {100 * one['consistent_share']:.0f} %"
            for one in pairs
        ]
    if models := found.get("models"):
        width = max(len(one["model"]) for one in models)
        lines.append(f"{'':<{width}}  mark of 10")
        lines += [f"{one['model']:<{width}}  {_figure(one['mark'], one['standard_error'])}" for one in models]
    lines += [
        f"{one['model']}: {_figure(one['per_cent'], one['standard_error'])} % of {one['reference']} (marks {one['sum_of_marks']:g} and {one['sum_of_marks_of_reference']:g} over {one['n']} questions)"
        for one in found.get("relative", [])
    ]
    if rated := found.get("ratings"):
        width = max(len(one["model"]) for one in rated["elo"])
        points = {one["model"]: one for one in rated["elo"]}
        lines.append(f"{'':<{width}}  Bradley-Terry             Elo                       matches")
        lines += [f"{one['model']:<{width}}  {_points(one):<24}  {_points(points[one['model']]):<24}  {one['matches']}" for one in rated["bradley_terry"]]
    if people := found.get("people"):
        clear = "" if people["agreement_no_ties"] is None else f", {100 * people['agreement_no_ties']:.0f} % of the {people['pairs_no_ties']} without ties"
        lines.append(f"agrees with people on {_figure(people['agreement'], people['standard_error'], 100)} % of {people['pairs']} pairs{clear}; kappa {people['kappa']:.2f}")
    unread = sum(len(one["unread"]) for one in (*found.get("pairs", []), *found.get("models", []), *found.get("relative", [])))
    if unread:
        lines.append(f"{unread} verdicts could not be read and count nowhere")
    return "\n".join(lines)


def _rating(one: Rating) -> dict[str, Any]:
    return {**asdict(one), "interval": list(one.interval)}


def _points(one: Mapping[str, Any]) -> str:
    low, high = one["interval"]
    return f"{one['points']:.0f} ({low:.0f} to {high:.0f})"


def _figure(value: float, error: float | None, scale: float = 1) -> str:
    """A figure with its standard error."""
    return f"{scale * value:.2f}" + ("" if error is None else f" +- {scale * error:.2f}")
