"""A corpus of any size with known near copies, for `benchmarks/dedup.py`: paragraph shuffles and edits of real text.

    pool        paragraphs of 20 to 200 words of the pretraining texts, each once
    original    paragraphs drawn from the pool until so many words are there: two of them share hardly any
    copy        an original's paragraphs in another order, with other words, within another header and footer, ... (EDITS)

Every document is a function of the pool, the seed and its number alone, so nothing but the pool is held in memory.
"""

from __future__ import annotations

import json
import math
import random
import re
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokens import texts

COPIES = 0.3  # share of documents that are copies of an original
POPULAR, OF_POPULAR = 0.01, 0.2  # this share of originals has this share of the copies: large clusters
SHORTEST, LONGEST = 20, 200  # words of a paragraph
PIECES = 5  # no paragraph is more of an original than a fifth: what two originals share by chance makes no near copies of them
BETWEEN = re.compile(r"\n\s*\n")
WORD = re.compile(r"\w+")


class Pool:
    """Paragraphs, and words to put among them."""

    def __init__(self, paragraphs: list[str]) -> None:
        self.paragraphs = paragraphs
        draw = random.Random(0)
        self.words = [word for _ in range(1000) for word in self.some(draw).split(" ")]

    @classmethod
    def of(cls, folder: Path) -> Pool:
        """From the texts of a folder (.jsonl.zst, .txt)."""
        seen: set[bytes] = set()
        found = []
        for _, text in texts(folder):
            for block in BETWEEN.split(text):
                words = block.split()
                for start in range(0, len(words), LONGEST):
                    paragraph = " ".join(words[start : start + LONGEST])
                    if len(words) - start < SHORTEST or (key := blake2b(paragraph.lower().encode(), digest_size=12).digest()) in seen:
                        continue
                    seen.add(key)
                    found.append(paragraph)
        return cls(found)

    def some(self, draw: random.Random) -> str:
        """One paragraph."""
        return self.paragraphs[int(draw.random() * len(self.paragraphs))]

    def original(self, number: int, seed: int, shortest: int, longest: int) -> list[str]:
        """The paragraphs of an original; lengths are spread evenly on a logarithmic scale."""
        draw = random.Random(f"{seed} original {number}")
        left = int(math.exp(draw.uniform(math.log(shortest), math.log(longest))))
        most = max(SHORTEST, left // PIECES)
        found = []
        while left > 0:
            words = self.some(draw).split(" ")
            begin = draw.randrange(max(1, len(words) - most + 1))
            words = words[begin : begin + min(most, left)]
            found.append(" ".join(words))
            left -= len(words)
        return found


Edit = Callable[[list[str], random.Random, Pool], list[str]]


def same(paragraphs: list[str], draw: random.Random, pool: Pool) -> list[str]:
    """An exact copy."""
    return paragraphs


def shuffled(paragraphs: list[str], draw: random.Random, pool: Pool) -> list[str]:
    """Paragraphs in another order."""
    return draw.sample(paragraphs, len(paragraphs))


def framed(paragraphs: list[str], draw: random.Random, pool: Pool) -> list[str]:
    """Another header, and a footer behind."""
    header, footer = (" ".join(pool.some(draw).split(" ")[: draw.randint(5, 30)]) for _ in range(2))
    return [header, *paragraphs, footer]


def half(paragraphs: list[str], draw: random.Random, pool: Pool) -> list[str]:
    """Every other paragraph is another one."""
    return [pool.some(draw) if number % 2 else paragraph for number, paragraph in enumerate(paragraphs)]


def reworded(rate: float) -> Edit:
    """Words replaced, deleted and inserted, each as often, `rate` of all."""

    def edit(paragraphs: list[str], draw: random.Random, pool: Pool) -> list[str]:
        found = []
        for paragraph in paragraphs:
            words = []
            for word in paragraph.split(" "):
                if draw.random() >= rate:
                    words.append(word)
                    continue
                how = draw.randrange(3)  # 0 deletes
                words += [draw.choice(pool.words)] if how == 1 else [word, draw.choice(pool.words)] if how == 2 else []
            found.append(" ".join(words))
        return found

    return edit


def several(*edits: Edit) -> Edit:
    """One after the other."""

    def edit(paragraphs: list[str], draw: random.Random, pool: Pool) -> list[str]:
        for each in edits:
            paragraphs = each(paragraphs, draw, pool)
        return paragraphs

    return edit


EDITS: dict[str, Edit] = {
    "exact": same, "shuffled": shuffled, "framed": framed, "half": half,
    **{f"{100 * rate:g} % of words": reworded(rate) for rate in (0.005, 0.01, 0.015, 0.02, 0.025, 0.03, 0.04, 0.06, 0.1)},
    "shuffled, framed, 0.5 % of words": several(shuffled, framed, reworded(0.005)),
    "shuffled, framed, 2 % of words": several(shuffled, framed, reworded(0.02)),
}  # fmt: skip


@dataclass(frozen=True)
class Plan:
    """What each document is."""

    group: NDArray[np.int64]
    """Of each document: the number of its original."""
    edit: NDArray[np.int64]
    """Of each document: which of EDITS made it of the original; -1 is the original itself."""
    first: NDArray[np.int64]
    """Of each original: where it stands."""


def plan(documents: int, seed: int) -> Plan:
    """Originals and copies in random order."""
    draw = np.random.default_rng(seed)
    copies = int(COPIES * documents)
    originals = documents - copies
    order = draw.permutation(documents)
    group, edit = np.arange(documents), np.full(documents, -1)
    popular = draw.random(copies) < OF_POPULAR
    group[originals:] = draw.integers(0, np.where(popular, max(1, int(POPULAR * originals)), originals))
    edit[originals:] = draw.integers(0, len(EDITS), copies)
    return Plan(group[order], edit[order], np.argsort(order)[:originals])


def write(
    data: Path, into: Path, documents: int, seed: int = 0, words: tuple[int, int] = (300, 1000), shards: int = 8, lines: bool = True,
    until_bytes: int | None = None, truths: int = 30_000,
) -> tuple[dict[str, Any], Plan, NDArray[np.float64]]:  # fmt: skip
    """Write `into`/parquet/*.parquet (as the clean stage's shards) and, with `lines`, the same documents as `into`/lines/*.jsonl.

    Returns figures, the plan, and for the first `truths` copies the Jaccard similarity of word 5-grams with the original (the
    others have NaN). With `until_bytes` it ends after so much text.
    """
    import pyarrow as pa
    from pyarrow import parquet

    from groundup.corpus.dedup.passes import RANKED_SCHEMA as schema

    pool, its, makers = Pool.of(data), plan(documents, seed), list(EDITS.values())
    similarity = np.full(documents, np.nan)
    (into / "parquet").mkdir(parents=True)
    (into / "lines").mkdir()
    size = count = 0
    for shard, numbers in enumerate(np.array_split(np.arange(documents), shards)):
        if until_bytes is not None and size >= until_bytes:
            break
        with ExitStack() as stack:
            writer = stack.enter_context(parquet.ParquetWriter(into / f"parquet/part-{shard:05d}.parquet", schema, compression="zstd"))
            stream = stack.enter_context((into / f"lines/part-{shard:05d}.jsonl").open("w", encoding="utf-8")) if lines else None
            for batch in np.array_split(numbers, 1 + len(numbers) // 1000):
                rows: dict[str, list[str]] = {"id": [], "text": [], "source": []}
                for number in batch.tolist():
                    original = pool.original(int(its.group[number]), seed, *words)
                    text = "\n\n".join(original)
                    if its.edit[number] >= 0:
                        changed = makers[its.edit[number]](original, random.Random(f"{seed} copy {number}"), pool)
                        text, before = "\n\n".join(changed), text
                        if truths > 0:
                            similarity[number] = jaccard(before, text)
                            truths -= 1
                    row = {"id": blake2b(str(number).encode(), digest_size=16).hexdigest(), "text": text, "source": "web"}
                    for name, value in row.items():
                        rows[name].append(value)
                    if stream:
                        stream.write(json.dumps(row, ensure_ascii=False) + "\n")
                    size += len(text.encode())
                    count += 1
                writer.write_table(pa.table({**blank(len(rows["id"]), schema), **rows, "whole": rows["id"]}, schema))
                if until_bytes is not None and size >= until_bytes:
                    break
    figures = {
        "documents": count, "text_mb": size / 1e6, "bytes_per_document": size / max(count, 1), "words_per_original": list(words),
        "paragraphs_in_pool": len(pool.paragraphs), "known_copies": int((its.edit[:count] >= 0).sum()),
        "known_exact_copies": int((its.edit[:count] == 0).sum()),
    }  # fmt: skip
    return figures, its, similarity


def blank(rows: int, schema: Any) -> dict[str, Any]:
    """Columns without values."""
    import pyarrow as pa

    return {field.name: pa.nulls(rows, field.type) for field in schema}


def jaccard(one: str, other: str, n: int = 5) -> float:
    """The plain way: sets of n words that follow one another."""
    a, b = (set(zip(*(words[k:] for k in range(n)), strict=False)) for words in (WORD.findall(one.lower()), WORD.findall(other.lower())))
    return len(a & b) / max(1, len(a | b))
