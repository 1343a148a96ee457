"""One polite fetch: robots.txt, the pause between requests to a host, limits of size and time, retries.

    page(url) ->  Page       a text page, its body cut at the limit
                  Redirect   to another address, which is a fetch of its own (scope, robots.txt and address checked anew)
                  Refusal    why there is nothing, in words that are counted
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from http.cookiejar import CookieJar, DefaultCookiePolicy
from types import TracebackType
from urllib.parse import urlsplit

import httpx
from protego import Protego

from groundup.corpus.sources.addresses import GuardedTransport, Refused
from groundup.corpus.sources.links import normalise, origin
from groundup.corpus.sources.warc import media_type
from groundup.recipe import CrawlSource

TEXT_TYPES = ("text/html", "application/xhtml+xml", "text/plain")
REDIRECTS = (301, 302, 303, 307, 308)
RETRY_SECONDS = (1.0, 4.0)  # pauses before the second and the third try
LONGEST_WAIT = 60.0  # of a server's Retry-After that is honoured (seconds)
ROBOTS_BYTES = 500 * 1024  # a robots.txt is read that far at least (RFC 9309, 2.5)
ROBOTS_HOPS = 5  # redirects followed for it at least (RFC 9309, 2.3.1.2)
CONNECTIONS = 64  # to all hosts together


@dataclass(frozen=True)
class Page:
    """A fetched text page."""

    content_type: str
    """As the server said, `text/html` where it said nothing."""
    body: bytes
    truncated: bool


@dataclass(frozen=True)
class Redirect:
    """The server points elsewhere; None where that is no web address."""

    target: str | None


@dataclass(frozen=True)
class Refusal:
    """Nothing was fetched."""

    reason: str


Outcome = Page | Redirect | Refusal


class _TryAgain(Exception):
    """A failure that may pass: `reason` counts it if it does not, `wait` is what the server asked for (seconds)."""

    def __init__(self, reason: str, wait: float = 0.0) -> None:
        super().__init__(reason)
        self.reason, self.wait = reason, wait


class _Host:
    """Turns at one host: so many requests at once, so long between two starts, first come first served."""

    def __init__(self, connections: int) -> None:
        self.slots = asyncio.Semaphore(connections)
        self._next = 0.0

    async def turn(self, delay: float) -> None:
        start = max(time.monotonic(), self._next)
        self._next = start + delay
        await asyncio.sleep(start - time.monotonic())

    def rest(self, seconds: float) -> None:
        """No request starts before that."""
        self._next = max(self._next, time.monotonic() + seconds)


class Fetcher:
    """Fetches for one crawl; an async context manager that holds its connections."""

    def __init__(self, source: CrawlSource, connect_to: Mapping[str, tuple[str, int]]) -> None:
        self._source = source
        self._hosts: dict[str, _Host] = {}
        self._robots: dict[str, asyncio.Task[Protego | None]] = {}
        self._name = source.user_agent.split("/")[0].split(" ")[0]  # the product token (RFC 9309, 2.2.1)
        self._client = httpx.AsyncClient(
            transport=GuardedTransport(allow_private=source.allow_private, connect_to=connect_to, connections=CONNECTIONS),
            trust_env=False, follow_redirects=False, timeout=None, cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
            headers={"User-Agent": source.user_agent, "Accept": ", ".join(TEXT_TYPES), "Accept-Encoding": "gzip, deflate"},
        )  # fmt: skip

    async def __aenter__(self) -> Fetcher:
        await self._client.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None = None, error: BaseException | None = None, trace: TracebackType | None = None
    ) -> None:
        for task in self._robots.values():
            task.cancel()
        await asyncio.gather(*self._robots.values(), return_exceptions=True)
        await self._client.__aexit__(kind, error, trace)

    async def page(self, url: str) -> Outcome:
        """Fetch an address in normal form. Raises nothing that a server can cause."""
        place = origin(url)
        if place not in self._robots:
            self._robots[place] = asyncio.create_task(self._read_robots(place))
        rules = await asyncio.shield(self._robots[place])
        if rules is None:
            return Refusal("robots.txt could not be read")
        if not rules.can_fetch(url, self._name):
            return Refusal("robots.txt")
        try:
            return await self._patiently(url, max(self._source.delay_seconds, rules.crawl_delay(self._name) or 0.0))
        except _TryAgain as failure:
            return Refusal(failure.reason)

    async def _patiently(self, url: str, delay: float) -> Outcome:
        """Up to three tries."""
        for pause in RETRY_SECONDS:
            try:
                return await self._once(url, delay)
            except _TryAgain as failure:
                self._host(url).rest(failure.wait)
                await asyncio.sleep(pause)
        return await self._once(url, delay)

    def _host(self, url: str) -> _Host:
        return self._hosts.setdefault(urlsplit(url).hostname or "", _Host(self._source.connections_per_host))

    async def _once(self, url: str, delay: float) -> Outcome:
        host = self._host(url)
        async with host.slots:
            await host.turn(delay)
            try:
                async with asyncio.timeout(self._source.timeout_seconds), self._client.stream("GET", url) as answer:
                    return await self._judge(answer, url)
            except TimeoutError:
                raise _TryAgain("slower than the time limit") from None
            except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
                if isinstance(error.__cause__, Refused):
                    return Refusal("private address")
                if isinstance(error, httpx.DecodingError | httpx.InvalidURL):
                    return Refusal("damaged answer")
                raise _TryAgain("no connection" if isinstance(error, httpx.ConnectError) else "connection broken") from None

    async def _judge(self, answer: httpx.Response, url: str) -> Outcome:
        status = answer.status_code
        if status in REDIRECTS:
            return Redirect(normalise(answer.headers.get("Location", ""), url))
        if status == 429 or status >= 500:
            wish = answer.headers.get("Retry-After", "")
            raise _TryAgain(f"status {status}", min(float(wish), LONGEST_WAIT) if wish.isascii() and wish.isdigit() else 0.0)
        if status != 200:
            return Refusal(f"status {status}")
        content_type = answer.headers.get("Content-Type", "").strip() or "text/html"
        if (kind := media_type(content_type)) not in TEXT_TYPES:
            return Refusal(f"type {kind[:60]}")
        body = await _read(answer, self._source.max_page_bytes + 1)
        if not body.strip():
            return Refusal("empty")
        return Page(content_type, body[: self._source.max_page_bytes], len(body) > self._source.max_page_bytes)

    async def _read_robots(self, place: str) -> Protego | None:
        """The rules of an origin; None forbids everything (RFC 9309, 2.3.1: unreachable or a server's error)."""
        for pause in (*RETRY_SECONDS, 0.0):
            try:
                async with self._host(place).slots, asyncio.timeout(self._source.timeout_seconds):
                    return await self._robots_once(f"{place}/robots.txt")
            except (TimeoutError, httpx.HTTPError, httpx.InvalidURL, OSError, _TryAgain) as error:
                if isinstance(error.__cause__, Refused):
                    # nothing was asked of that machine, and the page's own fetch says why
                    return Protego.parse("")
                await asyncio.sleep(pause)
        return None

    async def _robots_once(self, url: str) -> Protego:
        for _ in range(ROBOTS_HOPS + 1):
            async with self._client.stream("GET", url) as answer:
                if answer.status_code in REDIRECTS:
                    target = normalise(answer.headers.get("Location", ""), url)
                    if target is None:
                        break
                    url = target
                    continue
                if answer.status_code == 429 or answer.status_code >= 500:
                    raise _TryAgain(f"status {answer.status_code}")
                if answer.status_code != 200:
                    break
                return Protego.parse((await _read(answer, ROBOTS_BYTES)).decode("utf-8", errors="replace"))
        return Protego.parse("")  # there is none: all is allowed


async def _read(answer: httpx.Response, limit: int) -> bytes:
    """The decoded body, up to `limit` bytes."""
    body = bytearray()
    async for piece in answer.aiter_bytes():
        body += piece
        if len(body) >= limit:
            break
    return bytes(body[:limit])
