"""WARC: what is written is what is read, by us and by fastwarc; damage costs the damaged record and is said."""

import gzip
import io
from pathlib import Path

import pytest
from fastwarc.warc import ArchiveIterator
from hypothesis import given
from hypothesis import strategies as st

from groundup.corpus.sources import warc

DATE = "2000-01-01T00:00:00Z"


def page(number: int) -> bytes:
    body = f"<p>page {number} " + " ".join(str(number * k) for k in range(200))
    return warc.response(f"http://a.example/{number}", DATE, "text/html; charset=utf-8", body.encode(), truncated=False)


PAGES = [page(number) for number in range(6)]
PLAIN = b"".join(gzip.decompress(record) for record in PAGES)


def read(path: Path, data: bytes) -> tuple[list[int], list[str]]:
    """The numbers of the pages that are read, and the notes."""
    path.write_bytes(data)
    notes: list[str] = []
    return [int(found.url.rsplit("/", 1)[1]) for found in warc.read_pages(path, notes)], notes


def http_record(head: str, body: bytes) -> bytes:
    headers = {"WARC-Target-URI": "http://a.example/0", "WARC-Date": DATE, "Content-Type": "application/http; msgtype=response"}
    return warc.record("response", headers, head.encode() + b"\r\n\r\n" + body)


@given(body=st.binary(min_size=1, max_size=2000), address=st.from_regex(r"http://a\.example/[a-z0-9?=&%]{0,50}", fullmatch=True))
def test_a_page_comes_back_as_it_was(body: bytes, address: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("w") / "a.warc.gz"
    path.write_bytes(warc.info("test", DATE) + warc.response(address, DATE, "Text/HTML; Charset=ISO-8859-1", body, truncated=False))
    notes: list[str] = []
    assert list(warc.read_pages(path, notes)) == [warc.Page(address, "text/html", body, "iso-8859-1", DATE)]
    assert notes == []


def test_fastwarc_reads_what_we_write() -> None:
    data = warc.info("test", DATE) + PAGES[0] + warc.response("http://a.example/t", DATE, "text/plain", b"cut", truncated=True)
    records = [(r.headers["WARC-Type"], r.headers.get("WARC-Truncated"), r.headers["WARC-Record-ID"]) for r in ArchiveIterator(io.BytesIO(data))]
    assert [(kind, truncated) for kind, truncated, _ in records] == [("warcinfo", None), ("response", None), ("response", "length")]
    assert len({name for _, _, name in records}) == 3
    assert gzip.decompress(data).startswith(b"WARC/1.1\r\n")


@pytest.mark.parametrize("data", [b"".join(PAGES), PLAIN, gzip.compress(PLAIN)], ids=["members", "plain", "one member"])
def test_whole_files_give_all_pages_without_a_note(data: bytes, tmp_path: Path) -> None:
    assert read(tmp_path / "a.warc", data) == ([0, 1, 2, 3, 4, 5], [])


def test_damage_costs_the_damaged_record_alone(tmp_path: Path) -> None:
    for lost in range(6):
        broken = bytearray(PAGES[lost])
        broken[len(broken) // 2] ^= 0xFF
        pages, notes = read(tmp_path / "a.warc.gz", b"".join([*PAGES[:lost], bytes(broken), *PAGES[lost + 1 :]]))
        assert pages == [number for number in range(6) if number != lost]
        assert len(notes) == 1 and "damaged" in notes[0]


@pytest.mark.parametrize("length", [1, 5, 17, 100, -30, -9, -1])
def test_a_torn_tail_is_noted_and_all_before_it_kept(length: int, tmp_path: Path) -> None:
    pages, notes = read(tmp_path / "a.warc.gz", b"".join(PAGES[:4]) + PAGES[4][:length])
    assert pages[:4] == [0, 1, 2, 3]
    assert "cut off" in notes[0]


def test_a_plain_file_that_is_cut_off_is_noted(tmp_path: Path) -> None:
    pages, notes = read(tmp_path / "a.warc", PLAIN[:-300])
    assert pages == [0, 1, 2, 3, 4, 5] and "cut off" in notes[0]


@given(data=st.binary(max_size=300), place=st.integers(0, len(PLAIN)))
def test_nothing_in_a_file_raises(data: bytes, place: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("w")
    whole = b"".join(PAGES)
    for content in (data, gzip.compress(data), whole[:place] + data + whole[place:], PLAIN[:place] + data + PLAIN[place:]):
        (folder / "a.warc").write_bytes(content)
        list(warc.read_pages(folder / "a.warc", []))


def test_only_status_200_is_a_page(tmp_path: Path) -> None:
    gone = http_record("HTTP/1.1 404 Not Found\r\nContent-Type: text/html", b"gone")
    assert read(tmp_path / "a.warc.gz", gone + PAGES[1]) == ([1], ["left out: 1 answers with status 404"])


def test_common_crawls_texts_are_pages(tmp_path: Path) -> None:
    headers = {"WARC-Target-URI": "http://a.example/7", "WARC-Date": DATE, "Content-Type": "text/plain"}
    (tmp_path / "a.warc.wet.gz").write_bytes(warc.info("test", DATE) + warc.record("conversion", headers, "Grüße".encode()))
    assert [(found.url, found.media_type, found.html) for found in warc.read_pages(tmp_path / "a.warc.wet.gz")] == [
        ("http://a.example/7", "text/plain", "Grüße")
    ]


def test_encodings_of_others_archives_are_undone(tmp_path: Path) -> None:
    packed = gzip.compress(b"<p>hello")
    chunked = f"{len(packed):x}\r\n".encode() + packed + b"\r\n0\r\n\r\n"
    head = "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Encoding: gzip\r\nTransfer-Encoding: chunked"
    (tmp_path / "a.warc.gz").write_bytes(http_record(head, chunked))
    assert [found.body for found in warc.read_pages(tmp_path / "a.warc.gz")] == [b"<p>hello"]


@pytest.mark.parametrize(
    ("charset", "body", "text"),
    [
        ("utf-8", "é".encode(), "é"),
        ("iso-8859-1", "é".encode(), "é"),  # servers are often wrong; valid UTF-8 is UTF-8
        ("iso-8859-1", "é".encode("latin-1"), "é"),
        ("no-such-charset", b"caf\xe9", "café"),
        (None, b"caf\xe9", "café"),
        ("utf-8", b"caf\xe9", "café"),
        ("utf-8", "日本€".encode()[:-1], "日本"),  # cut within a character
        ("iso-8859-1", "“é”".encode("cp1252"), "“é”"),  # WHATWG: the one means the other
        ("shift_jis", "日本語です".encode("shift_jis"), "日本語です"),
        (None, '<meta charset="koi8-r"><p>привет'.encode("koi8-r"), '<meta charset="koi8-r"><p>привет'),
        (None, "\ufeffhello".encode(), "hello"),
    ],
)
def test_bodies_become_text(charset: str | None, body: bytes, text: str) -> None:
    assert warc.Page("", "text/html", body, charset, None).html == text


def test_a_header_line_cannot_be_smuggled_in(tmp_path: Path) -> None:
    (tmp_path / "a.warc.gz").write_bytes(warc.response("http://a.example/", DATE, "text/html\r\nX: y\r\n\r\nevil", b"body", truncated=False))
    assert [found.body for found in warc.read_pages(tmp_path / "a.warc.gz")] == [b"body"]
