"""Questions and answers from reference pages: what a page defines, it can be asked about.

    wrap(text, width=70, **kwargs)        What does `textwrap.wrap` do?
      Wrap a single paragraph of      ->    Wrap a single paragraph of text, returning a list of wrapped lines.
      text, returning a list of           Which arguments does `textwrap.wrap` take?
      wrapped lines.                        `textwrap.wrap` takes `text`, `width` (default 70) and ...

The definitions of training pages become questions with answers from the page's own words (`pairs`); those of held-out
pages are never trained on and become the quiz (`evaluation.quiz`).
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pyarrow import parquet

from groundup.corpus.sources.warc import read_pages
from groundup.dialogue.definitions import Entry, Kind, Page, read_page
from groundup.dialogue.format.record import Conversation, Message

HTML = ("text/html", "application/xhtml+xml")


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

    The first way to ask for the description always, one of the others in turn; then by the signature, and for the
    arguments, where the page gives them.
    """
    for number, entry in enumerate(entries):
        first, *others = DESCRIBE[entry.kind]
        for form in (first, others[number % len(others)]):
            yield _pair(form.format(name=entry.name), entry.description)
        arguments = spoken_arguments(entry.arguments)
        if arguments is not None:
            yield _pair(describe_question(entry.signature), entry.description)
            yield _pair(f"Which arguments does `{entry.name}` take?", f"`{entry.name}` takes {arguments}.")


def describe_question(signature: str) -> str:
    """The question whose answer is the description that belongs to a signature (the quiz asks it too)."""
    return f"What does `{signature}` do?"


def _pair(question: str, answer: str) -> Conversation:
    return Conversation((Message("user", question), Message("assistant", answer)))


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
