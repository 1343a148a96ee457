"""Definitions on HTML pages: names, arguments, and what is said about them.

HTML has a form of its own for definitions, a list of signatures (<dt>) and descriptions (<dd>):

    <dl><dt>wrap(text, width=70, **kwargs)</dt><dd>Wrap a single paragraph of text, returning ...</dd></dl>

Python's pydoc and Sphinx both write so. From pydoc's pages the class and module that a definition stands in are read
too, and the descriptions of classes and modules themselves. What has no description, what begins with an underscore
and what is inherited is left out.
"""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass, field
from html import unescape
from typing import Literal

from resiliparse.parse.html import ElementNode, HTMLTree, TextNode

Kind = Literal["module", "class", "callable", "value"]

MAX_ANSWER = 400  # characters; longer ones are cut at a sentence's end. With the question about 130 tokens
MIN_DESCRIPTION = 15  # characters; "x", "see above" and the like say nothing
MAX_SIGNATURE = 240  # characters


@dataclass(frozen=True)
class Entry:
    """One definition."""

    kind: Kind
    name: str
    """Full name, such as `textwrap.wrap` or `pathlib.Path.exists`."""
    arguments: str
    """With parentheses, such as `(text, width=70, **kwargs)`; empty where the page gives none."""
    description: str
    """First paragraph of the page's description, at most MAX_ANSWER characters."""
    url: str

    @property
    def signature(self) -> str:
        """Name and arguments."""
        return self.name + self.arguments


@dataclass
class Page:
    """What one page defines."""

    url: str
    module: str = ""
    aliases: tuple[str, ...] = ()
    """Names that the page tells the reader to use instead of the module's own."""
    links: frozenset[str] = frozenset()
    entries: list[Entry] = field(default_factory=list)


BLOCKS = frozenset(
    ["address", "article", "aside", "blockquote", "dd", "div", "dl", "dt", "fieldset", "figure", "footer", "form", "h1", "h2",
     "h3", "h4", "h5", "h6", "header", "hr", "li", "main", "nav", "ol", "p", "pre", "section", "table", "td", "th", "tr", "ul"]
)  # fmt: skip


def text_of(node: ElementNode, skip: frozenset[str] = frozenset()) -> str:
    """The text of a node as a browser lays it out: lines at <br>, blank lines around blocks, tags in `skip` left out."""
    parts: list[str] = []
    _collect(node, skip, parts, preformatted=False)
    lines = [line.strip(" ").replace("\xa0", " ").rstrip() for line in "".join(parts).split("\n")]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip("\n")


def _collect(node: ElementNode, skip: frozenset[str], parts: list[str], preformatted: bool) -> None:
    child = node.first_child
    while child is not None:
        if isinstance(child, TextNode):
            # In <pre> spaces stand; as no-break spaces they survive the stripping of lines.
            value = child.value or ""
            parts.append(value.replace(" ", "\xa0") if preformatted else re.sub(r"[ \t\r\n]+", " ", value))
        elif isinstance(child, ElementNode) and child.tag not in skip:
            if child.tag == "br":
                parts.append("\n")
            elif child.tag in BLOCKS:
                parts.append("\n\n")
                _collect(child, skip, parts, preformatted or child.tag == "pre")
                parts.append("\n\n")
            elif "headerlink" not in child.class_list:  # Sphinx's paragraph sign
                _collect(child, skip, parts, preformatted)
        child = child.next


def read_page(html: str, url: str) -> Page:
    """All definitions of a page, in its order."""
    page = Page(url)
    body = HTMLTree.parse(html).body
    if body is None:
        return page
    # By pattern: walking a page's many thousand links through the tree takes time quadratic in their number.
    page.links = frozenset(re.findall(r'<a href="(?:[^"#]*/)?([^"#/]+)', html))
    heading = body.query_selector("td.title strong.title")
    if heading is not None:
        page.module = text_of(heading).strip()
        about = body.query_selector("body > p > span.code")
        if about is not None:
            text = text_of(about)
            page.aliases = tuple(re.findall(r"refer\s+to\s+this\s+module\s+as\s+([\w.]*\w)", text))
            _add(page, "module", page.module, "", text)
    with suppress(RecursionError):  # nested a thousand deep: no page for readers
        _Walk(page).visit(body)
    return page


