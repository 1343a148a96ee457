"""From text to packed shards, beside `tokenizers`; memory; the loader beside a trainer; what packing wastes.

    python benchmarks/tokens.py --data FOLDER [--rounds 3] [--vocabulary 32768] [--json]

FOLDER holds .jsonl.zst files with a `text` field (and plain .txt). Their documents become Parquet parts as the clean
stage leaves them; everything is timed in child processes, in turn, each reading the same parts:

    ours          Parquet -> checked, durable shards -> rows packed by best fit (the `tokenize` stage and the loader's plan)
    tokenizers    encode_batch of the same texts with the same tokenizer.json, already in memory, kept nowhere
    training      the tokenizer stage's learning, beside tokenizers' train_from_iterator, both from the same Parquet

Memory is the peak resident size of those children, for the text and for the text twice over. The loader is timed on the
demo's model, batch and context, beside real training steps of that model. Packing is counted on the same shards.
"""

from __future__ import annotations

import argparse
import io
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

CONTEXTS = (256, 1024, 2048)
PUBLISHED = "nanochat's best-fit-crop drops 34.6 % (its dev/LOG.md)"


def texts(folder: Path) -> Iterator[tuple[str, str]]:
    """(source, text) of all documents, long ones cut as the clean stage cuts them."""
    import pyarrow as pa

    from groundup.corpus.document import cut

    for path in sorted(folder.iterdir()):
        if path.name.endswith(".jsonl.zst"):
            with pa.OSFile(str(path)) as raw, pa.CompressedInputStream(raw, "zstd") as stream:
                for line in io.TextIOWrapper(io.BufferedReader(stream), "utf-8"):
                    text = json.loads(line).get("text")
                    if isinstance(text, str) and text:
                        yield from ((path.name.split(".")[0], piece) for piece in cut([text], 1_000_000))
        elif path.is_dir():
            for inner in sorted(path.glob("*.txt")):
                yield from ((path.name, piece) for piece in cut([inner.read_text(encoding="utf-8")], 1_000_000))


