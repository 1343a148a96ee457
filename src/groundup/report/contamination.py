"""The page of what the training text had in common with tests: every hit beside the test's own text, and what remains.

`contamination.html` stands beside `funnel.html`. It shows the first hits; `corpus/clean/contamination.jsonl` has all of them.
"""

from __future__ import annotations

import json
import re
from difflib import SequenceMatcher
from itertools import islice
from pathlib import Path
from typing import Any

from markupsafe import Markup, escape

from groundup.report import words
from groundup.report.material import STAGES, Material
from groundup.report.sheet import template
from groundup.run import Run, read_json, write_atomic

Row = dict[str, Any]

SHOWN = 100  # hits
WORD = re.compile(r"\w+")
FEWEST = 3  # words in a row that both texts have and that are marked; one or two are chance


def write(run: Run) -> Path | None:
    """Write `contamination.html` into the run folder and return its path; None where nothing was compared."""
    html = render(run)
    if html is None:
        return None
    path = run.path / "contamination.html"
    write_atomic(path, html)
    return path


def found(material: Material, run: Run) -> Row | None:
    """The summary of a finished corpus; None where there is none, or its recipe compares nothing."""
    path = run.path / STAGES["clean"] / "contamination.json"
    summary: Row | None = read_json(path) if "clean" in material.stages and path.is_file() else None
    return summary


def render(run: Run) -> str | None:
    """The page's HTML; None where nothing was compared."""
    material = Material.of(run)
    summary = found(material, run)
    if summary is None:
        return None
    with (run.path / STAGES["clean"] / "contamination.jsonl").open(encoding="utf-8") as lines:
        hits = [json.loads(line) for line in islice(lines, SHOWN)]
    return template("contamination.html.j2").render(
        name=material.name, summary=summary, verdict=verdict(summary), tests=summary["tests"],
        tiles=tiles(summary), hits=[beside(one) for one in hits], listed=summary["dropped"] + summary["cut"],
        remaining=[beside(one) for one in summary["strongest_remaining"]],
    )  # fmt: skip


def verdict(summary: Row) -> str:
    """What was found, in one sentence."""
    taken = [f"{words.count(summary[what])} {'was' if summary[what] == 1 else 'were'} {said}" for what, said in (("dropped", "dropped"), ("cut", "cut")) if summary[what]]
    if not taken:
        return "No training document holds a test."
    return f"Of the training documents {' and '.join(taken)}, for what stands in a test."


def tiles(summary: Row) -> list[Row]:
    """Key figures."""
    before, after = summary["train_bytes"]["before"], summary["train_bytes"]["after"]
    return [
        {"value": words.count(summary["dropped"]), "what": "documents dropped", "remark": "copies of tests, or little else"},
        {"value": words.count(summary["cut"]), "what": "documents cut", "remark": "long texts that held a test; the rest was kept"},
        {"value": words.size(before - after), "what": "of training text taken", "remark": f"{words.percent((before - after) / before) if before else '0 %'} of it"},
        {"value": words.count(summary["remaining"]), "what": "documents remain", "remark": f"that share {summary['ngram']} words in a row with a test"},
    ]


def beside(one: Row) -> Row:
    """A document and a test with what both say marked."""
    mine, its = shared(one["document"]["text"], one["test"]["text"])
    test = one["test"]
    place = f"record {test['record']}, {test['field']}" if "record" in test else test.get("url") or test["id"]
    return {**one, "mine": mine, "its": its, "test_place": place}


def shared(one: str, other: str) -> tuple[Markup, Markup]:
    """Both texts as HTML, the words that stand in both in the same order in <mark>."""
    found = [list(WORD.finditer(text)) for text in (one, other)]
    mine, its = ([word[0].lower() for word in all_words] for all_words in found)
    matcher = SequenceMatcher(None, mine, its, autojunk=False)
    blocks = [block for block in matcher.get_matching_blocks() if block.size >= FEWEST]
    return _marked(one, found[0], [(block.a, block.size) for block in blocks]), _marked(other, found[1], [(block.b, block.size) for block in blocks])


def _marked(text: str, its: list[re.Match[str]], blocks: list[tuple[int, int]]) -> Markup:
    html, place = Markup(""), 0
    for first, size in blocks:
        begin, end = its[first].start(), its[first + size - 1].end()
        html += escape(words.visible(text[place:begin])) + Markup("<mark>{}</mark>").format(words.visible(text[begin:end]))
        place = end
    return html + escape(words.visible(text[place:]))
