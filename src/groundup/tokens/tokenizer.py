"""From text to token ids and back, byte for byte: byte-level BPE, characters, or bytes.

    ids 0..6      special tokens; text never yields them, whatever it spells
    then          bpe:        256 bytes, then merges in the order they were learned
                  characters: 128 ASCII characters, the 128 other byte values, then each other character of the text
                  bytes:      256 bytes

Every kind can write every text: what it does not know as a whole it writes in bytes. `tokenizer.json` is in Hugging
Face's format and loads in `tokenizers` and `transformers` as it is.

BPE splits text by Qwen2's pattern before it merges. llama.cpp knows that pattern by the name "qwen2", so a GGUF file
needs no new pre-tokenizer; Llama 3's differs in one place, `\\p{N}{1,3}`: with a small vocabulary, single digits are
better than a thousand rarely seen triples. Qwen2's own tokenizer also normalises to NFC; this one changes nothing,
because a round trip must be exact (llama.cpp does not normalise either).
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers
from tokenizers import AddedToken, Regex, decoders, models, pre_tokenizers, trainers

from groundup.errors import GroundupError
from groundup.progress import say
from groundup.run import Run, Stage, write_atomic, write_json
from groundup.tokens import documents
from groundup.tokens.documents import texts as texts  # the corpus's texts are asked for here

SPECIAL = ("<|end_of_text|>", "<|pad|>", "<|system|>", "<|user|>", "<|assistant|>", "<|end_of_turn|>", "<|mask|>")
END_OF_TEXT = SPECIAL[0]
PATTERN_NAME = "qwen2"  # llama.cpp's name of it
PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
SEEN_AT_LEAST = 5  # a merge seen less often is not worth a row of the embedding: nothing can be learned about it
SMALLEST, LARGEST = 512, 32_768  # derived sizes; LLaMA's 32,000 (Touvron et al. 2023) served 1.4 T tokens
LONGEST_TRAINED_PIECE = 128  # characters; the trainer's merge of one word takes quadratic time
PIECE, LONGEST_PIECE = 65_536, 1_000_000  # characters; see _pieces
MEASURED_BYTES = 8_000_000  # of each split, for the report
BATCH_BYTES = 4_000_000  # of text encoded at once; bounds the library's working memory (about 40 times that)


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
        self.size: int = self._inner.get_vocab_size()
        """Tokens, special ones included."""
        model = json.loads(text)["model"]
        self.special: dict[str, int] = {name: model["vocab"][name] for name in SPECIAL}
        """Name to id of the special tokens."""
        self._merges = bool(model["merges"])
        spell = _bytes_of_fallback_token if model["byte_fallback"] else _bytes_of_byte_level_token
        names = sorted(model["vocab"], key=model["vocab"].__getitem__)
        self.token_bytes = tuple(b"" if name in self.special else spell(name) for name in names)
        """The bytes that each token stands for; none for special tokens."""

    @classmethod
    def load(cls, folder: Path) -> Tokenizer:
        """Open `folder/tokenizer.json`. Raises GroundupError where it is missing, damaged or not one of ours."""
        path = folder / "tokenizer.json"
        try:
            return cls(path.read_text(encoding="utf-8"))
        except Exception as error:  # the library raises plain Exceptions
            raise GroundupError(f"no readable tokenizer ({error})", where=str(path), do="Build the tokenizer stage again.") from error

    @property
    def byte_lengths(self) -> np.ndarray[Any, np.dtype[np.int64]]:
        """UTF-8 bytes each token stands for, (size,); 0 for special tokens."""
        return np.array([len(spelled) for spelled in self.token_bytes], dtype=np.int64)

    def encode(self, text: str) -> list[int]:
        """Token ids of a text; never a special one."""
        return self.encode_batch([text])[0]

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each text, on all cores."""
        cut = [list(_pieces(text, anywhere=not self._merges)) for text in texts]
        encoded = iter(self._inner.encode_batch_fast([piece for pieces in cut for piece in pieces], add_special_tokens=False))
        return [[token for _ in pieces for token in next(encoded).ids] for pieces in cut]

    def decode_bytes(self, ids: Iterable[int]) -> bytes:
        """The bytes that tokens stand for; special tokens stand for none."""
        return b"".join([self.token_bytes[token] for token in ids])

    def decode(self, ids: Iterable[int]) -> str:
        """The text that tokens stand for; bytes that are no UTF-8 become U+FFFD."""
        return self.decode_bytes(ids).decode("utf-8", errors="replace")


# A space between letters: the pattern starts a piece there whatever comes before or after, so encoding the two sides
# apart gives the same tokens.
_BORDER = re.compile(r"(?<=[^\W\d_])(?= [^\W\d_])")


