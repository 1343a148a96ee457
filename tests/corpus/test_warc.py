"""WARC files: what is written is read back, and of damaged ones all that can be."""

from __future__ import annotations

import gzip
import io
from pathlib import Path

import pytest
from fastwarc.warc import ArchiveIterator
from hypothesis import given
from hypothesis import strategies as st

from groundup.corpus.sources import warc

DATE = "2000-01-01T00:00:00Z"
PAGES = [(f"http://h.example/{number}", f"<p>page {number} ".encode() * 50) for number in range(20)]


def records() -> list[bytes]:
    return [warc.info("groundup", DATE)] + [
        warc.response(url, DATE, "text/html; charset=utf-8", body, truncated=False) for url, body in PAGES
    ]


def read(path: Path) -> tuple[list[tuple[str, bytes]], list[str]]:
    notes: list[str] = []
    return [(page.url, page.body) for page in warc.read_pages(path, notes)], notes


def test_written_and_read_back(tmp_path: Path) -> None:
    path = tmp_path / "a.warc.gz"
    path.write_bytes(b"".join(records()))
    assert read(path) == (PAGES, [])
    page = next(warc.read_pages(path))
    assert (page.media_type, page.charset, page.date) == ("text/html", "utf-8", DATE)


def test_plain_and_packed_are_the_same(tmp_path: Path) -> None:
    (tmp_path / "a.warc").write_bytes(b"".join(gzip.decompress(record) for record in records()))
    (tmp_path / "whole.warc.gz").write_bytes(gzip.compress(b"".join(gzip.decompress(record) for record in records())))
    assert read(tmp_path / "a.warc") == (PAGES, [])
    assert read(tmp_path / "whole.warc.gz") == (PAGES, [])


def test_the_standard_is_kept() -> None:
    """ISO 28500: the mandatory headers; a record a gzip member; ids that differ; the length says the truth."""
    seen = set()
    for record in records():
        raw = gzip.decompress(record)
        head, _, block = raw.partition(b"\r\n\r\n")
        lines = head.decode().split("\r\n")
        fields = dict(line.split(": ", 1) for line in lines[1:])
        assert lines[0] == "WARC/1.1" and {"WARC-Type", "WARC-Record-ID", "WARC-Date", "Content-Length"} <= set(fields)
        assert len(block) == int(fields["Content-Length"]) + 4 and block.endswith(b"\r\n\r\n")
        seen.add(fields["WARC-Record-ID"])
    assert len(seen) == len(records())
    assert sum(1 for _ in ArchiveIterator(io.BytesIO(b"".join(records())), strict_mode=True)) == len(records())


def test_a_server_cannot_add_headers() -> None:
    raw = gzip.decompress(warc.response("http://h/", DATE, "text/html\r\nX-Evil: 1\r\n\r\n<p>", b"", truncated=True))
    assert b"\nX-Evil" not in raw and b"WARC-Truncated: length" in raw


@pytest.mark.parametrize("share", [0.1, 0.5, 0.95])
def test_a_cut_file_gives_its_whole_records(tmp_path: Path, share: float) -> None:
    path, parts = tmp_path / "a.warc.gz", records()
    length = int(len(b"".join(parts)) * share)
    path.write_bytes(b"".join(parts)[:length])
    whole = sum(1 for number in range(1, len(parts)) if len(b"".join(parts[: number + 1])) <= length)
    pages, notes = read(path)
    assert pages[:whole] == PAGES[:whole] and len(notes) >= 1
    assert [url for url, _ in pages] == [url for url, _ in PAGES[: len(pages)]]


def test_damage_in_the_middle_costs_one_record(tmp_path: Path) -> None:
    path, parts = tmp_path / "a.warc.gz", records()
    middle = bytearray(parts[8])
    middle[30:60] = bytes(30)
    path.write_bytes(b"".join([*parts[:8], bytes(middle), *parts[9:]]))
    pages, notes = read(path)
    assert [page for page in PAGES if page not in pages] in ([PAGES[7]], []) and len(pages) >= len(PAGES) - 1
    assert notes


@given(st.binary(max_size=300))
def test_rubbish_never_raises(tmp_path_factory: pytest.TempPathFactory, rubbish: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "rubbish.warc.gz"
    path.write_bytes(rubbish)
    read(path)
    path.write_bytes(records()[1] + rubbish)
    assert read(path)[0][:1] == PAGES[:1]


def test_only_pages_that_were_there(tmp_path: Path) -> None:
    gone = b"HTTP/1.1 404 Not Found\r\nContent-Type: text/html\r\n\r\ngone"
    packed = gzip.compress(b"<p>packed", mtime=0)
    coded = b"HTTP/1.1 200 OK\r\nContent-Type: Text/HTML\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(packed) + packed
    headers = {"WARC-Date": DATE, "Content-Type": "application/http; msgtype=response"}
    path = tmp_path / "a.warc.gz"
    path.write_bytes(
        warc.record("response", {"WARC-Target-URI": "http://h/gone", **headers}, gone)
        + warc.record("request", {"WARC-Target-URI": "http://h/", **headers}, b"GET / HTTP/1.1\r\n\r\n")
        + warc.record("response", {"WARC-Target-URI": "http://h/coded", **headers}, coded)
    )
    assert read(path) == ([("http://h/coded", b"<p>packed")], [])


@pytest.mark.parametrize(
    ("body", "charset", "text"),
    [
        ("naïve 日本".encode(), None, "naïve 日本"), ("naïve".encode(), "latin-1", "naïve"),  # the server is wrong
        ("日本€".encode()[:-1], "utf-8", "日本"),  # cut within a character
        ("“café”".encode("cp1252"), "iso-8859-1", "“café”"),  # WHATWG: the one means the other
        ("日本語です".encode("shift_jis"), "shift_jis", "日本語です"),
        ('<meta charset="koi8-r"><p>привет'.encode("koi8-r"), None, '<meta charset="koi8-r"><p>привет'),
        ("привет, как дела, мой старый друг".encode("cp1251"), "no-such", "привет, как дела, мой старый друг"),
        ("café".encode("latin-1"), "utf-8", "café"), ("caf\xe9".encode("latin-1"), "rot13", "café"),
        ("\ufeffhello".encode(), None, "hello"), (b"\x81\x8d\x00", None, None), (b"", "utf-16", ""),
    ],
)  # fmt: skip
def test_text_of_a_page(body: bytes, charset: str | None, text: str | None) -> None:
    found = warc.Page("http://h/", "text/html", body, charset, None).html
    assert text is None or found == text
