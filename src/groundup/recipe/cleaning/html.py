"""HTML to text: section `clean.html`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from groundup.recipe.strict import Strict


class Html(Strict):
    """From pages to text. Documents that are plain text pass through."""

    on: bool = True
    """Off: pages stay HTML, for those who train on markup."""
    main_content: bool = True
    """Of a web page keep the main content only: no menus, banners, related links, comments. Books are always kept whole."""
    format: Literal["text", "markdown"] = "text"
    """`markdown`: headings, lists, tables, code and quotes as Markdown marks them; `text`: laid out, not marked."""
    seconds: Annotated[float, Field(gt=0)] = 10.0
    """Longest time for one page (seconds); the page is then dropped. A page takes 2 to 3 ms, one of 10 MB under 1 s."""