def write_parts(folder: Path, into: Path, times: int) -> int:
    """The documents as Parquet parts of about 64 MB of text; returns the bytes of text."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    into.mkdir(parents=True)
    rows: dict[str, list[str]] = {"id": [], "text": [], "source": [], "split": []}
    held = total = part = number = 0

    def flush() -> None:
        nonlocal held, part
        if rows["id"]:
            pq.write_table(pa.table(rows), into / f"part-{part:05d}.parquet", compression="zstd", row_group_size=1000)
            part, held = part + 1, 0
            for column in rows.values():
                column.clear()

    for _ in range(times):
        for source, text in texts(folder):
            number += 1
            for name, value in (("id", f"d{number}"), ("text", text), ("source", source), ("split", "held-out" if number % 50 == 0 else "train")):
                rows[name].append(value)
            size = len(text.encode())
            held, total = held + size, total + size
            if held >= 64_000_000:
                flush()
        flush()
    return total


def child(settings: dict[str, Any]) -> dict[str, Any]:
    """One timed piece of work."""
    import shutil

    from groundup.recipe import parse
    from groundup.run import Run
    from groundup.tokens import documents, trainers
    from groundup.tokens.encoding import encode
    from groundup.tokens.packing import rows_of
    from groundup.tokens.shards import TokenShards
    from groundup.tokens.tokenizer import Tokenizer

    what, parts, work = settings["what"], Path(settings["parts"]), Path(settings["work"])
    size: int = settings["vocabulary"]
    if what in ("ours", "learn"):
        recipe = parse({"name": work.name, "sources": [{"kind": "files", "path": "x"}], "tokens": {"vocabulary": size}})
        run = Run.open(work, recipe)
        cleaned = run.stage("clean", "corpus/clean", depends={}, inputs={})
        if not cleaned.done:
            for path in parts.iterdir():
                (cleaned.work / path.name).symlink_to(path)
            cleaned.finish({}, content="x")
        began = time.perf_counter()
        if what == "learn":
            text = trainers.train_bpe((one.text for one in documents.sample(cleaned.final, "train", 10**9, 0)), size, must_reach=True)
            seconds = time.perf_counter() - began
            (work / "learned.json").write_text(text)
            return {"seconds": seconds}
        stage = run.stage("tokenizer", "tokenizer", depends={}, inputs={})
        shutil.copy(settings["tokenizer"], stage.work / "tokenizer.json")
        stage.finish({})
        began = time.perf_counter()
        data = TokenShards(encode(run, cleaned, stage).final).split("train")
        for packing in ("concatenate", "best-fit"):
            rows_of(data, 2048, packing).count  # noqa: B018
        return {"seconds": time.perf_counter() - began, "tokens": len(data.tokens)}
    import tokenizers as library

    held = [text for split in documents.SPLITS for text in documents.texts(parts, split)]
    if what == "their learning":
        from tokenizers import Regex, pre_tokenizers
        from tokenizers import models as kinds
        from tokenizers import trainers as theirs

        reading = time.perf_counter()
        held = list(documents.texts(parts, "train"))
        reading = time.perf_counter() - reading
        inner = library.Tokenizer(kinds.BPE())
        inner.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.Split(Regex(trainers.PATTERNS["qwen2"].regex), behavior="isolated"), pre_tokenizers.ByteLevel(False, use_regex=False)]
        )
        began = time.perf_counter()
        inner.train_from_iterator(
            held, theirs.BpeTrainer(vocab_size=size, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False)
        )
        return {"seconds": reading + time.perf_counter() - began, "reading_seconds": reading}
    inner = library.Tokenizer.from_file(settings["tokenizer"])
    call = inner.encode_batch if what == "tokenizers" else inner.encode_batch_fast
    began = time.perf_counter()
    tokens = 0
    batch: list[str] = []
    for text in [*held, ""]:
        batch.append(text)
        if sum(map(len, batch)) >= 4_000_000 or text == "":
            tokens += sum(len(one) for one in call(batch, add_special_tokens=False))
            batch = []
    return {"seconds": time.perf_counter() - began, "tokens": tokens, "engine": Tokenizer(Path(settings["tokenizer"]).read_text()).engine}


def run_child(settings: dict[str, Any]) -> dict[str, Any]:
    """In a process of its own; adds its peak memory."""
    done = subprocess.run([sys.executable, __file__, "--child", json.dumps(settings)], stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def loader_ratio() -> dict[str, Any]:
    """Tokens a second of the loader and of training steps, at the demo's model, batch and context."""
    import numpy as np

    from groundup import recipe as recipes
    from groundup.planning import budget, hardware
    from groundup.tokens.loader import BatchPhase, Loader
    from groundup.tokens.shards import TokenSplit

    path = recipes.shipped("demo")
    assert path is not None
    planned = budget.derive(recipes.load(path), vocabulary=2048, train_tokens=4_000_000, machine=hardware.measure())
    phase = BatchPhase(**planned["phases"][-1])
    draw = np.random.default_rng(0)
    lengths = draw.lognormal(6, 1, 8000).astype(int) + 1
    tokens = np.concatenate([np.append(draw.integers(20, 2048, length), 0) for length in lengths]).astype(np.uint16)
    starts = np.concatenate(([0], np.cumsum(lengths + 1)[:-1]))
    split = TokenSplit(tokens, starts, lengths, np.ones(2048, np.int64), 0, "", {}, {"<|pad|>": 1})
    found: dict[str, Any] = {"trainer_tokens_per_second": planned["measured_tokens_per_second"]}
    for packing in ("concatenate", "best-fit"):
        loader = Loader(split, [phase], 0, packing=packing)
        loader(0, 0)
        began, steps = time.perf_counter(), 0
        while time.perf_counter() - began < 3:
            steps += 1
            loader(steps, 0)
        found[packing] = round(steps * phase.rows * phase.context / (time.perf_counter() - began))
    found["ratio"] = round(found["concatenate"] / found["trainer_tokens_per_second"], 1)
    return found


