"""The perplexity step: text like the reference passes, other text does not, and the threshold is what it is said to be."""

from __future__ import annotations

import pickle
import random
from pathlib import Path

import numpy as np
import pytest

from groundup.corpus.ngram import KneserNey
from groundup.corpus.reference import texts
from groundup.corpus.steps import Seen
from groundup.corpus.steps.perplexity import PIECE, Perplexity, bits_per_byte, learn
from groundup.errors import GroundupError, RequestError
from groundup.recipe.cleaning.quality import Perplexity as Settings


def prose(count: int, seed: int) -> list[str]:
    rng = random.Random(seed)
    words = [("".join(rng.choice("bcdfglmnprst") + rng.choice("aeiou") for _ in range(rng.randint(1, 3)))) for _ in range(300)]
    rng = random.Random(seed + 1)
    return [" ".join(rng.choice(words) for _ in range(400)) for _ in range(count)]


def noise(count: int) -> list[str]:
    rng = random.Random(9)
    return ["".join(rng.choice("0123456789#{};=XQZ") for _ in range(2000)) for _ in range(count)]


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict]:
    path = tmp_path_factory.mktemp("p") / "model.safetensors"
    return path, learn(prose(200, 0), Settings(), path)


def test_like_passes_and_unlike_does_not(learned: tuple[Path, dict]) -> None:
    step = pickle.loads(pickle.dumps(Perplexity(learned[0])))
    verdicts = [step._judge(Seen(text)) for text in [*prose(20, 0), *noise(20)]]
    assert [verdict.reason for verdict in verdicts[20:]] == ["unlike the reference text"] * 20
    assert sum(verdict.reason is None for verdict in verdicts[:20]) >= 18
    assert max(verdict.score for verdict in verdicts[:20]) < min(verdict.score for verdict in verdicts[20:])
    assert step._judge(Seen("")).score == 8.0
    assert Perplexity(learned[0], 12.0)._judge(Seen(noise(1)[0])).reason is None


def test_the_threshold_is_the_share_of_unseen_reference_text(tmp_path: Path) -> None:
    rows = prose(300, 3)
    unseen = [text[start : start + PIECE] for number, text in enumerate(rows) if number % 10 == 9 for start in range(0, len(text), PIECE)]
    for keep in (0.5, 0.9, 1.0):
        figures = learn(rows, Settings(keep=keep), tmp_path / f"{keep}")
        verdicts = [Perplexity(tmp_path / f"{keep}")._judge(Seen(text)) for text in unseen]
        assert figures["held_out"] == len(unseen)
        assert np.mean([verdict.reason is None for verdict in verdicts]) == pytest.approx(keep, abs=1 / len(unseen))
    assert learn(rows, Settings(max_bits_per_byte=1.5), tmp_path / "m")["threshold"] == 1.5


def test_one_book_is_enough(tmp_path: Path) -> None:
    figures = learn([" ".join(prose(200, 0))], Settings(), tmp_path / "m")
    assert figures["held_out"] >= 10
    with pytest.raises(GroundupError, match="too few"):
        learn(["short"], Settings(), tmp_path / "m")


def test_no_more_is_learned_from_than_asked(tmp_path: Path) -> None:
    read: list[str] = []
    figures = learn((read.append(text) or text for text in prose(2000, 0)), Settings(reference_bytes=200_000), tmp_path / "m")
    assert figures["bytes"] <= 200_000 and len(read) < 300


def test_the_file_holds_the_model(learned: tuple[Path, dict], tmp_path: Path) -> None:
    model = KneserNey.train([text.encode() for text in prose(20, 5)], 4)
    again = KneserNey.of({name: table.copy() for name, table in model.tensors().items()}, 256)
    assert np.array_equal(again.log2_probabilities(b"abracadabra"), model.log2_probabilities(b"abracadabra"))
    (tmp_path / "x").write_bytes(b"no model")
    with pytest.raises(GroundupError, match="learned again"):
        Perplexity(tmp_path / "x")._judge(Seen("a"))


def test_a_long_document_is_judged_by_all_its_parts() -> None:
    model = KneserNey.train([text.encode() for text in prose(100, 0)], 5)
    good, bad = " ".join(prose(10, 0)), noise(1)[0] * 10
    mixed = bits_per_byte(model, good[:10_000] + bad[:10_000], 2_000)
    assert bits_per_byte(model, good, 2_000) + 0.5 < mixed < bits_per_byte(model, bad, 2_000) - 0.5


def test_reference_texts_are_read_from_any_file(tmp_path: Path) -> None:
    (tmp_path / "b.txt").write_text("Plain  text.\r\n")
    (tmp_path / "a.jsonl").write_text('{"text": "one"}\n{"text": "two"}\n')
    (tmp_path / "c.html").write_text("<html><body><nav>Menu</nav><main><p>A page about rivers and what they do to land over time.</p></main></body></html>")
    found = list(texts(tmp_path))
    assert found[:3] == ["one", "two", "Plain  text."]
    assert "rivers" in found[3]
    assert list(texts(tmp_path / "b.txt")) == ["Plain  text."]
    with pytest.raises(RequestError, match="there is no"):
        list(texts(tmp_path / "absent"))
