"""Python's own reference as a website on loopback: pydoc's pages of the standard library, served for the crawler.

The crawler that collects them is the ordinary one; it is only told which port the made-up host stands for, so that the
pages' addresses are the same on every machine.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from groundup.errors import GroundupError
from groundup.recipe import CrawlSource, PythonDocsSource

HOST = "python-docs.localhost"
RENDER_SECONDS = 300


@contextmanager
def serve() -> Iterator[tuple[str, int]]:
    """Render the pages and serve them on 127.0.0.1 while the block runs; yields the address and port."""
    pages = render()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 30

        def do_GET(self) -> None:
            name = self.path.split("?")[0].lstrip("/") or "index.html"
            body = pages.get(name)
            self.send_response(404 if body is None else 200)
            self.send_header("Content-Type", "text/plain" if name.endswith(".txt") else "text/html; charset=utf-8")
            self.send_header("Content-Length", str(len(body or b"")))
            self.end_headers()
            self.wfile.write(body or b"")

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield "127.0.0.1", server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def render() -> dict[str, bytes]:
    """All pages by file name, made in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        # without site packages, user settings and hash randomisation: the same pages everywhere
        command = [sys.executable, "-s", "-S", "-P", str(Path(__file__).with_name("render_pydoc.py")), folder]
        environment = {
            "PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1", "LANG": "C.UTF-8", "HOME": "/nonexistent", "PATH": "", "TZ": "UTC",
            **{key: value for key, value in os.environ.items() if key == "LD_LIBRARY_PATH"},  # where some Pythons have their own
        }  # fmt: skip
        done = subprocess.run(
            command, env=environment, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, timeout=RENDER_SECONDS, check=False
        )
        pages = {path.name: path.read_bytes() for path in sorted(Path(folder).glob("*.html"))}
    if done.returncode or not pages:
        raise GroundupError(
            f"pydoc's pages could not be made: {done.stderr.decode(errors='replace').strip()[-300:] or done.returncode}",
            where="source python-docs", do="Use a Python with its whole standard library.",
        )  # fmt: skip
    return {**pages, "robots.txt": b"User-agent: *\nAllow: /\n"}


def as_crawl(source: PythonDocsSource) -> CrawlSource:
    """The crawl that collects them."""
    return CrawlSource(
        name=source.name, seeds=[f"http://{HOST}/"], max_pages=source.max_pages, delay_seconds=0.0, connections_per_host=4
    )
