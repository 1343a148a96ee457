"""What an evaluation asks, out of its files, whatever their form: the pieces of text that must not be trained on.

No file needs a schema. A record (a line of JSON, a row of a table, a paragraph) has strings, here its leaves, wherever they stand. Pieces
of their own are

    every leaf of n words or more (13)             question, passage, explanation, long answer
    every leaf, and line of one, that asks         from FIVE words on: it ends with a question mark
    the first leaf that is not one of a list       the question that does not ask ("The largest moon of Saturn is"): from FIVE words on
    where a record begins with choices             these, from eight words on, if it has no question and no other text of eight
    where a record has none of these               all its leaves joined in their order, from eight words on

Short answers are no pieces: "That's one small step for a man" stands in many an honest page. Nor is what has hardly any different words,
such as lists of numbers. Labels that most records of a field have ("Question:", "Answer:") are no part of a piece: a page that copies the
question does not copy them.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import parquet

from groundup.errors import GroundupError

EIGHT, FIVE, THREE = 8, 5, 3  # words: of any piece, of a question; of two letters or more and different, five and three
FEWEST = 10  # records of a field before what they begin with counts as a form
SUFFIXES = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet", ".txt")
WORD = re.compile(r"[^\W_]+|_")
APART = re.compile(r"[\u3040-\u9fff]")  # letters of scripts without blanks: a word each, as in dedup/shingles.py
LABEL = re.compile(r"^\s*\w+\s*[:.)]\s+")  # of a line: "Q: "
ADDRESS = re.compile(r"\w+://\S+")
ASKS = ("?", "？", "؟", "\u037e")  # the last is Greek's
OFTEN = 10  # records of one file with the same question: it is a form ("What is the moral of this story?"), not a test
MOST_OF_A_FORM = 20  # words: what is longer is no form, however often it is there
HEADER_WORDS = 3  # a table whose first row has more in a cell has no header


Leaf = tuple[str, str, bool]
"""The names that lead to a string, the string, and whether it is one of a list."""
Form = tuple[tuple[str, ...], tuple[str, ...]]
"""Words that most leaves of a field begin and end with."""


@dataclass(frozen=True)
class Piece:
    """A stretch of a test."""

    file: str
    record: int
    """Counted from 1."""
    field: str
    text: str


@dataclass
class Pieces:
    """The pieces of one file, and what could not become one."""

    file: str
    records: int = 0
    pieces: list[Piece] = field(default_factory=list)
    too_short: int = 0
    """Records of too few words to be looked for."""
    also: dict[str, list[int]] = field(default_factory=dict)
    """By a piece's text: further records that have it."""


def evaluation_files(given: list[str]) -> list[tuple[str, Path]]:
    """The files named, and those below the folders named, in order, with the names that the report has for them.

    Raises GroundupError for what is not there, or of a kind that is not read; in a folder other files are passed over.
    """
    found: list[tuple[str, Path]] = []
    for path in map(Path, given):
        if path.is_dir():
            its = sorted(each for each in path.rglob("*") if each.is_file() and _kind(each))
            if not its:
                raise _error(path, "no evaluation file in this folder", f"Name files of the kinds {', '.join(SUFFIXES)}.")
            found += [(f"{path.name}/{each.relative_to(path).as_posix()}", each) for each in its]
        elif not path.exists():
            raise _error(path, "there is no such file", "Correct the path; it counts from the recipe's folder.")
        elif not _kind(path):
            raise _error(path, "not a kind of evaluation file that is read", f"Name files of the kinds {', '.join(SUFFIXES)}, or folders of them.")
        else:
            found.append((path.name, path))
    return found


def read(name: str, path: Path, n: int) -> Pieces:
    """The pieces of a file; from n words on a text is long. Raises GroundupError where it cannot be read."""
    try:
        records = [list(_leaves(record, "", False)) for record in records_of(path)]
    except (OSError, ValueError, EOFError, csv.Error, pa.ArrowException, RecursionError) as error:
        raise _error(path, f"cannot be read: {' '.join(str(error).split())[:200] or type(error).__name__}", "Repair it, or take it out of the recipe.") from None
    found = Pieces(name, len(records))
    forms = _forms(records)
    for number, leaves in enumerate(records, 1):
        its = [Piece(name, number, where, text) for where, text in _pieces(leaves, forms, n)]
        found.too_short += not its
        found.pieces += its
    kept: list[Piece] = []
    often = Counter(piece.text for piece in found.pieces)
    fresh = {text for text, number in often.items() if number <= OFTEN or count(text) > MOST_OF_A_FORM}
    first: dict[str, int] = {}
    for piece in found.pieces:
        if piece.text in first and piece.record != first[piece.text]:
            found.also.setdefault(piece.text, []).append(piece.record)
        elif piece.text in fresh and piece.text not in first:
            first[piece.text] = piece.record
            kept.append(piece)
    found.pieces = kept
    return found


