"""Learning a tokenizer from text. Each function returns the text of a `tokenizer.json` with all special tokens in it.

    bpe          byte-level BPE (Sennrich et al. 2016; on bytes: GPT-2): every text, exactly
    unigram      Kudo 2018, as T5 and XLNet use it: the likeliest cut under a unigram model; spaces written as U+2581
    wordpiece    BERT (Devlin et al. 2019): longest match within a word; blanks between words are not kept
    characters   one token a character of the text, bytes for all others
    bytes        one token a byte
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import tokenizers
from tokenizers import AddedToken, Regex, decoders, models, normalizers, pre_tokenizers, trainers

from groundup.errors import GroundupError, RequestError
from groundup.tokens.patterns import PATTERNS, Name
from groundup.tokens.tokenizer import (
    ROLES,
    RUN,
    SENTINEL,
    SPECIAL,
    Tokenizer,
    byte_to_character,
    longest_run,
    pieces,
)

SEEN_AT_LEAST = 5  # a merge seen less often is not worth a row of the embedding: nothing can be learned about it
LONGEST_TRAINED_PIECE = 128  # characters; the trainer's merge of one word takes quadratic time
UNKNOWN = "<|unknown|>"  # of WordPiece, for words with a character that no token has
NEVER = -10_000.0  # log-probability of what a text must not be cut into


def train_bpe(texts: Iterable[str], size: int, *, must_reach: bool, pattern: Name = "qwen2", sentinels: int = 0) -> str:
    """A byte-level BPE tokenizer of `size` tokens.

    The merges do not depend on the number of threads. Where the text has fewer merges seen SEEN_AT_LEAST times,
    `must_reach` decides between GroundupError and a smaller vocabulary.
    """
    inner = tokenizers.Tokenizer(models.BPE())
    split, fast = (
        pre_tokenizers.Split(Regex(regex), behavior="isolated") for regex in (PATTERNS[pattern].regex, PATTERNS[pattern].fast)
    )
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    inner.pre_tokenizer = pre_tokenizers.Sequence([fast, byte_level])
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        min_frequency=SEEN_AT_LEAST,
        special_tokens=_added(_special(sentinels)),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    inner.train_from_iterator(_cut(texts), trainer)
    inner.pre_tokenizer = pre_tokenizers.Sequence([split, byte_level])
    inner.decoder = decoders.ByteLevel()
    _reach(inner, size, must_reach)
    return str(inner.to_str(pretty=True))


def shortened(text: str, size: int) -> str:
    """A byte-level BPE tokenizer cut down to its first `size` tokens: what training to that size would have given."""
    file = json.loads(text)
    merges = file["model"]["merges"]
    file["model"]["vocab"] = {name: token for name, token in file["model"]["vocab"].items() if token < size}
    file["model"]["merges"] = [merge for merge in merges if "".join(merge) in file["model"]["vocab"]]
    return json.dumps(file, ensure_ascii=False, indent=2)


def train_unigram(texts: Iterable[str], size: int, *, must_reach: bool, sentinels: int = 0) -> str:
    """A Unigram tokenizer of `size` tokens with bytes for what it has not seen.

    A U+2581 in a text comes back as a space: it is the sign that stands for one. Raises GroundupError for a size that
    does not hold the special tokens, the bytes and ASCII.
    """
    names = [*_special(sentinels), UNKNOWN, *(f"<0x{byte:02X}>" for byte in range(256))]
    ascii_names = ["\u2581", *(chr(code) for code in range(33, 127))]
    least = len(names) + len(ascii_names)
    if size < least:
        raise GroundupError(
            f"a Unigram vocabulary of {size:,} holds not even the special tokens, the bytes and ASCII ({least})", where="tokens.vocabulary",
            do=f"Set it to {least} or more.",
        )  # fmt: skip
    inner = tokenizers.Tokenizer(models.Unigram())
    spaces = pre_tokenizers.Metaspace(prepend_scheme="never")
    inner.pre_tokenizer = spaces
    trainer = trainers.UnigramTrainer(
        vocab_size=size - len(names) + 1, special_tokens=[UNKNOWN], unk_token=UNKNOWN, initial_alphabet=ascii_names, max_piece_length=16,
        show_progress=False,
    )  # fmt: skip
    inner.train_from_iterator(_cut(texts), trainer)
    learned = {name: score for name, score in json.loads(inner.to_str())["model"]["vocab"] if name not in names}
    lowest = min(learned.values(), default=0.0)
    # a special token's name, or a byte's, in a text must never win against its letters, which are all in the table
    table = [*((name, NEVER) for name in names), *((name, learned.pop(name, lowest)) for name in ascii_names), *sorted(learned.items(), key=lambda one: -one[1])]
    inner = tokenizers.Tokenizer(models.Unigram(table[:size], unk_id=names.index(UNKNOWN), byte_fallback=True))
    inner.pre_tokenizer = spaces
    inner.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace(prepend_scheme="never"), decoders.Fuse()])
    inner.add_special_tokens(_added([*_special(sentinels), UNKNOWN]))
    _reach(inner, size, must_reach)
    return str(inner.to_str(pretty=True))


def train_wordpiece(texts: Iterable[str], size: int, *, must_reach: bool, sentinels: int = 0) -> str:
    """A WordPiece tokenizer of `size` tokens, cased, as BERT's: control characters dropped, words cut at blanks and signs."""
    special = [*_special(sentinels), UNKNOWN]
    inner = tokenizers.Tokenizer(models.WordPiece(unk_token=UNKNOWN, max_input_chars_per_word=LONGEST_TRAINED_PIECE))
    inner.normalizer = normalizers.BertNormalizer(lowercase=False, strip_accents=False)
    inner.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    inner.decoder = decoders.WordPiece()
    trainer = trainers.WordPieceTrainer(
        vocab_size=size, min_frequency=SEEN_AT_LEAST, special_tokens=_added(special), show_progress=False, limit_alphabet=6000,
    )  # fmt: skip
    inner.train_from_iterator(_cut(texts), trainer)
    _reach(inner, size, must_reach)
    return str(inner.to_str(pretty=True))


