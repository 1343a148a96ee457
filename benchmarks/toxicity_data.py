"""What `toxicity` is trained and measured on: the labelled sets, ordinary prose, our own words and sentences."""

from __future__ import annotations

import codecs
import csv
import gzip
import hashlib
import io
import json
import random
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
from toxicity_sentences import CALM, FILL, HOSTILE, INSULTS, NEUTRAL, TERMS, filled, split

from groundup.corpus.identity import COMMON, GROUP_OF
from groundup.corpus.steps.toxicity import masked

LABELLED = ("davidson", "stormfront", "wikipedia")


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
    insults = sorted(word for word, estimate in words.items() if estimate >= 0.8 and not word.endswith("s"))
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
