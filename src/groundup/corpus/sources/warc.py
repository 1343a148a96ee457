"""WARC 1.1 (ISO 28500:2017): the web archive format that crawls are kept in and Common Crawl is published in.

Each record is a gzip member of its own, so a file can be cut after any record and what is before stays whole. That is
how a stopped crawl goes on: the file is cut back to the last record the crawl's journal knows.
"""

from __future__ import annotations

import codecs
import gzip
import uuid
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from fastwarc.warc import ArchiveIterator, WarcRecord, WarcRecordType
from resiliparse.parse.encoding import bytes_to_str, detect_encoding, map_encoding_to_html5

GZIP = b"\x1f\x8b\x08"  # begins a gzip member (RFC 1952)
CHUNK = 1 << 18  # bytes read at once
CUT_OFF = "cut off: kept what could be read"


@dataclass(frozen=True)
class Page:
    """One stored page."""

    url: str
    media_type: str
    """Such as `text/html`, in lower case, without parameters."""
    body: bytes
    charset: str | None
    """What the server said; not always true."""
    date: str | None

    @property
    def html(self) -> str:
        """The body as text: UTF-8 if it is that (a body may be cut within a character), else as the server says, else as
        the page says, else as it looks."""
        with suppress(UnicodeDecodeError):
            utf8 = codecs.getincrementaldecoder("utf-8")().decode(self.body)
            if not utf8.isascii() or len(utf8) == len(self.body):  # not: ASCII with one strange byte at its end
                return utf8.removeprefix("\ufeff")
        said = map_encoding_to_html5(self.charset, fallback_utf8=False) if self.charset else None
        name = said if said not in (None, "utf-8") else detect_encoding(self.body, from_html_meta=True)
        text: str = bytes_to_str(self.body, name if name not in (None, "utf-8") else "cp1252", errors="replace", fallback_encodings=())
        return text.removeprefix("\ufeff")


def record(kind: str, headers: dict[str, str], block: bytes) -> bytes:
    """One WARC record as a gzip member. Its id follows from address and date, so equal crawls give equal bytes."""
    name = uuid.uuid5(uuid.NAMESPACE_URL, f"{kind} {headers.get('WARC-Target-URI', '')} {headers['WARC-Date']}")
    lines = ["WARC/1.1", f"WARC-Type: {kind}", f"WARC-Record-ID: <urn:uuid:{name}>"]
    lines += [f"{key}: {_one_line(value)}" for key, value in headers.items()] + [f"Content-Length: {len(block)}"]
    return gzip.compress("\r\n".join(lines).encode() + b"\r\n\r\n" + block + b"\r\n\r\n", compresslevel=6, mtime=0)


def info(software: str, date: str) -> bytes:
    """The record that begins a file: who made it."""
    block = f"software: {_one_line(software)}\r\nformat: WARC File Format 1.1\r\n".encode()
    return record("warcinfo", {"WARC-Date": date, "Content-Type": "application/warc-fields"}, block)


def response(url: str, date: str, content_type: str, body: bytes, *, truncated: bool) -> bytes:
    """A fetched page. The body is stored decoded (no Content-Encoding), so only the headers that describe it are kept."""
    http = f"HTTP/1.1 200 OK\r\nContent-Type: {_one_line(content_type)}\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    headers = {"WARC-Target-URI": url, "WARC-Date": date, "Content-Type": "application/http; msgtype=response"}
    if truncated:
        headers["WARC-Truncated"] = "length"
    return record("response", headers, http + body)


def _one_line(text: str) -> str:
    return " ".join(text.split())


def read_pages(path: Path, notes: list[str] | None = None) -> Iterator[Page]:
    """The pages of a WARC file (plain, gzip, lz4 or zstd): HTTP responses with status 200, resources, and Common Crawl's WET texts.

    Transfer and content encodings are undone. What is damaged is passed over and said in `notes`, as is what is no page; this
    never raises for the file's content.
    """
    notes = notes if notes is not None else []
    no_pages: Counter[str] = Counter()
    yield from _read(path, notes, no_pages)
    notes += [f"left out: {count:,} {why}" for why, count in sorted(no_pages.items())]


def _read(path: Path, notes: list[str], no_pages: Counter[str]) -> Iterator[Page]:
    with path.open("rb") as file:
        packed = file.read(len(GZIP)) == GZIP
        file.seek(0)
        start: int | None = 0
        while start is not None:
            stream = _Members(file, start) if packed else None
            yield from _pages(stream or file, notes, no_pages)
            if stream is None:
                if _cut_off(file):
                    notes.append(CUT_OFF)
                return
            if stream.problem is None:
                return
            start = _next_member(file, stream.member + 1)
            if start is None:
                notes.append(CUT_OFF if stream.problem == "cut off" else f"{stream.problem} at byte {stream.member:,}, to its end")
            else:
                notes.append(f"{stream.problem} at byte {stream.member:,}: passed over {start - stream.member:,} bytes")


