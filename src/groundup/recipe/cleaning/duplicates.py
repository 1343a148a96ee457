"""What is dropped as a copy: section `clean.duplicates`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from groundup.recipe.strict import Strict

PRESETS: dict[str, dict[str, Any]] = {
    "fineweb": {"bands": 14, "rows": 8, "words": 5},
    "refinedweb": {"bands": 450, "rows": 20, "words": 5},
    "gpt3": {"bands": 10, "rows": 1, "words": 1, "min_similarity": 0.8},
}


class Near(Strict):
    """Near duplicates by MinHash and locality-sensitive hashing; one of each cluster is kept."""

    on: bool = False
    """Whether near duplicates are dropped."""
    preset: Literal["fineweb", "refinedweb", "gpt3"] | None = None
    """The figures of a published corpus: `fineweb`, 14 bands of 8 (Penedo et al. 2024); `refinedweb`, 450 of 20 (Penedo et al. 2023);
    `gpt3`, 10 hashes of single words (Brown et al. 2020, appendix A, whose least similarity is not published; 0.8 is ours): nearly all
    documents are candidates there, so it is for small corpora. Fields given beside it win."""
    bands: Annotated[int, Field(ge=1, le=1000)] = 14
    """Documents that agree in one band are near duplicates. 14 bands of 8 rows find 56, 77, 92 and 99 % of pairs of Jaccard similarity
    0.7, 0.75, 0.8 and 0.85; 450 of 20 find 30, 76, 99.4 and 100 %."""
    rows: Annotated[int, Field(ge=1, le=100)] = 8
    """Hashes that must agree for a band to."""
    words: Annotated[int, Field(ge=1, le=20)] = 5
    """Words of an n-gram that is compared."""
    min_similarity: Annotated[float, Field(gt=0, le=1)] | None = None
    """Least true Jaccard similarity of two candidates (0 to 1): those that agree in a band by chance stay. Not given: no check, as FineWeb
    and RefinedWeb have none."""

    @model_validator(mode="before")
    @classmethod
    def _as_published(cls, data: Any) -> Any:
        return {**PRESETS[data["preset"]], **data} if isinstance(data, dict) and data.get("preset") in PRESETS else data


class Passages(Strict):
    """Exact repeats of so many words or more, wherever they stand (Lee et al. 2021, ExactSubstr): all but the first are cut out."""

    on: bool = False
    """Whether repeated passages are cut out."""
    words: Annotated[int, Field(ge=5, le=1000)] = 50
    """Shortest repeat (words; case, punctuation and blank space are not compared). Lee et al. and RefinedWeb take 50 tokens."""


class Duplicates(Strict):
    """Copies, looked for in this order: addresses, documents, paragraphs, lines, near copies, passages. docs/dedup.md"""

    urls: bool = False
    """Drop a page whose address (scheme, `www.`, fragment and last slash aside) another document has. FineWeb found that it costs
    three quarters of a corpus of many snapshots and gains nothing."""
    documents: bool = True
    """Drop a document whose normalised text is already there."""
    paragraphs: bool = False
    """Drop a paragraph (block between blank lines) that is already there, in any document."""
    lines: bool = False
    """Drop a line that is already there, in any document."""
    min_characters: Annotated[int, Field(ge=1)] = 40
    """Shorter paragraphs and lines are never dropped: they are structure, not copies (characters)."""
    near: Near = Near()
    """Near duplicates of documents."""
    passages: Passages = Passages()
    """Repeats within and across documents."""
    scope: Literal["source", "snapshot", "corpus"] = "source"
    """Where addresses, near copies and passages are looked for; equal documents, paragraphs and lines are in the whole corpus. Within each
    source by default: FineWeb's corpus over all its snapshots at once (section 3.4) trained worse models, since what is left of an old
    snapshot is what is worst in it. `snapshot`: in all sources that name the same one."""
    keep: Literal["smallest-hash", "best-quality"] = "smallest-hash"
    """Which of several copies stays: the one whose text has the smallest hash, wherever it stands, so that neither order nor names
    decide; or the one that `clean.classifier` scores highest. The test copy stays in any case: clean.decontaminate."""


def needs_classifier(duplicates: Duplicates, *, classifier: bool) -> None:
    """Raise where copies are to be ranked by a score that no step gives."""
    if duplicates.keep == "best-quality" and not classifier:
        raise PydanticCustomError("keep", "duplicates.keep=best-quality ranks by the score of clean.classifier, which is off; turn it on")
