"""What each section of the page shows: from the material to words and lengths of bars, no HTML."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from markupsafe import Markup

from groundup.report import groups, plots, words
from groundup.report.material import STAGES, Material

Row = dict[str, Any]

BASELINES = {
    "xz9_bits_per_byte": ("xz", "xz -9 on the unseen text alone"),
    "xz9_primed_bits_per_byte": (
        "xz primed with the training text",
        "xz -9 that read the training text first",
    ),
    "ngram5_kneser_ney_bits_per_byte": ("a 5\u2011gram", "byte 5-gram (Kneser-Ney) of the training text"),
}
"""Name in a sentence, name in a chart."""

MARKS = {
    "xz9_bits_per_byte": "xz",
    "xz9_primed_bits_per_byte": "xz primed",
    "ngram5_kneser_ney_bits_per_byte": "5\u2011gram",
}
"""Name beside a line of a chart."""

DOES = {
    "collect": "fetch pages, list files",
    "clean": "extract text, drop copies, set unseen text aside",
    "tokenizer": "learn which pieces of text become tokens",
    "tokens": "turn the text into numbers",
    "plan": "measure the machine, choose model and steps",
    "pretrain": "learn to predict the next token",
    "tune": "learn to answer",
    "evaluate": "measure, beside baselines",
}


def verdict(figures: dict[str, Any]) -> str | None:
    """The build in one sentence; None before the evaluation."""
    mine, baselines = figures["bits_per_byte"], figures["baselines"] or {}
    if mine is None:
        asked = figures["objective_bits_per_byte"]
        return None if asked is None else f"This model was taught {figures['objective']}; unseen text takes it {asked:.2f} bits per byte asked for."
    needs = [
        f"{name} {baselines[key]:.2f}"
        for key, (name, _) in BASELINES.items()
        if baselines.get(key) is not None
    ]
    compared = "; " + ", ".join(needs).replace(" ", " needs ", 1) if needs else ""
    return f"This model predicts unseen text at {mine:.2f} bits per byte{compared}."


def standing(figures: dict[str, Any]) -> str | None:
    """Which baselines the model beats, plainly."""
    mine, baselines = figures["bits_per_byte"], figures["baselines"] or {}
    known = [(name, baselines[key]) for key, (name, _) in BASELINES.items() if baselines.get(key) is not None]
    if mine is None or not known:
        return None
    beaten, ahead = (
        [name for name, value in known if mine < value],
        [name for name, value in known if mine >= value],
    )
    if not ahead:
        return f"Fewer is better: it beats {_listed(beaten)}."
    if not beaten:
        return f"Fewer is better: it does not beat {_listed(ahead, 'or')}."
    return f"Fewer is better: it beats {_listed(beaten)}, but not {_listed(ahead, 'or')}."


def tiles(figures: dict[str, Any]) -> list[Row]:
    """Key figures: value, unit or remark, what it is."""
    quiz, trained = figures["quiz"], figures["trained_tokens"]
    passes = (
        f"{trained / figures['train_tokens']:.1f} passes over the text"
        if trained and figures["train_tokens"]
        else ""
    )
    made = [
        _tile(figures["bits_per_byte"], "{:.3f}", "bits per byte", "of unseen text, lower is better"),
        _tile(
            figures["objective_bits_per_byte"], "{:.3f}", "bits per byte", f"of what {figures['objective']} asks for in unseen text, lower is better"
        ),
        _tile(figures["objective_accuracy"], words.percent, "guessed right", "of the tokens asked for"),
        _tile(figures["parameters"], words.short, "parameters", "numbers the model learned"),
        _tile(trained, words.short, "tokens seen", passes),
        _tile(
            figures["train_bytes"],
            words.size,
            "of clean text",
            f"{words.count(figures['documents'])} documents" if figures["documents"] else "",
        ),
        _tile(
            figures["tokens_per_second"],
            words.count,
            "tokens/s",
            f"{words.percent(figures['share_of_peak'])} of the machine's peak"
            if figures["share_of_peak"]
            else "",
        ),
        _tile(
            figures["seconds_total"], words.duration, "in all", f"{len(figures['finished_stages'])} stages"
        ),
    ]
    if quiz and quiz.get("score") is not None:
        parts = (
            _with(lambda error: f"± {100 * error:.1f} points", quiz["standard_error"]),
            _with("{:,} questions", quiz["questions"]),
            _with(lambda chance: f"chance {words.percent(chance)}", quiz["chance"]),
        )
        remark = ", ".join(part for part in parts if part)
        made.insert(1, _tile(quiz["score"], words.percent, "in the quiz", remark))
    return [tile for tile in made if tile]


def _tile(value: Any, form: Any, what: str, remark: str) -> Row:
    if value is None:
        return {}
    return {
        "value": form.format(value) if isinstance(form, str) else form(value),
        "what": what,
        "remark": remark,
    }


def model(material: Material) -> list[tuple[str, str]]:
    """The architecture as (name, value)."""
    plan = material.plan
    shape = plan.get("model") or {}
    rows = [
        ("Architecture", {"llama": "LLaMA-style decoder"}.get(shape.get("family", ""), shape.get("family"))),
        ("Parameters", _with(words.count, plan.get("parameters"))),
        (
            "Layers × width",
            f"{shape['layers']} × {shape['width']}" if {"layers", "width"} <= shape.keys() else None,
        ),
        ("Attention heads", _heads(shape)),
        ("Feed-forward width", _with(words.count, shape.get("feedforward"))),
        ("Context", _with("{:,} tokens", shape.get("context"))),
        ("Vocabulary", _with("{:,} tokens", shape.get("vocabulary"))),
        ("Tied embeddings", {True: "yes", False: "no"}.get(shape.get("tied", ""))),
    ]
    return [(name, value) for name, value in rows if value is not None]


def settings(material: Material) -> list[tuple[str, str]]:
    """The settings of training as (name, value)."""
    plan = material.plan
    rows = [
        ("Steps", _with(words.count, plan.get("steps"))),
        ("Tokens a step", _with(words.count, plan.get("batch_tokens"))),
        ("Rows a forward pass", _with(words.count, plan.get("micro_batch"))),
        ("Peak learning rate", _with("{:g}", plan.get("optimizer", {}).get("learning_rate"))),
        ("Precision", plan.get("precision")),
        ("torch.compile", {True: "on", False: "off"}.get(plan.get("compile", ""))),
        ("Pretraining took", _beside(words.duration, material.counts("pretrain").get("training_seconds"), plan.get("predicted_seconds"))),
        ("Memory at its fullest", _beside("{:.2f} GiB".format, material.counts("pretrain").get("peak_memory_gib"), plan.get("predicted_memory_gib"))),
    ]
    return [(name, value) for name, value in rows if value is not None]


def _beside(form: Callable[[float], str], actual: float | None, planned: float | None) -> str | None:
    """A figure beside what the plan said."""
    if actual is None:
        return None
    return form(actual) + ("" if planned is None else f"; planned {form(planned)}")


def machine(material: Material) -> list[tuple[str, str]]:
    """What the planner measured, as (name, value)."""
    found = material.plan.get("machine") or {}
    rows = [
        ("Processor", found.get("processor") or None),
        ("Threads", _with("{}", found.get("cores"))),
        ("Memory", _with("{:g} GiB", found.get("memory_gib"))),
        ("Peak in fp32", _with("{:,.0f} GFLOP/s", found.get("fp32_gflops"))),
        ("Peak in bf16", _with("{:,.0f} GFLOP/s", found.get("bf16_gflops"))),
        ("C++ compiler", found.get("compiler")),
    ]
    return [(name, value) for name, value in rows if value is not None]


def _heads(shape: Row) -> str | None:
    heads, shared = shape.get("heads"), shape.get("kv_heads")
    return (
        None
        if heads is None
        else f"{heads}"
        if shared in (None, heads)
        else f"{heads}, sharing {shared} of keys and values"
    )


def funnel(material: Material, samples: int) -> Row | None:
    """The corpus step by step: counts, and lengths of bars as shares of what came in at the first step; `samples` of each reason."""
    if not (steps := cleaning_steps(material)):
        return None
    most = {
        unit: max([step.get(f"{unit}_in") or 0 for step in steps] + [1]) for unit in ("documents", "bytes")
    }
    rows = []
    for step in steps:
        row: Row = {"name": words.label(step.get("step", "")), "reasons": _reasons(step, samples)}
        for unit in ("documents", "bytes"):
            before, after = step.get(f"{unit}_in") or 0, step.get(f"{unit}_out") or 0
            row[unit] = {
                "before": before, "after": after, "dropped": max(0, before - after), "kept": after / before if before else 1.0,
                "most": most[unit], "bar_kept": 100 * min(after, before) / most[unit], "bar_dropped": 100 * max(0, before - after) / most[unit],
            }  # fmt: skip
        rows.append(row)
    splits = [
        {"name": name, **part}
        for key, name in (("train", "for training"), ("held_out", "held out, never trained on"))
        if (part := (material.funnel.get("splits") or {}).get(key))
    ]
    return {"rows": rows, "splits": splits}


def cleaning_steps(material: Material) -> list[Row]:
    """The funnel's steps, those left out that only count who is mentioned."""
    steps: list[Row] = material.funnel.get("steps") or []
    return [step for step in steps if step.get("documents_in") is not None and step.get("step") not in (groups.BEFORE, groups.AFTER)]


