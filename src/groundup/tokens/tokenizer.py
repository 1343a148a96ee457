"""The tokenizer: trained on the build's own text, kept as a Hugging Face `tokenizer.json`.

Three kinds, none of which ever loses a byte:

    bpe         byte-level BPE over pieces cut by Llama 3's pattern (llama.cpp knows it as `llama-bpe`)
    characters  one token a character of the training text; others fall back to their bytes
    bytes       one token a byte

The first ids are special tokens. They are never made from text: `<|user|>` written in a document is seven ordinary
characters and more.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import tokenizers
from tokenizers import decoders, models, pre_tokenizers, trainers

from groundup.errors import GroundupError
from groundup.progress import bar, say
from groundup.run import Run, Stage, write_atomic, write_json

SPECIAL = ("<|end_of_text|>", "<|pad|>", "<|system|>", "<|user|>", "<|assistant|>", "<|end_of_turn|>", "<|mask|>")
# Llama 3's pattern (Meta, llama-models tokenizer.py): words with their leading space, numbers in threes, blanks together
PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
LEAST, MOST = 512, 65_536  # bounds of a derived vocabulary


class Tokenizer:
    """A trained tokenizer. `encode` never produces special ids; `special` maps their names to ids."""

    def __init__(self, inner: tokenizers.Tokenizer, digest: str) -> None:
        self._inner, self.digest = inner, digest
        self._inner.encode_special_tokens = True  # special tokens in text are text
        self.size: int = inner.get_vocab_size()
        missing = [name for name in SPECIAL if inner.token_to_id(name) is None]
        if missing:
            raise GroundupError(f"lacks the special tokens {', '.join(missing)}", where="tokenizer.json", do="Build the tokenizer stage again.")
        self.special: dict[str, int] = {name: inner.token_to_id(name) or 0 for name in SPECIAL}

    @classmethod
    def load(cls, folder: Path) -> Tokenizer:
        """Read `tokenizer.json` from a folder."""
        path = folder / "tokenizer.json"
        try:
            data = path.read_bytes()
            inner = tokenizers.Tokenizer.from_str(data.decode())
        except Exception as error:  # the library raises bare Exceptions
            raise GroundupError(f"no readable tokenizer: {error}", where=str(path), do="Build the tokenizer stage again.") from None
        return cls(inner, hashlib.blake2b(data, digest_size=16).hexdigest())

    @property
    def end_of_text(self) -> int:
        """Id of the token that stands between documents."""
        return self.special["<|end_of_text|>"]

    def encode(self, text: str) -> list[int]:
        """Ids of a text, no special ones among them."""
        ids: list[int] = self._inner.encode(text, add_special_tokens=False).ids
        return ids

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of many texts, on all cores."""
        return [encoding.ids for encoding in self._inner.encode_batch_fast(list(texts), add_special_tokens=False)]

    def decode(self, ids: Sequence[int]) -> str:
        """Text of ids, special ones left out; bytes that are no UTF-8 become U+FFFD."""
        return self.decode_bytes(ids).decode("utf-8", errors="replace")

    def decode_bytes(self, ids: Sequence[int]) -> bytes:
        """The very bytes that ids stand for, special ones left out."""
        table = self.token_bytes
        return b"".join(table[index] for index in ids)

    @cached_property
    def token_bytes(self) -> list[bytes]:
        """The bytes of each id; empty for special tokens."""
        has_fallback = self._inner.token_to_id("<0x00>") is not None
        alphabet = _byte_alphabet()
        table = []
        for index in range(self.size):
            token = self._inner.id_to_token(index) or ""
            if token in self.special:
                table.append(b"")
            elif has_fallback:  # characters with byte fallback
                table.append(bytes([int(token[3:5], 16)]) if _is_byte_token(token) else token.encode())
            else:
                table.append(bytes(alphabet[character] for character in token))
        return table


def _is_byte_token(token: str) -> bool:
    return len(token) == 6 and token.startswith("<0x") and token.endswith(">")


