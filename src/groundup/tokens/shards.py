"""The corpus as tokens on disk: one flat array a split, each document followed by <|end_of_text|>.

    tokens/
      train.bin             token ids, uint16 (uint32 from 65,537 tokens on), little-endian
      train.documents.npy   int64 (documents, 2): first token of each document, UTF-8 bytes of its text
      train.ids.txt         the documents' ids in the corpus, one a line
      held-out.*            the same for the split no model is trained on
      byte_lengths.npy      int64 (vocabulary,): UTF-8 bytes that each token stands for
      shards.json           counts and digests; where each source begins and ends

The documents of a source stand together, so a source is a stretch of the array. `encoding.py` writes all this.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from groundup.run import read_json
from groundup.tokens.documents import Split

NDArray = np.ndarray[Any, Any]


@dataclass(frozen=True)
class SourceRange:
    """The stretch of a split that one source's documents take."""

    first_token: int
    tokens: int
    first_document: int
    documents: int
    bytes: int
    """UTF-8, of the texts."""


@dataclass(frozen=True)
class TokenSplit:
    """One split of the tokens, mapped from disk."""

    tokens: NDArray
    """Token ids of all documents, each followed by `end_of_text`."""
    starts: NDArray
    """First token of each document, int64 (documents,)."""
    byte_counts: NDArray
    """UTF-8 bytes of each document's text, int64 (documents,)."""
    byte_lengths: NDArray
    """UTF-8 bytes each token of the vocabulary stands for, int64 (vocabulary,)."""
    end_of_text: int
    """Id of <|end_of_text|>."""
    digest: str
    """Of the token file."""
    sources: dict[str, SourceRange] = field(default_factory=dict)
    """By name, in the order of the array; empty stands for one source."""
    special: dict[str, int] = field(default_factory=dict)
    """Ids of the special tokens by name."""

    @property
    def bytes_per_token(self) -> float:
        """UTF-8 bytes of text a token stands for, on average."""
        return float(self.byte_counts.sum()) / max(1, len(self.tokens))

    @property
    def pad(self) -> int:
        """Id of <|pad|>."""
        return self.special.get("<|pad|>", self.end_of_text)

    @property
    def ends(self) -> NDArray:
        """One past the last token of each document, its <|end_of_text|> left out."""
        return np.append(self.starts[1:], len(self.tokens))[: len(self.starts)] - 1

    def document(self, number: int) -> NDArray:
        """Tokens of one document, without its <|end_of_text|>."""
        end = self.starts[number + 1] if number + 1 < len(self.starts) else len(self.tokens)
        return self.tokens[self.starts[number] : end - 1]

    def source(self, name: str) -> TokenSplit:
        """One source's documents alone. Raises KeyError where there is none of that name."""
        one = self.sources[name]
        rows = slice(one.first_document, one.first_document + one.documents)
        return TokenSplit(
            self.tokens[one.first_token : one.first_token + one.tokens], self.starts[rows] - one.first_token, self.byte_counts[rows],
            self.byte_lengths, self.end_of_text, f"{self.digest}/{name}", {}, self.special,
        )  # fmt: skip


class TokenShards:
    """A finished tokens folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.counts: dict[str, Any] = read_json(folder / "shards.json")
        """What shards.json holds."""
        self.vocabulary: int = self.counts["vocabulary"]

    def split(self, name: Split) -> TokenSplit:
        """Open one split."""
        path = self.folder / f"{name}.bin"
        kind = np.dtype(self.counts["dtype"])
        tokens: NDArray = np.memmap(path, dtype=kind, mode="r") if path.stat().st_size else np.zeros(0, kind)
        index = np.load(self.folder / f"{name}.documents.npy")
        counts = self.counts[name.replace("-", "_")]
        return TokenSplit(
            tokens, index[:, 0], index[:, 1], np.load(self.folder / "byte_lengths.npy"), self.counts["end_of_text"], counts["digest"],
            {source: SourceRange(**one) for source, one in counts["sources"].items()}, self.counts["special"],
        )  # fmt: skip


def id_type(vocabulary: int) -> np.dtype[Any]:
    """How an id is kept on disk."""
    return np.dtype("<u2" if vocabulary <= 65_536 else "<u4")
