"""HTML to text: section `clean.html`."""

from __future__ import annotations

from typing import Literal

from groundup.recipe.strict import Strict


class Html(Strict):
    """From pages to text. Documents that are plain text pass through."""

    on: bool = True
    """Off: pages stay HTML, for those who train on markup."""
    main_content: bool = True
    """Of a web page keep the main content only: no menus, banners, related links, comments. Books are always kept whole."""
    format: Literal["text", "markdown"] = "text"
    """`markdown`: headings, lists, tables, code and quotes as Markdown marks them; `text`: laid out, not marked."""
