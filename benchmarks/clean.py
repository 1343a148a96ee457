"""WARC to clean text with the rules of Gopher, C4 and FineWeb, beside datatrove: speed, and whether decisions are the same.

    python benchmarks/clean.py --peers PYTHON [--data ../shared/data] [--workers 2] [--rounds 1] [--json]

PYTHON is an interpreter with datatrove 0.10.1 (processing, io, multilingual), trafilatura and spaCy; it runs
`clean_peer.py`. The pages are trafilatura's 1,032 evaluation pages (149 MB of HTML), written once as one WARC file a worker:

    datatrove    WarcReader -> Trafilatura -> Gopher repetition -> Gopher quality -> C4 -> FineWeb -> JsonlWriter, gzip
    groundup     `groundup clean` with the four rules on, HTML to text by its own step, Parquet at the end
    decisions    each rule, and all four in a row, given the same text: what datatrove's Trafilatura found on those pages, and
                 documents of every source in pretrain/ (80 of each)

Both are timed as commands are: processes started, models loaded. Rounds are taken in turn; the medians count.
"""

from __future__ import annotations

import argparse
import io
import json
import random
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

RULES = ("gopher_repetition", "gopher_quality", "c4", "fineweb")
DATE = "2026-01-01T00:00:00Z"
MIXED = ("web_samples", "openstax", "nltk_mix", "gov_posts_recipes_manuals", "debian_docs_text", "fortunes")
OF_EACH, LONGEST = 80, 100_000  # documents of one source; characters


def unpacked(path: Path) -> bytes:
    """A zstd file's content."""
    import pyarrow as pa

    with pa.OSFile(str(path)) as raw, pa.CompressedInputStream(raw, "zstd") as stream:
        return bytes(stream.read())


def write_warcs(data: Path, into: Path, files: int) -> tuple[int, int]:
    """The evaluation pages as WARC files, page by page in turn; how many, and the bytes of HTML."""
    from groundup.corpus.sources import warc

    into.mkdir()
    with tarfile.open(fileobj=io.BytesIO(unpacked(data / "web/extract_trafilatura_eval.tar.zst"))) as tar:
        members = sorted((member for member in tar if member.name.endswith(".html")), key=lambda member: member.name)
        pages = [tar.extractfile(member).read() for member in members]
        listed = json.loads(tar.extractfile("evaldata.json").read())
    addresses = {entry["file"]: address for address, entry in listed.items()}
    for file in range(files):
        with (into / f"pages-{file}.warc.gz").open("wb") as stream:
            stream.write(warc.info("groundup benchmark", DATE))
            for number in range(file, len(pages), files):
                address = addresses.get(members[number].name.rpartition("/")[2], f"http://page.example/{number}")
                stream.write(warc.response(address, DATE, "text/html", pages[number], truncated=False))
    return len(pages), sum(map(len, pages))


def mixed(data: Path, out: Path) -> None:
    """Documents of every source of the pretraining texts, drawn with a fixed seed."""
    draw = random.Random(1)
    with out.open("w", encoding="utf-8") as stream:
        for name in MIXED:
            by_source: dict[str, list[str]] = defaultdict(list)
            for line in unpacked(data / f"pretrain/{name}.jsonl.zst").decode().split("\n"):
                if line:
                    row = json.loads(line)
                    by_source[row.get("source", "")].append(row["text"])
            for texts in by_source.values():
                draw.shuffle(texts)
                for text in texts[:OF_EACH]:
                    if len(text) < LONGEST:
                        stream.write(json.dumps({"text": text}) + "\n")


