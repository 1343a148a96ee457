"""What is corrected as misspelt: section `clean.spelling`."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from groundup.recipe.strict import Strict


class Spelling(Strict):
    """Correct what is surely a typo in English text. No document is dropped. No published ablation shows that it helps a model."""

    on: bool = False
    """Whether the step runs."""
    confidence: Annotated[float, Field(gt=0.5, lt=1)] = 0.8
    """Least probability of a correction, among all words near and that of a word never seen (0.5 to 1). docs/measurements.md has the
    share of typos corrected and of good words harmed at 0.7, 0.8 and 0.9."""
    min_letters: Annotated[int, Field(ge=2)] = 4
    """Shorter words stay: abbreviations are as likely as typos (letters)."""
    repeated: Annotated[int, Field(ge=2)] = 3
    """An unknown word that a document has this often is the writer's own, no slip (times)."""
    max_unknown: Annotated[float, Field(ge=0, le=1)] = 0.15
    """A line with a greater share of words that are neither known nor surely typos stays as it is: dialect, old spelling, another
    language, code (of its words)."""
    min_function_words: Annotated[float, Field(ge=0, le=1)] = 0.1
    """A line with a smaller share of English function words (the, of, with ...) stays as it is; English prose has 0.2 to 0.5."""
    words: str | None = None
    """File of words to leave alone, one a line; relative to the recipe's folder."""
