"""Addresses: one normal form; the links of a page; the scope."""

from __future__ import annotations

import pytest

from groundup.corpus.sources.links import Scope, links, normalise
from groundup.recipe import CrawlSource


@pytest.mark.parametrize(
    ("href", "url"),
    [
        ("HTTP://Example.COM:80/A/../b/./c#top", "http://example.com/b/c"),
        ("https://example.com:8443/x", "https://example.com:8443/x"),
        ("%7euser/%c3%a9?q=%2f", "http://h.example/d/~user/%C3%A9?q=%2F"),
        ("é b", "http://h.example/d/%C3%A9%20b"),
        ("/a//b/./c/..", "http://h.example/a//b/"),
        ("/.well-known//x", "http://h.example/.well-known//x"),
        ("/../../x", "http://h.example/x"),
        (" \n/tr\tim ", "http://h.example/trim"),
        ("http://h.example./x", "http://h.example/x"),
        ("http://[::1]:80/", "http://[::1]/"),
    ],
)
def test_addresses_have_one_normal_form(href: str, url: str) -> None:
    assert normalise(href, "http://h.example/d/e") == url


def test_links_are_in_order_each_once_and_not_those_marked_or_commented_out() -> None:
    html = (
        '<a href="/x">1</a><!-- <a href="/no"> --><script>"<a href=/no>"</script><a rel="me NoFollow" href="/n">2</a>'
        '<base href="/d/"><base href="/e/"><map><area href="y#z"></map><a href="y">3</a><a>4</a><a href="mailto:a@b">5</a>'
    )
    assert links(html, "http://h.example/a/b") == ["http://h.example/x", "http://h.example/d/y"]


@pytest.mark.parametrize(("rules", "followed"), [("noindex, NOFOLLOW", False), ("none", False), ("noindex", True), ("nonesuch", True)])
def test_a_page_can_forbid_all_its_links(rules: str, followed: bool) -> None:
    assert bool(links(f'<meta name="Robots" content="{rules}"><a href="/x">', "http://h.example/")) is followed


def test_hosts_by_name_mean_any_port_and_seeds_their_own() -> None:
    named = Scope(CrawlSource(seeds=["http://a.example/"], hosts=["B.example", "c.example:81"]))
    own = Scope(CrawlSource(seeds=["http://a.example/", "http://b.example:8080/"]))

    def allowed(scope: Scope, *urls: str) -> list[bool]:
        return [scope.refuses(url) is None for url in urls]

    assert allowed(named, "http://b.example/", "http://b.example:99/", "http://c.example:81/", "http://c.example/", "http://a.example/") == [
        True, True, True, False, False,
    ]  # fmt: skip
    assert allowed(own, "http://a.example/", "https://a.example/", "http://a.example:22/", "http://b.example:8080/", "http://b.example/") == [
        True, True, False, True, False,
    ]  # fmt: skip
