"""Local files: what is good is read, what is bad is listed with its reason, and nothing raises."""

from __future__ import annotations

import gzip
import io
import json
import os
import random
import tarfile
import zipfile
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from groundup.corpus.document import Document
from groundup.corpus.sources import warc
from groundup.corpus.sources.files import SUFFIXES, LocalFile, Report, read_file

LINES = "".join(f"line {n} says {n * 7919 % 1000003}\n" for n in range(100_000))


def read(path: Path, data: bytes | None = None, limit: int = 10_000_000) -> tuple[list[Document], Report]:
    if data is not None:
        path.write_bytes(data)
    report = Report()
    return list(read_file(LocalFile("s", path, path.name, limit), report)), report


def texts(path: Path, data: bytes | None = None) -> list[str]:
    documents, report = read(path, data)
    assert not report.skipped and not report.notes
    return [document.text for document in documents]


@pytest.mark.parametrize("suffix", ["", ".gz", ".zst"])
def test_text_plain_and_packed(tmp_path: Path, suffix: str) -> None:
    data = LINES.encode()
    packed = {"": data, ".gz": gzip.compress(data), ".zst": pa.compress(data, codec="zstd", asbytes=True)}[suffix]
    assert texts(tmp_path / f"a.txt{suffix}", packed) == [LINES]


def test_gzip_of_several_members_and_padding(tmp_path: Path) -> None:
    assert texts(tmp_path / "a.txt.gz", gzip.compress(b"one ") + gzip.compress(b"two") + b"\0" * 512) == ["one two"]


