"""Section `clean.toxicity`: hateful and insulting text."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from groundup.recipe.strict import Strict


class Toxicity(Strict):
    """Drop hateful and insulting text, by a linear model and by a weighted word list. English; other languages pass."""

    on: bool = False
    """Judge documents. Off by default: what a filter of this kind takes away is not evenly spread over whom a text is about
    (Dodge et al. 2021, section 5.3), so turn `bias` on with it and read what it did."""
    threshold: Annotated[float, Field(ge=0, le=1)] | None = 0.6
    """Drop from this score on (0 to 1); none: the model is not asked."""
    worst: Annotated[float, Field(gt=0, le=1)] = 0.1
    """A long text's score is the mean over its worst share of windows of 800 characters. Near 0: the single worst decides."""
    words_per_thousand: Annotated[float, Field(ge=0)] | None = None
    """Drop above this sum of listed words' weights (per 1,000 words, of 100 at least; a weight is the share of toxic texts
    among those with the word, 0.5 to 1); none: words are not counted. 0 is C4's rule: one listed word is enough."""
    word_list: str | None = None
    """Your own list instead of ours: a word a line, and after a blank its weight (1 if none); relative to the recipe's folder."""

    @model_validator(mode="after")
    def _judges(self) -> Toxicity:
        if self.on and self.threshold is None and self.words_per_thousand is None:
            raise PydanticCustomError("toxicity", "toxicity is on but judges by nothing; set threshold or words_per_thousand")
        return self
