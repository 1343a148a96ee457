"""How characters are written and how long a text must be: sections `clean.unicode`, `clean.emoji` and `clean.length`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator
from pydantic_core import PydanticCustomError

from groundup.recipe.strict import Strict


class Unicode(Strict):
    """One way to write the same characters."""

    on: bool = True
    """Also line ends, blank space and control characters; one blank line at most."""
    form: Literal["NFC", "NFKC"] = "NFC"
    """Unicode's normal form (UAX 15). NFC changes nothing that is read; NFKC also takes 2 for ², 1/2 for ½ and TM for ™."""
    mojibake: bool = True
    """Repair text that was decoded with the wrong character set (Ã© for é), line by line, with ftfy (Speer 2019)."""
    quotes: Literal["leave", "straight"] = "leave"
    """`straight`: ' and " for the curly ones. Left by default: they say which end of a quotation they are, they are how
    French, German or a printed book is written, and a model that has read both can write both."""
    compatibility: bool = True
    """Letters for ligatures (ﬁ), plain ones for full-width letters and digits (Ａ１): marks of a typesetter or an old encoding.
    Full-width punctuation stays, Chinese and Japanese are written with it."""


class Emoji(Strict):
    """Emoji as their names, such as `:red_heart:`; groundup.corpus.steps.emoji.to_emoji takes them back."""

    on: bool = False
    """Off: most tokenizers read emoji. For a small vocabulary, or a model that should know what they mean."""
    language: Literal["en", "es", "ja", "ko", "pt", "it", "fr", "de", "fa", "id", "zh", "ru", "tr", "ar"] = "en"
    """Of the names: those of Unicode CLDR, as the package emoji has them; in English where a language has none."""
    delimiters: tuple[str, str] = (":", ":")
    """Before and after a name. Colons are what Slack, GitHub and the package emoji write."""

    @field_validator("delimiters")
    @classmethod
    def _marks(cls, delimiters: tuple[str, str]) -> tuple[str, str]:
        for mark in delimiters:
            if mark not in tuple(":;|<>[]{}=+$%@^`"):
                message = "'{mark}' cannot stand beside an emoji's name; take one mark that names do not have, such as : or < and >"
                raise PydanticCustomError("delimiters", message, {"mark": mark})
        return delimiters


class Length(Strict):
    """A least length."""

    on: bool = True
    """Drop short documents; empty ones too."""
    min_characters: Annotated[int, Field(ge=1)] = 100
    """Shorter documents are dropped (characters, blank space at the ends not counted)."""
