"""The record that flows through the corpus stages, and how a long one is cut.

A raw document is what a source holds: plain text, or HTML that a step turns into text. The steps work on Arrow
record batches of these columns; a step that drops a document sets `dropped_by` (its own name) and `reason` and
leaves the rest alone, so that the funnel can show what went where.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import pyarrow as pa

from groundup.run import digest

Format = Literal["text", "html", "book"]
"""`text`: plain; `html`: a web page, menus and all; `book`: HTML that is nothing but content (EPUB)."""

SCHEMA = pa.schema(
    [
        ("id", pa.string()), ("whole", pa.string()), ("text", pa.large_string()), ("source", pa.string()), ("url", pa.string()),
        ("language", pa.string()), ("format", pa.string()), ("dropped_by", pa.string()), ("reason", pa.string()),
    ]
)  # fmt: skip
CLEAN_SCHEMA = pa.schema(
    [
        ("id", pa.string()), ("text", pa.large_string()), ("source", pa.string()), ("url", pa.string()),
        ("language", pa.string()), ("split", pa.string()),
    ]
)  # fmt: skip


@dataclass(frozen=True)
class Document:
    """One raw document, or one part of a long one."""

    source: str
    place: str
    """Where in the source: relative path, or address. With `number` and `part` it makes the id."""
    text: str
    url: str
    number: int = 0
    """Among the documents of the same place."""
    part: int = 0
    """Of a document that was cut."""
    language: str | None = None
    format: Format = "text"

    def row(self) -> dict[str, str | None]:
        """As a row of SCHEMA. All parts of a cut document share `whole`: a split keeps them together."""
        whole = digest(self.source, self.place, self.number)
        return {
            "id": digest(self.source, self.place, self.number, self.part), "whole": whole, "text": encodable(self.text),
            "source": self.source, "url": encodable(self.url), "language": self.language and encodable(self.language),
            "format": self.format, "dropped_by": None, "reason": None,
        }  # fmt: skip


def encodable(text: str) -> str:
    """The text with lone surrogates (JSON can spell them) replaced: UTF-8 has no place for them."""
    if text.isascii():  # known without looking
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def border(text: str, limit: int) -> int:
    """Where to cut a text so that the first piece has at most `limit` characters, and more than half of that.

    At the end of a paragraph, else of a line, else of a word, else hard.
    """
    for mark in ("\n\n", "\n", " "):
        if (place := text.rfind(mark, limit // 2, limit)) >= 0:
            return place + len(mark)
    return limit


def cut(chunks: Iterable[str], limit: int) -> Iterator[str]:
    """The text that arrives in chunks as pieces of at most `limit` characters; joined they are the text again.

    The last two share what is left, so that none is a scrap that a later step would drop as too short.
    """
    held = ""
    for chunk in chunks:
        held += chunk
        while len(held) > 2 * limit:
            end = border(held, limit)
            yield held[:end]
            held = held[end:]
    while len(held) > limit:
        end = border(held, min(limit, len(held) * 2 // 3 + 1))
        yield held[:end]
        held = held[end:]
    if held:
        yield held


def lots(rows: Iterable[dict[str, Any]], characters: int, most: int | None = None) -> Iterator[list[dict[str, Any]]]:
    """Rows in their order, so many characters of text at a time, and no more than `most` rows."""
    held: list[dict[str, Any]] = []
    size = 0
    for row in rows:
        held.append(row)
        size += len(row["text"])
        if size >= characters or len(held) == most:
            yield held
            held, size = [], 0
    if held:
        yield held
