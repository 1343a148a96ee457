"""Lines laid out as plain text or Markdown: items marked, descriptions and nested lists indented, rows on one line, code as it stands.

    text                      markdown
    Of lists                  ## Of lists
    - one                     - one
      1. inner                  1. inner
    call(x)                   call(x)
        What it does.         :   What it does.
    a<tab>b                   | a | b |
                              | --- | --- |

Text that is read as markup in Markdown (a line that begins with `#`) is left as it is: a model should see what the page shows.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal, NamedTuple

from groundup.corpus.page.parse import CODE_MARK, VERBATIM, Line, Page

Markup = Literal["text", "markdown"]

DEEPEST = 32
"""Columns of indent at most; what is nested deeper stands there, so that the output is no longer than the page allows."""
DESCRIPTION = 4  # columns, as in Python's help() and in Markdown's definition lists
CELL_LINES = 3  # a cell with more makes its table one that lays out a page, not one of data
HEADINGS = {f"h{level}": level for level in range(1, 7)}
CODE = re.compile(f"{CODE_MARK}([^{CODE_MARK}]*){CODE_MARK}")
BACKTICKS = re.compile("`+")


class Place(NamedTuple):
    """What the elements around a line ask for."""

    indent: int = 0
    """Columns."""
    item: int = 0
    """The innermost list item or description: a node."""
    marker: str = ""
    """What the item's first line begins with, in the last columns of the indent."""
    term: bool = False
    heading: int = 0
    code: int = 0
    """The preformatted element."""
    row: int = 0
    cell: int = 0
    quote: int = 0
    """How deep in quotes."""
    quoted: int = 0
    """The outermost quote: a node."""


class Writer:
    """Lays out lines of one page."""

    def __init__(self, page: Page, markup: Markup) -> None:
        self.page, self.markdown = page, markup == "markdown"
        self.places: dict[int, Place] = {0: Place()}
        self.ordinals: dict[int, int] = {}
        counted: dict[int, int] = {}
        for node, name in enumerate(page.names):
            if name == "li" or name == "td" or name == "th":
                counted[page.parents[node]] = self.ordinals[node] = counted.get(page.parents[node], 0) + 1

    def place(self, node: int) -> Place:
        """Where a line in this node stands; from the nearest known node above downwards."""
        path, parents = [], self.page.parents
        while node not in self.places:
            path.append(node)
            node = parents[node]
        place = self.places[node]
        for node in reversed(path):
            place = self.places[node] = self._below(place, node)
        return place

    def _below(self, above: Place, node: int) -> Place:
        name = self.page.names[node]
        if name == "li":
            parent = self.page.names[self.page.parents[node]]
            marker = f"{self.ordinals[node]}. " if parent == "ol" else "- "
            return above._replace(item=node, marker=marker, indent=min(DEEPEST, above.indent + len(marker)))
        if name == "dd":
            marker = ":   " if self.markdown else ""
            return above._replace(item=node, marker=marker, term=False, indent=min(DEEPEST, above.indent + DESCRIPTION))
        if name == "dt":
            return above._replace(item=node, marker="", term=True)
        if name in HEADINGS:
            return above._replace(heading=HEADINGS[name])
        if name in VERBATIM:
            return above if above.code else above._replace(code=node)
        if name == "tr":
            return above._replace(row=node, cell=0)
        if name == "td" or name == "th":
            return above._replace(cell=node)
        if name == "table":
            return above._replace(row=0, cell=0)
        if name == "blockquote":
            return above._replace(quote=min(DEEPEST, above.quote + 1), quoted=above.quoted or node)
        return above

    def write(self, lines: Sequence[Line]) -> str:
        """The text, without blank ends."""
        pieces: list[str] = []
        begun: set[int] = set()  # items and lists that have a line, tables that have a row
        parents = self.page.parents
        places = [self.place(line.node) for line in lines]
        last = Place()
        at, count = 0, len(lines)
        while at < count:
            place, gap, start = places[at], lines[at].gap, at
            at += 1
            first = place.item != 0 and place.item not in begun
            if place.code:
                while at < count and places[at].code == place.code:
                    at += 1
                text = self._code(lines[start:at])
                gap = max(gap, 2)
            elif place.row and (row := self._row(places, lines, start)):
                text, at = row
                table = parents[place.row]
                if self.markdown:
                    text += "\n|" + " --- |" * (text.count(" | ") + 1) if table not in begun else ""
                gap = 1 if table in begun else max(gap, 2)
                begun.add(table)
            else:
                text = self._inline(lines[start].text)
                if self.markdown and place.heading:
                    text = "#" * place.heading + " " + text
            if first:
                listed = parents[place.item]
                if place.term:
                    gap = 1 if last.term else 2
                elif listed in begun or self.place(listed).item:
                    gap = 1
                begun.update((place.item, listed))
            elif last.code:
                gap = max(gap, 2)
            if first and place.marker:
                text = " " * (place.indent - len(place.marker)) + place.marker + text.replace("\n", "\n" + " " * place.indent)
            elif place.indent:
                text = " " * place.indent + text.replace("\n", "\n" + " " * place.indent)
            if self.markdown and place.quote:
                text = "\n".join(["> " * place.quote + part for part in text.split("\n")])
            if pieces:
                within = min(place.quote, last.quote) if self.markdown and place.quoted == last.quoted else 0
                pieces.append("\n" if gap < 2 else "\n" + "> " * within + "\n")
            pieces.append(text)
            last = place
        return "".join(pieces)

    def _inline(self, text: str) -> str:
        if CODE_MARK not in text:
            return text
        if self.markdown:
            text = CODE.sub(lambda found: f"`{found[1].strip()}`" if found[1].strip() and "`" not in found[1] else found[1], text)
        return text.replace(CODE_MARK, "")

    def _code(self, lines: Sequence[Line]) -> str:
        parts = [lines[0].text.strip("\n")]
        for line in lines[1:]:
            parts += ["\n" * max(1, line.gap), line.text.strip("\n")]
        text = "".join(parts)
        text = "\n".join([part.rstrip() for part in text.rstrip().split("\n")])
        if not self.markdown:
            return text
        fence = "`" * max(3, 1 + max(map(len, BACKTICKS.findall(text)), default=0))
        return f"{fence}\n{text}\n{fence}"

    def _row(self, places: Sequence[Place], lines: Sequence[Line], start: int) -> tuple[str, int] | None:
        """The row that begins here as one line, and the first line after it; None where it is not a row of data."""
        row, item = places[start].row, places[start].item
        cells: dict[int, list[str]] = {}
        at = start
        while at < len(lines) and places[at].row == row:
            place = places[at]
            if not place.cell or place.item != item or place.code:
                return None
            texts = cells.setdefault(self.ordinals[place.cell], [])
            texts.append(self._inline(lines[at].text).strip())
            if len(texts) > CELL_LINES:
                return None
            at += 1
        if len(cells) < 2 or max(cells) > 2 * len(lines):
            return None
        joined = [" ".join(cells.get(column, ())) for column in range(1, max(cells) + 1)]
        if self.markdown:
            return "| " + " | ".join([text.replace("|", "\\|") for text in joined]) + " |", at
        return "\t".join(joined), at