class _Walk:
    """Reads definitions in document order, keeping in mind the class and section that pydoc's headings opened."""

    def __init__(self, page: Page) -> None:
        self.page, self.owner, self.inherited = page, "", False

    def visit(self, node: ElementNode) -> None:
        child = node.first_child
        while child is not None:
            if isinstance(child, TextNode):
                if self.page.module:
                    self._section(child.value or "")
            elif not isinstance(child, ElementNode):
                pass  # a comment
            elif child.tag == "dl":
                self._definitions(child)
            elif child.tag == "td" and "section-title" in child.class_list:
                self._open(child)
            else:
                self.visit(child)
            child = child.next

    def _section(self, text: str) -> None:
        if "inherited from" in text:
            self.inherited = True
        elif "defined here:" in text:
            self.inherited = False

    def _open(self, title: ElementNode) -> None:
        """pydoc's heading of a class (its description is in the next row) or of a section such as Functions."""
        match = re.match(r"class (\w+)", text_of(title).strip())
        self.owner, self.inherited = (match[1] if match else ""), False
        row = title.parent.next_element if match and title.parent is not None else None
        description = row.query_selector("td[colspan='2'] > span.code") if row is not None else None
        if description is not None:
            text = _plain(text_of(description), keep_lines=True)
            _add(self.page, "class", self._full(self.owner), _arguments(text, self.owner), text)

    def _full(self, *names: str) -> str:
        module = "" if self.page.module == "builtins" else self.page.module  # one writes list.append
        return ".".join(name for name in (module, *names) if name)

    def _definitions(self, node: ElementNode) -> None:
        terms: list[ElementNode] = []
        child = node.first_child
        while child is not None:
            if isinstance(child, ElementNode):
                if child.tag == "dt":
                    terms.append(child)
                elif child.tag == "dd":
                    for term in terms[:1]:  # further terms of one description are its other spellings
                        self._define(term, child)
                    terms = []
                    self.visit(child)  # nested definitions: a class's methods
                else:
                    self._definitions(child)
            child = child.next

    def _define(self, term: ElementNode, description: ElementNode) -> None:
        head = _plain(text_of(term))
        if self.inherited or not head:
            return
        if identifier := term.getattr("id"):  # Sphinx: the full name is the anchor
            name = str(identifier)
        elif self.page.module:
            strong = term.query_selector("strong")
            if strong is None:
                return  # pydoc's own words, such as "Method resolution order"
            name = self._full(self.owner, text_of(strong).strip())
        else:
            name = re.split(r"[\s(=:]", head, maxsplit=1)[0]
        short = name.rsplit(".", 1)[-1]
        if re.match(rf"(?:async )?{re.escape(short)} = ", head):
            return  # an alias: described where its own name stands
        arguments = _arguments(head, short)
        _add(self.page, "callable" if arguments else "value", name, arguments, text_of(description, frozenset({"dl"})))


def _plain(text: str, *, keep_lines: bool = False) -> str:
    """pydoc escapes some default values twice; the address of an object in memory is nobody's business."""
    text = re.sub(r" at 0x[0-9a-fA-F]+", "", unescape(text))
    return text if keep_lines else " ".join(text.split())


def _arguments(text: str, short: str) -> str:
    """The parenthesised arguments that follow the name at the beginning of a text, or nothing."""
    match = re.match(rf"(?:[\w.]+ )*(?:[\w.]*\.)?{re.escape(short)}\(", text)
    if not match:
        return ""
    depth = 0
    for place in range(match.end() - 1, min(len(text), match.end() + MAX_SIGNATURE)):
        depth += {"(": 1, "[": 1, "{": 1, ")": -1, "]": -1, "}": -1}.get(text[place], 0)
        if depth == 0:
            return " ".join(text[match.end() - 1 : place + 1].split())
    return ""


def _add(page: Page, kind: Kind, name: str, arguments: str, text: str) -> None:
    if any(part.startswith("_") or not part for part in name.split(".")) or not re.fullmatch(r"[\w.]+", name):
        return
    description = first_paragraph(text, name.rsplit(".", 1)[-1])
    if len(description) >= MIN_DESCRIPTION:
        page.entries.append(Entry(kind, name, arguments, description, page.url))


def first_paragraph(text: str, short: str) -> str:
    """The first paragraph of a docstring as one line, signatures before it dropped, at most MAX_ANSWER characters.

    >>> first_paragraph("fill(text) -> string\\n\\nReformat the  paragraph\\nin 'text'.\\n\\nMore.", "fill")
    "Reformat the paragraph in 'text'."
    """
    lines, said = text.strip().split("\n"), ""
    while lines and re.match(rf"[\w.]*\b{re.escape(short)}\(", lines[0]):
        after, certain = _after_signature(lines.pop(0))
        said = said or after
        if certain:
            lines.insert(0, after)
            break
        while lines and re.match(r"\s|$", lines[0]):  # blank, or the signature going on
            lines.pop(0)
    paragraphs = re.split(r"\n[ \t]*\n", "\n".join(lines) or said)
    line = " ".join(paragraphs[0].split())
    line = re.sub(r":[a-z:]+:`~?([^`]*)`", r"`\1`", line).replace("``", "`")
    if not re.match(r"[\w\"'`(*]", line) or line.startswith(">>>"):
        return ""
    return cut_at_sentence(line, MAX_ANSWER)


def _after_signature(line: str) -> tuple[str, bool]:
    """What the C part of Python writes behind a signature, and whether that is a description for certain.

        L.pop([index]) -> item -- remove and return item      D.get(k[,d]) -> v, look up a key      f(x) -> number
    """
    _, dashes, after = line.partition(" -- ")
    if dashes:
        return after, True
    if match := re.search(r"-+> (?:\([^)]*\)|[^,(.]*)[,.] +(?=\w)", line):
        return line[match.end() :], True
    return line.partition("> ")[2], False


def cut_at_sentence(text: str, limit: int) -> str:
    """Whole sentences of a text, as many as fit into `limit` characters; one that announces a list (`:`) is no end."""
    if len(text) <= limit and not text.endswith(":"):
        return text
    ends = [match.end() for match in re.finditer(r"(?<!e\.g)(?<!i\.e)[.!?][\"')`]*(?=\s|$)", text) if match.end() <= limit]
    return text[: ends[-1]] if ends else ""
