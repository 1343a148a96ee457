"""The datatrove side of `benchmarks/dedup.py`; run in a process of its own by an interpreter that has datatrove.

    python benchmarks/dedup_peer.py '{"what": "near", "lines": "FOLDER", "out": "FOLDER", "workers": 2}'
    python benchmarks/dedup_peer.py '{"what": "clusters", "lines": "FOLDER", "out": "FOLDER", "workers": 2}'

prints one JSON object. It imports nothing of groundup. The stages are as in datatrove's examples/minhash_deduplication.py: 14
buckets of 8 hashes over 5 words, 64 bits by xxHash (its default; FineWeb's own script has the slower SHA-1). Documents are read and
written as plain JSON lines. Its words are those of spaCy's English tokenizer, which needs no model.
"""

from __future__ import annotations

import json
import os
import struct
import sys
import time
from pathlib import Path
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"


def config() -> Any:
    """FineWeb's 14 x 8."""
    from datatrove.pipeline.dedup.minhash import MinhashConfig
    from datatrove.utils.hashing import HashConfig

    return MinhashConfig(hash_config=HashConfig(precision=64), num_buckets=14, hashes_per_bucket=8, n_grams=5)


def run(name: str, pipeline: list[Any], out: str, tasks: int, workers: int) -> float:
    """One stage; its seconds."""
    from datatrove.executor.local import LocalPipelineExecutor

    began = time.perf_counter()
    LocalPipelineExecutor(pipeline, tasks=tasks, workers=workers, logging_dir=f"{out}/logs/{name}", skip_completed=False).run()
    return time.perf_counter() - began


def near(settings: dict[str, Any]) -> dict[str, Any]:
    """The four stages: signatures, buckets, clusters, filter."""
    from datatrove.pipeline.dedup import (
        MinhashDedupBuckets,
        MinhashDedupCluster,
        MinhashDedupFilter,
        MinhashDedupSignature,
    )
    from datatrove.pipeline.readers import JsonlReader
    from datatrove.pipeline.writers.jsonl import JsonlWriter
    from datatrove.utils.typeshelper import Languages

    lines, out, workers, its = settings["lines"], settings["out"], settings["workers"], config()
    signature = MinhashDedupSignature(f"{out}/signatures", config=its, language=Languages.english)
    buckets = MinhashDedupBuckets(f"{out}/signatures", f"{out}/buckets", config=its)
    writer = JsonlWriter(f"{out}/text", compression=None)
    seconds = {
        "signatures": run("signatures", [JsonlReader(lines), signature], out, workers, workers),
        "buckets": run("buckets", [buckets], out, its.num_buckets, workers),
        "clusters": run("clusters", [MinhashDedupCluster(f"{out}/buckets", f"{out}/remove", config=its)], out, 1, 1),
        "filter": run("filter", [JsonlReader(lines), MinhashDedupFilter(f"{out}/remove"), writer], out, workers, workers),
    }
    blocks = {each["name"]: each["stats"] for each in json.loads(Path(f"{out}/logs/filter/stats.json").read_text())}
    kept = next(stats["total"] for name, stats in blocks.items() if "WRITER" in name)
    size = sum(path.stat().st_size for folder in ("signatures", "buckets", "remove") for path in Path(out, folder).rglob("*") if path.is_file())
    return {"seconds_by_phase": seconds, "survivors": kept if isinstance(kept, int) else kept["total"], "disk_bytes": size}


def clusters(settings: dict[str, Any]) -> dict[str, Any]:
    """Of each task, its documents that are in a cluster, and which: stage three once more, not timed."""
    from datatrove.pipeline.dedup import MinhashDedupCluster

    out = settings["out"]
    run("named", [MinhashDedupCluster(f"{out}/buckets", f"{out}/named", config=config(), save_cluster_id=True)], out, 1, 1)
    found = {}
    for path in sorted(Path(out, "named").glob("*.clusters")):
        found[int(path.stem)] = list(struct.iter_unpack("<2I", path.read_bytes()))
    return {"clusters": found}


if __name__ == "__main__":
    settings = json.loads(sys.argv[1])
    print(json.dumps({"near": near, "clusters": clusters}[settings["what"]](settings)))
