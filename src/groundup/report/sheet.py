"""What all pages have in common: templates, escaping, filters. A page is one file with everything in it.

`sheet.html.j2` holds the head (a policy that forbids scripts and requests) and the style; pages fill in the rest.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jinja2

from groundup.report import words


@functools.cache
def template(name: str) -> jinja2.Template:
    """A page's template. It escapes what it is given, and shows what is invisible in it."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("groundup.report", package_path="."), autoescape=True, trim_blocks=True, lstrip_blocks=True,
        undefined=jinja2.ChainableUndefined, finalize=words.visible,
    )  # fmt: skip
    forms = (
        words.count, words.size, words.short, words.duration, words.percent, words.day, words.clip, words.blanks, words.code, words.folded, words.label,
        words.score,
    )  # fmt: skip
    environment.filters |= {form.__name__: _or_dash(form) for form in forms}
    return environment.get_template(name)


def _or_dash(form: Callable[..., str]) -> Callable[..., str]:
    """A filter that shows a missing figure as a dash."""

    def filtered(value: Any, *rest: Any) -> str:
        return "–" if value is None or isinstance(value, jinja2.Undefined) else form(value, *rest)

    return filtered
