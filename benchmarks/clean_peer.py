"""The datatrove side of `benchmarks/clean.py`; run in a process of its own by an interpreter that has datatrove.

    python benchmarks/clean_peer.py '{"what": "pipeline", "warc": "FOLDER", "out": "FOLDER", "workers": 2}'
    python benchmarks/clean_peer.py '{"what": "extract", "warc": "FOLDER", "out": "FILE.jsonl"}'
    python benchmarks/clean_peer.py '{"what": "decide", "texts": "FILE.jsonl", "out": "FILE.jsonl"}'

prints one JSON object. It imports nothing of groundup. The filters are as in datatrove's examples/fineweb.py, all at their
defaults but C4's `filter_no_terminal_punct=False`.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"


def filters() -> list[tuple[str, Any]]:
    """The four filters in FineWeb's order."""
    from datatrove.pipeline.filters import (
        C4QualityFilter,
        FineWebQualityFilter,
        GopherQualityFilter,
        GopherRepetitionFilter,
    )

    return [
        ("gopher_repetition", GopherRepetitionFilter()),
        ("gopher_quality", GopherQualityFilter()),
        ("c4", C4QualityFilter(filter_no_terminal_punct=False)),
        ("fineweb", FineWebQualityFilter()),
    ]


def pipeline(settings: dict[str, Any]) -> dict[str, Any]:
    """WARC to JSON lines by a local executor; seconds from its start to its end, processes started and models loaded included."""
    from datatrove.executor.local import LocalPipelineExecutor
    from datatrove.pipeline.extractors import Trafilatura
    from datatrove.pipeline.readers import WarcReader
    from datatrove.pipeline.writers.jsonl import JsonlWriter

    out, workers = settings["out"], settings["workers"]
    executor = LocalPipelineExecutor(
        pipeline=[
            WarcReader(settings["warc"], glob_pattern="*.warc.gz"),
            Trafilatura(favour_precision=True),
            *(each for _, each in filters()),
            JsonlWriter(f"{out}/text", compression="gzip"),
        ],
        tasks=workers, workers=workers, logging_dir=f"{out}/logs", skip_completed=False,
    )  # fmt: skip
    began = time.perf_counter()
    executor.run()
    seconds = time.perf_counter() - began
    blocks = {each["name"]: each["stats"] for each in json.loads(Path(f"{out}/logs/stats.json").read_text())}
    read = next(stats["documents"]["total"] for name, stats in blocks.items() if "READER" in name)  # it passes over what it cannot decode
    kept = next(stats["total"] for name, stats in blocks.items() if "WRITER" in name)
    return {"seconds": seconds, "read": read, "kept": kept if isinstance(kept, int) else kept["total"]}


def extract(settings: dict[str, Any]) -> dict[str, Any]:
    """The text of each page of a WARC folder, as datatrove's reader and Trafilatura block give it."""
    from datatrove.pipeline.extractors import Trafilatura
    from datatrove.pipeline.readers import WarcReader

    count = 0
    with Path(settings["out"]).open("w", encoding="utf-8") as stream:
        reader = WarcReader(settings["warc"], glob_pattern="*.warc.gz")
        for document in Trafilatura(favour_precision=True, timeout=30).run(reader.run()):  # its second is too short on a busy machine
            stream.write(json.dumps({"url": document.metadata.get("url", ""), "text": document.text}) + "\n")
            count += 1
    return {"documents": count}


def decide(settings: dict[str, Any]) -> dict[str, Any]:
    """What each filter says of each text: None or the reason. `chain` is the first that drops it, each judging what C4 left."""
    from datatrove.data import Document

    chain = filters()
    seconds = 0.0
    for _, each in chain:
        each.filter(Document(text="Load the models. " * 60, id="0"))
    with Path(settings["texts"]).open(encoding="utf-8") as source, Path(settings["out"]).open("w", encoding="utf-8") as target:
        for number, line in enumerate(source):
            text = json.loads(line)["text"]
            row: dict[str, Any] = {"chain": None}
            flowing = text  # as the chain sees it
            for name, each in chain:
                if row["chain"] is None:  # first, and timed: what the same filter is asked again is remembered by datatrove
                    document = Document(text=flowing, id=str(number))
                    began = time.perf_counter()
                    why = reason(each, document)
                    seconds += time.perf_counter() - began
                    row["chain"] = why and f"{name}: {why}"
                    flowing = document.text
                document = Document(text=text, id=str(number))
                row[name] = reason(each, document)
                if name == "c4":
                    row["c4_text"] = document.text if row[name] is None else None
            target.write(json.dumps(row) + "\n")
    return {"chain_seconds": seconds}


def reason(block: Any, document: Any) -> str | None:
    """A filter's reason to drop a document; a crash drops it too, as an executor's task would be lost."""
    try:
        result = block.filter(document)
    except Exception as error:
        return f"crash: {type(error).__name__}"
    if isinstance(result, tuple):
        return None if result[0] else str(result[1])
    return None if result else "dropped"


if __name__ == "__main__":
    settings = json.loads(sys.argv[1])
    print(json.dumps({"pipeline": pipeline, "extract": extract, "decide": decide}[settings["what"]](settings)))
