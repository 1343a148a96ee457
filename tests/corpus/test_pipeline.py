"""The clean stage as a whole: its contract, its funnel, and the same bytes however often it is cut off."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pyarrow import parquet

from groundup import recipe as recipes
from groundup.corpus import pipeline
from groundup.corpus.collect import collect
from groundup.corpus.document import Document
from groundup.corpus.pipeline import clean
from groundup.corpus.sources import warc
from groundup.corpus.sources.files import Report
from groundup.corpus.sources.reading import FileUnit
from groundup.errors import GroundupError
from groundup.run import Run, Stage, digest, digest_folder

WHOLE = {"unit": "document"}
ALL: dict[str, Any] = {"urls": True, "paragraphs": True, "lines": True, "near": {"on": True}, "passages": {"on": True}}


def build(folder: Path, source: Path, **settings: Any) -> Stage:
    recipe = recipes.parse({"name": "x", "sources": [{"kind": "files", "path": str(source)}], "clean": settings})
    run = Run.open(folder, recipe)
    try:
        return clean(run, collect(run))
    finally:
        run.close()


def rows(stage: Stage) -> list[dict[str, Any]]:
    return [row for path in sorted(stage.final.glob("part-*.parquet")) for row in parquet.read_table(path).to_pylist()]


def funnel(stage: Stage) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((stage.final / "funnel.json").read_text())
    return loaded


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Some sixty documents in several kinds of file, with copies, short and bad ones among them."""
    rng = random.Random(0)
    folder = tmp_path / "source"
    (folder / "deep" / "er").mkdir(parents=True)
    words = ["".join(rng.choices("abcdefghij", k=rng.randint(2, 9))) for _ in range(500)]

    def text(paragraphs: int) -> str:
        return "\n\n".join(" ".join(rng.choices(words, k=30)) + "." for _ in range(paragraphs))

    shared = text(1)
    for number in range(30):
        (folder / f"{number:02}.txt").write_text(f"{text(4)}\n\n{shared}\n")
    (folder / "copy.txt").write_text((folder / "00.txt").read_text() + "  \n")
    (folder / "short.txt").write_text("too short")
    (folder / "empty.txt").write_bytes(b"")
    (folder / "broken.txt").symlink_to("nowhere")
    (folder / "long.md").write_text(text(300))
    (folder / "deep" / "er" / "x.jsonl").write_text("\n".join(json.dumps({"text": text(3), "url": f"u{n}"}) for n in range(30)))
    (folder / "deep" / "long.html").write_text(text(200))
    (folder / "deep" / "p.html").write_text(f'<html lang="en"><body><h1>Titel</h1><p>Dieser Satz ist auf Deutsch geschrieben, was die Seite von sich nicht sagt. {"Und noch einer, der länger ist. " * 5}</p></body></html>')
    return folder


def test_rows_and_funnel(tmp_path: Path, source: Path) -> None:
    stage = build(tmp_path / "run", source, max_document_characters=20_000, duplicates={"paragraphs": True}, held_out=WHOLE)
    found = rows(stage)
    assert set(found[0]) == {"id", "text", "source", "url", "language", "split"}
    assert len({row["id"] for row in found}) == len(found)
    assert {row["split"] for row in found} == {"train", "held-out"}
    assert max(len(row["text"]) for row in found) <= 20_000
    assert [row["language"] for row in found if row["url"] == "deep/p.html"] == ["de"]
    assert "copy.txt" not in {row["url"] for row in found} and "00.txt" in {row["url"] for row in found}
    told = funnel(stage)
    assert {(entry["name"], entry["reason"]) for entry in told["skipped"]} == {("broken.txt", "a broken link"), ("empty.txt", "empty")}
    steps = {step["step"]: step for step in told["steps"]}
    assert steps["length"]["reasons"] == {"too short": 1}
    assert steps["length"]["samples"][0]["text"] == "too short"
    assert steps["duplicate documents"]["reasons"] == {"copy of another document": 1}
    assert {note["name"] for note in told["notes"] if note["note"].startswith("cut into")} == {"long.md", "deep/long.html"}
    assert steps["cut"]["documents_out"] > steps["cut"]["documents_in"]
    for before, after in zip(told["steps"], told["steps"][1:], strict=False):
        assert before["bytes_out"] == after["bytes_in"]
        assert before["documents_out"] == after["documents_in"]
        if after["step"] != "cut":
            assert after["documents_in"] - after["documents_out"] == sum(after["reasons"].values())
    for name in ("train", "held_out"):
        part = [row for row in found if row["split"].replace("-", "_") == name]
        assert told["splits"][name]["documents"] == len(part)
        assert told["splits"][name]["bytes"] == sum(len(row["text"].encode()) for row in part)
    assert sum(split["bytes"] for split in told["splits"].values()) == told["steps"][-1]["bytes_out"]


