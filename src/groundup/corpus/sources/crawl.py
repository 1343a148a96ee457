"""The crawler: breadth first from the seeds, politely, into WARC files, and able to go on after any stop.

    frontier   a  b  c  d  e  f  g ...     addresses in the order they were found, each once
                  ^ reached  ^ in flight, up to here

Several pages are fetched at once, but their results are committed one by one in frontier order: the record to the
archive, the new links to the frontier's end, and "reached" one further. So what is collected, and in which order, does
not depend on who answered first, nor on where the crawl was interrupted.
"""

from __future__ import annotations

import asyncio
import datetime
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from groundup import __version__
from groundup.corpus.sources import warc
from groundup.corpus.sources.fetch import Fetcher, Outcome, Page, Redirect, Refusal
from groundup.corpus.sources.frontier import Address, Frontier
from groundup.corpus.sources.links import Scope, links, normalise
from groundup.errors import GroundupError, RequestError
from groundup.progress import Bar, bar
from groundup.recipe import CrawlSource
from groundup.run import digest, read_json, write_json

AHEAD = 64  # addresses in flight or waiting for their turn to be committed
AHEAD_BYTES = 64_000_000  # of bodies that wait; with more, nothing new is begun
HOPS = 10  # redirects one after another, as browsers and curl have it (20 and 50) but less patient


def crawl(
    source: CrawlSource, folder: Path, *, connect_to: Mapping[str, tuple[str, int]] | None = None, date: str | None = None
) -> dict[str, Any]:
    """Collect a source's pages into `folder`/pages-*.warc.gz and crawl.json, going on where an earlier try stopped.

    `connect_to`: host to (address, port), as curl's --connect-to; `date`: the WARC-Date of every record, for pages made on
    the spot, so that equal crawls give equal bytes. Returns crawl.json's content: `fetched`, `bytes`, `truncated`,
    `redirected`, `refused` and `not_followed` by reason, `addresses_found`, `addresses_left`, `digest` (of the pages, without their dates). Raises RequestError for a
    seed that is no web address, GroundupError where not one page could be fetched.
    """
    if not (folder / "crawl.json").is_file():
        folder.mkdir(parents=True, exist_ok=True)
        asyncio.run(_crawl(source, folder, dict(connect_to or {}), date))
    Frontier.remove(folder)
    counts: dict[str, Any] = read_json(folder / "crawl.json")
    return counts


async def _crawl(source: CrawlSource, folder: Path, connect_to: Mapping[str, tuple[str, int]], date: str | None) -> None:
    seeds = [(seed, normalise(seed)) for seed in source.seeds]
    for seed, url in seeds:
        if url is None:
            raise RequestError(f"'{seed}' is no http or https address", where=f"source {source.name}", do="Correct the seed.")
    frontier = Frontier(folder, begin=warc.info(f"groundup {__version__}", date or _now()))
    try:
        frontier.add([url for _, url in seeds if url], depth=0)
        with bar(f"crawling {source.name}") as progress:
            async with Fetcher(source, connect_to) as fetcher:
                await _Crawl(source, frontier, date, progress).run(fetcher)
        done = frontier.progress
        if done.fetched == 0:
            _nothing_fetched(source, folder, frontier)
        counts = {
            "fetched": done.fetched, "bytes": done.bytes, "truncated": done.truncated, "redirected": done.redirected,
            "refused": dict(sorted(done.refused.items())), "examples": dict(sorted(done.examples.items())),
            "not_followed": dict(sorted(done.not_followed.items())),
            "addresses_found": frontier.known, "addresses_left": frontier.known - done.reached, "digest": done.digest,
        }  # fmt: skip
    finally:
        frontier.close()
    write_json(folder / "crawl.json", counts)