def _pieces(text: str, *, anywhere: bool) -> Iterator[str]:
    """Cut a long text so that all cores and little memory are used, without changing its tokens.

    Where merges cross characters it is cut at spaces between letters only. A stretch of a million characters without
    one is cut all the same: the pattern's regex engine gives up on runs of ten million spaces.
    """
    start = 0
    while len(text) - start > PIECE:
        if anywhere:
            end = start + PIECE
        else:
            border = _BORDER.search(text, start + PIECE, start + LONGEST_PIECE)
            end = border.start() if border else start + LONGEST_PIECE
        yield text[start:end]
        start = end
    yield text[start:]


def train_tokenizer(run: Run, cleaned: Stage) -> Stage:
    """The tokenizer stage (folder `tokenizer`): tokenizer.json and report.json.

    Learned from the training split alone. Raises GroundupError where there is no training text, or where a vocabulary
    that the recipe asks for is larger than the text can train.
    """
    recipe = run.recipe
    depends = {"tokens": recipe.tokens.model_dump(), "seed": recipe.seed}
    stage = run.stage("tokenizer", "tokenizer", depends=depends, inputs={"clean": cleaned.digest})
    if stage.done:
        return stage
    kind, asked = recipe.tokens.kind, recipe.tokens.vocabulary
    train_bytes = documents.size(cleaned.final, "train")
    if train_bytes == 0:
        raise GroundupError("no training text", where=str(cleaned.final), do="Add sources, or loosen the cleaning steps.")
    train = documents.sample(cleaned.final, "train", recipe.tokens.sample_bytes, recipe.seed)
    if kind == "bpe":
        seen_bytes = min(train_bytes, recipe.tokens.sample_bytes)
        text = train_bpe(train, asked or default_vocabulary(seen_bytes), must_reach=asked is not None)
    else:
        text = characters(train) if kind == "characters" else bytes_only()
    words = Tokenizer(text)
    reason = _reason(kind, asked, words.size, train_bytes)
    say(f"tokenizer: {words.size:,} tokens, {reason}")
    write_atomic(stage.work / "tokenizer.json", text)
    train_figures, held_out_figures = (
        _Measure(words, documents.sample(cleaned.final, split, MEASURED_BYTES, recipe.seed)) for split in documents.SPLITS
    )
    report = {
        "kind": kind,
        "size": words.size,
        "reason": reason,
        "pattern": PATTERN_NAME if kind == "bpe" else None,
        "measured_bytes": train_figures.bytes,
        "bytes_per_token": train_figures.bytes_per_token,
        "single_byte_share": train_figures.single_byte_share,
        "unused_tokens": int((train_figures.counts[len(SPECIAL) :] == 0).sum()),
        "held_out_measured_bytes": held_out_figures.bytes,
        "held_out_bytes_per_token": held_out_figures.bytes_per_token,
        "longest_tokens": _longest(words),
    }
    write_json(stage.work / "report.json", report)
    stage.finish({"vocabulary": words.size, "bytes_per_token": report["bytes_per_token"]})
    return stage


def default_vocabulary(train_bytes: int) -> int:
    """The power of two nearest to twice the square root of the text's bytes, within 512 to 32,768.

    The number of different words grows about as the square root of a text (Heaps' law, exponent 0.4 to 0.6: Manning et
    al. 2008, section 5.1.1), so with this rule a merge is seen about equally often at every size. Measured on books:
    the last hundred merges are used 36 times (median) in 1.1 MB with 2,048 tokens, 42 in 4 MB with 4,096, 69 in 19 MB
    with 8,192; merges seen SEEN_AT_LEAST times would allow 6,900 and 14,400 in the first two.
    """
    return min(LARGEST, max(SMALLEST, 1 << round(math.log2(2 * math.sqrt(max(1, train_bytes))))))


def train_bpe(texts: Iterable[str], size: int, *, must_reach: bool) -> str:
    """A byte-level BPE tokenizer of `size` tokens as the text of a tokenizer.json.

    The merges do not depend on the number of threads. Where the text has fewer merges seen SEEN_AT_LEAST times,
    `must_reach` decides between GroundupError and a smaller vocabulary.
    """
    inner = tokenizers.Tokenizer(models.BPE())
    split = pre_tokenizers.Split(Regex(PATTERN), behavior="isolated")
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    short = pre_tokenizers.FixedLength(LONGEST_TRAINED_PIECE)
    inner.pre_tokenizer = pre_tokenizers.Sequence([split, short, byte_level])
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        min_frequency=SEEN_AT_LEAST,
        special_tokens=_special_tokens(),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    inner.train_from_iterator((piece for text in texts for piece in _pieces(text, anywhere=False)), trainer)
    inner.pre_tokenizer = pre_tokenizers.Sequence([split, byte_level])
    inner.decoder = decoders.ByteLevel()
    reached = inner.get_vocab_size()
    if must_reach and reached < size:
        raise GroundupError(
            f"a vocabulary of {size:,} is larger than this text can train: only {reached:,} tokens are seen at least "
            f"{SEEN_AT_LEAST} times", where="tokens.vocabulary", do=f"Set tokens.vocabulary={reached} or less, or add text.",
        )  # fmt: skip
    return str(inner.to_str(pretty=True))


