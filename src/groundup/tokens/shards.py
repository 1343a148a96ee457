"""Token shards: each split is one memory-mapped array of ids, documents joined by <|end_of_text|>.

    train.bin          E d1 d1 d1 E d2 d2 E         uint16, or uint32 for large vocabularies; E begins and ends it
    train.starts.npy   place of each document's first token
    train.bytes.npy    bytes of each document's text
    held-out.*         the same
    shards.json        counts
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

from groundup.errors import GroundupError
from groundup.progress import bar
from groundup.run import Run, Stage, read_json, write_json
from groundup.tokens.tokenizer import Tokenizer

SPLITS = ("train", "held-out")


@dataclass(frozen=True)
class TokenSplit:
    """One split, mapped from disk."""

    tokens: npt.NDArray[Any]
    """(N,) ids; the first and the last are <|end_of_text|>."""
    starts: npt.NDArray[np.int64]
    """(documents,) place of each document's first token."""
    byte_counts: npt.NDArray[np.int64]
    """(documents,) bytes of each document's text."""
    end_of_text: int

    def document(self, number: int) -> npt.NDArray[Any]:
        """A document's ids, without its end."""
        end = self.starts[number + 1] - 1 if number + 1 < len(self.starts) else len(self.tokens) - 1
        return self.tokens[self.starts[number] : end]


class TokenShards:
    """The finished `tokens` folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.counts: dict[str, Any] = read_json(folder / "shards.json")

    def split(self, name: str) -> TokenSplit:
        """`train` or `held-out`."""
        return TokenSplit(
            np.memmap(self.folder / f"{name}.bin", dtype=self.counts["dtype"], mode="r"),
            np.load(self.folder / f"{name}.starts.npy"), np.load(self.folder / f"{name}.bytes.npy"), self.counts["end_of_text"],
        )  # fmt: skip


def encode(run: Run, cleaned: Stage, tokenizer: Stage) -> Stage:
    """The tokens stage (folder `tokens`). Finished parts of the corpus are not encoded twice."""
    inputs = {"clean": cleaned.digest, "tokenizer": tokenizer.digest}
    stage = run.stage("tokens", "tokens", depends={}, inputs=inputs)
    if stage.done:
        return stage
    reader = Tokenizer.load(tokenizer.final)
    dtype = np.dtype(np.uint16 if reader.size <= 2**16 else np.uint32)
    parts = sorted(cleaned.final.glob("part-*.parquet"))
    with bar("tokens", len(parts)) as progress:
        for part in parts:
            _encode_part(part, stage.work / part.stem, reader, dtype)
            progress.advance()
    counts: dict[str, Any] = {"vocabulary": reader.size, "tokenizer": reader.digest, "dtype": dtype.name, "end_of_text": reader.end_of_text}
    for split in SPLITS:
        counts[split.replace("-", "_")] = _join(stage.work, parts, split, dtype, reader.end_of_text)
    if counts["train"]["tokens"] < 3:
        raise GroundupError("the training text has no tokens", where="tokens", do="Add text.")
    for part in parts:
        shutil.rmtree(stage.work / part.stem)
    write_json(stage.work / "shards.json", counts)
    stage.finish({f"{split}_{what}": counts[split][what] for split in ("train", "held_out") for what in ("tokens", "documents", "bytes")})
    return stage


def _encode_part(part: Path, final: Path, tokenizer: Tokenizer, dtype: np.dtype[Any]) -> None:
    """Encode one Parquet part into a folder that appears whole or not at all."""
    if final.exists():
        return
    work = final.with_name(f".{final.name}.tmp")
    work.mkdir()
    lengths: dict[str, list[int]] = {split: [] for split in SPLITS}
    sizes: dict[str, list[int]] = {split: [] for split in SPLITS}
    files = {split: (work / f"{split}.bin").open("wb") for split in SPLITS}
    for batch in pq.ParquetFile(part).iter_batches(batch_size=64, columns=["text", "split"]):
        rows = list(zip(batch.column(0).to_pylist(), batch.column(1).to_pylist(), strict=True))
        for (text, split), ids in zip(rows, tokenizer.encode_batch([text for text, _ in rows]), strict=True):
            files[split].write(np.array([*ids, tokenizer.end_of_text], dtype=dtype).tobytes())
            lengths[split].append(len(ids) + 1)
            sizes[split].append(len(text.encode()))
    for split, file in files.items():
        file.close()
        np.save(work / f"{split}.lengths.npy", np.array(lengths[split], dtype=np.int64))
        np.save(work / f"{split}.bytes.npy", np.array(sizes[split], dtype=np.int64))
    work.rename(final)


def _join(work: Path, parts: list[Path], split: str, dtype: np.dtype[Any], end_of_text: int) -> dict[str, int]:
    """One array out of all parts' arrays, with a first <|end_of_text|> that the first document begins after."""
    temporary = work / f".{split}.bin.tmp"
    with temporary.open("wb") as joined:
        joined.write(np.array([end_of_text], dtype=dtype).tobytes())
        for part in parts:
            with (work / part.stem / f"{split}.bin").open("rb") as file:
                shutil.copyfileobj(file, joined, 1 << 24)
    temporary.rename(work / f"{split}.bin")
    lengths = np.concatenate([np.load(work / part.stem / f"{split}.lengths.npy") for part in parts])
    sizes = np.concatenate([np.load(work / part.stem / f"{split}.bytes.npy") for part in parts])
    np.save(work / f"{split}.starts.npy", 1 + np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])[:-1])
    np.save(work / f"{split}.bytes.npy", sizes)
    return {"tokens": int(lengths.sum()) + 1, "documents": len(lengths), "bytes": int(sizes.sum())}
