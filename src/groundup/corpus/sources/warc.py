"""WARC 1.1 (ISO 28500:2017): the web archive format that crawls are kept in and Common Crawl is published in.

Each record is a gzip member of its own, so a file can be cut after any record and what is before stays whole. That is
how a stopped crawl goes on: the file is cut back to the last record the crawl's journal knows.
"""

from __future__ import annotations

import gzip
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from fastwarc.warc import ArchiveIterator, WarcRecordType
from resiliparse.parse.encoding import bytes_to_str, detect_encoding


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
        """The body as text: UTF-8 if it is that, else the server's charset or the likeliest one."""
        try:
            return self.body.decode("utf-8")
        except UnicodeDecodeError:
            text: str = bytes_to_str(self.body, self.charset or detect_encoding(self.body, html5_compatible=True) or "windows-1252")
            return text


def record(kind: str, headers: dict[str, str], block: bytes) -> bytes:
    """One WARC record as a gzip member. The record id follows from the address, so equal crawls give equal bytes."""
    name = uuid.uuid5(uuid.NAMESPACE_URL, f"{kind} {headers.get('WARC-Target-URI', '')}")
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
    """The pages of a WARC file (plain, gzip or lz4): HTTP responses with status 200, and resources.

    What is damaged is passed over and said in `notes`; this never raises for the file's content.
    """
    notes = notes if notes is not None else []
    stream = path.open("rb")
    kinds = WarcRecordType.response | WarcRecordType.resource
    try:
        records = iter(ArchiveIterator(stream, record_types=kinds, parse_http=True))
        while True:
            try:
                item = next(records)
            except StopIteration:
                return
            page = _page(item, notes)
            if page is not None:
                yield page
    except Exception as error:  # the library raises StreamError, ValueError and others for damaged input
        notes.append(f"damaged after the last whole record ({type(error).__name__}: {_one_line(str(error))[:100]})")
    finally:
        stream.close()


def _page(item: object, notes: list[str]) -> Page | None:
    try:
        http = item.http_headers  # type: ignore[attr-defined]
        if http is not None and http.status_code != 200:
            return None
        headers = item.headers  # type: ignore[attr-defined]
        url = (headers.get("WARC-Target-URI") or "").strip("<>")
        content_type = item.http_content_type if http is not None else (headers.get("Content-Type") or "")  # type: ignore[attr-defined]
        body = item.reader.read()  # type: ignore[attr-defined]
        charset = item.http_charset if http is not None else None  # type: ignore[attr-defined]
        return Page(url, (content_type or "").split(";")[0].strip().lower(), body, charset, headers.get("WARC-Date"))
    except Exception as error:
        notes.append(f"a record could not be read ({type(error).__name__})")
        return None
