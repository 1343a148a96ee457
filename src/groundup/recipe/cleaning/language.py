"""Which languages are kept: section `clean.language`."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, field_validator
from pydantic_core import PydanticCustomError

from groundup.recipe.strict import Strict


class Language(Strict):
    """Find out each document's language; keep some."""

    on: bool = True
    """Label every document; with `keep`, drop the others."""
    keep: list[str] = []
    """Languages to keep, as ISO 639-1 codes (639-3 where there is none); a region or script behind a hyphen is not looked at:
    `[en, de]`. None: all are kept, with their label."""
    min_score: Annotated[float, Field(ge=0, le=1)] = 0.65
    """A document of a kept language is dropped as uncertain where its probability is lower. RefinedWeb (Penedo et al. 2023) and
    FineWeb (2024) take 0.65, there fastText's."""
    sample_characters: Annotated[int, Field(ge=60)] = 600
    """Looked at, of a longer document: a third each from its beginning, middle and end (characters)."""

    @field_validator("keep")
    @classmethod
    def _codes(cls, keep: list[str]) -> list[str]:
        for code in keep:
            if not (code.isascii() and 2 <= len(code.split("-")[0]) <= 3 and code.split("-")[0].isalpha()):
                raise PydanticCustomError("language", "'{code}' is not a language code; write it as in en, de or yue", {"code": code})
        return keep
