"""What must not be trained on because a test asks it: section `clean.decontaminate`."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from groundup.recipe.strict import Strict


class Decontaminate(Strict):
    """Take out of the training text what stands in the held-out part or in files of tests. The test's copy stays."""

    on: bool = True
    """Whether it is done. `corpus/clean/contamination.jsonl` lists every hit, `contamination.html` shows them."""
    held_out: bool = True
    """Compare with the held-out documents, so that what is measured on them is not what was learned by heart."""
    files: list[str] = []
    """Files of tests, or folders of them: jsonl, json, csv, tsv, txt, plain or .gz or .zst, and parquet; relative to the recipe's
    folder. Any record will do: its strings are looked for."""
    ngram: Annotated[int, Field(ge=8, le=50)] = 13
    """Words in a row that count as copied; a shorter question is looked for whole (words). 13: GPT-3 (Brown et al. 2020, appendix C)."""
    share: Annotated[float, Field(gt=0, le=1)] = 0.5
    """A hit: so much of the n-grams of the smaller of the two, text and test, stands in the other. Few of them are a quotation,
    which the report lists as what remains."""
