"""Train the model and the word list of the step `toxicity`, and measure them on what they have not seen.

    python benchmarks/train_toxicity.py --data ../shared/data/labels/toxicity --ordinary ../shared/data/pretrain [--transfer] [--write]

Logistic regression on hashed n-grams by L-BFGS, in numpy. A set's own style must not count as toxic (tweets swear, forum posts are
about race): each set has an offset of its own while training, which is left out afterwards, and both its classes weigh the
same. Beside the labelled sets it learns from ordinary prose, taken as not toxic, and from the sentences of toxicity_sentences.py.
Each text is in `train`, `validation` or `test` by a hash of itself. --transfer also leaves out each set in turn.
--write puts the result into src/groundup/corpus/models/toxicity.safetensors.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from safetensors.numpy import save_file
from toxicity_data import LABELLED, Text, disguised, labelled, ordinary, own_sentences, own_words, part
from toxicity_sentences import TERMS, TEST_HOSTILE, TEST_NEUTRAL, UNLISTED, filled

from groundup.corpus.hashed import ngrams, plain
from groundup.corpus.identity import GROUP_OF
from groundup.corpus.steps.toxicity import PATH, PIVOT, Model, WordList, probability

BITS = 17
L2 = 2e-5
STEPS = 50  # of L-BFGS; the loss falls by less than 0.1 % a step by then
SHARES = {  # of the training weight
    "davidson": 0.25, "stormfront": 0.2, "wikipedia": 0.15, "ordinary": 0.2, "neutral": 0.12, "hostile": 0.04, "insults": 0.05, "calm": 0.05,
}  # fmt: skip
THRESHOLDS = tuple(round(0.05 * step, 2) for step in range(4, 20))
PRIOR_TEXTS = 20  # what an estimate of our own is worth in the word list, in texts
LEAST_SHARE = 0.5  # of toxic texts among those with the word: below it the word is left out


class Matrix(NamedTuple):
    """Rows of n-gram indices."""

    indices: np.ndarray
    starts: np.ndarray
    counts: np.ndarray
    scale: np.ndarray

    @classmethod
    def of(cls, texts: list[str], bits: int) -> Matrix:
        rows, lengths = [], []
        for text in texts:
            read = plain(text[:4000])
            indices = ngrams(read, bits)[0]
            rows.append(indices if len(indices) else np.zeros(1, dtype=np.int64))
            lengths.append(len(read.codes))
        counts = np.array([len(row) for row in rows])
        scale = (1 / np.sqrt(np.array(lengths) + PIVOT)).astype(np.float32)
        return cls(np.concatenate(rows), np.concatenate(([0], np.cumsum(counts)[:-1])), counts, scale)

    def dot(self, weights: np.ndarray) -> np.ndarray:
        return np.add.reduceat(weights[self.indices], self.starts) * self.scale

    def transposed_dot(self, rows: np.ndarray, size: int) -> np.ndarray:
        return np.bincount(self.indices, np.repeat(rows * self.scale, self.counts), minlength=size)


def minimise(function: Callable[[np.ndarray], tuple[float, np.ndarray]], start: np.ndarray, steps: int) -> np.ndarray:
    """L-BFGS with ten pairs and backtracking (Nocedal & Wright 2006, algorithm 7.4)."""
    point, pairs = start, []
    value, slope = function(point)
    for _ in range(steps):
        direction = -slope
        passed = []
        for s, y, rho in reversed(pairs):
            alpha = rho * (s @ direction)
            direction -= alpha * y
            passed.append(alpha)
        if pairs:
            s, y, _ = pairs[-1]
            direction *= (s @ y) / (y @ y)
        for (s, y, rho), alpha in zip(pairs, reversed(passed), strict=True):
            direction += s * (alpha - rho * (y @ direction))
        length = 1.0 if pairs else 1 / np.linalg.norm(slope)
        while True:
            after, turned = function(point + length * direction)
            if after <= value + 1e-4 * length * (slope @ direction) or length < 1e-8:
                break
            length /= 2
        s, y = length * direction, turned - slope
        if value - after < 1e-6 * abs(value):
            return point + s
        if s @ y > 1e-12:
            pairs = [*pairs[-9:], (s, y, 1 / (s @ y))]
        point, value, slope = point + s, after, turned
    return point


def fit(texts: list[Text], matrix: Matrix) -> tuple[np.ndarray, float]:
    """Weights and bias. Sets differ in how much of them is toxic: offsets, one a labelled set, take that up."""
    size = 1 << BITS
    toxic = np.array([text.toxic for text in texts], dtype=np.float64)
    amounts = Counter((text.domain, text.toxic) for text in texts)
    both = {domain for domain, _ in amounts if (domain, True) in amounts and (domain, False) in amounts}
    weight = np.array([SHARES[text.domain] / (2 if text.domain in both else 1) / amounts[text.domain, text.toxic] for text in texts])
    weight /= weight.sum()
    domain = np.array([LABELLED.index(text.domain) if text.domain in LABELLED else len(LABELLED) for text in texts])

    def loss(point: np.ndarray) -> tuple[float, np.ndarray]:
        weights, offsets, bias = point[:size], np.append(point[size:-1], 0.0), point[-1]
        logits = matrix.dot(weights.astype(np.float32)) + offsets[domain] + bias
        wrong = weight * (1 / (1 + np.exp(-logits)) - toxic)
        value = weight @ np.logaddexp(0, np.where(toxic == 1, -logits, logits)) + L2 / 2 * (weights @ weights) + 0.01 * (offsets @ offsets)
        by_domain = np.bincount(domain, wrong, minlength=len(offsets))[:-1] + 0.02 * offsets[:-1]
        return value, np.concatenate((matrix.transposed_dot(wrong, size) + L2 * weights, by_domain, [wrong.sum()]))

    point = minimise(loss, np.zeros(size + len(LABELLED) + 1), STEPS)
    return point[:size].astype(np.float32), float(point[-1])


def word_list(texts: list[Text]) -> dict[str, float]:
    """Word -> share of toxic texts among those with the word: counts of the labelled sets and of ordinary prose, each set's classes taken as
    equally large, and our estimate as PRIOR_TEXTS texts more. Beside our own words it holds those that two sets agree about: in five
    toxic texts or more of each, log-odds over three standard errors (Monroe et al. 2008), and a share of 0.8 with an estimate of 0.5.
    """
    own = own_words()
    texts = [text for text in texts if text.domain in (*LABELLED, "ordinary")]
    sizes = Counter((text.domain, text.toxic) for text in texts)
    seen: dict[str, Counter[tuple[str, bool]]] = defaultdict(Counter)
    for text in texts:
        for word in set(re.findall(r"[a-z]+", text.text.lower())):
            seen[word][text.domain, text.toxic] += 1
    largest = sum(sizes[domain, True] for domain in LABELLED)
    found = {}
    for word in {*own, *seen}:
        if word in GROUP_OF or len(word) < 3:
            continue
        toxic = {domain: seen[word][domain, True] for domain in LABELLED}
        clean = {domain: seen[word][domain, False] * sizes[domain, True] / max(sizes[domain, False], 1) for domain in LABELLED}
        others = seen[word]["ordinary", False] * largest / max(sizes["ordinary", False], 1)
        share = (sum(toxic.values()) + PRIOR_TEXTS * own.get(word, 0.5)) / (sum(toxic.values()) + sum(clean.values()) + others + PRIOR_TEXTS)
        agree = 0
        for domain in LABELLED:
            t, c, T, C = toxic[domain], seen[word][domain, False], sizes[domain, True], sizes[domain, False]
            odds = np.log((t + 0.5) / (T - t + 0.5)) - np.log((c + 0.5) / (C - c + 0.5))
            agree += t >= 5 and odds > 3 * np.sqrt(1 / (t + 0.5) + 1 / (c + 0.5))
        if share >= LEAST_SHARE and (word in own or (agree >= 2 and share >= 0.8)):
            found[word] = round(float(share), 3)
    return found


def area(toxic: np.ndarray, scores: np.ndarray) -> float:
    """Area under the ROC curve: how often a toxic text scores above another, ties as half."""
    _, place, many = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(many) - (many - 1) / 2)[place]
    positive = int(toxic.sum())
    return float((ranks[toxic].sum() - positive * (positive + 1) / 2) / (positive * (len(toxic) - positive)))


def figures(toxic: np.ndarray, flagged: np.ndarray) -> dict[str, float]:
    """Precision, recall and F1 as the set stands; and with its classes taken as equally large, where precision does not depend on how much is toxic."""
    hits, recall, wrongly = int((toxic & flagged).sum()), float(flagged[toxic].mean()), float(flagged[~toxic].mean())
    precision, balanced = hits / max(int(flagged.sum()), 1), recall / max(recall + wrongly, 1e-9)
    return {
        "precision": precision, "recall": recall, "f1": 2 * precision * recall / max(precision + recall, 1e-9), "wrongly_flagged": wrongly,
        "balanced_precision": balanced, "balanced_f1": 2 * balanced * recall / max(balanced + recall, 1e-9),
    }  # fmt: skip


class Unseen(NamedTuple):
    """Texts that nothing was trained on."""

    sets: dict[str, tuple[list[str], np.ndarray]]
    ordinary: dict[str, list[str]]
    neutral: list[tuple[str, str]]
    unlisted: list[str]
    hostile: list[str]

    @classmethod
    def of(cls, texts: Iterable[Text], prose: Iterable[tuple[str, str, str]], kind: str) -> Unseen:
        sets: dict[str, tuple[list[str], np.ndarray]] = {}
        chosen = [text for text in texts if part(text.text) == kind]
        for domain in LABELLED:
            here = [text for text in chosen if text.domain == domain]
            sets[domain] = [text.text for text in here], np.array([text.toxic for text in here])
        others: dict[str, list[str]] = defaultdict(list)
        for side, source, text in prose:
            if side == kind:
                others[source].append(text)
        insults = sorted(word for word, estimate in own_words().items() if estimate >= 0.85)
        return cls(
            sets, dict(others), list(filled(TEST_NEUTRAL, TERMS, insults, 5)), [text for _, text in filled(TEST_NEUTRAL, UNLISTED, insults, 5)],
            [text for _, text in filled(TEST_HOSTILE, {group: terms[:1] for group, terms in TERMS.items()}, insults, 6)],
        )  # fmt: skip


def table(score: Callable[[str], float], unseen: Unseen) -> tuple[list[dict[str, float]], dict[str, float]]:
    """A row for each threshold, and the areas under the curves."""
    def scored(texts: Iterable[str]) -> np.ndarray:
        return np.array([score(text) for text in texts])

    sets = {domain: (scored(texts), toxic) for domain, (texts, toxic) in unseen.sets.items()}
    neutral, unlisted, hostile = scored(text for _, text in unseen.neutral), scored(unseen.unlisted), scored(unseen.hostile)
    prose = {source: scored(texts) for source, texts in unseen.ordinary.items()}
    rows = []
    for threshold in THRESHOLDS:
        each = [figures(toxic, scores >= threshold) for scores, toxic in sets.values()]
        rows.append(
            {"threshold": threshold}
            | {name: round(float(np.mean([one["balanced_" + name if name != "recall" else name] for one in each])), 3) for name in ("precision", "recall", "f1")}
            | {"neutral_blocked": round(float((neutral >= threshold).mean()), 4), "unlisted_blocked": round(float((unlisted >= threshold).mean()), 4)}
            | {"hostile_blocked": round(float((hostile >= threshold).mean()), 3)}
            | {"ordinary_blocked": round(float(np.mean([(scores >= threshold).mean() for scores in prose.values()])), 4)}
        )
    areas = {domain: round(area(toxic, scores), 4) for domain, (scores, toxic) in sets.items()}
    about = np.repeat([True, False], [len(hostile), len(neutral)])
    return rows, areas | {"hostile_above_neutral": round(area(about, np.concatenate((hostile, neutral))), 4)}


def show(rows: list[dict[str, float]]) -> str:
    """A table to print."""
    names = list(rows[0])
    return "\n".join(["  ".join(names), *("  ".join(f"{row[name]:>{len(name)}g}" for name in names) for row in rows)])


def training(texts: list[Text], prose: list[tuple[str, str, str]], without: str | None) -> list[Text]:
    """What to train on: the training parts, and of each five toxic texts one more in disguise."""
    words, draw = own_words(), random.Random(3)
    chosen = [text for text in texts if part(text.text) == "train" and text.domain != without] + list(own_sentences(words))
    masks = [Text(text.domain, True, disguised(text.text, words, draw)) for text in chosen if text.toxic and draw.random() < 0.2]
    return chosen + masks + [Text("ordinary", False, text) for kind, _, text in prose if kind == "train"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--ordinary", type=Path, required=True)
    parser.add_argument("--transfer", action="store_true")
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    texts, prose = list(labelled(arguments.data)), list(ordinary(arguments.ordinary))

    unseen: dict[str, dict[str, float]] = {}
    for without in LABELLED if arguments.transfer else ():
        rows = training(texts, prose, without)
        weights, bias = fit(rows, Matrix.of([row.text for row in rows], BITS))
        held = Model(weights, BITS, bias, *WordList.of({}), {})
        toxic = np.array([text.toxic for text in texts if text.domain == without])
        scores = np.array([probability(text.text, known=held) for text in texts if text.domain == without])
        unseen[without] = {"area": round(area(toxic, scores), 4)} | {name: round(value, 3) for name, value in figures(toxic, scores >= 0.6).items()}
        print(f"trained without {without}, all of it scored at 0.6: {unseen[without]}", flush=True)

    rows = training(texts, prose, None)
    words = word_list(rows)
    weights, bias = fit(rows, Matrix.of([row.text for row in rows], BITS))
    weights = weights.astype(np.float16).astype(np.float32)  # as they are kept
    listed = WordList.of(words)
    shipped = Model(weights, BITS, bias, *listed, {})
    for kind in ("validation", "test"):
        measured, areas = table(lambda text: probability(text, known=shipped), Unseen.of(texts, prose, kind))
        print(f"{kind}: areas {areas}\n{show(measured)}", flush=True)
    counted, _ = table(lambda text: listed.found(plain(text))[1] / 20, Unseen.of(texts, prose, "test"))
    counted = [{"words_per_thousand": round(20 * row.pop("threshold"))} | row for row in counted]
    print(f"word list of {len(words)} words\n{show(counted)}")
    if arguments.write:
        about: dict[str, Any] = {
            "bias": bias, "bits": BITS, "words": len(words), "areas": areas, "thresholds": measured, "word_list": counted, "transfer": unseen,
            "trained_on": "Davidson et al. 2017 (MIT), de Gibert et al. 2018 (CC BY-SA 3.0), Wikipedia talk test set of Dixon et al. 2018 (CC BY 4.0); "
            "ordinary prose and own sentences: benchmarks/toxicity_data.py, toxicity_sentences.py",
        }  # fmt: skip
        tensors = {"weights": weights.astype(np.float16), "words": listed.hashes, "word_weights": listed.weights.astype(np.float16)}
        save_file(tensors, PATH, metadata={"about": json.dumps(about, sort_keys=True)})
        print(f"{PATH}: {PATH.stat().st_size:,} bytes", file=sys.stderr)


if __name__ == "__main__":
    main()
