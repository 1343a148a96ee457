"""Task files: found in a folder by their names, read row by row, complained about by file and row.

    eval/
      ARC-Challenge/train.jsonl  ARC-Challenge/test.jsonl           task/split
      hellaswag_val_1000.jsonl.gz                                   task_split
      mmlu/astronomy/test-00000-of-00001.parquet                    as the hub lays them out
      mmlu_dev/astronomy_dev.csv
      mosaic_gauntlet/world_knowledge/arc_easy.jsonl.gz             no split named: what is asked, not what examples are drawn from

A file is a task's if the words of the task's name stand in its path one after the other; of several files the first name in the
task's list wins, then the one with the fewest other words. `.json`, `.jsonl`, `.csv`, `.parquet`, also `.gz` and `.zst`. What is hidden
(`.hub-...`, half fetched) is not looked at.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import parquet

from groundup.errors import RequestError

Split = tuple[str, ...]
TRAIN: Split = ("train", "training")
VALIDATION: Split = ("validation", "valid", "val", "dev")
DEV: Split = ("dev",)
TEST: Split = ("test",)
_NAMED = {*TRAIN, *VALIDATION, *TEST}
SUFFIXES = (".jsonl", ".ndjson", ".json", ".csv", ".parquet")
_WORD = re.compile(r"[a-z]+|\d+")
_SHARD = re.compile(r"-\d{5}-of-\d{5}$")


class MissingError(RequestError):
    """A task's file is not there."""


@dataclass(frozen=True, slots=True)
class Row:
    """One record of a file, with checked access."""

    values: Mapping[str, Any]
    file: Path
    number: int
    """Counted from 1: line of a .jsonl, element of a .json, row of a table."""

    @property
    def name(self) -> str:
        """For people and results: folder, file and number, which are one record's alone."""
        return record_name(self.file, self.number)

    def wrong(self, what: str, do: str = "Correct the item, or take it out.") -> RequestError:
        """The error that says so."""
        return RequestError(what, where=f"{self.file}, item {self.number}", do=do)

    def has(self, *names: str) -> bool:
        """Whether all these fields are there."""
        return all(name in self.values for name in names)

    def inside(self, name: str) -> Row:
        """A field that is a record itself."""
        value = self.values.get(name)
        if not isinstance(value, Mapping):
            raise self.wrong(f"`{name}` is not a record with fields but {_short(value)}")
        return Row(value, self.file, self.number)

    def text(self, name: str, *, empty: bool = False) -> str:
        """A field that is a string; `empty`: it may be."""
        value = self.values.get(name)
        if name not in self.values:
            raise self.wrong(f"no field `{name}` (there are {', '.join(map(str, self.values)) or 'none'})", "Name the fields as the task's data set has them.")
        if not isinstance(value, str) or not (value or empty):
            raise self.wrong(f"`{name}` is {'empty' if value == '' else f'no text but {_short(value)}'}")
        return value

    def texts(self, name: str, least: int = 2) -> list[str]:
        """A field that is a list of at least `least` non-empty strings."""
        value = self.values.get(name)
        if not isinstance(value, list | tuple):
            raise self.wrong(f"`{name}` is not a list of answers but {_short(value)}")
        if len(value) < least:
            raise self.wrong(f"`{name}` has {len(value)} {'answer' if len(value) == 1 else 'answers'}; at least {least} are needed")
        for place, one in enumerate(value):
            if not isinstance(one, str) or not one:
                raise self.wrong(f"`{name}` has {'an empty text' if one == '' else _short(one)} at place {place + 1}")
        return list(value)

    def place(self, name: str, among: int) -> int:
        """A field that is the place of the right answer, counted from 0, of `among`; a number or its digits."""
        value = self.values.get(name)
        if isinstance(value, str) and value.strip().isdigit():
            value = int(value)
        if isinstance(value, bool):
            value = int(value)
        if not isinstance(value, int):
            hidden = " (the answers of hidden test sets are published nowhere: ask the validation split)" if value in ("", None, -1) else ""
            raise self.wrong(f"`{name}` is {_short(value)}, not the place of the right answer{hidden}")
        if not 0 <= value < among:
            raise self.wrong(f"`{name}` is {value}; with {among} answers it must be from 0 to {among - 1}")
        return value


def record_name(file: Path, number: int) -> str:
    """What the record of a file is called."""
    return f"{file.parent.name}/{file.name}:{number}"


@dataclass(frozen=True)
class Rows:
    """The rows of a split, and the files they come from."""

    rows: list[Row]
    files: tuple[Path, ...]


