"""Decoding beside transformers' `generate`: the same random weights, the same prompts, greedy.

    python benchmarks/generate.py [--rounds 3] [--json]

Three shapes: the demo's (4 layers, width 128, vocabulary 2,048: 1.1 M parameters), a llama of 6 M and GPT-2's 124 M. Of each, in
turn and each in a process of its own (A B A B), medians: tokens a second of one stream (32 tokens read, 128 written) and of
16 at once, in fp32 and bf16 (transformers only where the processor multiplies it; else it would be emulated) and, here alone, int8;
transformers' figure is its best. Then the time to the first token of a chat's second turn (600 tokens before it), going on from the first
turn and computing it all anew. The memory's bandwidth, measured in the same run by summing a large tensor, bounds a stream:
every weight is read for every token. Needs transformers (in the dev extra); run it on an otherwise idle machine.
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

SHAPES: dict[str, dict[str, Any]] = {
    "demo": {
        "kind": "llama",
        "vocabulary": 2048,
        "context": 256,
        "layers": 4,
        "width": 128,
        "heads": 4,
        "feedforward": 352,
    },
    "llama-6m": {
        "kind": "llama",
        "vocabulary": 8192,
        "context": 256,
        "layers": 6,
        "width": 256,
        "heads": 4,
        "feedforward": 704,
    },
    "gpt2-124m": {
        "kind": "gpt2",
        "vocabulary": 50_257,
        "context": 1024,
        "layers": 12,
        "width": 768,
        "heads": 12,
    },
}
READ, WRITTEN = 32, 128
TURN = 600


def make(shape: dict[str, Any], folder: Path) -> None:
    """A model of random weights, saved by transformers."""
    import torch
    import transformers

    torch.manual_seed(0)
    if shape["kind"] == "gpt2":
        gpt2 = transformers.GPT2Config(
            vocab_size=shape["vocabulary"],
            n_positions=shape["context"],
            n_embd=shape["width"],
            n_layer=shape["layers"],
            n_head=shape["heads"],
        )
        transformers.GPT2LMHeadModel(gpt2).save_pretrained(folder)
        return
    llama = transformers.LlamaConfig(
        vocab_size=shape["vocabulary"], hidden_size=shape["width"], num_hidden_layers=shape["layers"], num_attention_heads=shape["heads"],
        intermediate_size=shape["feedforward"], max_position_embeddings=shape["context"], tie_word_embeddings=True,
    )  # fmt: skip
    transformers.LlamaForCausalLM(llama).save_pretrained(folder)


def prompts(vocabulary: int, count: int, length: int) -> list[list[int]]:
    """Token ids above the special ones."""
    import torch

    return torch.randint(
        300, vocabulary, (count, length), generator=torch.Generator().manual_seed(1)
    ).tolist()


def theirs(what: dict[str, Any]) -> dict[str, Any]:
    """transformers' tokens a second."""
    import torch
    import transformers

    transformers.logging.set_verbosity_error()
    dtype = torch.bfloat16 if what["precision"] == "bf16" else torch.float32
    model = transformers.AutoModelForCausalLM.from_pretrained(what["folder"], dtype=dtype).eval()
    shape = SHAPES[what["shape"]]
    read = torch.tensor(prompts(shape["vocabulary"], what["streams"], READ))

    def run(count: int) -> float:
        began = time.perf_counter()
        found = model.generate(
            read,
            attention_mask=torch.ones_like(read),
            do_sample=False,
            min_new_tokens=count,
            max_new_tokens=count,
            pad_token_id=0,
        )
        assert found.shape[1] == READ + count
        return time.perf_counter() - began

    run(8)
    return {"tokens_per_second": what["streams"] * WRITTEN / run(WRITTEN)}


def engine(what: dict[str, Any]) -> Any:
    """groundup's engine over the same weights; its tokenizer has one token a byte and is not used but for its ends."""
    from groundup.generation import Engine
    from groundup.models import huggingface
    from groundup.tokens.tokenizer import Tokenizer
    from groundup.tokens.trainers import bytes_only

    words = Tokenizer(bytes_only())
    made = Engine(
        huggingface.load(Path(what["folder"])),
        words,
        precision=what["precision"],
        slots=what.get("streams", 2),
    )
    # ids above the tokenizer's are never drawn as a rule; here all of the model's are, as they are by transformers
    names = tuple(name or b"?" for name in words.token_bytes)
    words.token_bytes = names + (b"?",) * (made.model.config.vocabulary - len(names))
    words.size = len(words.token_bytes)
    made.never = made.never[:0]
    return made


def ours(what: dict[str, Any]) -> dict[str, Any]:
    """groundup's tokens a second."""
    from groundup.generation import SamplingSettings

    made = engine(what)
    read = prompts(SHAPES[what["shape"]]["vocabulary"], what["streams"], READ)

    def run(count: int) -> float:
        began = time.perf_counter()
        found = made.generate_many(
            read, SamplingSettings(temperature=0.0, min_tokens=count, max_tokens=count)
        )
        assert all(len(one.tokens) == count for (one,) in found)
        return time.perf_counter() - began

    run(8)
    made.refresh()  # nothing of the warm-up is kept
    return {"tokens_per_second": what["streams"] * WRITTEN / run(WRITTEN)}


