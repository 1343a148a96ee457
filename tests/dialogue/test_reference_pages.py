"""Definitions of real pydoc pages and of Sphinx's form; what is said twice, inherited or private stays out."""

from __future__ import annotations

import importlib
import pydoc
from pathlib import Path

import pyarrow
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from groundup.corpus.sources import warc
from groundup.dialogue.definitions import (
    MAX_ANSWER,
    Entry,
    cut_at_sentence,
    first_paragraph,
    read_page,
    text_of,
)
from groundup.dialogue.reference_pages import load, pairs, reference, spoken_arguments

SPHINX = """<html><body><dl class="py function">
<dt class="sig sig-object py" id="os.walk"><span>os.</span><span>walk</span>(<em>top</em>, <em>topdown=True</em>)<a class="headerlink" href="#os.walk">¶</a></dt>
<dd><p>Generate the file names in a directory tree, see <a href="x.html">here</a>.</p><p>Second paragraph.</p></dd></dl>
<dl class="py class"><dt class="sig" id="os.DirEntry"><em>class </em>os.<span>DirEntry</span><a class="headerlink" href="#">¶</a></dt>
<dd><p>Object yielded by scandir() to expose the file path.</p>
<dl class="py method"><dt class="sig" id="os.DirEntry.inode">inode()</dt><dd><p>Return the inode number of the entry.</p></dd></dl>
</dd></dl></body></html>"""


def page(name: str) -> str:
    module = importlib.import_module(name)
    return pydoc.html.page(pydoc.describe(module), pydoc.html.document(module, name))


def entries(name: str) -> dict[str, Entry]:
    return {entry.name: entry for entry in read_page(page(name), f"http://docs/{name}.html").entries}


def test_pydoc_functions_classes_methods_and_the_module_itself() -> None:
    found = entries("textwrap")
    assert found["textwrap"].kind == "module" and found["textwrap"].description == "Text wrapping and filling."
    wrap = found["textwrap.wrap"]
    assert wrap.signature == "textwrap.wrap(text, width=70, **kwargs)"
    assert wrap.description == "Wrap a single paragraph of text, returning a list of wrapped lines."
    assert found["textwrap.TextWrapper"].kind == "class"
    fill = found["textwrap.TextWrapper.fill"]
    assert fill.arguments == "(self, text)" and fill.description.startswith("Reformat the single paragraph in 'text'")


@pytest.mark.parametrize("name", ["textwrap", "json", "pathlib", "collections", "io"])
def test_pydoc_pages_agree_with_the_modules_they_describe(name: str) -> None:
    """Every entry is an attribute of the module; its description is in its docstring; nothing inherited or private."""
    module, found = importlib.import_module(name), entries(name)
    assert len(found) > 3
    for entry in found.values():
        owner, thing = None, module
        for part in entry.name.split(".")[1:]:
            owner, thing = thing, getattr(thing, part)
            assert not part.startswith("_")
        if isinstance(owner, type):
            assert entry.name.rsplit(".", 1)[1] in vars(owner)  # defined here, not inherited
        said = " ".join((pydoc.getdoc(thing) or "").split()).replace("``", "`")
        if "`" not in entry.description:
            assert entry.description in said
        assert len(entry.description) <= MAX_ANSWER


def test_sphinx_pages() -> None:
    found = {entry.name: entry for entry in read_page(SPHINX, "u").entries}
    assert found["os.walk"].signature == "os.walk(top, topdown=True)"
    assert found["os.walk"].description == "Generate the file names in a directory tree, see here."
    assert found["os.DirEntry"].description == "Object yielded by scandir() to expose the file path."
    assert found["os.DirEntry.inode"].description == "Return the inode number of the entry."


def test_held_out_pages_are_kept_apart_and_share_nothing_with_training() -> None:
    pages = [(f"http://docs/{name}.html", page(name)) for name in ("textwrap", "json", "io", "heapq")]
    double = pages[0][1].replace("textwrap", "wraptext").replace("Dedent", "Remove")
    pages.append(("http://docs/a.html", double))
    split = {url: "train" for url, _ in pages} | {"http://docs/json.html": "held-out", "http://docs/a.html": "held-out"}
    del split["http://docs/io.html"]  # dropped in cleaning
    one = reference(pages, split)
    assert one == reference(reversed(pages), split)
    urls = {entry.url for entry in one.train}
    assert urls == {"http://docs/textwrap.html", "http://docs/heapq.html"}
    assert {entry.url for entry in one.held_out} <= {"http://docs/json.html", "http://docs/a.html"}
    assert any(entry.name == "json.dumps" for entry in one.held_out)
    train = {entry.description for entry in one.train}
    assert not any(entry.description in train for entry in one.held_out)
    everything = [entry.description for entry in one.train + one.held_out]
    assert len(everything) == len(set(everything))


