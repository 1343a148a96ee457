"""The crawl's state on disk: what is committed stays, what is not is as if it had never been."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from groundup.corpus.sources import frontier, warc
from groundup.corpus.sources.frontier import Address, Frontier
from groundup.errors import GroundupError

DATE = "2000-01-01T00:00:00Z"
BEGIN = warc.info("test", DATE)


def record(number: int) -> bytes:
    return warc.response(f"http://h.example/{number}", DATE, "text/html", f"<p>{number}".encode() * 20, truncated=False)


def archives(folder: Path) -> list[bytes]:
    return [path.read_bytes() for path in sorted(folder.glob("*.warc.gz"))]


def test_addresses_are_numbered_as_found_each_once(tmp_path: Path) -> None:
    state = Frontier(tmp_path, begin=BEGIN)
    assert state.add(["http://h/a", "http://h/b", "http://h/a"], depth=0) == 2
    assert state.add(["http://h/b", "http://h/c"], depth=1, hops=2) == 1
    assert state.waiting(1, 10) == [Address(2, "http://h/b", 0, 0), Address(3, "http://h/c", 1, 2)]
    assert state.waiting(0, 1) == [Address(1, "http://h/a", 0, 0)] and state.known == 3
    state.close()


def _go(folder: Path, steps: int, spoil: Callable[[], None] | None = None) -> None:
    """Store one record a step, up to `steps` in all; with `spoil`, work on for a bit uncommitted and break off."""
    folder.mkdir(exist_ok=True)
    state = Frontier(folder, begin=BEGIN)
    for number in range(state.progress.reached, steps):
        state.add([f"http://h/{number}", f"http://h/{number}/x"], depth=number)
        state.store(record(number))
        state.progress.reached = number + 1
        state.commit()
    if spoil is not None:
        for number in range(100, 108):
            state.add([f"http://h/{number}"], depth=0)
            state.store(record(number))
        spoil()
    state.close()


def test_what_was_not_committed_leaves_no_trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the break came just after a new archive file had been begun."""
    monkeypatch.setattr(frontier, "ARCHIVE_BYTES", 900)
    _go(tmp_path / "whole", 20)
    assert len(archives(tmp_path / "whole")) > 3

    def tear() -> None:
        last = sorted((tmp_path / "torn").glob("*.warc.gz"))[-1]
        last.write_bytes(last.read_bytes()[:-7])

    for steps in range(1, 20):
        _go(tmp_path / "torn", steps, tear)
    assert len(archives(tmp_path / "torn")) > len(archives(tmp_path / "whole"))  # with what was not committed
    _go(tmp_path / "torn", 20)
    assert archives(tmp_path / "torn") == archives(tmp_path / "whole")
    known = [Frontier(tmp_path / name, begin=BEGIN) for name in ("torn", "whole")]
    assert known[0].waiting(0, 100) == known[1].waiting(0, 100) and known[0].progress == known[1].progress
    for state in known:
        state.close()


def test_an_archive_that_lost_its_end_is_an_error_that_names_it(tmp_path: Path) -> None:
    _go(tmp_path, 3)
    path = tmp_path / "pages-00000.warc.gz"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(GroundupError, match=r"pages-00000\.warc\.gz: shorter than"):
        Frontier(tmp_path, begin=BEGIN)
