"""A page as lines of text, each with its place in the tree of blocks; one pass over the tags, linear in the page's length.

    <ul><li>Two <b>words</b><li><a href=x>more</a></ul>     node     0  1   2   3     line  "Two words"  in node 2
                                                          name     -  ul  li  li          "more"       in node 3, 4 characters linked
                                                          parent  -1  0   1   1

Only what lays text out is a node: blocks, items, cells. Inline elements (`<b>`, `<span>`, unknown ones) join the text of their
line. No tree of elements is built, which is what costs most in a parser. End tags are implied, and stray ones passed over, as
the HTML standard has it (section 13.2.6) where that changes what is read: paragraphs end where a block begins, items where the
next one does, and nothing inside a cell ends what is outside.

Linear whatever the page: the patterns never fail after a long look ahead (what is cut off swallows the rest of the page, as in
the standard), and an end tag is looked for only where the elements now open are known to hold it.
"""

from __future__ import annotations

import re
from html import unescape

from groundup.corpus.page.cues import HIDDEN, UNSEEN_ELEMENTS, cues, remember

_RAW = (
    r"<(?:!--.*?(?:-->|\Z)|([sS](?:cript|CRIPT|tyle|TYLE|vg|VG)|[tT](?:itle|ITLE|extarea|EXTAREA|emplate|EMPLATE)|noscript|NOSCRIPT|iframe|IFRAME)\b"
    r"[^<]*(?:<(?!/(?i:\1)\b)[^<]*)*(?:</(?i:\1)[^>]*(?:>|\Z)|\Z)"
)
RAW = re.compile(_RAW + ")", re.DOTALL)
"""Comments and the elements whose content is no markup or not shown."""
RAW_AND_MENUS = re.compile(_RAW + r"|(nav|footer)\b[^<]*(?:<(?!p[\s>]|h1\b|/?(?:nav|footer)\b)[^<]*)*</\2>)", re.DOTALL)
"""And menus that hold no paragraph: a quarter of a page's tags. One attempt ends where the next may begin: linear."""
TAG = re.compile(r"""<(/[a-z0-9]+(?=>)|[a-zA-Z/!?](?:[^>=]*="[^"]*")*[^>=]*(?:=\s*(?:"[^"]*"|'[^']*')?[^>=]*)*)(?:>|\Z)""")
LONG_NUMBER = re.compile(r"&#0*[0-9]{8,}")  # no character; Python refuses to read one of 4,300 digits
BLANKS = re.compile(r"[ \t\n\r\f]+")
NAME = re.compile(r"/?[^\s/]*")

APART = frozenset(
    "p h1 h2 h3 h4 h5 h6 ul ol dl pre blockquote table figure section article aside nav header footer main fieldset details form"
    " listing plaintext menu dir".split()
)
"""Blocks with a blank line before and after."""
BLOCKS = APART | UNSEEN_ELEMENTS | set(
    "div li dt dd td th tr thead tbody tfoot caption center address figcaption summary legend hgroup search optgroup option".split()
)  # fmt: skip
TITLES = frozenset(["h1", "h2", "h3", "h4", "h5", "h6", "summary"])
VERBATIM = frozenset(["pre", "listing", "plaintext"])
SPANS = frozenset("span small i em b strong sup label time font".split())
CODES = frozenset(["code", "kbd", "samp", "tt"])
CODE_MARK = "\ufdd0"  # a noncharacter, around inline code; no text holds it
CELLS = frozenset(["td", "th", "caption"])
TABLE_PARTS = CELLS | {"table", "tr", "thead", "tbody", "tfoot"}
NEAR = TABLE_PARTS | {"li", "ul", "ol", "dl", "dt", "dd", "menu", "dir"}
ROWS = CELLS | {"tr"}
ENDS = {
    "li": frozenset(["li"]), "dt": frozenset(["dt", "dd"]), "dd": frozenset(["dt", "dd"]), "td": CELLS, "th": CELLS, "tr": ROWS,
} | dict.fromkeys(["tbody", "thead", "tfoot"], ROWS | {"tbody", "thead", "tfoot"})  # fmt: skip
"""What a start tag ends, if it is the nearest element of lists and tables."""
FURTHEST = 64
"""Open elements that an end tag may end at once; the standard knows no bound, and then a page can take quadratic time."""

WITH_CUES = (BLOCKS | SPANS) - {"li", "dt", "dd", "option", "optgroup"} - TABLE_PARTS - TITLES | {"table"}
"""Elements whose attributes are read; those of items and cells say little and are many."""

INLINE, LINK, LINK_END, CODE, SHROUD, BREAK, RULE, BLOCK, BLOCK_END = range(9)
Entry = tuple[int, str, int, int]  # what to do, the element's name, its flags, the least gap around it
LINKED: Entry = (LINK, "a", 0, 0)
_memo: dict[str, Entry] = {}


class Line:
    """A line of text: what stands between two breaks."""

    __slots__ = ("gap", "linked", "node", "text")

    def __init__(self, text: str, node: int, gap: int, linked: int) -> None:
        self.text, self.node = text, node
        self.gap = gap
        """Line ends before it: 1, or 2 and more for a blank line."""
        self.linked = linked
        """Characters that are a link's."""


class Page:
    """Lines and the tree they stand in. Node 0 is the page; a node comes after its parent."""

    __slots__ = ("flags", "lines", "names", "parents")

    def __init__(self, names: list[str], parents: list[int], flags: list[int], lines: list[Line]) -> None:
        self.names, self.parents, self.flags, self.lines = names, parents, flags, lines