def packing_waste(run: Path) -> list[dict[str, Any]]:
    """Of a run's training tokens: what each packing drops, pads and cuts, by context."""
    import numpy as np

    from groundup.tokens.packing import Planned
    from groundup.tokens.shards import TokenShards

    split = TokenShards(run / "tokens").split("train")
    lengths = split.ends - split.starts + 1
    found = []
    for context in CONTEXTS:
        began = time.perf_counter()
        planned = Planned(split, context, 0, together=True)
        seconds = time.perf_counter() - began
        whole = lengths[lengths <= context]
        crossing = (split.starts - 1) // context != (split.starts + lengths - 2) // context
        found.append(
            {
                "run": run.name, "context": context, "tokens": len(split.tokens), "documents": len(lengths),
                "concatenate_dropped_share": round(len(split.tokens) % context / len(split.tokens), 6),
                "concatenate_cut_share_of_fitting_documents": round(float(crossing[lengths <= context].mean()) if len(whole) else 0.0, 4),
                "best_fit_dropped_share": round(1 - int(planned._lengths.sum()) / len(split.tokens), 6),
                "best_fit_padding_share": round(planned.padding, 6), "best_fit_seconds": round(seconds, 3),
                "one_document_padding_share": round(Planned(split, context, 0, together=False).padding, 4),
                "documents_that_fit": round(float(np.mean(lengths <= context)), 4),
            }
        )  # fmt: skip
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--vocabulary", type=int, default=32_768)
    parser.add_argument("--packing", type=Path, nargs="*", default=[], help="finished runs whose packing is counted")
    parser.add_argument("--only-packing", action="store_true")
    parser.add_argument("--no-twice", action="store_true", help="do not measure memory on twice the text")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        found = child(json.loads(arguments.child))
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        print(json.dumps({**found, "peak_memory_gib": round(peak, 3)}))
        return
    result: dict[str, Any] = {"packing": [one for run in arguments.packing for one in packing_waste(run)]}
    if not arguments.only_packing:
        if arguments.data is None:
            parser.error("--data is missing")
        with tempfile.TemporaryDirectory() as folder:
            result |= measure(arguments, Path(folder))
        result["loader"] = loader_ratio()
    if arguments.json:
        print(json.dumps(result))
        return
    for name, value in result.items():
        print(f"{name}: {json.dumps(value, indent=1) if isinstance(value, dict | list) else value}")
    if arguments.packing:
        print(PUBLISHED)


def measure(arguments: argparse.Namespace, place: Path) -> dict[str, Any]:
    size = write_parts(arguments.data, place / "once", 1)
    common = {"vocabulary": arguments.vocabulary, "parts": str(place / "once"), "tokenizer": str(place / "tokenizer.json")}
    found: dict[str, list[dict[str, Any]]] = {}

    def go(what: str, number: int, **more: Any) -> dict[str, Any]:
        one = run_child({**common, "what": what, "work": str(place / f"{what}-{number}"), **more})
        found.setdefault(what, []).append(one)
        print(f"{what}, round {number}: {one}", file=sys.stderr)
        return one

    for number in range(arguments.rounds):
        go("learn", number)
        go("their learning", number)
        if number == 0:
            (place / "learn-0" / "learned.json").rename(place / "tokenizer.json")
    for number in range(arguments.rounds):
        for what in ("ours", "tokenizers", "tokenizers fast"):
            go(what, number)
    seconds = {what: statistics.median(one["seconds"] for one in ones) for what, ones in found.items()}
    result: dict[str, Any] = {
        "text_mb": round(size / 1e6, 1), "vocabulary": arguments.vocabulary, "rounds": arguments.rounds,
        "ratio_to_tokenizers": round(seconds["tokenizers"] / seconds["ours"], 3),
        "ratio_to_tokenizers_fast": round(seconds["tokenizers fast"] / seconds["ours"], 3),
        "training_ratio_to_tokenizers": round(seconds["their learning"] / seconds["learn"], 3),
        "mb_per_second": {what: round(size / 1e6 / value, 2) for what, value in seconds.items()},
        "seconds": {what: [round(one["seconds"], 2) for one in ones] for what, ones in found.items()},
        "peak_memory_gib": {what: max(one["peak_memory_gib"] for one in ones) for what, ones in found.items()},
    }  # fmt: skip
    if not arguments.no_twice:
        write_parts(arguments.data, place / "twice", 2)
        twice = {what: go(what, 99, parts=str(place / "twice"))["peak_memory_gib"] for what in ("learn", "ours")}
        result["peak_memory_gib_twice_the_text"] = twice
    return result


if __name__ == "__main__":
    main()
