"""Exact copies over the whole corpus: addresses, documents, paragraphs and lines.

What is compared is the text with runs of blank space as one space. Hashes have 64 bits: among a thousand million different
pieces the chance that even one is taken for another is 3 % (n^2 / 2^65).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from hashlib import blake2b
from typing import Literal
from urllib.parse import urlsplit

Unit = Literal["documents", "paragraphs", "lines"]
BETWEEN_PARAGRAPHS = re.compile(r"\n(?:[ \t]*\n)+")
BLANK_LINES = re.compile(r"\n{3,}")
PORTS = {"http": ":80", "https": ":443"}


def pieces(text: str, unit: Unit) -> list[str]:
    """The pieces of a document that are compared."""
    if unit == "documents":
        return [text]
    return BETWEEN_PARAGRAPHS.split(text) if unit == "paragraphs" else text.split("\n")


def hashed(text: str, unit: Unit, min_characters: int) -> list[str]:
    """The pieces of a document that are long enough to be copies (blank ends not counted), in order."""
    return [piece for piece in pieces(text, unit) if unit == "documents" or len(piece.strip()) >= min_characters]


def hash_of(piece: str) -> int:
    """64 bits of a piece, whatever its blank space."""
    return hash64(" ".join(piece.split()))


def hash64(text: str) -> int:
    """64 bits of a text."""
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "little")


def without_copies(text: str, unit: Unit, min_characters: int, first: Iterator[bool]) -> str:
    """The text without the pieces that `first` (one value for each hash, in order) says are copies."""
    all_pieces = pieces(text, unit)
    kept = [piece for piece in all_pieces if (unit != "documents" and len(piece.strip()) < min_characters) or next(first)]
    if len(kept) == len(all_pieces):
        return text
    if unit == "lines":
        return BLANK_LINES.sub("\n\n", "\n".join(kept)).strip("\n")
    return "\n\n".join(kept)


def address(url: str | None) -> str | None:
    """A web address as it is compared: without scheme, port, fragment, `www.` and a slash at the end; None for all else."""
    if not url or not url.startswith(("http://", "https://")):
        return None
    try:
        parts = urlsplit(url)
        host = (parts.hostname or "").removeprefix("www.")
        port = "" if parts.port is None or f":{parts.port}" == PORTS[parts.scheme] else f":{parts.port}"
    except ValueError:  # a port or an IPv6 address that is none
        return url
    return f"{host}{port}{parts.path.rstrip('/')}{'?' + parts.query if parts.query else ''}"
