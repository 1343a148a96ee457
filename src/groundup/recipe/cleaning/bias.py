"""Section `clean.bias`: who is mentioned, and beside which words, before and after the filters."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from groundup.recipe.strict import Strict


class Bias(Strict):
    """Mentions of groups of people and the words near them, counted before the first filter and after the last."""

    on: bool = False
    """Count them. No document is changed or dropped. The lists are English."""
    window: Annotated[int, Field(ge=1, le=50)] = 10
    """Words on either side of a mention that count as near it (words). 10: about a sentence, as GloVe's window (Pennington et al. 2014, section 4.2)."""
