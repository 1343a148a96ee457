"""Others' token files as text: decoded with their tokenizer, so that they take every step that text takes.

    .bin          nanoGPT: token ids one after the other; or llm.c and modded-nanogpt: the same behind a header of 1,024 bytes
    .bin + .idx   Megatron-LM and GPT-NeoX: the index says where documents begin
    .ds + .index  datatrove: the index says where documents end
    .npy          OLMo and dolma: token ids one after the other, with numpy's header or (as they write it) without

Where no index tells documents apart, the tokenizer's end-of-text token does.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers
from tokenizers import decoders, models

from groundup.corpus.document import Document, cut
from groundup.corpus.sources.files import Report, Unreadable
from groundup.errors import RequestError

SUFFIXES = (".bin", ".ds", ".npy")
COMPANIONS = (".idx", ".index", ".metadata", ".csv.gz")  # read with their file, or not needed
ENDS = ("<|endoftext|>", "<|end_of_text|>", "</s>", "<eos>", "<|eot_id|>", "[SEP]")
HEADER = 256  # int32 of llm.c's files
MAGIC = {20240520: 2, 20240801: 4}  # llm.c: bytes a token
MEGATRON = {1: "u1", 2: "i1", 3: "<i2", 4: "<i4", 5: "<i8", 8: "<u2"}
PIECE = 500_000  # tokens decoded at once
Ids = np.ndarray[Any, Any]


@dataclass(frozen=True)
class TokenFile:
    """A file of tokens and what they mean."""

    source: str
    path: Path
    relative: str
    max_characters: int
    tokenizer: Path

    def read(self, report: Report) -> Iterator[Document]:
        """Its documents, long ones cut. Never raises for a bad file."""
        words = vocabulary(self.tokenizer)
        number = 0
        try:
            for ids in documents(self.path, words.size, words.end):
                pieces = cut(words.decode(ids), self.max_characters)
                for part, text in enumerate(pieces):
                    yield Document(self.source, self.relative, text, self.relative, number, part)
                number += 1
        except Unreadable as error:
            if number:
                report.notes.append((self.relative, f"{error}; kept the {number:,} documents before"))
            else:
                report.skipped.append((self.relative, str(error)))


class Vocabulary:
    """What a file's tokens mean."""

    def __init__(self, inner: tokenizers.Tokenizer) -> None:
        self._inner = inner
        names: dict[str, int] = inner.get_vocab(with_added_tokens=True)
        self.size = 1 + max(names.values())
        """Ids there may be."""
        self.end = next((names[name] for name in ENDS if name in names), None)
        """What stands between documents."""
        self._opens = {token for name, token in names.items() if name.startswith(("\u0120", "\u2581"))}  # begin with a space

    def decode(self, ids: Ids) -> Iterator[str]:
        """The text of a document in pieces, none of which ends within a character."""
        start = 0
        while len(ids) - start > PIECE:
            end = next((place for place in range(start + PIECE, start, -1) if int(ids[place]) in self._opens), start + PIECE)
            yield self._text(ids[start:end])
            start = end
        yield self._text(ids[start:])

    def _text(self, ids: Ids) -> str:
        if len(ids) and int(ids.max()) >= self.size:
            raise Unreadable(f"it holds the token {int(ids.max()):,}, and its tokenizer has {self.size:,}: another tokenizer's, or another type of number")
        text: str = self._inner.decode(ids.tolist(), skip_special_tokens=True)
        return text


@lru_cache(maxsize=4)
def vocabulary(path: Path) -> Vocabulary:
    """A tokenizer.json, its folder, or a folder with GPT-2's two files. Raises RequestError where there is none."""
    try:
        if path.is_dir() and not (path / "tokenizer.json").is_file():
            return Vocabulary(_gpt2(path))
        return Vocabulary(tokenizers.Tokenizer.from_file(str(path / "tokenizer.json" if path.is_dir() else path)))
    except Exception as error:  # the library raises plain Exceptions
        raise RequestError(
            f"no readable tokenizer ({error})", where=str(path), do="Name the tokenizer.json that the token files were made with."
        ) from None


def _gpt2(folder: Path) -> tokenizers.Tokenizer:
    vocab, merges = next(
        (pair for pair in ((folder / "encoder.json", folder / "vocab.bpe"), (folder / "vocab.json", folder / "merges.txt")) if pair[0].is_file()),
        (folder / "tokenizer.json", folder),
    )
    lines = [line for line in merges.read_text(encoding="utf-8").splitlines() if line and not line.startswith("#version")]
    inner = tokenizers.Tokenizer(
        models.BPE(vocab=json.loads(vocab.read_text(encoding="utf-8")), merges=[(one, other) for one, other in (line.split(" ") for line in lines)])
    )
    inner.decoder = decoders.ByteLevel()
    return inner


