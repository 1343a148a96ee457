"""The page of a fabricated run, read as a browser and as a reader would; the figures, compared with what was put in."""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from fabricated import HOSTILE, fabricate, funnel, plan, results
from hypothesis import given
from hypothesis import strategies as st

from groundup.report import page, plots, sections, words
from groundup.report.figures import figures
from groundup.report.material import STAGES, Material
from groundup.run import Run, read_json, write_atomic, write_json

VOID = {"meta", "link", "br", "img", "hr", "input"}


class Reader(HTMLParser):
    """Elements with their attributes and the text in them; complains about a tag that is not closed where it should be."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.styles, self.text = "", ""
        self.feed(html)
        self.close()
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        assert len(dict(attrs)) == len(attrs), f"an attribute twice in {tag}"
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open[-1] == tag, f"</{tag}> within {self.open}"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "style":
            self.styles += data
        else:
            self.text += data


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The page of a finished run."""
    return page.write(fabricate(tmp_path_factory.mktemp("look") / "runs" / "demo")).read_text(
        encoding="utf-8"
    )


def test_the_page_is_well_formed(written: str) -> None:
    reader = Reader(written)
    html = next(attributes for tag, attributes in reader.tags if tag == "html")
    assert html["lang"] == "en"
    ids = [attributes["id"] for _, attributes in reader.tags if "id" in attributes]
    assert len(ids) == len(set(ids)), "an id is there twice"
    wanted = {
        attributes["href"].removeprefix("#")
        for _, attributes in reader.tags
        if (attributes.get("href") or "").startswith("#")
    }  # type: ignore[union-attr]
    wanted |= {
        attributes["aria-labelledby"] for _, attributes in reader.tags if "aria-labelledby" in attributes
    }  # type: ignore[misc]
    wanted |= set(re.findall(r"url\(#([^)]+)\)", written))
    assert wanted <= set(ids)
    headings = [int(tag[1]) for tag, _ in reader.tags if re.fullmatch("h[1-6]", tag)]
    assert headings[0] == 1 and headings.count(1) == 1
    assert all(after <= before + 1 for before, after in zip(headings, headings[1:], strict=False)), (
        "a level of headings is skipped"
    )
    assert all(
        attributes.get("aria-label") for _, attributes in reader.tags if attributes.get("role") == "img"
    )


def test_the_page_needs_nothing_but_itself(written: str) -> None:
    reader = Reader(written)
    for tag, attributes in reader.tags:
        assert tag not in ("script", "iframe", "object", "embed", "img", "form", "base")
        for name, value in attributes.items():
            assert not name.startswith("on")
            if name in ("src", "href", "xlink:href", "srcset", "data", "action", "poster", "background"):
                assert value is not None and (value.startswith("#") or value in ("data:,", "funnel.html")), (
                    f"{tag} {name}={value}"
                )
            if name == "style":
                assert "url(" not in (value or "").replace("url(#", "")
    assert "url(" not in reader.styles and "@import" not in reader.styles
    policy = next(
        attributes
        for tag, attributes in reader.tags
        if attributes.get("http-equiv") == "Content-Security-Policy"
    )
    assert policy["content"] == "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


def test_foreign_text_stays_text(written: str) -> None:
    assert "<script" not in written and "<img" not in written
    assert "<script>alert('gotcha')</script>" in Reader(written).text
    assert "{{ 7*7 }}" in written and "&amp;amp;" in written
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e]", written)


def test_the_page_tells_the_whole_story(written: str) -> None:
    text = Reader(written).text
    assert (
        "This model predicts unseen text at 1.32 bits per byte; xz needs 1.69, xz primed with the training text 1.31, a 5\u2011gram 1.80."
        in text
    )
    assert "it beats xz and a 5\u2011gram, but not xz primed with the training text" in text
    for reason in plan()["reasons"]:
        assert reason in text
    for entry in funnel()["skipped"] + funnel()["notes"]:
        assert entry["name"] in text
    for answer in results()["answers"]:
        assert answer["question"].replace("`", "") in text and answer["tuned"] in text
    assert "53.5 % right" in text and "standard error 3.5" in text and "chance 25 %" in text
    assert "53 % of the machine's peak" in text
    assert "groundup chat runs/demo" in text
    assert "Seed 1337" in text


