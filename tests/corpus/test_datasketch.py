"""Near duplicates beside datasketch's MinHashLSH with the same 14 bands of 8 rows, on the same shingles.

Given our signatures, its candidate pairs are ours, every one, and so are its clusters. With its own permutations over our shingles'
hashes other pairs have luck, but both find what 1 - (1 - s^8)^14 says, on average. Held against:

    generated     texts with words changed at several rates, 400 pairs
    McCormick     articles of which a few are planted copies, with the pairs given: precision and recall 1
    MSR           news sentences with their paraphrases, judged by people. A paraphrase says the same in other words, so hardly any
                  pair is a near duplicate (Jaccard of word 5-grams 0.7 or more): the gold pairs are recalled in few cases and this
                  is right. What is scored here is the brute-force threshold.
"""

from __future__ import annotations

import csv
import gzip
import itertools
import random
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from groundup.corpus.dedup import minhash, near
from groundup.corpus.dedup.keys import Keys
from groundup.corpus.dedup.shingles import shingles, words

datasketch = pytest.importorskip("datasketch")

BANDS, ROWS, WORDS = 14, 8, 5
Pairs = set[tuple[int, int]]


class Texts:
    """Documents, the hashes of their shingles and their signatures."""

    def __init__(self, texts: list[str]) -> None:
        array = pa.array(texts, pa.large_string())
        value, borders = shingles(words(array), len(texts), WORDS)
        self.shingles = np.split(value, borders[1:-1])
        self.sets = [set(one.tolist()) for one in self.shingles]
        self.signatures, self.there = minhash.signatures(value, borders, BANDS * ROWS), np.diff(borders) > 0
        self.keys = minhash.band_keys(self.signatures, BANDS, ROWS, np.zeros(len(texts), np.uint64))

    def similarity(self, one: int, other: int) -> float:
        a, b = self.sets[one], self.sets[other]
        return len(a & b) / max(1, len(a | b))

    def ours(self) -> Pairs:
        """Pairs that share a band."""
        by_key: dict[tuple[int, int], list[int]] = defaultdict(list)
        for number in np.flatnonzero(self.there).tolist():
            for band, key in enumerate(self.keys[number].tolist()):
                by_key[band, key].append(number)
        return {pair for group in by_key.values() for pair in itertools.combinations(group, 2)}

    def theirs(self, own: bool) -> Pairs:
        """Candidates of MinHashLSH: given our signatures, or its `own` permutations of our shingles' hashes."""
        first = datasketch.MinHash(BANDS * ROWS, hashfunc=int, scheme="affine64")
        index = datasketch.MinHashLSH(num_perm=BANDS * ROWS, params=(BANDS, ROWS))
        sketches: dict[int, Any] = {}
        for number in np.flatnonzero(self.there).tolist():
            if own:
                sketches[number] = first.copy()
                sketches[number].update_batch(self.shingles[number].tolist())
            else:
                sketches[number] = datasketch.MinHash(hashvalues=self.signatures[number], permutations=FUNCTIONS, scheme="affine32")
            index.insert(number, sketches[number])
        return {(number, other) for number, sketch in sketches.items() for other in index.query(sketch) if number < other}

    def alike(self, least: float) -> Pairs:
        """All pairs of at least this similarity, by comparing every two that share a shingle."""
        having: dict[int, list[int]] = defaultdict(list)
        for number, its in enumerate(self.sets):
            for one in its:
                having[one].append(number)
        pairs = {pair for group in having.values() for pair in itertools.combinations(group, 2)}
        return {pair for pair in pairs if self.similarity(*pair) >= least}


FUNCTIONS = tuple(np.ones(BANDS * ROWS, np.uint32) for _ in range(2))  # not used where the values are given


def components(pairs: Pairs, count: int) -> list[int]:
    """The least number of each one's component."""
    label = list(range(count))
    changed = True
    while changed:
        changed = False
        for one, other in pairs:
            least = min(label[one], label[other])
            changed |= label[one] != label[other]
            label[one] = label[other] = least
    return label


def clusters(texts: Texts, folder: Path) -> list[int]:
    folder.mkdir()
    there = np.flatnonzero(texts.there)
    keys = Keys(folder, 1, BANDS)
    keys.write(0, texts.keys[there], there.astype(np.uint64))
    label = np.arange(len(texts.sets))
    label[there] = there[near.clusters(keys)]
    return [int(one) for one in label]


def scores(found: Pairs, gold: Pairs) -> tuple[float, float]:
    """Precision and recall."""
    return len(found & gold) / max(1, len(found)), len(found & gold) / len(gold)


