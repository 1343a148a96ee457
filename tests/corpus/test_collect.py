"""The collect stage: what lies on disk is listed with what cannot be read; crawls are kept; changes are noticed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from groundup import recipe
from groundup.corpus.collect import FIXED_DATE, collect
from groundup.corpus.sources import python_docs
from groundup.corpus.sources.warc import read_pages
from groundup.errors import RequestError
from groundup.run import Run, Stage

PAGES = {"index.html": b'<a href="a.html">a</a><a href="b.html">b</a>', "a.html": b"<p>a", "b.html": b"<p>b", "robots.txt": b""}


def build(folder: Path, *sources: dict[str, Any]) -> Stage:
    run = Run.open(folder, recipe.parse({"name": "test", "sources": list(sources)}))
    try:
        return collect(run)
    finally:
        run.close()


def listed(stage: Stage) -> dict[str, Any]:
    files = json.loads((stage.final / "files" / "files.json").read_text())
    assert [file["relative"] for file in files] == sorted(file["relative"] for file in files)
    return {file["relative"]: file for file in files}


def test_files_good_and_bad(tmp_path: Path) -> None:
    root = tmp_path / "texts"
    (root / "deep" / "er").mkdir(parents=True)
    (root / "b.txt").write_text("bb")
    (root / "deep" / "er" / "ä.txt").write_text("a")
    (root / "empty.txt").touch()
    (root / ".hidden").write_text("x")
    (root / ".git").mkdir()
    (root / ".git" / "config").write_text("x")
    (root / "broken").symlink_to(root / "gone")
    (root / "self").symlink_to(root / "self")
    (root / "deep" / "circle").symlink_to(root)
    (root / "link.txt").symlink_to(root / "b.txt")
    (root / "secret.txt").write_text("x")
    (root / "secret.txt").chmod(0)
    (root / "closed").mkdir()
    (root / "closed" / "x.txt").write_text("x")
    (root / "closed").chmod(0)
    os.mkfifo(root / "pipe")
    (root / os.fsdecode(b"caf\xe9.txt")).write_text("x")
    try:
        files = listed(build(tmp_path / "run", {"kind": "files", "path": str(root)}))
    finally:
        (root / "closed").chmod(0o700)
    good = {name: file["bytes"] for name, file in files.items() if "error" not in file}
    assert good == {"b.txt": 2, "deep/er/ä.txt": 1, "empty.txt": 0, "link.txt": 2}
    assert files["b.txt"]["path"] == str(root / "b.txt") and files["b.txt"]["mtime_ns"] == (root / "b.txt").stat().st_mtime_ns
    assert {name for name, file in files.items() if "error" in file} == {
        ".hidden", ".git", "broken", "self", "deep/circle", "secret.txt", "closed", "pipe", r"caf\xe9.txt",
    }  # fmt: skip


def test_a_single_file(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("x")
    assert list(listed(build(tmp_path / "run", {"kind": "files", "path": str(tmp_path / "a.txt")}))) == ["a.txt"]


def test_a_missing_path_is_a_wrong_request(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="gone"):
        build(tmp_path / "run", {"kind": "files", "path": str(tmp_path / "gone")})
    assert not (tmp_path / "run" / "corpus").exists()


def test_changes_are_noticed_and_nothing_is_done_twice(tmp_path: Path) -> None:
    root = tmp_path / "texts"
    root.mkdir()
    (root / "a.txt").write_text("x")
    given = {"kind": "files", "path": str(root)}
    first = build(tmp_path / "run", given)
    made = (first.final / "manifest.json").stat().st_mtime_ns
    again = build(tmp_path / "run", given)
    assert again.digest == first.digest and (again.final / "manifest.json").stat().st_mtime_ns == made
    (root / "a.txt").write_text("xy")
    assert build(tmp_path / "run", given).digest != first.digest


def test_python_docs_are_crawled_the_same_each_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(python_docs, "render", lambda: PAGES)
    stages = [build(tmp_path / name, {"kind": "python-docs"}) for name in ("one", "two")]
    archives = [(stage.final / "python-docs" / "pages-00000.warc.gz").read_bytes() for stage in stages]
    assert archives[0] == archives[1] and stages[0].digest == stages[1].digest
    pages = list(read_pages(stages[0].final / "python-docs" / "pages-00000.warc.gz"))
    assert [page.url for page in pages] == [f"http://{python_docs.HOST}/{name}" for name in ("", "a.html", "b.html")]
    assert {page.date for page in pages} == {FIXED_DATE}
    assert sorted(path.name for path in (stages[0].final / "python-docs").iterdir()) == ["crawl.json", "pages-00000.warc.gz"]


KILLED = """
import sys
from pathlib import Path
from groundup import recipe
from groundup.corpus.collect import collect
from groundup.run import Run
collect(Run.open(Path(sys.argv[1]), recipe.parse({"name": "test", "sources": [{"kind": "python-docs"}]})))
"""


@pytest.mark.slow
def test_the_real_reference_killed_in_the_middle(tmp_path: Path) -> None:
    whole = build(tmp_path / "whole", {"kind": "python-docs"})
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path / "torn")])
    archive = tmp_path / "torn" / "corpus" / ".collected.partial" / "python-docs" / "pages-00000.warc.gz"
    while process.poll() is None and not (archive.exists() and archive.stat().st_size > 500_000):
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL and archive.exists()
    torn = build(tmp_path / "torn", {"kind": "python-docs"})
    assert torn.digest == whole.digest
    for name in ("pages-00000.warc.gz", "crawl.json"):
        assert (torn.final / "python-docs" / name).read_bytes() == (whole.final / "python-docs" / name).read_bytes()
