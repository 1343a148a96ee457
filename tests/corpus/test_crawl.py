"""The crawler against a small site on loopback: manners, limits, guard, order, and going on after a kill."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpcore
import pytest
from hypothesis import given
from hypothesis import strategies as st

from groundup.corpus.sources import fetch, warc
from groundup.corpus.sources.addresses import GuardedBackend, Refused, is_public
from groundup.corpus.sources.crawl import crawl
from groundup.corpus.sources.links import links, normalise
from groundup.errors import GroundupError, RequestError
from groundup.recipe import CrawlSource

DATE = "2000-01-01T00:00:00Z"
Answer = tuple[int, dict[str, str], bytes]


class Site:
    """A site given as a function of the path; remembers who asked for what, when, and how many at once."""

    def __init__(self) -> None:
        self.pages: dict[str, Answer | Callable[[], Answer]] = {}
        self.asked: list[tuple[float, str]] = []
        self.at_once = self.most_at_once = 0
        self.agents: set[str] = set()
        self.cookies: list[str | None] = []
        site, lock = self, threading.Lock()

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                with lock:
                    site.asked.append((time.monotonic(), self.path))
                    site.agents.add(self.headers["User-Agent"])
                    site.cookies.append(self.headers["Cookie"])
                    site.at_once += 1
                    site.most_at_once = max(site.most_at_once, site.at_once)
                try:
                    found = site.pages.get(self.path, (404, {}, b""))
                    status, headers, body = found() if callable(found) else found
                    self.send_response(status)
                    for key, value in {"Content-Type": "text/html", "Content-Length": str(len(body)), **headers}.items():
                        self.send_header(key, value)
                    self.end_headers()
                    self.wfile.write(body)
                except OSError:
                    pass  # the crawler hung up
                finally:
                    with lock:
                        site.at_once -= 1

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._server.block_on_close = False
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def html(self, path: str, *hrefs: str, head: str = "", wait: float = 0.0) -> None:
        body = f"<html><head>{head}</head><body>page {path} " + " ".join(f'<a href="{href}">x</a>' for href in hrefs) + "</body></html>"

        def answer() -> Answer:
            time.sleep(wait)
            return 200, {}, body.encode()

        self.pages[path] = answer

    def redirect(self, path: str, target: str, status: int = 302) -> None:
        self.pages[path] = (status, {"Location": target}, b"")

    @property
    def paths(self) -> list[str]:
        return [path for _, path in self.asked]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setattr(fetch, "RETRY_SECONDS", (0.01, 0.02))
    made = Site()
    yield made
    made.close()


def source(site: Site, **more: object) -> CrawlSource:
    return CrawlSource.model_validate({"seeds": [site.url + "/"], "allow_private": True, "delay_seconds": 0, "timeout_seconds": 5, **more})


def collected(folder: Path) -> list[str]:
    """Paths of the stored pages in archive order."""
    notes: list[str] = []
    pages = [page for path in sorted(folder.glob("*.warc.gz")) for page in warc.read_pages(path, notes)]
    assert not notes
    return ["/" + page.url.split("/", 3)[3] for page in pages]


def archive(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(folder.glob("*.warc.gz")))


def test_breadth_first_each_page_once(site: Site, tmp_path: Path) -> None:
    site.html("/", "/a", "b/", "/a#part", "http://elsewhere.invalid/")
    site.html("/a", "/c", "/")
    site.html("/b/", "../c", "deep?x=1")
    site.html("/c", "/a")
    site.html("/b/deep?x=1")
    counts = crawl(source(site), tmp_path)
    assert collected(tmp_path) == ["/", "/a", "/b/", "/c", "/b/deep?x=1"]
    assert sorted(site.paths) == sorted(["/robots.txt", "/", "/a", "/b/", "/c", "/b/deep?x=1"])  # each once
    assert counts["fetched"] == 5 and counts["not_followed"] == {"another host": 1} and counts["addresses_left"] == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["crawl.json", "pages-00000.warc.gz"]


def test_order_does_not_depend_on_who_answers_first(site: Site, tmp_path: Path) -> None:
    names = [f"/{number}" for number in range(12)]
    site.html("/", *names)
    for number, name in enumerate(names):
        site.html(name, f"/from{number}", wait=0.05 if number % 3 == 0 else 0.0)
        site.html(f"/from{number}", wait=0.03 if number % 2 else 0.0)
    crawl(source(site, connections_per_host=6), tmp_path / "wide", date=DATE)
    assert site.most_at_once > 1
    crawl(source(site), tmp_path / "narrow", date=DATE)
    assert collected(tmp_path / "wide") == ["/", *names, *(f"/from{number}" for number in range(12))]
    assert archive(tmp_path / "wide") == archive(tmp_path / "narrow")


def test_the_digest_is_of_the_pages_not_of_their_dates(site: Site, tmp_path: Path) -> None:
    site.html("/", "/a")
    site.html("/a")
    one, two = (crawl(source(site), tmp_path / date, date=date) for date in (DATE, "2001-02-03T04:05:06Z"))
    assert one == two and archive(tmp_path / DATE) != archive(tmp_path / "2001-02-03T04:05:06Z")
    site.html("/a", head="<title>new</title>")
    assert crawl(source(site), tmp_path / "new", date=DATE)["digest"] != one["digest"]


def test_robots(site: Site, tmp_path: Path) -> None:
    site.pages["/robots.txt"] = (200, {"Content-Type": "text/plain"}, b"User-agent: groundup\nDisallow: /private\nAllow: /private/open\n")
    site.html("/", "/private/x", "/private/open", "/free")
    site.html("/private/x")
    site.html("/private/open")
    site.html("/free")
    counts = crawl(source(site), tmp_path)
    assert collected(tmp_path) == ["/", "/private/open", "/free"]
    assert counts["refused"] == {"robots.txt": 1} and "/private/x" not in site.paths


@pytest.mark.parametrize(("status", "allowed"), [(404, True), (403, True), (500, False), (503, False)])
def test_robots_unavailable(site: Site, tmp_path: Path, status: int, allowed: bool) -> None:
    """RFC 9309, 2.3.1: 4xx allows everything, 5xx forbids everything."""
    site.pages["/robots.txt"] = (status, {}, b"")
    site.html("/")
    if allowed:
        assert crawl(source(site), tmp_path)["fetched"] == 1
    else:
        with pytest.raises(GroundupError, match=r"robots\.txt"):
            crawl(source(site), tmp_path)
        assert "/" not in site.paths


def test_manners(site: Site, tmp_path: Path) -> None:
    """A longer Crawl-delay wins over the recipe's; one connection; our name; no cookies kept."""
    site.pages["/robots.txt"] = (200, {"Content-Type": "text/plain"}, b"User-agent: *\nCrawl-delay: 0.4\n")
    site.html("/", "/a", "/b")
    site.pages["/a"] = (200, {"Set-Cookie": "session=1"}, b"<p>a")
    site.html("/b")
    crawl(source(site, delay_seconds=0.05, user_agent="groundup/9 (test)"), tmp_path)
    times = [moment for moment, path in site.asked if path != "/robots.txt"]
    assert len(times) == 3 and all(later - earlier > 0.25 for earlier, later in zip(times, times[1:], strict=False))
    assert site.most_at_once == 1 and site.agents == {"groundup/9 (test)"} and site.cookies == [None] * 4


