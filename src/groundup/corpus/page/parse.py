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

RAW = re.compile(
    r"<(?:!--.*?(?:-->|\Z)|([sS](?:cript|CRIPT|tyle|TYLE|vg|VG)|[tT](?:itle|ITLE|extarea|EXTAREA|emplate|EMPLATE)|noscript|NOSCRIPT|iframe|IFRAME)\b"
    r"[^<]*(?:<(?!/(?i:\1)\b)[^<]*)*(?:</(?i:\1)[^>]*(?:>|\Z)|\Z))",
    re.DOTALL,
)
TAG = re.compile(r"""<([a-zA-Z/!?][^>=]*(?:=\s*(?:"[^"]*"|'[^']*')?[^>=]*)*)(?:>|\Z)""")
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
VERBATIM = frozenset(["pre", "listing", "plaintext"])
SPANS = frozenset("span small i em b strong sup label time font".split())
CODES = frozenset(["code", "kbd", "samp", "tt"])
CODE_MARK = "\ufdd0"  # a noncharacter, around inline code; no text holds it
SCOPES = frozenset(["table", "td", "th", "caption"])
TABLE_PARTS = SCOPES | {"tr", "thead", "tbody", "tfoot"}
NEAR = TABLE_PARTS | {"li", "ul", "ol", "dl", "dt", "dd", "menu", "dir"}
CELLS, ROWS = frozenset(["td", "th"]), frozenset(["td", "th", "tr", "caption"])
ENDS = {
    "li": frozenset(["li"]), "dt": frozenset(["dt", "dd"]), "dd": frozenset(["dt", "dd"]), "td": CELLS, "th": CELLS, "tr": ROWS,
} | dict.fromkeys(["tbody", "thead", "tfoot"], ROWS | {"tbody", "thead", "tfoot"})  # fmt: skip
"""What a start tag ends, if it is the nearest element of lists and tables."""

INLINE, LINK, LINK_END, CODE, SHROUD, BREAK, RULE, BLOCK, BLOCK_END = range(9)
Entry = tuple[int, str, int]  # what to do, the element's name, its flags
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
    """What a tag asks for. Blocks are remembered as they stand, as most come again; others by their name."""
    found = NAME.match(tag)
    name = found[0].lower() if found else ""
    known = _memo.get(name)
    if known is None:
        bare = name.removeprefix("/")
        end = bare != name
        if bare == "br":
            kind = BREAK
        elif bare == "hr":
            kind = RULE
        elif bare in BLOCKS:
            kind = BLOCK_END if end else BLOCK
        elif bare in CODES:
            kind = CODE
        else:
            kind = LINK_END if name == "/a" else INLINE
        known = (kind, bare, HIDDEN if bare in UNSEEN_ELEMENTS else 0)
        remember(_memo, name, known)
    if known[0] == BLOCK:
        known = (BLOCK, name, cues(name, tag[len(name) :]))
    elif name == "a":
        return (LINK, name, 0) if "href" in tag or "HREF" in tag else known
    elif name in SPANS and len(tag) > len(name):
        known = (SHROUD if cues(name, tag[len(name) :]) & HIDDEN else INLINE, name, 0)
    else:
        return known
    remember(_memo, tag, known)
    return known


def parse(html: str) -> Page:
    """The lines of a page."""
    if CODE_MARK in html:
        html = html.replace(CODE_MARK, "")
    pieces = TAG.split(RAW.sub("", html))
    names, parents, flags, near = [""], [-1], [0], [0]
    lines: list[Line] = []
    parts = [pieces[0]] if not pieces[0].isspace() else []
    node = gap = linked = verbatim = 0
    link = -1  # the node in which a link began
    shroud, shroud_depth, shroud_node = "", 0, 0  # an inline element that is not shown
    scopes: list[dict[str, int]] = [{}]  # how many elements of a name are open, in each cell and around
    scope = scopes[0]
    pieces += ["/html", ""]
    for tag, text in zip(pieces[1::2], pieces[2::2], strict=True):
        kind, name, flag = _memo.get(tag) or _read(tag)
        if kind == INLINE:
            pass
        elif kind == LINK:
            link = node
        elif kind == LINK_END:
            link = -1
        elif kind == CODE:
            if not verbatim:
                parts.append(CODE_MARK)
        elif kind == SHROUD:
            if not shroud:
                shroud, shroud_depth, shroud_node = name, 0, node
        else:
            if parts:
                if not flags[node] & HIDDEN and (line := _line(parts, verbatim)):
                    lines.append(Line(line, node, gap, linked))
                    gap = 0
                parts = []
                linked = 0
            if kind == BREAK:
                gap += 1
            elif kind == RULE:
                gap = 2
            else:
                if gap < 2:
                    gap = 2 if name in APART else gap or 1
                ended = -1  # the outermost of the nodes that end here
                if kind == BLOCK:
                    if name in ENDS:
                        ends, inner = ENDS[name], near[node]
                        while names[inner] in ends:
                            ended = inner
                            inner = near[parents[inner]]
                    elif names[node] == "p":
                        ended = node
                elif names[node] == name:
                    ended = node
                else:
                    depth = len(scopes) - 1
                    if name in TABLE_PARTS:
                        while depth and not scopes[depth].get(name) and depth > len(scopes) - 3:
                            depth -= 1
                    if scopes[depth].get(name):
                        ended, up = node, len(scopes) - 1
                        while names[ended] != name or up != depth + (name in SCOPES):
                            up -= names[ended] in SCOPES
                            ended = parents[ended]
                while node >= ended > 0:
                    closed = names[node]
                    if closed in SCOPES:
                        scopes.pop()
                        scope = scopes[-1]
                    scope[closed] -= 1
                    if closed in VERBATIM:
                        verbatim -= 1
                    node = parents[node]
                if kind == BLOCK:
                    names.append(name)
                    parents.append(node)
                    flags.append(flag | flags[node] & HIDDEN)
                    scope[name] = scope.get(name, 0) + 1
                    inner = near[node]
                    node = len(names) - 1
                    near.append(node if name in NEAR else inner)
                    if name in SCOPES:
                        scope = {}
                        scopes.append(scope)
                    elif name in VERBATIM:
                        verbatim += 1
                if ended > 0:
                    if link >= ended:
                        link = -1
                    if shroud and shroud_node >= ended:
                        shroud = ""
        if shroud:
            if name == shroud:
                shroud_depth += -1 if tag[0] == "/" else 1
                if shroud_depth == 0:
                    shroud = ""
                elif shroud_depth > 0:
                    text = ""
            else:
                text = ""
        if text and (parts or verbatim or not text.isspace()):
            parts.append(text)
            if link >= 0:
                linked += len(text.strip())
    if parts and not flags[node] & HIDDEN and (line := _line(parts, verbatim)):
        lines.append(Line(line, node, gap, linked))
    return Page(names, parents, flags, lines)


def _line(parts: list[str], verbatim: int) -> str:
    """Text as it is shown: entities read, runs of blanks one space, no-break spaces kept as spaces (they make margins)."""
    line = "".join(parts)
    if "&" in line:
        line = unescape(line)
    if verbatim:
        return line.replace("\xa0", " ") if line.strip() else ""
    if "\xa0" not in line:
        return " ".join(line.split())
    return BLANKS.sub(" ", line).strip(" ").replace("\xa0", " ").rstrip() if line.strip() else ""