def _read(tag: str) -> Entry:
    """What a tag asks for. Those with cues are remembered as they stand, as most come again; others by their name."""
    at = tag.find(" ")
    name = tag[:at] if at > 0 else tag
    if name == "a" and "href" in tag:
        return LINKED
    known = _memo.get(name)
    if known is None:
        found = NAME.match(tag)  # a tab may follow the name, a slash, or nothing; capitals
        name = found[0].lower() if found else ""
        known = _memo.get(name)
        if known is None:
            known = _plain(name)
            remember(_memo, name, known)
    if name not in WITH_CUES or len(tag) == len(name):
        return LINKED if name == "a" and "href" in tag.lower() else known
    flags = cues(name, tag[len(name) :])
    known = (SHROUD if flags & HIDDEN else INLINE, name, 0, 0) if name in SPANS else (BLOCK, name, flags, known[3])
    remember(_memo, tag, known)
    return known


def _plain(name: str) -> Entry:
    """What a tag of this name asks for whatever its attributes; an end tag's name begins with a slash."""
    bare = name.removeprefix("/")
    if bare == "br":
        return BREAK, bare, 0, 0
    if bare == "hr":
        return RULE, bare, 0, 2
    if bare in BLOCKS:
        return BLOCK_END if bare != name else BLOCK, bare, cues(bare, ""), 2 if bare in APART else 1
    return CODE if bare in CODES else LINK_END if name == "/a" else INLINE, bare, 0, 0


def parse(html: str, *, menus: bool = True) -> Page:
    """The lines of a page; without `menus` those not that are surely in a `<nav>` or `<footer>`."""
    if CODE_MARK in html:
        html = html.replace(CODE_MARK, "")
    html = (RAW if menus else RAW_AND_MENUS).sub("", html)
    body = html.find("<body")
    if body > 0 and html.find("<p", 0, body) < 0 and html.find("<div", 0, body) < 0:
        html = html[body:]
    pieces = TAG.split(html)
    names, parents, flags, near = [""], [-1], [0], [0]
    lines: list[Line] = []
    parts = [pieces[0]] if not pieces[0].isspace() else []
    node = gap = linked = verbatim = 0
    link = -1  # the node in which a link began
    shroud, shroud_depth, shroud_node = "", 0, 0  # an inline element that is not shown
    pieces += ["/html", "", "/div", ""]  # the last line ends
    known = _memo.get
    for tag, text in zip(pieces[1::2], pieces[2::2], strict=True):
        kind, name, flag, least = known(tag) or _read(tag)
        if kind >= BREAK:
            if parts:
                if not flags[node] & HIDDEN and (line := _line(parts, verbatim)):
                    lines.append(Line(line, node, gap, linked))
                    gap = 0
                parts = []
                linked = 0
            if kind == BREAK:
                gap += 1
            else:
                if gap < least:
                    gap = least
                ended = -1  # the outermost of the nodes that end here
                if kind == BLOCK_END:
                    if names[node] == name:
                        ended = node
                    else:
                        up, around = node, "table" if name in TABLE_PARTS else ""
                        for _ in range(FURTHEST):
                            if names[up] == name:
                                ended = up
                                break
                            if up == 0 or (names[up] == around if around else names[up] in CELLS):
                                break
                            up = parents[up]
                elif kind == BLOCK:
                    if name in ENDS:
                        ends, inner = ENDS[name], near[node]
                        while names[inner] in ends:
                            ended = inner
                            inner = near[parents[inner]]
                    elif names[node] == "p":
                        ended = node
                if ended > 0:
                    node = parents[ended]
                    if link >= ended:
                        link = -1
                    if verbatim >= ended:
                        verbatim = 0
                    if shroud and shroud_node >= ended:
                        shroud = ""
                if kind == BLOCK:
                    if name == "button" and names[node] in TITLES:  # that folds what stands below it
                        flag &= ~HIDDEN
                    inner, flag = near[node], flag | flags[node] & HIDDEN
                    parents.append(node)
                    node = len(names)
                    names.append(name)
                    flags.append(flag)
                    near.append(node if name in NEAR else inner)
                    if name in VERBATIM and not verbatim:
                        verbatim = node
        elif kind == INLINE:
            pass
        elif kind == LINK:
            link = node
        elif kind == LINK_END:
            link = -1
        elif kind == CODE:
            if not verbatim:
                parts.append(CODE_MARK)
        elif not shroud:
            shroud, shroud_depth, shroud_node = name, 0, node
        if shroud:
            if name == shroud:
                shroud_depth += -1 if tag[0] == "/" else 1
                if shroud_depth <= 0:
                    shroud = ""
            if shroud:
                continue
        if text and (parts or verbatim or not text.isspace()):
            parts.append(text)
            if link >= 0:
                linked += len(text.strip())
    return Page(names, parents, flags, lines)


def _line(parts: list[str], verbatim: int) -> str:
    """Text as it is shown: entities read, runs of blanks one space, no-break spaces kept as spaces (they make margins)."""
    line = "".join(parts)
    if "&" in line:
        line = unescape(LONG_NUMBER.sub("&#0", line))
    if verbatim:
        return line.replace("\xa0", " ") if line.strip() else ""
    if "\xa0" not in line:
        return " ".join(line.split())
    return BLANKS.sub(" ", line).strip(" ").replace("\xa0", " ").rstrip() if line.strip() else ""
