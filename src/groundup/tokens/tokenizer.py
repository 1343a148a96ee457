"""Text to token ids and back, by one `tokenizer.json`: the file that transformers, tokenizers and llama.cpp's converter read.

Ours are trained in `trainers.py`; those of others are read as they are, as long as their special tokens are known
(`ROLES`). What does the work depends on what the file holds, the ids do not:

    byte-level BPE with a pattern of patterns.py   tiktoken, some times as fast as tokenizers (docs/measurements.md)
    characters, bytes                              a look-up in a table
    anything else                                  tokenizers
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import tiktoken
import tokenizers

from groundup.corpus.document import encodable
from groundup.errors import GroundupError
from groundup.tokens.patterns import PATTERNS, Pattern

# Names are ours; a file of others may call the same thing otherwise.
ROLES: dict[str, tuple[str, ...]] = {
    "<|end_of_text|>": ("<|endoftext|>", "</s>", "<eos>", "[SEP]"),
    "<|pad|>": ("<pad>", "[PAD]", "<|finetune_right_pad_id|>"),
    "<|system|>": (),
    "<|user|>": (),
    "<|assistant|>": (),
    "<|end_of_turn|>": ("<|im_end|>", "<|eot_id|>", "<end_of_turn>"),
    "<|mask|>": ("[MASK]", "<mask>"),
    "<|class|>": ("[CLS]", "<cls>"),
    "<|fim_prefix|>": ("<fim_prefix>",),
    "<|fim_middle|>": ("<fim_middle>",),
    "<|fim_suffix|>": ("<fim_suffix>",),
}
SPECIAL = tuple(ROLES)
"""Of documents, chats, masks and fill-in-the-middle; every tokenizer has them from the start."""
END_OF_TEXT = SPECIAL[0]
SENTINEL = "<|sentinel_{}|>"
"""The blanks of span corruption, where a recipe asks for them."""
PIECE, LONGEST_PIECE = 65_536, 1_000_000  # characters; see pieces
LONGEST_RUN = 1024  # bytes; tiktoken takes time quadratic in the length of one word, tokenizers does not

Ids = np.ndarray[Any, np.dtype[np.uint32]]
Kind = Literal["byte-level", "characters", "bytes", "metaspace", "wordpiece"]


class Tokenizer:
    """A tokenizer made from the text of a `tokenizer.json`.

    >>> words = Tokenizer.load(run.path / "tokenizer")
    >>> words.decode(words.encode("to be <|user|>"))
    'to be <|user|>'
    """

    def __init__(self, text: str) -> None:
        self._inner = tokenizers.Tokenizer.from_str(text)
        self._inner.encode_special_tokens = True  # read as: special tokens in a text are encoded like any text
        self.digest = hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
        """Of `tokenizer.json`."""
        file = json.loads(text)
        names: dict[str, int] = self._inner.get_vocab(with_added_tokens=True)
        self.size = 1 + max(names.values())
        """Token ids there may be: the highest and all below it."""
        self.special = roles(names)
        """Name (of SPECIAL, or a sentinel) to id."""
        self.kind: Kind = _kind(file)
        """What the tokens are made of."""
        controls = {token["id"] for token in file["added_tokens"] if token["special"]} | set(self.special.values())
        spelled = [b""] * self.size
        for name, token in names.items():
            if token not in controls:
                spelled[token] = _SPELL[self.kind](name)
        self.token_bytes = tuple(spelled)
        """The bytes that each token stands for; none for special tokens. WordPiece: as if each word had one space before it."""
        self.lossless = self.kind in ("byte-level", "characters", "bytes") and not file["normalizer"] and not _prefixes(file)
        """Whether every text comes back byte for byte."""
        self.pattern = _pattern(file) if self.kind == "byte-level" else None
        """Of byte-level BPE, where it is one that is known."""
        self._encode: Callable[[list[str]], list[Ids]] = self._by_library
        if self.lossless and self.kind in ("characters", "bytes"):
            self._encode = _Table(self.token_bytes).encode
        elif self.lossless and self.pattern and (ranks := _ranks(file, self.token_bytes)):
            self._encode = _TikToken(ranks, self.pattern, self.special[END_OF_TEXT], self._by_library).encode

    @classmethod
    def load(cls, folder: Path) -> Tokenizer:
        """Open `folder/tokenizer.json`. Raises GroundupError where it is missing, damaged or lacks a special token."""
        path = folder / "tokenizer.json"
        try:
            return cls(path.read_text(encoding="utf-8"))
        except Exception as error:  # the library raises plain Exceptions
            raise GroundupError(f"no readable tokenizer ({error})", where=str(path), do="Build the tokenizer stage again.") from error

    @cached_property
    def byte_lengths(self) -> np.ndarray[Any, np.dtype[np.int64]]:
        """UTF-8 bytes each token stands for, (size,); 0 for special tokens."""
        return np.array([len(spelled) for spelled in self.token_bytes], dtype=np.int64)

    @property
    def cuts(self) -> bool:
        """Whether its words end at spaces between letters (BORDER); of some tokenizers it is not known where they do."""
        return self.pattern is not None or self.kind in ("characters", "bytes")

    @property
    def engine(self) -> Literal["tiktoken", "table", "tokenizers"]:
        """What encodes."""
        owner = getattr(self._encode, "__self__", self)
        return "tiktoken" if isinstance(owner, _TikToken) else "table" if isinstance(owner, _Table) else "tokenizers"

    def encode(self, text: str) -> list[int]:
        """Token ids of a text; never a special one. A lone surrogate, which UTF-8 cannot hold, is read as U+FFFD."""
        ids: list[int] = self.encode_batch([text])[0].tolist()
        return ids

    def encode_batch(self, texts: Sequence[str]) -> list[Ids]:
        """Token ids of each text, on all cores."""
        whole = [encodable(text) for text in texts]
        if not self.cuts:
            return self._encode(whole)
        cut = [list(pieces(text, anywhere=self.pattern is None)) for text in whole]
        encoded = iter(self._encode([piece for parts in cut for piece in parts]))
        return [next(encoded) if len(parts) == 1 else np.concatenate([next(encoded) for _ in parts]) for parts in cut]

    def encode_by_library(self, texts: Sequence[str]) -> list[Ids]:
        """The same by `tokenizers` alone, whole texts at a time: what all others are held against."""
        return self._by_library([encodable(text) for text in texts])

    def decode_bytes(self, ids: Iterable[int]) -> bytes:
        """The bytes that tokens stand for; special tokens stand for none."""
        return b"".join([self.token_bytes[token] for token in ids])

    def comes_back(self, text: str, ids: Ids) -> bool:
        """Whether these ids stand for this very text."""
        return b"".join(self._spelled[ids].tolist()) == text.encode()

    def decode(self, ids: Iterable[int]) -> str:
        """The text that tokens stand for; bytes that are no UTF-8 become U+FFFD."""
        if self.kind == "wordpiece":  # its rules for signs look at the words around them
            text: str = self._inner.decode([token for token in ids if self.token_bytes[token]], skip_special_tokens=True)
            return text
        return self.decode_bytes(ids).decode("utf-8", errors="replace")

    @cached_property
    def _spelled(self) -> np.ndarray[Any, np.dtype[np.object_]]:
        spelled = np.empty(self.size, dtype=object)
        spelled[:] = self.token_bytes
        return spelled

    def _by_library(self, texts: list[str]) -> list[Ids]:
        encoded = self._inner.encode_batch_fast(texts, add_special_tokens=False)
        return [np.array(one.ids, dtype=np.uint32) for one in encoded]


def roles(names: dict[str, int]) -> dict[str, int]:
    """Ids of the special tokens, and of sentinels, by our names. Raises ValueError for one that is not there."""
    found = {}
    for role, others in ROLES.items():
        name = next((name for name in (role, *others) if name in names), None)
        if name is None:
            raise ValueError(f"it has no {role}")
        found[role] = names[name]
    number = 0
    while (name := SENTINEL.format(number)) in names:
        found[name] = names[name]
        number += 1
    return found


# A space between letters: every pattern starts a piece there whatever comes before or after, so encoding the two sides
# apart gives the same tokens.
BORDER = re.compile(r"(?<=[^\W\d_])(?= [^\W\d_])")


def pieces(text: str, *, anywhere: bool) -> Iterator[str]:
    """Cut a long text so that all cores and little memory are used, without changing its tokens.

    Where merges cross characters it is cut at spaces between letters only. A stretch of a million characters without
    one is cut all the same: the library's regex engine gives up on runs of ten million spaces.
    """
    start = 0
    while len(text) - start > PIECE:
        if anywhere:
            end = start + PIECE
        else:
            border = BORDER.search(text, start + PIECE, start + LONGEST_PIECE)
            end = border.start() if border else start + LONGEST_PIECE
        yield text[start:end]
        start = end
    yield text[start:]


class _TikToken:
    """tiktoken as the engine; what it would take quadratic time for goes to `library`."""

    def __init__(self, ranks: dict[bytes, int], pattern: Pattern, end_of_text: int, library: Callable[[list[str]], list[Ids]]) -> None:
        # it wants one special token to look for, and is then told to take it for plain text
        self._encoding = tiktoken.Encoding(
            "groundup", pat_str=pattern.fast, mergeable_ranks=ranks, special_tokens={END_OF_TEXT: end_of_text}
        )  # fmt: skip
        self._library = library

    def encode(self, pieces: list[str]) -> list[Ids]:
        groups: list[list[str]] = [[]]
        held = 0
        for piece in pieces:
            if held + len(piece) > PIECE and groups[-1]:
                groups.append([])
                held = 0
            groups[-1].append(piece)
            held += len(piece)
        if len(groups) == 1:
            return self._group(groups[0])
        return [ids for group in _threads().map(self._group, groups) for ids in group]

    def _group(self, pieces: list[str]) -> list[Ids]:
        return [
            self._library([piece])[0] if len(piece) > LONGEST_RUN // 4 and longest_run(piece, LONGEST_RUN) > LONGEST_RUN
            else self._encoding.encode_to_numpy(piece, disallowed_special=())
            for piece in pieces
        ]  # fmt: skip


class _Table:
    """One token a character, or a byte where the character has none, or one token a byte."""

    def __init__(self, token_bytes: Sequence[bytes]) -> None:
        self._bytes = np.zeros(256, dtype=np.uint32)
        codes = np.zeros(0x110000, dtype=np.uint32)  # 0 is <|end_of_text|>'s or another special token's: no character's
        for token, spelled in enumerate(token_bytes):
            if len(spelled) == 1:
                self._bytes[spelled[0]] = token
            elif spelled:
                codes[ord(spelled.decode())] = token
        codes[:128] = self._bytes[:128]
        self._codes = codes if codes[128:].any() else None

    def encode(self, pieces: list[str]) -> list[Ids]:
        return [self._one(piece) for piece in pieces]

    def _one(self, piece: str) -> Ids:
        if self._codes is None:
            found: Ids = self._bytes[np.frombuffer(piece.encode(), dtype=np.uint8)]
            return found
        found = self._codes[np.frombuffer(piece.encode("utf-32-le"), dtype=np.uint32)]
        unknown = np.flatnonzero(found == 0)
        if not len(unknown):
            return found
        parts, start = [], 0
        for place in unknown.tolist():
            parts += [found[start:place], self._bytes[np.frombuffer(piece[place].encode(), dtype=np.uint8)]]
            start = place + 1
        joined: Ids = np.concatenate([*parts, found[start:]])
        return joined


@cache
def _threads() -> ThreadPoolExecutor:
    """One thread a core; tiktoken lets go of the interpreter's lock."""
    return ThreadPoolExecutor(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)