def compression(material: Material) -> Row | None:
    """Bytes a token by source and language, beside other tokenizers; nothing where there is one text and no other."""
    own = material.tokenizer
    columns = {"this one": own, **(own.get("others") or {})}
    groups = [(what, name) for what in ("by_source", "by_language") for name in own.get(what) or {} if len(own[what]) > 1]
    if not groups and len(columns) == 1:
        return None
    rows = [
        {"name": name, "values": [((one.get(what) or {}).get(name) or {}).get("bytes_per_token") for one in columns.values()]}
        for what, name in groups
    ]
    return {"names": list(columns), "rows": [*rows, {"name": "all", "values": [one.get("bytes_per_token") for one in columns.values()]}]}


def _reasons(step: Row, most: int) -> list[Row]:
    """Reasons for dropping, the most frequent first, each with its first samples."""
    counted = step.get("reasons") or {}
    samples = step.get("samples") or []
    return [
        {
            "reason": reason,
            "count": number,
            "samples": [sample for sample in samples if sample.get("reason") == reason][:most],
        }
        for reason, number in sorted(counted.items(), key=lambda one: (-one[1], one[0]))
    ]


def curves(material: Material, figures: dict[str, Any]) -> list[Row]:
    """The charts of training, each with a caption that says how to read it."""
    made: list[Row] = []
    steps, losses = material.pretrain.points("loss")
    if len(steps) > 1:
        caption = "How surprised the model is by the next token, on text it learns from. Pale: each step. Bold: a moving average."
        made.append(
            {
                "svg": plots.loss("loss", plots.story("Training loss", steps, losses), steps, losses),
                "title": "Pretraining loss",
                "caption": caption,
            }
        )
    steps, values = material.pretrain.points("bits_per_byte", looks=True)
    if not len(steps):
        steps, values = material.pretrain.points("objective_bits_per_byte", looks=True)
    if len(steps) > 1:
        marks = [
            (name, value)
            for key, name in MARKS.items()
            if (value := (figures["baselines"] or {}).get(key)) is not None
        ]
        chart = plots.held_out(
            "held-out", plots.story("Held-out bits per byte", steps, values), steps, values, marks
        )
        caption = "Measured on a sample of the unseen text while training went on." + (
            " Dashed: what the baselines need." if marks else ""
        )
        made.append({"svg": chart, "title": "Unseen text on the way", "caption": caption})
    steps, norms = material.pretrain.points("gradient_norm")
    if len(steps) > 1:
        chart = plots.gradient(
            "gradient", plots.story("Norm of the gradient", steps, norms), steps, norms, _clip(material)
        )
        caption = "How strongly each step pulls. Single peaks are clipped and harmless; a steady rise would be a warning."
        made.append({"svg": chart, "title": "Gradient", "caption": caption})
    return made


