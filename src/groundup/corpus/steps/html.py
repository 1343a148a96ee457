"""Step `html`: from pages to text that keeps the page's structure.

`page/parse.py` reads the tags into lines, `page/content.py` says which are the main content, `page/write.py` lays them out.
Where a page shows nearly nothing without scripts, what it says to machines and to browsers without scripts is looked at.
"""

from __future__ import annotations

import json
import re

import pyarrow as pa

from groundup.corpus.page.content import main_lines
from groundup.corpus.page.parse import parse
from groundup.corpus.page.write import Markup, Writer
from groundup.corpus.steps import Seen, Verdict, judge

LEAST_CONTENT = 250
"""Characters; a main content of fewer is doubted (trafilatura's `min_extracted_size`)."""
LEAST_SHARE = 1 / 10  # of the visible text; a main content with less is taken for a miss if it is that short too
ARTICLE_BODY = re.compile(r'"articleBody"\s*:\s*("(?:[^"\\]|\\.)*")')
NOSCRIPT = re.compile(r"</?noscript\b[^>]*>", re.IGNORECASE)


class Html:
    """The step. With `main_content` menus, headers and footers are left out, in web pages but not in books."""

    def __init__(self, main_content: bool, markup: Markup = "text") -> None:
        self.main_content, self.markup = main_content, markup

    def __call__(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        return judge(batch, "html", self._extract)

    def _extract(self, seen: Seen) -> Verdict:
        text, language = seen.text, None
        if seen.format != "text":
            language = seen.language or _language(text)
            text = to_text(text, main_content=self.main_content and seen.format == "html", markup=self.markup)
        return Verdict(text, None if text.strip() else "no text in the page", language=language)


def to_text(html: str, *, main_content: bool, markup: Markup = "text") -> str:
    """The text of a page: its main content, or all that is visible where that is asked for or the better guess."""
    page = parse(html, menus=not main_content)
    if not main_content:
        return Writer(page, markup).write(page.lines)
    text = Writer(page, markup).write(main_lines(page))
    if len(text) >= LEAST_CONTENT:
        return text
    if "<noscript" in html.lower():
        unwrapped = parse(NOSCRIPT.sub(" ", html))
        text = max(text, Writer(unwrapped, markup).write(main_lines(unwrapped)), key=visible)
    if (found := ARTICLE_BODY.search(html)) and visible(body := _string(found[1])) > visible(text):
        inner = parse(body)
        text = Writer(inner, markup).write(inner.lines) if "<" in body else body
    if len(text) < LEAST_CONTENT:
        page = parse(html)
        whole = Writer(page, markup).write(page.lines)
        if visible(text) < LEAST_SHARE * visible(whole):
            return whole
    return text


def visible(text: str) -> int:
    """Characters that are not blank."""
    return len("".join(text.split()))


def _string(quoted: str) -> str:
    try:
        return str(json.loads(quoted, strict=False)).strip()
    except ValueError:
        return ""


def _language(html: str) -> str | None:
    match = re.search(r"<html\b[^>]*?\blang\s*=\s*[\"']?([A-Za-z][\w-]*)", html[:4096], re.IGNORECASE)
    return match[1] if match else None
