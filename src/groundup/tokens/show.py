"""Tokens for the eye: documents as coloured tokens, the pairs they make, and a training batch as the model gets it."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from groundup.errors import RequestError
from groundup.tokens.loader import Batch
from groundup.tokens.shards import TokenSplit
from groundup.tokens.tokenizer import END_OF_TEXT, Tokenizer

COLOURS = ("#bfdbfe", "#fde68a", "#bbf7d0", "#fecaca", "#ddd6fe", "#fed7aa")  # backgrounds, black on them is easy to read
SPECIAL_STYLE = "bold white on #7c3aed"
UNASKED_STYLE = "#9ca3af"


def spelled(words: Tokenizer, token: int) -> str:
    """A token as one line: blanks visible, bytes that are no text in hexadecimal, special tokens by name."""
    names = {number: name for name, number in words.special.items()}
    if token in names:
        return "#" if names[token] == END_OF_TEXT else names[token]
    data = words.token_bytes[token]
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return " ".join(f"{byte:02X}" for byte in data)
    shown = text.replace(" ", "\u00b7").replace("\n", "\u23ce").replace("\t", "\u21e5")
    return "".join(one if one.isprintable() else f"\\u{ord(one):04x}" for one in shown)


def pairs(split: TokenSplit, number: int, most: int) -> list[tuple[list[int], int]]:
    """(input, output) one by one: what the model has read of a document, and the token it is then asked for."""
    sequence = [split.end_of_text, *split.document(number)[:most].tolist()]
    if len(split.document(number)) < most:
        sequence.append(split.end_of_text)
    return [(sequence[:place], sequence[place]) for place in range(1, len(sequence))]


def document_as_json(words: Tokenizer, split: TokenSplit, number: int, most: int) -> dict[str, Any]:
    """A document's tokens, and its first pairs."""
    return {
        "document": number,
        "bytes": int(split.byte_counts[number]),
        "tokens": [{"id": token, "text": spelled(words, token)} for token in split.document(number).tolist()],
        "pairs": [{"input": read, "output": asked} for read, asked in pairs(split, number, most)],
    }


def document(words: Tokenizer, split: TokenSplit, number: int, most_pairs: int, most_tokens: int = 400) -> RenderableType:
    """A document as coloured tokens, and below its first pairs. Raises RequestError where there is no such document."""
    if not 0 <= number < len(split.starts):
        raise RequestError(f"no document {number}", where="tokens show", do=f"Name one from 0 to {len(split.starts) - 1}.")
    tokens = split.document(number).tolist()
    size = int(split.byte_counts[number])
    head = Text(f"document {number}: {size:,} bytes, {len(tokens):,} tokens, {size / max(1, len(tokens)):.2f} bytes a token")
    body = _coloured(words, tokens[:most_tokens])
    if len(tokens) > most_tokens:
        body.append(f" ... {len(tokens) - most_tokens:,} more", style=UNASKED_STYLE)
    table = Table("input: what the model has read", "output: what it is asked for", box=None, pad_edge=False, header_style="bold")
    for read, asked in pairs(split, number, most_pairs):
        table.add_row(_coloured(words, read), _coloured(words, [asked], first=len(read)))
    return Group(head, Text(), body, Text(), table)


def _coloured(words: Tokenizer, tokens: Sequence[int], first: int = 0) -> Text:
    shown = Text(overflow="fold")
    special = set(words.special.values())
    for place, token in enumerate(tokens, first):
        text = spelled(words, token)
        shown.append(text, style=SPECIAL_STYLE if token in special else f"black on {COLOURS[place % len(COLOURS)]}")
        if "\u23ce" in text:
            shown.append("\n" * text.count("\u23ce"))
    return shown


def batch_as_json(words: Tokenizer, batch: Batch, rows: int) -> list[dict[str, Any]]:
    """The first rows of a batch, each place with all that the trainer gets."""
    return [
        {
            **{name: batch[name][row].tolist() for name in ("tokens", "targets", "weights", "segments", "positions")},
            "text": [spelled(words, token) for token in batch["tokens"][row].tolist()],
        }
        for row in range(min(rows, len(batch["tokens"])))
    ]


def batch(words: Tokenizer, batch: Batch, rows: int, places: int) -> RenderableType:
    """The first rows of a batch coloured by segment, and the first places of its first row one by one."""
    shown: list[RenderableType] = []
    B, T = batch["tokens"].shape
    asked = float(batch["weights"].sum())
    shown += [Text(f"{B} rows of {T} places; {100 * asked / (B * T):.1f} % are asked for. A colour is a segment; grey is not asked for."), Text()]
    for row in range(min(rows, B)):
        strip = Text(f"row {row}  ", overflow="fold")
        for token, segment, weight in zip(*(batch[name][row].tolist() for name in ("tokens", "segments", "weights")), strict=True):
            strip.append(spelled(words, token), style=f"black on {COLOURS[segment % len(COLOURS)]}" if weight else UNASKED_STYLE)
        shown += [strip, Text()]
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("place", "reads", "is asked for", "segment", "position", "weight"):
        table.add_column(name, justify="left" if name in ("reads", "is asked for") else "right")
    for place, token, target, segment, position, weight in _places(batch, places):
        style = f"black on {COLOURS[segment % len(COLOURS)]}" if weight else UNASKED_STYLE
        table.add_row(
            str(place), Text(spelled(words, token), style), Text(spelled(words, target), style), str(segment), str(position), f"{weight:g}"
        )  # fmt: skip
    return Group(*shown, table)


def _places(batch: Batch, most: int) -> Iterator[tuple[int, int, int, int, int, float]]:
    columns = [batch[name][0, :most].tolist() for name in ("tokens", "targets", "segments", "positions", "weights")]
    for place, row in enumerate(zip(*columns, strict=True)):
        yield (place, *row)


def write(shown: RenderableType, out: Path | None, width: int = 120) -> None:
    """To stdout, or into a file: .svg, .html or .txt by its name. Raises RequestError for another."""
    if out is None:
        Console().print(shown)
        return
    console = Console(record=True, width=width, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    console.print(shown)
    match out.suffix:
        case ".svg":  # without the fonts that it would fetch from the network: the page's own fixed-width one is as good
            text = re.sub(r"@font-face \{.*?\}\s*", "", console.export_svg(title="groundup tokens show"), flags=re.DOTALL)
        case ".html":
            text = console.export_html()
        case ".txt":
            text = console.export_text()
        case other:
            raise RequestError(f"'{other}' is no kind of file this writes", where=str(out), do="Name a .svg, .html or .txt file.")
    out.write_text(text, encoding="utf-8")
