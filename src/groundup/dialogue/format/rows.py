"""A file of records as numbered rows, whatever it is packed in.

    .jsonl .ndjson    an object a line; the number is the line's
    .json             an array, or an object that holds one array, or lines after all; the number is the element's, from 1
    .csv .tsv         a header, then a row each; the number is that of the row's last line

Each may be packed with gzip (`.gz`), zstd (`.zst`) or bzip2 (`.bz2`). Lines and tables are read as they come, an array whole.

A row that cannot be read ends the reading with one RequestError, unless there is a list `bad` to put the error into: then
the reading goes on with the next row.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from groundup.errors import RequestError

Row = dict[str, Any]
Bad = list[RequestError]
PACKED = {".gz": "gzip", ".zst": "zstd", ".bz2": "bz2"}
KINDS = (".jsonl", ".ndjson", ".json", ".csv", ".tsv")
LONGEST_CELL = 1 << 24  # characters of a CSV cell; the csv module's own limit is 131,072


def rows(path: Path, bad: Bad | None = None) -> Iterator[tuple[int, Row]]:
    """(number, row) of each record of a file, blank lines left out.

    Raises RequestError that names file and row for what is no valid JSON, CSV or UTF-8 (or puts it into `bad`), and in any case
    where the file is missing, of an unknown kind or cut short.
    """
    kind = _kind(path)
    if not path.is_file():
        raise RequestError("no such file", where=str(path), do="Name a file of conversations; relative paths count from the recipe's folder.")
    number = 0
    try:
        with io.TextIOWrapper(pa.input_stream(str(path), compression=PACKED.get(path.suffix.lower())), encoding="utf-8-sig", newline="") as text:
            if kind in (".csv", ".tsv"):
                found = _table(path, text, "\t" if kind == ".tsv" else ",")
            elif kind == ".json":
                found = _array(path, text.read())
            else:
                found = _lines(path, text)
            for number, row in found:
                if isinstance(row, RequestError):
                    refuse(row, bad)
                else:
                    yield number, row
    except UnicodeDecodeError as error:
        raise refused(path, number + 1, f"not UTF-8 ({error.reason})", "Save the file as UTF-8.") from None
    except csv.Error as error:
        raise refused(path, number + 1, f"not valid CSV ({error})", "Correct that row.") from None
    except (OSError, EOFError, pa.ArrowException) as error:
        said = " ".join(str(error).split()) or type(error).__name__
        raise refused(path, number + 1, f"the file ends early or is damaged ({said[:200]})", "Fetch it again.") from None


class BlankRow(RequestError):
    """A row in its right form in which somebody says nothing. Published sets have a few (hh-rlhf, Alpaca): nothing can be learned from them, and
    nothing is lost with them."""


def refused(path: Path, number: int, what: str, do: str, kind: type[RequestError] = RequestError) -> RequestError:
    """The error of one row."""
    return kind(what, where=f"{path}:{number}", do=do)


def refuse(error: RequestError, bad: Bad | None) -> None:
    """Raise it, or keep it for later."""
    if bad is None:
        raise error
    bad.append(error)


def _kind(path: Path) -> str:
    name = path.name.lower()
    for packing in PACKED:
        name = name.removesuffix(packing)
    kind = next((kind for kind in KINDS if name.endswith(kind)), None)
    if kind is None:
        raise RequestError(
            "not a kind of file that is read here", where=str(path), do=f"Name a file of {', '.join(KINDS)}, packed or not with {', '.join(PACKED)}."
        )
    return kind


def _table(path: Path, text: io.TextIOWrapper, delimiter: str) -> Iterator[tuple[int, Row | RequestError]]:
    csv.field_size_limit(LONGEST_CELL)
    table = csv.DictReader(text, delimiter=delimiter)
    for record in table:
        if None in record or None in record.values():
            what = f"the header has {len(table.fieldnames or [])} columns, this row another number"
            yield table.line_num, refused(path, table.line_num, what, "Put quotes around cells that hold commas or line ends.")
        else:
            yield table.line_num, {str(name).strip(): cell for name, cell in record.items()}


def _array(path: Path, text: str) -> Iterator[tuple[int, Row | RequestError]]:
    """The records of a whole JSON file, or of the lines that one with this name may hold after all."""
    try:
        whole = json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        if isinstance(error, json.JSONDecodeError) and error.msg == "Extra data" and text.lstrip().startswith("{"):
            yield from _lines(path, io.StringIO(text, newline=""))
            return
        raise RequestError(f"not valid JSON ({error})", where=str(path), do="Correct that place.") from None
    inner = [value for value in whole.values() if isinstance(value, list)] if isinstance(whole, dict) else []
    if isinstance(whole, dict) and len(whole) == 1 and inner and all(isinstance(one, dict) and "role" not in one and "from" not in one for one in inner[0]):
        whole = inner[0]  # {"data": [...]}
    for number, value in enumerate(whole if isinstance(whole, list) else [whole], 1):
        yield number, _object(path, number, value)


def _lines(path: Path, text: io.TextIOBase) -> Iterator[tuple[int, Row | RequestError]]:
    for number, line in enumerate(text, 1):
        if line.strip():
            try:
                yield number, _object(path, number, json.loads(line))
            except (json.JSONDecodeError, RecursionError) as error:
                yield number, refused(path, number, f"not valid JSON ({error})", "Correct that line.")


def _object(path: Path, number: int, value: Any) -> Row | RequestError:
    if not isinstance(value, dict):
        return refused(path, number, f"{type(value).__name__} instead of an object", "Write one object with named fields a row.")
    return value
