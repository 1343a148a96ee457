"""Train the model and the word list of the step `toxicity`, and measure them on what they have not seen.

    python benchmarks/train_toxicity.py --data ../shared/data/labels/toxicity --ordinary ../shared/data/pretrain [--transfer] [--write]

Logistic regression on hashed n-grams by L-BFGS, in numpy. A set's own style must not count as toxic (tweets swear, forum posts are
about race): each set has an offset of its own while training, which is left out afterwards, and both its classes weigh the
same. Beside the labelled sets it learns from ordinary prose, taken as not toxic, and from the sentences of toxicity_sentences.py.
Each text is in `train`, `validation` or `test` by a hash of itself. --transfer also leaves out each set in turn.
--write puts the result into src/groundup/corpus/models/toxicity.safetensors; the same data give the same bytes.
"""

from __future__ import annotations

import argparse
import codecs
import csv
import gzip
import hashlib
import io
import json
import random
import re
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from safetensors.numpy import save_file
from toxicity_sentences import CALM, FILL, HOSTILE, INSULTS, NEUTRAL, TERMS, TEST_HOSTILE, TEST_NEUTRAL, UNLISTED, filled, split

from groundup.corpus.hashed import ngrams, plain
from groundup.corpus.identity import COMMON, GROUP_OF
from groundup.corpus.steps.toxicity import PATH, PIVOT, Model, WordList, masked, probability

BITS = 17
L2 = 1e-5
SHARES = {  # of the training weight
    "davidson": 0.25, "stormfront": 0.2, "wikipedia": 0.15, "ordinary": 0.2, "neutral": 0.05, "hostile": 0.05, "insults": 0.05, "calm": 0.05,
}  # fmt: skip
LABELLED = ("davidson", "stormfront", "wikipedia")
PRIOR_TEXTS = 20  # what an estimate of our own is worth in the word list, in texts
LEAST_SHARE = 0.5  # of toxic texts among those with the word: below it the word is left out


class Text(NamedTuple):
    domain: str
    toxic: bool
    text: str


def lines(path: Path) -> Iterator[dict[str, Any]]:
    """Of a .jsonl.zst file."""
    with pa.OSFile(str(path)) as raw, pa.CompressedInputStream(raw, "zstd") as stream:
        for line in io.TextIOWrapper(io.BufferedReader(stream), encoding="utf-8"):
            yield json.loads(line)


