"""Damaged input through `groundup clean`: WARC members, HTML pages and JSON lines, each changed at random.

    python benchmarks/fuzz_clean.py --data ../shared/data/web [--count 10000] [--seed 1] [--json]

Each mutant is a file of its own, so every one must be found again: as documents, among the skipped, or in a note; and of the
documents every one is kept or dropped for a reason. Nothing may crash, and no document may reach the time limit. The seeds are real
pages and archives of `--data`, or pages made here where that is absent.
"""

from __future__ import annotations

import argparse
import gzip
import io
import json
import random
import subprocess
import sys
import tarfile
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import yaml
from pyarrow import parquet

from groundup.corpus.sources import warc
from groundup.run import digest

LARGEST = 150_000  # bytes of a seed: many mutants rather than large ones
MOST_DOCUMENTS = 300  # of one mutant: the archives among the seeds hold fewer
DATE = "2026-01-01T00:00:00Z"
TOKENS = [
    b"<", b">", b"</", b"&", b"&#", b"&#x110000;", b"]]>", b"<!--", b"--", b"<![CDATA[", b'"', b"'", b"\0", b"\xff\xfe", b"\xef\xbf\xbe", b"\r\n\r\n", b"\n", b"{",
    b"}", b"[", b"\\u", b"\\ud800", b"<script>", b"<pre>", b"<table><tr><td>", b"<dl><dt><dd>", b"<a href=", b"<svg>", b"<template>", b"<plaintext>", b"WARC/1.0",
    b"Content-Length: 999999999", b"Content-Length: -1", b"Transfer-Encoding: chunked", b"HTTP/1.1 200 OK", b"<meta charset=utf-7>", b"\x1f\x8b\x08", b"1e999",
]  # fmt: skip

Mutate = Callable[[random.Random, bytearray, bytes], bytearray]


def flip(draw: random.Random, data: bytearray, _: bytes) -> bytearray:
    for _unused in range(draw.choice((1, 1, 4, 40))):
        data[draw.randrange(len(data))] = draw.randrange(256)
    return data


def cut_out(draw: random.Random, data: bytearray, _: bytes) -> bytearray:
    start = draw.randrange(len(data))
    del data[start : start + int(draw.expovariate(1 / 200)) + 1]
    return data


def truncate(draw: random.Random, data: bytearray, _: bytes) -> bytearray:
    return data[: draw.randrange(1, len(data) + 1)]


def repeat(draw: random.Random, data: bytearray, _: bytes) -> bytearray:
    start = draw.randrange(len(data))
    piece = data[start : start + draw.randrange(1, 200)]
    data[start:start] = piece * draw.choice((2, 10, 1000))
    return data


def splice(draw: random.Random, data: bytearray, other: bytes) -> bytearray:
    start, size = draw.randrange(len(other)), draw.randrange(1, 2000)
    place = draw.randrange(len(data))
    data[place : place + draw.choice((0, size))] = other[start : start + size]
    return data


def insert(draw: random.Random, data: bytearray, _: bytes) -> bytearray:
    place = draw.randrange(len(data))
    data[place:place] = draw.choice(TOKENS) * draw.choice((1, 1, 2, 50, 3000))
    return data


MUTATIONS: list[Mutate] = [flip, cut_out, truncate, repeat, splice, insert]


def mutant(draw: random.Random, seeds: list[bytes]) -> bytes:
    data = bytearray(draw.choice(seeds))
    for _ in range(draw.choice((1, 1, 2, 3, 8))):
        data = draw.choice(MUTATIONS)(draw, data or bytearray(b" "), draw.choice(seeds))
    return bytes(data)


def pages(folder: Path | None) -> list[bytes]:
    """HTML to begin with."""
    found = [
        b"<!DOCTYPE html><html lang=en><head><title>T</title></head><body><h1>A page</h1><ul><li>one<li>two</ul><table><tr><th>a<td>b</table>"
        b"<pre>code</pre><p>" + b"Some words that stand in a paragraph. " * 20 + b"<dl><dt>term<dd>meaning</dl></body></html>"
    ]
    archive = folder / "extract_readability_pages.tar.zst" if folder else None
    if archive is not None and archive.exists():
        with pa.OSFile(str(archive)) as raw, pa.CompressedInputStream(raw, "zstd") as stream:
            unpacked = io.BytesIO(stream.read())
        with tarfile.open(fileobj=unpacked) as tar:
            for member in tar:
                if member.name.endswith(".html") and 0 < member.size <= LARGEST:
                    file = tar.extractfile(member)
                    assert file is not None
                    found.append(file.read())
    return found