RUN = re.compile(r"[^\W_]+|\s+|(?:[^\w\s]|_)+")  # letters and digits, blanks, all others: no pattern's piece has more but one


def longest_run(text: str, limit: int = 0) -> int:
    """At least the bytes of the longest piece that a pattern may cut from the text, and seldom many more; `limit`: where it
    is certainly no longer than that, 0 may be said instead."""
    data = np.frombuffer(text.encode(), dtype=np.uint8)
    blank = data <= 32
    if half := limit // 2:  # a longer run would fill one of these blocks, be it with blanks or without
        blanks = np.count_nonzero(blank[: len(blank) // half * half].reshape(-1, half), axis=1)
        if ((blanks > 0) & (blanks < half)).all():
            return 0
    borders = np.flatnonzero(blank[1:] != blank[:-1])
    gaps = np.diff(borders, prepend=-1, append=len(data) - 1)
    if gaps.max(initial=0) <= LONGEST_RUN:
        return int(gaps.max(initial=0))
    return max(len(run.encode()) for run in RUN.findall(text))


def _kind(file: dict[str, Any]) -> Kind:
    model, pre = file["model"], _parts(file["pre_tokenizer"])
    if model["type"] == "WordPiece":
        return "wordpiece"
    byte_level = any(part["type"] == "ByteLevel" for part in pre)
    if model["type"] == "BPE":
        if not model["merges"] and not pre and model.get("byte_fallback"):
            return "characters"
        if byte_level:
            return "byte-level" if model["merges"] else "bytes"
        return "metaspace"
    if model["type"] == "Unigram":
        return "byte-level" if byte_level else "metaspace"
    raise ValueError(f"a model of type {model['type']} is not known")


def _parts(step: dict[str, Any] | None) -> list[dict[str, Any]]:
    """The steps of a sequence, or the one step, or none."""
    if step is None:
        return []
    inner: list[dict[str, Any]] = step.get("pretokenizers", step.get("decoders", [step]))
    return inner


def _prefixes(file: dict[str, Any]) -> bool:
    """Whether a space is put before each text."""
    return any(part.get("add_prefix_space") for part in _parts(file["pre_tokenizer"]))


def _pattern(file: dict[str, Any]) -> Pattern | None:
    """The pattern of the pre-tokenizer, where it is one of PATTERNS and nothing else cuts the text."""
    if file["model"]["type"] != "BPE":
        return None
    match _parts(file["pre_tokenizer"]):
        case [{"type": "ByteLevel", "use_regex": True}]:
            return PATTERNS["gpt2"]
        case [{"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": False}, {"type": "ByteLevel", "use_regex": False}]:
            return next((pattern for pattern in PATTERNS.values() if pattern.regex == regex), None)
    return None


def _ranks(file: dict[str, Any], token_bytes: Sequence[bytes]) -> dict[bytes, int] | None:
    """tiktoken's table, where it means the same: each token of several bytes is made by one merge, and lower ids first."""
    model = file["model"]
    ids, merges = model["vocab"], model["merges"]
    if model.get("dropout") or model.get("unk_token") or model.get("continuing_subword_prefix") or model.get("end_of_word_suffix"):
        return None
    made = [ids["".join(merge.split(" ") if isinstance(merge, str) else merge)] for merge in merges]
    ranks = {spelled: token for token, spelled in enumerate(token_bytes) if spelled}
    several = sum(1 for spelled in ranks if len(spelled) > 1)
    rising = all(one < other for one, other in zip(made, made[1:], strict=False))
    return ranks if rising and len(made) == several and all(bytes([byte]) in ranks for byte in range(256)) else None


def byte_to_character() -> dict[int, str]:
    """GPT-2's alphabet (Radford et al. 2019, encoder.py): printable Latin-1 stands for itself, the rest from U+0100 on."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in printable]
    return {byte: chr(byte) for byte in printable} | {byte: chr(256 + place) for place, byte in enumerate(others)}


_CHARACTER_TO_BYTE = {character: byte for byte, character in byte_to_character().items()}
_BYTE_NAME = re.compile(r"<0x[0-9A-F]{2}>")


def _byte_level(name: str) -> bytes:
    if all(character in _CHARACTER_TO_BYTE for character in name):
        return bytes(_CHARACTER_TO_BYTE[character] for character in name)
    return name.encode()  # a token that someone added by hand


def _fallback(name: str) -> bytes:
    return bytes([int(name[3:5], 16)]) if _BYTE_NAME.fullmatch(name) else name.encode()


def _metaspace(name: str) -> bytes:
    return _fallback(name).replace("▁".encode(), b" ")


def _wordpiece(name: str) -> bytes:
    return name[2:].encode() if name.startswith("##") else b" " + name.encode()


_SPELL: dict[str, Callable[[str], bytes]] = {
    "byte-level": _byte_level, "bytes": _byte_level, "characters": _fallback, "metaspace": _metaspace, "wordpiece": _wordpiece,
}  # fmt: skip
