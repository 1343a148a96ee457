"""The funnel's page and its two relatives, read as a browser and as a reader would; its figures, added up again."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from fabricated import HOSTILE, cleaning_funnel, copies, fabricate, mentions
from hypothesis import given
from hypothesis import strategies as st
from markupsafe import Markup
from test_page import Reader

from groundup.corpus.funnel import difference
from groundup.report import beside, funnel, groups, page, sections, words
from groundup.report.histogram import Axis, histogram, threshold
from groundup.report.marked import marked, shown
from groundup.report.material import Material
from groundup.run import Run, read_json, write_json


@pytest.fixture
def cleaned(finished: Run) -> Run:
    """A run whose every step of cleaning was on."""
    write_json(finished.path / "corpus/clean/funnel.json", cleaning_funnel())
    path = finished.path / "corpus/clean/manifest.json"
    manifest = read_json(path)
    write_json(path, {**manifest, "counts": {"seconds_by_step": {"html": 75.0, "language": 12.5, "length": 0}}})
    return finished


def preview(**changes: Any) -> dict[str, Any]:
    """A preview as corpus/preview.py gives it."""
    lot = {
        "documents": 25, "bytes": 900, "reasons": [{"step": "length", "reason": "too short", "documents": 21, "bytes": 800}, {"step": "quality", "reason": HOSTILE, "documents": 4, "bytes": 100}],
        "samples": [{"id": str(number), "source": "web", "url": HOSTILE, "text": HOSTILE, "step": "length", "reason": "too short", "score": 0.25} for number in range(20)],
    }  # fmt: skip
    nothing = {"documents": 0, "bytes": 0, "reasons": [], "samples": []}
    return {
        "name": "demo", "changes": {"clean.length.min_characters": [100, 200], "clean.blocked": [None, [HOSTILE]]}, "steps_run_again": ["length"],
        "now": {"documents": 1000, "bytes": 5000}, "then": {"documents": 975, "bytes": 4100}, "newly_dropped": lot, "newly_kept": nothing,
        "changed": {"documents": 1, "samples": [{"id": "1", "source": "web", "url": "u", "before": HOSTILE, "after": "quite another"}]},
        "sources": {HOSTILE: {"now": {"documents": 1000, "bytes": 5000}, "then": {"documents": 975, "bytes": 4100}}, "gone": {"now": {"documents": 0, "bytes": 0}, "then": {"documents": 0, "bytes": 0}}},
        "dropped_by": {"length": {"now": 3, "then": 28}}, "step": "length", "scores": {"0.1": [0, 5, 0, 3], "0.3": [100, 0, 0, 0]}, "seconds": 1.5, **changes,
    }  # fmt: skip


def comparison(**changes: Any) -> dict[str, Any]:
    """A comparison as corpus/compare.py gives it."""

    def side(name: str, factor: int) -> dict[str, Any]:
        return {
            "name": name, "folder": f"runs/{name}", "documents": 10 * factor, "bytes": 400 * factor, "characters": 390 * factor, "estimated_tokens": 100 * factor,
            "characters_at_percent": {"0": 3, "50": 30, "99": 300, "100": 301}, "sources": {"both": {"documents": 1, "bytes": 7}, f"{name} {HOSTILE}": {"documents": 1, "bytes": 9}},
            "languages": {f"x{number}": {"documents": 1, "bytes": number} for number in range(40)},
            "alone": {"documents": 2 * factor, "bytes": 20, "samples": [{"id": "1", "url": HOSTILE, "source": "both", "text": HOSTILE}]},
        }  # fmt: skip

    word = {"word": HOSTILE, "per_million_here": 900.0, "per_million_there": 1.5, "documents_here": 9, "standard_errors": 12.0}
    part = {"documents_in": 10, "documents_out": 8, "bytes_in": 100, "bytes_out": 0}
    return {
        "one": side("first", 1), "other": side("second", 3), "bytes_per_token": 4.0, "bytes_per_token_source": "a rule of thumb for English", "shared_texts": 8,
        "recipes_differ": {"clean.min_characters": [100, None]}, "words": {"one": [word], "other": []},
        "steps": [{"step": "html", "one": part, "other": part}, {"step": "toxicity", "one": None, "other": {**part, "documents_in": 0}}], **changes,
    }  # fmt: skip


PAGES: dict[str, Callable[[Run], str | None]] = {
    "funnel": funnel.render, "preview": lambda _: beside.render_preview(preview()), "comparison": lambda _: beside.render_comparison(comparison()),
}  # fmt: skip


@pytest.mark.parametrize("name", PAGES)
def test_pages_are_well_formed_and_need_nothing_but_themselves(cleaned: Run, name: str) -> None:
    html = PAGES[name](cleaned)
    assert html is not None
    reader = Reader(html)
    ids = [attributes["id"] for _, attributes in reader.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    wanted = {attributes["href"].removeprefix("#") for _, attributes in reader.tags if (attributes.get("href") or "").startswith("#")}  # type: ignore[union-attr]
    assert wanted | {attributes["aria-labelledby"] for _, attributes in reader.tags if "aria-labelledby" in attributes} <= set(ids)
    for tag, attributes in reader.tags:
        assert tag not in ("script", "iframe", "object", "embed", "img", "form", "base", "a" if name == "preview" else "base")
        for attribute, value in attributes.items():
            assert not attribute.startswith("on")
            if attribute in ("src", "href", "srcset", "data", "action", "poster", "background"):
                assert value is not None and (value.startswith("#") or value == "data:,")
    headings = [int(tag[1]) for tag, _ in reader.tags if re.fullmatch("h[1-6]", tag)]
    assert headings.count(1) == 1 and all(after <= before + 1 for before, after in zip(headings, headings[1:], strict=False))
    assert all(attributes.get("aria-label") for _, attributes in reader.tags if attributes.get("role") == "img")
    assert "default-src 'none'; style-src 'unsafe-inline'" in html
    used = set(re.findall(r"var\(--([a-z-]+)\)", html)) - {"heat"}
    assert used <= set(re.findall(r"--([a-z-]+): #", html))


@pytest.mark.parametrize("name", PAGES)
def test_hostile_text_stays_text(cleaned: Run, name: str) -> None:
    html = PAGES[name](cleaned) or ""
    assert "<script" not in html and "<img" not in html and "<b>more" not in html
    assert "<script>alert('gotcha')</script>" in Reader(html).text and "{{ 7*7 }}" in html
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e]", html)


def test_the_funnels_page_says_all_there_is(cleaned: Run) -> None:
    text = Reader(funnel.render(cleaned) or "").text
    told = cleaning_funnel()
    for step in told["steps"]:
        if step["step"] in ("bias_before", "bias_after"):
            continue
        assert words.label(step["step"]) in text and f"{step['documents_out']:,}" in text
        for reason, number in step["reasons"].items():
            assert reason in text and f"{number:,}" in text
        for name, number in list(step["counts"].items()):
            assert (words.visible(words.clip(name, 80))) in text and f"{number:,}" in text
    shown_samples = sum(min(20, number) for step in told["steps"] for number in step["reasons"].values())
    assert text.count("https://example.org/") == shown_samples + sum(len(step["changes"]) for step in told["steps"])
    assert "score 0.1" in text and "1 min 15 s" in text and "reused" in text
    assert "3.2 bytes each, the tokenizer of the run demo" in text
    assert "29 more" not in text and "22 more" in text
    assert "Cut." in text, "a step with nothing to tell is named"
    for source in told["steps"][0]["sources"]:
        assert source in text


def test_copies_are_shown_by_size_and_by_times(cleaned: Run) -> None:
    path = cleaned.path / "corpus/clean/funnel.json"
    write_json(path, {**read_json(path), "duplicates": copies()})
    manifest = cleaned.path / "corpus/clean/manifest.json"
    told = {"seconds_by_step": {"near duplicates": 30.0}, "peak_bytes_by_step": {"near duplicates": 123_000_000}}
    write_json(manifest, {**read_json(manifest), "counts": told})
    html = funnel.render(cleaned) or ""
    text = Reader(html).text
    assert "Near duplicates (30 s of processor time and 123 MB of memory at most)" in text
    assert "3,411 documents stand in 1,026 clusters" in text and "8 to 15 documents" in text and "1,024 to 2,047 documents" in text
    assert "1,200 documents" in text and "Dropped, 4 of 1,199" in text and "2 more of the largest clusters" in text
    assert "61,036" in text and words.size(3_051_800) in text and "Duplicate lines" in text
    assert 'id="copies"' in html and 'href="#copies"' in html and HOSTILE not in html


def test_sources_add_up_to_the_steps(cleaned: Run) -> None:
    drawn = sections.funnel(Material.of(cleaned), samples=20)
    assert drawn is not None
    steps = sections.cleaning_steps(Material.of(cleaned))
    rows = [row | funnel._more(step, 4.0, None) for row, step in zip(drawn["rows"], steps, strict=True)]
    found = funnel.sources(rows, 4.0)
    assert [source["bytes_in"] for source in found] == sorted((source["bytes_in"] for source in found), reverse=True)
    for place, row in enumerate(rows):
        for name, unit, side in (("documents_in", "documents", "before"), ("documents_out", "documents", "after"), ("bytes_in", "bytes", "before"), ("bytes_out", "bytes", "after")):
            assert sum(source["steps"][place][name] for source in found) == row[unit][side]
    assert sum(source["documents_out"] for source in found) == rows[-1]["documents"]["after"]


def test_a_source_that_ends_half_way_has_nothing_left(cleaned: Run) -> None:
    told = cleaning_funnel()
    for step in told["steps"][5:]:
        gone = step["sources"].pop("crawl")
        for name in ("documents_in", "documents_out", "bytes_in", "bytes_out"):
            step[name] -= gone[name]
    write_json(cleaned.path / "corpus/clean/funnel.json", told)
    assert "crawl, step by step (0 of 18,442 documents)" in re.sub(r"\s+", " ", Reader(funnel.render(cleaned) or "").text)


def test_every_missing_key_is_left_out_and_nothing_breaks(cleaned: Run) -> None:
    path = cleaned.path / "corpus/clean/funnel.json"
    whole = read_json(path)
    for key in whole:
        write_json(path, {name: value for name, value in whole.items() if name != key})
        html = funnel.render(cleaned)
        assert (html is None) == (key == "steps")
        Reader(html or "")
    for key in whole["steps"][5]:
        write_json(path, {**whole, "steps": [{name: value for name, value in step.items() if name != key} for step in whole["steps"]]})
        Reader(funnel.render(cleaned) or "")


def test_the_old_short_funnel_has_a_page(finished: Run) -> None:
    text = Reader(funnel.render(finished) or "").text
    assert "26 dropped" in text and "3.98 MB of text in 595 documents are left of 21.9 MB in 641." in re.sub(r"\s+", " ", text)


def test_both_pages_are_written_together_and_the_report_stays_short(cleaned: Run) -> None:
    html = page.write(cleaned).read_text(encoding="utf-8")
    assert 'href="funnel.html"' in html and (cleaned.path / "funnel.html").read_text(encoding="utf-8") == funnel.render(cleaned)
    for step in sections.cleaning_steps(Material.of(cleaned)):
        for reason in step["reasons"]:
            assert html.count(f"https://example.org/{step['step']}/") <= 3 * len(step["reasons"]), reason
    assert "Bias before" not in html
    (cleaned.path / "corpus/clean/manifest.json").unlink()
    assert funnel.write(cleaned) is None and 'href="funnel.html"' not in page.render(cleaned)


def test_the_same_folder_gives_the_same_bytes(cleaned: Run) -> None:
    first = funnel.render(cleaned)
    code = "import sys; from pathlib import Path; from groundup.report.funnel import write; from groundup.run import Run; write(Run.read(Path(sys.argv[1])))"
    subprocess.run([sys.executable, "-c", code, str(cleaned.path)], check=True, env={**os.environ, "PYTHONHASHSEED": "7", "TZ": "Asia/Tokyo"})
    assert (cleaned.path / "funnel.html").read_text(encoding="utf-8") == first


# --- marked differences


class Parts(HTMLParser):
    """The text of a piece of HTML, and that in its <del> or <ins>."""

    def __init__(self, html: Markup) -> None:
        super().__init__()
        self.text, self.changed, self.inside = "", "", False
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        assert tag in ("del", "ins")
        self.inside = True

    def handle_endtag(self, tag: str) -> None:
        self.inside = False

    def handle_data(self, data: str) -> None:
        self.text += data
        self.changed += data * self.inside


LETTERS = st.text("ab <&\n\u200b\x00é", max_size=40)


@given(LETTERS, LETTERS)
def test_what_is_marked_is_what_differs(before: str, after: str) -> None:
    left, right = (Parts(side) for side in marked(before, after))
    # with its marks taken as they are shown, each side is its text
    assert len(left.text) >= len(before) and len(right.text) >= len(after)
    unmarked = [re.sub(r"<(del|ins)>.*?</\1>", "", str(side), flags=re.DOTALL) for side in marked(before, after)]
    assert unmarked[0] == unmarked[1], "what is not marked is the same in both"
    assert (left.changed == right.changed == "") == (before == after)
    assert not re.search("[\x00-\x08]", left.text + right.text)


def test_nothing_in_a_mark_is_invisible() -> None:
    assert shown(" a b  c\n\u200b\u00a0\x07\td ") == "·a b··c↵\n[U+200B][U+00A0][U+0007]⇥d·"
    left, right = (Parts(side) for side in marked("so\u00adft  end", "soft end"))
    assert "[U+00AD]" in left.changed and "·" in left.changed and right.changed.count("·") == 0


def test_the_end_of_a_clipped_sample_is_no_difference() -> None:
    words_ = " ".join(f"word{number}" for number in range(300))
    left, right = (Parts(side) for side in marked(*difference("teh cat. " + words_, "the black cat. " + words_)))
    assert left.changed == "teh" and right.changed in ("the black", "the black·")
    assert left.text.endswith("…") and right.text.endswith("…")


def test_texts_that_have_nothing_in_common_are_marked_whole() -> None:
    left, right = (Parts(side) for side in marked("same one two three four", "same five six, seven: eight; nine"))
    assert left.changed == "one two three four" and right.changed == "five six, seven: eight; nine"


# --- histograms


@given(st.dictionaries(st.floats(-1e7, 1e7, allow_nan=False).map(lambda value: f"{value:.2g}"), st.tuples(st.integers(0, 10**7), st.integers(0, 10**7)), min_size=1, max_size=60))
def test_any_scores_can_be_drawn(scores: dict[str, tuple[int, int]]) -> None:
    svg = str(histogram(scores, [(0, "kept")], [(1, "dropped")], 'a "label" & <more>'))
    Reader(svg)
    assert "nan" not in svg and "inf" not in svg
    for x, width in re.findall(r'<rect[^>]* x="([-\d.]+)"[^>]* width="([-\d.]+)"', svg):
        assert float(x) >= 0 and float(x) + float(width) <= 440
    drawn = [int(number.replace(",", "")) for number in re.findall(r": ([\d,]+)</title>", svg)]
    assert sum(drawn) == sum(map(sum, scores.values()))


@pytest.mark.parametrize("most", [0.2, 0.5, 1.0, 2.0, 7.0, 1e6])
def test_two_digits_make_no_comb(most: float) -> None:
    values = [10 ** (6 * place / 50_000) for place in range(50_001)] if most > 50 else [place * most / 50_000 for place in range(50_001)]
    rounded = [float(f"{value:.2g}") for value in values]
    axis = Axis(rounded)
    held = [0] * axis.bins
    for value in rounded:
        held[axis.bin(value)] += 1
    spread = [number for number in held if number][axis.bins // 4 : -1]  # the last bin may be a part of one; with few scores a bin is one
    assert max(spread) <= 2 * min(spread), f"a comb: {held}"


@given(st.floats(0.05, 0.95), st.booleans())
def test_the_threshold_is_found_where_it_is(cut: float, below: bool) -> None:
    scores: dict[str, list[int]] = {}
    for place in range(2000):
        value = place / 2000
        scores.setdefault(f"{value:.2g}", [0, 0])[int((value < cut) == below)] += 1
    found = threshold(scores, [0], [1])
    assert found is not None and abs(found - cut) <= 0.011


def test_scores_of_dropped_documents_alone_are_not_drawn(cleaned: Run) -> None:
    told = cleaning_funnel()
    step = next(step for step in told["steps"] if step["step"] == "toxicity")
    assert "Scores at the step Toxicity" in (funnel.render(cleaned) or "")
    step["scores"] = {"0.2": [0, 9], "31": [0, 4]}
    write_json(cleaned.path / "corpus/clean/funnel.json", told)
    assert "Scores at the step Toxicity" not in (funnel.render(cleaned) or "")


def test_no_threshold_is_drawn_where_there_is_none() -> None:
    assert threshold({"0.1": (5, 5), "0.5": (5, 5), "0.9": (5, 5)}, [0], [1]) is None
    assert threshold({"0.1": (5, 0), "0.5": (5, 0)}, [0], [1]) is None
    assert "threshold" not in str(histogram({"0.1": (5, 5), "0.5": (5, 5)}, [(0, "kept")], [(1, "dropped")], ""))


# --- groups, previews, comparisons


def test_groups_show_who_lost_most_first() -> None:
    found = groups.section([{"step": "bias_before", "counts": mentions(1.0)}, {"step": "html"}, {"step": "bias_after", "counts": mentions(0.75)}])
    assert found is not None and found["words_kept"] == pytest.approx(0.75)
    assert [row["group"] for row in found["rows"]] == ["Muslims", "women", "men", "old people"]
    assert [row["fate"] for row in found["rows"]] == ["less", "less", "even", "more"]
    assert found["rows"][0]["points"] == pytest.approx(100 * (862 / 2300 - 0.75))
    assert [pair["first"] for pair in found["pairs"]] == ["pleasant", "career"]
    assert groups.section([{"step": "bias_before", "counts": mentions(1.0)}]) is None
    assert groups.section([{"step": "bias_before", "counts": {}}, {"step": "bias_after", "counts": {}}]) is None


def test_the_groups_stand_in_the_page(cleaned: Run) -> None:
    text = re.sub(r"\s+", " ", Reader(funnel.render(cleaned) or "").text)
    assert "Of all words 75 % are left" in text and "Muslims2,300862" in text and "−37.5 points" in text


def test_a_preview_in_one_sentence() -> None:
    nothing = {"documents": 0, "bytes": 0, "reasons": [], "samples": []}
    some = {**nothing, "documents": 7}
    changed = {"documents": 3, "samples": []}
    assert beside._said(preview()) == "This change would drop 25 of 1,000 documents and change the text of 1."
    assert beside._said(preview(newly_dropped=nothing, newly_kept=some, changed=changed)) == "This change would keep 7 documents that are dropped now and change the text of 3."
    assert beside._said(preview(newly_kept=some, changed=changed)) == "This change would drop 25 of 1,000 documents, keep 7 that are dropped now and change the text of 3."
    assert "drop nothing" in beside._said(preview(newly_dropped=nothing, changed={"documents": 0, "samples": []}))
    Reader(beside.render_preview(preview(newly_dropped=nothing, changed={"documents": 0, "samples": []}, scores={}, step="", steps_run_again=[], sources={}, dropped_by={})))


def test_a_comparison_in_one_sentence() -> None:
    assert beside._compared(comparison()) == "second holds 3.00 times as much text as first; 8 texts are in both."
    same = comparison()["one"]
    same = {**same, "alone": {"documents": 0, "bytes": 0, "samples": []}}
    found = comparison(one=same, other=same, words={"one": [], "other": []}, steps=[], recipes_differ={})
    assert beside._compared(found) == "runs/first and runs/first hold the same texts."
    Reader(beside.render_comparison(found))


def test_the_pages_are_written(tmp_path: Path) -> None:
    beside.write_preview(preview(), tmp_path / "a.html")
    beside.write_comparison(comparison(), tmp_path / "b.html")
    text = re.sub(r"\s+", " ", Reader((tmp_path / "a.html").read_text()).text)
    assert "clean.length.min_characters100200" in text and "Length: too short21" in text
    assert "no such step" in (tmp_path / "b.html").read_text()


def test_a_new_run_has_no_funnel(tmp_path: Path) -> None:
    run = fabricate(tmp_path / "run")
    (run.path / "corpus/clean/funnel.json").unlink()
    assert funnel.write(run) is None and not (run.path / "funnel.html").exists()
