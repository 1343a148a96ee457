"""Where the text comes from."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from groundup.recipe.strict import Strict


class FilesSource(Strict):
    """Local files: txt, md, html, jsonl(.gz/.zst), parquet, warc(.gz), epub; folders and tar archives are read recursively."""

    kind: Literal["files"] = "files"
    """Which source this is."""
    name: str = "files"
    """Name of the source in reports and in the `source` column."""
    weight: Annotated[float, Field(ge=0)] | None = None
    """Share of the training tokens, as against the other sources' weights; none has one: each token comes once a pass."""
    snapshot: str | None = None
    """Label of the crawl that it is part of, for `clean.duplicates.scope=snapshot`; not given: it is one by itself."""
    path: str
    """A file or a folder; `~` is expanded, a relative path counts from the recipe's folder."""
    text_field: str = "text"
    """The field of a JSON line or Parquet row that holds the document."""


class CrawlSource(Strict):
    """Pages of a website, fetched politely over HTTP into WARC files."""

    kind: Literal["crawl"] = "crawl"
    """Which source this is."""
    name: str = "crawl"
    """Name of the source in reports and in the `source` column."""
    weight: Annotated[float, Field(ge=0)] | None = None
    """Share of the training tokens, as against the other sources' weights; none has one: each token comes once a pass."""
    snapshot: str | None = None
    """Label of the crawl that it is part of, for `clean.duplicates.scope=snapshot`; not given: it is one by itself."""
    seeds: Annotated[list[str], Field(min_length=1)]
    """The addresses to start from (http or https)."""
    hosts: list[str] = []
    """Hosts that may be visited (exact names); empty: the seeds' own."""
    path_prefix: str = "/"
    """Only addresses whose path starts so are visited."""
    max_depth: Annotated[int, Field(ge=0)] = 10
    """Links followed from a seed at most."""
    max_pages: Annotated[int, Field(ge=1)] = 10_000
    """Pages fetched at most; the crawl then ends well."""
    max_page_bytes: Annotated[int, Field(ge=1024)] = 10_000_000
    """A longer body is cut there and marked as truncated in the WARC (bytes)."""
    timeout_seconds: Annotated[float, Field(gt=0)] = 30.0
    """Limit for one whole fetch (seconds)."""
    delay_seconds: Annotated[float, Field(ge=0)] = 1.0
    """Pause between two requests to one host (seconds); a longer Crawl-delay in robots.txt wins."""
    connections_per_host: Annotated[int, Field(ge=1, le=16)] = 1
    """Requests in flight to one host at once."""
    user_agent: str = "groundup/0.1 (language model corpus builder)"
    """Sent with each request and matched against robots.txt."""
    allow_private: bool = False
    """Allow private, loopback and link-local addresses. Off: such an address is refused after DNS, at connect."""


class PythonDocsSource(Strict):
    """Python's own reference: pydoc pages served on loopback, then crawled like any website. Needs no network."""

    kind: Literal["python-docs"] = "python-docs"
    """Which source this is."""
    name: str = "python-docs"
    """Name of the source in reports and in the `source` column."""
    weight: Annotated[float, Field(ge=0)] | None = None
    """Share of the training tokens, as against the other sources' weights; none has one: each token comes once a pass."""
    max_pages: Annotated[int, Field(ge=1)] = 10_000
    """Pages fetched at most."""


class TokenFilesSource(Strict):
    """Others' token files, read as text: nanoGPT and llm.c .bin, Megatron .bin and .idx, datatrove .ds, OLMo .npy."""

    kind: Literal["token-files"] = "token-files"
    """Which source this is."""
    name: str = "token-files"
    """Name of the source in reports and in the `source` column."""
    weight: Annotated[float, Field(ge=0)] | None = None
    """Share of the training tokens, as against the other sources' weights; none has one: each token comes once a pass."""
    path: str
    """A file or a folder; `~` is expanded, a relative path counts from the recipe's folder."""
    tokenizer: str
    """What the tokens were made with: a tokenizer.json, its folder, or a folder with GPT-2's encoder.json and vocab.bpe."""


Source = Annotated[FilesSource | CrawlSource | PythonDocsSource | TokenFilesSource, Field(discriminator="kind")]
