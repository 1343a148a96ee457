"""Near duplicates beside datatrove's four MinHash stages: speed, memory, and whether both find the same; repeated passages.

    python benchmarks/dedup.py --peers PYTHON [--data ../shared/data] [--documents 100000] [--rounds 1] [--json]
    python benchmarks/dedup.py --ours-only --documents 1000000 [--words 60 200] [--json]
    python benchmarks/dedup.py --substring [100] [--json]

PYTHON is an interpreter with datatrove 0.10.1 (processing, io), spaCy and xxhash; it runs `dedup_peer.py`. The documents are made by
`dedup_corpus.py`: originals of 300 to 1,000 words of the pretraining texts' paragraphs and 30 % copies of them, edited in
15 ways, all of one source, written before the clock starts: Parquet for ours, plain JSON lines for datatrove.

    groundup     dedup/passes.py with the recipe's defaults (14 x 8, 5 words), survivors counted and written as Parquet (zstd)
    datatrove    signature, buckets, cluster, filter with FineWeb's parameters and two workers, survivors written as JSON lines

Both are timed as commands are: processes started, modules loaded. Memory is the sum of the resident sizes of a command's
processes, looked at every 50 ms (pages that two of them share count twice). Rounds are taken in turn; the medians count.

Found is what is known: pairs of a copy and its original, by their true Jaccard similarity of word 5-grams (plain sets of words).
Two documents are found to be alike where they end in one cluster; two of different originals never should.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from dedup_corpus import COPIES, EDITS, Plan, write
from numpy.typing import NDArray

EDGES = (0, 0.5, 0.6, 0.7, 0.8, 0.9, 1)  # bands of similarity; what is wholly equal is a band of its own
INTERVAL = 0.05  # seconds between two looks at memory
LOOKS = 10  # after so many looks a command's processes are listed anew


# --- ours, in a process of its own --------------------------------------------------------------------------------------


def removed(settings: dict[str, Any]) -> dict[str, Any]:
    """Near copies, or passages, taken out of all shards as the clean stage does it."""
    from groundup.corpus import engine
    from groundup.corpus.dedup import passes
    from groundup.corpus.funnel import Tally
    from groundup.corpus.pipeline import batches
    from groundup.recipe import Clean

    shards, work = sorted(Path(settings["shards"]).glob("*.parquet")), Path(settings["work"])
    (work / "way").mkdir(parents=True)
    (work / "kept").mkdir()
    seconds: dict[str, float] = {}
    kind = {"near": passes.NearCopies, "passages": passes.Passages}[settings["what"]]
    began = time.perf_counter()
    one = kind(work / "way", len(shards), Clean(), {settings["source"]: settings["source"]})
    for number, path in enumerate(shards):
        one.look(number, path)
    seconds["keys"] = time.perf_counter() - began
    on_disk = disk(work / "way")
    one.decide()
    seconds["deciding"] = time.perf_counter() - began - seconds["keys"]
    on_disk = max(on_disk, disk(work / "way"))
    tally = Tally(one.step)
    for number, path in enumerate(shards):
        rows = one.left(number, path, tally, [])
        engine.write(work / "kept" / path.name, batches(rows, passes.RANKED_SCHEMA), passes.RANKED_SCHEMA)
    seconds["writing what is left"] = time.perf_counter() - began - sum(seconds.values())
    if settings["what"] == "near":
        np.save(work / "clusters.npy", one._cluster)
    return {
        "seconds_by_phase": seconds, "survivors": tally.documents_out, "disk_bytes": on_disk, "documents_cut": tally.changed,
        "bytes_cut": tally.bytes_in - tally.bytes_out,
    }  # fmt: skip


def disk(folder: Path) -> int:
    """Bytes of the files below."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


# --- watching a command -------------------------------------------------------------------------------------------------


def measured(command: list[str], errors: Path) -> dict[str, Any]:
    """A command's JSON, its seconds, those of its processes on a core, and the peak of their memory together."""
    peak, cpu = 0, dict[int, float]()
    began = time.perf_counter()
    output = errors.with_name("output")  # a pipe would fill while only memory is looked at
    with errors.open("w") as stderr, output.open("w") as stdout, subprocess.Popen(command, stdout=stdout, stderr=stderr) as process:
        root, tree, look = psutil.Process(process.pid), [], 0
        while process.poll() is None:
            if look % LOOKS == 0:
                tree = family(root)
            now = [used for each in tree if (used := usage(each))]
            cpu |= {number: seconds for number, seconds, _ in now}
            peak, look = max(peak, sum(resident for _, _, resident in now)), look + 1
            time.sleep(INTERVAL)
        seconds = time.perf_counter() - began
    if process.returncode:
        raise SystemExit(f"{command[1]} failed:\n{errors.read_text()[-3000:]}")
    return {**json.loads(output.read_text().splitlines()[-1]), "seconds": seconds, "cpu_seconds": sum(cpu.values()), "peak_memory_gib": peak / 2**30}