def test_pages_are_read_from_the_crawl_and_their_split_from_the_clean_corpus(tmp_path: Path) -> None:
    """A page whose parts fell into both splits is in neither; a plain text page is none."""
    names = {"textwrap": ["train"], "heapq": ["held-out", "held-out"], "json": ["train", "held-out"], "bisect": []}
    data = warc.info("test", "2026-01-01T00:00:00Z")
    for name in names:
        data += warc.response(f"http://d/{name}.html", "2026-01-01T00:00:00Z", "text/html; charset=utf-8", page(name).encode(), truncated=False)
    data += warc.response("http://d/x.txt", "2026-01-01T00:00:00Z", "text/plain", page("glob").encode(), truncated=False)
    (tmp_path / "collected" / "docs").mkdir(parents=True)
    (tmp_path / "collected" / "docs" / "00000.warc.gz").write_bytes(data)
    rows = [{"url": f"http://d/{name}.html", "split": split} for name, splits in names.items() for split in splits]
    rows.append({"url": "http://d/x.txt", "split": "train"})
    (tmp_path / "clean").mkdir()
    parquet.write_table(pyarrow.Table.from_pylist(rows[:2]), tmp_path / "clean" / "part-00000.parquet")
    parquet.write_table(pyarrow.Table.from_pylist(rows[2:]), tmp_path / "clean" / "part-00001.parquet")
    found = load(tmp_path / "collected", tmp_path / "clean")
    assert {entry.url for entry in found.train} == {"http://d/textwrap.html"}
    assert {entry.url for entry in found.held_out} == {"http://d/heapq.html"}


def test_a_module_goes_by_the_name_its_page_asks_for_where_the_parent_links_it() -> None:
    names = ("os", "posixpath", "ntpath")
    found = reference([(name, page(name)) for name in names], dict.fromkeys(names, "train")).train
    joined = {entry.name: entry.url for entry in found if entry.name.endswith("path.join")}
    import os

    assert joined["os.path.join"] == os.path.__name__


@pytest.mark.parametrize(
    ("text", "short", "expected"),
    [
        ("fill(text) -> string\n\nReformat the  paragraph\nin 'text'.\n\nMore.", "fill", "Reformat the paragraph in 'text'."),
        ("L.pop([index]) -> item -- remove and return item at index.", "pop", "remove and return item at index."),
        ("D.pop(k[,d]) -> v, remove specified key.\n\nIf the key is missing, d.", "pop", "remove specified key."),
        ("D.items() -> a set-like object providing a view", "items", "a set-like object providing a view"),
        ("range(stop) -> range object\nrange(start, stop) -> range object\n\nReturn an object.", "range", "Return an object."),
        ("See :func:`~os.walk` and ``x``.", "y", "See `os.walk` and `x`."),
        (">>> f()", "f", ""),
        ("Options are::\n\n  a", "f", ""),
        ("First sentence.  The options are:\n\n  a", "f", "First sentence."),
    ],
)  # fmt: skip
def test_first_paragraph(text: str, short: str, expected: str) -> None:
    assert first_paragraph(text, short) == expected


@given(st.lists(st.sampled_from(["One two.", "Is it? ", "e.g. this", "x" * 50, "Ends!"]), min_size=1, max_size=30))
def test_long_answers_are_cut_at_a_sentence(parts: list[str]) -> None:
    text = " ".join(parts)
    cut = cut_at_sentence(text, 100)
    assert text.startswith(cut) and len(cut) <= 100
    assert cut == text or cut == "" or cut[-1] in ".?!"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("(self, text, width=70, **kwargs)", "`text`, `width` (default 70) and further keyword arguments `**kwargs`"),
        ("()", "no arguments"), ("(self, /)", "no arguments"), ("(...)", None), ("(name[, default])", None), ("", None),
        ("(a, /, b=(1, 2), *, c=', ')", "`a`, `b` (default (1, 2)) and `c` (default ', ')"),
        ("(x: list[int], *rest: str)", "`x` and further positional arguments `*rest`"),
    ],
)  # fmt: skip
def test_arguments_in_words(arguments: str, said: str | None) -> None:
    assert spoken_arguments(arguments) == said


def test_questions_name_the_thing_and_answers_come_from_the_page() -> None:
    entry = Entry("callable", "textwrap.wrap", "(text, width=70)", "Wrap a paragraph.", "u")
    asked = {question.content: answer.content for question, answer in (talk.messages for talk in pairs([entry]))}
    assert asked["What does `textwrap.wrap` do?"] == "Wrap a paragraph."
    assert asked["Which arguments does `textwrap.wrap` take?"] == "`textwrap.wrap` takes `text` and `width` (default 70)."
    assert len(asked) == 4 and all("textwrap.wrap" in question for question in asked)


def test_text_is_laid_out_as_a_browser_would() -> None:
    from resiliparse.parse.html import HTMLTree

    tree = HTMLTree.parse("<div>a\n b<br>c&nbsp;&nbsp;d<p>e</p><pre>x  y\n  z</pre></div>")
    assert text_of(tree.body) == "a b\nc  d\n\ne\n\nx  y\n  z"


def test_a_page_nested_without_end_does_no_harm() -> None:
    assert read_page("<div>" * 5000 + SPHINX, "u").entries == []


@pytest.mark.timeout(20)
def test_long_odd_terms_take_no_time() -> None:
    for odd in ("x." * 20_000, "a b " * 20_000, "(" * 40_000, "f(" * 20_000):
        read_page(f"<dl><dt>{odd}</dt><dd>{odd} {odd}: long description of it.</dd></dl>", "u")
