"""The model card: what the run folder says about the model, and nothing that it does not.

A section whose files are not there yet is left out; a figure that was not measured is not mentioned. Of a source of files the name is
given and not the path, which is nobody else's business.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from groundup.export.leaving import Leaving
from groundup.recipe.sources import CrawlSource, Source
from groundup.report import sections, words
from groundup.report.figures import of as figures_of
from groundup.report.material import Material

TASKS = {"decoder": "text-generation", "encoder": "fill-mask", "encoder-decoder": "text2text-generation", "permutation": "text-generation"}
CLASSES = {"decoder": "AutoModelForCausalLM", "encoder": "AutoModelForMaskedLM", "encoder-decoder": "AutoModelForSeq2SeqLM", "permutation": "AutoModelForCausalLM"}
Row = dict[str, Any]


def card(leaving: Leaving, stock: str, dtype: str) -> str:
    """README.md with its YAML header."""
    material = Material.of(leaving.run)
    figures = figures_of(material)
    imported = leaving.run.events("imported")
    parts = [
        _header(leaving, material), f"# {leaving.run.recipe.name}\n\n{_what(leaving, stock, dtype)}", _use(leaving),
        _imported(imported[-1]) if imported else _data(leaving, material, figures), "" if imported else _training(leaving, material, figures),
        _evaluation(leaving, material, figures), _limits(leaving, figures), _licence(bool(imported)), _figures(figures, bool(imported)),
    ]  # fmt: skip
    return "\n\n".join(part for part in parts if part) + "\n"


def _header(leaving: Leaving, material: Material) -> str:
    languages = list(_languages(material))
    lines = [
        "---", "library_name: transformers", f"pipeline_tag: {TASKS[leaving.config.kind]}", "license: unknown", "tags:", "- groundup",
        *(["- conversational"] if leaving.tuned else []), *(["language:", *(f"- {code}" for code in languages)] if languages else []), "---",
    ]  # fmt: skip
    return "\n".join(lines)


def _languages(material: Material) -> dict[str, int]:
    """Languages that the cleaning counted, each at least a twentieth of the documents: of less, many are mistaken."""
    counted = next((step.get("counts") or {} for step in sections.cleaning_steps(material) if step.get("step") == "language"), {})
    whole = sum(counted.values())
    return {code: number for code, number in counted.items() if re.fullmatch(r"[a-z]{2,3}", code) and number >= whole / 20}


def _what(leaving: Leaving, stock: str, dtype: str) -> str:
    exactly = f" ({leaving.parameters:,})" if leaving.parameters >= 1_000_000 else ""
    config = leaving.config
    kind = "answers questions and talks" if leaving.tuned else {"decoder": "goes on with a text", "encoder": "fills in what is masked"}.get(config.kind, "goes on with a text")
    return (
        f"A language model of {words.short(leaving.parameters)} parameters{exactly} that {kind}, built from the ground up with "
        f"groundup. Its class is `{stock}`: {config.layers} layers of width {config.width}, {config.heads} heads"
        + (f" that share {config.kv_heads} of keys and values" if config.kv_heads != config.heads else "")
        + f", a context of {config.context:,} tokens, a vocabulary of {config.vocabulary:,}. The weights are in {dtype}."
    )


def _use(leaving: Leaving) -> str:
    said = ['from transformers import pipeline\n\nmodel = pipeline("TASK", "this-folder")'.replace("TASK", TASKS[leaving.config.kind])]
    match leaving.config.kind:
        case "decoder" if leaving.tuned:
            said.append('print(model([{"role": "user", "content": "What can you do?"}])[0]["generated_text"][-1]["content"])')
        case "decoder":
            said.append('print(model("It was")[0]["generated_text"])')
        case "encoder":
            said.append('print(model("It was " + model.tokenizer.mask_token))')
        case _:
            said = [f'from transformers import AutoTokenizer, {CLASSES[leaving.config.kind]}\n\nwords = AutoTokenizer.from_pretrained("this-folder")',
                    f'model = {CLASSES[leaving.config.kind]}.from_pretrained("this-folder")']  # fmt: skip
    code = "\n".join(said)
    return f"## Use\n\n```python\n{code}\n```"


def _imported(line: Row) -> str:
    name = Path(str(line.get("folder", ""))).name
    return f"## Data and training\n\nIts weights were brought in from the Hugging Face folder `{_plain(name)}`; what they were trained on is said there."


def _data(leaving: Leaving, material: Material, figures: Row) -> str:
    lines = ["## Data", ""]
    lines += [f"- {_source(source)}" for source in leaving.run.recipe.sources]
    if (found := sections.funnel(material, samples=0)) is not None:
        lines += ["", "| step | documents in | documents out | bytes in | bytes out |", "|---|---:|---:|---:|---:|"]
        for row in found["rows"]:
            documents, size = row["documents"], row["bytes"]
            lines.append(f"| {_plain(row['name'])} | {documents['before']:,} | {documents['after']:,} | {words.size(size['before'])} | {words.size(size['after'])} |")
        lines += ["", *(f"{words.count(part['documents'])} documents, {words.size(part['bytes'])}, are {part['name']}." for part in found["splits"])]
    if figures["train_tokens"]:
        lines.append(f"The text for training is {words.short(figures['train_tokens'])} tokens, {figures['bytes_per_token']:.2f} bytes each."
                     if figures["bytes_per_token"] else f"The text for training is {words.short(figures['train_tokens'])} tokens.")  # fmt: skip
    if languages := _languages(material):
        lines.append("Languages, by documents at that step: " + ", ".join(f"{code} {number:,}" for code, number in languages.items()) + ".")
    return "\n".join(lines)


def _source(source: Source) -> str:
    match source:
        case CrawlSource():
            return f"`{_plain(source.name)}`: pages of {', '.join(_plain(seed) for seed in source.seeds)}"
        case _:
            about = {"files": "local files", "python-docs": "Python's own reference", "token-files": "token files, read as text"}[source.kind]
            return f"`{_plain(source.name)}`: {about}"


def _training(leaving: Leaving, material: Material, figures: Row) -> str:
    plan, optimizer = material.plan, material.plan.get("optimizer") or {}
    schedule = ((material.stages.get("pretrain", {}).get("depends") or {}).get("training") or {}).get("schedule")
    machine = sections.machine(material)
    rows = [
        ("Steps", _with("{:,}", figures["steps"])),
        ("Tokens a step", _with("{:,}", figures["batch_tokens"])),
        ("Tokens seen", _with("{:,}", figures["trained_tokens"])),
        ("Optimizer", optimizer.get("name")),
        ("Peak learning rate", _with("{:g}", optimizer.get("learning_rate"))),
        ("Schedule", schedule),
        ("Weight decay", _with("{:g}", optimizer.get("weight_decay"))),
        ("Precision", figures["precision"]),
        ("Hours", None if figures["training_seconds"] is None else f"{figures['training_seconds'] / 3600:.3g}"),
        ("Final training loss", _with("{:.4f}", figures["final_loss"])),
        ("Steps of tuning", _with("{:,}", figures["tuning_steps"]) if leaving.tuned else None),
        ("Hardware", ", ".join(f"{name.lower()} {value}" for name, value in machine) or None),
    ]
    known = [f"| {name} | {_plain(str(value))} |" for name, value in rows if value is not None]
    if "pretrain" not in material.stages:
        known.append(f"| Training | not at its end: a checkpoint at step {leaving.step:,} |")
    return "\n".join(["## Training", "", "| | |", "|---|---|", *known]) if plan or known else ""


def _evaluation(leaving: Leaving, material: Material, figures: Row) -> str:
    lines = []
    if (bits := sections.bits(figures)) is not None:
        whose = " of the base model, before tuning" if leaving.tuned else ""
        lines += [f"Bits per byte of held-out text{whose}; fewer is better.", "", "| | bits per byte |", "|---|---:|"]
        lines += [f"| {row['name']} | {row['value']:.4f} |" for row in bits["rows"]]
        if figures["held_out_bytes"]:
            lines += ["", f"Measured on {words.size(figures['held_out_bytes'])} that it never saw, in windows of {figures['window_tokens']} tokens."]
    elif figures["objective_bits_per_byte"] is not None:
        lines.append(f"{figures['objective_bits_per_byte']:.4f} bits per byte of what its objective ({figures['objective']}) asks for in held-out text.")
    if leaving.tuned and (quiz := sections.quiz(material)) is not None:
        error = 100 * quiz["standard_error"]
        lines += ["", f"Quiz: {100 * quiz['score']:.1f} % ± {error:.1f} of {quiz['questions']:,} questions with four answers each (chance {100 * quiz['chance']:.0f} %)."]
    return "\n".join(["## Evaluation", "", *lines]) if lines else ""


def _limits(leaving: Leaving, figures: Row) -> str:
    lines = [
        "It knows what its training text says and nothing later or else; it can state what is false as fluently as what is true.",
        f"It sees {leaving.config.context:,} tokens at once; a longer text has to be cut.",
        "What it says that is harmful, and about whom, was not measured." + (" It was tuned to answer, not to refuse." if leaving.tuned else " It goes on with a text, it does not answer."),
    ]  # fmt: skip
    if leaving.tuned:
        lines.append("Special tokens written in a user's own text count as such in transformers, unless `apply_chat_template` gets `sanitize_control_tokens=True`.")
    return "\n".join(["## Limits", "", *(f"- {line}" for line in lines)])


def _licence(imported: bool) -> str:
    where = "the folder it was brought in from" if imported else "the texts named above"
    return f"## Licence\n\nNot stated: what these weights may be used for hangs on the licences of {where}. Whoever publishes them should say."


def _figures(figures: Row, imported: bool) -> str:
    if imported or not figures["finished_stages"]:
        return ""
    known = {name: value for name, value in figures.items() if value is not None}
    text = json.dumps(known, indent=1, ensure_ascii=False)
    return f"## All figures of the build\n\n```json\n{text}\n```"


def _with(form: str, value: Any) -> str | None:
    return None if value is None else form.format(value)


def _plain(text: str) -> str:
    """Foreign text on one line of a table."""
    return re.sub(r"[\s|`<>]+", " ", str(words.visible(text))).strip()
