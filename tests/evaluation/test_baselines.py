"""Baselines: what `xz` itself says, the bytes they are counted on, and what priming is worth."""

from __future__ import annotations

import itertools
import random
import shutil
import subprocess

import pytest

from groundup.corpus.ngram import KneserNey
from groundup.errors import GroundupError
from groundup.evaluation import baselines as room
from groundup.evaluation.baselines import baselines


def texts(seed: int, count: int) -> list[str]:
    draw = random.Random(seed)
    words = ["".join(random.Random(n).choices("abcdeéfgh", k=5)) for n in range(300)]
    return [" ".join(draw.choices(words, k=200)) for _ in range(count)]


def test_figures_are_per_byte_of_the_held_out_text() -> None:
    train, held_out = texts(1, 30), texts(2, 3)
    size = len("".join(held_out).encode())
    result = baselines(iter(train), iter(held_out))
    assert result["uniform_bits_per_byte"] == 8
    model = KneserNey.train([text.encode() for text in train], order=5)
    bits = -sum(model.log2_probabilities(text.encode()).sum() for text in held_out)
    assert result["ngram5_kneser_ney_bits_per_byte"] == pytest.approx(bits / size)
    assert result["ngram5_kneser_ney_bits_per_byte"] < result["xz9_primed_bits_per_byte"] < result["xz9_bits_per_byte"] < 8
    assert result["train_bytes_seen"] == len("".join(train).encode())


@pytest.mark.skipif(shutil.which("xz") is None, reason="no xz here")
def test_xz_is_the_program_s() -> None:
    held_out = texts(2, 3)
    data = "".join(held_out).encode()
    packed = subprocess.run(["xz", "-9", "--stdout"], input=data, capture_output=True, check=True).stdout
    assert baselines([], held_out)["xz9_bits_per_byte"] == pytest.approx(8 * len(packed) / len(data), rel=0.002)


def test_priming_with_the_same_text_makes_it_nearly_free() -> None:
    held_out = texts(2, 20)
    result = baselines(held_out, held_out)
    assert result["xz9_primed_bits_per_byte"] < 0.05 * result["xz9_bits_per_byte"]


def test_a_large_training_text_is_thinned_evenly() -> None:
    documents = [f"{n:04d}" * 25 for n in range(1000)]
    kept = room._thinned(documents, 30_000)
    assert 15_000 <= sum(map(len, kept)) <= 30_000
    places = [int(text[:4]) for text in kept]
    assert len({after - before for before, after in itertools.pairwise(places)}) == 1
    assert places[-1] > 950
    assert room._thinned(documents, 10**6) == [text.encode() for text in documents]
    assert room._thinned(["x" * 100], 30) == [b"x" * 30]
    assert room._thinned([], 30) == []


def test_no_training_text_leaves_the_n_gram_uniform() -> None:
    assert baselines([], ["abc"])["ngram5_kneser_ney_bits_per_byte"] == pytest.approx(8)


def test_nothing_held_out_is_an_error() -> None:
    with pytest.raises(GroundupError, match="no held-out text"):
        baselines(["a"], ["", ""])