def documents(path: Path, vocabulary: int, end: int | None) -> Iterator[Ids]:
    """The documents of a token file, without what ends them. Raises Unreadable."""
    if path.suffix == ".ds":
        yield from _datatrove(path, vocabulary, end)
    elif path.suffix == ".bin" and path.with_suffix(".idx").is_file():
        yield from _megatron(path, end)
    else:
        yield from _divided(_plain(path, vocabulary), end)


def _plain(path: Path, vocabulary: int) -> Ids:
    """The tokens of a file that holds nothing else, but maybe a header."""
    size = path.stat().st_size
    width = 2 if vocabulary <= 65_536 else 4
    with path.open("rb") as file:
        head = file.read(4 * HEADER)
    if path.suffix == ".npy" and head.startswith(b"\x93NUMPY"):
        tokens = np.load(path, mmap_mode="r", allow_pickle=False)
        if tokens.ndim != 1 or tokens.dtype.kind not in "iu":
            raise Unreadable(f"an array of {tokens.dtype} with {tokens.ndim} dimensions, not tokens")
        return np.asarray(tokens)
    if len(head) == 4 * HEADER and (magic := struct.unpack("<i", head[:4])[0]) in MAGIC:
        count = struct.unpack("<i", head[8:12])[0]
        kind = np.dtype(f"<u{MAGIC[magic]}")
        if size < 4 * HEADER + count * kind.itemsize:
            raise Unreadable(f"truncated: its header promises {count:,} tokens")
        return np.memmap(path, dtype=kind, mode="r", offset=4 * HEADER, shape=(count,))
    if size == 0 or size % width:
        raise Unreadable("empty" if size == 0 else f"its size is no multiple of {width} bytes")
    return np.memmap(path, dtype=f"<u{width}", mode="r")


def _divided(tokens: Ids, end: int | None) -> Iterator[Ids]:
    """The stretches between end-of-text tokens, which may stand before each document or after it."""
    if end is None:
        yield tokens
        return
    start = 0
    for begin in range(0, len(tokens), PIECE):
        for place in (np.flatnonzero(tokens[begin : begin + PIECE] == end) + begin).tolist():
            if place > start:
                yield tokens[start:place]
            start = place + 1
    if start < len(tokens):
        yield tokens[start:]


def _megatron(path: Path, end: int | None) -> Iterator[Ids]:
    """By the index: its header, the sequences' lengths and places, and which sequences make a document."""
    index = path.with_suffix(".idx").read_bytes()
    if index[:9] != b"MMIDIDX\0\0" or len(index) < 34:
        raise Unreadable("its .idx is no index of Megatron-LM's")
    _, code, sequences, count = struct.unpack("<QBQQ", index[9:34])
    if code not in MEGATRON or len(index) < 34 + 12 * sequences + 8 * count:
        raise Unreadable("its .idx is damaged")
    lengths = np.frombuffer(index, "<i4", sequences, 34)
    places = np.frombuffer(index, "<i8", sequences, 34 + 4 * sequences)
    firsts = np.frombuffer(index, "<i8", count, 34 + 12 * sequences).tolist()
    kind = np.dtype(MEGATRON[code])
    tokens = np.memmap(path, dtype=kind, mode="r") if path.stat().st_size else np.zeros(0, kind)
    for first, last in zip(firsts, firsts[1:], strict=False):
        if first == last:
            continue
        start = int(places[first]) // kind.itemsize
        stop = start + int(lengths[first:last].sum())
        if stop > len(tokens):
            raise Unreadable("truncated: its .idx promises more tokens")
        yield from _divided(tokens[start:stop], end)


def _datatrove(path: Path, vocabulary: int, end: int | None) -> Iterator[Ids]:
    """By the index, where there is one: the ends of the documents, in tokens."""
    index = path.with_name(path.name + ".index")
    if not index.is_file():
        yield from _divided(_plain(path, vocabulary), end)
        return
    ends = np.fromfile(index, dtype="<u8").tolist()
    size = path.stat().st_size
    if not ends or size % ends[-1] or size // ends[-1] not in (2, 4):
        raise Unreadable("its .index is of another file")
    tokens = np.memmap(path, dtype=f"<u{size // ends[-1]}", mode="r")
    for first, last in zip([0, *ends], ends, strict=False):
        yield from _divided(tokens[first:last], end)
