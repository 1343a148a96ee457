"""Ratings from matches between many models: Elo, and Bradley and Terry's strengths, both on chess's scale.

    100 points more     wins 64 of 100        400 points more     wins 10 of 11        the mean model stands at 1000

Elo goes match by match, so its figures depend on their order: it is for models that change, or to quote beside others' figures, and here
it is averaged over shuffled orders. Bradley-Terry (1952) is the likeliest set of strengths for all matches at once, order aside, found by
Newton's method; a tie is half a win for each. One drawn match against an opponent of mean strength is added to each model:
without it whoever never lost would be infinitely strong.

Intervals resample questions, not matches: matches about one question are no independent witnesses.

Shapes: S samples, Q questions, N matches, M models.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from groundup.errors import RequestError

MEAN, SCALE = 1000.0, 400.0
STEP = 4.0  # Elo's K; small, as for models that do not change (Chatbot Arena's)
ITERATIONS, CLOSE, LEAP = 100, 1e-10, 2.0  # of Newton's method; no strength moves further at once (nats)


@dataclass(frozen=True)
class Match:
    """One verdict. `score`: the first model's, 1 for a win, 0.5 for a tie, 0."""

    question: str
    first: str
    second: str
    score: float


@dataclass(frozen=True)
class Rating:
    """A model's strength."""

    model: str
    points: float
    interval: tuple[float, float]
    """95 %, by resampling questions."""
    matches: int


def bradley_terry(matches: Sequence[Match], draws: int = 1000, seed: int = 1234) -> list[Rating]:
    """The models, strongest first."""
    models, first, second, scores, question = _arrays(matches)
    resampled_SQ = _resampled(int(question.max()) + 1, draws, seed)
    weights_SN = np.concatenate([np.ones((1, len(matches))), resampled_SQ[:, question]])
    n = len(models)
    wins_SMM = np.zeros((draws + 1, n * n))
    for sample, weights in enumerate(weights_SN):
        wins_SMM[sample] = np.bincount(first * n + second, weights * scores, n * n) + np.bincount(second * n + first, weights * (1 - scores), n * n)
    return _ratings(models, _strengths(wins_SMM.reshape(-1, n, n)), first, second)


def elo(matches: Sequence[Match], draws: int = 1000, seed: int = 1234) -> list[Rating]:
    """The models, strongest first; points are the mean over shuffled orders of all matches, intervals from resampled questions."""
    models, first, second, scores, question = _arrays(matches)
    random = np.random.default_rng(seed)
    everything = np.arange(len(matches))
    plain = np.mean([_elo(random.permutation(everything), first, second, scores, len(models)) for _ in range(min(draws, 100))], axis=0)
    weights = _resampled(int(question.max()) + 1, draws, seed)
    drawn = [_elo(random.permutation(np.repeat(everything, its[question].astype(int))), first, second, scores, len(models)) for its in weights]
    return _ratings(models, np.stack([plain, *drawn]), first, second)


def expected(points: float, against: float) -> float:
    """The share of wins that a rating promises against another."""
    return float(1 / (1 + 10 ** ((against - points) / SCALE)))


Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


def _arrays(matches: Sequence[Match]) -> tuple[list[str], Ints, Ints, Floats, Ints]:
    if not matches:
        raise RequestError("there are no matches", where="ratings", do="Judge some pairs first.")
    for match in matches:
        if match.score not in (0.0, 0.5, 1.0) or match.first == match.second:
            raise RequestError(f"no match: {match.first} and {match.second}, {match.score}", where=f"ratings: question {match.question}", do="Correct it.")
    models = sorted({model for match in matches for model in (match.first, match.second)})
    place = {model: number for number, model in enumerate(models)}
    questions = {question: number for number, question in enumerate(dict.fromkeys(match.question for match in matches))}
    return (
        models, np.array([place[match.first] for match in matches]), np.array([place[match.second] for match in matches]),
        np.array([match.score for match in matches]), np.array([questions[match.question] for match in matches]),
    )  # fmt: skip


def _resampled(questions: int, draws: int, seed: int) -> Floats:
    """How often each question is in each sample, (draws, questions)."""
    return np.random.default_rng(seed).multinomial(questions, np.full(questions, 1 / questions), draws).astype(np.float64)


def _strengths(wins_SMM: Floats) -> Floats:
    """Points (samples, models) from each sample's table of wins, [i, j]: i's over j."""
    played_SMM = wins_SMM + wins_SMM.transpose(0, 2, 1)
    won_SM = wins_SMM.sum(axis=2) + 0.5  # the drawn match
    strength_SM = np.zeros_like(won_SM)  # log odds against the mean
    diagonal = np.arange(won_SM.shape[1])
    for _ in range(ITERATIONS):
        share_SMM = 1 / (1 + np.exp(strength_SM[:, None, :] - strength_SM[:, :, None]))
        against_mean_SM = 1 / (1 + np.exp(-strength_SM))
        gradient_SM = won_SM - (played_SMM * share_SMM).sum(axis=2) - against_mean_SM
        curvature_SMM = -played_SMM * share_SMM * (1 - share_SMM)
        curvature_SMM[:, diagonal, diagonal] = against_mean_SM * (1 - against_mean_SM) - curvature_SMM.sum(axis=2)
        move_SM = np.linalg.solve(curvature_SMM, gradient_SM[:, :, None])[:, :, 0]
        move_SM *= LEAP / np.maximum(LEAP, np.abs(move_SM).max(axis=1, keepdims=True))
        strength_SM += move_SM
        if np.abs(move_SM).max() < CLOSE:
            break
    points_SM: Floats = strength_SM * (SCALE / np.log(10))
    points_SM += MEAN - points_SM.mean(axis=1, keepdims=True)
    return points_SM


def _elo(order: Ints, first: Ints, second: Ints, scores: Floats, models: int) -> Floats:
    points = [MEAN] * models
    for one, other, score in zip(first[order].tolist(), second[order].tolist(), scores[order].tolist(), strict=True):
        moved = STEP * (score - expected(points[one], points[other]))
        points[one] += moved
        points[other] -= moved
    return np.array(points)


def _ratings(models: list[str], points_SM: Floats, first: Ints, second: Ints) -> list[Rating]:
    """The first sample is all the matches, the others are resampled."""
    low, high = np.quantile(points_SM[1:], [0.025, 0.975], axis=0)
    counts = np.bincount(np.concatenate([first, second]), minlength=len(models))
    found = [
        Rating(model, float(points_SM[0, place]), (float(low[place]), float(high[place])), int(counts[place])) for place, model in enumerate(models)
    ]
    return sorted(found, key=lambda rating: -rating.points)
