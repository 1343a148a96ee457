"""A finished run folder as the stages leave it, with figures like a real build's. Nothing is trained here."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path
from typing import Any

from groundup import recipe as recipes
from groundup.run import Run, digest, read_json, write_atomic, write_json

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


def copies() -> dict[str, Any]:
    """What the steps that look for copies tell, more than is shown unfolded."""
    sample = {"id": "x", "source": "web", "url": "https://copies.example/1.html", "text": HOSTILE}
    return {
        "duplicate documents": {"repeated": []}, "duplicate lines": {"repeated": [{"times": 61_036, "bytes": 3_051_800, "text": HOSTILE}] * 12},
        "near duplicates": {
            "sizes": {"2": 900, "3": 120, "9": 4, "15": 1, "1200": 1},
            "clusters": [{"documents": 1200 - number, "kept": sample, "dropped": [sample] * 4} for number in range(12)],
        },
    }  # fmt: skip


def cleaning_funnel() -> dict[str, Any]:
    """funnel.json of a build with every step on, its samples and changes hostile now and then; adds up from step to step."""
    draw = random.Random(11)
    sources = {"web": (61_204, 412_000_000), "books & <b>more</b>": (310, 92_000_000), "crawl": (18_442, 71_300_000)}
    plain = "Sign up now and save! Best prices on all the best things, all day, every day, for all the best people. "
    reasons: dict[str, dict[str, float]] = {
        "urls": {"on the block list": 0.01}, "html": {"no text": 0.004, "over the time limit": 0.0001}, "unicode": {}, "emoji": {},
        "language": {"not in the list": 0.12, "not sure": 0.03},
        "gopher_repetition": {"repeated lines": 0.04, "repeated 2-grams": 0.02, "repeated paragraphs": 0.004},
        "gopher_quality": {"too few stop words": 0.05, "words too long": 0.01, "too many symbols": 0.006, "bullets": 0.002},
        "fineweb": {"lines do not end as sentences": 0.07}, "perplexity": {"surprising": 0.04}, "spelling": {}, "toxicity": {"toxic": 0.013},
        "personal_data": {}, "length": {"too short": 0.06}, "cut": {}, "duplicate documents": {"copy of an earlier document": 0.03},
    }  # fmt: skip
    counts: dict[str, dict[str, int]] = {
        "language": {"en": 58_000, "de": 5_210, "fr": 4_007, "zh": 900, **{f"x{number}": 40 - number for number in range(30)}},
        "emoji": {"\U0001f600 -> :grinning_face:": 300, "\u2764 -> :red_heart:": 120},
        "spelling": {"teh -> the": 210, "recieve -> receive": 88, HOSTILE: 1},
        "personal_data": {"e-mail": 4_120, "phone": 1_204, "IP address": 310, "card": 12, "IBAN": 3, "secret": 1},
    }
    changes = {
        "unicode": [("It\u00e2\u20ac\u2122s a na\u00c3\u00afve\u200b plan.  \n\n\n\nYes", "It's a na\u00efve plan.\n\nYes"), (HOSTILE, HOSTILE.replace("\x00", ""))],
        "spelling": [("\u2026 where teh harbour begins, you recieve a lantern\u2026", "\u2026 where the harbour begins, you receive a lantern and\u2026")],
        "personal_data": [("Write to jane.doe@example.org or call +1 555 0100.", "Write to <EMAIL> or call <PHONE>.")],
        "emoji": [("Great \U0001f600!", "Great :grinning_face:!")],
    }
    spread = {
        "language": (1.0, 0.6, 0.65), "perplexity": (240.0, 1.1, 900.0), "toxicity": (0.08, 0.9, 0.5), "length": (2400.0, 1.4, 200.0),
        "gopher_repetition": (0.05, 0.8, 0.2),
    }  # fmt: skip
    left, steps = dict(sources), []
    for step, why in reasons.items():
        before, found = dict(left), {}
        dropped = dict.fromkeys(why, 0)
        for place, (source, (documents, size)) in enumerate(left.items()):
            gone = {reason: int(documents * share * (0.3 + 0.7 * place)) for reason, share in why.items()}
            for reason, number in gone.items():
                dropped[reason] += number
            share = 1 - sum(gone.values()) / max(1, documents)
            found[source] = (documents - sum(gone.values()), int(size * share * (0.31 if step == "html" else 0.998 if step in changes else 1)))
        left = found
        scores: dict[str, list[int]] = {}
        if step in spread:
            middle, width, threshold = spread[step]
            below = step in ("language", "length")  # dropped below the threshold; elsewhere above it
            for _ in range(4000):
                score = draw.lognormvariate(math.log(middle), width)
                score = min(score, 1.0) if middle <= 1 else score
                scores.setdefault(f"{score:.2g}", [0, 0])[int((score < threshold) == below)] += 1
        samples = [
            {
                "id": f"{step}-{reason}-{number}", "source": list(sources)[number % 3], "url": f"https://example.org/{step}/{number}.html", "reason": reason,
                "text": (HOSTILE if number == 1 else plain * 3)[:300], **({"score": 0.1 + number / 50} if step in spread else {}),
            }
            for reason in why
            for number in range(min(20, dropped[reason]))
        ]  # fmt: skip
        changed = [
            {"id": f"{step}-{number}", "source": "web", "url": f"https://example.org/{step}/{number}.html", "before": one, "after": other}
            for number, (one, other) in enumerate(changes.get(step, []))
        ]
        names = ("documents_in", "documents_out", "bytes_in", "bytes_out")
        rows = {source: dict(zip(names, (before[source][0], left[source][0], before[source][1], left[source][1]), strict=True)) for source in sources}
        steps.append({
            "step": step, **{name: sum(row[name] for row in rows.values()) for name in names}, "changed": 417 if changed else 0, "reasons": dropped,
            "samples": samples, "changes": changed, "counts": counts.get(step, {}), "sources": rows, "scores": dict(sorted(scores.items(), key=lambda item: float(item[0]))),
        })  # fmt: skip
    for place, name, share in ((0, "bias_before", 1.0), (len(steps) + 1, "bias_after", 0.75)):
        beside = steps[0] if place == 0 else steps[-1]
        rows = {source: {f"{unit}_{side}": row[f"{unit}_{'in' if place == 0 else 'out'}"] for unit in ("documents", "bytes") for side in ("in", "out")} for source, row in beside["sources"].items()}
        steps.insert(place, {
            "step": name, **{key: sum(row[key] for row in rows.values()) for key in ("documents_in", "documents_out", "bytes_in", "bytes_out")}, "changed": 0,
            "reasons": {}, "samples": [], "changes": [], "counts": mentions(share), "sources": rows, "scores": {},
        })  # fmt: skip
    return {
        "inputs": {"files": 14, "documents": steps[0]["documents_in"], "bytes": steps[0]["bytes_in"]},
        "skipped": [{"source": "crawl", "name": f"pages/{number}.bin", "reason": "not text" if number % 3 else HOSTILE} for number in range(40)],
        "notes": [{"source": "web", "name": "letters.txt", "note": "decoded as windows-1252"}],
        "steps": steps,
        "splits": {
            "train": {"documents": steps[-1]["documents_out"] - 900, "bytes": steps[-1]["bytes_out"] - 9_000_000, "characters": 1},
            "held_out": {"documents": 900, "bytes": 9_000_000, "characters": 1},
        },
    }  # fmt: skip


def mentions(share: float) -> dict[str, int]:
    """What a bias step counts, of a corpus of which such a share is left: women lose more than the rest, Muslims half."""
    words, groups = 20_000_000, {"women": (61_000, 0.8), "men": (74_000, 1.0), "Muslims": (2_300, 0.5), "old people": (900, 1.1)}
    found = {"words": int(words * share), **{name: int(30_000 * share) for name in ("pleasant", "unpleasant", "career", "family", "science", "arts")}}
    for place, (group, (number, fate)) in enumerate(groups.items()):
        left = share if share == 1 else share * fate
        near = int(number * left * 20)
        found |= {group: int(number * left), f"near {group}": near, f"{group} with pleasant": int(near * 0.002), f"{group} with unpleasant": int(near * 0.002 * (2 + place) * share)}
        found |= {f"{group} with career": int(near * 0.001 * (1 + place)), f"{group} with family": int(near * 0.002)}
    return found


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
        if stage == "1-sft" and step % 16 == 0:
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
    training("1-sft", range(1, 161), 3.9, 1.75, 9800)
    add("stage", stage="1-sft", seconds=63.2)
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
    (path / "dialogue" / "1-sft").mkdir()
    tuned = dict(read_json(path / "dialogue" / "manifest.json"), stage="1-sft", key=digest("key", "1-sft"))
    write_json(path / "dialogue" / "1-sft" / "manifest.json", tuned)
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
    log(path / "log.jsonl", {name: digest("key", name) for name in ("pretrain", "1-sft")})
    return Run.read(path)