def _cut_off(file: BinaryIO) -> bool:
    """Whether a file that is not packed ends elsewhere than at a record's end."""
    file.seek(0)
    begin = file.read(5)
    file.seek(-min(4, file.seek(0, 2)), 2)
    return begin == b"WARC/" and file.read(4) != b"\r\n\r\n"


def _pages(stream: _Members | BinaryIO, notes: list[str], no_pages: Counter[str]) -> Iterator[Page]:
    kinds = WarcRecordType.response | WarcRecordType.resource | WarcRecordType.conversion
    try:
        # of a stream it calls read and tell alone
        for item in ArchiveIterator(stream, record_types=kinds, parse_http=False):  # type: ignore[arg-type]
            page = _page(item, notes, no_pages)
            if page is not None:
                yield page
    except Exception as error:  # the library raises OSError, ValueError and others for damaged input
        notes.append(f"no WARC record where one should begin ({_one_line(str(error))[:100]})")


def _page(item: WarcRecord, notes: list[str], no_pages: Counter[str]) -> Page | None:
    url = (item.headers.get("WARC-Target-URI") or "").strip("<>")
    length = item.content_length
    try:
        content_type, http = item.headers.get("Content-Type") or "", item.is_http
        if http:
            item.parse_http(auto_decode="all")
            if item.http_headers.status_code != 200:
                no_pages[f"answers with status {item.http_headers.status_code or 'unknown'}"] += 1
                return None
            content_type = item.http_headers.get("Content-Type") or ""
        body: bytes = item.reader.read()
    except Exception as error:  # as above; a body that cannot be unpacked
        notes.append(f"{url or 'a record'}: could not be read ({_one_line(str(error))[:100]})")
        return None
    if not url or (length and not body):
        no_pages["without an address" if not url else "without a body"] += 1
        return None
    return Page(url, media_type(content_type), body, charset(content_type), item.headers.get("WARC-Date"))


class _Members:
    """The unpacked content of a gzip file from a member on, up to the file's end or to damage, which looks like an end.

    Says where the damage is, which no library does; so what follows it can be read, too.
    """

    def __init__(self, file: BinaryIO, start: int) -> None:
        self._file, self._unpack = file, zlib.decompressobj(wbits=31)
        self._input, self._position = b"", start  # packed bytes at hand; where in the file they end
        self._read = 0  # unpacked bytes
        self.member = start
        self.problem: str | None = None
        file.seek(start)

    def read(self, size: int = -1) -> bytes:
        """Up to `size` bytes; none at the end."""
        while self.problem is None:
            if not self._input:
                self._input = self._file.read(CHUNK)
                self._position += len(self._input)
                if not self._input:
                    self.problem = "cut off" if self._position > self.member else None
                    return b""
            try:
                found = self._unpack.decompress(self._input, CHUNK if size < 0 else size)
            except zlib.error:
                self.problem = "damaged"
                return b""
            self._input = self._unpack.unconsumed_tail
            if self._unpack.eof:
                self._input = self._unpack.unused_data
                self.member = self._position - len(self._input)
                self._unpack = zlib.decompressobj(wbits=31)
            if found:
                self._read += len(found)
                return found
        return b""

    def tell(self) -> int:
        """Unpacked bytes read."""
        return self._read


def _next_member(file: BinaryIO, start: int) -> int | None:
    """Where the next gzip member with a WARC record begins."""
    file.seek(start)
    window, base = b"", start
    while chunk := file.read(CHUNK):
        window += chunk
        place = window.find(GZIP)
        while place >= 0:
            with suppress(zlib.error):
                after = window[place : place + 1024]  # enough for the first bytes; a member at a chunk's end is long enough
                if zlib.decompressobj(wbits=31).decompress(after, 5) == b"WARC/":
                    return base + place
            place = window.find(GZIP, place + 1)
        base, window = base + max(0, len(window) - 1024), window[-1024:]
    return None


def media_type(content_type: str) -> str:
    """`text/html` of `Text/HTML; charset=x`."""
    return content_type.partition(";")[0].strip().lower()


def charset(content_type: str) -> str | None:
    """`x` of `text/html; charset=x`."""
    _, found, rest = content_type.lower().partition("charset=")
    return rest.partition(";")[0].strip(" \"'") or None if found else None