def _parts(run: Path) -> Iterator[tuple[Path, Any]]:
    for name in (
        "corpus/clean/funnel.json",
        "tokenizer/report.json",
        "tokens/shards.json",
        "plan/plan.json",
        "evaluation/results.json",
    ):
        yield run / name, read_json(run / name)
    for folder in STAGES.values():
        yield run / folder / "manifest.json", read_json(run / folder / "manifest.json")


def test_every_missing_key_is_left_out_and_nothing_breaks(finished: Run) -> None:
    (finished.path / "log.jsonl").unlink()  # without curves, so that this is quick
    complete = set(figures(finished))
    for path, whole in _parts(finished.path):
        for key in whole:
            write_json(path, {name: value for name, value in whole.items() if name != key})
            Reader(page.render(finished))
            assert set(figures(finished)) == complete
        write_json(
            path, {name: None if path.name == "results.json" else value for name, value in whole.items()}
        )
        Reader(page.render(finished))
        write_json(path, whole)


def test_every_missing_file_is_left_out_and_nothing_breaks(finished: Run) -> None:
    for path in [*(path for path, _ in _parts(finished.path)), finished.path / "log.jsonl"]:
        data = path.read_bytes()
        path.unlink()
        Reader(page.render(finished))
        figures(finished)
        path.write_bytes(data)


def test_a_build_under_way_has_a_page_after_each_stage(finished: Run) -> None:
    for number in range(len(STAGES) - 1, -1, -1):
        stage, folder = list(STAGES.items())[number]
        shutil.rmtree(finished.path / folder)
        html = page.render(finished)
        assert f"Not finished yet: {', '.join(list(STAGES)[number:])}." in Reader(html).text
        found = figures(finished)
        assert stage not in found["finished_stages"] and found["bits_per_byte"] is None
        assert list(found["seconds_by_stage"]) == list(STAGES) and found["seconds_by_stage"][stage] is None
    assert figures(finished)["finished_stages"] == []


def test_a_run_with_a_recipe_alone_has_figures_and_a_page(tmp_path: Path) -> None:
    full = fabricate(tmp_path / "full")
    (tmp_path / "new").mkdir()
    shutil.copy(full.path / "recipe.yaml", tmp_path / "new")
    run = Run.read(tmp_path / "new")
    assert set(figures(run)) == set(figures(full))
    assert page.write(run) == tmp_path / "new" / "report.html"


def test_figures_are_what_the_stages_wrote(finished: Run) -> None:
    found, written = figures(finished), results()
    for name in (
        "bits_per_byte",
        "perplexity_per_token",
        "held_out_bytes",
        "held_out_tokens",
        "window_tokens",
        "baselines",
    ):
        assert found[name] == written[name]
    assert found["quiz"] == {
        name: written["quiz"][name] for name in ("questions", "score", "standard_error", "chance")
    }
    assert found["name"] == "demo"
    assert found["documents"] == 595 and found["train_tokens"] == 1_182_604 and found["vocabulary"] == 2048
    assert (
        found["parameters"] == 8_093_120 and found["steps"] == 1480 and found["trained_tokens"] == 1480 * 4096
    )
    assert (
        found["tokens_per_second"] == 11241.0
        and found["share_of_peak"] == 0.533
        and found["peak_gflops"] == 398.7
    )
    assert found["finished_stages"] == list(STAGES)
    assert found["seconds_by_stage"]["pretrain"] == 547.6, (
        "training's own clock goes on over a kill, the stage's does not"
    )
    assert found["seconds_total"] == pytest.approx(sum(found["seconds_by_stage"].values()))
    assert list(found["seconds_by_stage"]) == list(STAGES)
    assert json.loads(json.dumps(found)) == found
    assert all(re.fullmatch("[a-z][a-z0-9_]*", name) for name in found)