def _clip(material: Material) -> float:
    training = (material.stages.get("pretrain", {}).get("depends") or {}).get("training") or {}
    return float(training.get("clip", 1.0))


def bits(figures: dict[str, Any]) -> Row | None:
    """The model's bits per byte beside the baselines', best first; bars are shares of the worst."""
    if figures["bits_per_byte"] is None:
        return None
    baselines = figures["baselines"] or {}
    return {"rows": baseline_rows(figures["bits_per_byte"], baselines), "uniform": baselines.get("uniform_bits_per_byte")}


def baseline_rows(mine: float, baselines: dict[str, Any]) -> list[Row]:
    """The model and the baselines in bits per byte, best first, with bars."""
    names = {**{key: long for key, (_, long) in BASELINES.items()}, "zstd19_bits_per_byte": "zstd -19 on the unseen text alone"}
    rows: list[Row] = [{"name": "this model", "value": mine, "mine": True}]
    rows += [{"name": name, "value": baselines[key], "mine": False} for key, name in names.items() if baselines.get(key) is not None]
    worst = max(row["value"] for row in rows)
    return sorted(({**row, "bar": 100 * row["value"] / worst} for row in rows), key=lambda row: row["value"])


def quiz(material: Material) -> Row | None:
    """The quiz with its distance from guessing, in standard errors of a guesser's score."""
    found = material.results.get("quiz")
    if not found or not found.get("questions") or found.get("score") is None:
        return None
    chance, score, error = found.get("chance", 0.25), found["score"], found.get("standard_error") or 0.0
    spread = math.sqrt(chance * (1 - chance) / found["questions"])
    distance = (score - chance) / spread
    guessing = f"Guessing would give {100 * chance:.0f} ± {100 * spread:.1f} %"
    if distance > 2:
        said = f"{guessing}; this is {distance:.1f} of those errors above guessing: it has learned something about this."
    elif distance < -2:
        said = f"{guessing}; this is {-distance:.1f} of those errors below guessing: it is drawn to wrong answers."
    else:
        said = "From this alone it cannot be told from guessing."
    return {
        **found, "chance": chance, "standard_error": error, "said": said,
        "low": 100 * max(0.0, score - error), "high": 100 * min(1.0, score + error),
    }  # fmt: skip


