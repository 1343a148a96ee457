"""What llama.cpp makes of exported GGUF files: logits, greedy tokens and the ids of 1,000 hard strings, beside our own.

    make check-gguf [RUN=runs/demo]
    python benchmarks/check_gguf.py [--run RUN] [--peer .venv-gguf/bin/python] [--json]

Small random models of every architecture that is written, and with --run a trained one, each in f16, q8_0 and q4_0. The logits of a
quantised file are held against our model with the numbers that the file holds, which shows what llama.cpp computes otherwise
(`logits_difference`), and against our model as it was trained, which shows what the format costs (`quantisation_difference`).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.append(str(Path(__file__).parents[1] / "tests" / "export"))
from hard_strings import hard_strings  # type: ignore[import-not-found]

from groundup import recipe as recipes
from groundup.export import export
from groundup.export import gguf as writing
from groundup.export.leaving import Leaving
from groundup.models.build import build
from groundup.models.config import resolved
from groundup.run import Run, write_atomic
from groundup.tokens.tokenizer import Tokenizer
from groundup.tokens.trainers import train_bpe
from groundup.training import checkpoint
from groundup.training.optimizers import OptimizerSettings, optimizers

SHAPE: dict[str, Any] = {"context": 128, "layers": 3, "width": 128, "heads": 4, "feedforward": 256}
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("qwen2", {"family": "llama", "kv_heads": 2}),
    "llama-scaled": ("llama3", {"family": "llama", "bias": True, "tied": False, "rope_scaling": 8.0, "rope_wavelengths": (16.0, 100.0)}),
    "llama-linear": ("gpt2", {"family": "llama", "rope_scaling": 4.0}),
    "qwen2": ("qwen2", {"family": "llama", "attention_bias": "qkv", "kv_heads": 2}),
    "qwen3": ("qwen2", {"family": "llama", "qk_norm_scale": True, "kv_heads": 2, "head_size": 64}),
    "moe": ("qwen2", {"family": "moe", "experts": 4, "tied": False}),
    "gpt2": ("gpt2", {"family": "gpt2"}),
    "falcon": ("llama3", {"family": "falcon"}),
    "falcon-40b": ("qwen2", {"family": "falcon", "kv_heads": 2, "parallel": "two-norms"}),
}  # fmt: skip
"""Name, pattern of its tokenizer, config."""
STRINGS, GREEDY = 1000, 24


def random_run(folder: Path, name: str) -> Run:
    """A run folder with a random model and a tokenizer trained on other hard strings than are asked for."""
    pattern, more = FAMILIES[name]
    text = train_bpe(hard_strings(6000, seed=1), 1000, must_reach=False, pattern=pattern)  # type: ignore[arg-type]
    words = Tokenizer(text)
    config = resolved(**{"vocabulary": words.size, **SHAPE, **more})
    model = build(config, seed=1)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
    Run.open(folder / name, recipes.parse({"name": name, "sources": [{"kind": "files", "path": str(folder)}]})).close()
    (folder / name / "tokenizer").mkdir()
    write_atomic(folder / name / "tokenizer" / "tokenizer.json", text)
    checkpoint.save(folder / name / "checkpoints", 0, model, config, optimizers(model, OptimizerSettings()), {"tokenizer": words.digest})
    return Run.read(folder / name)


def said(leaving: Leaving, weights: dict[str, torch.Tensor], tokens: list[int]) -> torch.Tensor:
    """Our logits with these weights, (T, V)."""
    model = build(leaving.config).eval()
    model.load_state_dict(weights)
    read = torch.tensor([tokens])
    with torch.no_grad():
        logits_TV: torch.Tensor = model(read, torch.arange(len(tokens))[None])[0]
    return logits_TV


def as_held(leaving: Leaving, quantization: str) -> dict[str, torch.Tensor]:
    """Our weights with the numbers that the file holds: each matrix written and read in its format."""
    import gguf

    arch = writing.architecture(leaving.config)
    held = {name: tensor.clone() for name, tensor in leaving.weights.items()}
    # every tensor of the file is a view of ours or a copy of its rows in another order, so rounding ours by rows is the same
    for name, tensor in held.items():
        theirs = {"embedding.weight": "token_embd.weight", "head.weight": "output.weight", "places.weight": "position_embd.weight"}.get(name, name)
        kind = writing.kind_of(theirs if "router" not in name else ".ffn_gate_inp.", tensor, quantization)
        if kind != "F32":
            kinds = gguf.GGMLQuantizationType[kind]
            packed = gguf.quants.quantize(tensor.float().contiguous().numpy(), kinds)
            tensor.copy_(torch.from_numpy(np.array(gguf.quants.dequantize(packed, kinds))).reshape(tensor.shape))
    assert arch
    return held


def main() -> None:
    """Parse, write, ask, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, help="a trained run to check too")
    parser.add_argument("--peer", default=".venv-gguf/bin/python", help="interpreter that has llama-cpp-python")
    parser.add_argument("--json", action="store_true")
    wish = parser.parse_args()
    torch.set_num_threads(1)
    texts = hard_strings(STRINGS)
    rows = []
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        write_atomic(folder / "texts.json", json.dumps(texts))
        runs = [random_run(folder / "runs", name) for name in FAMILIES] + ([Run.read(wish.run)] if wish.run else [])
        asked: dict[str, tuple[Leaving, str, list[int], list[int]]] = {}
        for run in runs:
            leaving = Leaving.of(run, base=False)
            ids = [token for text in hard_strings(60, seed=2) for token in leaving.words.encode(text)][: min(96, leaving.config.context)]
            for quantization in writing.QUANTIZATIONS:
                name = f"{run.recipe.name}-{quantization}"
                export(run, "gguf", folder / f"{name}.gguf", quantize=quantization)
                question = {"tokens": ids, "prompt": ids[:20], "greedy": GREEDY, "context": leaving.config.context, "texts": quantization == "f16"}
                write_atomic(folder / f"{name}.asked.json", json.dumps(question))
                asked[name] = leaving, quantization, ids, ids[:20]
        subprocess.run([wish.peer, str(Path(__file__).with_name("check_gguf_peer.py")), str(folder)], check=True)
        for name, (leaving, quantization, ids, prompt) in asked.items():
            found, cut = np.load(folder / f"{name}.npz"), json.loads((folder / f"{name}.ids.json").read_text())["ids"]
            theirs = torch.from_numpy(found["logits"])
            held = as_held(leaving, quantization)
            ours, trained = said(leaving, held, ids), said(leaving, dict(leaving.weights), ids)
            written = list(prompt)
            while len(written) < len(prompt) + GREEDY:
                written.append(int(said(leaving, held, written)[-1].argmax()))
            same = [one == other for one, other in zip(found["greedy"].tolist(), written[len(prompt) :], strict=True)]
            rows.append({
                "model": name.removesuffix(f"-{quantization}"), "architecture": writing.architecture(leaving.config), "quantization": quantization,
                "logits_difference": float((theirs - ours).abs().max()), "logits_spread": float(ours.std()),
                "quantisation_difference": float((theirs - trained).abs().max()), "greedy_tokens": len(same), "greedy_tokens_equal": sum(same),
                "strings": len(texts) if cut else None, "strings_equal": sum(leaving.words.encode(text) == other for text, other in zip(texts, cut, strict=True)) if cut else None,
                "strings_that_differ": [text for text, other in zip(texts, cut, strict=True) if leaving.words.encode(text) != other][:5] if cut else None,
            })  # fmt: skip
    if wish.json:
        print(json.dumps({"rows": rows}))
        return
    print(f"{'model':<16}{'architecture':<14}{'format':<8}{'logits':>10}{'of spread':>11}{'to trained':>12}{'greedy':>9}{'strings':>12}")
    for row in rows:
        strings = "" if row["strings"] is None else f"{row['strings_equal']}/{row['strings']}"
        greedy = f"{row['greedy_tokens_equal']}/{row['greedy_tokens']}"
        print("{model:<16}{architecture:<14}{quantization:<8}{logits_difference:>10.5f}{logits_spread:>11.3f}{quantisation_difference:>12.4f}".format(**row) + f"{greedy:>9}{strings:>12}")
        for text in row["strings_that_differ"] or []:
            print(f"    differs: {text!r}")


if __name__ == "__main__":
    main()
