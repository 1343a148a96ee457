"""A linear classifier of documents, fitted on two folders: logistic regression on words and pairs of words.

    x_d[f] = (1 + log count) * idf[f], of unit length over the features of a document    p(good | d) = sigmoid(w . x_d + b)

A feature is a word or two that follow each other, in lower case, and its place in the table a hash of them (no dictionary to
keep; Weinberger et al. 2009). Both classes weigh the same in fitting, however many documents each has, so 0.5 lies halfway.
The fit minimises log loss plus (lambda / 2) |w|^2 by L-BFGS over all documents at once (Nocedal & Wright, algorithm 7.4):
nothing is drawn at random, and equal folders give equal weights.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from groundup.corpus.reference import texts
from groundup.corpus.words import Codes, words
from groundup.errors import GroundupError
from groundup.run import write_atomic

Floats = np.ndarray[Any, np.dtype[np.float64]]
Features = tuple[np.ndarray[Any, np.dtype[np.int64]], np.ndarray[Any, np.dtype[np.float32]]]

BUCKETS = 1 << 18  # features: one megabyte of weights
CHARACTERS = 20_000  # of a document that are looked at: what it is shows in its beginning
HELD_OUT = 5  # every fifth document of each folder is not learned from in measuring
PENALTY = 1e-3  # lambda: what scikit-learn takes by default (C = 1) for a thousand documents
THRESHOLDS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
FORMAT = "groundup quality classifier 1"


def features(text: str) -> Features:
    """The places of a document's features, each once, and 1 + log of how often each occurs."""
    codes: Codes = words(text[:CHARACTERS].lower()) >> np.uint64(28)  # their checksums
    pairs = (codes[:-1] * np.uint64(0x9E3779B97F4A7C15) + codes[1:] * np.uint64(0xC2B2AE3D27D4EB4F)) >> np.uint64(46)
    places, counts = np.unique(np.concatenate([codes % np.uint64(BUCKETS), pairs]), return_counts=True)
    return places.astype(np.int64), (1 + np.log(counts)).astype(np.float32)


@dataclass(frozen=True)
class Classifier:
    """A fitted model: weights with the idf multiplied in, idf itself for the length, and the constant."""

    weights: Floats
    idf: Floats
    bias: float
    figures: dict[str, Any]
    """What fitting measured; see `fit`."""

    def __call__(self, text: str) -> float:
        """The probability that a document is good. One without words is not."""
        places, counts = features(text)
        length = float(np.sqrt(np.square(counts * self.idf[places]).sum()))
        if not length:
            return 0.0
        return float(_sigmoid(np.array(self.bias + (counts * self.weights[places]).sum() / length)))

    def save(self, path: Path) -> None:
        """Write it as safetensors, the figures as metadata: one entry, for safetensors writes several in any order."""
        tensors = {"weights": self.weights.astype(np.float32), "idf": self.idf.astype(np.float32), "bias": np.array([self.bias], np.float32)}
        write_atomic(path, save(tensors, metadata={FORMAT: json.dumps(self.figures)}))

    @classmethod
    def load(cls, path: Path) -> Classifier:
        """Read what `save` wrote. Raises GroundupError for another file."""
        try:
            with safe_open(path, "numpy") as file:
                if FORMAT in (metadata := file.metadata() or {}):
                    weights, idf, bias = (file.get_tensor(name).astype(np.float64) for name in ("weights", "idf", "bias"))
                    return cls(weights, idf, float(bias[0]), json.loads(metadata[FORMAT]))
        except (OSError, SafetensorError) as error:
            raise GroundupError(f"cannot read {path}: {error}", where="quality classifier", do="Fit it: groundup fit-quality GOOD BAD OUT.") from None
        raise GroundupError(f"{path} is no quality classifier", where="quality classifier", do="Fit one: groundup fit-quality GOOD BAD OUT.")


def fit_folders(good: Path, bad: Path, out: Path) -> dict[str, Any]:
    """Fit on two files or folders, write the model and return its figures: what `groundup fit-quality GOOD BAD OUT` does."""
    model = fit(texts(good), texts(bad))
    model.save(out)
    return model.figures


