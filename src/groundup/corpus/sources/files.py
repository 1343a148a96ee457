"""Local files as raw documents: text, HTML, JSON lines, Parquet, WARC, EPUB, tar archives of them, and gzip or zstd around.

The name says what a file should be, its content whether it is: a picture renamed to `.txt` is skipped. Text is read
as a stream, so a file may be larger than memory. Nothing here raises for a bad file: what cannot be read is skipped
with a reason, what can be read in part is kept with a note, and both are listed in the funnel report.
"""

from __future__ import annotations

import codecs
import json
import posixpath
import re
import shutil
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote
from xml.etree import ElementTree

import pyarrow as pa
from pyarrow import parquet
from resiliparse.parse.encoding import detect_encoding

from groundup.corpus.document import Document, cut
from groundup.corpus.sources import warc

CHUNK = 1 << 20  # bytes read at once
ZSTD_CHUNK = 1 << 14  # bytes; a read that meets the damage loses what it had, so it had better be little
WHOLE = 64 << 20  # bytes: the longest HTML page, EPUB or JSON line, which are parsed whole
SUFFIXES = {
    ".txt": "text", ".text": "text", ".md": "text", ".markdown": "text", ".htm": "html", ".html": "html", ".xhtml": "html",
    ".jsonl": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet", ".warc": "warc", ".wet": "warc", ".epub": "epub",
    ".tar": "tar", ".tgz": "tar",
}  # fmt: skip
MAGIC = {
    b"\x1f\x8b": "gzip data", b"\x28\xb5\x2f\xfd": "zstd data", b"PK\x03\x04": "zip data", b"PAR1": "Parquet data",
    b"%PDF": "a PDF", b"\x89PNG": "a PNG picture", b"\xff\xd8\xff": "a JPEG picture", b"GIF8": "a GIF picture",
    b"\x7fELF": "an ELF program", b"7z\xbc\xaf": "7z data", b"BZh": "bzip2 data", b"\xfd7zXZ": "xz data", b"%!PS": "PostScript",
}  # fmt: skip
BOMS = ((codecs.BOM_UTF32_LE, "utf-32"), (codecs.BOM_UTF32_BE, "utf-32"), (codecs.BOM_UTF8, "utf-8-sig"),
        (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))  # fmt: skip
CONTROL = bytes(byte for byte in range(32) if byte not in b"\t\n\r\f\b\x1b")
MAX_CONTROL_SHARE = 0.01  # of a sample; text has next to none, programs and pictures have more than a tenth


@dataclass
class Report:
    """What there is to say about one file, besides its documents."""

    skipped: list[tuple[str, str]] = field(default_factory=list)
    """(name, reason)."""
    notes: list[tuple[str, str]] = field(default_factory=list)
    """(name, note)."""


class Unreadable(Exception):
    """Why a file cannot be read, in words for the report."""


@dataclass(frozen=True)
class LocalFile:
    """A file of a source: `relative` is its name in the corpus."""

    source: str
    path: Path
    relative: str
    max_characters: int
    """Longer documents are cut into parts."""
    text_field: str = "text"


def read_file(file: LocalFile, report: Report) -> Iterator[Document]:
    """The documents of a file, long ones cut. Never raises for a bad file."""
    read = 0
    try:
        for document in _documents(file, report):
            yield document
            read += 1
    except Unreadable as error:
        _give_up(file, report, str(error), read)
    except PermissionError:
        _give_up(file, report, "permission denied", read)
    except (OSError, ValueError, KeyError, EOFError, zlib.error, zipfile.BadZipFile, tarfile.TarError, ElementTree.ParseError, pa.ArrowException,
            NotImplementedError, RuntimeError) as error:  # fmt: skip
        _give_up(file, report, f"damaged: {' '.join(str(error).split())[:200] or type(error).__name__}", read)


