"""Files in a store: what they say is what the same files say on a disk."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from groundup import recipe as recipes
from groundup.corpus.collect import collect
from groundup.corpus.pipeline import clean
from groundup.errors import GroundupError, RequestError
from groundup.run import Run, Stage, read_json

fsspec = pytest.importorskip("fsspec", reason="fsspec is not installed")
LINE = "This is a line of text that says something, and then it says some more of it.\n"


def build(folder: Path, path: str) -> Stage:
    recipe = folder.with_suffix(".yaml")
    recipe.write_text(json.dumps({"name": "x", "sources": [{"kind": "files", "path": path}], "clean": {"decontaminate": {"on": False}}}))  # all texts are alike
    run = Run.open(folder, recipes.load(recipe))
    try:
        return clean(run, collect(run))
    finally:
        run.close()


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    (folder / "deep").mkdir(parents=True)
    for number in range(25):
        (folder / f"{number:02}.txt").write_text(f"Number {number}. {LINE * (number + 3)}")
    (folder / "deep" / "a.jsonl.gz").write_bytes(gzip.compress(json.dumps({"text": LINE * 50}).encode()))
    parquet.write_table(pa.table({"text": [f"{number}: {LINE * 9}" for number in range(9)]}), folder / "deep" / "b.parquet")
    (folder / "picture.png").write_bytes(b"\x89PNG")
    (folder / "cut.parquet").write_bytes(b"PAR1 and no more")
    (folder / "empty.txt").write_bytes(b"")
    (folder / ".hidden.txt").write_text(LINE)
    return folder


@pytest.fixture
def stored(source: Path) -> Iterator[Any]:
    store = fsspec.filesystem("memory")
    store.put(f"{source}/", "/bucket/texts/", recursive=True)
    yield store
    store.rm("/bucket", recursive=True)


def contents(stage: Stage) -> dict[str, Any]:
    found: dict[str, Any] = {path.name: path.read_bytes() for path in stage.final.glob("part-*")}
    return {**found, "funnel": read_json(stage.final / "funnel.json")}


@pytest.mark.parametrize("address", ["memory://bucket/texts", "memory://bucket/texts/", "file://{source}"])
def test_a_store_reads_like_a_folder(tmp_path: Path, source: Path, stored: Any, address: str) -> None:
    local, remote = build(tmp_path / "local", str(source)), build(tmp_path / "remote", address.format(source=source))
    assert contents(remote) == contents(local)
    assert {entry["reason"] for entry in contents(remote)["funnel"]["skipped"]} >= {"hidden", "empty", "not a kind of file that is read here"}


def test_one_file_and_a_change_of_it(tmp_path: Path, stored: Any) -> None:
    address = "memory://bucket/texts/20.txt"
    first = build(tmp_path / "run", address)
    assert build(tmp_path / "run", address).digest == first.digest
    stored.pipe_file("/bucket/texts/20.txt", (f"Other words. {LINE * 23}").encode())
    assert build(tmp_path / "run", address).digest != first.digest


@pytest.mark.parametrize(("address", "words"), [
    ("memory://bucket/nothing", "no files there"), ("nosuch://bucket", "Protocol not known: nosuch"),
])  # fmt: skip
def test_a_wrong_address_is_a_wrong_request(tmp_path: Path, address: str, words: str) -> None:
    with pytest.raises(RequestError, match=words):
        build(tmp_path / "run", address)


def test_a_broken_connection_is_no_damaged_file(tmp_path: Path, stored: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    real = type(stored).open
    broken = True

    def unsteady(self: Any, path: str, *args: Any, **kwargs: Any) -> Any:
        if broken and path.endswith("11.txt"):
            raise OSError("connection reset by peer")
        return real(self, path, *args, **kwargs)

    expected = contents(build(tmp_path / "whole", "memory://bucket/texts"))
    monkeypatch.setattr(type(stored), "open", unsteady)
    with pytest.raises(GroundupError, match=r"11\.txt: cannot be fetched: connection reset by peer"):
        build(tmp_path / "run", "memory://bucket/texts")
    broken = False
    assert contents(build(tmp_path / "run", "memory://bucket/texts")) == expected
