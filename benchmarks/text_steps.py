"""Speed of the Unicode and emoji steps on text that needs nothing, beside ftfy and emoji themselves; and what they do to text that does.

    python benchmarks/text_steps.py [--data ../shared/data] [--json]

MB of UTF-8 a second on one core (process time, the best of five) on: English books (classic_books); sentences in languages whose
letters have accents, and in Cyrillic, Chinese and so on (Lingua's test data), all made normal first. Repair: sentences misread on
purpose in a character set; the share that comes back as it was. ftfy's and emoji's own figures are for a hundredth of the text.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import emoji
import ftfy
import ftfy.bad_codecs
import pyarrow as pa

from groundup.corpus.steps.emoji import to_emoji, to_names
from groundup.corpus.steps.text import normalise

SCRIPTS = {
    "accented": "de fr pt es pl cs sv tr vi hu ro".split(),
    "Cyrillic": "ru uk bg sr".split(),
    "Chinese, Japanese, Korean": "zh ja ko".split(),
    "Arabic, Hebrew, Hindi, Thai": "ar he hi th".split(),
}
MISREAD = {"sloppy-windows-1252": "de fr pt es pl cs el ru zh ko", "sloppy-windows-1251": "ru uk", "latin-1": "de fr ru"}


def lines(path: Path) -> list[dict[str, Any]]:
    """Of a compressed file of JSON lines."""
    return [json.loads(line) for line in pa.input_stream(str(path), compression="zstd").read().decode().split("\n") if line]


def speed(function: Callable[[str], object], texts: list[str]) -> float:
    """MB a second."""
    seconds = []
    for _ in range(5):
        began = time.process_time()
        for text in texts:
            function(text)
        seconds.append(time.process_time() - began)
    return sum(len(text.encode()) for text in texts) / 1e6 / min(seconds)


def main() -> None:
    """Speeds, then repairs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(__file__).resolve().parents[1].parent / "shared/data")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    labelled = [row for row in lines(options.data / "labels/langid/lingua_testdata.jsonl.zst") if row["kind"] == "sentences"]
    books = [row["text"][:100_000] for row in lines(options.data / "pretrain/classic_books.jsonl.zst")[:60]]
    sets = {"ASCII": [text for text in map(normalise, (book.encode("ascii", "ignore").decode() for book in books)) if text]}
    for name, languages in SCRIPTS.items():
        sentences = [row["text"] for row in labelled if row["lang"] in languages]
        sets[name] = [text for n in range(0, len(sentences), 20) if (text := normalise("\n".join(sentences[n : n + 20])))] * 4
    speeds = {
        name: {
            "unicode": speed(normalise, texts), "emoji": speed(to_names, texts),
            "ftfy.fix_text": speed(ftfy.fix_text, texts[:: len(texts) // 12 + 1]),
            "emoji.demojize": speed(emoji.demojize, texts[:: len(texts) // 12 + 1]),
        }
        for name, texts in sets.items()
    }  # fmt: skip
    repaired: dict[str, dict[str, float]] = {}
    for name, languages in MISREAD.items():
        said = [normalise(row["text"]) for row in labelled if row["lang"] in languages.split() and not row["text"].isascii()]
        wrong = [text.encode().decode(name) for text in said]
        repaired[name] = {
            "sentences": len(said),
            "groundup": sum(normalise(text) == right for text, right in zip(wrong, said, strict=True)) / len(said),
            "ftfy": sum(normalise(ftfy.fix_encoding(text)) == right for text, right in zip(wrong, said, strict=True)) / len(said),
        }
    counts: Counter[str] = Counter()
    for row in labelled:
        normalise(row["text"], counts=counts)
    every = list(emoji.EMOJI_DATA)
    back = sum(to_emoji(to_names(each)) == each for each in every) / len(every)
    if options.json:
        print(json.dumps({"megabytes_per_second": speeds, "repaired": repaired, "emoji_back": back, "changed": counts}, indent=1))
        return
    print(f"{'MB/s':30}" + "".join(f"{column:>16}" for column in next(iter(speeds.values()))))
    for name, figures in speeds.items():
        print(f"{name:30}" + "".join(f"{figure:>16.1f}" for figure in figures.values()))
    print("\nmisread as            sentences   repaired: groundup   ftfy")
    for name, row in repaired.items():
        print(f"{name:22}{row['sentences']:>9}{row['groundup']:>21.1%}{row['ftfy']:>7.1%}")
    print(f"\nemoji that come back: {back:.1%} of {len(every)}; in {len(labelled)} real sentences: {dict(counts)}")


if __name__ == "__main__":
    main()