def fit(good: Iterable[str], bad: Iterable[str]) -> Classifier:
    """Learn to tell good documents from bad ones, and measure how well.

    Measured on every fifth document by a model of the others; the model returned has seen all. `figures`: documents_good,
    documents_bad, held_out (documents), auc (the chance that a good document scores above a bad one), and thresholds: for
    each precision and recall of the good, with both classes counting alike. Raises GroundupError for fewer than ten of either.
    """
    sides = [[found for text in texts if len((found := features(text))[0])] for texts in (good, bad)]
    if min(map(len, sides)) < 10:
        raise GroundupError(
            f"{len(sides[0]):,} good and {len(sides[1]):,} bad documents are too few", where="quality classifier",
            do="Give ten of each at least; some hundreds are better.",
        )  # fmt: skip
    documents = [*sides[0], *sides[1]]
    labels = np.repeat([1.0, 0.0], [len(side) for side in sides])
    unseen = np.concatenate([np.arange(len(side)) % HELD_OUT == HELD_OUT - 1 for side in sides])
    tried = _learn([each for each, out in zip(documents, unseen, strict=True) if not out], labels[~unseen])
    scores = np.array([_score(tried, each) for each, out in zip(documents, unseen, strict=True) if out])
    weights, idf, bias = _learn(documents, labels)
    measured = figures(scores, labels[unseen])
    return Classifier(weights, idf, bias, {"documents_good": len(sides[0]), "documents_bad": len(sides[1]), **measured})


def figures(scores: Floats, labels: Floats) -> dict[str, Any]:
    """How well scores tell label 1 from label 0: held_out, auc, thresholds."""
    good, bad = scores[labels == 1], scores[labels == 0]
    ordered = np.sort(bad)
    below, upto = np.searchsorted(ordered, good, "left"), np.searchsorted(ordered, good, "right")
    table = []
    for threshold in THRESHOLDS:
        recall, wrong = float((good >= threshold).mean()), float((bad >= threshold).mean())
        table.append({"threshold": threshold, "precision": recall / (recall + wrong) if recall + wrong else None, "recall": recall, "bad_kept": wrong})
    return {"held_out": len(scores), "auc": float((below + upto).sum() / 2 / len(good) / len(bad)), "thresholds": table}


def _sigmoid(x: Floats) -> Floats:
    return np.asarray(0.5 * (1 + np.tanh(x / 2)))  # no overflow on either side


def _score(model: tuple[Floats, Floats, float], document: Features) -> float:
    weights, idf, bias = model
    places, counts = document
    return float(_sigmoid(np.array(bias + (counts * weights[places]).sum() / np.sqrt(np.square(counts * idf[places]).sum()))))


def _learn(documents: Sequence[Features], labels: Floats) -> tuple[Floats, Floats, float]:
    """Weights (idf multiplied in), idf and constant."""
    sizes = np.array([len(places) for places, _ in documents])
    places = np.concatenate([places for places, _ in documents])
    values = np.concatenate([counts for _, counts in documents]).astype(np.float64)
    known = np.bincount(places, minlength=BUCKETS)
    idf = np.log((1 + len(documents)) / (1 + known)) + 1
    values *= idf[places]
    met, places = np.unique(places, return_inverse=True)  # few of the features occur in a small folder
    begins = np.cumsum(sizes) - sizes
    values /= np.repeat(np.sqrt(np.add.reduceat(np.square(values), begins)), sizes)
    importance = 0.5 / np.where(labels == 1, labels.sum(), len(labels) - labels.sum())  # sums to one
    signs = 2 * labels - 1

    def loss(point: Floats) -> tuple[float, Floats]:
        margins = signs * (np.add.reduceat(values * point[places], begins) + point[-1])
        pull = -importance * signs * _sigmoid(-margins)
        slope = np.append(np.bincount(places, values * np.repeat(pull, sizes), len(met)) + PENALTY * point[:-1], pull.sum())
        return float((importance * np.logaddexp(0, -margins)).sum() + PENALTY / 2 * point[:-1] @ point[:-1]), slope

    point = minimise(loss, np.zeros(len(met) + 1))
    weights = np.zeros(BUCKETS)
    weights[met] = point[:-1] * idf[met]
    return weights, idf, float(point[-1])


def minimise(loss: Callable[[Floats], tuple[float, Floats]], point: Floats, steps: int = 100, memory: int = 10) -> Floats:
    """The minimum of a smooth convex function that gives its value and slope: L-BFGS with backtracking."""
    value, slope = loss(point)
    moves: list[tuple[Floats, Floats, float]] = []
    first = float(np.linalg.norm(slope))
    for _ in range(steps):
        if np.linalg.norm(slope) <= 1e-3 * first:
            break
        direction = -slope
        shares = []
        for move, change, curvature in reversed(moves):
            shares.append(move @ direction / curvature)
            direction = direction - shares[-1] * change
        if moves:
            move, change, curvature = moves[-1]
            direction = direction * (curvature / (change @ change))
        else:
            direction = direction / first
        for (move, change, curvature), share in zip(moves, reversed(shares), strict=True):
            direction = direction + (share - change @ direction / curvature) * move
        fall, size = float(slope @ direction), 1.0
        while (found := loss(point + size * direction))[0] > value + 1e-4 * size * fall and size > 1e-10:
            size /= 2
        move, change = size * direction, found[1] - slope
        point, value, slope = point + move, *found
        if (curvature := float(move @ change)) > 1e-12:
            moves = [*moves[-memory + 1 :], (move, change, curvature)]
    return point