def test_no_more_requests_at_once_than_allowed(site: Site, tmp_path: Path) -> None:
    site.html("/", *(f"/{number}" for number in range(12)))
    for number in range(12):
        site.html(f"/{number}", wait=0.03)
    crawl(source(site, connections_per_host=3), tmp_path)
    assert site.most_at_once == 3


def test_nofollow_and_base(site: Site, tmp_path: Path) -> None:
    site.pages["/"] = (200, {}, b'<base href="/z/"><a href=a>1</a><a rel="ugc nofollow" href=b>2</a><a href="/closed">3</a>')
    site.html("/z/a")
    site.html("/closed", "/hidden", head='<meta name="Robots" content="noindex, NoFollow">')
    crawl(source(site), tmp_path)
    assert collected(tmp_path) == ["/", "/z/a", "/closed"]


def test_redirects(site: Site, tmp_path: Path) -> None:
    """The page is stored under the address that gave it, once; loops and chains end; out of scope is not asked for."""
    site.html("/", "/old", "/new", "/out", "/loop", "/chain0", "/nowhere")
    site.redirect("/old", "/new", 301)
    site.html("/new")
    site.redirect("/out", "http://elsewhere.invalid/")
    site.redirect("/loop", "/loop")
    for number in range(30):
        site.redirect(f"/chain{number}", f"/chain{number + 1}")
    site.redirect("/nowhere", "mailto:a@b")
    counts = crawl(source(site), tmp_path)
    assert collected(tmp_path) == ["/", "/new"] and site.paths.count("/new") == 1
    assert counts["refused"] == {"redirect: another host": 1, "redirect: more than 10 in a row": 1, "damaged answer": 1}  # httpx refuses to read such a Location
    assert "/chain10" in site.paths and "/chain11" not in site.paths