def _give_up(file: LocalFile, report: Report, reason: str, read: int) -> None:
    if read:
        report.notes.append((file.relative, f"{reason}; kept the {read:,} documents before"))
    else:
        report.skipped.append((file.relative, reason))


def _documents(file: LocalFile, report: Report) -> Iterator[Document]:
    if not file.path.is_file():
        raise Unreadable("not there any more" if not file.path.exists() else "not a regular file")
    if file.path.stat().st_size == 0:
        raise Unreadable("empty")
    kind, packing = _kind(file.path.name)
    if kind is None:
        raise Unreadable("not a kind of file that is read here")
    yield from READERS[kind](file, packing, report)


def _kind(name: str) -> tuple[str | None, str]:
    """What a file should be by its name, and how it is packed; None for what is not read."""
    name = name.lower()
    packing = ".gz" if name.endswith(".tgz") else next((suffix for suffix in (".gz", ".zst") if name.endswith(suffix)), "")
    kind = SUFFIXES.get(posixpath.splitext(name.removesuffix(packing))[1])
    return (None if packing and kind in ("parquet", "epub") else kind), packing


def readable(name: str) -> bool:
    """Whether a file of this name is of a kind that is read here."""
    return _kind(name)[0] is not None


# --- bytes ----------------------------------------------------------------------------------------------------------


def _chunks(file: LocalFile, packing: str, report: Report) -> Iterator[bytes]:
    """The unpacked bytes of a file. Of a damaged or truncated gzip or zstd: what could be read, and a note."""
    read = False
    unpack = {"": _plain, ".gz": _gunzip, ".zst": _unzstd}[packing]
    try:
        for chunk in unpack(file.path):
            read = True
            yield chunk
    except Unreadable as error:
        if not read:
            raise
        report.notes.append((file.relative, f"{error}: kept what could be read"))


def _plain(path: Path) -> Iterator[bytes]:
    with path.open("rb") as stream:
        while chunk := stream.read(CHUNK):
            yield chunk


def _gunzip(path: Path) -> Iterator[bytes]:
    """By zlib itself: the gzip module throws away what it has unpacked when the end is missing."""
    unpacker = zlib.decompressobj(wbits=31)
    for packed in _plain(path):
        while packed:
            if unpacker.eof:
                if not packed.strip(b"\0"):
                    return  # zeros after the last member, as tapes have them
                unpacker = zlib.decompressobj(wbits=31)
            try:
                chunk = unpacker.decompress(packed, CHUNK)
            except zlib.error:
                raise Unreadable("damaged gzip") from None
            if chunk:
                yield chunk
            packed = unpacker.unused_data if unpacker.eof else unpacker.unconsumed_tail
    if not unpacker.eof:
        if chunk := unpacker.flush():
            yield chunk
        if not unpacker.eof:
            raise Unreadable("truncated gzip")


def _unzstd(path: Path) -> Iterator[bytes]:
    with pa.OSFile(str(path)) as raw, pa.CompressedInputStream(raw, "zstd") as stream:
        while True:
            try:
                chunk = stream.read(ZSTD_CHUNK)
            except OSError:
                raise Unreadable("truncated or damaged zstd") from None
            if not chunk:
                return
            yield chunk


def _whole(file: LocalFile, packing: str, report: Report) -> bytes:
    data = b""
    for chunk in _chunks(file, packing, report):
        data += chunk
        if len(data) > WHOLE:
            raise Unreadable(f"longer than {WHOLE >> 20} MiB, too long to be parsed whole")
    return data


def _check_text(sample: bytes) -> None:
    """Raises Unreadable for what is not text whatever its name."""
    if not sample.strip():
        raise Unreadable("empty" if not sample else "nothing but blank space")
    if any(sample.startswith(bom) for bom, _ in BOMS):
        return
    for magic, what in MAGIC.items():
        if sample.startswith(magic):
            raise Unreadable(f"binary: {what}")
    if _utf16(sample):
        return
    if b"\0" in sample:
        raise Unreadable("binary: it holds NUL bytes")
    if len(sample) - len(sample.translate(None, CONTROL)) > MAX_CONTROL_SHARE * len(sample):
        raise Unreadable("binary: it holds control characters")


