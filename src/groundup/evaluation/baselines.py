"""What any model must beat, measured on the same bytes: nothing known, a general compressor, an n-gram model."""

from __future__ import annotations

import lzma
from collections.abc import Iterable

from groundup.models.ngram import KneserNey

TRAIN_CAP = 64_000_000  # bytes of training text the baselines see at most; stated in the result


def baselines(train: Iterable[str], held_out: Iterable[str]) -> dict[str, float | int]:
    """Bits per byte of the held-out text's UTF-8 bytes under each baseline.

    `ngram5_kneser_ney`: byte-level, order 5, trained on the training text; `xz9`: `xz -9` of the held-out text alone;
    `xz9_primed`: what it adds to the compressed size when it follows the training text (xz -9 looks back 64 MiB).
    """
    seen: list[bytes] = []
    size = 0
    for text in train:
        if size >= TRAIN_CAP:
            break
        seen.append(text.encode()[: TRAIN_CAP - size])
        size += len(seen[-1])
    unseen = [text.encode() for text in held_out]
    total = sum(map(len, unseen))
    model = KneserNey.train(seen, order=5)
    bits = -sum(float(model.log2_probabilities(text).sum()) for text in unseen)
    joined_seen, joined_unseen = b"\n\n".join(seen), b"\n\n".join(unseen)

    def packed(data: bytes) -> int:
        return len(lzma.compress(data, preset=9))

    return {
        "uniform_bits_per_byte": 8.0,
        "ngram5_kneser_ney_bits_per_byte": round(bits / total, 5),
        "xz9_bits_per_byte": round(8 * packed(joined_unseen) / total, 5),
        "xz9_primed_bits_per_byte": round(8 * (packed(joined_seen + b"\n\n" + joined_unseen) - packed(joined_seen)) / total, 5),
        "train_bytes_seen": size,
    }