def test_a_step_logged_twice_counts_as_logged_last(finished: Run) -> None:
    steps, losses = Material.of(finished).pretrain.points("loss")
    assert steps == list(range(1, 1480, 2))
    assert max(losses[10:]) < 6, "the killed try's lines (5 too high) were counted"
    steps, values = Material.of(finished).pretrain.points("bits_per_byte", looks=True)
    assert steps == list(range(148, 1481, 148)) and values == sorted(values, reverse=True)


def test_curves_of_another_key_are_not_mixed_in(finished: Run) -> None:
    finished.log("train", stage="pretrain", key="of another recipe", step=3, loss=99.0)
    finished.log("train", stage="pretrain", step=5, loss=99.0)
    assert max(Material.of(finished).pretrain.points("loss")[1]) < 10


def test_results_of_another_corpus_are_left_out(finished: Run) -> None:
    path = finished.path / "corpus/clean/manifest.json"
    write_json(path, {**read_json(path), "digest": "0" * 32})
    found = figures(finished)
    assert found["finished_stages"] == ["collect", "clean"]
    assert found["bits_per_byte"] is None and found["train_tokens"] is None and found["documents"] == 595
    assert Material.of(finished).pretrain.rows == []


def test_the_same_folder_gives_the_same_bytes(finished: Run) -> None:
    first = page.write(finished).read_bytes()
    code = "import sys; from pathlib import Path; from groundup.report.page import write; from groundup.run import Run; write(Run.read(Path(sys.argv[1])))"
    env = {**os.environ, "PYTHONHASHSEED": "5", "TZ": "Asia/Tokyo", "LC_ALL": "C"}
    subprocess.run([sys.executable, "-c", code, str(finished.path)], check=True, env=env)
    assert (finished.path / "report.html").read_bytes() == first
    assert b"24 November 2025" in first, "the date is the log's"


def test_the_report_does_not_load_torch(finished: Run) -> None:
    code = "import sys, groundup.report.page, groundup.report.figures; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_colours_are_variables_of_both_schemes(written: str) -> None:
    assert "#0000" not in written.replace("--ink: #000000", ""), "a stand-in colour was not replaced"
    light, dark = _schemes()
    assert light.keys() == dark.keys()
    used = set(re.findall(r"var\(--([a-z-]+)\)", written))
    assert used <= light.keys()


@pytest.mark.parametrize("scheme", [0, 1])
def test_text_has_contrast(scheme: int) -> None:
    colours = _schemes()[scheme]
    for text in ("ink", "soft", "model", "dropped"):
        for ground in ("paper", "card", "code"):
            assert _contrast(colours[text], colours[ground]) >= 4.5, f"{text} on {ground}"
    assert _contrast(colours["ink"], colours["tint"]) >= 4.5 and _contrast(colours["ink"], colours["blush"]) >= 4.5
    for bar in ("model", "other", "dropped"):
        assert _contrast(colours[bar], colours["paper"]) >= 3, f"bar {bar}"  # WCAG 1.4.11


def _schemes() -> tuple[dict[str, str], dict[str, str]]:
    css = (Path(page.__file__).parent / "page.css").read_text()
    blocks = [
        dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6})", block))
        for block in re.findall(r":root \{(.*?)\}", css, re.DOTALL)
    ]
    return blocks[0], blocks[1]


def _contrast(one: str, other: str) -> float:
    """WCAG 2.2's contrast ratio."""

    def luminance(colour: str) -> float:
        parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_the_funnel_adds_up(finished: Run) -> None:
    drawn = sections.funnel(Material.of(finished), samples=3)
    assert drawn is not None
    for row, step in zip(drawn["rows"], funnel()["steps"], strict=True):
        for unit in ("documents", "bytes"):
            bar = row[unit]
            whole = funnel()["steps"][0][f"{unit}_in"]
            assert bar["bar_kept"] + bar["bar_dropped"] == pytest.approx(100 * step[f"{unit}_in"] / whole)
            assert bar["after"] + bar["dropped"] == bar["before"]


@pytest.mark.parametrize(
    ("mine", "said"),
    [
        (1.0, "it beats xz, xz primed with the training text and a 5\u2011gram."),
        (1.5, "it beats xz and a 5\u2011gram, but not xz primed with the training text."),
        (3.0, "it does not beat xz, xz primed with the training text or a 5\u2011gram."),
    ],
)
def test_the_standing_is_honest(finished: Run, mine: float, said: str) -> None:
    write_json(finished.path / "evaluation/results.json", {**results(), "bits_per_byte": mine})
    assert said in (sections.standing(figures(finished)) or "")


