"""Addresses on the web: their one normal form, the links of a page, and what a crawl's scope is."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from urllib.parse import quote, urljoin, urlsplit, urlunsplit

from resiliparse.parse.html import HTMLTree

from groundup.recipe import CrawlSource

LONGEST = 2048  # characters; what is longer is nearly always a trap (calendars, sessions)
PORTS = {"http": 80, "https": 443}
UNRESERVED = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")  # RFC 3986, 2.3
PATH_SAFE = "/:@!$&'()*+,;=~%"  # RFC 3986, 3.3; quote() leaves letters, digits and _.- alone
QUERY_SAFE = PATH_SAFE + "?"


def normalise(href: str, base: str = "") -> str | None:
    """The normal form of an address (RFC 3986, 6.2), or None if it is no web address that can be fetched.

    >>> normalise("../B%7ec?q=1#top", "HTTP://Example.com:80/a/x/y")
    'http://example.com/a/B~c?q=1'
    """
    try:
        parts = urlsplit(urljoin(base, re.sub(r"[\t\n\r]", "", href).strip()))
        scheme, port = parts.scheme.lower(), parts.port
        host = _host(parts.hostname or "")
    except (ValueError, UnicodeError):
        return None
    if scheme not in PORTS or not host or parts.username is not None or parts.password is not None:
        return None
    place = host if port is None or port == PORTS[scheme] else f"{host}:{port}"
    path = _without_dots(_escape(parts.path, PATH_SAFE)) or "/"
    url = urlunsplit((scheme, place, path, _escape(parts.query, QUERY_SAFE), ""))
    return url if len(url) <= LONGEST else None


def _host(host: str) -> str:
    if ":" in host:  # an IPv6 address; urlsplit took its brackets
        return f"[{host.lower()}]"
    host = host.rstrip(".").lower()
    if not host.isascii():
        host = host.encode("idna").decode("ascii").lower()
    return host if re.fullmatch(r"[a-z0-9._-]+", host) else ""


def _escape(text: str, safe: str) -> str:
    """Percent signs as they should be: only where needed, capital digits."""

    def plain(match: re.Match[str]) -> str:
        character = chr(int(match[1], 16))
        return character if character in UNRESERVED else match[0].upper()

    text = re.sub(r"%(?![0-9a-fA-F]{2})", "%25", text)
    return quote(re.sub(r"%([0-9a-fA-F]{2})", plain, text), safe=safe, errors="replace")


def _without_dots(path: str) -> str:
    """`/a/./b/../c` is `/a/c`; urljoin does it for relative links only."""
    if "/." not in path:
        return path
    tidy = posixpath.normpath("/" + path.lstrip("/"))
    return tidy + "/" if path.endswith(("/", "/.", "/..")) and tidy != "/" else tidy


def origin(url: str) -> str:
    """Scheme, host and port: what robots.txt speaks for (RFC 9309, 2.3)."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


class Scope:
    """What a crawl may visit: hosts by exact name and a path prefix. A seed's own host means its port, too."""

    def __init__(self, source: CrawlSource) -> None:
        seeds = (normalise(seed) for seed in source.seeds)
        self._hosts = {host.lower() for host in source.hosts} or {urlsplit(seed).netloc for seed in seeds if seed}
        self._prefix = source.path_prefix

    def refuses(self, url: str) -> str | None:
        """Why an address in normal form may not be visited, or None if it may."""
        parts = urlsplit(url)
        if parts.netloc not in self._hosts and parts.hostname not in self._hosts:
            return "another host"
        return None if parts.path.startswith(self._prefix) else "outside the path prefix"


def links(html: str, url: str) -> Iterator[str]:
    """The addresses that a page links to, in its order, in normal form; those it marks `nofollow` are left out."""
    document = HTMLTree.parse(html).document
    if document is None:
        return
    for tag in document.query_selector_all("meta[name]"):
        rules = (tag.getattr("content") or "").lower()
        if (tag.getattr("name") or "").lower() == "robots" and ("nofollow" in rules or "none" in rules):
            return
    base = document.query_selector("base[href]")
    start = (normalise(base.getattr("href") or "", url) if base else None) or url
    for tag in document.query_selector_all("a[href], area[href]"):
        if "nofollow" not in (tag.getattr("rel") or "").lower().split():
            address = normalise(tag.getattr("href") or "", start)
            if address is not None:
                yield address
