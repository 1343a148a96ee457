"""The user's own rules: section `clean.rules`."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from groundup.recipe.strict import Strict


class Substitution(Strict):
    """One pattern and what stands in its place."""

    pattern: Annotated[str, Field(min_length=1)]
    """A regular expression of Python's `re`; ^ and $ match at every line."""
    replacement: str = ""
    r"""What replaces each match; \1 and \g<name> are its groups."""

    @model_validator(mode="after")
    def _compiles(self) -> Substitution:
        try:
            compiled = re.compile(self.pattern, re.MULTILINE)
        except re.error as error:
            place = "" if error.pos is None else f" at character {error.pos + 1}"
            raise PydanticCustomError(
                "pattern", "the pattern '{pattern}' is no regular expression: {why}{place}",
                {"pattern": self.pattern, "why": error.msg, "place": place},
            ) from None  # fmt: skip
        try:
            compiled.sub(self.replacement, "")
        except (re.error, IndexError) as error:
            raise PydanticCustomError(
                "replacement", "the replacement '{replacement}' of the pattern '{pattern}' is wrong: {why}",
                {"replacement": self.replacement, "pattern": self.pattern, "why": str(error)},
            ) from None  # fmt: skip
        return self


class Rules(Strict):
    """What only the user knows to be wrong with the text: pages by their address, patterns, and functions of their own."""

    on: bool = False
    """Whether the steps `urls` and `rules` run."""
    blocked_urls: list[str] = []
    """Files of domains or addresses whose documents are dropped: one a line, # begins a comment, lists in the form of a hosts file
    are read too, and .gz; relative to the recipe's folder. A domain blocks its subdomains, an address all that begins with it."""
    blocked_domains: list[str] = []
    """Domains, or addresses, given here."""
    blocked_url_words: list[str] = []
    """Words, between anything but letters, whose presence in an address drops the document."""
    substitutions: list[Substitution] = []
    """Replaced in this order, in the texts of all documents."""
    functions: list[str] = []
    """Python functions by dotted name (`my_rules.tidy`), each given a text: it returns the text, or None to drop the document."""

    @field_validator("functions")
    @classmethod
    def _dotted(cls, value: list[str]) -> list[str]:
        for name in value:
            if "." not in name or not all(part.isidentifier() for part in name.split(".")):
                raise PydanticCustomError("function", "'{name}' is no dotted name of a function: module.function", {"name": name})
        return value
