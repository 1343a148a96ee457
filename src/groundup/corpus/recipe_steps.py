"""The recipe's steps on single documents, in order."""

from __future__ import annotations

from groundup.corpus.chain import Named
from groundup.corpus.steps.html import Html
from groundup.corpus.steps.text import Length, unicode
from groundup.recipe import Clean

EXTRACTION = 1  # steps that make text of what was read: their result is kept as the documents of the store


def steps(recipe: Clean) -> list[Named]:
    """The steps that a recipe turns on."""
    found = [Named("html", Html(recipe.main_content), {"main_content": recipe.main_content})]
    if recipe.unicode:
        found.append(Named("unicode", unicode, {}))
    return [*found, Named("length", Length(recipe.min_characters), {"min_characters": recipe.min_characters})]