def characters(texts: Iterable[str], sentinels: int = 0) -> str:
    """A tokenizer with one token for each character of the texts, and bytes for all others."""
    seen: set[str] = set()
    for text in texts:
        seen.update(text)
    ascii_and_bytes = [chr(code) if code < 128 else f"<0x{code:02X}>" for code in range(256)]
    inner = _without_merges([*ascii_and_bytes, *sorted(one for one in seen if ord(one) > 127)], sentinels, byte_fallback=True)
    inner.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()])
    return str(inner.to_str(pretty=True))


def bytes_only(sentinels: int = 0) -> str:
    """A tokenizer with one token a byte: id = byte + number of special tokens."""
    names = byte_to_character()
    inner = _without_merges([names[byte] for byte in range(256)], sentinels, byte_fallback=False)
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    inner.decoder = decoders.ByteLevel()
    return str(inner.to_str(pretty=True))


def adopt(path: Path, sentinels: int = 0) -> str:
    """Another's `tokenizer.json` (or the folder that holds it), with the special tokens it lacks added at its end.

    Raises RequestError where there is none that can be used.
    """
    file = path / "tokenizer.json" if path.is_dir() else path
    try:
        inner = tokenizers.Tokenizer.from_file(str(file))
    except Exception as error:  # the library raises plain Exceptions
        raise RequestError(f"no readable tokenizer ({error})", where=str(file), do="Name a tokenizer.json or its folder.") from None
    names = inner.get_vocab(with_added_tokens=True)
    missing = [role for role, others in ROLES.items() if not any(name in names for name in (role, *others))]
    missing += [name for name in map(SENTINEL.format, range(sentinels)) if name not in names]
    inner.add_special_tokens(_added(missing))
    text = str(inner.to_str(pretty=True))
    try:
        Tokenizer(text)
    except ValueError as error:
        raise RequestError(str(error), where=str(file), do="Name a BPE, Unigram or WordPiece tokenizer.") from None
    return text


def _cut(texts: Iterable[str]) -> Iterator[str]:
    """The texts in pieces that all cores can share, with no run of letters, blanks or signs longer than LONGEST_TRAINED_PIECE."""
    for text in texts:
        for piece in pieces(text, anywhere=False):
            start = 0
            if longest_run(piece, LONGEST_TRAINED_PIECE) > LONGEST_TRAINED_PIECE:
                for run in RUN.finditer(piece):
                    while run.end() - (begin := max(start, run.start())) > LONGEST_TRAINED_PIECE:
                        yield piece[start : begin + LONGEST_TRAINED_PIECE]
                        start = begin + LONGEST_TRAINED_PIECE
            yield piece[start:]


def _reach(inner: tokenizers.Tokenizer, size: int, must_reach: bool) -> None:
    reached = inner.get_vocab_size()
    if must_reach and reached < size:
        raise GroundupError(
            f"a vocabulary of {size:,} is larger than this text can train: only {reached:,} tokens are seen at least "
            f"{SEEN_AT_LEAST} times", where="tokens.vocabulary", do=f"Set tokens.vocabulary={reached} or less, or add text.",
        )  # fmt: skip


def _without_merges(names: Sequence[str], sentinels: int, *, byte_fallback: bool) -> tokenizers.Tokenizer:
    special = _special(sentinels)
    vocabulary = {name: number for number, name in enumerate([*special, *names])}
    inner = tokenizers.Tokenizer(models.BPE(vocab=vocabulary, merges=[], byte_fallback=byte_fallback))
    inner.add_special_tokens(_added(special))
    return inner


def _special(sentinels: int) -> list[str]:
    return [*SPECIAL, *map(SENTINEL.format, range(sentinels))]


def _added(names: Sequence[str]) -> list[AddedToken]:
    return [AddedToken(name, special=True, normalized=False) for name in names]
