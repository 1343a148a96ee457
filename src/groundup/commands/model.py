"""Models by name, brought in from elsewhere and written for others."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, cast

import typer

from groundup.commands.options import Json, Name, RunArgument, Runs, find_run
from groundup.errors import RequestError


def presets(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="Show one in full.")] = None, as_json: Json = False,
) -> None:  # fmt: skip
    """The field's models by name: architecture, size, published training settings, sources."""
    from groundup.models import presets as kit

    chosen = [kit.named(name, "presets")] if name else list(kit.PRESETS.values())
    rows = [kit.described(preset, full=name is not None) for preset in chosen]
    if as_json:
        print(json.dumps(rows[0] if name else rows))
    elif name:
        print("\n".join(f"{key}: {value}" for key, value in rows[0].items() if value not in ("", {}, None)))
    else:
        print(f"{'name':<20}{'family':<13}{'layers':>7}{'width':>8}{'heads':>7}{'context':>9}{'vocabulary':>12}{'parameters':>18}")
        for row in rows:
            print("{name:<20}{family:<13}{layers:>7}{width:>8}{heads:>7}{context:>9}{vocabulary:>12,}{parameters:>18,}".format(**row))


def import_(
    folder: Annotated[Path, typer.Argument(help="A Hugging Face folder: config.json, *.safetensors, tokenizer.json.")],
    runs: Runs = Path("runs"), name: Name = None, as_json: Json = False,
) -> None:  # fmt: skip
    """Bring in a model of Hugging Face's: gpt2, openai-gpt, llama, mistral, mixtral, qwen2, qwen3, falcon, bert, t5, xlnet."""
    from groundup.imported import bring_in

    found = bring_in(folder, runs, name or folder.resolve().name)
    said = "{family}, {parameters:,} parameters, vocabulary {vocabulary:,}, in {path}".format(**found)
    print(json.dumps(found) if as_json else said)


def export(
    run: RunArgument,
    out: Annotated[Path, typer.Argument(help="A new folder (hf, safetensors) or a new file (gguf).")],
    to: Annotated[str, typer.Option(help="hf: a folder for transformers; gguf: a file for llama.cpp; safetensors: our own names, without the optimizer.")],
    base: Annotated[bool, typer.Option("--base", help="The base model of a tuned run.")] = False,
    dtype: Annotated[str | None, typer.Option(help="hf, safetensors: f32, f16 or bf16; f32 when not given.")] = None,
    quantize: Annotated[str | None, typer.Option(help="gguf: f16, q8_0 or q4_0; f16 when not given.")] = None,
    runs: Runs = Path("runs"), as_json: Json = False,
) -> None:  # fmt: skip
    """Write a run's model for others: Hugging Face with its tokenizer and a model card, GGUF for llama.cpp, plain safetensors."""
    if to not in ("hf", "gguf", "safetensors"):
        raise RequestError(f"no format '{to}'", where="--to", do="These are known: hf, gguf, safetensors.")
    from groundup.export import export as write

    found = write(find_run(run, runs), cast(Any, to), out.expanduser().absolute(), base=base, dtype=dtype, quantize=quantize)
    said = "{family}, {parameters:,} parameters, {bytes:,} bytes, in {path}".format(**found)
    print(json.dumps(found, ensure_ascii=False) if as_json else said)
