"""A finished run folder as the stages leave it, with figures like a real build's. Nothing is trained here."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path
from typing import Any

from groundup import recipe as recipes
from groundup.run import Run, digest, write_atomic, write_json

HOSTILE = "<script>alert('gotcha')</script><img src=x onerror=alert(1)> \x00\x1b[31m \u202egnp.exe ]]> &amp; {{ 7*7 }}"
BEGAN = 1_764_000_000.0
DOCSTRINGS = [
    (
        "textwrap.indent(text, prefix, predicate=None)",
        "Adds 'prefix' to the beginning of selected lines in 'text'.",
    ),
    (
        "collections.Counter.most_common(self, n=None)",
        "List the n most common elements and their counts from the most common to the least.",
    ),
    ("zlib.adler32(data, value=1, /)", "Compute an Adler-32 checksum of data."),
    ("calendar.isleap(year)", "Return True for leap years, False for non-leap years."),
]


def plan() -> dict[str, Any]:
    """plan.json of a two-core machine and ten minutes."""
    return {
        "machine": {"processor": "x86_64", "cores": 2, "memory_gib": 15.6, "fp32_gflops": 141.3, "bf16_gflops": 398.7, "compiler": "g++"},
        "model": {
            "family": "llama", "vocabulary": 2048, "context": 256, "layers": 6, "width": 320, "heads": 5, "kv_heads": 5, "feedforward": 864,
            "tied": True, "residual_dropout": 0.0, "rope_base": 10000.0, "norm_eps": 1e-5, "init_std": 0.02,
        },
        "parameters": 8_093_120, "flops_per_token": 54_393_600.0, "train_tokens": 1_182_604, "steps": 1480, "batch_tokens": 4096,
        "micro_batch": 16, "micro_batches": 1, "optimizer": {"name": "adamw", "learning_rate": 0.0024}, "precision": "bf16", "compile": False, "peak_gflops": 398.7,
        "measured_tokens_per_second": 11241.8, "evaluation_tokens": 60620,
        "reasons": [
            "bf16: matrix products run at 141 GFLOP/s in fp32 and 399 in bf16",
            "6 layers of width 320, 8.09 M parameters: the largest of the ladder that sees at least 2 tokens a parameter (about 23.7 M tokens)",
            "a step sees 4,096 tokens: 1 x 16 rows of 256",
            "torch.compile off: the run takes about 9 minutes, it pays from 20",
            "measured 11,242 tokens/s (53 % of 399 GFLOP/s)",
            "1,480 steps of 4,096 tokens: 9 minutes (5.1 passes)",
            "peak learning rate 0.0024 at width 320",
        ],
    }  # fmt: skip


def funnel() -> dict[str, Any]:
    """funnel.json with every kind of entry, hostile text among the samples."""

    def step(
        name: str, documents: tuple[int, int], size: tuple[int, int], reasons: dict[str, int]
    ) -> dict[str, Any]:
        samples = [
            {
                "id": f"{name}-{number}",
                "url": f"http://127.0.0.1:39183/{name}{number}.html",
                "reason": reason,
                "text": text,
            }
            for reason in reasons
            for number, text in enumerate(
                [
                    "Help on module idlelib.help_about:\n\nNAME\n    idlelib.help_about - About Dialog for IDLE\n",
                    HOSTILE,
                ]
            )
        ]
        return {
            "step": name, "documents_in": documents[0], "documents_out": documents[1], "bytes_in": size[0], "bytes_out": size[1],
            "reasons": reasons, "samples": samples,
        }  # fmt: skip

    return {
        "inputs": {"files": 1, "bytes": 21_914_203},
        "skipped": [
            {"source": "files", "name": "notes/<b>picture</b>.png", "reason": "not text (png)"},
            {"source": "files", "name": "empty.txt", "reason": "empty"},
            {
                "source": "python-docs",
                "name": "http://127.0.0.1:39183/" + "a-very-long-module-name." * 12,
                "reason": "HTTP 404",
            },
        ],
        "steps": [
            step("html", (641, 637), (21_914_203, 12_702_411), {"no text": 4}),
            step("normalise", (637, 637), (12_702_411, 12_611_095), {}),
            step("too_short", (637, 611), (12_611_095, 12_609_820), {"shorter than 100 characters": 26}),
            step(
                "duplicate_documents",
                (611, 604),
                (12_609_820, 12_497_003),
                {"same text as another document": 7},
            ),
            step("duplicate_paragraphs", (604, 598), (12_497_003, 4_310_776), {"nothing left": 6}),
            step("duplicate_lines", (598, 595), (4_310_776, 3_981_344), {"nothing left": 3}),
        ],
        "notes": [
            {"source": "files", "name": "letters.txt", "note": "decoded as windows-1252"},
            {"source": "files", "name": "pages.warc.gz", "note": "truncated gzip: kept what could be read"},
        ],
        "splits": {
            "train": {"documents": 565, "bytes": 3_781_903, "characters": 3_779_100},
            "held_out": {"documents": 30, "bytes": 199_441, "characters": 199_320},
        },
    }


def results() -> dict[str, Any]:
    """results.json of a tuned demo."""
    prompts = [
        "Help on module textwrap:\n\nNAME\n    textwrap - Text",
        "class Queue(builtins.object)\n |  Queue(maxsize=0)\n |",
        HOSTILE,
    ]
    return {
        "bits_per_byte": 1.31874, "held_out_bytes": 199_441, "held_out_tokens": 62_511, "perplexity_per_token": 18.471,
        "window_tokens": 256, "stride_tokens": 128,
        "baselines": {
            "uniform_bits_per_byte": 8.0, "ngram5_kneser_ney_bits_per_byte": 1.80211, "xz9_bits_per_byte": 1.69418,
            "xz9_primed_bits_per_byte": 1.30802, "train_bytes_seen": 3_781_903,
        },
        "samples": [
            {
                "prompt": prompt,
                "base": " wrapping and filling.\n\nDESCRIPTION\n    This module provides a simple interface to the underlying\n    text of the file. " + HOSTILE,
                "tuned": " wrapping and filling.\n\nCLASSES\n    builtins.object\n        TextWrapper\n\n    class TextWrapper(builtins.object)\n     |  Object for wrapping/filling text.",
            }
            for prompt in prompts
        ],
        "answers": [
            {
                "question": question,
                "base": " | Return the number of bytes that are not in the file.\n |\n |  __init__(self, /, *args, **kwargs)\n |      Initialize self.",
                "tuned": answer,
            }
            for question, answer in [
                ("What does `os.path.join` do?", "Join two or more pathname components, inserting '/' as needed."),
                ("What does `json.dumps` do?", "Serialize obj to a JSON formatted str."),
                ("What is the module `random` for?", "Random variable generators."),
                ("What does `shutil.copyfile` do?", "Copy data from src to dst in the most efficient way possible."),
                ("What does `str.upper` do?", "Return a copy of the string converted to uppercase."),
            ]
        ],
        "quiz": {
            "questions": 200, "score": 0.535, "standard_error": math.sqrt(0.535 * 0.465 / 200), "chance": 0.25,
            "examples": [
                {"signature": signature, "choices": [text for _, text in DOCSTRINGS], "right": right, "chosen": chosen}
                for (signature, _), right, chosen in zip(DOCSTRINGS, (0, 1, 2, 3), (0, 2, 2, 1), strict=True)
            ],
        },
    }  # fmt: skip


def log(path: Path, keys: dict[str, str]) -> None:
    """log.jsonl: both trainings, the first one killed at step 900 and gone on from step 820; the first try's lines
    there are off by 5, so that whoever counts them sees it."""
    draw, lines, now = random.Random(7), [], BEGAN

    def add(event: str, **fields: Any) -> None:
        nonlocal now
        now += 0.36
        lines.append({"time": round(now, 3), "event": event, **fields})

    def look(stage: str, step: int) -> None:
        if stage == "pretrain" and step % 148 == 0:
            value = 1.2887 + 2.1 * math.exp(-step / 190) + 0.25 * math.exp(-step / 700)
            add("evaluation", stage=stage, key=keys[stage], step=step, bits_per_byte=round(value, 5))
        if stage == "tune" and step % 16 == 0:
            add(
                "evaluation",
                stage=stage,
                key=keys[stage],
                step=step,
                held_out_answer_loss=round(2.05 + 1.2 * math.exp(-step / 40), 5),
            )

    def training(
        stage: str, places: range, begin: float, end: float, speed: float, off_from: int = 10**9
    ) -> None:
        for step in places:
            if stage == "pretrain" and step % 2 == 0:  # every second step is logged
                look(stage, step)
                continue
            smooth = end + (begin - end) * (0.75 * math.exp(-step / 25) + 0.25 * math.exp(-step / 350))
            add(
                "train", stage=stage, key=keys[stage], step=step, loss=round(smooth + draw.gauss(0, 0.06) + 5 * (step > off_from), 5),
                learning_rate=0.0024, gradient_norm=round(0.25 + 2 * math.exp(-step / 40) + abs(draw.gauss(0, 0.1)), 4), tokens=4096,
                tokens_per_second=round(speed + draw.gauss(0, 300), 1), seconds=round(0.37 * step, 3),
            )  # fmt: skip
            look(stage, step)

    training("pretrain", range(1, 901), 7.7, 2.55, 11241, off_from=820)
    training("pretrain", range(821, 1481), 7.7, 2.55, 11241)
    add("stage", stage="pretrain", seconds=244.2)
    training("tune", range(1, 161), 3.9, 1.75, 9800)
    add("stage", stage="tune", seconds=63.2)
    add("stage", stage="evaluate", seconds=41.7)
    write_atomic(path, "".join(json.dumps(line) + "\n" for line in lines))


def fabricate(path: Path) -> Run:
    """Write a finished demo run into a new folder."""
    data = {
        "name": path.name,
        "sources": [{"kind": "python-docs"}],
        "clean": {"duplicates": {"paragraphs": True, "lines": True}},
        "training": {"minutes": 9},
        "dialogue": {"questions": [answer["question"] for answer in results()["answers"]]},
    }
    recipe = recipes.parse(data)
    path.mkdir(parents=True)
    write_atomic(path / "recipe.yaml", recipes.dump(recipe))
    stages: list[tuple[str, str, float, list[str], dict[str, Any]]] = [
        ("collect", "corpus/collected", 8.312, [], {"pages": 641}),
        ("clean", "corpus/clean", 5.77, ["collect"], {"documents": 595}),
        ("tokenizer", "tokenizer", 3.018, ["clean"], {"vocabulary": 2048, "bytes_per_token": 3.198}),
        ("tokens", "tokens", 1.204, ["clean", "tokenizer"], {"train_tokens": 1_182_604}),
        ("plan", "plan", 9.31, ["tokenizer", "tokens"], {"parameters": 8_093_120, "steps": 1480}),
        ("pretrain", "checkpoints", 244.2, ["tokens", "tokenizer", "plan"], {
            "steps": 1480, "tokens": 6_062_080, "tokens_per_second": 11241.0, "share_of_peak": 0.533, "final_loss": 2.5781,
            "training_seconds": 547.6,
        }),
        ("tune", "dialogue", 63.2, ["pretrain", "tokenizer", "collect", "clean", "plan"], {
            "conversations": 9120, "steps": 160, "final_loss": 1.7711, "tokens_per_second": 9800.0, "share_of_peak": 0.465,
        }),
        ("evaluate", "evaluation", 41.7, ["clean", "tokens", "tokenizer", "pretrain", "tune"], {"bits_per_byte": 1.31874, "quiz_score": 0.535}),
    ]  # fmt: skip
    digests = {name: digest("content", name) for name, *_ in stages}
    for name, folder, seconds, inputs, counts in stages:
        (path / folder).mkdir(parents=True)
        write_json(path / folder / "manifest.json", {
            "format": 1, "stage": name, "key": digest("key", name), "digest": digests[name], "depends": {},
            "inputs": {other: digests[other] for other in inputs}, "versions": {"groundup": "0.1.0", "python": "3.11.2"},
            "counts": counts, "seconds": seconds,
        })  # fmt: skip
    longest = [
        " " * 40,
        "-" * 32,
        " NotImplementedError",
        " characteristics",
        "__init_subclass__",
        " implementation",
        "\n |      ",
        " builtins.object",
        HOSTILE,
    ]
    write_json(path / "tokenizer/report.json", {
        "kind": "bpe", "size": 2048,
            "reason": "the power of two nearest to the square root of 3.8 MB of training text", "bytes_per_token": 3.198, "held_out_bytes_per_token": 3.1905, "longest_tokens": longest,
        "single_byte_share": 0.1873, "unused_tokens": 131,
    })  # fmt: skip
    write_json(path / "tokens/shards.json", {
        "vocabulary": 2048, "dtype": "uint16", "end_of_text": 0,
        "train": {"tokens": 1_182_604, "documents": 565, "bytes": 3_781_903},
        "held_out": {"tokens": 62_542, "documents": 30, "bytes": 199_441},
    })  # fmt: skip
    write_json(path / "corpus/clean/funnel.json", funnel())
    write_json(path / "plan/plan.json", plan())
    write_json(path / "evaluation/results.json", results())
    log(path / "log.jsonl", {name: digest("key", name) for name in ("pretrain", "tune")})
    return Run.read(path)