def _nothing_fetched(source: CrawlSource, folder: Path, frontier: Frontier) -> None:
    """Say why, and forget the try: the next one asks again."""
    examples = [f"{urls[0]} ({reason})" for reason, urls in frontier.progress.examples.items()]
    Frontier.remove(folder)
    private = "private address" in frontier.progress.refused
    raise GroundupError(
        f"no page could be fetched: {', '.join(examples)}", where=f"source {source.name}",
        do="Set allow_private: true if you mean that machine." if private else "Check the seeds, hosts, and the network.",
    )  # fmt: skip


class _Crawl:
    """The loop: fetch ahead, commit in order."""

    def __init__(self, source: CrawlSource, frontier: Frontier, date: str | None, progress: Bar) -> None:
        self._source, self._frontier, self._date, self._bar = source, frontier, date, progress
        self._scope = Scope(source)

    async def run(self, fetcher: Fetcher) -> None:
        """Until the frontier is dealt with or the pages are enough."""
        flying: dict[int, tuple[Address, asyncio.Task[Outcome]]] = {}  # by number, and begun in that order
        begun = self._frontier.progress.reached
        try:
            while True:
                held = sum(_size(task) for _, task in flying.values())
                room = min(AHEAD, self._source.max_pages - self._frontier.progress.fetched) - len(flying)
                if room > 0 and held < AHEAD_BYTES:
                    for address in self._frontier.waiting(begun, room):
                        flying[address.number] = (address, asyncio.create_task(fetcher.page(address.url)))
                        begun = address.number
                if not flying:
                    return
                await next(iter(flying.values()))[1]  # nothing can be committed before the first of them
                while flying and (first := next(iter(flying.values())))[1].done():
                    del flying[first[0].number]
                    self._deal_with(first[0], first[1].result())
                self._frontier.commit()
        finally:
            for _, task in flying.values():
                task.cancel()
            await asyncio.gather(*(task for _, task in flying.values()), return_exceptions=True)

    def _deal_with(self, address: Address, outcome: Outcome) -> None:
        done = self._frontier.progress
        match outcome:
            case Page():
                self._keep(address, outcome)
            case Redirect():
                self._redirect(address, outcome.target)
            case Refusal():
                done.refuse(address.url, outcome.reason)
        done.reached = address.number
        self._bar.advance()
        self._bar.note(f"addresses, {done.fetched:,} pages, {done.bytes / 1e6:,.1f} MB")

    def _keep(self, address: Address, page: Page) -> None:
        done = self._frontier.progress
        date = self._date or _now()
        self._frontier.store(warc.response(address.url, date, page.content_type, page.body, truncated=page.truncated))
        done.digest = digest(done.digest, address.url, page.content_type, hashlib.blake2b(page.body, digest_size=16).hexdigest())
        done.fetched, done.bytes, done.truncated = done.fetched + 1, done.bytes + len(page.body), done.truncated + page.truncated
        kind = warc.media_type(page.content_type)
        if kind == "text/plain":
            return
        html = warc.Page(address.url, kind, page.body, warc.charset(page.content_type), None).html
        wanted = []
        for url in links(html, address.url):
            reason = self._scope.refuses(url) or ("too deep" if address.depth >= self._source.max_depth else None)
            if reason is None:
                wanted.append(url)
            else:
                done.not_followed[reason] = done.not_followed.get(reason, 0) + 1
        self._frontier.add(wanted, depth=address.depth + 1)

    def _redirect(self, address: Address, target: str | None) -> None:
        """The target takes its own place in the frontier; if it is known already, that is that."""
        done = self._frontier.progress
        reason = "to no web address" if target is None else self._scope.refuses(target)
        if reason is None and address.hops >= HOPS:
            reason = f"more than {HOPS} in a row"
        if target is None or reason is not None:
            done.refuse(address.url, f"redirect: {reason}")
        else:
            done.redirected += 1
            self._frontier.add([target], depth=address.depth, hops=address.hops + 1)


def _size(task: asyncio.Task[Outcome]) -> int:
    """Bytes that a finished fetch holds in memory."""
    if task.done() and not task.cancelled() and task.exception() is None and isinstance(outcome := task.result(), Page):
        return len(outcome.body)
    return 0


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