def members(folder: Path | None, html: list[bytes]) -> list[bytes]:
    """WARC records, packed and plain."""
    found = [warc.response(f"http://example.org/{place}", DATE, "text/html; charset=utf-8", page, truncated=False) for place, page in enumerate(html)]
    found += [gzip.decompress(record) for record in found]
    if folder:
        found += [path.read_bytes() for path in sorted((folder / "warc").rglob("*.warc*")) if 0 < path.stat().st_size <= LARGEST]
    return found


def make(folder: Path, count: int, seed: int, data: Path | None) -> Counter[str]:
    draw = random.Random(seed)
    html = pages(data)
    lines = [json.dumps({"text": page.decode("utf-8", "replace")[:20_000], "url": "http://example.org/", "n": [1, {"a": None}]}).encode() for page in html]
    seeds = {"html": html, "warc": members(data, html), "jsonl": lines}
    made: Counter[str] = Counter()
    for number in range(count):
        kind = ("html", "warc", "jsonl")[number % 3]
        content = mutant(draw, seeds[kind])
        suffix = ".warc.gz" if kind == "warc" and content[:2] == b"\x1f\x8b" else f".{kind}"
        (folder / f"{number:05}{suffix}").write_bytes(content)
        made[kind] += 1
    return made


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--set", action="append", default=[], help="further overrides of the recipe, such as clean.c4.on=true")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as base:
        source = Path(base) / "mutants"
        source.mkdir()
        made = make(source, arguments.count, arguments.seed, arguments.data)
        recipe = Path(base) / "fuzz.yaml"
        recipe.write_text(yaml.safe_dump({"name": "fuzz", "sources": [{"kind": "files", "path": str(source)}], "clean": {"duplicates": {"documents": False}}}))
        began = time.monotonic()
        command = [sys.executable, "-m", "groundup.cli", "clean", str(recipe), *arguments.set, "--runs", base, "--json"]
        done = subprocess.run(command, stdout=subprocess.PIPE, check=False)
        seconds = time.monotonic() - began
        if done.returncode:
            sys.exit(f"`groundup clean` ended with {done.returncode}")
        funnel = json.loads((Path(base) / "fuzz" / "corpus" / "clean" / "funnel.json").read_text())
        told = {entry["name"].partition(": ")[0] for entry in [*funnel["skipped"], *funnel["notes"]]}
        whole: set[str] = set()
        for path in (Path(base) / "fuzz" / "corpus" / "steps").glob("documents-*/*.parquet"):
            whole |= set(parquet.read_table(path, columns=["whole"])["whole"].to_pylist())
        lost = [
            path.name for path in sorted(source.iterdir())
            if path.name not in told and not any(digest("files", path.name, number) in whole for number in range(MOST_DOCUMENTS))
        ]  # fmt: skip
        reasons: Counter[str] = Counter()
        unaccounted = 0
        for step in funnel["steps"]:
            reasons.update(step["reasons"])
            if step["step"] != "cut":
                unaccounted += step["documents_in"] - step["documents_out"] - sum(step["reasons"].values())
        result = {
            "mutants": sum(made.values()), **{f"mutants_{kind}": number for kind, number in made.items()}, "documents_read": funnel["inputs"]["documents"],
            "files_skipped": len({entry["name"] for entry in funnel["skipped"]}), "files_unaccounted": len(lost), "documents_unaccounted": unaccounted,
            "over_the_time_limit": reasons["over the time limit"], "crashed": reasons["crashed its worker"],
            "failed": sum(number for reason, number in reasons.items() if reason.startswith("failed")), "seconds": round(seconds, 1),
        }  # fmt: skip
    print(json.dumps(result) if arguments.json else "\n".join(f"{key}: {value}" for key, value in result.items()))
    if lost:
        print("not found again: " + ", ".join(lost[:20]), file=sys.stderr)
    sys.exit(1 if lost or unaccounted or result["crashed"] or result["over_the_time_limit"] else 0)


if __name__ == "__main__":
    main()
