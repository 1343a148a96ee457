"""What the corpus is made on: section `corpus`. No survivor depends on it."""

from __future__ import annotations

from typing import Literal

from groundup.recipe.strict import Strict


class Corpus(Strict):
    """Where the steps on single documents run. Files and digests are the same everywhere, so a change of it builds nothing anew."""

    engine: Literal["native", "ray"] = "native"
    """`native`: this machine's processors, through Daft; `ray`: a Ray cluster's."""
    address: str = "auto"
    """With `ray`: the cluster's address (host:port of its head); `auto`: the cluster that this machine has joined."""
