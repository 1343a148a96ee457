"""Make the two files of the spelling step: words with counts, and what is written for pieces of words.

    python benchmarks/train_spelling.py --scowl american-english-huge british-english-huge --data ../shared/data

`--scowl`: the word lists of Debian's packages wamerican-huge and wbritish-huge (`apt-get download`, `dpkg-deb -x`).
To the lists come words that three or more of our own documents have, of every other document; the rest is left to be measured on.
Half of codespell's typos teach the edits (those whose right word has an even CRC); the other half is left to be measured on.
"""

from __future__ import annotations

import argparse
import gzip
import io
import json
import lzma
import math
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from groundup.corpus.steps import noisy_channel
from groundup.corpus.steps.spelling import SpellingStep, frequent_words
from groundup.recipe.cleaning.spelling import Spelling

CONTRACTIONS = """aren't can't couldn't didn't doesn't don't hadn't hasn't haven't he'd he'll he's i'd i'll i'm i've isn't it'll it's let's she'd
she'll she's shouldn't that's there's they'd they'll they're they've wasn't we'd we'll we're we've weren't what's who's won't wouldn't
you'd you'll you're you've""".split()
STEMS = "ain aren couldn didn doesn don hadn hasn haven isn mustn needn shan shouldn wasn weren won wouldn".split()  # don t
LEAST_COUNT = 3  # of an edit in the training half
CONTEXT = 2  # neighbours of a changed letter, on both sides together


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--scowl", nargs="+", type=Path, required=True)
    arguments.add_argument("--data", type=Path, required=True)
    given = arguments.parse_args()
    labels = given.data / "labels/spelling"
    listed = {line.strip() for path in given.scowl for line in path.read_text(encoding="utf-8").splitlines()}
    counts = words(labels / "symspell_frequency_dictionary_en_82_765.txt.gz", listed)
    names = {word.lower() for word in listed} - {word for word in listed if word == word.lower()}
    save(noisy_channel.HERE / "english_words.xz", front_coded(counts, names))
    pairs = [pair for pair in typos(labels / "codespell_dictionary.txt.gz") if teaches(pair[1])]
    table = edits(pairs)
    lines = ["\t".join([piece, *(f"{written}\t{round(-100 * p)}" for written, p in sorted(row.items()))]) for piece, row in sorted(table.items())]
    save(noisy_channel.HERE / "english_edits.xz", "\n".join(lines))
    own = frequent_words(texts(given.data / "pretrain"), SpellingStep(Spelling(on=True)), min_documents=3)
    save(noisy_channel.HERE / "english_words.xz", front_coded(counts | dict.fromkeys(own, 0), names))
    print(f"of our own corpora {len(own):,}: {' '.join(sorted(own)[::20])}")
    print(f"{len(counts):,} words, {len(pairs):,} typos, {sum(map(len, table.values())):,} edits")


def texts(folder: Path) -> Iterator[str]:
    """Every other document of the corpora, from the second."""
    for path in sorted(folder.glob("*.jsonl.zst")):
        with pa.CompressedInputStream(str(path), "zstd") as stream:
            for number, line in enumerate(io.TextIOWrapper(stream, encoding="utf-8")):
                if number % 2:
                    yield json.loads(line)["text"]


def save(path: Path, text: str) -> None:
    path.write_bytes(lzma.compress(text.encode(), preset=9 | lzma.PRESET_EXTREME))
    print(f"{path.name}: {path.stat().st_size:,} bytes")


def words(frequencies: Path, listed: set[str]) -> dict[str, int]:
    """Word -> count; 0 for words that are only in the lists. Possessives are left out: the step knows them by their word."""
    counts = {word.lower(): 0 for word in listed if not word.endswith("'s")}
    with gzip.open(frequencies, "rt", encoding="utf-8-sig") as lines:
        for line in lines:
            word, count = line.split()
            counts[word] = int(count)
    # Books have few contractions; a writer who means one has the frequency of speech. Each stands as often as a common word.
    counts |= dict.fromkeys(STEMS, 0)
    counts |= {word: max(counts.get(word, 0), 500_000_000) for word in CONTRACTIONS}
    return counts


def front_coded(counts: dict[str, int], names: set[str]) -> str:
    lines, before = [], ""
    for word, count in sorted(counts.items()):
        shared = next((place for place, (a, b) in enumerate(zip(word, before, strict=False)) if a != b), min(len(word), len(before)))
        tenths = str(round(10 * math.log2(count))) if count else ""
        lines.append(chr(65 + shared) + word[shared:] + (f"\t{tenths}" if count and word not in names else f"\t({tenths})" if word in names else ""))
        before = word
    return "\n".join(lines)


def typos(path: Path) -> list[tuple[str, str]]:
    """codespell's typos of one word with one correction of one word."""
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        pairs = [tuple(line.strip().lower().split("->")) for line in lines if "->" in line]
    return [(typo, word) for typo, word in pairs if set(typo) | set(word) <= noisy_channel.LETTERS]


def teaches(word: str) -> bool:
    """Whether a right word belongs to the half that is learned from."""
    return zlib.crc32(word.encode()) % 2 == 0


def edits(pairs: list[tuple[str, str]]) -> dict[str, dict[str, float]]:
    """Piece -> what is written for it -> log P, counted over the pairs' alignments; P = count / times the piece was there."""
    found: Counter[tuple[str, str]] = Counter()
    there: Counter[str] = Counter()
    for typo, word in pairs:
        framed = f"^{word}$"
        for size in range(noisy_channel.PIECE + 1):
            there.update(framed[start : start + size] for start in range(len(framed) - size + 1))
        steps = [("^", "^"), *align(typo, word), ("$", "$")]
        pieces = set()
        for first in range(len(steps)):
            for last in range(first + 1, min(len(steps), first + CONTEXT + 3) + 1):
                window = steps[first:last]
                changed = sum(a != b for a, b in window)
                piece, written = "".join(a for a, _ in window), "".join(b for _, b in window)
                if changed and len(window) - changed <= CONTEXT and max(len(piece), len(written)) <= noisy_channel.PIECE:
                    pieces.add((piece, written))
        found.update(pieces)
    table: dict[str, dict[str, float]] = {}
    for (piece, written), count in found.items():
        if count >= LEAST_COUNT:
            table.setdefault(piece, {})[written] = math.log((count - 0.5) / there[piece])
    return table


def align(typo: str, word: str) -> list[tuple[str, str]]:
    """The word's letters and what was written for them, by the least edits; a swap is one."""
    best: list[list[tuple[float, list[tuple[str, str]]]]] = [[(math.inf, [])] * (len(typo) + 1) for _ in range(len(word) + 1)]
    best[0][0] = (0, [])
    for i in range(len(word) + 1):
        for j in range(len(typo) + 1):
            for di, dj in ((1, 1), (2, 2), (1, 0), (0, 1)):
                if i < di or j < dj:
                    continue
                a, b = word[i - di : i], typo[j - dj : j]
                if (di == 2 and (a != b[::-1] or a == b)) or best[i - di][j - dj][0] == math.inf:
                    continue
                cost = best[i - di][j - dj][0] + (0 if a == b else 1)
                if cost < best[i][j][0]:
                    best[i][j] = (cost, [*best[i - di][j - dj][1], (a, b)])
    return best[-1][-1][1]


if __name__ == "__main__":
    main()
