"""Renders the standard library's reference as HTML pages into a folder: python -s -S -P render_pydoc.py FOLDER

A program of its own that imports the standard library and nothing else: it runs in a fresh process, so that importing
some 600 modules leaves no trace in the build. The pages are pydoc's own, without what differs between machines: file
locations, addresses in memory, and values of constants that are not plain and short.
"""

import contextlib
import html
import importlib
import io
import os
import pkgutil
import pydoc
import re
import shutil
import sys
import warnings
from pathlib import Path

# no reference, or effects on import: games, editors, test suites, an essay and a joke
LEFT_OUT = {"antigravity", "this", "idlelib", "turtledemo", "test", "lib2to3", "__main__"}
# constants of these tell of the machine, its clock, or the C libraries Python was linked with
MACHINE = {
    "bz2", "crypt", "curses", "distutils", "lzma", "multiprocessing", "nt", "ntpath", "os", "platform", "posix", "posixpath", "pyexpat",
    "readline", "resource", "select", "site", "socket", "sqlite3", "ssl", "sys", "sysconfig", "tempfile", "time", "tkinter", "xml", "zlib",
}  # fmt: skip


class Pages(pydoc.HTMLDoc):
    """pydoc's writer, with nothing of this machine in it."""

    module = ""

    def heading(self, title: str, extras: str = "") -> str:
        # after the link to the index comes where the file lies: "(built-in)" here, math.cpython-311-aarch64.so there
        return super().heading(title, extras.partition("<br>")[0])

    def getdocloc(self, object: object, basedir: str = "") -> None:
        return None

    def docother(self, object: object, name: str | None = None, *ignored: object, **more: object) -> str:
        label = f"<strong>{name}</strong>" if name else ""
        text = repr(object) if isinstance(object, int | float | str | None) else ""
        plain = 0 < len(text) <= 80 and "/" not in text and self.module.split(".")[0] not in MACHINE
        return label + (f" = {html.escape(text)}" if plain else "")


def module_names() -> list[str]:
    """Every importable module of the standard library that is worth a page, packages' own modules included."""
    names: list[str] = []
    for name in sorted(sys.stdlib_module_names):
        if name == "__future__" or not (name.startswith("_") or name in LEFT_OUT):
            _visit(name, names)
    return names


def _visit(name: str, names: list[str]) -> None:
    try:
        module = importlib.import_module(name)
    except BaseException:  # not on this platform, or it exits on import
        return
    names.append(name)
    for child in sorted(info.name for info in pkgutil.iter_modules(getattr(module, "__path__", []))):
        if child not in ("tests", "test", "idle_test") and not child.startswith("_"):
            _visit(f"{name}.{child}", names)


def _scrub(text: str) -> str:
    """Without addresses in memory and paths of this installation (default values may hold either)."""
    for path, name in ((sys.executable, "python"), (str(Path(os.__file__).parent), "lib")):
        text = text.replace(html.escape(path), name)
    return re.sub(r"( |&nbsp;)at( |&nbsp;)0x[0-9a-fA-F]+", "", text)


def render(folder: Path) -> None:
    """Write all pages."""
    pages = Pages()
    build = os.getppid()
    names = module_names()
    written = []
    for name in names:
        if os.getppid() != build:  # it was killed: nobody waits for the pages, nobody else clears them away
            shutil.rmtree(folder)
            os._exit(1)
        pages.module = name
        try:
            text = pages.page(f"module {name}", pages.document(sys.modules[name], name))
        except Exception:
            continue  # a module that pydoc cannot describe
        (folder / f"{name}.html").write_text(_scrub(text), encoding="utf-8", errors="replace")
        written.append(name)
    topics = importlib.import_module("pydoc_data.topics").topics
    for topic, text in sorted(topics.items()):
        body = f"<h1>{html.escape(topic)}</h1>\n<pre>{html.escape(text.strip(chr(10)))}</pre>"
        (folder / f"topic-{topic}.html").write_text(pages.page(topic, body), encoding="utf-8")
    links = "\n".join(f'<li><a href="{name}.html">{name}</a></li>' for name in written)
    more = "\n".join(f'<li><a href="topic-{html.escape(topic)}.html">{html.escape(topic)}</a></li>' for topic in sorted(topics))
    index = f"<h1>Python: modules</h1>\n<ul>\n{links}\n</ul>\n<h1>Python: the language</h1>\n<ul>\n{more}\n</ul>"
    (folder / "index.html").write_text(pages.page("index of modules", index), encoding="utf-8")


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    os.environ.clear()  # some functions have it as a default value, which pydoc prints
    target = Path(sys.argv[1]).resolve()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        render(target)
    os._exit(0)  # some imported module may have left a thread
