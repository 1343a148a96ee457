"""The page that tells the story of a build: one HTML file with everything in it and nothing from outside.

Text from the corpus and from the model stands in it as text: the template escapes what it is given, and a content
security policy forbids scripts and requests should anything slip through. The date is the log's, not the clock's, so
the same run folder gives the same bytes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from groundup import recipe as recipes
from groundup.report import chain, figures, funnel, sections, tasks
from groundup.report.material import STAGES, Material
from groundup.report.sheet import template
from groundup.run import Run, write_atomic
from groundup.tokens.tokenizer import Tokenizer

SHOWN = 50  # skipped inputs and notes listed on the page; the rest is in the funnel's own file
REASON_SAMPLES = 3  # of a reason for dropping; the funnel's page has all
SAMPLE_CHARACTERS = 1500  # of a model's text


def write(run: Run) -> Path:
    """Write `report.html` into the run folder, whatever is finished so far, and return its path; beside it the funnel's page."""
    path = run.path / "report.html"
    write_atomic(path, render(run))
    funnel.write(run)
    return path


def render(run: Run) -> str:
    """The page's HTML."""
    material = Material.of(run)
    found = figures.of(material)
    resolved = run.path.resolve()
    return template("page.html.j2").render(
        material=material,
        figures=found,
        recipe=run.recipe,
        recipe_text=recipes.dump(run.recipe),
        command=f"{resolved.parent.name}/{resolved.name}",
        verdict=sections.verdict(found),
        standing=sections.standing(found),
        tiles=sections.tiles(found),
        model=sections.model(material),
        settings=sections.settings(material),
        machine=sections.machine(material),
        funnel=sections.funnel(material, samples=REASON_SAMPLES),
        compression=sections.compression(material),
        cut=_cut(run, material),
        curves=sections.curves(material, found),
        chain=chain.chain(run, material),
        bits=sections.bits(found),
        tasks=tasks.section(material.results.get("tasks")),
        quiz=sections.quiz(material),
        time=sections.time(material),
        work=sections.work(material, found),
        provenance=sections.provenance(material),
        does=sections.DOES,
        shown=SHOWN,
        sample_characters=SAMPLE_CHARACTERS,
    )


def _cut(run: Run, material: Material) -> list[Any]:
    """The beginning of an unseen text as the tokenizer cuts it; empty before there is one."""
    folder = run.path / STAGES["tokenizer"]
    samples = material.results.get("samples") or []
    if "tokenizer" not in material.stages or not samples or not (folder / "tokenizer.json").is_file():
        return []
    tokenizer = Tokenizer.load(folder)
    return sections.pieces(
        [tokenizer.decode_bytes([index]) for index in tokenizer.encode(samples[0]["prompt"])[:120]]
    )
