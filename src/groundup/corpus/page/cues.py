"""What an element says of itself: its name, role, classes and id, in the vocabulary that web designers share.

A hint, never a verdict: `content.py` overrules it where most of a page's prose stands under it.
"""

from __future__ import annotations

import re
from typing import Any

HIDDEN, ASIDE, REMARK, BODY, META, WEAK = 1, 2, 4, 8, 16, 32
"""Not shown; beside the content; readers' comments; the content itself; about the content (who, when, filed under what)."""

UNSEEN_ELEMENTS = frozenset(["select", "datalist", "object", "video", "audio", "canvas", "button", "annotation", "annotation-xml", "rp", "dialog"])
ASIDE_ELEMENTS = frozenset(["nav", "aside", "footer", "menu"])
ATTRIBUTE = re.compile(r"""\s(class|id|role|style|itemprop|hidden|aria-hidden)(?:\s*=\s*("[^"]*"|'[^']*'|[^\s"'>]+)|(?=\s|$))""", re.IGNORECASE)
WORD = re.compile("[A-Z]?[a-z]+|[A-Z]+")
UNSHOWN = re.compile(r"display\s*:\s*none|visibility\s*:\s*hidden", re.IGNORECASE)
UNSHOWN_CLASSES = frozenset("sr-only screen-reader-text visually-hidden visuallyhidden d-none noprint mw-editsection".split())
NEGATIONS = frozenset(["has", "no", "with", "without", "is", "js", "not"])
MEMO_ENTRIES, MEMO_LENGTH = 50_000, 300

WORDS = {
    ASIDE: """nav navi navigation menu menus ad ads advert adv anzeige werbung foot footer share shares sharing sharer social socials
        related similar pager paging pagination popup overlay modal login signin signup register search skip
        cookie cookies consent gdpr banner promo promos promotion subscribe subscription newsletter crumb crumbs breadcrumb breadcrumbs
        popular trending cart masthead topbar addthis sharedaddy yarpp outbrain taboola copyright imprint sidebar aside""",
    WEAK: """widget widgets toolbar tools teaser teasers rating ratings vote jump links linklist partner partners more also latest recent
        feed rss print buttons cta donate donation shop sticky carousel slider slideshow legal disclaimer prev next previous
        twitter facebook whatsapp""",
    REMARK: "comment comments kommentar kommentare disqus respond reply replies trackback trackbacks pingback pingbacks",
    META: """meta byline author authors autor date time datum timestamp published updated tag tags taglist category categories kategorie
        kategorien keywords topics posted postinfo info credit credits source caption edit views counter biography bio metadata""",
    BODY: """article entry post hentry content main story artikel beitrag inhalt text prose markdown body documentation document""",
}
VOCABULARY = {word: flag for flag, words in WORDS.items() for word in words.split()}
STEMS = (
    *((stem, ASIDE) for stem in """sidebar breadcrumb navbar navigation footer sharing sharebar share social related recommend newsletter advert
        sponsor pagination toolbox mostread readmore subscri cookie paywall tagcloud skyscraper""".split()),
    *((stem, WEAK) for stem in ("widget", "teaser")),
    *((stem, REMARK) for stem in ("comment", "disqus", "livefyre", "kommentar")),
    *((stem, META) for stem in ("byline", "metadata", "authorbox", "pubdate")),
    *((stem, BODY) for stem in ("articlebody", "articletext", "maincontent", "postcontent", "entrycontent", "bodytext")),
)


def cues(name: str, attributes: str) -> int:
    """The flags of an element with this name and these attributes (as they stand in the page)."""
    flags = HIDDEN if name in UNSEEN_ELEMENTS else ASIDE if name in ASIDE_ELEMENTS else BODY if name in ("article", "main") else 0
    if not attributes:
        return flags
    label = ""
    for key, value in ATTRIBUTE.findall(attributes):
        key, value = key.lower(), value.strip("\"'")
        if key == "style":
            if UNSHOWN.search(value):
                flags |= HIDDEN
        elif key == "hidden":
            if value != "until-found":
                flags |= HIDDEN
        elif key == "aria-hidden":
            if value == "true":
                flags |= HIDDEN
        elif key == "role":
            if value in ("navigation", "banner", "contentinfo", "search", "complementary", "menu", "menubar", "toolbar", "dialog", "alertdialog", "alert"):
                flags |= ASIDE
            elif value in ("main", "article"):
                flags |= BODY
        elif key == "itemprop":
            if value in ("articleBody", "text", "mainContentOfPage"):
                flags |= BODY
        else:
            label += " " + value
    for token in label.split():
        flags |= _tokens.get(token) or _token(token)
    return flags


_tokens: dict[str, int] = {}
_words: dict[str, int] = {}


def _token(token: str) -> int:
    """The cues of one class or id; those seen are remembered, offset by 256 so that none is 0."""
    flags = 256
    words = WORD.findall(token)
    if words and words[0] not in NEGATIONS:
        for word in words:
            word = word.lower()
            known = _words.get(word)
            if known is None:
                known = VOCABULARY.get(word, 0)
                if not known and len(word) > 5:
                    for stem, flag in STEMS:
                        if stem in word:
                            known |= flag
                remember(_words, word, known)
            flags |= known
        if token in UNSHOWN_CLASSES:
            flags |= HIDDEN
    remember(_tokens, token, flags)
    return flags


def remember(memo: dict[str, Any], key: str, value: Any) -> None:
    """Keep a value that is likely to be asked for again; a memo has a bound in number and length."""
    if len(key) < MEMO_LENGTH:
        if len(memo) >= MEMO_ENTRIES:
            memo.clear()
        memo[key] = value
