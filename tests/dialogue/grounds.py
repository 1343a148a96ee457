"""A run with a small base model and a few files to tune it on."""

from __future__ import annotations

import json
import random
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from groundup import recipe as recipes
from groundup.dialogue.link import Ground
from groundup.models.build import build
from groundup.models.config import ModelConfig
from groundup.run import Run
from groundup.tokens.encoding import encode
from groundup.tokens.learning import train_tokenizer
from groundup.tokens.tokenizer import Tokenizer
from groundup.training import checkpoint
from groundup.training.optimizers import OptimizerSettings, optimizers

CONFIG = ModelConfig(vocabulary=267, context=32, layers=2, width=32, heads=2, kv_heads=2, feedforward=64)
WORDS = ("red", "blue", "ten", "no", "yes", "tree", "sea", "moon", "one", "ash")


def write_rows(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def files(folder: Path) -> dict[str, list[str]]:
    """Conversations that answer in capitals or not, preferences for capitals, and words to copy with a rule."""
    draw = random.Random(0)
    folder.mkdir(parents=True, exist_ok=True)
    asked = [f"{draw.choice(WORDS)} {number}" for number in range(60)]
    pairs = [{"question": one, "answer": (one.split()[0].upper() if draw.random() < 0.5 else one.split()[0]) + "."} for one in asked]
    preferences = [{"prompt": one, "chosen": one.split()[0].upper() + ".", "rejected": one.split()[0] + "."} for one in asked]
    prompts = [{"prompt": one, "verify": {"kind": "regex", "pattern": "[A-Z]"}} for one in asked]
    return {
        "pairs": [write_rows(folder / "pairs.jsonl", pairs)], "preferences": [write_rows(folder / "preferences.jsonl", preferences)],
        "prompts": [write_rows(folder / "prompts.jsonl", prompts)],
    }  # fmt: skip


def ground(path: Path, dialogue: dict[str, Any], *, home: Path | None = None, follows: bool = False, config: ModelConfig = CONFIG, training: dict[str, Any] | None = None, **more: Any) -> Ground:
    """A run in `path` whose base model is of random weights; `dialogue`: the recipe's section, `home`: where
    its files are."""
    own = {name: names for name, names in files(home or path.parent / "files").items() if name != "prompts"}
    recipe = recipes.parse({
        "name": "r", "sources": [{"kind": "files", "path": "x"}], "tokens": {"kind": "bytes"}, "training": {"track": [], "evaluations": 2, **(training or {})},
        "dialogue": {"steps": 4, **own, **dialogue}, **more,
    })  # fmt: skip
    run = Run.follow(path, recipe) if follows else Run.open(path, recipe)
    clean = run.stage("clean", "corpus/clean", depends={}, inputs={})
    if not clean.done:
        texts = [f"{one} and {other} are words. " * 4 for one in WORDS for other in WORDS[:4]]
        table = pa.table({"id": [str(n) for n in range(len(texts))], "text": texts, "source": ["s"] * len(texts), "split": ["held-out" if n % 9 == 0 else "train" for n in range(len(texts))]})
        pq.write_table(table, clean.work / "part-00000.parquet", compression="zstd")
        clean.finish({})
    tokenizer = train_tokenizer(run, clean, lambda: (1.0, None))  # type: ignore[arg-type,return-value]
    shards = encode(run, clean, tokenizer)
    words = Tokenizer.load(tokenizer.final)
    base = run.stage("pretrain", "checkpoints", depends={}, inputs={})
    if not base.done:
        model = build(config, seed=0)
        checkpoint.save(base.work, 7, model, config, optimizers(model, OptimizerSettings()), {"tokenizer": words.digest})
        base.finish({})
    found = checkpoint.newest(base.final)
    assert found is not None and recipe.dialogue is not None
    planned = {
        "micro_batch": 4, "micro_batches": 1, "optimizer": asdict(OptimizerSettings(learning_rate=1e-2, weight_decay=0.0)), "precision": "fp32", "compile": False,
        "peak_gflops": 1.0, "batch_tokens": 4 * config.context, "model": config.model_dump(),
    }  # fmt: skip
    text = (tokenizer.final / "tokenizer.json").read_text()
    return Ground(run, recipe.dialogue, found, text, planned, None, {"pretrain": base.digest}, None, None, shards.final)
