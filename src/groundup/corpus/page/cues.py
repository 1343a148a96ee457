"""What an element says of itself: its name, role, classes and id, in the vocabulary that web designers share.

A hint, never a verdict: `content.py` overrules it where most of a page's prose stands under it.
"""

from __future__ import annotations

import re
from typing import Any

HIDDEN, ASIDE, REMARK, BODY, META, WEAK = 1, 2, 4, 8, 16, 32
"""Not shown; beside the content; readers' comments; the content itself; about the content (who, when, filed under what); a part
that may be either (a teaser may be the article's lead or a link to another one)."""

UNSEEN_ELEMENTS = frozenset(["select", "datalist", "object", "video", "audio", "canvas", "button", "annotation", "annotation-xml", "rp", "dialog"])
ELEMENTS = dict.fromkeys(UNSEEN_ELEMENTS, HIDDEN) | dict.fromkeys(["nav", "aside", "footer", "menu"], ASIDE) | dict.fromkeys(["article", "main"], BODY)
VALUES = (
    {("aria-hidden", "true"): HIDDEN, ("role", "main"): BODY, ("role", "article"): BODY}
    | {("role", role): ASIDE for role in "navigation banner contentinfo search complementary menu menubar toolbar dialog alertdialog alert".split()}
    | {("itemprop", value): BODY for value in ("articleBody", "text", "mainContentOfPage")}
)
ATTRIBUTE = re.compile(r"""\s(class|id|role|style|itemprop|hidden|aria-hidden)(?:\s*=\s*("[^"]*"|'[^']*'|[^\s"'>]+)|(?=\s|$))""", re.IGNORECASE)
WORD = re.compile("[A-Z]?[a-z]+|[A-Z]+")
UNSHOWN = re.compile(r"display\s*:\s*none|visibility\s*:\s*hidden", re.IGNORECASE)
UNSHOWN_CLASSES = frozenset("sr-only screen-reader-text visually-hidden visuallyhidden d-none noprint mw-editsection".split())
NEGATIONS = frozenset(["has", "no", "with", "without", "is", "js", "not"])
MEMO_ENTRIES, MEMO_LENGTH = 50_000, 300
TOKENS = 40  # of an element's classes and id, as many are looked at

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
    flags = ELEMENTS.get(name, 0)
    if not attributes:
        return flags
    if attributes.count("=") == attributes.count('="') and "\n" not in attributes:  # plainly written, as most are
        label = _value(attributes, ' class="') + " " + _value(attributes, ' id="')
        others = " role=" in attributes or " style=" in attributes or "hidden" in attributes or " itemprop=" in attributes
    else:
        label, others = "", True
    if others:
        for key, value in ATTRIBUTE.findall(attributes):
            key, value = key.lower(), value.strip("\"'").strip()
            if key in ("class", "id"):
                label += " " + value
            elif key == "style":
                flags |= HIDDEN if UNSHOWN.search(value) else 0
            elif key == "hidden":
                flags |= HIDDEN if value != "until-found" else 0
            else:
                flags |= VALUES.get((key, value), 0)
    for token in label.split(None, TOKENS)[:TOKENS]:
        flags |= _tokens.get(token) or _token(token)
    return flags & ~KNOWN


def _value(attributes: str, key: str) -> str:
    start = attributes.find(key)
    if start < 0:
        return ""
    start += len(key)
    return attributes[start : attributes.find('"', start)]


KNOWN = 256  # set in what is remembered, so that none is 0
_tokens: dict[str, int] = {}
_words: dict[str, int] = {}


def _token(token: str) -> int:
    """The cues of one class or id."""
    flags = KNOWN | (HIDDEN if token in UNSHOWN_CLASSES else 0)
    words = WORD.findall(token)
    if words and words[0] not in NEGATIONS:
        for word in words:
            flags |= _words.get(word) or _word(word)
    remember(_tokens, token, flags)
    return flags


def _word(word: str) -> int:
    lower = word.lower()
    flags = KNOWN | VOCABULARY.get(lower, 0)
    if flags == KNOWN and len(word) > 5:
        for stem, flag in STEMS:
            if stem in lower:
                flags |= flag
    remember(_words, word, flags)
    return flags


def remember(memo: dict[str, Any], key: str, value: Any) -> None:
    """Keep a value that is likely to be asked for again; a memo has a bound in number and length."""
    if len(key) < MEMO_LENGTH:
        if len(memo) >= MEMO_ENTRIES:
            memo.clear()
        memo[key] = value
