"""Test questions planted in clean documents: which are found, which not; how many clean documents are taken for contaminated; speed.

    python benchmarks/decontaminate.py [--data ../shared/data] [--each N] [--json]

From every evaluation file below DATA/eval N questions are drawn and each is planted five times, in five clean documents:

    verbatim       as a paragraph of its own
    punctuation    every mark gone or another (can't: can t or cant), upper or lower case, broken into lines elsewhere
    embedded       in the middle of a sentence of the page
    1 word in 10   reworded lightly, one word at least: a synonym, another ending, or two neighbours swapped
    1 word in 6    the same, of more words

A question is what a page would copy: the record's question, context or prompt without "Question:" and "Answer:". The evaluation files are
given to groundup as they are. Clean documents are those of DATA/pretrain, cut at 20,000 characters; all of them are screened once without
anything planted, and those that are flagged are printed to be read: some hold a test's text in truth, as when both quote the same line.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import resource
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from groundup.corpus.contamination import BATCH_BYTES, AllTests
from groundup.corpus.document import cut, lots
from groundup.corpus.evaluation_items import count, evaluation_files, records_of
from groundup.recipe.cleaning.decontaminate import Decontaminate

KINDS = ("verbatim", "punctuation", "embedded", "1 word in 10", "1 word in 6")
FIELDS = ("question", "Question", "query", "context", "ctx", "prompt", "sentence_good", "column 1")
LABEL = re.compile(r"^\s*(Question|Q|Passage|Context|Sentence|Concept)\s*:\s*")
END = re.compile(r"\s*\b(Answer|A)\s*[:.]\s*$")
DOCUMENT = 20_000  # characters
SYNONYMS = {
    "big": "large", "large": "big", "small": "little", "many": "numerous", "begin": "start", "start": "begin", "man": "guy", "people": "persons",
    "said": "stated", "says": "states", "make": "create", "makes": "creates", "made": "created", "get": "obtain", "gets": "receives", "buy": "purchase",
    "bought": "purchased", "uses": "employs", "use": "employ", "used": "employed", "show": "display", "shows": "displays", "find": "discover",
    "each": "every", "every": "each", "which": "what", "what": "which", "near": "close to", "fast": "quick", "house": "home", "money": "cash",
    "total": "overall", "number": "count", "best": "finest", "most": "mostly", "likely": "probable", "because": "since", "has": "possesses",
    "have": "possess", "is": "was", "are": "were", "does": "did", "will": "would", "can": "could", "and": "as well as", "the": "this", "a": "one",
    "an": "one", "of": "from", "to": "towards", "in": "within", "on": "upon", "for": "because of", "that": "which", "with": "by", "he": "this person",
}  # fmt: skip


def question(record: Any) -> str:
    """What a page would copy of a record; nothing where it has no question."""
    if isinstance(record, dict) and "context_options" in record:
        return f"{record['context_options'][0]} {record['continuation']}"
    text = record if isinstance(record, str) else next((record[name] for name in FIELDS if isinstance(record.get(name), str)), "")
    return END.sub("", LABEL.sub("", text)).strip()


def reworded(text: str, share: float, rng: random.Random) -> str:
    """A text with so many of its words changed, one at least."""
    pieces = re.findall(r"\S+|\s+", text)
    places = [place for place, piece in enumerate(pieces) if any(map(str.isalpha, piece))]
    for place in rng.sample(places, min(len(places), max(1, round(share * len(places))))):
        word = pieces[place]
        if word.lower() in SYNONYMS:
            pieces[place] = SYNONYMS[word.lower()]
        elif place + 2 < len(pieces) and rng.random() < 0.5:
            pieces[place], pieces[place + 2] = pieces[place + 2], pieces[place]
        else:
            pieces[place] = re.sub(r"(\w+)", lambda found: found[1][:-1] if found[1].endswith("s") else found[1] + "s", word, count=1)
    return "".join(pieces)


def repunctuated(text: str, rng: random.Random) -> str:
    """The words of a text in another case, with other marks between them."""
    words = re.findall(r"[^\s!-/:-@\[-^`{-~\u2000-\u206f]+", text.replace("'", rng.choice(("'", ""))))
    case = rng.choice((str.upper, str.lower, str.title))
    return "".join(case(word) + rng.choice((" ", " ", " ", " ", "  ", "\n", ", ", " - ")) for word in words)


def planted(document: str, text: str, kind: str, rng: random.Random) -> str:
    """A document with a question in it."""
    if kind == "punctuation":
        text = repunctuated(text, rng)
    elif kind.startswith("1 word"):
        text = reworded(text, 1 / int(kind.rsplit(" ", 1)[1]), rng)
    if kind == "embedded":
        blanks = [place.start() for place in re.finditer(" ", document)] or [len(document)]
        place = rng.choice(blanks)
        return f"{document[:place]} {text} {document[place + 1 :]}"
    paragraphs = document.split("\n\n")
    paragraphs.insert(rng.randrange(len(paragraphs) + 1), text)
    return "\n\n".join(paragraphs)


def clean_documents(folder: Path) -> Iterator[tuple[str, str]]:
    """(file, text) of the pretraining files."""
    for path in sorted(folder.glob("*.jsonl.zst")):
        with pa.input_stream(str(path)) as stream:
            for line in stream.read().decode().split("\n"):
                if line.strip():
                    yield from ((path.name, part) for part in cut([json.loads(line)["text"]], DOCUMENT))
    for path in sorted(folder.glob("*/*.txt")):
        yield from ((path.name, part) for part in cut([path.read_text(encoding="utf-8")], DOCUMENT))


def row(number: int, text: str, source: str = "") -> dict[str, Any]:
    return {"id": str(number), "whole": str(number), "text": text, "source": source, "url": source, "split": "train"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--each", type=int, default=50, help="questions of each evaluation file")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    rng = random.Random(0)
    settings = Decontaminate(files=[str(options.data / "eval")])
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        tests = AllTests(settings, Path(folder))
        tests.finish()
        indexed = time.perf_counter() - began
        pool, screened, size, seconds, flagged = [], 0, 0, 0.0, []
        documents = (row(number, text, name) for number, (name, text) in enumerate(clean_documents(options.data / "pretrain")))
        for batch in lots(documents, BATCH_BYTES):
            began = time.perf_counter()
            found = tests.find(batch)
            seconds += time.perf_counter() - began
            for one, places in zip(batch, found, strict=True):
                screened += 1
                size += len(one["text"].encode())
                if places and places[0]["hit"]:
                    test, text = tests.about(places[0])
                    around = one["text"].encode()[places[0]["begin"] : places[0]["end"]].decode("utf-8", "ignore")
                    flagged.append({"document": one["source"], "test": f"{test['file']}, record {test.get('record')}", "asked": text[:150], "stands": around[:150]})
                elif rng.random() < 0.05 and len(one["text"]) > 500:
                    pool.append(one["text"])
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        table: dict[str, Counter[str]] = defaultdict(Counter)
        missed: list[tuple[str, str, str]] = []
        for name, path in evaluation_files(settings.files):
            name = "eval/mmlu_dev/*" if "mmlu_dev" in name else name
            if "meta_data" in name:
                continue
            asked = list(dict.fromkeys(text for record in records_of(path) if (text := question(record))))
            chosen = rng.sample(asked, min(options.each, len(asked)))
            for kind in KINDS:
                rows = [row(number, planted(rng.choice(pool), text, kind, rng)) for number, text in enumerate(chosen)]
                for text, places in zip(chosen, tests.find(rows), strict=True):
                    hit = bool(places and places[0]["hit"])
                    words = count(text)
                    for group in (name, "all", "of 13 words or more" if words >= 13 else "of 8 to 12 words" if words >= 8 else "of 5 to 7 words" if words >= 5 else "of fewer than 5 words"):
                        table[group]["planted"] += kind == KINDS[0]
                        table[group][kind] += hit
                    if not hit and kind in KINDS[:3]:
                        missed.append((name, kind, text[:150]))
    result = {
        "each": options.each, "table": {name: dict(counts) for name, counts in table.items()}, "missed_near_verbatim": missed,
        "clean_documents": screened, "flagged_documents": len(flagged), "flagged_per_10000": round(1e4 * len(flagged) / screened, 2), "flagged": flagged,
        "test_words": len(tests._short.words), "pieces": len(tests._pieces), "index_seconds": round(indexed, 1),
        "index_bytes_per_word": round((tests._short.words.nbytes + tests._short._owner.nbytes + tests._short._seeds.value.nbytes + tests._short._seeds.place.nbytes + tests._short._seeds._there.nbytes) / len(tests._short.words), 1),
        "megabytes": round(size / 1e6, 1), "megabytes_per_second": round(size / 1e6 / seconds, 1), "peak_memory_mib": round(memory),
    }  # fmt: skip
    if options.json:
        print(json.dumps(result, ensure_ascii=False))
        return
    width = max(map(len, table))
    print(f"{'':{width}} planted " + " ".join(f"{kind:>12}" for kind in KINDS))
    for name, counts in table.items():
        print(f"{name:{width}} {counts['planted']:7,} " + " ".join(f"{counts[kind]:12,}" for kind in KINDS))
    for one in missed:
        print("missed:", *map(repr, one))
    print(f"\nclean documents: {screened:,}, flagged {len(flagged)} ({result['flagged_per_10000']} in 10,000):")
    for one in flagged:
        print(f"  {one['document']}: {one['stands']!r} beside {one['test']}: {one['asked']!r}")
    print(f"index: {result['pieces']:,} pieces, {result['test_words']:,} words, {indexed:.0f} s, {result['index_bytes_per_word']} bytes a word; "
          f"{result['megabytes']} MB screened at {result['megabytes_per_second']} MB/s, one process; peak memory {result['peak_memory_mib']:,} MiB", file=sys.stdout)  # fmt: skip


if __name__ == "__main__":
    main()
