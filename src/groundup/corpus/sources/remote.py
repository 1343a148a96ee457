"""Files in an object store (`s3://`, `gs://`) or any other place that fsspec knows. The only file that imports fsspec.

A file is fetched to this machine's temporary folder when its turn comes, read as a local one, and removed: Parquet and EPUB need
their ends first, text is read twice, and a connection that breaks must not look like a damaged file. Credentials are the
store's own (environment, profile, the machine's role).
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from groundup.corpus.document import Document
from groundup.corpus.sources.files import CHUNK, LocalFile, Report, read_file, readable
from groundup.errors import GroundupError, RequestError

MARKS = ("ETag", "etag", "md5Hash", "mtime", "LastModified", "updated", "created")  # what tells a file from one written in its place later


def is_remote(path: str) -> bool:
    """Whether a source's path is an address."""
    return "://" in path


def listing(source: str, url: str) -> list[dict[str, Any]]:
    """All files under an address in the order of their relative paths, each with its size and mark. Raises RequestError."""
    where = f"source {source}: {url}"
    store, root = _store(url, where)
    try:
        found = store.find(root, detail=True)
    except Exception as error:  # each store has errors of its own
        raise RequestError(f"cannot be listed: {_words(error)}", where=where, do="Correct the path, or the store's credentials.") from error
    if not found:
        raise RequestError("no files there", where=where, do="Correct the path.")
    files: list[dict[str, Any]] = []
    for path, about in found.items():
        relative = path.removeprefix(root).strip("/") or PurePosixPath(path).name
        entry: dict[str, Any] = {"path": store.unstrip_protocol(path), "relative": relative}
        if any(part.startswith(".") for part in relative.split("/")):
            files.append({**entry, "error": "hidden"})
        else:
            files.append({**entry, "bytes": about["size"], "mark": next((str(about[name]) for name in MARKS if about.get(name)), "")})
    return sorted(files, key=lambda file: str(file["relative"]))


@dataclass(frozen=True)
class RemoteUnit:
    """One file of a store; `file` says how it is read, its path is the name alone."""

    url: str
    file: LocalFile

    def read(self, report: Report) -> Iterator[Document]:
        """The documents of the file. Raises GroundupError where it cannot be fetched."""
        name = self.file.path.name
        if not readable(name):
            report.skipped.append((self.file.relative, "not a kind of file that is read here"))
            return
        store, path = _store(self.url, self.url)
        with tempfile.TemporaryDirectory(prefix="groundup-") as folder:
            here = Path(folder) / f"file{''.join(PurePosixPath(name).suffixes[-2:])}"
            try:
                with store.open(path, "rb") as stream, here.open("wb") as copy:
                    shutil.copyfileobj(stream, copy, CHUNK)
            except FileNotFoundError:
                report.skipped.append((self.file.relative, "not there any more"))
                return
            except Exception as error:  # each store has errors of its own
                raise GroundupError(
                    f"cannot be fetched: {_words(error)}", where=self.url, do="What is finished is kept: run the same command again."
                ) from error
            yield from read_file(replace(self.file, path=here), report)


def _store(url: str, where: str) -> tuple[Any, str]:
    """The file system behind an address, and the path in it."""
    try:
        import fsspec
    except ImportError:
        raise RequestError("addresses are read through fsspec", where=where, do="pip install 'groundup[cluster]'.") from None
    try:
        store, path = fsspec.core.url_to_fs(url)
    except (ImportError, ValueError) as error:  # no s3fs, no such protocol
        raise RequestError(_words(error), where=where, do="For s3:// `pip install s3fs`, for gs:// `pip install gcsfs`.") from None
    return store, str(path).rstrip("/")


def _words(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
