"""What a model must beat: bits per byte of the same held-out bytes by means that need no training run.

    uniform   8 bits a byte: knows nothing
    ngram5    byte-level order-5 Kneser-Ney, trained on the training text
    xz9       `xz -9` of the held-out text alone
    zstd19    `zstd -19` likewise
    primed    what the held-out text adds to an `xz -9` of the training text: all that copying can do
"""

from __future__ import annotations

import lzma
from collections.abc import Iterable
from typing import Any

import pyarrow as pa

from groundup.corpus.ngram import KneserNey
from groundup.errors import GroundupError

MOST_TRAIN_BYTES = 64_000_000  # xz -9 looks back 64 MiB (xz(1)), and more would take minutes
ORDER = 5


def baselines(
    train_texts: Iterable[str] | None, held_out_texts: Iterable[str], most_train_bytes: int = MOST_TRAIN_BYTES
) -> dict[str, Any]:
    """The baselines in bits per byte, and on how many bytes they were trained; without a training text those that need none.

    Of a training text larger than `most_train_bytes`, documents are kept evenly, every second, fourth, eighth ..., so
    that all its parts are there; `train_bytes_seen` says how much that was.
    """
    held_out = [text.encode() for text in held_out_texts]
    size = sum(map(len, held_out))
    if size == 0:
        raise GroundupError("no held-out text to measure on", where="evaluation", do="Hold out more, or add text.")
    whole = b"".join(held_out)
    alone = {
        "uniform_bits_per_byte": 8.0, "xz9_bits_per_byte": 8 * _xz_bytes([whole]) / size,
        "zstd19_bits_per_byte": 8 * len(pa.Codec("zstd", compression_level=19).compress(whole, asbytes=True)) / size,
    }  # fmt: skip
    if train_texts is None:
        return alone
    train = _thinned(train_texts, most_train_bytes)
    model = KneserNey.train(train, order=ORDER)
    ngram_bits = -float(model.log2_probabilities_of(held_out).sum())
    added = _xz_bytes([*train, whole]) - _xz_bytes(train)
    return {
        **alone, "ngram5_kneser_ney_bits_per_byte": ngram_bits / size, "xz9_primed_bits_per_byte": 8 * added / size,
        "train_bytes_seen": sum(map(len, train)),
    }  # fmt: skip


def _thinned(texts: Iterable[str], most_bytes: int) -> list[bytes]:
    """All documents if they fit, else every second, fourth, eighth ...; a single one is cut."""
    kept: list[bytes] = []
    held, every = 0, 1
    for number, text in enumerate(texts):
        if number % every == 0:
            kept.append(text.encode())
            held += len(kept[-1])
            while held > most_bytes and len(kept) > 1:
                kept, every = kept[::2], 2 * every
                held = sum(map(len, kept))
    return [kept[0][:most_bytes]] if len(kept) == 1 else kept


def _xz_bytes(texts: Iterable[bytes]) -> int:
    """Size of `xz -9` of the texts one after the other."""
    compressor = lzma.LZMACompressor(preset=9)
    return sum(len(compressor.compress(text)) for text in texts) + len(compressor.flush())