def turn(what: dict[str, Any]) -> dict[str, Any]:
    """Seconds to the first token of a second turn, going on and anew."""
    from groundup.generation import SamplingSettings

    made = engine(what)
    settings = SamplingSettings(temperature=0.0, min_tokens=16, max_tokens=16)
    once = SamplingSettings(temperature=0.0, min_tokens=1, max_tokens=1)
    (first,) = prompts(SHAPES[what["shape"]]["vocabulary"], 1, TURN - 16)
    (more,) = prompts(SHAPES[what["shape"]]["vocabulary"], 1, 24)
    made.generate(more, once)
    made.refresh()

    def until_first(prompt: list[int]) -> float:
        began = time.perf_counter()
        made.generate(prompt, once)
        return time.perf_counter() - began

    (one,) = made.generate(first, settings)
    second = [*first, *one.tokens, *more]
    going_on = until_first(second)
    made.refresh()
    return {"seconds_going_on": going_on, "seconds_anew": until_first(second)}


def bandwidth(what: dict[str, Any]) -> dict[str, Any]:
    """Bytes a second that the processor reads: a sum over 512 MiB, the best of ten; and whether it multiplies bf16."""
    import torch

    from groundup.generation.weights import multiplies_bf16

    held = torch.ones(2**27)
    best = min(_timed(held.sum) for _ in range(10))
    return {"gb_per_second": held.numel() * 4 / best / 1e9, "bf16": multiplies_bf16()}


def _timed(work: Any) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


WORKERS = {"theirs": theirs, "ours": ours, "turn": turn, "bandwidth": bandwidth}


def run(worker: str, **what: Any) -> dict[str, Any]:
    """One measurement in a process of its own."""
    done = subprocess.run(
        [sys.executable, __file__, "--worker", worker, json.dumps(what)],
        capture_output=True,
        text=True,
        timeout=900,
    )
    if done.returncode:
        raise SystemExit(f"{worker} {what}: {done.stderr[-800:]}")
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--shapes", nargs="+", default=list(SHAPES), choices=list(SHAPES))
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--worker", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        print(json.dumps(WORKERS[arguments.worker[0]](json.loads(arguments.worker[1]))))
        return
    speed = run("bandwidth")  # and once more at the end: neighbours on the same host take their share
    wide = ["fp32", "bf16"] if speed["bf16"] else ["fp32"]
    rows: list[dict[str, Any]] = []
    result: dict[str, Any] = {
        "bf16": speed["bf16"],
        "rounds": arguments.rounds,
    }
    with tempfile.TemporaryDirectory() as home:
        for name in arguments.shapes:
            folder = Path(home) / name
            make(SHAPES[name], folder)
            size = sum(path.stat().st_size for path in folder.glob("*.safetensors")) / 4
            settings = [("transformers", one) for one in wide] + [("groundup", one) for one in ("fp32", "bf16", "int8")]
            best: dict[tuple[str, str, int], float] = {}
            for streams in (1, 16):
                found: dict[tuple[str, str], list[float]] = {one: [] for one in settings}
                for number in range(arguments.rounds):
                    for who, precision in settings:
                        print(
                            f"{name}, {streams} streams, round {number + 1}: {who} {precision}",
                            file=sys.stderr,
                        )
                        worker = "theirs" if who == "transformers" else "ours"
                        one = run(
                            worker, shape=name, folder=str(folder), streams=streams, precision=precision
                        )
                        found[who, precision].append(one["tokens_per_second"])
                for (who, precision), rates in found.items():
                    middle = best[who, precision, streams] = statistics.median(rates)
                    held = size * {"fp32": 4, "bf16": 2, "int8": 1}[precision]
                    rows.append(
                        {
                            "shape": name, "streams": streams, "engine": who, "precision": precision, "tokens_per_second": round(middle, 1),
                            "lowest": round(min(rates), 1), "highest": round(max(rates), 1),
                            "share_of_bandwidth": middle / streams * held / 1e9,
                        }
                    )  # fmt: skip
            for streams, key in ((1, "single_stream_ratio"), (16, "batch_16_ratio")):
                peer = max(
                    rate for (who, _, n), rate in best.items() if who == "transformers" and n == streams
                )
                plain = max(
                    rate
                    for (who, one, n), rate in best.items()
                    if who == "groundup" and n == streams and one != "int8"
                )
                short = {"demo": "demo", "llama-6m": "6m", "gpt2-124m": "124m"}[name]
                result[f"{key}_{short}"] = round(plain / peer, 2)
                result[f"{key}_{short}_int8"] = round(best["groundup", "int8", streams] / peer, 2)
            if name == "gpt2-124m":
                turns = [
                    run("turn", shape=name, folder=str(folder), precision=wide[-1])
                    for _ in range(arguments.rounds)
                ]
                result["second_turn_seconds"] = [
                    round(statistics.median(one[key] for one in turns), 4)
                    for key in ("seconds_going_on", "seconds_anew")
                ]
                result["second_turn_ratio"] = round(
                    statistics.median(one["seconds_anew"] / one["seconds_going_on"] for one in turns), 2
                )
    fastest = max(speed["gb_per_second"], run("bandwidth")["gb_per_second"])
    for row in rows:
        row["share_of_bandwidth"] = round(row["share_of_bandwidth"] / fastest, 3)
    result["memory_gb_per_second"] = round(fastest, 1)
    result["rows"] = rows
    if arguments.json:
        print(json.dumps(result))
        return
    print(f"memory {result['memory_gb_per_second']} GB/s; medians of {arguments.rounds}")
    for row in rows:
        print(
            "{shape:10} {streams:3} {engine:13} {precision:5} {tokens_per_second:9,.0f} tokens/s ({lowest:,.0f} to {highest:,.0f})".format(
                **row
            ),
            f"{100 * row['share_of_bandwidth']:5.1f} % of the memory's rate",
        )
    print({key: value for key, value in result.items() if "ratio" in key})


if __name__ == "__main__":
    main()