@pytest.mark.parametrize(("suffix", "share"), [(".gz", 0.9), (".zst", 0.5)])
def test_of_a_truncated_file_what_could_be_read_is_kept(tmp_path: Path, suffix: str, share: float) -> None:
    rng = random.Random(0)
    text = "".join(f"{rng.random()}\n" for _ in range(50_000))
    packed = gzip.compress(text.encode()) if suffix == ".gz" else pa.compress(text.encode(), codec="zstd", asbytes=True)
    (document,), report = read(tmp_path / f"a.txt{suffix}", packed[: len(packed) // 2])
    assert text.startswith(document.text) and len(document.text) > share * 0.5 * len(text)
    assert "kept what could be read" in report.notes[0][1]


@pytest.mark.parametrize(("name", "data", "reason"), [
    ("a.txt", b"", "empty"), ("a.txt", b" \n\n ", "blank"), ("a.txt", b"\x7fELF\x02\x01 abc", "ELF"), ("a.txt", b"text\0with zeros", "NUL"),
    ("a.txt", b"\x89PNG\r\n\x1a\n", "PNG"), ("a.md", bytes(range(1, 32)) * 20, "control characters"), ("a.txt.gz", b"not packed", "gzip"),
    ("a.jsonl", b"{bad\n[1]\n", "no line is a JSON object"), ("a.jsonl", b'{"x": "y"}', "field 'text'"), ("a.parquet", b"PAR1xx", "damaged"),
    ("a.epub", b"PK\x03\x04xx", "damaged"), ("a.jpg", b"\xff\xd8", "not a kind"), ("a.rpm.gz", b"\x1f\x8b", "not a kind"),
    ("a.html", b"\x00\x01", "binary"), ("a.warc.gz", b"junk" * 100, "WARC"),
])  # fmt: skip
def test_bad_files_are_skipped_with_a_reason(tmp_path: Path, name: str, data: bytes, reason: str) -> None:
    documents, report = read(tmp_path / name, data)
    assert not documents
    assert [skipped for skipped, _ in report.skipped] == [name] and reason in report.skipped[0][1]


def test_what_is_gone_or_no_file_is_skipped(tmp_path: Path) -> None:
    assert "not there" in read(tmp_path / "gone.txt")[1].skipped[0][1]
    os.mkfifo(tmp_path / "pipe.txt")
    assert "regular" in read(tmp_path / "pipe.txt")[1].skipped[0][1]


@pytest.mark.parametrize(("encoding", "note"), [
    ("utf-8", None), ("utf-8-sig", None), ("utf-16", "utf-16"), ("utf-16-le", "utf-16-le"), ("utf-16-be", "utf-16-be"),
    ("utf-32", "utf-32"), ("latin-1", "windows-1252"), ("windows-1252", "windows-1252"),
])  # fmt: skip
def test_encodings(tmp_path: Path, encoding: str, note: str | None) -> None:
    text = "Der Bär fährt über die größte Straße nach Köln, und zwar schön langsam.\n" * 30
    (document,), report = read(tmp_path / "a.txt", text.encode(encoding))
    assert document.text == text
    assert [words for _, words in report.notes] == ([f"decoded as {note}"] if note else [])


def test_a_late_byte_of_latin_1_is_seen(tmp_path: Path) -> None:
    (document,), report = read(tmp_path / "a.txt", LINES.encode() + "größer".encode("latin-1"))
    assert document.text.endswith("größer") and report.notes


def test_one_bad_byte_in_utf_8_does_not_change_the_encoding(tmp_path: Path) -> None:
    (document,), report = read(tmp_path / "a.txt", ("schöne Größe " * 50).encode() + b"\xff.")
    assert document.text == "schöne Größe " * 50 + "\ufffd." and "not valid UTF-8" in report.notes[0][1]


def test_json_lines(tmp_path: Path) -> None:
    rows = [json.dumps({"text": "one", "url": "http://x/", "language": "de"}), "{bad", "", '{"other": 1}', json.dumps({"text": "\ud800 two"})]
    documents, report = read(tmp_path / "a.jsonl", "\n".join(rows).encode())
    assert [document.row()["text"] for document in documents] == ["one", "\ufffd two"]
    assert (documents[0].url, documents[0].language, documents[1].url) == ("http://x/", "de", "a.jsonl")
    assert [note for _, note in report.notes] == ["1 malformed lines left out", "1 lines without text in the field 'text' left out"]
    assert len({document.row()["id"] for document in documents}) == 2


def test_parquet(tmp_path: Path) -> None:
    parquet.write_table(pa.table({"text": ["one", None, "two"], "url": ["u", "v", None]}), tmp_path / "a.parquet")
    documents, _ = read(tmp_path / "a.parquet")
    assert [(document.text, document.url) for document in documents] == [("one", "u"), ("two", "a.parquet")]


def test_warc(tmp_path: Path) -> None:
    date = "2000-01-01T00:00:00Z"
    pages = [("http://x/a", "text/html; charset=utf-8", b"<p>one"), ("http://x/b", "text/plain", b"two"), ("http://x/c", "image/png", b"x")]
    data = b"".join(warc.response(url, date, kind, body, truncated=False) for url, kind, body in pages)
    documents, report = read(tmp_path / "a.warc.gz", data)
    assert [(document.url, document.text, document.format) for document in documents] == [
        ("http://x/a", "<p>one", "html"), ("http://x/b", "two", "text")
    ]  # fmt: skip
    assert report.skipped == [("a.warc.gz: http://x/c", "not a page of text but image/png")]


def test_epub_in_reading_order(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.epub", "w") as book:
        book.writestr("META-INF/container.xml", '<container xmlns="urn:c"><rootfiles><rootfile full-path="O/c.opf"/></rootfiles></container>')
        book.writestr("O/c.opf", (
            '<package xmlns="urn:p" xmlns:dc="urn:d"><metadata><dc:language>fr</dc:language></metadata><manifest><item id="b" href="b%20b.xhtml"/>'
            '<item id="a" href="t/a.xhtml"/></manifest><spine><itemref idref="a"/><itemref idref="b"/></spine></package>'
        ))  # fmt: skip
        book.writestr("O/t/a.xhtml", "<html><body class='x'><p>first</p></body></html>")
        book.writestr("O/b b.xhtml", "<html><body><p>second</p></body></html>")
    (document,), _ = read(tmp_path / "a.epub")
    assert document.text.index("first") < document.text.index("second")
    assert (document.language, document.format) == ("fr", "book")


def test_a_long_single_line_is_cut_and_nothing_is_lost(tmp_path: Path) -> None:
    text = LINES.replace("\n", " ")
    documents, report = read(tmp_path / "a.txt", text.encode(), limit=100_000)
    assert "".join(document.text for document in documents) == text
    assert max(len(document.text) for document in documents) <= 100_000
    assert report.notes == [("a.txt", f"cut into {len(documents)} parts")]
    assert len({document.row()["whole"] for document in documents}) == 1
    assert len({document.row()["id"] for document in documents}) == len(documents)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from([f"x{suffix}{packing}" for suffix in SUFFIXES for packing in ("", ".gz", ".zst")]), st.binary(max_size=300), st.booleans())
def test_no_file_raises(tmp_path: Path, name: str, data: bytes, pack: bool) -> None:
    documents, report = read(tmp_path / name, gzip.compress(data) if pack else data)
    assert documents or report.skipped
    for document in documents:
        str(document.row()["text"]).encode()


@pytest.mark.parametrize("suffix", [".tar", ".tar.gz", ".tgz"])
def test_a_tar_archive_is_a_folder(suffix: str, tmp_path: Path) -> None:
    contents = {"a/one.txt": b"first", "a/two.jsonl.gz": gzip.compress(b'{"text": "second"}'), "b.png": b"\x89PNG", "c.html": b"<p>third"}
    path = tmp_path / f"x{suffix}"
    with tarfile.open(path, "w" if suffix == ".tar" else "w:gz") as archive:
        for name, data in contents.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    report = Report()
    found = list(read_file(LocalFile("s", path, path.name, 1000), report))
    assert [(document.place, document.text) for document in found] == [
        (f"x{suffix}/a/one.txt", "first"), (f"x{suffix}/a/two.jsonl.gz", "second"), (f"x{suffix}/c.html", "<p>third")
    ]  # fmt: skip
    assert report.notes == [(path.name, "1 files in it are not of a kind that is read here")]
    path.write_bytes(path.read_bytes()[: -700 if suffix == ".tar" else -12])
    assert next(read_file(LocalFile("s", path, path.name, 1000), report)).text == "first"
