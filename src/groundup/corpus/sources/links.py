"""Addresses on the web: their one normal form, the links of a page, and what a crawl's scope is."""

from __future__ import annotations

import re
from urllib.parse import quote, urljoin, urlsplit, urlunsplit

from resiliparse.parse.html import DOMContext, ElementNode, HTMLTree, traverse_dom

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
    """`/a/./b/../c` is `/a/c` (RFC 3986, 5.2.4); urljoin does it for relative links only."""
    if "/." not in path:
        return path
    kept: list[str] = []
    parts = path.split("/")[1:]
    for part in parts:
        if part == "..":
            del kept[-1:]
        elif part != ".":
            kept.append(part)
    if parts[-1] in (".", ".."):
        kept.append("")
    return "/" + "/".join(kept)


def origin(url: str) -> str:
    """Scheme, host and port: what robots.txt speaks for (RFC 9309, 2.3)."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


class Scope:
    """What a crawl may visit: hosts by exact name (any port), or else the seeds' own (their ports, too); a path prefix."""

    def __init__(self, source: CrawlSource) -> None:
        seeds = (normalise(seed) for seed in source.seeds)
        self._hosts = {host.lower() for host in source.hosts}
        self._places = set() if self._hosts else {urlsplit(seed).netloc for seed in seeds if seed}
        self._prefix = source.path_prefix

    def refuses(self, url: str) -> str | None:
        """Why an address in normal form may not be visited, or None if it may."""
        parts = urlsplit(url)
        if parts.netloc not in self._places | self._hosts and parts.hostname not in self._hosts:
            return "another host"
        return None if parts.path.startswith(self._prefix) else "outside the path prefix"


def links(html: str, url: str) -> list[str]:
    """The addresses that a page links to, each once, in its order and normal form; those it marks `nofollow` are left out.

    One walk over the tree: indexing a collection of nodes costs resiliparse a walk for each node.
    """
    hrefs: list[str] = []
    bases: list[str] = []
    forbidden = False

    def look(context: DOMContext) -> None:
        nonlocal forbidden
        node = context.node
        if not isinstance(node, ElementNode):
            return
        if node.tag in ("a", "area"):
            href = node.getattr("href")
            if href is not None and "nofollow" not in (node.getattr("rel") or "").lower().split():
                hrefs.append(href)
        elif node.tag == "base" and (href := node.getattr("href")) is not None:
            bases.append(href)
        elif node.tag == "meta" and (node.getattr("name") or "").lower() == "robots":
            rules = re.split(r"[\s,]+", (node.getattr("content") or "").lower())
            forbidden = forbidden or "nofollow" in rules or "none" in rules

    document = HTMLTree.parse(html).document
    if document is None:
        return []
    traverse_dom(document, start_callback=look)
    if forbidden:
        return []
    start = (normalise(bases[0], url) if bases else None) or url  # the first one counts (HTML, 4.2.3)
    found = (normalise(href, start) for href in hrefs)
    return list(dict.fromkeys(address for address in found if address is not None))