def family(root: psutil.Process) -> list[psutil.Process]:
    """A process and all that descend from it."""
    try:
        return [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def usage(process: psutil.Process) -> tuple[int, float, int] | None:
    """A process's number, its seconds on a core and bytes of memory; None where it has ended."""
    try:
        times = process.cpu_times()
        return process.pid, times.user + times.system, process.memory_info().rss
    except psutil.NoSuchProcess:
        return None


# --- what was found -----------------------------------------------------------------------------------------------------


def their_clusters(named: dict[str, list[list[int]]], sizes: list[int], workers: int) -> NDArray[np.int64]:
    """For each document the least number in its cluster; datatrove's task r reads files r, r + workers, ..."""
    starts = np.concatenate([[0], np.cumsum(sizes)])
    label = np.arange(starts[-1])
    number, cluster = [], []
    for rank, pairs in named.items():
        its = np.concatenate([np.arange(starts[file], starts[file + 1]) for file in range(int(rank), len(sizes), workers)])
        row, name = np.array(pairs, np.int64).reshape(-1, 2).T
        number.append(its[row])
        cluster.append(name)
    if number:
        numbers, clusters = np.concatenate(number), np.concatenate(cluster)
        least = np.full(int(clusters.max()) + 1, len(label))
        np.minimum.at(least, clusters, numbers)
        label[numbers] = least[clusters]
    return label


def scores(label: NDArray[np.int64], its: Plan, similarity: NDArray[np.float64]) -> dict[str, Any]:
    """Recall and precision of clusters on the known pairs."""
    copies = np.flatnonzero(~np.isnan(similarity))
    together = label[copies] == label[its.first[its.group[copies]]]
    true = similarity[copies]
    bands: dict[str, Any] = {}
    for low, high in zip(EDGES, (*EDGES[1:], 2), strict=True):
        inside = (true >= low) & (true < high)
        name = f"{low:g} to {high:g}" if low < 1 else "1"
        bands[name] = {"pairs": int(inside.sum()), "found": share(together[inside]), "formula": share(chance(true[inside]))}
    removed = np.flatnonzero(label != np.arange(len(label)))
    strangers = its.group[removed] != its.group[label[removed]]
    return {
        "recall_at_0.7": share(together[true >= 0.7]), "precision_at_0.7": share(true[together] >= 0.7),
        "recall_at_0.8": share(together[true >= 0.8]), "precision_at_0.5": share(true[together] >= 0.5),
        "by_similarity": bands, "removed": len(removed), "removed_for_a_stranger": int(strangers.sum()),
        "found_by_edit": {name: share(together[its.edit[copies] == number]) for number, name in enumerate(EDITS)},
    }  # fmt: skip


def chance(similarity: NDArray[np.float64], bands: int = 14, rows: int = 8) -> NDArray[np.float64]:
    """How often a pair shares a band; through others of its cluster it may be found more often."""
    return 1 - (1 - similarity**rows) ** bands


def share(of: NDArray[Any]) -> float | None:
    """The mean; None of nothing."""
    return round(float(of.mean()), 4) if len(of) else None


def agreement(one: NDArray[np.int64], other: NDArray[np.int64]) -> dict[str, float]:
    """Shares of documents of which both say that they are alone or not, and that are in clusters of the same documents."""
    size, their = (np.bincount(label, minlength=len(label))[label] for label in (one, other))
    _, place, both = np.unique(one * len(one) + other, return_inverse=True, return_counts=True)
    return {
        "agreement": float(((size > 1) == (their > 1)).mean()),
        "agreement_same_cluster": float(((size == both[place]) & (their == both[place])).mean()),
    }


# --- the command --------------------------------------------------------------------------------------------------------


def compared(arguments: argparse.Namespace, place: Path) -> dict[str, Any]:
    """Both in turn, then what they found."""
    began = time.perf_counter()
    shards = max(2 * arguments.workers, -(-arguments.documents // arguments.shard))
    corpus, its, similarity = write(
        arguments.data / "pretrain", place, arguments.documents, arguments.seed, tuple(arguments.words), shards, lines=not arguments.ours_only
    )
    result: dict[str, Any] = {**corpus, "copies": COPIES, "shards": shards, "parquet_bytes": disk(place / "parquet")}
    result["making_seconds"] = time.perf_counter() - began
    sizes = [len(part) for part in np.array_split(np.arange(arguments.documents), shards)]
    runs: dict[str, list[dict[str, Any]]] = {"groundup": [], "datatrove": []}
    for number in range(arguments.rounds):
        work = place / f"ours-{number}"
        settings = {"what": "near", "shards": str(place / "parquet"), "work": str(work), "source": "web"}
        one = measured([sys.executable, __file__, "--child", json.dumps(settings)], place / "errors")
        runs["groundup"].append(one)
        print(f"groundup, round {number}: {one}", file=sys.stderr)
        if not arguments.ours_only:
            settings = {"what": "near", "lines": str(place / "lines"), "out": str(place / f"theirs-{number}"), "workers": arguments.workers}
            script = str(Path(__file__).with_name("dedup_peer.py"))
            one = measured([str(arguments.peers), script, json.dumps(settings)], place / "errors")
            runs["datatrove"].append(one)
            print(f"datatrove, round {number}: {one}", file=sys.stderr)
    for name, its_runs in runs.items():
        if its_runs:
            seconds = statistics.median(one["seconds"] for one in its_runs)
            result[name] = {
                "documents_per_second": arguments.documents / seconds, "seconds": [round(one["seconds"], 2) for one in its_runs],
                "cpu_seconds": statistics.median(one["cpu_seconds"] for one in its_runs),
                "peak_memory_gib": max(one["peak_memory_gib"] for one in its_runs), "survivors": its_runs[0]["survivors"],
                "disk_bytes_per_document": its_runs[0]["disk_bytes"] / arguments.documents, "seconds_by_phase": its_runs[-1]["seconds_by_phase"],
            }  # fmt: skip
    ours = np.load(place / "ours-0/clusters.npy")
    result["groundup"] |= scores(ours, its, similarity)
    if not arguments.ours_only:
        named = measured([str(arguments.peers), script, json.dumps({**settings, "what": "clusters"})], place / "errors")["clusters"]
        theirs = their_clusters(named, sizes, arguments.workers)
        result["datatrove"] |= scores(theirs, its, similarity)
        result |= agreement(ours, theirs)
        result["ratio_to_datatrove"] = result["groundup"]["documents_per_second"] / result["datatrove"]["documents_per_second"]
        result["cpu_ratio_to_datatrove"] = result["datatrove"]["cpu_seconds"] / result["groundup"]["cpu_seconds"]
        result["memory_ratio_to_datatrove"] = result["groundup"]["peak_memory_gib"] / result["datatrove"]["peak_memory_gib"]
    return result


def cut(arguments: argparse.Namespace, place: Path) -> dict[str, Any]:
    """Repeated passages over so many megabytes."""
    size = int(1e6 * arguments.substring)
    documents = 2 + size // (5 * arguments.words[0])  # more than it takes
    corpus, _, _ = write(
        arguments.data / "pretrain", place, documents, arguments.seed, tuple(arguments.words),
        max(2, -(-documents // arguments.shard)), lines=False, until_bytes=size, truths=0,
    )  # fmt: skip
    settings = {"what": "passages", "shards": str(place / "parquet"), "work": str(place / "ours"), "source": "web"}
    found = measured([sys.executable, __file__, "--child", json.dumps(settings)], place / "errors")
    return {**corpus, **found, "mb_per_second": corpus["text_mb"] / found["seconds"], "disk_bytes_per_byte": found["disk_bytes"] / (1e6 * corpus["text_mb"])}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", type=Path, help="interpreter with datatrove")
    parser.add_argument("--data", type=Path, default=Path(__file__).resolve().parents[2] / "shared/data")
    parser.add_argument("--documents", type=int, default=100_000)
    parser.add_argument("--words", type=int, nargs=2, default=(300, 1000), help="shortest and longest original")
    parser.add_argument("--shard", type=int, default=12_500, help="documents in a shard, at most")
    parser.add_argument("--workers", type=int, default=2, help="datatrove's tasks and workers")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--ours-only", action="store_true")
    parser.add_argument("--substring", type=float, nargs="?", const=100.0, metavar="MB", help="repeated passages over so much text, nothing else")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        settings = json.loads(arguments.child)
        print(json.dumps(removed(settings)))
        return
    if arguments.peers is None and not arguments.ours_only and arguments.substring is None:
        parser.error("--peers is missing; or give --ours-only")
    with tempfile.TemporaryDirectory() as name:
        result = cut(arguments, Path(name)) if arguments.substring is not None else compared(arguments, Path(name))
    if arguments.json:
        print(json.dumps(result))
        return
    for key, value in result.items():
        if isinstance(value, dict) and "by_similarity" in value:
            print(f"\n{key}")
            for inner, each in value.items():
                if inner not in ("by_similarity", "found_by_edit"):
                    print(f"    {inner:30} {shown(each)}")
            print("    found by similarity            " + "  ".join(f"{band}: {its['found']} (formula {its['formula']}) of {its['pairs']:,}" for band, its in value["by_similarity"].items()))
            print("    found by edit                  " + "  ".join(f"{edit}: {its}" for edit, its in value["found_by_edit"].items()))
        else:
            print(f"{key:34} {shown(value)}")


def shown(value: Any) -> str:
    """A figure, or several, in a line."""
    if isinstance(value, dict):
        return "  ".join(f"{key}: {each:,.4g}" for key, each in value.items())
    return f"{value:,.4g}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)


if __name__ == "__main__":
    main()
