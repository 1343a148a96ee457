"""Python's own reference as a website: what is on it, nothing of this machine, the same each time."""

from __future__ import annotations

import os
import re
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from groundup.corpus.sources import python_docs
from groundup.corpus.sources.links import links


@pytest.fixture(scope="module")
def pages() -> dict[str, bytes]:
    return python_docs.render()


def test_modules_and_topics(pages: dict[str, bytes]) -> None:
    assert len(pages) > 500 and sum(map(len, pages.values())) > 10_000_000
    for name in ("posixpath", "json", "email.message", "builtins", "collections.abc", "topic-for", "topic-with"):
        assert f"{name}.html" in pages
    assert not {"antigravity.html", "this.html", "idlelib.html", "test.html"} & set(pages)
    assert not [name for name in pages if "__main__" in name or name.startswith(("test.", "turtledemo", "idlelib"))]
    assert b"Join&nbsp;two&nbsp;or&nbsp;more&nbsp;pathname&nbsp;components" in pages["posixpath.html"]


def test_every_page_is_linked_from_the_index(pages: dict[str, bytes]) -> None:
    found = {url.rsplit("/", 1)[1] for url in links(pages["index.html"].decode(), "http://h/")}
    assert found >= set(pages) - {"index.html", "robots.txt"}


def test_nothing_of_this_machine(pages: dict[str, bytes]) -> None:
    here = {str(Path.home()), str(Path.cwd()), sys.prefix, sys.base_prefix, sys.executable, os.uname().nodename, os.uname().release}
    everything = b"\n".join(pages.values()).decode()
    for word in here - {"/usr", "/usr/local", "localhost"}:  # these stand in docstrings
        assert len(word) < 6 or word not in everything, word
    assert not re.findall(r"(?: |&nbsp;)at(?: |&nbsp;)0x[0-9a-f]{6,}", everything)


@pytest.mark.slow
def test_the_same_each_time(pages: dict[str, bytes], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SECRET", "of-this-machine")
    monkeypatch.setenv("PYTHONHASHSEED", "7")
    monkeypatch.chdir(tmp_path)
    assert python_docs.render() == pages


def test_served(pages: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(python_docs, "render", lambda: pages)
    with python_docs.serve() as (address, port):
        assert address == "127.0.0.1"
        for path, name in (("/", "index.html"), ("/json.html", "json.html"), ("/robots.txt", "robots.txt")):
            with urllib.request.urlopen(f"http://{address}:{port}{path}", timeout=10) as answer:
                assert answer.read() == pages[name]
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(f"http://{address}:{port}/../../etc/passwd", timeout=10)
    with pytest.raises(OSError):
        urllib.request.urlopen(f"http://{address}:{port}/", timeout=1)