def characters(texts: Iterable[str]) -> str:
    """A tokenizer with one token for each character of the texts, and bytes for all others."""
    seen: set[str] = set()
    for text in texts:
        seen.update(text)
    ascii_and_bytes = [chr(code) if code < 128 else f"<0x{code:02X}>" for code in range(256)]
    inner = _without_merges([*ascii_and_bytes, *sorted(one for one in seen if ord(one) > 127)], byte_fallback=True)
    inner.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()])
    return str(inner.to_str(pretty=True))


def bytes_only() -> str:
    """A tokenizer with one token a byte: id = byte + number of special tokens."""
    inner = _without_merges([_BYTE_TO_CHARACTER[byte] for byte in range(256)], byte_fallback=False)
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    inner.decoder = decoders.ByteLevel()
    return str(inner.to_str(pretty=True))


def _without_merges(names: Sequence[str], *, byte_fallback: bool) -> tokenizers.Tokenizer:
    vocabulary = {name: number for number, name in enumerate([*SPECIAL, *names])}
    inner = tokenizers.Tokenizer(models.BPE(vocab=vocabulary, merges=[], byte_fallback=byte_fallback))
    inner.add_special_tokens(_special_tokens())
    return inner


def _special_tokens() -> list[AddedToken]:
    return [AddedToken(name, special=True, normalized=False) for name in SPECIAL]


def _byte_to_character() -> dict[int, str]:
    """GPT-2's alphabet (Radford et al. 2019, encoder.py): printable Latin-1 stands for itself, the rest from U+0100 on."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in printable]
    return {byte: chr(byte) for byte in printable} | {byte: chr(256 + place) for place, byte in enumerate(others)}


_BYTE_TO_CHARACTER = _byte_to_character()
_CHARACTER_TO_BYTE = {character: byte for byte, character in _BYTE_TO_CHARACTER.items()}


def _bytes_of_byte_level_token(name: str) -> bytes:
    return bytes(_CHARACTER_TO_BYTE[character] for character in name)


def _bytes_of_fallback_token(name: str) -> bytes:
    return bytes([int(name[3:5], 16)]) if len(name) == 6 else name.encode()


def _reason(kind: str, asked: int | None, size: int, train_bytes: int) -> str:
    megabytes = f"{train_bytes / 1e6:,.1f} MB of training text"
    if kind == "bytes":
        return "one a byte"
    if kind == "characters":
        return f"the characters of {megabytes}, and bytes for all others"
    if asked is not None:
        return "as the recipe says"
    if size < SMALLEST:
        return f"all that are seen at least {SEEN_AT_LEAST} times in {megabytes}"
    return f"the power of two nearest to twice the square root of {megabytes}, within {SMALLEST:,} to {LARGEST:,}"


class _Measure:
    """Figures of one tokenizer on some texts; checks on the way that each comes back exactly."""

    def __init__(self, words: Tokenizer, texts: Iterable[str]) -> None:
        self.bytes = 0
        self.counts = np.zeros(words.size, dtype=np.int64)
        for batch in batches(texts):
            for text, ids in zip(batch, words.encode_batch(batch), strict=True):
                data = text.encode()
                if words.decode_bytes(ids) != data:
                    raise GroundupError(
                        f"a text does not come back exactly from its tokens: {text[:60]!r}", where="tokenizer",
                        do="Report this with the text.",
                    )  # fmt: skip
                self.bytes += len(data)
                self.counts += np.bincount(np.array(ids, dtype=np.int64), minlength=words.size)
        tokens = int(self.counts.sum())
        self.bytes_per_token = round(self.bytes / tokens, 4) if tokens else None
        single = int(self.counts[words.byte_lengths == 1].sum())
        self.single_byte_share = round(single / tokens, 4) if tokens else None


def batches(texts: Iterable[str]) -> Iterator[list[str]]:
    """Texts in lists of about BATCH_BYTES."""
    batch: list[str] = []
    held = 0
    for text in texts:
        batch.append(text)
        held += len(text)
        if held >= BATCH_BYTES:
            yield batch
            batch, held = [], 0
    if batch:
        yield batch


def _longest(words: Tokenizer, count: int = 20) -> list[str]:
    """The tokens that stand for the most bytes, longest first."""
    order = np.argsort(-words.byte_lengths, kind="stable")[:count]
    return [words.decode([int(token)]) for token in order]
