"""The tokenizer stage: learn or adopt a tokenizer and say how well it writes the text.

    tokenizer/
      tokenizer.json   what transformers, tokenizers and llama.cpp's converter read
      report.json      bytes a token by source and language, beside other tokenizers; longest and unused tokens
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import tiktoken
import tiktoken.load
import tokenizers

from groundup.errors import GroundupError, RequestError
from groundup.progress import say
from groundup.recipe import Tokens
from groundup.run import Run, Stage, write_atomic, write_json
from groundup.tokens import documents, trainers, vocabulary
from groundup.tokens.documents import Text
from groundup.tokens.patterns import PATTERNS
from groundup.tokens.tokenizer import Tokenizer

MEASURED_BYTES = 8_000_000  # of each split, for the report
TRIED_BYTES = 2_000_000  # for the trade-off of sizes
UNIGRAM_BYTES = 20_000_000  # the library takes minutes for 100 MB of text (docs/measurements.md)
BATCH_BYTES = 4_000_000  # of text encoded at once; bounds the working memory
LONGEST_LISTED = 20
MakeShape = Callable[[], vocabulary.Shape]
T = TypeVar("T")


def train_tokenizer(run: Run, cleaned: Stage, make_shape: MakeShape | None = None) -> Stage:
    """The tokenizer stage (folder `tokenizer`), learned from the training split alone.

    `make_shape` tells the model that would be planned, for a vocabulary size to be chosen by; without it the bound that
    the text sets is taken. Raises GroundupError where there is no training text, where a vocabulary that the recipe
    asks for is larger than the text can train, or where a text does not come back from its tokens.
    """
    recipe = run.recipe
    wish = recipe.tokens
    weights = recipe.weights
    depends = {
        "tokens": wish.model_dump(include={"kind", "pattern", "vocabulary", "sample_bytes", "tokenizer", "compare"}),
        "sentinels": wish.sentinels, "weights": weights, "seed": recipe.seed,
    }  # fmt: skip
    inputs = {"clean": cleaned.digest, **_digests([*([wish.tokenizer] if wish.tokenizer else []), *wish.compare])}
    stage = run.stage("tokenizer", "tokenizer", depends=depends, inputs=inputs)
    if stage.done:
        return stage
    train_bytes = documents.size(cleaned.final, "train")
    if train_bytes == 0:
        raise GroundupError("no training text", where=str(cleaned.final), do="Add sources, or loosen the cleaning steps.")

    def sample(most: int) -> Iterator[str]:
        return (document.text for document in documents.sample(cleaned.final, "train", most, recipe.seed, weights))

    text, reason, tried = _learn(wish, train_bytes, sample, make_shape)
    words = Tokenizer(text)
    say(f"tokenizer: {words.size:,} tokens, {reason}")
    write_atomic(stage.work / "tokenizer.json", text)
    train, held_out = (
        _measure(words, documents.sample(cleaned.final, split, MEASURED_BYTES, recipe.seed)) for split in documents.SPLITS
    )
    report = {
        "kind": "adopted" if wish.tokenizer else wish.kind,
        "size": words.size,
        "reason": reason,
        "sizes_tried": [{**vars(one), "cost": round(one.cost, 1)} for one in tried],
        "pattern": words.pattern.name if words.pattern else None,
        "engine": words.engine,
        "lossless": words.lossless,
        "measured_bytes": train.bytes,
        "bytes_per_token": train.bytes_per_token,
        "by_source": train.by("source"),
        "by_language": train.by("language"),
        "single_byte_share": train.single_byte_share,
        "unused_tokens": int((train.counts[_ordinary(words)] == 0).sum()),
        "held_out_measured_bytes": held_out.bytes,
        "held_out_bytes_per_token": held_out.bytes_per_token,
        "longest_tokens": _longest(words),
        "others": _others(wish.compare, documents.sample(cleaned.final, "train", MEASURED_BYTES, recipe.seed)),
    }
    write_json(stage.work / "report.json", report)
    stage.finish({"vocabulary": words.size, "bytes_per_token": report["bytes_per_token"]})
    return stage


def _learn(
    wish: Tokens, train_bytes: int, sample: Callable[[int], Iterator[str]], make_shape: MakeShape | None
) -> tuple[str, str, list[vocabulary.Candidate]]:
    """(tokenizer.json, why this size, sizes looked at)."""
    megabytes = f"{train_bytes / 1e6:,.1f} MB of training text"
    if wish.tokenizer:
        return trainers.adopt(Path(wish.tokenizer).expanduser(), wish.sentinels), f"adopted from {wish.tokenizer}", []
    if wish.kind == "bytes":
        return trainers.bytes_only(wish.sentinels), "one a byte", []
    if wish.kind == "characters":
        return trainers.characters(sample(wish.sample_bytes), wish.sentinels), f"the characters of {megabytes}, and bytes for all others", []
    most = vocabulary.most_tokens(min(train_bytes, wish.sample_bytes))
    reach = wish.vocabulary is not None
    size = wish.vocabulary or most
    reason = "as the recipe says" if reach else f"the most that {megabytes} can teach"
    if wish.kind == "unigram":
        return trainers.train_unigram(sample(min(wish.sample_bytes, UNIGRAM_BYTES)), size, must_reach=reach, sentinels=wish.sentinels), reason, []
    if wish.kind == "wordpiece":
        return trainers.train_wordpiece(sample(wish.sample_bytes), size, must_reach=reach, sentinels=wish.sentinels), reason, []
    text = trainers.train_bpe(sample(wish.sample_bytes), size, must_reach=reach, pattern=wish.pattern, sentinels=wish.sentinels)
    if reach or make_shape is None:
        return text, reason, []
    tried = vocabulary.candidates(text, list(sample(TRIED_BYTES)), make_shape(), train_bytes)
    chosen = vocabulary.choose(tried)
    for line in vocabulary.table(tried, chosen):
        say(f"  {line}")
    last = chosen is tried[-1]
    reason = f"the largest of {tried[0].vocabulary:,} to {tried[-1].vocabulary:,} with which the planned model reads a byte of text at next to the least cost"
    return text if last else trainers.shortened(text, chosen.vocabulary), reason, tried


class _Measure:
    """Figures of one tokenizer on some documents."""

    def __init__(self, size: int) -> None:
        self.bytes = self.tokens = 0
        self.counts = np.zeros(size, dtype=np.int64)
        self.single_byte_share: float | None = None
        self._groups: dict[str, dict[str, list[int]]] = {"source": {}, "language": {}}

    @property
    def bytes_per_token(self) -> float | None:
        return round(self.bytes / self.tokens, 4) if self.tokens else None

    def add(self, document: Text, tokens: int) -> None:
        size = len(document.text.encode())
        self.bytes += size
        self.tokens += tokens
        for name, value in (("source", document.source), ("language", document.language)):
            sums = self._groups[name].setdefault(value or "unknown", [0, 0])
            sums[0] += size
            sums[1] += tokens

    def by(self, name: str) -> dict[str, dict[str, Any]]:
        """Bytes and bytes a token of each source or language."""
        return {
            value: {"measured_bytes": size, "bytes_per_token": round(size / tokens, 4) if tokens else None}
            for value, (size, tokens) in sorted(self._groups[name].items())
        }


def _measure(words: Tokenizer, texts: Iterable[Text]) -> _Measure:
    found = _Measure(words.size)
    for batch in batches(texts, lambda document: document.text):
        for document, ids in zip(batch, words.encode_batch([document.text for document in batch]), strict=True):
            check(words, document.text, ids)
            found.add(document, len(ids))
            found.counts += np.bincount(ids, minlength=words.size)
    single = int(found.counts[words.byte_lengths == 1].sum())
    found.single_byte_share = round(single / found.tokens, 4) if found.tokens else None
    return found


def check(words: Tokenizer, text: str, ids: Any) -> None:
    """Raises GroundupError where a text does not come back from its tokens, of a tokenizer that promises it."""
    if words.lossless and not words.comes_back(text, ids):
        raise GroundupError(
            f"a text does not come back exactly from its tokens: {text[:60]!r}", where="tokenizer", do="Report this with the text.",
        )  # fmt: skip


def batches(items: Iterable[T], text: Callable[[T], str]) -> Iterator[list[T]]:
    """Items in lists of about BATCH_BYTES of text."""
    batch: list[T] = []
    held = 0
    for item in items:
        batch.append(item)
        held += len(text(item))
        if held >= BATCH_BYTES:
            yield batch
            batch, held = [], 0
    if batch:
        yield batch


def _ordinary(words: Tokenizer) -> Any:
    """Which ids stand for text."""
    return words.byte_lengths > 0


def _longest(words: Tokenizer) -> list[str]:
    """The tokens that stand for the most bytes, longest first."""
    order = np.argsort(-words.byte_lengths, kind="stable")[:LONGEST_LISTED]
    return [words.token_bytes[int(token)].decode("utf-8", errors="replace") for token in order]


def _others(paths: list[str], texts: Iterable[Text]) -> dict[str, dict[str, Any]]:
    """Bytes a token of other tokenizers on the same documents, by source and language."""
    counters = {Path(path).name if Path(path).suffix else Path(path).resolve().name: _counter(Path(path).expanduser()) for path in paths}
    if not counters:
        return {}
    found = {name: _Measure(1) for name in counters}
    for batch in batches(texts, lambda document: document.text):
        for name, count in counters.items():
            for document, tokens in zip(batch, count([document.text for document in batch]), strict=True):
                found[name].add(document, tokens)
    return {
        name: {"bytes_per_token": one.bytes_per_token, "by_source": one.by("source"), "by_language": one.by("language")}
        for name, one in found.items()
    }


def _counter(path: Path) -> Callable[[list[str]], list[int]]:
    """What counts another tokenizer's tokens. Raises RequestError where the path holds none."""
    try:
        if path.suffix == ".tiktoken":
            ranks = tiktoken.load.load_tiktoken_bpe(str(path))
            pattern = PATTERNS["gpt2" if len(ranks) < 60_000 else "llama3"]
        elif path.is_dir() and not (path / "tokenizer.json").is_file():
            vocab, merges = _gpt2_files(path)
            ranks, pattern = tiktoken.load.data_gym_to_mergeable_bpe_ranks(str(merges), str(vocab)), PATTERNS["gpt2"]
        else:
            theirs = tokenizers.Tokenizer.from_file(str(path / "tokenizer.json" if path.is_dir() else path))
            return lambda texts: [len(one) for one in theirs.encode_batch_fast(texts, add_special_tokens=False)]
    except Exception as error:  # the libraries raise plain Exceptions
        raise RequestError(
            f"no tokenizer to compare with ({error})", where=f"tokens.compare: {path}",
            do="Name a tokenizer.json, a .tiktoken file, or a folder with GPT-2's encoder.json and vocab.bpe.",
        ) from None
    encoding = tiktoken.Encoding(path.name, pat_str=pattern.fast, mergeable_ranks=ranks, special_tokens={})
    return lambda texts: [len(ids) for ids in encoding.encode_ordinary_batch(texts)]


def _gpt2_files(folder: Path) -> tuple[Path, Path]:
    for vocab, merges in (("encoder.json", "vocab.bpe"), ("vocab.json", "merges.txt")):
        if (folder / vocab).is_file() and (folder / merges).is_file():
            return folder / vocab, folder / merges
    raise FileNotFoundError("neither encoder.json and vocab.bpe nor vocab.json and merges.txt")


def _digests(paths: list[str]) -> dict[str, str]:
    """Of the files that the recipe names, so that a changed one is noticed."""
    found = {}
    for name in paths:
        path = Path(name).expanduser()
        files = sorted(one for one in path.iterdir() if one.is_file()) if path.is_dir() else [path]
        total = hashlib.blake2b(digest_size=16)
        for file in files:
            if not file.is_file():
                raise RequestError("no such file", where=str(file), do="Correct tokens.tokenizer or tokens.compare.")
            with file.open("rb") as opened:
                total.update(hashlib.file_digest(opened, lambda: hashlib.blake2b(digest_size=16)).digest())
        found[f"file:{name}"] = total.hexdigest()
    return found