def _utf16(sample: bytes) -> str:
    """Which UTF-16 without a mark this is, by the zeros in every other byte of European text; or nothing."""
    even, odd = sample[0:4096:2], sample[1:4096:2]
    for name, zeros, others in (("utf-16-le", odd, even), ("utf-16-be", even, odd)):
        if zeros.count(0) > 0.7 * len(zeros) and others.count(0) == 0 and len(zeros) >= 4:
            return name
    return ""


# --- text -----------------------------------------------------------------------------------------------------------


def _text(file: LocalFile, packing: str, report: Report) -> Iterator[str]:
    """The text of a file in chunks, whatever its encoding.

    A file that is not UTF-8 from end to end is read twice: once to find out, once to decode.
    """
    first = next(_chunks(file, packing, Report()), b"")
    _check_text(first)
    encoding = next((name for bom, name in BOMS if first.startswith(bom)), "") or _utf16(first)
    if not encoding:
        encoding = _judge(file, packing)
    if encoding not in ("utf-8", "utf-8-sig"):
        report.notes.append((file.relative, f"decoded as {encoding}"))
    decoder = codecs.getincrementaldecoder(encoding)("replace")
    lost = 0
    for chunk in _chunks(file, packing, report):
        text = decoder.decode(chunk)
        lost += text.count("\ufffd") - chunk.count(b"\xef\xbf\xbd")
        yield text
    yield decoder.decode(b"", final=True)
    if encoding.startswith("utf-8") and lost > 0:
        report.notes.append((file.relative, f"{lost:,} bytes or so were not valid UTF-8 and were replaced"))