def time(material: Material) -> list[Row]:
    """Seconds by stage, with bars as shares of the longest."""
    seconds = material.seconds()
    longest = max(seconds.values(), default=0.0) or 1.0
    return [
        {"name": words.label(stage), "does": DOES[stage], "seconds": value, "bar": 100 * value / longest}
        for stage, value in seconds.items()
    ]


def work(material: Material, figures: dict[str, Any]) -> Row | None:
    """The share of the peak and what it is a share of."""
    if figures["share_of_peak"] is None or figures["peak_gflops"] is None:
        return None
    return {
        "share": figures["share_of_peak"], "peak": figures["peak_gflops"], "reached": figures["share_of_peak"] * figures["peak_gflops"],
        "flops_per_token": material.plan.get("flops_per_token"), "precision": figures["precision"],
    }  # fmt: skip


def provenance(material: Material) -> list[Row]:
    """Each finished stage with the digest of its output and what made it."""
    return [
        {
            "name": words.label(stage), "folder": STAGES[stage], "digest": manifest.get("digest", ""),
            "versions": ", ".join(f"{name} {version}" for name, version in (manifest.get("versions") or {}).items()),
        }
        for stage, manifest in material.stages.items()
    ]  # fmt: skip


def pieces(tokens: list[bytes]) -> list[Markup | str]:
    """Tokens as text, blanks shown; bytes that are no character of their own in hexadecimal."""
    shown: list[Markup | str] = []
    for token in tokens:
        try:
            shown.append(words.blanks(token.decode()))
        except UnicodeDecodeError:
            shown.append(" ".join(f"{byte:02X}" for byte in token))
    return shown


def _with(form: Any, value: Any) -> str | None:
    return None if value is None else form.format(value) if isinstance(form, str) else form(value)


def _listed(parts: list[str], word: str = "and") -> str:
    """a, b and c"""
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} {word} {parts[-1]}"
