"""Questions and answers from reference pages: what a page defines, it can be asked about.

A reference page is a list of definitions, each a signature and a description, in HTML's own form for that:

    <dl><dt>wrap(text, width=70, **kwargs)</dt><dd>Wrap a single paragraph of text, returning ...</dd></dl>

Python's pydoc and Sphinx both write so. From pydoc's pages the class and module that a definition stands in are read
too, and the descriptions of classes and modules themselves. What has no description, what begins with an underscore,
what is inherited and what was already said elsewhere is left out.

The definitions of training pages become questions with answers from the page's own words (`pairs`); those of held-out
pages are never trained on and become the quiz (`evaluation.quiz`).
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from html import unescape
from pathlib import Path
from typing import Literal

from pyarrow import parquet
from resiliparse.parse.html import ElementNode, HTMLTree, TextNode

from groundup.corpus.sources.warc import read_pages
from groundup.dialogue.conversations import Conversation
from groundup.dialogue.template import Message

Kind = Literal["module", "class", "callable", "value"]

MAX_ANSWER = 400  # characters; longer ones are cut at a sentence's end. With the question about 130 tokens
HTML = ("text/html", "application/xhtml+xml")
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


# --- from HTML to entries -------------------------------------------------------------------------------------------

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
    match = re.match(rf"(?:[\w.]+[ .])*{re.escape(short)}\(", text)
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


# --- from pages to what is asked ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Reference:
    """The definitions of all pages, by what they may be used for."""

    train: list[Entry]
    held_out: list[Entry]


def load(collected: Path, cleaned: Path) -> Reference:
    """The definitions of all crawled pages of a run, from its `corpus/collected` and `corpus/clean` folders."""
    split_of: dict[str, str] = {}
    for part in sorted(cleaned.glob("part-*.parquet")):
        table = parquet.read_table(part, columns=["url", "split"])
        for url, split in zip(table["url"].to_pylist(), table["split"].to_pylist(), strict=True):
            if split_of.setdefault(url, split) != split:
                split_of[url] = "both"
    pages = (
        (page.url, page.html)
        for warc in sorted(collected.rglob("*.warc.gz"))
        for page in read_pages(warc)
        if page.media_type in HTML
    )
    return reference(pages, split_of)


def reference(pages: Iterable[tuple[str, str]], split_of: Mapping[str, str]) -> Reference:
    """Read (url, html) pages and sort their definitions by the split of their page, duplicates left out.

    Pages are taken in the order of their addresses, whatever order they come in; one that is in neither split (dropped in
    cleaning, or partly held out) is not used. A held-out definition whose name or description a training page also
    has is left out: it would not be unseen.
    """
    read = [read_page(html, url) for url, html in sorted(pages) if split_of.get(url) in ("train", "held-out")]
    links = {page.module: page.links for page in read if page.module}
    train: list[Entry] = []
    held_out: list[Entry] = []
    names: set[str] = set()
    descriptions: set[str] = set()
    for split, entries in (("train", train), ("held-out", held_out)):
        for page in read:
            if split_of[page.url] != split:
                continue
            for entry in map(lambda entry, page=page: _under_alias(entry, page, links), page.entries):  # type: ignore[misc]
                key = entry.description.casefold()
                if entry.name not in names and key not in descriptions:
                    entries.append(entry)
                    names.add(entry.name)
                    descriptions.add(key)
    return Reference(train, held_out)


def _under_alias(entry: Entry, page: Page, links: Mapping[str, frozenset[str]]) -> Entry:
    """Under the name a reader uses: `posixpath` says "refer to this module as os.path", and the page of `os` links it.

    (`ntpath` says so too; on a machine where os.path is posixpath, `os` does not link it.)
    """
    for alias in page.aliases:
        parent = alias.rpartition(".")[0]
        if f"{page.module}.html" in links.get(parent, frozenset()):
            return replace(entry, name=alias + entry.name.removeprefix(page.module))
    return entry


DESCRIBE: dict[Kind, tuple[str, ...]] = {
    "module": ("What is the module `{name}` for?", "What is the module {name} for?", "What does the module `{name}` do?"),
    "class": ("What is `{name}`?", "What is the class `{name}` for?", "What is {name}?", "Describe the class `{name}`."),
    "callable": ("What does `{name}` do?", "What does {name} do?", "Explain `{name}`.", "What is `{name}` for?"),
    "value": ("What is `{name}`?", "What is {name}?", "Describe `{name}`."),
}


def pairs(entries: Sequence[Entry]) -> Iterator[Conversation]:
    """Several questions with answers for each definition, in a fixed order.

    The first way to ask for the description always, one of the others in turn; then the signature and the arguments,
    where the page gives them.
    """
    for number, entry in enumerate(entries):
        first, *others = DESCRIBE[entry.kind]
        for form in (first, others[number % len(others)]):
            yield _pair(form.format(name=entry.name), entry.description)
        arguments = spoken_arguments(entry.arguments)
        if arguments is not None:
            yield _pair(describe_question(entry.signature), entry.description)
            yield _pair(f"What is the signature of `{entry.name}`?", f"`{entry.signature}`")
            yield _pair(f"Which arguments does `{entry.name}` take?", f"`{entry.name}` takes {arguments}.")


def describe_question(signature: str) -> str:
    """The question whose answer is the description that belongs to a signature (the quiz asks it too)."""
    return f"What does `{signature}` do?"


def _pair(question: str, answer: str) -> Conversation:
    return Message("user", question), Message("assistant", answer)


def spoken_arguments(arguments: str) -> str | None:
    """Arguments in words; None where the page gives none, or not in Python's own syntax.

    >>> spoken_arguments("(self, text, width=70, **kwargs)")
    '`text`, `width` (default 70) and further keyword arguments `**kwargs`'
    """
    inside = arguments[1:-1].strip()
    if not arguments or "..." in inside.split(", ") or inside == "..." or re.search(r"\[,|, ?\[|^\[", inside):
        return None
    said = []
    for part in _split(inside):
        name, equals, default = part.partition("=")
        name = name.split(":")[0].strip()
        if name in ("self", "cls", "/", "*", ""):
            continue
        if name.startswith("*"):
            said.append(f"further {'keyword' if name.startswith('**') else 'positional'} arguments `{name}`")
        else:
            said.append(f"`{name}` (default {default.strip()})" if equals else f"`{name}`")
    return " and ".join([", ".join(said[:-1]), said[-1]] if len(said) > 1 else said) or "no arguments"


def _split(inside: str) -> list[str]:
    """Cut at the commas that stand in no brackets and no quotes."""
    parts, depth, quote, begin = [], 0, "", 0
    for place, (before, mark) in enumerate(itertools.pairwise(" " + inside)):
        if quote:
            quote = "" if mark == quote and before != "\\" else quote
        elif mark in "'\"":
            quote = mark
        elif mark in "([{":
            depth += 1
        elif mark in ")]}":
            depth -= 1
        elif mark == "," and depth == 0:
            parts.append(inside[begin:place].strip())
            begin = place + 1
    return [*parts, inside[begin:].strip()]