def labelled(data: Path) -> Iterator[Text]:
    """The three sets. Of Davidson's classes hate speech and offensive language are toxic, of Stormfront's `hate`; `relation` and `skip` are left out."""
    with gzip.open(data / "davidson_tweets.csv.gz", "rt", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            yield Text("davidson", row["class"] != "2", re.sub(r"\bRT\b", " ", row["tweet"]))
    for row in lines(data / "stormfront_sentences.jsonl.zst"):
        if row["label"] in ("hate", "noHate"):
            yield Text("stormfront", row["label"] == "hate", row["text"])
    with gzip.open(data / "wikipedia_talk_toxicity_testset.csv.gz", "rt", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            yield Text("wikipedia", row["toxic"] == "True", row["comment"])


ORDINARY = {  # source -> split; the rest is not used. Public domain, CC BY or BY-SA, free documentation, and web samples
    "classic-books-markdown": "both", "LLaMA-Factory wiki_demo": "train", "hiyouga/LLaMA-Factory/data/c4_demo.jsonl": "both", "18F/handbook": "train",
    "openstax/osbooks-american-government": "train", "openstax/osbooks-psychology": "train", "openstax/osbooks-introduction-political-science": "train",
    "openstax/osbooks-introduction-anthropology": "validation", "openstax/osbooks-introduction-sociology": "test", "openstax/osbooks-us-history": "test",
    "debian:anarchism": "train", "debian:perl-doc": "train", "debian:linux-doc-6.1": "test", "ag_news test": "test",
}  # fmt: skip
FILES = ("classic_books", "wiki_demo", "web_samples", "gov_posts_recipes_manuals", "openstax", "debian_docs_text")


def ordinary(folder: Path, seed: int = 0) -> Iterator[tuple[str, str, str]]:
    """(split, source, text): stretches of one to several sentences; half of them are chosen because they name a group of people."""
    rare = set(GROUP_OF) - COMMON
    draw = random.Random(seed)
    held: dict[tuple[str, str, bool], list[str]] = defaultdict(list)
    for name in FILES:
        for row in lines(folder / f"{name}.jsonl.zst"):
            kind = ORDINARY.get(row["source"])
            if kind is None:
                continue
            if kind == "both":  # by document: an author's other book may be on the other side
                kind = ("train", "train", "validation", "test")[int(hashlib.sha256(row["id"].encode()).hexdigest(), 16) % 4]
            sentences = re.split(r"(?<=[.!?])\s+", re.sub(r"\s+", " ", row["text"][:100_000]))
            place = 0
            while place < len(sentences):
                many = draw.choice((1, 1, 2, 3, 5))
                text = " ".join(sentences[place : place + many])
                place += many
                if 20 <= len(text) <= 1000:
                    held[kind, row["source"], not rare.isdisjoint(re.findall("[a-z]+", text.lower()))].append(text)
    for (kind, source, _), texts in sorted(held.items()):
        draw.shuffle(texts)
        for text in texts[: 900 if kind == "train" else 500]:
            yield kind, source, text


def part(text: str) -> str:
    """train (80 %), validation or test (10 % each): equal texts are on the same side."""
    return ("validation", "test", *["train"] * 8)[hashlib.sha256(" ".join(text.lower().split()).encode()).digest()[0] % 10]


def own_words() -> dict[str, float]:
    """Our list: word -> estimate."""
    found = {}
    for line in codecs.decode((Path(__file__).parent / "toxicity_words.rot13").read_text(), "rot13").splitlines():
        if not line.startswith("#"):
            head, _, words = line.partition(":")
            found |= dict.fromkeys(words.split(), float(head.split()[0]))
    return found


def disguised(text: str, words: dict[str, float], draw: random.Random) -> str:
    """The text with its listed words spelled to slip by: masked, a vowel left out or doubled."""
    def spell(match: re.Match[str]) -> str:
        word = match[0]
        if word.lower() not in words or len(word) < 4:
            return word
        if draw.random() < 0.7:
            return draw.choice(list(masked(word))[1:])
        place = draw.randrange(1, len(word) - 1)
        return word[:place] + draw.choice(("", 2 * word[place])) + word[place + 1 :]

    return re.sub(r"[A-Za-z]+", spell, text)


def own_sentences(words: dict[str, float], seed: int = 1) -> Iterator[Text]:
    """What we wrote to train on."""
    insults = sorted(word for word, estimate in words.items() if estimate >= 0.85 and not word.endswith("s"))
    groups = {group: terms[:1] for group, terms in TERMS.items()}
    for domain, block, toxic, times in (("neutral", NEUTRAL, False, 3), ("hostile", HOSTILE, True, 4)):
        for number in range(times):
            yield from (Text(domain, toxic, text) for _, text in filled(block, groups, insults, seed + number))
    draw = random.Random(seed)
    for domain, block, toxic, times in (("insults", INSULTS, True, 120), ("calm", CALM, False, 60)):
        for template in split(block):
            for number in range(times):
                fill = {slot: draw.choice(choices) for slot, choices in FILL.items()} | {"insult": insults[number * 7919 % len(insults)]}
                yield Text(domain, toxic, template.format(**fill))


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


def fit(texts: list[Text], matrix: Matrix, bits: int, l2: float, steps: int = 60) -> tuple[np.ndarray, float]:
    """Weights and bias. Sets differ in how much of them is toxic: offsets, one a labelled set, take that up."""
    size = 1 << bits
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
        value = weight @ np.logaddexp(0, np.where(toxic == 1, -logits, logits)) + l2 / 2 * (weights @ weights) + 0.01 * (offsets @ offsets)
        by_domain = np.bincount(domain, wrong, minlength=len(offsets))[:-1] + 0.02 * offsets[:-1]
        return value, np.concatenate((matrix.transposed_dot(wrong, size) + l2 * weights, by_domain, [wrong.sum()]))

    point = minimise(loss, np.zeros(size + len(LABELLED) + 1), steps)
    return point[:size].astype(np.float32), float(point[-1])