class Data:
    """The files of tasks: a folder, searched by names, or one file, which is what is asked; its neighbours have the examples."""

    def __init__(self, path: Path) -> None:
        if not path.exists():
            raise RequestError("there is no such file or folder", where=str(path), do="Name a folder with task files, or a task file.")
        self.path = path
        self._only = path if path.is_file() else None
        self._folder = path.parent if path.is_file() else path
        self._listed = sorted(each for each in self._folder.rglob("*") if each.is_file() and _kind(each) and not _hidden(each.relative_to(self._folder)))

    def asked(self, names: Sequence[str], split: Split) -> Rows:
        """The rows that are asked; a file that names no split at all will do."""
        if self._only is not None:
            return Rows(read(self._only), (self._only,))
        return self._best(names, split, unnamed=True)

    def examples(self, names: Sequence[str], split: Split) -> Rows:
        """The rows that examples are drawn from."""
        return self._best(names, split, unnamed=False)

    def all(self, names: Sequence[str], split: Split, *, asked: bool = False) -> list[Path]:
        """All files of a split (MMLU: one a subject), of the first name that has any; `asked`: a file that names no split will do."""
        if asked and self._only is not None:
            return [self._only]
        for name in names:
            candidates = self._named(name)
            found = [path for path, words in candidates if _split(path, words) & set(split)]
            if not found and asked:
                found = [path for path, words in candidates if not _split(path, words)]
            if found:
                return found
        raise self._missing(names, split)

    def _best(self, names: Sequence[str], split: Split, *, unnamed: bool) -> Rows:
        for name in names:
            candidates = self._named(name)
            exact = [(path, words) for path, words in candidates if _split(path, words) & set(split)]
            if not exact and unnamed:
                exact = [(path, words) for path, words in candidates if not _split(path, words)]
            if exact:
                first, _ = min(exact, key=lambda pair: (len(pair[1]), str(pair[0])))
                shards = [path for path, _ in exact if path.parent == first.parent and _stem(path) == _stem(first)]
                return Rows([row for path in shards for row in read(path)], tuple(shards))
        raise self._missing(names, split)

    def _named(self, name: str) -> list[tuple[Path, list[str]]]:
        """Files whose paths have the words of the name one after the other, with the words of their paths."""
        sought = _words(name)
        found = []
        for path in self._listed:
            words = _words(str(path.relative_to(self._folder.parent).with_name(_stem(path))))
            if any(words[place : place + len(sought)] == sought for place in range(len(words))):
                found.append((path, words))
        return found

    def _missing(self, names: Sequence[str], split: Split) -> MissingError:
        there = ", ".join(str(path.relative_to(self._folder)) for path in self._listed[:8]) or "no task file at all"
        more = f" and {len(self._listed) - 8} more" if len(self._listed) > 8 else ""
        sought = f"no {split[0]} split of {names[0]} (a file with '{names[0]}' and '{split[0]}' in its path)" if split else f"no file with '{names[0]}' in its path"
        example = f"{names[0]}/{split[0]}.jsonl" if split else f"{names[0]}.jsonl"
        return MissingError(f"{sought}; there are {there}{more}", where=str(self.path), do=f"Put it there, for example as {example}.")


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower())


def _stem(path: Path) -> str:
    """The name without its endings and shard number."""
    name = path.name
    for ending in (".gz", ".zst", *SUFFIXES):
        name = name.removesuffix(ending)
    return _SHARD.sub("", name)


def _split(path: Path, words: list[str]) -> set[str]:
    """The words for splits: of the file's own name, or else of its folders."""
    return (set(_words(_stem(path))) & _NAMED) or (set(words) & _NAMED)


def _hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def _kind(path: Path) -> str:
    name = path.name.lower().removesuffix(".gz").removesuffix(".zst")
    return next((suffix for suffix in SUFFIXES if name.endswith(suffix)), "")


def read(path: Path, columns: Sequence[str] = ()) -> list[Row]:
    """The rows of a file. `columns`: names for a .csv without a header row.

    Raises RequestError for what cannot be read, is no record, or has no rows.
    """
    kind = _kind(path)
    if not kind:
        raise RequestError("not a kind of task file that is read", where=str(path), do=f"Name one of the kinds {', '.join(SUFFIXES)} (also .gz, .zst).")
    try:
        values = _parquet(path) if kind == ".parquet" else _text(path, kind, columns)
    except (OSError, ValueError, EOFError, csv.Error, pa.ArrowException) as error:
        words = " ".join(str(error).split())[:200] or type(error).__name__
        raise RequestError(f"cannot be read: {words}", where=str(path), do="Repair the file, or fetch it again.") from None
    rows = [Row(value, path, number) for number, value in values]
    for row in rows:
        if not isinstance(row.values, dict):
            raise row.wrong(f"not a record with fields but {_short(row.values)}")
    if not rows:
        raise RequestError("has no items", where=str(path), do="Repair the file, or fetch it again.")
    return rows


def _parquet(path: Path) -> list[tuple[int, Any]]:
    with parquet.ParquetFile(path) as table:
        return list(enumerate((row for batch in table.iter_batches(batch_size=1024) for row in batch.to_pylist()), 1))


def _text(path: Path, kind: str, columns: Sequence[str]) -> list[tuple[int, Any]]:
    with pa.input_stream(str(path)) as stream:  # unpacks by the name
        text = stream.read().decode("utf-8-sig")
    if kind == ".json":
        whole = json.loads(text)
        if isinstance(whole, dict):
            whole = next((value for value in whole.values() if isinstance(value, list)), [whole])
        return list(enumerate(whole, 1))
    if kind == ".csv":
        return _csv(path, text, columns)
    found = []
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                found.append((number, json.loads(line)))
            except ValueError as error:
                raise RequestError(f"not JSON: {error}", where=f"{path}, line {number}", do="Repair the line, or take it out.") from None
    return found


def _csv(path: Path, text: str, columns: Sequence[str]) -> list[tuple[int, Any]]:
    table = [row for row in csv.reader(io.StringIO(text, newline=""), strict=True) if row]
    if not table:
        return []
    header = [cell.strip().lower() for cell in table[0]]
    names: Sequence[str] = table[0]
    if columns and len(set(header) & set(columns)) < 2:  # one cell may by chance be called like a column
        names = columns
    else:
        table = table[1:]
    found = []
    for number, row in enumerate(table, 1):
        if len(row) != len(names):
            raise RequestError(f"{len(row)} columns instead of {len(names)}", where=f"{path}, item {number}", do="Repair the row, or take it out.")
        found.append((number, dict(zip(names, row, strict=True))))
    return found


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