def _judge(file: LocalFile, packing: str) -> str:
    """UTF-8 if the file is that, or nearly (ten good characters beyond ASCII to a bad one); else what it looks like."""
    strict = codecs.getincrementaldecoder("utf-8")("strict")
    before = b""
    for chunk in _chunks(file, packing, Report()):
        try:
            strict.decode(chunk)
        except UnicodeDecodeError:
            sample = before[-CHUNK // 2 :] + chunk
            text = sample.decode("utf-8", "replace")
            bad = text.count("\ufffd")
            beyond = sum(character > "\x7f" for character in text) - bad
            return "utf-8" if beyond >= 10 * bad else _guess(sample)
        before = chunk
    return "utf-8"  # a character cut off at the very end changes nothing


def _guess(sample: bytes) -> str:
    """The single-byte or East Asian encoding of a sample that is not UTF-8; windows-1252 where nothing fits better."""
    name = (detect_encoding(sample) or "").lower()
    try:
        if name in ("", "utf-8", "ascii"):
            raise LookupError
        sample.decode(name)
        return str(codecs.lookup(name).name).replace("cp125", "windows-125")
    except UnicodeDecodeError as error:
        if error.start > len(sample) - 4 or error.start < 4:  # a character cut by the sample's border
            return str(codecs.lookup(name).name)
    except LookupError:
        pass
    return "windows-1252"


def decode_html(data: bytes) -> str:
    """A page's text by its mark, its UTF-8, its meta tag, or its looks, in this order."""
    for bom, name in BOMS:
        if data.startswith(bom):
            return data.decode(name, "replace")
    try:
        return data.decode()
    except UnicodeDecodeError:
        name = detect_encoding(data, from_html_meta=True) or "utf-8"
    try:
        return data.decode("windows-1252" if name == "utf-8" else name, "replace")
    except LookupError:
        return data.decode("windows-1252", "replace")


# --- one reader a kind ----------------------------------------------------------------------------------------------


def _plain_text(file: LocalFile, packing: str, report: Report) -> Iterator[Document]:
    yield from parts(Document(file.source, file.relative, "", file.relative), _text(file, packing, report), file.max_characters, report)


def _html(file: LocalFile, packing: str, report: Report) -> Iterator[Document]:
    data = _whole(file, packing, report)
    _check_text(data[:CHUNK])
    yield Document(file.source, file.relative, decode_html(data), file.relative, format="html")


def _lines(chunks: Iterator[bytes]) -> Iterator[bytes | None]:
    """Lines of a stream of bytes; None for one that is longer than WHOLE."""
    held, too_long = bytearray(), False
    for chunk in chunks:
        *ended, rest = chunk.split(b"\n")
        for line in ended:
            yield None if too_long or len(held) + len(line) > WHOLE else bytes(held) + line
            held.clear()
            too_long = False
        held += b"" if too_long else rest
        if len(held) > WHOLE:
            too_long = True
            held.clear()
    if too_long or held:
        yield None if too_long else bytes(held)


def _json_lines(file: LocalFile, packing: str, report: Report) -> Iterator[Document]:
    malformed = lacking = number = 0
    stream = _chunks(file, packing, report)
    first = next(stream, b"")
    _check_text(first)
    for line in _lines(chain([first], stream)):
        if line is not None and not line.strip():
            continue
        try:
            row = None if line is None else json.loads(_decode_line(line))
        except (ValueError, RecursionError):
            row = None
        if not isinstance(row, dict):
            malformed += 1
        elif not isinstance(text := row.get(file.text_field), str):
            lacking += 1
        else:
            url, language = _string(row.get("url")) or file.relative, _string(row.get("language")) or _string(row.get("lang"))
            document = Document(file.source, file.relative, "", url, number, language=language)
            yield from parts(document, [text], file.max_characters, report)
            number += 1
    if number == 0:
        raise Unreadable(f"no line has text in the field '{file.text_field}'" if lacking else "no line is a JSON object")
    if malformed:
        report.notes.append((file.relative, f"{malformed:,} malformed lines left out"))
    if lacking:
        report.notes.append((file.relative, f"{lacking:,} lines without text in the field '{file.text_field}' left out"))


def _decode_line(line: bytes) -> str:
    try:
        return line.decode("utf-8-sig")
    except UnicodeDecodeError:
        return line.decode("windows-1252", "replace")


def _string(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _parquet(file: LocalFile, packing: str, report: Report) -> Iterator[Document]:
    with parquet.ParquetFile(file.path) as table:
        names = table.schema_arrow.names
        if file.text_field not in names:
            raise Unreadable(f"no column '{file.text_field}' (there are: {', '.join(names[:20])})")
        columns = [file.text_field, *(name for name in ("url", "language") if name in names and name != file.text_field)]
        number = 0
        for batch in table.iter_batches(batch_size=64, columns=columns):
            for row in batch.to_pylist():
                if isinstance(text := row[file.text_field], str):
                    url = _string(row.get("url")) or file.relative
                    document = Document(file.source, file.relative, "", url, number, language=_string(row.get("language")))
                    yield from parts(document, [text], file.max_characters, report)
                    number += 1
    if number == 0:
        raise Unreadable(f"no row has text in the column '{file.text_field}'")


def _warc(file: LocalFile, packing: str, report: Report) -> Iterator[Document]:
    if packing == ".zst":
        raise Unreadable("WARC packed with zstd is not read here")
    notes: list[str] = []
    number = -1
    for number, page in enumerate(warc.read_pages(file.path, notes)):
        yield from page_document(Document(file.source, file.relative, "", page.url, number), page, file.max_characters, report)
    if number < 0:
        raise Unreadable(notes[0] if notes else "no pages in it")
    report.notes += [(file.relative, note) for note in notes]


def page_document(document: Document, page: warc.Page, limit: int, report: Report) -> Iterator[Document]:
    """A page of a WARC file as a document, unless it is neither HTML nor text."""
    if page.media_type in ("text/html", "application/xhtml+xml"):
        yield replace(document, text=page.html, format="html")
    elif page.media_type == "text/plain":
        yield from parts(document, [page.html], limit, report)
    else:
        name = page.url if document.place == page.url else f"{document.place}: {page.url}"
        report.skipped.append((name, f"not a page of text but {page.media_type or 'of no known type'}"))


def parts(document: Document, chunks: Iterable[str], limit: int, report: Report) -> Iterator[Document]:
    """A document with the text of `chunks`, as one or, where that is longer than `limit` characters, as several."""
    number = -1
    for number, text in enumerate(cut(chunks, limit)):
        yield replace(document, text=text, part=number)
    if number > 0:
        report.notes.append((document.url, f"cut into {number + 1:,} parts"))


def _epub(file: LocalFile, packing: str, report: Report) -> Iterator[Document]:
    """The chapters of an EPUB in reading order, as one document (EPUB 3.3, "package document" and "spine")."""
    with zipfile.ZipFile(file.path) as archive:
        container = ElementTree.fromstring(archive.read("META-INF/container.xml"))
        root = next(node.attrib["full-path"] for node in container.iter() if node.tag.endswith("}rootfile"))
        package = ElementTree.fromstring(archive.read(root))
        items = {node.attrib["id"]: unquote(node.attrib["href"]) for node in package.iter() if node.tag.endswith("}item")}
        spine = [items[node.attrib["idref"]] for node in package.iter() if node.tag.endswith("}itemref")]
        language = next((node.text for node in package.iter() if node.tag.endswith("}language")), None)
        chapters: list[str] = []
        size = 0
        for href in spine:
            name = posixpath.normpath(posixpath.join(posixpath.dirname(root), href))
            size += archive.getinfo(name).file_size
            if size > WHOLE:
                raise Unreadable(f"longer than {WHOLE >> 20} MiB, too long to be parsed whole")
            chapter = decode_html(archive.read(name))
            body = re.search(r"<body\b[^>]*>(.*)</body\s*>", chapter, re.DOTALL | re.IGNORECASE)
            chapters.append(body[1] if body else chapter)
    text = "<html><body>" + "\n<hr>\n".join(chapters) + "</body></html>"
    yield Document(file.source, file.relative, text, file.relative, language=language, format="book")


def _tar(file: LocalFile, packing: str, report: Report) -> Iterator[Document]:
    """The files in a tar archive that are of a kind read here, each as if it stood in a folder of the archive's name."""
    others = 0
    with tempfile.TemporaryDirectory() as folder, tarfile.open(fileobj=_Stream(_chunks(file, packing, report)), mode="r|") as archive:  # type: ignore[call-overload]
        for member in archive:
            name = posixpath.basename(member.name)
            content = archive.extractfile(member) if member.isfile() and _kind(name)[0] not in (None, "tar") else None
            if content is None:
                others += member.isfile()
                continue
            path = Path(folder) / f"member{''.join(PurePosixPath(name).suffixes[-2:])}"
            with path.open("wb") as unpacked:
                shutil.copyfileobj(content, unpacked, CHUNK)
            yield from read_file(replace(file, path=path, relative=f"{file.relative}/{member.name}"), report)
    if others:
        report.notes.append((file.relative, f"{others:,} files in it are not of a kind that is read here"))


class _Stream:
    """Chunks of bytes as something to read from."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks, self._held = chunks, b""

    def read(self, size: int) -> bytes:
        """`size` bytes, fewer only at the end."""
        while len(self._held) < size and (chunk := next(self._chunks, b"")):
            self._held += chunk
        found, self._held = self._held[:size], self._held[size:]
        return found


READERS: dict[str, Callable[[LocalFile, str, Report], Iterator[Document]]] = {
    "text": _plain_text, "html": _html, "jsonl": _json_lines, "parquet": _parquet, "warc": _warc, "epub": _epub, "tar": _tar,
}  # fmt: skip
