"""Text from pages: nothing visible is lost, and its structure can be read."""

from __future__ import annotations

import importlib
import pydoc
import time

import pyarrow as pa
import pytest

from groundup.corpus.document import SCHEMA, Document
from groundup.corpus.steps.html import Html, to_text, visible

PAGE = """<!DOCTYPE html><html lang="de-AT"><head><title>T</title><style>p {color: red}</style></head><body>
<nav><ul><li><a href="a">Home</a></li><li><a href="b">About us</a></li></ul></nav>
<main><h1>A heading</h1><p>The first paragraph is about something and long enough to be content.
<p>The second one says <b>more</b> of the same, and goes on for a while.</p><pre>def f(x):
    if x:
        return <b>1</b>
</pre><script>var x = "<p>never</p>";</script>
<dl><dt>first(a, b)<dd>What the first does.<dt>second()<dd><p>What the second does.<p>And when.<dl><dt>inner<dd>Deep.</dl></dl>
<hr>After the rule.</main><footer>Imprint &amp; contact</footer></body></html>"""


def test_structure_is_kept() -> None:
    text = to_text(PAGE, main_content=False)
    assert "A heading\n\nThe first paragraph" in text
    assert "content.\n\nThe second one says more of" in text
    assert "def f(x):\n    if x:\n        return 1\n" in text
    assert "first(a, b)\n    What the first does.\n\nsecond()\n" in text
    assert "\n    What the second does.\n\n    And when.\n" in text
    assert "\n    inner\n        Deep.\n\nAfter the rule." in text
    assert "never" not in text and "color" not in text
    assert "Imprint & contact" in text and "Home" in text


def test_main_content_leaves_menus_out() -> None:
    text = to_text(PAGE, main_content=True)
    assert "Home" not in text and "Imprint" not in text
    assert "The first paragraph" in text and "    What the first does." in text


def test_code_keeps_its_margin_where_it_begins_with_markup() -> None:
    text = to_text("<pre>for x in y:\n    <b>print</b>(x)\n\n\t<i>tab</i></pre>", main_content=False)
    assert text == "for x in y:\n    print(x)\n\n\ttab"


def test_a_page_that_main_content_misses_is_taken_whole() -> None:
    links = "".join(f'<a href="{n}">module {n}</a><br>' for n in range(300))
    page = f"<html><body><table><tr><td>{links}</td></tr></table></body></html>"
    assert visible(to_text(page, main_content=True)) > 0.9 * visible(to_text(page, main_content=False))


@pytest.mark.parametrize("name", ["json", "os.path", "textwrap", "pathlib"])
def test_pydoc_pages_lose_no_word(name: str) -> None:
    module = importlib.import_module(name)
    html = pydoc.html.page(name, pydoc.html.document(module))
    text = to_text(html, main_content=True)
    words = set(text.split())
    docstrings = [member.__doc__ for key, member in vars(module).items() if not key.startswith("_") and callable(member)
                  and getattr(member, "__module__", "") == module.__name__ and member.__doc__]  # fmt: skip
    for doc in docstrings:
        expected = doc.replace("`", " ").split()
        missing = [word for word in expected if word.isalpha() and word not in words and not any(word in other for other in words)]
        assert not missing


def test_a_docstring_stands_indented_below_its_signature() -> None:
    import textwrap

    html = pydoc.html.page("textwrap", pydoc.html.document(textwrap))
    assert "\n\nindent(text, prefix, predicate=None)\n    Adds 'prefix' to the beginning" in to_text(html, main_content=True)


@pytest.mark.parametrize("page", [
    "<body>" + "".join(f"<a href='{n}'>link {n}</a> " for n in range(30_000)),
    "<body>" + "<div>" * 50_000 + "deep down",
    "<dl>" + "<dt>t<dd>d" * 20_000,
], ids=["links", "nesting", "definitions"])  # fmt: skip
def test_time_is_not_quadratic(page: str) -> None:
    start = time.monotonic()
    assert to_text(page, main_content=True)
    assert time.monotonic() - start < 10  # 0.3 s here; quadratic, minutes


@pytest.mark.parametrize("broken", ["", "<", "<<<>>>", "<p", "</dd></dd></pre>x", "<dd>" * 5, "\ufdd0\ufdd1<dd>a", "<a b='>x"])
def test_broken_pages_do_not_raise(broken: str) -> None:
    assert "\ufdd0" not in to_text(broken, main_content=True)


def test_the_step_drops_empty_pages_and_reads_the_language() -> None:
    pages = [PAGE, "<html><body><img src=x></body></html>", "plain < text"]
    formats = ["html", "html", "text"]
    rows = [{**Document("s", str(n), page, f"u{n}").row(), "format": kind} for n, (page, kind) in enumerate(zip(pages, formats, strict=True))]
    result = Html(main_content=True)(pa.RecordBatch.from_pylist(rows, SCHEMA)).to_pylist()
    assert [row["dropped_by"] for row in result] == [None, "html", None]
    assert result[0]["language"] == "de-AT" and result[1]["reason"] == "no text in the page"
    assert result[2]["text"] == "plain < text"