def test_limits(site: Site, tmp_path: Path) -> None:
    """Depth, pages, bytes, time, kind."""
    site.html("/", "/big", "/slow", "/picture", "/gone", "/empty", "/deep1", "/note")
    site.pages["/big"] = (200, {}, b"<p>" + b"x" * 100_000)
    site.html("/slow", wait=1.5)
    site.pages["/picture"] = (200, {"Content-Type": "image/png"}, b"\x89PNG")
    site.pages["/empty"] = (200, {}, b" ")
    site.pages["/note"] = (200, {"Content-Type": "text/plain; charset=latin-1"}, "caf\xe9".encode("latin-1"))
    site.html("/deep1", "/deep2")
    site.html("/deep2", "/deep3")
    counts = crawl(source(site, max_depth=2, max_page_bytes=5000, timeout_seconds=0.3, connections_per_host=8), tmp_path)
    assert collected(tmp_path) == ["/", "/big", "/deep1", "/note", "/deep2"]
    assert counts["refused"] == {"empty": 1, "slower than the time limit": 1, "status 404": 1, "type image/png": 1}
    assert counts["not_followed"] == {"too deep": 1} and counts["truncated"] == 1 and site.paths.count("/slow") == 3
    pages = {page.url.rsplit("/", 1)[1]: page for page in warc.read_pages(tmp_path / "pages-00000.warc.gz")}
    assert len(pages["big"].body) == 5000 and pages["note"].html == "caf\xe9" and pages["note"].media_type == "text/plain"


def test_no_more_pages_are_asked_for_than_wanted(site: Site, tmp_path: Path) -> None:
    site.html("/", *(f"/{number}" for number in range(40)))
    for number in range(40):
        site.html(f"/{number}", wait=0.3 if number == 5 else 0.0)  # the others are committed while it is in flight
    counts = crawl(source(site, max_pages=7, connections_per_host=8), tmp_path)
    assert counts["fetched"] == 7 and counts["addresses_left"] == 34 and len(site.paths) == 8


def test_path_prefix(site: Site, tmp_path: Path) -> None:
    site.html("/docs/", "/docs/a", "/blog", "/docs/../blog")
    site.html("/docs/a")
    counts = crawl(source(site, seeds=[site.url + "/docs/"], path_prefix="/docs/"), tmp_path)
    assert collected(tmp_path) == ["/docs/", "/docs/a"] and counts["not_followed"] == {"outside the path prefix": 1}


def test_a_passing_failure_is_tried_again(site: Site, tmp_path: Path) -> None:
    answers = iter([(503, {"Retry-After": "0"}, b""), (500, {}, b""), (200, {}, b"<p>at last")])
    site.pages["/"] = lambda: next(answers)
    assert crawl(source(site), tmp_path)["fetched"] == 1


def test_every_seed_fails(site: Site, tmp_path: Path) -> None:
    """One clear error, and the next try asks again."""
    with pytest.raises(GroundupError, match=r"no page could be fetched: .*status 404"):
        crawl(source(site), tmp_path)
    site.html("/")
    assert crawl(source(site), tmp_path)["fetched"] == 1


def test_a_seed_that_is_no_address(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="ftp://x"):
        crawl(CrawlSource(seeds=["ftp://x/"]), tmp_path)


def test_private_addresses_are_refused(site: Site, tmp_path: Path) -> None:
    site.html("/")
    for number, host in enumerate(("127.0.0.1", "localhost", "2130706433", "0x7f.1", "[::ffff:127.0.0.1]")):
        with pytest.raises(GroundupError, match="private address"):
            crawl(CrawlSource(seeds=[f"http://{host}:{site.port}/"], delay_seconds=0), tmp_path / str(number))
    assert site.asked == []


def test_a_redirect_to_a_private_address_is_refused(site: Site, tmp_path: Path) -> None:
    """The public host is stood in for by `connect_to`; what it points at is looked at for itself."""
    site.html("/", "/trap", "/page")
    site.html("/page")
    site.redirect("/trap", f"http://localhost:{site.port}/secret")
    site.html("/secret")
    public = CrawlSource(seeds=["http://public.example/"], hosts=["public.example", "localhost"], delay_seconds=0)
    counts = crawl(public, tmp_path, connect_to={"public.example": ("127.0.0.1", site.port)})
    assert counts["fetched"] == 2 and counts["refused"] == {"private address": 1} and "/secret" not in site.paths


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("8.8.8.8", True), ("2606:4700::1111", True), ("::ffff:8.8.8.8", True), ("64:ff9b::808:808", True),
        ("10.0.0.1", False), ("172.16.0.1", False), ("192.168.1.1", False), ("127.0.0.1", False), ("0.0.0.0", False),
        ("169.254.169.254", False), ("100.64.0.1", False), ("224.0.0.1", False), ("240.0.0.1", False), ("255.255.255.255", False),
        ("198.18.0.1", False), ("::", False), ("::1", False), ("fe80::1%eth0", False), ("fc00::1", False), ("ff02::1", False),
        ("fec0::1", False), ("::ffff:10.0.0.1", False), ("64:ff9b::a00:1", False), ("2002:a00:1::", False), ("2001:0:1::1", False),
    ],
)  # fmt: skip
def test_which_addresses_are_public(address: str, public: bool) -> None:
    assert is_public(address) is public