@pytest.mark.parametrize(
    ("score", "said"), [(0.27, "cannot be told"), (0.4, "above guessing"), (0.1, "below guessing")]
)
def test_the_quiz_is_told_from_guessing_only_where_it_can_be(finished: Run, score: float, said: str) -> None:
    write_json(
        finished.path / "evaluation/results.json",
        {**results(), "quiz": {**results()["quiz"], "score": score}},
    )
    asked = sections.quiz(Material.of(finished))
    assert asked is not None and said in asked["said"]


@pytest.mark.parametrize("name", ["questions", "score", "standard_error", "chance", "examples"])
def test_a_quiz_with_a_missing_part_breaks_nothing(finished: Run, name: str) -> None:
    (finished.path / "log.jsonl").unlink()
    asked = {key: value for key, value in results()["quiz"].items() if key != name}
    write_json(finished.path / "evaluation/results.json", {**results(), "quiz": asked})
    assert Reader(page.render(finished)).text
    found = figures(finished)["quiz"]
    assert set(found) == {"questions", "score", "standard_error", "chance"} and found.get(name) is None


@given(st.lists(st.floats(-100, 100), min_size=1, max_size=200))
def test_smoothing_stays_among_the_values(values: list[float]) -> None:
    smoothed = plots.smooth(values)
    assert len(smoothed) == len(values) and smoothed[0] == values[0]
    assert all(min(values) - 1e-9 <= value <= max(values) + 1e-9 for value in smoothed)


@given(st.integers(2, 3000))
def test_a_thinned_curve_keeps_its_end(length: int) -> None:
    steps, values = plots._thinned(list(range(length)), [float(step) for step in range(length)])
    assert steps[-1] == length - 1 and len(steps) <= plots._POINTS and values == steps


@given(st.floats(0, 1e15))
def test_numbers_are_short(value: float) -> None:
    assert len(words.short(value)) <= 8 and len(words.size(value)) <= 11
    assert "e" not in words.short(value)


@given(st.floats(0, 1))
def test_a_share_is_whole_only_if_it_is(share: float) -> None:
    assert (words.percent(share) == "100 %") == (share == 1)
    assert (words.percent(share) == "0 %") == (share == 0)


def test_durations() -> None:
    assert [words.duration(seconds) for seconds in (3.21, 9.96, 59.7, 75, 3599.6, 7260)] == [
        "3.2 s", "10 s", "1 min 0 s", "1 min 15 s", "1 h 0 min", "2 h 1 min",
    ]  # fmt: skip


@given(st.text())
def test_any_text_can_be_written(text: str) -> None:
    shown = words.visible(text)
    shown.encode()
    assert not any(ord(letter) < 32 and letter not in "\n\t" for letter in shown)


def test_empty_lines_are_folded() -> None:
    assert words.folded("a\n\n\nb") == "a\n\n\nb"
    assert words.folded("a\n\n \n\n\nb") == "a\n[4 empty lines]\nb"
    assert [words.folded("  "), words.folded("")] == ["[blank space alone]", "[nothing]"]


def test_charts_of_odd_curves() -> None:
    for losses in ([1.0, 1.0], [math.e, 2.0, 1e-9], [0.0] * 1000):
        chart = plots.loss(
            "odd", 'a "label" & <more>', list(range(len(losses))), losses, unseen=([0, 1], [1.0, 1.0])
        )
        Reader(chart)
        Reader(plots.gradient("odd", "", list(range(len(losses))), losses, 1.0))
        Reader(plots.held_out("odd", "", list(range(len(losses))), losses, [("xz", 1.0), ("5-gram", 1.0)]))


def test_the_page_is_replaced_whole(finished: Run) -> None:
    write_atomic(finished.path / "report.html", "old")
    page.write(finished)
    assert HOSTILE not in (finished.path / "report.html").read_text()
    assert not list(finished.path.glob(".*.tmp"))
