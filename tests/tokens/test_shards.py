"""Shards: what is on disk is the corpus, and a kill at any moment changes no byte of it."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from groundup.errors import GroundupError
from groundup.run import Run
from groundup.tokens import encoding
from groundup.tokens.encoding import encode
from groundup.tokens.learning import train_tokenizer
from groundup.tokens.shards import TokenShards
from groundup.tokens.tokenizer import Tokenizer


def rows(count: int = 60) -> list[tuple[str, str, str]]:
    draw = random.Random(5)
    return [
        (f"id{n}", "held-out" if n % 9 == 2 else "train", " ".join(draw.choices(["wörd", "the", "cat", "國", "."], k=draw.randrange(0, 90))))
        for n in range(count)
    ]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "manifest.json"}


def test_every_document_is_there_in_order(build_clean) -> None:
    run, cleaned = build_clean(rows())
    tokenizer = train_tokenizer(run, cleaned)
    stage = encode(run, cleaned, tokenizer)
    words, opened = Tokenizer.load(tokenizer.final), TokenShards(stage.final)
    for name in ("train", "held-out"):
        expected = [text for _, split, text in rows() if split == name]
        split, counts = opened.split(name), opened.counts[name.replace("-", "_")]
        assert [words.decode(split.document(number)) for number in range(len(split.starts))] == expected
        assert split.byte_counts.tolist() == [len(text.encode()) for text in expected]
        assert int(split.byte_lengths[split.tokens].sum()) == split.byte_counts.sum() == counts["bytes"]
        assert (counts["tokens"], counts["documents"]) == (len(split.tokens), len(expected))
        assert int((split.tokens == split.end_of_text).sum()) == len(expected)
        assert split.tokens[-1] == split.end_of_text
        assert (stage.final / f"{name}.ids.txt").read_text().split() == [one for one, where, _ in rows() if where == name]
    assert opened.vocabulary == words.size
    assert opened.counts["tokenizer"] == words.digest
    assert not list(stage.final.glob("*.raw")) + list(stage.final.glob("progress*"))
    assert encode(run, cleaned, tokenizer).digest == stage.digest


def test_large_vocabularies_take_32_bits(build_clean, monkeypatch) -> None:
    run, cleaned = build_clean(rows())
    tokenizer = train_tokenizer(run, cleaned)
    narrow = TokenShards(encode(run, cleaned, tokenizer).final).split("train")
    monkeypatch.setattr(encoding, "id_type", lambda vocabulary: np.dtype("<u4"))
    (run.path / "tokens" / "manifest.json").unlink()
    wide = TokenShards(encode(run, cleaned, tokenizer).final).split("train")
    assert (narrow.tokens.dtype.itemsize, wide.tokens.dtype.itemsize) == (2, 4)
    np.testing.assert_array_equal(narrow.tokens, wide.tokens)


def test_no_held_out_text_is_an_empty_split(build_clean) -> None:
    run, cleaned = build_clean([("a", "train", "to be or not")], kind="bytes")
    split = TokenShards(encode(run, cleaned, train_tokenizer(run, cleaned)).final).split("held-out")
    assert len(split.tokens) == len(split.starts) == 0


def test_too_little_text_is_an_error(build_clean) -> None:
    run, cleaned = build_clean([("a", "train", "x")], kind="bytes")
    with pytest.raises(GroundupError, match="fewer than two"):
        encode(run, cleaned, train_tokenizer(run, cleaned))


@pytest.mark.parametrize("moment", range(0, 30, 3))
def test_stopped_anywhere_and_started_again_gives_the_same_bytes(build_clean, monkeypatch, moment) -> None:
    """Each commit, each batch and the steps after them can be the last thing that happens."""
    monkeypatch.setattr(encoding, "COMMIT_BYTES", 1500)
    monkeypatch.setattr(encoding, "BATCH_BYTES", 500)
    run, cleaned = build_clean(rows())
    tokenizer = train_tokenizer(run, cleaned)
    whole = contents(encode(run, cleaned, tokenizer).final)
    shutil.rmtree(run.path / "tokens")

    class Killed(BaseException):
        pass

    calls = {"count": 0}
    encoded: list[str] = []

    def counted(function):
        def wrapper(*args, **keys):
            calls["count"] += 1
            if calls["count"] == moment + 1:
                raise Killed
            return function(*args, **keys)

        return wrapper

    real = Tokenizer.encode_batch
    monkeypatch.setattr(Tokenizer, "encode_batch", lambda self, texts: (encoded.extend(texts), real(self, texts))[1])
    for owner, name in ((encoding._Writer, "write"), (encoding, "write_json"), (encoding._Writer, "commit"), (encoding, "_close")):
        monkeypatch.setattr(owner, name, counted(getattr(owner, name)))
    with pytest.raises(Killed):
        encode(run, cleaned, tokenizer)
        raise Killed  # fewer moments than asked for: nothing was cut off
    stage = encode(run, cleaned, tokenizer)
    assert contents(stage.final) == whole
    assert len(encoded) < 60 + 40  # what was committed is not encoded again


def test_kill_9(build_clean) -> None:
    run, cleaned = build_clean(rows() * 5, kind="characters")
    tokenizer = train_tokenizer(run, cleaned)
    whole = contents(encode(run, cleaned, tokenizer).final)
    run.close()
    shutil.rmtree(run.path / "tokens")
    program = (
        "import sys, os, signal; from pathlib import Path\n"
        "from groundup.run import Run; from groundup.tokens import encoding; from groundup.tokens.learning import train_tokenizer\n"
        "encoding.COMMIT_BYTES, encoding.BATCH_BYTES = 2500, 800\n"
        "run = Run.read(Path(sys.argv[1])); cleaned = run.stage('clean', 'corpus/clean', depends={}, inputs={})\n"
        "write, left = encoding._Writer.write, [int(sys.argv[2])]\n"
        "def dying(self, *args):\n"
        "    write(self, *args); left[0] -= 1\n"
        "    if not left[0]:\n"
        "        [file.flush() for file in self._files.values()]; os.kill(os.getpid(), signal.SIGKILL)\n"
        "encoding._Writer.write = dying\n"
        "encoding.encode(run, cleaned, train_tokenizer(run, cleaned))\n"
    )
    for writes in (9, 15):  # killed twice, the second time further on
        done = subprocess.run([sys.executable, "-c", program, str(run.path), str(writes)], capture_output=True, env=os.environ)
        assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    assert (run.path / ".tokens.partial" / "progress.json").is_file()
    reopened = Run.open(run.path, run.recipe)
    cleaned = reopened.stage("clean", "corpus/clean", depends={}, inputs={})
    assert contents(encode(reopened, cleaned, train_tokenizer(reopened, cleaned)).final) == whole
