"""Perplexity of any text under a model, in every unit in which it is quoted, over all of it and by source or domain.

    quoted                     summed surprise over         hangs on the tokenizer
    perplexity per token       the model's tokens           yes: compare only models of one tokenizer
    perplexity per word        stretches between blanks     no
    perplexity per byte        UTF-8 bytes                  no
    bits per byte              UTF-8 bytes                  no
    bits per character         Unicode code points          no

Words, characters and bytes are those of the text as it stands in its file, whatever the tokenizer makes of it. The sum is that of
`intrinsic.py`: each token once, by windows of a stated context that move by a stated stride, every document for itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import numpy as np
from torch import nn

from groundup.corpus.document import encodable
from groundup.corpus.sources.files import LocalFile, Report, read_file, readable
from groundup.errors import GroundupError, RequestError
from groundup.evaluation.intrinsic import surprise
from groundup.progress import bar, say
from groundup.tokens.documents import Text
from groundup.tokens.shards import TokenSplit
from groundup.tokens.tokenizer import END_OF_TEXT, Tokenizer

LOT = 4_000_000  # characters encoded and measured at once
LONGEST = 1 << 30  # characters; a document that is cut would lose the context before each cut
MOST_GROUPS = 40  # in a table for a person
NO_DOMAIN = "(no address)"
By = Literal["source", "domain"]


@dataclass
class Sums:
    """What was counted over some text."""

    documents: int = 0
    tokens: int = 0
    words: int = 0
    characters: int = 0
    bytes: int = 0
    nats: float = 0.0

    def add(self, other: Sums) -> None:
        """Count another text too."""
        for one in fields(self):
            setattr(self, one.name, getattr(self, one.name) + getattr(other, one.name))

    def figures(self) -> dict[str, Any]:
        """Counts and what they come to; None for perplexities of what there is none of."""
        bits = self.nats / math.log(2)
        return {
            "bits_per_byte": bits / self.bytes, "bits_per_character": bits / self.characters,
            "perplexity_per_token": self._perplexity(self.tokens), "perplexity_per_word": self._perplexity(self.words),
            "perplexity_per_byte": self._perplexity(self.bytes),
            "documents": self.documents, "tokens": self.tokens, "words": self.words, "characters": self.characters, "bytes": self.bytes,
        }  # fmt: skip

    def _perplexity(self, count: int) -> float | None:
        return math.exp(min(self.nats / count, 700.0)) if count else None


def perplexity(
    model: nn.Module, tokenizer: Tokenizer, texts: Iterable[Text], context: int, stride: int, by: By | None = None
) -> dict[str, Any]:
    """The figures of all texts (keys as `Sums.figures` names them, and `window_tokens`, `stride_tokens`, `lossless_tokenizer`).

    `by`: adds `groups`, the same figures by source or by the host of the address, those with most bytes first. Raises GroundupError
    where there is no text.
    """
    whole, groups = Sums(), dict[str, Sums]()
    with bar("tokens") as running:
        for lot in _lots(texts):
            split = encoded(tokenizer, lot)
            nats_N = surprise(model, split, context, stride, advance=running.advance)
            for number, text in enumerate(lot):
                place = slice(int(split.starts[number]), int(split.ends[number]))
                sums = Sums(
                    1, place.stop - place.start, len(text.text.split()), len(text.text), int(split.byte_counts[number]),
                    float(nats_N[place].sum(dtype=np.float64)),
                )  # fmt: skip
                whole.add(sums)
                if by is not None:
                    groups.setdefault(text.source if by == "source" else domain(text.url), Sums()).add(sums)
    if not whole.tokens:
        raise GroundupError("no text to measure on", where="perplexity", do="Name files with text, or a split that is not empty.")
    found = {**whole.figures(), "window_tokens": context, "stride_tokens": stride, "lossless_tokenizer": tokenizer.lossless}
    if by is not None:
        ordered = sorted(groups.items(), key=lambda one: (-one[1].bytes, one[0]))
        found["groups"] = {name: sums.figures() for name, sums in ordered if sums.bytes}
    return found


def as_text(found: dict[str, Any], what: str) -> str:
    """The figures for a person."""
    counted = {"perplexity_per_token": "tokens", "perplexity_per_word": "words", "perplexity_per_byte": "bytes"}
    lines = [f"{what}: {found['documents']:,} documents, {found['bytes']:,} bytes; windows of {found['window_tokens']:,} tokens moved by {found['stride_tokens']:,}"]
    lines += [_line(name, f"{found[name]:.4f}") for name in ("bits_per_byte", "bits_per_character")]
    lines += [f"{_line(name, _number(found[name]))}  ({found[unit]:,} {unit})" for name, unit in counted.items()]
    if not found["lossless_tokenizer"]:
        lines.append("  the tokenizer loses a part of the text; to predict what is left is easier")
    if baselines := found.get("baselines"):
        ending = "_bits_per_byte"
        lines.append("other means, bits per byte:")
        lines += [_line(name.removesuffix(ending), f"{value:.4f}") for name, value in baselines.items() if name.endswith(ending)]
    if groups := found.get("groups"):
        width = min(48, max(map(len, groups)))
        lines.append(f"  {'':<{width}}{'documents':>10}{'bytes':>14}{'bits/byte':>11}{'per token':>12}{'per word':>14}")
        lines += [
            f"  {name[:width]:<{width}}{one['documents']:>10,}{one['bytes']:>14,}{one['bits_per_byte']:>11.4f}"
            f"{_number(one['perplexity_per_token']):>12}{_number(one['perplexity_per_word']):>14}"
            for name, one in list(groups.items())[:MOST_GROUPS]
        ]  # fmt: skip
        if len(groups) > MOST_GROUPS:
            lines.append(f"  and {len(groups) - MOST_GROUPS:,} more (--json has all)")
    return "\n".join(lines)


def _line(name: str, figure: str) -> str:
    return f"  {name.replace('_', ' '):<22}{figure:>12}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:,.4g}"


def encoded(tokenizer: Tokenizer, texts: Sequence[Text]) -> TokenSplit:
    """The texts as a split in memory."""
    end = tokenizer.special[END_OF_TEXT]
    ids = tokenizer.encode_batch([text.text for text in texts])
    starts = np.cumsum([0, *(len(one) + 1 for one in ids)])[:-1]
    tokens = np.concatenate([part for one in ids for part in (one, np.array([end], dtype=one.dtype))]) if ids else np.zeros(0, np.uint32)
    sizes = np.array([len(text.text.encode()) for text in texts], dtype=np.int64)
    return TokenSplit(tokens, starts.astype(np.int64), sizes, tokenizer.byte_lengths, end, "", {}, tokenizer.special)


def read_texts(paths: Iterable[Path], note: Callable[[str], None] = say) -> Iterator[Text]:
    """The documents of files and of all files of text under folders, as they stand: nothing is cleaned. A file is a source.

    `note` is told of what cannot be read. Raises RequestError for a path that is not there, or that holds web pages.
    """
    for path in paths:
        if not path.exists():
            raise RequestError("there is no such file or folder", where=str(path), do="Correct the path.")
        if path.is_file() and not readable(path.name):
            yield _as_text(path)
            continue
        files = sorted(one for one in path.rglob("*") if one.is_file() and readable(one.name)) if path.is_dir() else [path]
        for file in files:
            name = str(file.relative_to(path)) if path.is_dir() else file.name
            report = Report()
            for document in read_file(LocalFile(name, file, name, LONGEST), report):
                if document.format != "text":
                    raise RequestError("this is HTML, whose marks would be measured too", where=str(file), do="Clean it first: `groundup clean`.")
                yield Text(f"{name}:{document.number}", name, document.language or "", encodable(document.text), document.url)
            for what, why in (*report.skipped, *report.notes):
                note(f"{what}: {why}")


def _as_text(path: Path) -> Text:
    """A file that somebody named, whatever its kind, as the text that it holds."""
    try:
        return Text(path.name, path.name, "", path.read_bytes().decode(), path.name)
    except UnicodeDecodeError as error:
        raise RequestError(f"it is no UTF-8 text (byte {error.start})", where=str(path), do="Name files with text.") from None


def domain(url: str) -> str:
    """The host of an address."""
    return urlsplit(url).hostname or NO_DOMAIN


def _lots(texts: Iterable[Text]) -> Iterator[list[Text]]:
    held: list[Text] = []
    size = 0
    for text in texts:
        held.append(text)
        size += len(text.text)
        if size >= LOT:
            yield held
            held, size = [], 0
    if held:
        yield held
