"""HTML to text beside trafilatura and plain resiliparse: quality on labelled pages, and pages a second on one core.

    python benchmarks/extraction.py --peers .venv-peers/bin/python [--data ../shared/data/web] [--json]

Three sets, all read from `--data`:

trafilatura   990 pages with segments that must be in the text and segments that must not. Counted over all segments, blank space
              made even, as trafilatura's own tests/evaluate.py does: precision, recall, F1. The thresholds of ours were set on one
              random half ("set on"), so the other half ("held out") is reported apart.
readability   130 pages of Mozilla's tests with the article that Readability takes out: F1 over words, as bags, mean over pages.
goose3        pages of goose3's tests whose record has `cleaned_text`: the same. Nothing was set on these two sets.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import subprocess
import sys
import tarfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
from resiliparse.extract.html2text import extract_plain_text
from resiliparse.parse.encoding import bytes_to_str, detect_encoding

from groundup.corpus.steps.html import to_text

PEER = """
import json, sys, time
import trafilatura
taken, texts = 0.0, []
for line in sys.stdin:
    html = json.loads(line)
    start = time.process_time()
    try:
        text = trafilatura.extract(html, include_comments=False, include_tables=True, include_formatting=False) or ""
    except Exception:
        text = ""
    taken += time.process_time() - start
    texts.append(text)
try:
    from importlib.metadata import version
    name = version("trafilatura")
except Exception:
    name = ""
json.dump({"texts": texts, "seconds": taken, "version": name}, sys.stdout)
"""
Scorer = Callable[[list[str]], dict[str, dict[str, float]]]


def members(path: Path) -> dict[str, bytes]:
    """The files of a .tar.zst by their name in it."""
    with tarfile.open(fileobj=pa.CompressedInputStream(pa.OSFile(str(path)), "zstd"), mode="r|") as archive:
        return {member.name: file.read() for member in archive if member.isfile() and (file := archive.extractfile(member))}


def decode(data: bytes) -> str:
    """A page's text: UTF-8, else what resiliparse finds."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return bytes_to_str(data, detect_encoding(data))


def segments(data: Path) -> tuple[list[str], Scorer]:
    """trafilatura's evaluation pages."""
    files = {name.rsplit("/", 1)[-1]: content for name, content in members(data / "extract_trafilatura_eval.tar.zst").items()}
    entries = [entry for entry in json.loads(files["evaldata.json"]).values() if entry["file"] in files]
    order = list(range(len(entries)))
    random.Random(8).shuffle(order)
    set_on = set(order[: len(order) // 2])

    def score(texts: list[str]) -> dict[str, dict[str, float]]:
        result = {}
        for name, chosen in (("all", set(order)), ("set on", set_on), ("held out", set(order) - set_on)):
            true = false = missed = 0
            for index in chosen:
                text, entry = even(texts[index]), entries[index]
                hits = sum(even(segment) in text for segment in entry["with"])
                true, missed = true + hits, missed + len(entry["with"]) - hits
                false += sum(even(segment) in text for segment in entry["without"])
            result[name] = figures(true / max(1, true + false), true / max(1, true + missed))
        return result

    return [decode(files[entry["file"]]) for entry in entries], score


def readability(data: Path) -> tuple[list[str], Scorer]:
    """Mozilla's test pages."""
    files = members(data / "extract_readability_pages.tar.zst")
    names = sorted(name for name in files if name.endswith("/source.html"))
    expected = [extract_plain_text(decode(files[name.replace("source.html", "expected.html")]), alt_texts=False) for name in names]
    return [decode(files[name]) for name in names], bags(expected)


def goose(data: Path) -> tuple[list[str], Scorer]:
    """goose3's test pages."""
    files = members(data / "extract_goose3_tests.tar.zst")
    pages, expected = [], []
    for name in sorted(files):
        if name.endswith(".json") and name.replace(".json", ".html") in files:
            record = json.loads(decode(files[name]))
            wanted = record.get("expected", record) if isinstance(record, dict) else {}
            if isinstance(wanted, dict) and (text := wanted.get("cleaned_text")):
                pages.append(decode(files[name.replace(".json", ".html")]))
                expected.append(text)
    return pages, bags(expected)


def bags(expected: list[str]) -> Scorer:
    """Words of a text against those expected, counted as bags; the mean over pages."""
    wanted = [Counter(re.findall(r"\w+", text)) for text in expected]

    def score(texts: list[str]) -> dict[str, dict[str, float]]:
        precisions, recalls, f1 = 0.0, 0.0, 0.0
        for text, want in zip(texts, wanted, strict=True):
            have = Counter(re.findall(r"\w+", text))
            common = (have & want).total()
            precision, recall = common / max(1, have.total()), common / max(1, want.total())
            precisions, recalls = precisions + precision, recalls + recall
            f1 += 2 * precision * recall / max(1e-9, precision + recall)
        count = len(wanted)
        return {"all": {"precision": precisions / count, "recall": recalls / count, "f1": f1 / count}}

    return score


def even(text: str) -> str:
    """Blank space as single spaces."""
    return " ".join(text.split())


def figures(precision: float, recall: float) -> dict[str, float]:
    """With F1."""
    return {"precision": precision, "recall": recall, "f1": 2 * precision * recall / max(1e-9, precision + recall)}


def timed(function: Callable[[str], str], pages: list[str]) -> tuple[list[str], float]:
    """The texts, and the seconds of this process."""
    start = time.process_time()
    texts = [function(page) for page in pages]
    return texts, time.process_time() - start


def main() -> None:
    """Print a row for each set and extractor."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(__file__).resolve().parents[2] / "shared/data/web")
    parser.add_argument("--peers", help="an interpreter that has trafilatura")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    rows = []
    for name, load in (("trafilatura", segments), ("readability", readability), ("goose3", goose)):
        pages, score = load(options.data)
        results = {
            "groundup": timed(lambda page: to_text(page, main_content=True), pages),
            "resiliparse main_content": timed(lambda page: str(extract_plain_text(page, main_content=True)), pages),
        }
        if options.peers:
            lines = "".join(json.dumps(page) + "\n" for page in pages)
            answer = subprocess.run([options.peers, "-c", PEER], input=lines, capture_output=True, text=True, check=True)
            peer = json.loads(answer.stdout)
            results[f"trafilatura {peer['version']}"] = peer["texts"], peer["seconds"]
        for extractor, (texts, seconds) in results.items():
            for part, values in score(texts).items():
                speed = len(pages) / seconds
                rows.append({"set": name, "part": part, "pages": len(pages), "extractor": extractor, **values, "pages_per_second": speed})
    if options.json:
        json.dump({"rows": rows}, sys.stdout)
        return
    print(f"{'set':12} {'part':9} {'extractor':26} {'precision':>9} {'recall':>7} {'F1':>7} {'pages/s, one core':>18}")
    for row in rows:
        print(f"{row['set']:12} {row['part']:9} {row['extractor']:26} {row['precision']:9.4f} {row['recall']:7.4f} {row['f1']:7.4f} {row['pages_per_second']:18.0f}")


if __name__ == "__main__":
    main()
