"""Where a build lives: run folder, stages with manifests, atomic writes, the lock, resume.

    runs/<name>/
      recipe.yaml                 the resolved recipe
      corpus/ tokenizer/ ...      one folder a finished stage, each with a manifest.json
      .corpus-clean.partial       a stage at work; renamed into place when it ends
      superseded/                 checkpoints that a changed recipe replaced: never deleted by us
      log.jsonl                   one JSON object a line, from all stages

A stage's key is a digest of what it depends on: its part of the recipe and its inputs' content digests. A finished
stage whose key still matches is skipped. A stage that was cut off finds its own finished shards or checkpoints in
its work folder, which is kept exactly as long as the key is the same. So a build that was killed at any instant and
started again does the rest and nothing twice.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import platform
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import groundup
from groundup import recipe as recipes
from groundup.errors import GroundupError, RequestError
from groundup.recipe import Recipe

FORMAT = 1  # of manifests; a newer one is refused, an older one is recomputed


def cache_folder(name: str) -> Path:
    """The user's folder for what can be made again, such as compiled code."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "groundup" / name


def digest(*parts: Any) -> str:
    """A short stable digest (32 hex digits, BLAKE2b) of JSON-able values."""
    text = json.dumps(parts, sort_keys=True, ensure_ascii=False, separators=(",", ":"), default=str)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def digest_file(path: Path) -> str:
    """A digest of a file's contents."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def digest_folder(folder: Path) -> str:
    """A digest of the names and contents of all files under a folder, the stage's own two left out."""
    total = hashlib.blake2b(digest_size=16)
    for path in sorted(path for path in folder.rglob("*") if path.is_file() and path.name not in ("manifest.json", ".key")):
        total.update(str(path.relative_to(folder)).encode() + b"\0")
        with path.open("rb") as file:
            total.update(hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).digest())
    return total.hexdigest()


def sync_folder(folder: Path) -> None:
    """Make renames in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_atomic(path: Path, data: bytes | str) -> None:
    """Write a file so that, whatever happens, either the old or the new content is there, whole."""
    temporary = path.with_name(f".{path.name}.tmp")
    with temporary.open("wb") as file:
        file.write(data.encode() if isinstance(data, str) else data)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    sync_folder(path.parent)


def write_json(path: Path, value: Any) -> None:
    """Write JSON atomically, indented, keys in the given order."""
    write_atomic(path, json.dumps(value, indent=1, ensure_ascii=False) + "\n")


def read_json(path: Path) -> Any:
    """Read JSON that we wrote ourselves; damage is reported by name."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError):
        raise GroundupError("not valid JSON", where=str(path), do="It was damaged from outside; remove its folder and build again.") from None


def remove_folder(folder: Path) -> None:
    """Remove a folder so that a cut on the way leaves nothing under its name; `Run.open` clears what is left."""
    doomed = folder.with_name(f".{folder.name.lstrip('.')}.old")
    if doomed.exists():
        shutil.rmtree(doomed)
    folder.rename(doomed)
    shutil.rmtree(doomed)


def run_folder(what: str, runs: Path) -> Path | None:
    """A run's folder, named by its path or by its name under `runs`; None where there is no run."""
    return next((path for path in (Path(what).expanduser(), runs / what) if (path / "recipe.yaml").is_file()), None)


class NotReadyError(Exception):
    """A process that only follows has come to a stage that the first process has not finished."""


class Stage:
    """One step of a build. Write into `work`, then call `finish`; `done` says that nothing is left to do."""

    def __init__(self, run: Run, name: str, folder: str, key: str, *, keep: bool) -> None:
        self.run, self.name, self.key = run, name, key
        self.final = run.path / folder
        self.work = self.final.with_name(f".{self.final.name}.partial")
        self._keep, self._folder = keep, folder
        self._start = time.monotonic()
        self.manifest = self._finished(self.final)
        if run.follows:
            return
        if self.manifest is None and (manifest := self._finished(self.work)) is not None:
            self._move_into_place()  # cut off between its manifest and its renaming
            self.manifest = manifest
        if self.manifest is None:
            self._open_work()

    @property
    def done(self) -> bool:
        """Whether the finished folder is there and still what the recipe asks for."""
        return self.manifest is not None

    @property
    def digest(self) -> str:
        """Content digest of the finished stage, the input of the next ones."""
        assert self.manifest is not None, f"stage {self.name} is not finished"
        return str(self.manifest["digest"])

    def finish(self, counts: Mapping[str, Any], *, seconds_before: float = 0.0, content: str = "") -> None:
        """End the stage: write its manifest and rename its folder into place.

        `counts` are the stage's figures (snake_case keys with units); `seconds_before` is what earlier, cut-off
        tries spent, where the stage knows it. `content` is the digest to use where equal content can stand in unequal
        files (a crawl's archive holds the hour of each fetch); else it is that of the files. A process that follows waits
        until the first one has done this.
        """
        while self.run.follows and self.manifest is None:
            time.sleep(0.05)
            self.manifest = self._finished(self.final)
        if self.run.follows:
            return
        self.manifest = {
            "format": FORMAT,
            "stage": self.name,
            "key": self.key,
            "digest": content or digest_folder(self.work),
            "depends": self._depends,
            "inputs": self._inputs,
            "versions": {"groundup": groundup.__version__, "python": platform.python_version()},
            "counts": dict(counts),
            "seconds": round(time.monotonic() - self._start + seconds_before, 3),
        }
        write_json(self.work / "manifest.json", self.manifest)
        self._move_into_place()
        self.run.log("stage", stage=self.name, seconds=self.manifest["seconds"], **dict(counts))

    def write(self, name: str, text: str) -> None:
        """Write a small file of the stage."""
        if not self.run.follows:
            write_atomic(self.work / name, text)

    # What the key was made of, written into the manifest for a reader.
    _depends: Mapping[str, Any]
    _inputs: Mapping[str, str]

    def _finished(self, folder: Path) -> dict[str, Any] | None:
        """The manifest in a folder if it is finished for this very key."""
        path = folder / "manifest.json"
        if not path.is_file():
            return None
        manifest: dict[str, Any] = read_json(path)
        if manifest.get("format", 0) > FORMAT:
            raise GroundupError(
                f"made by a newer groundup (manifest format {manifest['format']}, this one reads {FORMAT})",
                where=str(path), do="Upgrade groundup, or build under another name.",
            )
        return manifest if manifest.get("key") == self.key else None

    def _open_work(self) -> None:
        """Keep a work folder of the same key, with its unfinished files removed; else start an empty one."""
        marker = self.work / ".key"
        if self.work.exists() and not (marker.is_file() and marker.read_text() == self.key):
            self._set_aside(self.work)
        self.work.mkdir(parents=True, exist_ok=True)
        for leftover in [path for path in self.work.rglob(".*.tmp") if path.name != self.work.name]:
            shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink(missing_ok=True)
        if not marker.exists():
            write_atomic(marker, self.key)

    def _move_into_place(self) -> None:
        (self.work / ".key").unlink(missing_ok=True)
        if self.final.exists():
            self._set_aside(self.final)
        self.work.rename(self.final)
        sync_folder(self.final.parent)

    def _set_aside(self, folder: Path) -> None:
        """Remove what a changed recipe replaced; what took long to make (checkpoints) is moved, never deleted."""
        if self._keep and any(folder.rglob("*.safetensors")):
            place = self.run.path / "superseded"
            place.mkdir(exist_ok=True)
            number = sum(1 for _ in place.iterdir())
            folder.rename(place / f"{self.final.name}-{number:03d}")
        else:
            remove_folder(folder)