def test_rebinding_cannot_win(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name is resolved once a connection, and the connection goes to the very address that was looked at."""
    answers = [["93.184.216.34"], ["127.0.0.1"]]
    connected = []

    async def lookup(self: object, host: str, port: int, **more: object) -> list[tuple[object, ...]]:
        return [(2, 1, 6, "", (address, port)) for address in answers.pop(0)]

    async def connect(self: object, host: str, *more: object) -> None:
        connected.append(host)

    monkeypatch.setattr(asyncio.base_events.BaseEventLoop, "getaddrinfo", lookup)
    monkeypatch.setattr(httpcore.AnyIOBackend, "connect_tcp", connect)
    network = GuardedBackend(allow_private=False, connect_to={})
    asyncio.run(network.connect_tcp("rebind.example", 80))
    with pytest.raises(Refused):
        asyncio.run(network.connect_tcp("rebind.example", 80))
    assert connected == ["93.184.216.34"]


def test_one_private_address_among_several_is_enough_to_refuse(monkeypatch: pytest.MonkeyPatch) -> None:
    async def lookup(self: object, host: str, port: int, **more: object) -> list[tuple[object, ...]]:
        return [(2, 1, 6, "", (address, port)) for address in ("8.8.8.8", "10.0.0.1")]

    monkeypatch.setattr(asyncio.base_events.BaseEventLoop, "getaddrinfo", lookup)
    with pytest.raises(Refused):
        asyncio.run(GuardedBackend(allow_private=False, connect_to={}).connect_tcp("mixed.example", 80))


def test_proxies_of_the_environment_are_not_used(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site.html("/")
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert crawl(source(site), tmp_path)["fetched"] == 1


KILLED = """
import sys
from pathlib import Path
from groundup.corpus.sources.crawl import crawl
from groundup.recipe import CrawlSource
crawl(CrawlSource(seeds=[sys.argv[1]], allow_private=True, delay_seconds=0, connections_per_host=4), Path(sys.argv[2]), date=sys.argv[3])
"""


def test_killed_anywhere_ends_the_same(site: Site, tmp_path: Path) -> None:
    """kill -9 at several moments, a torn record at the end of the archive each time: the same bytes as undisturbed."""
    names = [f"/{number}" for number in range(60)]
    site.html("/", *names)
    for number, name in enumerate(names):
        site.html(name, f"/more{number}", "/", wait=0.01)
        site.html(f"/more{number}", wait=0.01)
    crawl(source(site, connections_per_host=4), tmp_path / "whole", date=DATE)
    folder, kills = tmp_path / "torn", 0
    for moment in (10, 25, 40):
        site.asked.clear()
        process = subprocess.Popen([sys.executable, "-c", KILLED, site.url + "/", str(folder), DATE])
        while len(site.asked) < moment and process.poll() is None:
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
        kills += process.wait() == -signal.SIGKILL
        for path in sorted(folder.glob("*.warc.gz"))[-1:]:
            path.write_bytes(path.read_bytes() + os.urandom(50))
    assert kills == 3
    site.asked.clear()
    crawl(source(site, connections_per_host=4), folder, date=DATE)
    assert archive(folder) == archive(tmp_path / "whole")
    assert (folder / "crawl.json").read_bytes() == (tmp_path / "whole" / "crawl.json").read_bytes()
    assert len(site.asked) < 100  # of 121 pages: it went on, it did not begin again


@given(st.text(st.sampled_from("aZ9/.%?#&=:@ äß~-_[]\\2eE"), max_size=30))
def test_the_normal_form_is_a_fixed_point(href: str) -> None:
    url = normalise(href, "http://host.example/a/b?c")
    if url is not None:
        assert normalise(url) == url and "#" not in url and url.isascii() and " " not in url


@pytest.mark.parametrize(
    ("href", "url"),
    [
        ("../B%7ec?q=1#top", "http://h.example/a/B~c?q=1"), ("//Other.Example:80", "http://other.example/"), ("?x", "http://h.example/a/b/c?x"),
        ("https://h.example:443/%zz", "https://h.example/%25zz"), ("http://ü.example/ä", "http://xn--tda.example/%C3%A4"),
        ("mailto:x@y", None), ("javascript:void(0)", None), ("http://u:p@h/", None), ("http://[bad", None), ("x" * 3000, None),
    ],
)  # fmt: skip
def test_normal_form(href: str, url: str | None) -> None:
    assert normalise(href, "HTTP://H.example/a/b/c") == url


def test_links_of_a_long_page_are_found_in_linear_time() -> None:
    page = "".join(f"<p><a href='/{number}'>x</a>" for number in range(20_000))
    start = time.monotonic()
    assert len(list(links(page, "http://h.example/"))) == 20_000
    assert time.monotonic() - start < 10  # quadratic: minutes