def peer(python: Path, **settings: Any) -> dict[str, Any]:
    """Let the peer's interpreter do one thing."""
    script = Path(__file__).with_name("clean_peer.py")
    done = subprocess.run([str(python), str(script), json.dumps(settings)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"the peer failed:\n{done.stderr[-3000:]}")
    result: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return result


def ours(warcs: Path, pages: int, scratch: Path) -> dict[str, Any]:
    """`groundup clean` on the same files with the same steps and no others; seconds of the whole command and of the stage."""
    off = {step: {"on": False} for step in ("unicode", "language", "length")}
    recipe = {
        "name": "clean-benchmark", "sources": [{"kind": "files", "path": str(warcs)}],
        "clean": {**off, **{rule: {"on": True} for rule in RULES}, "duplicates": {"documents": False}},
    }  # fmt: skip
    (scratch / "recipe.yaml").write_text(json.dumps(recipe))  # JSON is YAML
    command = [sys.executable, "-m", "groundup.cli", "clean", str(scratch / "recipe.yaml"), "--runs", str(scratch / "runs"), "--json"]
    began = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - began
    if done.returncode:
        raise SystemExit(f"groundup clean failed:\n{done.stderr[-3000:]}")
    manifest = json.loads((scratch / "runs/clean-benchmark/corpus/clean/manifest.json").read_text())
    return {
        "documents_per_second": pages / seconds, "stage_documents_per_second": pages / manifest["seconds"],
        "seconds_by_step": manifest["counts"]["seconds_by_step"],
    }  # fmt: skip


def decisions(texts: Path, theirs: Path) -> dict[str, Any]:
    """Shares of documents that both keep, or both drop: for each rule, and for all four in a row; our time for a document."""
    from groundup.corpus.steps import Seen
    from groundup.corpus.steps.c4 import C4
    from groundup.corpus.steps.fineweb import FineWeb
    from groundup.corpus.steps.gopher import Quality, Repetition
    from groundup.recipe.cleaning import quality

    steps = dict(
        zip(
            RULES,
            [Repetition(quality.GopherRepetition()), Quality(quality.GopherQuality()), C4(quality.C4()), FineWeb(quality.FineWeb())],
            strict=True,
        )
    )
    same = dict.fromkeys([*RULES, "chain", "c4_text"], 0)
    count = kept = both = 0
    seconds = 0.0
    with texts.open(encoding="utf-8") as ours, theirs.open(encoding="utf-8") as others:
        for line, other in zip(ours, others, strict=True):
            text, said = json.loads(line)["text"], json.loads(other)
            count += 1
            began = time.perf_counter()
            flowing, dropped = text, None
            for rule in RULES:
                verdict = steps[rule]._judge(Seen(flowing))
                flowing, dropped = verdict.text, verdict.reason
                if dropped is not None:
                    break
            seconds += time.perf_counter() - began
            same["chain"] += (dropped is None) == (said["chain"] is None)
            kept += dropped is None
            for rule in RULES:
                verdict = steps[rule]._judge(Seen(text))
                same[rule] += (verdict.reason is None) == (said[rule] is None)
                if rule == "c4" and verdict.reason is said[rule] is None:
                    both += 1
                    same["c4_text"] += verdict.text == said["c4_text"]
    shares = {name: found / (both if name == "c4_text" else count) for name, found in same.items()}
    return {"documents": count, "kept": kept, "milliseconds_per_document": 1000 * seconds / count, "same": shares}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", type=Path, help="interpreter with datatrove; left out where not given")
    parser.add_argument("--data", type=Path, default=Path(__file__).resolve().parents[2] / "shared/data")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=1)
    part = parser.add_mutually_exclusive_group()
    part.add_argument("--decisions-only", action="store_true", help="no timing of whole pipelines")
    part.add_argument("--speed-only", action="store_true", help="no decisions, which take datatrove some minutes")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    result: dict[str, Any] = {"workers": arguments.workers}
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        warcs = scratch / "warc"
        pages, size = write_warcs(arguments.data, warcs, arguments.workers)
        result |= {"pages": pages, "html_bytes": size}
        if not arguments.decisions_only:
            times: dict[str, list[float]] = {"groundup": [], "stage": [], "datatrove": []}
            for number in range(arguments.rounds):
                place = scratch / f"round-{number}"
                place.mkdir()
                found = ours(warcs, pages, place)
                times["groundup"].append(found["documents_per_second"])
                times["stage"].append(found["stage_documents_per_second"])
                result["seconds_by_step"] = found["seconds_by_step"]
                if arguments.peers:
                    found = peer(arguments.peers, what="pipeline", warc=str(warcs), out=str(place / "datatrove"), workers=arguments.workers)
                    times["datatrove"].append(pages / found["seconds"])
                    result |= {"datatrove_read": found["read"], "datatrove_kept": found["kept"]}
            result["documents_per_second"] = statistics.median(times["groundup"])
            result["stage_documents_per_second"] = statistics.median(times["stage"])
            if arguments.peers:
                result["datatrove_documents_per_second"] = statistics.median(times["datatrove"])
                result["ratio_to_datatrove"] = result["documents_per_second"] / result["datatrove_documents_per_second"]
        if arguments.peers and not arguments.speed_only:
            peer(arguments.peers, what="extract", warc=str(warcs), out=str(scratch / "pages.jsonl"))
            mixed(arguments.data, scratch / "mixed.jsonl")
            result["decisions"] = {}
            for texts in ("pages", "mixed"):
                source, target = scratch / f"{texts}.jsonl", scratch / f"{texts}.decisions.jsonl"
                timed = peer(arguments.peers, what="decide", texts=str(source), out=str(target))
                found = decisions(source, target)
                theirs = 1000 * timed["chain_seconds"] / found["documents"]
                result["decisions"][texts] = {**found, "datatrove_milliseconds_per_document": theirs}
            result["same_decisions"] = min(found["same"]["chain"] for found in result["decisions"].values())
    if arguments.json:
        print(json.dumps(result))
        return
    for key, value in result.items():
        if key not in ("decisions", "seconds_by_step"):
            print(f"{key:34} {value:,.4g}" if isinstance(value, float) else f"{key:34} {value:,}")
    for texts, found in result.get("decisions", {}).items():
        shares = "  ".join(f"{rule} {share:.4f}" for rule, share in found["same"].items())
        print(f"{texts}: {found['documents']:,} documents, {found['kept']:,} kept; same: {shares}")
        print(f"    four rules in a row: {found['milliseconds_per_document']:.2f} ms a document, datatrove {found['datatrove_milliseconds_per_document']:.2f}")


if __name__ == "__main__":
    main()