def _byte_alphabet() -> dict[str, int]:
    """GPT-2's printable stand-ins for the 256 bytes: printable Latin-1 stands for itself, the rest from U+0100 on."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + place): byte for place, byte in enumerate(others)}


def texts(cleaned: Path, split: str) -> Iterator[str]:
    """All texts of a split of the clean corpus, in order."""
    for part in sorted(cleaned.glob("part-*.parquet")):
        file = pq.ParquetFile(part)
        for batch in file.iter_batches(batch_size=256, columns=["text", "split"]):
            for text, which in zip(batch.column(0).to_pylist(), batch.column(1).to_pylist(), strict=True):
                if which == split:
                    yield text


def default_vocabulary(train_bytes: int) -> int:
    """A vocabulary for an amount of text: its square root, to a multiple of 64, between 512 and 65,536.

    4 MB give 2,048, 1 GB about 32,000. A token must be seen often enough to be learned, and at small scale each one
    costs a row of an embedding that is much of the model.
    """
    return min(MOST, max(LEAST, 64 * round(math.sqrt(train_bytes) / 64)))


def train_tokenizer(run: Run, cleaned: Stage) -> Stage:
    """The tokenizer stage (folder `tokenizer`): tokenizer.json and report.json.

    Raises GroundupError where an asked vocabulary is larger than the text can train.
    """
    wish = run.recipe.tokens
    depends = {"tokens": wish.model_dump(), "seed": run.recipe.seed}
    stage = run.stage("tokenizer", "tokenizer", depends=depends, inputs={"clean": cleaned.digest})
    if stage.done:
        return stage
    total = sum(len(text.encode()) for text in texts(cleaned.final, "train"))
    size = wish.vocabulary or default_vocabulary(total)
    share = min(1.0, wish.sample_bytes / max(1, total))
    say(f"tokenizer: {wish.kind}" + (f", vocabulary {size:,}" if wish.kind == "bpe" else "") + f", from {total * share / 1e6:,.1f} MB of text")
    with bar("tokenizer", None) as progress:
        sample = _sample(cleaned.final, share, run.recipe.seed, progress.advance)
        inner = {"bpe": _bpe, "characters": _characters, "bytes": _bytes}[wish.kind](sample, size)
    if wish.kind == "bpe" and wish.vocabulary and inner.get_vocab_size() < wish.vocabulary:
        raise GroundupError(
            f"a vocabulary of {wish.vocabulary:,} is larger than this text can train: only {inner.get_vocab_size():,} "
            "tokens occur at least twice", where="tokens.vocabulary", do=f"Set it to at most {inner.get_vocab_size():,}, or leave it out.",
        )  # fmt: skip
    text = inner.to_str(pretty=True)
    write_atomic(stage.work / "tokenizer.json", text)
    tokenizer = Tokenizer.load(stage.work)
    report = _report(tokenizer, cleaned.final, wish.kind)
    write_json(stage.work / "report.json", report)
    stage.finish({"vocabulary": tokenizer.size, "bytes_per_token": report["bytes_per_token"]})
    return stage


def _sample(cleaned: Path, share: float, seed: int, advance: Any) -> Iterator[str]:
    """Training texts, each kept with probability `share` by a hash of its number, in order."""
    for number, text in enumerate(texts(cleaned, "train")):
        draw = hashlib.blake2b(f"{seed}:{number}".encode(), digest_size=8).digest()
        if int.from_bytes(draw, "big") < share * 2**64:
            advance(1)
            yield text


def _bpe(sample: Iterator[str], size: int) -> tokenizers.Tokenizer:
    inner = tokenizers.Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(tokenizers.Regex(PATTERN), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    inner.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size, min_frequency=2, special_tokens=list(SPECIAL), show_progress=False,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
    )  # fmt: skip
    inner.train_from_iterator(sample, trainer)
    return inner


def _bytes(sample: Iterator[str], size: int) -> tokenizers.Tokenizer:
    tokens = [*SPECIAL, *sorted(_byte_alphabet(), key=lambda character: _byte_alphabet()[character])]
    inner = tokenizers.Tokenizer(models.BPE(vocab={token: index for index, token in enumerate(tokens)}, merges=[]))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    inner.decoder = decoders.ByteLevel()
    inner.add_special_tokens(list(SPECIAL))
    return inner


def _characters(sample: Iterator[str], size: int) -> tokenizers.Tokenizer:
    seen = sorted({character for text in sample for character in text})
    tokens = [*SPECIAL, *(f"<0x{byte:02X}>" for byte in range(256)), *seen]
    vocabulary = {token: index for index, token in enumerate(tokens)}
    inner = tokenizers.Tokenizer(models.BPE(vocab=vocabulary, merges=[], byte_fallback=True))
    inner.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()])
    inner.add_special_tokens(list(SPECIAL))
    return inner


def _report(tokenizer: Tokenizer, cleaned: Path, kind: str) -> dict[str, Any]:
    """What the tokenizer makes of the text (up to 8 MB of each split), and proof that it loses nothing."""
    counts = [0] * tokenizer.size
    figures: dict[str, Any] = {"kind": kind, "size": tokenizer.size}
    for split, name in (("train", "bytes_per_token"), ("held-out", "held_out_bytes_per_token")):
        size = tokens = 0
        for text in texts(cleaned, split):
            text = text[:100_000]
            ids = tokenizer.encode(text)
            if tokenizer.decode_bytes(ids) != text.encode():
                raise GroundupError("a text did not come back byte for byte", where="tokenizer", do="Please report this text as a bug.")
            size, tokens = size + len(text.encode()), tokens + len(ids)
            if split == "train":
                for index in ids:
                    counts[index] += 1
            if size >= 8_000_000:
                break
        figures[name] = round(size / max(1, tokens), 4)
    table = tokenizer.token_bytes
    ordinary = [index for index in range(tokenizer.size) if table[index]]
    total = max(1, sum(counts))
    longest = sorted(ordinary, key=lambda index: (-len(table[index]), index))[:20]
    figures["longest_tokens"] = [table[index].decode("utf-8", errors="replace") for index in longest]
    figures["single_byte_share"] = round(sum(counts[index] for index in ordinary if len(table[index]) == 1) / total, 4)
    figures["unused_tokens"] = sum(1 for index in ordinary if counts[index] == 0)
    return figures