class Run:
    """An open run folder. `Run.open` takes the lock for a build; `Run.read` looks without one; `Run.follow` is for the further
    processes of a build by several: they compute with the first one, which alone writes."""

    def __init__(self, path: Path, recipe: Recipe, lock: IO[str] | None, *, follows: bool = False) -> None:
        self.path, self.recipe, self._lock, self.follows = path, recipe, lock, follows

    @classmethod
    def open(cls, path: Path, recipe: Recipe) -> Run:
        """Create or continue a run folder for writing. Raises GroundupError if another process has it."""
        path.mkdir(parents=True, exist_ok=True)
        lock = (path / ".lock").open("a+")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.seek(0)
            raise GroundupError(
                f"in use by another process (pid {lock.read().strip() or 'unknown'})", where=str(path),
                do="Wait for it or stop it, or build under another name.",
            ) from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        run = cls(path, recipe, lock)
        run._mend_log()
        for doomed in list(path.rglob(".*.old")):
            shutil.rmtree(doomed)
        write_atomic(path / "recipe.yaml", recipes.dump(recipe))
        return run

    @classmethod
    def read(cls, path: Path) -> Run:
        """Look at an existing run folder. Raises RequestError if it is none."""
        if not (path / "recipe.yaml").is_file():
            raise RequestError("no run here", where=str(path), do="Build one first, or name its folder.")
        return cls(path, recipes.load(path / "recipe.yaml"), None)

    @classmethod
    def follow(cls, path: Path, recipe: Recipe) -> Run:
        """A run folder that the first process of this build writes."""
        return cls(path, recipe, None, follows=True)

    def close(self) -> None:
        """Give the lock back."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def stage(
        self, name: str, folder: str, *, depends: Mapping[str, Any], inputs: Mapping[str, str], keep: bool = False
    ) -> Stage:
        """Open a stage whose output is `folder` (relative to the run).

        `depends`: the part of the recipe it depends on; `inputs`: content digests of what it reads; `keep`: its output
        took long to make, so a changed recipe sets it aside instead of deleting it; it is what several processes make
        together. Raises NotReadyError in a process that follows, where another stage is not finished.
        """
        stage = Stage(self, name, folder, digest(FORMAT, name, depends, inputs), keep=keep)
        stage._depends, stage._inputs = depends, inputs
        if self.follows and not keep and not stage.done:
            raise NotReadyError(name)
        return stage

    def manifest(self, folder: str) -> dict[str, Any] | None:
        """The manifest of a finished stage's folder, or None."""
        path = self.path / folder / "manifest.json"
        return read_json(path) if path.is_file() else None

    def log(self, event: str, **fields: Any) -> None:
        """Append one line to log.jsonl."""
        if self.follows:
            return
        line = json.dumps({"time": round(time.time(), 3), "event": event, **fields}, ensure_ascii=False, default=str)
        with (self.path / "log.jsonl").open("a", encoding="utf-8") as file:
            file.write(line + "\n")

    def events(self, event: str, key: str | None = None) -> list[dict[str, Any]]:
        """All lines of one kind from log.jsonl, in order; with `key`, those of the stage of that key alone."""
        path = self.path / "log.jsonl"
        if not path.is_file():
            return []
        with path.open(encoding="utf-8") as file:
            lines = [json.loads(line) for line in file if line.endswith("\n")]
        return [line for line in lines if line["event"] == event and key in (None, line.get("key"))]

    def _mend_log(self) -> None:
        """Cut off a last line that a killed process left half-written."""
        path = self.path / "log.jsonl"
        if path.is_file() and (data := path.read_bytes()) and not data.endswith(b"\n"):
            write_atomic(path, data[: data.rfind(b"\n") + 1])
