"""The collect stage: crawl what is to be crawled, list what lies on disk.

    corpus/collected/<source>/00000.warc.gz, crawl.json     crawled sources
    corpus/collected/<source>/files.json                    local files, with what cannot be read and why
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

from groundup.corpus.sources import python_docs
from groundup.corpus.sources.crawl import crawl
from groundup.errors import RequestError
from groundup.recipe import CrawlSource, FilesSource
from groundup.run import Run, Stage, digest, write_json

FIXED_DATE = "2000-01-01T00:00:00Z"  # WARC-Date of pages made on the spot, which have no date


def collect(run: Run) -> Stage:
    """The collect stage (folder `corpus/collected`). Raises RequestError for a path that does not exist."""
    listings = {source.name: listing(source) for source in run.recipe.sources if isinstance(source, FilesSource)}
    depends = {"sources": [source.model_dump(exclude={"text_field"}) for source in run.recipe.sources]}
    stage = run.stage("collect", "corpus/collected", depends=depends, inputs={name: digest(files) for name, files in listings.items()})
    if stage.done:
        return stage
    counts: dict[str, Any] = {"files": 0, "pages": 0, "bytes": 0}
    for source in run.recipe.sources:
        folder = stage.work / source.name
        folder.mkdir(exist_ok=True)
        if isinstance(source, FilesSource):
            files = listings[source.name]
            write_json(folder / "files.json", files)
            counts["files"] += sum("error" not in file for file in files)
            counts["bytes"] += sum(file.get("bytes", 0) for file in files)
            continue
        if (folder / "crawl.json").is_file():
            found = crawl(source if isinstance(source, CrawlSource) else python_docs.as_crawl(source), folder)
        elif isinstance(source, CrawlSource):
            found = crawl(source, folder)
        else:
            with python_docs.serve() as place:
                found = crawl(python_docs.as_crawl(source), folder, connect_to={python_docs.HOST: place}, date=FIXED_DATE)
        counts["pages"] += found["fetched"]
        counts["bytes"] += found["bytes"]
    stage.finish(counts)
    return stage


def listing(source: FilesSource) -> list[dict[str, Any]]:
    """All files of a source in the order of their relative paths, each with its size and time or an `error`."""
    root = Path(source.path).expanduser()
    if not root.exists():
        raise RequestError("no such file or folder", where=f"source {source.name}: {root}", do="Correct the path.")
    if root.is_file():
        return [_entry(root, root.name)]
    found: list[dict[str, Any]] = []
    _list(root, root, found)
    return sorted(found, key=lambda file: str(file["relative"]))


def _list(folder: Path, root: Path, found: list[dict[str, Any]]) -> None:
    try:
        children = sorted(os.scandir(folder), key=lambda child: child.name)
    except OSError as error:
        found.append({"path": str(folder), "relative": str(folder.relative_to(root)), "error": f"unreadable ({error.strerror})"})
        return
    for child in children:
        path = Path(child.path)
        relative = str(path.relative_to(root))
        if child.name.startswith("."):
            found.append({"path": str(path), "relative": relative, "error": "hidden"})
        elif child.is_dir(follow_symlinks=False):
            _list(path, root, found)
        elif child.is_symlink() and path.is_dir():
            found.append({"path": str(path), "relative": relative, "error": "a link to a folder"})  # may lead in circles
        else:
            found.append(_entry(path, relative))


def _entry(path: Path, relative: str) -> dict[str, Any]:
    place = {"path": str(path), "relative": relative}
    try:
        status = path.stat()
    except OSError:
        return {**place, "error": "a broken link" if path.is_symlink() else "unreadable"}
    if not stat.S_ISREG(status.st_mode):
        return {**place, "error": "not a regular file"}
    # a file that nobody may read is left alone even where we could (root)
    if not status.st_mode & 0o444 or not os.access(path, os.R_OK):
        return {**place, "error": "unreadable (no permission)"}
    return {**place, "bytes": status.st_size, "mtime_ns": status.st_mtime_ns}
