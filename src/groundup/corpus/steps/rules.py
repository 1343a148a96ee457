"""Steps `urls` and `rules`: what the user's own lists, patterns and functions say.

`urls` runs first, before a page is parsed; `rules` last, on the text as it will be.
"""

from __future__ import annotations

import gzip
import hashlib
import importlib
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from groundup.corpus.steps import Seen, Verdict, judge
from groundup.errors import RequestError
from groundup.recipe.cleaning.rules import Rules

TextFunction = Callable[[str], str | None]

SCHEME = re.compile(r"(?:[a-z][a-z0-9+.-]*:)?//", re.IGNORECASE)
HOSTS_ADDRESS = re.compile(r"(?:0\.0\.0\.0|127\.0\.0\.1|::1?|fe80::1%lo0)\s+")  # a hosts file sends blocked names there
HOSTS_OWN = frozenset(["localhost", "localhost.localdomain", "local", "broadcasthost", "0.0.0.0", "ip6-localhost", "ip6-loopback"])


class Urls:
    """Step `urls`: drop documents by their address."""

    def __init__(self, settings: Rules) -> None:
        self.settings = settings
        self.blocked = BlockList([*settings.blocked_domains, *_lines(settings.blocked_urls)])
        words = "|".join(re.escape(word) for word in settings.blocked_url_words)
        self.words = re.compile(rf"(?<![^\W\d_])(?:{words})(?![^\W\d_])", re.IGNORECASE) if words else None

    def __call__(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        return judge(batch, "urls", self._judge)

    def _judge(self, seen: Seen) -> Verdict:
        reason = None
        if self.blocked.blocks(seen.url):
            reason = "blocked address"
        elif self.words is not None and self.words.search(unquote(seen.url)):
            reason = "blocked word in the address"
        return Verdict(seen.text, reason)


class BlockList:
    """Domains and beginnings of addresses, as sorted hashes: 8 bytes each, so that lists of millions fit into every worker.

    An address is looked up by its host, each of the host's parents, and each path that ends at a slash: at most a few
    dozen look-ups, however long the list. Two of a million million addresses share a hash with one of a million entries.
    """

    def __init__(self, entries: Iterable[str]) -> None:
        hashes = np.fromiter((_hash(entry) for entry in map(_plain, entries) if entry), np.uint64)
        self.hashes: NDArray[np.uint64] = np.unique(hashes)

    def blocks(self, url: str) -> bool:
        """Whether an address is on the list, or its host, a parent domain of it, or a path above it."""
        if not len(self.hashes) or not url:
            return False
        wanted = np.array([_hash(place) for place in _above(_plain(url))], np.uint64)
        places = np.minimum(np.searchsorted(self.hashes, wanted), len(self.hashes) - 1)
        return bool((self.hashes[places] == wanted).any())


def _hash(address: str) -> int:
    return int.from_bytes(hashlib.blake2b(address.encode(errors="replace"), digest_size=8).digest(), "little")


def _plain(entry: str) -> str:
    """A domain or address without scheme, user, port, "www.", fragment and last slash; the host in lower case."""
    entry = entry.strip()
    if scheme := SCHEME.match(entry):
        entry = entry[scheme.end() :]
    host, slash, path = entry.partition("/")
    if not slash and "?" in host:
        host, _, path = host.partition("?")
        path = "?" + path
    host = host.rpartition("@")[2].partition(":")[0].lower().rstrip(".").removeprefix("*.").removeprefix(".").removeprefix("www.")
    path = path.partition("#")[0].rstrip("/")
    return f"{host}/{path}" if path else host


def _above(address: str) -> Iterator[str]:
    """What may be on a list for an address: its host and the host's parents, and the paths above it on that host."""
    host, slash, path = address.partition("/")
    labels = host.split(".")
    for start in range(len(labels)):
        domain = ".".join(labels[start:])
        yield domain
        if slash:
            for end in (found.start() for found in re.finditer(r"[/?&]|$", path)):
                yield f"{domain}/{path[:end]}"


def _lines(paths: list[str]) -> Iterator[str]:
    """Entries of block lists. Raises RequestError for a file that cannot be read."""
    for path in map(Path, paths):
        try:
            opened = gzip.open if path.suffix == ".gz" else open
            with opened(path, "rt", encoding="utf-8", errors="replace") as lines:
                for line in lines:
                    entry = re.split(r"(?:^|\s)[#!;]", line, maxsplit=1)[0].strip()
                    hosts = HOSTS_ADDRESS.match(entry)
                    for name in entry[hosts.end() :].split() if hosts else [entry]:
                        name = name.removeprefix("||").removesuffix("^")  # Adblock's form of a domain
                        if name and name not in HOSTS_OWN:
                            yield name
        except OSError as error:
            raise RequestError(f"the block list cannot be read: {error}", where=f"clean.rules.blocked_urls: {path}", do="Name a text file.") from None


class RulesStep:
    """Step `rules`: the substitutions in order, then the functions. Raises RequestError for a function that is not there."""

    def __init__(self, settings: Rules) -> None:
        self.settings = settings
        self.substitutions = [(re.compile(one.pattern, re.MULTILINE), one.replacement, f"/{one.pattern}/") for one in settings.substitutions]
        self.functions = [(name, function(name)) for name in settings.functions]

    def __reduce__(self) -> tuple[type[RulesStep], tuple[Rules]]:
        return RulesStep, (self.settings,)  # functions go to other processes by their names

    def __call__(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        return judge(batch, "rules", self._judge)

    def _judge(self, seen: Seen) -> Verdict:
        text = seen.text
        counts: Counter[str] = Counter()
        for pattern, replacement, name in self.substitutions:
            text, times = pattern.subn(replacement, text)
            if times:
                counts[name] += times
        for name, change in self.functions:
            changed = change(text)
            if changed is None:
                return Verdict(seen.text, f"dropped by {name}", counts=counts)
            if not isinstance(changed, str):
                return Verdict(seen.text, f"{name} returned no text", counts=counts)
            counts[name] += changed != text
            text = changed
        return Verdict(text, score=float(sum(counts.values())), counts=+counts)


def function(name: str) -> TextFunction:
    """A function by its dotted name; modules beside the recipe are found if Python finds them. Raises RequestError."""
    module, _, attribute = name.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise RequestError(
            f"there is no function {name}: {error}", where="clean.rules.functions", do="Install its module, or add its folder to PYTHONPATH."
        ) from None
    if not callable(found):
        raise RequestError(f"{name} is no function", where="clean.rules.functions", do="Name a function of one text.")
    return found  # type: ignore[no-any-return]