def test_a_shared_paragraph_stays_once(tmp_path: Path, source: Path) -> None:
    paragraph = (source / "00.txt").read_text().strip().split("\n\n")[-1]
    stage = build(tmp_path / "run", source, duplicates={"paragraphs": True}, held_out=WHOLE)
    assert sum(paragraph in row["text"] for row in rows(stage)) == 1


def test_shards_change_nothing_but_the_parts(tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = build(tmp_path / "one", source, duplicates={"paragraphs": True, "lines": True})
    monkeypatch.setattr(pipeline, "SHARD_CHARACTERS", 20_000)
    many = build(tmp_path / "many", source, duplicates={"paragraphs": True, "lines": True})
    assert len(list(many.final.glob("part-*"))) > 3
    assert rows(one) == rows(many) and funnel(one) == funnel(many)


def test_a_file_is_read_once_however_many_shards_it_fills(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [json.dumps({"text": f"{n} " * 100}) for n in range(200)]
    (tmp_path / "x.jsonl").write_text("\n".join(lines))
    taken, read = 0, FileUnit.read

    def counted(self: FileUnit, report: Report) -> Iterator[Document]:
        nonlocal taken
        for document in read(self, report):
            taken += 1
            yield document

    monkeypatch.setattr(FileUnit, "read", counted)
    monkeypatch.setattr(pipeline, "SHARD_CHARACTERS", 5_000)
    stage = build(tmp_path / "run", tmp_path / "x.jsonl", held_out=WHOLE)
    assert len(list(stage.final.glob("part-*"))) >= 10
    assert taken == len(lines)


def test_done_is_done(tmp_path: Path, source: Path) -> None:
    first = build(tmp_path / "run", source)
    before = (first.final / "manifest.json").stat().st_mtime_ns
    again = build(tmp_path / "run", source)
    assert (again.final / "manifest.json").stat().st_mtime_ns == before and again.digest == first.digest


class Killed(BaseException):
    """Stands for a kill: nothing in the code may catch it."""


@pytest.mark.parametrize("steps", [3, pytest.param(1, marks=pytest.mark.slow)])
def test_cut_off_at_each_change_of_the_disk(tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch, steps: int) -> None:
    monkeypatch.setattr(pipeline, "SHARD_CHARACTERS", 60_000)
    settings: dict[str, Any] = {"duplicates": {"paragraphs": True, "near": {"on": True}, "passages": {"on": True}}}
    expected = build(tmp_path / "whole", source, **settings).digest
    left = 0

    def counted(real: Callable[..., Any]) -> Callable[..., Any]:
        def change(self: Path, *args: Any, **kwargs: Any) -> Any:
            nonlocal left
            if ".clean.partial" in str(self):
                left -= 1
                if left == 0:
                    raise Killed
            return real(self, *args, **kwargs)

        return change

    for name in ("replace", "unlink", "rename"):
        monkeypatch.setattr(Path, name, counted(getattr(Path, name)))
    moment, ended = 1 - steps, False
    while not ended:
        moment += steps
        left = moment
        try:
            build(tmp_path / f"cut-{moment}", source, **settings)
            ended = True
        except Killed:
            left = -1
            stage = build(tmp_path / f"cut-{moment}", source, **settings)
            assert stage.digest == expected == digest_folder(stage.final), moment
    assert moment > 15


SCRIPT = """
import sys
from pathlib import Path
from groundup.corpus import pipeline
pipeline.SHARD_CHARACTERS = 10_000
sys.path.insert(0, sys.argv[3])
import test_pipeline
print("begin", flush=True)
test_pipeline.build(Path(sys.argv[1]), Path(sys.argv[2]), duplicates=test_pipeline.ALL)
"""


@pytest.mark.parametrize("kills", [3, pytest.param(10, marks=pytest.mark.slow)])
def test_killed_at_random_moments(tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch, kills: int) -> None:
    monkeypatch.setattr(pipeline, "SHARD_CHARACTERS", 10_000)
    start = time.monotonic()
    expected = build(tmp_path / "whole", source, duplicates=ALL)
    seconds = time.monotonic() - start
    rng, killed = random.Random(1), 0
    for _ in range(kills):
        process = subprocess.Popen(
            [sys.executable, "-c", SCRIPT, str(tmp_path / "run"), str(source), str(Path(__file__).parent)], stdout=subprocess.PIPE
        )
        assert process.stdout is not None and process.stdout.readline() == b"begin\n"
        time.sleep(rng.uniform(0.1, 0.5) * seconds)
        killed += process.poll() is None
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
    stage = build(tmp_path / "run", source, duplicates=ALL)
    assert killed >= kills / 2 and stage.digest == expected.digest == digest_folder(stage.final)


@pytest.mark.parametrize(("texts", "words"), [
    ({"a.txt": "short", "b.txt": "also short"}, "the step 'length' dropped most: 2 of 2 .too short"), ({"a.bin": "x"}, "no documents were found"), ({}, "no documents"),
])  # fmt: skip
def test_nothing_left_is_an_error_that_says_where(tmp_path: Path, texts: dict[str, str], words: str) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for name, text in texts.items():
        (source / name).write_text(text)
    with pytest.raises(GroundupError, match=words):
        build(tmp_path / "run", source)


def test_one_document_is_divided_into_both_splits(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("A line of some words.\n" * 50)
    found = rows(build(tmp_path / "run", tmp_path / "a.txt"))
    assert [row["split"] for row in found] == ["train", "held-out"]


def test_a_crawl_is_read_in_the_order_of_its_addresses(tmp_path: Path) -> None:
    recipe = recipes.parse({"name": "x", "sources": [{"kind": "crawl", "name": "web", "seeds": ["http://x/"]}], "clean": {"decontaminate": {"on": False}}})  # the pages are alike
    digests = []
    for turn in range(2):
        urls = [f"http://x/{n:02}.html" for n in range(30)]
        random.Random(turn).shuffle(urls)
        run = Run.open(tmp_path / str(turn), recipe)
        collected = run.stage("collect", "corpus/collected", depends={}, inputs={"turn": digest(turn)})
        (collected.work / "web").mkdir()
        pages = [warc.response(url, f"2020-01-0{turn + 1}T00:00:00Z", "text/html", f"<p>{url} {'says more ' * 30}".encode(), truncated=False) for url in urls]
        (collected.work / "web" / "00000.warc.gz").write_bytes(b"".join(pages[:20]))
        (collected.work / "web" / "00001.warc.gz").write_bytes(b"".join(pages[20:]))
        collected.finish({})
        stage = clean(run, collected)
        run.close()
        assert [row["url"] for row in rows(stage)] == sorted(urls)
        digests.append(stage.digest)
    assert digests[0] == digests[1]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_damaged_input_is_accounted_for(tmp_path: Path) -> None:
    """benchmarks/fuzz_clean.py on fewer mutants than its ten thousand: it fails where one is not found again, or a step crashes or hangs."""
    script = Path(__file__).parents[2] / "benchmarks" / "fuzz_clean.py"
    done = subprocess.run([sys.executable, str(script), "--count", "900", "--seed", "7", "--json"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout)["mutants"] == 900