def as_the_formula_says(texts: Texts, found: Pairs) -> bool:
    """Whether as many of all pairs are found as they should be, within four standard deviations."""
    chance = [minhash.chance(texts.similarity(*pair), BANDS, ROWS) for pair in texts.alike(0.05)]
    return abs(len(found) - sum(chance)) <= 4 * sum(p * (1 - p) for p in chance) ** 0.5 + 1


def generated() -> Texts:
    """Pairs of texts of which the second has words of the first replaced, deleted and inserted; similarities from 0.2 to 1."""
    draw = random.Random(5)
    vocabulary = ["".join(draw.choices("abcdefghijklmnop", k=draw.randint(2, 9))) for _ in range(3000)]
    found = ["", "two words", "Two  words!", "."]
    for number in range(400):
        its = draw.choices(vocabulary, k=draw.randint(20, 300))
        rate = number % 20 / 100
        changed = [new for word in its for new in ([word] if draw.random() >= rate else draw.choices(vocabulary, k=draw.randrange(3)))]
        found += [" ".join(its), " ".join(changed).capitalize()]
    return Texts(found)


def gold(name: str) -> Path:
    for root in (Path(__file__).parents[2].parent / "shared", Path(__file__).parents[2] / "shared"):
        if (path := root / "data/labels/neardup" / name).exists():
            return path
    pytest.skip(f"needs ../shared/data/labels/neardup/{name}")


def mccormick(size: int) -> tuple[Texts, Pairs]:
    folder = gold("mccormick_minhash")
    lines = (folder / f"articles_{size}.train").read_text(encoding="utf-8", errors="replace").splitlines()
    articles = dict(line.split(" ", 1) for line in lines if " " in line)
    place = {name: number for number, name in enumerate(articles)}
    pairs = [line.split() for line in (folder / f"articles_{size}.truth").read_text().splitlines() if line.strip()]
    return Texts(list(articles.values())), {(min(a, b), max(a, b)) for a, b in ((place[one], place[other]) for one, other in pairs)}


def msr() -> tuple[Texts, Pairs]:
    with gzip.open(gold("msr_paraphrase_test.tsv.gz"), "rt", encoding="utf-8-sig") as stream:
        rows = list(csv.DictReader(stream, delimiter="\t", quoting=csv.QUOTE_NONE))
    sentences = [row[f"#{side} String"] for row in rows for side in (1, 2)]
    return Texts(sentences), {(2 * number, 2 * number + 1) for number, row in enumerate(rows) if row["Quality"] == "1"}


def same_as_datasketch(texts: Texts, folder: Path) -> Pairs:
    """Assert what holds for any texts; the pairs."""
    found = texts.ours()
    assert found == texts.theirs(own=False)
    assert clusters(texts, folder) == components(found, len(texts.sets))
    return found


def test_generated_texts(tmp_path: Path) -> None:
    texts = generated()
    found, theirs = same_as_datasketch(texts, tmp_path / "x"), texts.theirs(own=True)
    assert as_the_formula_says(texts, found) and as_the_formula_says(texts, theirs)
    true = texts.alike(0.7)
    (precision, recall), (their_precision, their_recall) = scores(found, true), scores(theirs, true)
    print(f"generated: ours {precision:.3f} {recall:.3f}, datasketch's own permutations {their_precision:.3f} {their_recall:.3f}")
    assert len(true) > 80 and abs(precision - their_precision) < 0.1 and abs(recall - their_recall) < 0.1
    assert (1, 2) in found and not any(0 in pair or 3 in pair for pair in found)  # short ones by all their words, empty ones never


@pytest.mark.parametrize("size", [100, 1000])
def test_mccormicks_planted_copies(tmp_path: Path, size: int) -> None:
    texts, pairs = mccormick(size)
    found = same_as_datasketch(texts, tmp_path / "x")
    theirs = texts.theirs(own=True)
    print(f"McCormick {size}: {len(pairs)} pairs, ours {scores(found, pairs)}, datasketch's own permutations {scores(theirs, pairs)}")
    assert scores(found, pairs) == scores(theirs, pairs) == (1, 1)


def test_paraphrases_are_no_near_duplicates(tmp_path: Path) -> None:
    texts, paraphrases = msr()
    found, theirs = same_as_datasketch(texts, tmp_path / "x"), texts.theirs(own=True)
    true = texts.alike(0.7)
    of_all = scores(found, paraphrases)
    print(f"MSR: {len(paraphrases)} paraphrases, {len(paraphrases & true)} of Jaccard 0.7 or more; candidates {len(found)}, against paraphrases {of_all}")
    print(f"MSR at 0.7: {len(true)} pairs, ours {scores(found, true)}, datasketch's own permutations {scores(theirs, true)}")
    assert as_the_formula_says(texts, found) and as_the_formula_says(texts, theirs)
    assert of_all[1] < 0.1 and len(paraphrases & true) / len(paraphrases) < 0.1