def _pieces(leaves: list[Leaf], forms: dict[str, Form], n: int) -> list[tuple[str, str]]:
    """The pieces of a record, each with its field."""
    found: list[tuple[str, str]] = []
    choices: list[tuple[str, str]] = []
    first, sure = True, False
    for where, leaf, listed in leaves:
        text = _without(leaf, forms[where])
        size = _size(text)
        if size >= n or (size >= FIVE and (text.endswith(ASKS) or (first and not listed))):
            found.append((where, text))
            first &= listed
            sure |= size >= EIGHT or text.endswith(ASKS)
        elif size >= EIGHT and listed:
            choices.append((where, text))
        for line in leaf.split("\n") if "\n" in leaf else ():
            asked = LABEL.sub("", line).strip()
            if asked.endswith(ASKS) and asked != text and _size(asked) >= FIVE:
                found.append((where, asked))
                sure = True
    if not sure and choices and leaves[0][2]:
        return found + choices
    together = " ".join(leaf for _, leaf, _ in leaves)
    return found or ([("all", together)] if _size(together) >= EIGHT else [])


def _size(text: str) -> int:
    """Words of a text; 0 where hardly any of them differ."""
    words = WORD.findall(APART.sub(r" \g<0>\g<0> ", text).lower())
    different = len({word for word in words if len(word) > 1 and not word.isdigit()})
    return len(words) if different >= (FIVE if len(words) >= EIGHT else THREE) else 0


def count(text: str) -> int:
    """Words of a text, as they are compared."""
    return len(WORD.findall(APART.sub(" a ", text)))


def _error(path: Path, what: str, do: str) -> GroundupError:
    return GroundupError(what, where=f"clean.decontaminate.files: {path}", do=do)


def _kind(path: Path) -> str:
    name = path.name.lower().removesuffix(".gz").removesuffix(".zst")
    return next((suffix for suffix in SUFFIXES if name.endswith(suffix)), "")


def records_of(path: Path) -> Iterator[Any]:
    """The records of a file: lines or elements of JSON, rows of a table, blocks of text between blank lines (or lines, where none is blank)."""
    kind = _kind(path)
    if kind == ".parquet":
        with parquet.ParquetFile(path) as table:
            for batch in table.iter_batches(batch_size=1024):
                yield from batch.to_pylist()
        return
    with pa.input_stream(str(path)) as stream:  # unpacks by the name
        text = io.StringIO(stream.read().decode("utf-8-sig"), newline="")
    if kind in (".jsonl", ".ndjson"):
        yield from (json.loads(line) for line in text if line.strip())
    elif kind == ".json":
        whole = json.load(text)
        lists = [value for value in whole.values() if isinstance(value, list)] if isinstance(whole, dict) else [whole] if isinstance(whole, list) else []
        yield from (one for each in lists for one in each) if lists else [whole]
    elif kind == ".txt":
        content = text.read().replace("\r\n", "\n")
        yield from (one for one in (re.split(r"\n\s*\n", content) if re.search(r"\n\s*\n", content.strip()) else content.split("\n")) if one.strip())
    else:
        rows = csv.reader(text, delimiter="\t" if kind == ".tsv" else ",")
        first = next(rows, [])
        names = dict(enumerate(first)) if all(cell.strip() and count(cell) <= HEADER_WORDS for cell in first) else {}
        for row in chain([] if names else [first], rows):
            yield {names.get(place, f"column {place + 1}"): cell for place, cell in enumerate(row)}


def _leaves(value: Any, where: str, listed: bool) -> Iterator[Leaf]:
    """The strings of a record, in order; keys that are sentences are strings too."""
    if isinstance(value, str):
        if text := ADDRESS.sub(" ", value).strip():
            yield where or "text", text, listed
    elif isinstance(value, dict):
        for key, inside in value.items():
            if count(str(key)) >= FIVE:
                yield where or "text", str(key), True
                yield from _leaves(inside, where, True)
            else:
                yield from _leaves(inside, f"{where}.{key}" if where else str(key), listed)
    elif isinstance(value, list | tuple):
        for inside in value:
            yield from _leaves(inside, where, True)


def _forms(records: list[list[Leaf]]) -> dict[str, Form]:
    found: dict[str, Form] = {}
    leaves: dict[str, list[list[str]]] = defaultdict(list)
    for record in records:
        for where, leaf, _ in record:
            leaves[where].append([word.lower() for word in WORD.findall(leaf)])
    for where, its in leaves.items():
        found[where] = _common(its), _common([words[::-1] for words in its])[::-1]
    return found


def _common(lists: list[list[str]]) -> tuple[str, ...]:
    """The longest beginning of more than half of the lists, where there are enough of them and they are not all alike."""
    shared: tuple[str, ...] = ()
    if len(lists) < FEWEST:
        return shared
    among = lists
    while True:
        place = len(shared)
        nexts = Counter(words[place] for words in among if len(words) > place)
        if not nexts or (most := nexts.most_common(1)[0])[1] <= len(lists) / 2:
            return shared
        shared = (*shared, most[0])
        among = [words for words in among if len(words) > place and words[place] == most[0]]


def _without(leaf: str, form: Form) -> str:
    """A leaf without the labels that most of its field have before and after it."""
    found = list(WORD.finditer(leaf))
    words = tuple(one[0].lower() for one in found)
    begin, end = form
    start = len(begin) if words[: len(begin)] == begin else 0
    while start and (start == len(words) or not re.search(r"[:\n]", leaf[found[start - 1].end() : found[start].start()])):
        start -= 1
    stop = len(words) - len(end) if end and words[len(words) - len(end) :] == end and leaf.rstrip().endswith(":") else len(words)
    if start >= stop:
        return leaf.strip()
    return leaf[found[start].start() if start else 0 : found[stop - 1].end() + 1 if stop < len(words) else len(leaf)].strip()
