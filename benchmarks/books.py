"""Bits per byte on real prose after so many minutes of training, beside nanochat on the same text.

    python benchmarks/books.py --data classic_books.jsonl.zst [--minutes 10.5] [--seeds 1] [--nanochat PATH] [--json]

The books are cut at paragraph borders into pieces of 8,000 characters, shuffled, and the last 3 % held out. groundup
builds `recipes/books.yaml` on them; the clock runs over planning and pretraining, compiling included, after imports
and after the text is tokenised. nanochat (a clone's path) gets the same text and as many minutes: depth 4, width 256,
context 512, batches of 8,192 tokens, a vocabulary of 8,192 of its own, compiled. Both are measured by the same
sliding window over all held-out bytes. Neither finds anything compiled before.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from prepared import prepared

PIECE = 8000  # characters
PEER = {"depth": 4, "width": 256, "context": 512, "batch_tokens": 8192, "vocabulary": 8192}


def pieces(path: Path) -> list[str]:
    """The text cut at paragraph borders and shuffled."""
    found: list[str] = []
    with pa.OSFile(str(path)) as raw, pa.CompressedInputStream(raw, "zstd") as stream:
        for line in io.TextIOWrapper(io.BufferedReader(stream), encoding="utf-8"):
            piece = ""
            for paragraph in json.loads(line)["text"].split("\n\n"):
                if piece and len(piece) + len(paragraph) + 2 > PIECE:
                    found.append(piece)
                    piece = paragraph
                else:
                    piece = f"{piece}\n\n{paragraph}" if piece else paragraph
            if piece:
                found.append(piece)
    random.Random(0).shuffle(found)
    return found


def ours(path: Path, runs: Path, minutes: float, seed: int, extra: list[str]) -> dict[str, Any]:
    """One build with a budget: its true minutes and its bits per byte over the held-out bytes."""
    from groundup.build import load, pretrain
    from groundup.evaluation.intrinsic import bits_per_byte
    from groundup.planning.budget import plan
    from groundup.tokens.shards import TokenShards
    from groundup.tokens.tokenizer import Tokenizer

    run, tokenizer, shards = prepared("books", str(path), runs, f"books-{seed}", 0.94 * minutes - 0.2, seed, extra)
    try:
        began = time.perf_counter()
        base = pretrain(run, tokenizer, shards, plan(run, tokenizer, shards))
        spent = time.perf_counter() - began
        model = load(base, Tokenizer.load(tokenizer.final))
        context = model.config.context
        measured = bits_per_byte(model, TokenShards(shards.final).split("held-out"), context, context // 2)
    finally:
        run.close()
    counts = base.manifest["counts"]
    return {
        "bits_per_byte": round(measured["bits_per_byte"], 4), "minutes": round(spent / 60, 3), "seed": seed, "tokens": counts["tokens"],
        "tokens_per_second": counts["tokens_per_second"], "held_out_bytes": measured["held_out_bytes"],
    }  # fmt: skip


def nanochat(path: Path, runs: Path, minutes: float, clone: str, compile: bool) -> dict[str, Any]:
    """nanochat on the very same cleaned text, with a tokenizer of 8,192 trained on it."""
    from groundup.tokens.shards import TokenShards

    run, _, shards = prepared("books", str(path), runs, "nanochat", 1, 0, [f"tokens.vocabulary={PEER['vocabulary']}"])
    run.close()
    data = TokenShards(shards.final)
    train, held_out = data.split("train"), data.split("held-out")
    np.save(runs / "train.npy", np.asarray(train.tokens))
    T, windows = PEER["context"], []
    for number in range(len(held_out.starts)):  # the windows of evaluation/intrinsic.py: each token once, half a context before it
        document = np.concatenate(([held_out.end_of_text], held_out.document(number))).astype(np.int64)
        done = start = 0
        while done < len(document) - 1:
            end = min(start + T, len(document) - 1)
            row = np.zeros(T + 3, dtype=np.int64)
            row[: end - start + 1] = document[start : end + 1]
            row[-2:] = end - done, end - start
            windows.append(row)
            done, start = end, start + T // 2
    np.save(runs / "windows.npy", np.stack(windows))
    settings = {
        **PEER, "path": clone, "minutes": minutes, "seed": 0, "compile": compile, "tokens": str(runs / "train.npy"),
        "windows": str(runs / "windows.npy"), "bytes": int(held_out.byte_counts.sum()), "vocabulary": data.counts["vocabulary"],
    }  # fmt: skip
    script = Path(__file__).parent / "peers.py"
    done_ = subprocess.run([sys.executable, str(script), "nanochat", json.dumps(settings)], stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, Any] = json.loads(done_.stdout.strip().splitlines()[-1])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=10.5)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--nanochat", default=os.environ.get("NANOCHAT"), help="path of a clone of nanochat")
    parser.add_argument("--eager-peer", action="store_true", help="do not compile nanochat")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("overrides", nargs="*", help="section.key=value")
    arguments = parser.parse_args()
    import groundup.build  # noqa: F401  (imports are not counted)

    with tempfile.TemporaryDirectory() as folder:
        runs = Path(folder)
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(runs / "inductor")  # both compile from nothing
        path = runs / "pieces.jsonl"
        path.write_text("".join(json.dumps({"text": piece}) + "\n" for piece in pieces(arguments.data)))
        peer = nanochat(path, runs, arguments.minutes, arguments.nanochat, not arguments.eager_peer) if arguments.nanochat else None
        if peer:
            print(f"nanochat: {peer}", file=sys.stderr)
        found = []
        for seed in range(arguments.seeds):
            found.append(ours(path, runs, arguments.minutes, seed, arguments.overrides))
            print(found[-1], file=sys.stderr)
    values = [one["bits_per_byte"] for one in found]
    result = {
        "bits_per_byte": statistics.median(values), "lowest": min(values), "highest": max(values),
        "minutes": statistics.median(one["minutes"] for one in found), "nanochat": peer,
        "below_nanochat": round(peer["bits_per_byte"] - statistics.median(values), 4) if peer else None, "runs": found,
    }  # fmt: skip
    if arguments.json:
        print(json.dumps(result))
        return
    for one in found:
        print(f"groundup, seed {one['seed']}: {one['bits_per_byte']:.4f} bits per byte after {one['minutes']:.2f} minutes, {one['tokens_per_second']:,.0f} tokens/s")
    if peer:
        print(f"nanochat: {peer['bits_per_byte']:.4f} after {peer['seconds'] / 60:.2f} minutes, {peer['tokens_per_second']:,.0f} tokens/s")


if __name__ == "__main__":
    main()
