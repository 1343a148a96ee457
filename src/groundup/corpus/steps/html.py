"""Step `html`: from pages to text that keeps the page's structure.

Resiliparse lays the text out (headings and paragraphs between blank lines, list bullets, `<pre>` as it stands) and
finds the main content. It knows no definition lists, which reference pages are made of. So each piece of text in a
description is marked before with noncharacters, one a level, and afterwards lines that begin with marks are indented. The
marks stand on the text itself and count from the margin: what the main content leaves out takes its own away.

The page is parsed once and written out again, so that every element is closed, and marked there: walking the tree from
Python takes time quadratic in a page's links.
"""

from __future__ import annotations

import re

import pyarrow as pa
from resiliparse.extract.html2text import extract_plain_text
from resiliparse.parse.html import HTMLTree

from groundup.corpus.steps import Seen, Verdict, judge

INDENT = "    "
LEAST_SHARE = 1 / 3  # of the visible text; a "main content" with less has missed it (old-style pages, tables)
MAX_NESTING = 1000  # elements; finding the main content is quadratic in it (8,000 take 1.3 s). Real pages stay below 100
LEVEL, TERM, VERBATIM, APART = "\ufdd0", "\ufdd1", "\ufdd2", "\ufdd3"  # noncharacters: no text holds them
MARKS = re.compile("[\ufdd0-\ufdd3]+")
UNSEEN = re.compile(r"<!--.*?-->|<(script|style)\b.*?</\1>", re.DOTALL)
TAG = re.compile(r"""(<[a-zA-Z/!](?:[^"'>]|"[^"]*"|'[^']*')*>)""")
VOID = frozenset(["area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr", "!doctype"])


class Html:
    """The step. With `main_content` menus, headers and footers are left out, in web pages but not in books."""

    def __init__(self, main_content: bool) -> None:
        self.main_content = main_content

    def __call__(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        return judge(batch, "html", self._extract)

    def _extract(self, seen: Seen) -> Verdict:
        text, language = seen.text, None
        if seen.format != "text":
            language = seen.language or _language(text)
            text = to_text(text, main_content=self.main_content and seen.format == "html")
        return Verdict(text, None if text.strip() else "no text in the page", language=language)


def to_text(html: str, *, main_content: bool) -> str:
    """The text of a page: its main content, or all that is visible where that is asked for or the better guess."""
    marked, nesting = mark(UNSEEN.sub("", str(HTMLTree.parse(MARKS.sub("", html)))))
    whole = arrange(extract_plain_text(marked, main_content=False))
    if not main_content or nesting > MAX_NESTING:
        return whole
    main = arrange(extract_plain_text(marked, main_content=True))
    return main if visible(main) >= LEAST_SHARE * visible(whole) else whole


def visible(text: str) -> int:
    """Characters that are not blank."""
    return len("".join(text.split()))


def mark(html: str) -> tuple[str, int]:
    """A page whose elements are all closed, with its descriptions, terms and preformatted lines marked; its nesting."""
    pieces = TAG.split(html)  # text, tag, text, tag, ..., text
    level = preformatted = nesting = deepest = 0
    term = apart = False  # whether the next text begins a term; whether a blank line goes before it
    for place, piece in enumerate(pieces):
        if place % 2 == 0:
            if (level or term or apart or preformatted) and (text := piece.lstrip()):
                marks, once = LEVEL * level, TERM * term + APART * apart
                if preformatted:
                    lines = [VERBATIM + marks + line if line.strip() else line for line in piece.split("\n")]
                    pieces[place] = "\n".join(lines).replace(VERBATIM, VERBATIM + once, 1)
                else:
                    pieces[place] = piece[: len(piece) - len(text)] + once + marks + text
                term = apart = False
            continue
        closing = piece[1] == "/"
        name = piece[2 if closing else 1 : -1].split(None, 1)[0].lower()
        apart = apart or name in ("hr", "pre")
        if name in VOID:
            continue
        step = -1 if closing else 1
        nesting += step
        deepest = max(deepest, nesting)
        if name == "dd":
            level = max(0, level + step)
        elif name == "pre":
            preformatted = max(0, preformatted + step)
        elif name == "dt":
            term = not closing
    return "".join(pieces), deepest


def arrange(text: str) -> str:
    """Marked text as it is to be read: terms apart, descriptions indented, the remains of layout tables gone."""
    lines: list[str] = []
    description = True  # whether the last line was one: the next term then stands apart
    for line in text.replace("\xa0", " ").split("\n"):
        margin, content = line[: len(line) - len(line.lstrip())], line.lstrip()
        marks = found[0] if (found := MARKS.search(content)) else ""
        content = MARKS.sub("", content).rstrip()
        if "\t" not in margin or VERBATIM in marks:  # blank cells at a row's start are a layout table's margin
            content = margin + content
        level = marks.count(LEVEL)
        if not content.strip():
            if lines and lines[-1]:
                lines.append("")
            continue
        if (APART in marks or (TERM in marks and description)) and lines and lines[-1]:
            lines.append("")
        description = TERM not in marks
        lines.append(INDENT * level + content)
    return "\n".join(lines).strip("\n")


def _language(html: str) -> str | None:
    match = re.search(r"<html\b[^>]*?\blang\s*=\s*[\"']?([A-Za-z][\w-]*)", html[:4096], re.IGNORECASE)
    return match[1] if match else None
