"""The collect stage: crawl what is to be crawled, list what lies on disk.

    corpus/collected/<source>/pages-00000.warc.gz, crawl.json     crawled sources
    corpus/collected/<source>/files.json                          local files, with what cannot be read and why
"""

from __future__ import annotations

import os
import platform
import stat
from pathlib import Path
from typing import Any

from groundup.corpus.sources import python_docs, remote, token_files
from groundup.corpus.sources.crawl import crawl
from groundup.errors import RequestError
from groundup.recipe import CrawlSource, FilesSource, PythonDocsSource, TokenFilesSource
from groundup.run import Run, Stage, digest, write_json

READ_BITS = 0o444  # what nobody may read is left alone even where we could (root)
FIXED_DATE = "2000-01-01T00:00:00Z"  # WARC-Date of pages made on the spot, which have no date


def collect(run: Run) -> Stage:
    """The collect stage (folder `corpus/collected`). Raises RequestError for a path that does not exist."""
    listings = {source.name: listing(source) for source in run.recipe.sources if isinstance(source, FilesSource | TokenFilesSource)}
    for source in run.recipe.sources:
        if isinstance(source, TokenFilesSource):
            token_files.vocabulary(Path(source.tokenizer))  # a wrong path is better known now
    depends = {"sources": [source.model_dump(exclude={"text_field", "weight"}) for source in run.recipe.sources]}
    inputs = {name: digest(files) for name, files in listings.items()}
    # python-docs reads the interpreter's own documentation: another Python is another input
    inputs |= {source.name: platform.python_version() for source in run.recipe.sources if isinstance(source, PythonDocsSource)}
    stage = run.stage("collect", "corpus/collected", depends=depends, inputs=inputs)
    if stage.done:
        return stage
    counts: dict[str, Any] = {"files": 0, "pages": 0, "bytes": 0}
    content: dict[str, Any] = dict(inputs)
    for source in run.recipe.sources:
        folder = stage.work / source.name
        folder.mkdir(exist_ok=True)
        if isinstance(source, FilesSource | TokenFilesSource):
            files = listings[source.name]
            write_json(folder / "files.json", files)
            counts["files"] += sum("error" not in file for file in files)
            counts["bytes"] += sum(file.get("bytes", 0) for file in files)
            continue
        found = _crawl(source, folder)
        content[source.name] = found["digest"]
        counts["pages"] += found["fetched"]
        counts["bytes"] += found["bytes"]
    stage.finish(counts, content=digest(content))
    return stage


def _crawl(source: CrawlSource | PythonDocsSource, folder: Path) -> dict[str, Any]:
    if isinstance(source, CrawlSource):
        return crawl(source, folder)
    if (folder / "crawl.json").is_file():  # collected before the build was cut off: nothing to serve
        return crawl(python_docs.as_crawl(source), folder)
    with python_docs.serve() as place:
        return crawl(python_docs.as_crawl(source), folder, connect_to={python_docs.HOST: place}, date=FIXED_DATE)


def listing(source: FilesSource | TokenFilesSource) -> list[dict[str, Any]]:
    """All files of a source in the order of their relative paths, each with its size and time or an `error`."""
    if remote.is_remote(source.path):
        if isinstance(source, TokenFilesSource):
            raise RequestError("token files are read from a disk", where=f"source {source.name}: {source.path}", do="Copy them here.")
        return remote.listing(source.name, source.path)
    root = Path(source.path).expanduser().absolute()
    try:
        mode = root.stat().st_mode
    except OSError as error:
        raise RequestError(
            f"{(error.strerror or 'unreachable').lower()}", where=f"source {source.name}: {root}", do="Correct the path."
        ) from None
    if not stat.S_ISDIR(mode):
        return [_entry(root, root.name)]
    found: list[dict[str, Any]] = []
    _list(root, root, found)
    return sorted(found, key=lambda file: str(file["relative"]))


def _list(folder: Path, root: Path, found: list[dict[str, Any]]) -> None:
    try:
        if not folder.stat().st_mode & READ_BITS:
            raise PermissionError
        children = list(os.scandir(folder))
    except OSError:
        found.append(_place(folder, folder.relative_to(root), error="unreadable folder"))
        return
    for child in children:
        path = Path(child.path)
        if child.name.startswith("."):
            found.append(_place(path, path.relative_to(root), error="hidden"))
        elif child.is_dir(follow_symlinks=False):
            _list(path, root, found)
        else:
            found.append(_entry(path, path.relative_to(root), linked=child.is_symlink()))


def _entry(path: Path, relative: Path | str, *, linked: bool = False) -> dict[str, Any]:
    try:
        status = path.stat()
    except OSError:
        return _place(path, relative, error="a broken link" if linked else "unreadable")
    if linked and stat.S_ISDIR(status.st_mode):
        return _place(path, relative, error="a link to a folder")  # may lead in circles
    if not stat.S_ISREG(status.st_mode):
        return _place(path, relative, error="not a regular file")
    if not status.st_mode & READ_BITS or not os.access(path, os.R_OK):
        return _place(path, relative, error="unreadable (no permission)")
    return _place(path, relative, bytes=status.st_size, mtime_ns=status.st_mtime_ns)


def _place(path: Path, relative: Path | str, **more: str | int) -> dict[str, Any]:
    """An entry. A name that is no UTF-8 cannot be written into JSON: it is listed in escaped form."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        names = [str(name).encode(errors="surrogateescape").decode(errors="backslashreplace") for name in (path, relative)]
        return {"path": names[0], "relative": names[1], "error": more.get("error", "its name is not valid UTF-8")}
    return {"path": str(path), "relative": str(relative), **more}
