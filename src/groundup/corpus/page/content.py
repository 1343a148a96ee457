"""Which lines of a page are its main content: where the prose is, less what says of itself that it is something else.

1. Prose is a line of some length that is not a link. Its characters are summed up the tree.
2. What calls itself a menu, a footer, related links or comments (`cues.py`) is out, unless a good part of all prose stands there.
3. Down from the root goes the way to the node that holds nearly all prose that is left; around it, the `<article>` or `<main>`.
4. There, lists and blocks of links are out. Lists, tables and code of some length are content like prose.
5. Short lines and headings go with their neighbours: kept between content, dropped beside what is dropped. Thus a heading goes
   with the links below it.

The shares were set on one random half of trafilatura's evaluation pages (`benchmarks/extraction.py` scores the other).
The design is after Readability (sums up the tree, link density) and jusText (short blocks go with their neighbours).
"""

from __future__ import annotations

from groundup.corpus.page.cues import ASIDE, BODY, HIDDEN, REMARK, WEAK
from groundup.corpus.page.parse import Line, Page

SENTENCE = 25  # characters; a line that ends like a sentence is prose from here on,
PROSE = 60  # any other from here on
SENTENCE_ENDS = tuple(".!?…;。！？؟،।”»“\"')’")
LONG = 200  # characters; such a line is text even if most of it is linked
UNIT = 80  # characters; a list, table or code of as many is content

ALL_LINKS = 0.5  # a block or line with more of its characters linked is a list of links
LIST_LINKS = 0.3  # the same within the content
WEAK_LINKS = 0.4  # the same for what calls itself a teaser or widget, with
WEAK_PROSE = 80  # as many characters of prose at least
SHARE_ELEMENT = 0.5  # of all prose: from there on a <nav>, <footer> or <aside> is content
SHARE_ASIDE = 0.4  # the same for a class that says so
SHARE_BOTH = 0.05  # the same if it calls itself content too
SHARE_META = 0.2  # the same for dates, authors, tags
NEARLY_ALL = 0.85  # of a node's prose: a child with it is gone down to
CAPTION = 200  # characters; a picture's caption of fewer is out

HEADINGS = frozenset(f"h{level}" for level in range(1, 7))
TEXTS = HEADINGS | {"p", "blockquote", "pre"}  # their class says how they look, not what they are
UNITS = frozenset(["ul", "ol", "dl", "table", "pre", "blockquote"])
WITHIN = frozenset(["p", "li", "td", "tr", "dd", "ul", "ol"])  # not gone down to: what is beside it belongs to it
BAD, SHORT, GOOD = 0, 1, 2


def main_lines(page: Page) -> list[Line]:
    """The lines that are content, in their order."""
    names, parents, lines = page.names, page.parents, page.lines
    size = len(names)
    chars, linked, prose = [0] * size, [0] * size, [0] * size
    prosaic = []
    for line in lines:
        node, length = line.node, len(line.text)
        chars[node] += length
        if links := line.linked:
            linked[node] += links
        good = (length >= PROSE and links * 2 < length) or (length >= SENTENCE and links * 4 < length and line.text.endswith(SENTENCE_ENDS))
        prosaic.append(good)
        if good:
            prose[node] += length
    kept = prose[:]
    for node in range(size - 1, 0, -1):
        if length := chars[node]:
            up = parents[node]
            chars[up] += length
            linked[up] += linked[node]
            prose[up] += prose[node]
    out = _said_to_be_else(page, chars, linked, prose)
    top, region = _way_down(page, kept, out)

    # What is in the region, and in which list or table.
    inside, unit = [False] * size, [0] * size
    inside[region] = True
    limit = ALL_LINKS * chars[top]
    for node in range(region + 1, size):
        up = parents[node]
        if inside[up] and not out[node] and (length := chars[node]):
            name = names[node]
            if linked[node] > ALL_LINKS * length and length < limit and name not in HEADINGS and name != "p" and name != "td" and name != "tr":
                continue
            inside[node] = True
            unit[node] = unit[up] or (node if name in UNITS else 0)
    states = []
    end = _end(parents, top)
    after_title = False
    for line, good in zip(lines, prosaic, strict=True):
        node, length = line.node, len(line.text)
        name = names[node]
        if name == "h1" or names[parents[node]] == "h1":
            after_title = True
        if not inside[node] or (line.linked >= ALL_LINKS * length and name not in HEADINGS and length < LONG):
            states.append(BAD)
        elif not top <= node < end:  # around the content: a lead, what an article says before and after
            if not good:
                states.append(SHORT if name in HEADINGS else BAD)
            else:
                states.append(GOOD if region or (after_title and node < top) else BAD)
        elif good or ((group := unit[node]) and chars[group] >= UNIT and linked[group] < LIST_LINKS * chars[group]):
            states.append(GOOD)
        else:
            states.append(SHORT)
    return _with_neighbours(page, states)


def _said_to_be_else(page: Page, chars: list[int], linked: list[int], prose: list[int]) -> list[bool]:
    """Of each node whether it calls itself something else than content, or stands in what does."""
    names, parents = page.names, page.parents
    total = prose[0] or 1
    out = [False] * len(names)
    for node, flag in enumerate(page.flags):
        if out[parents[node]] and node:
            out[node] = True
            continue
        name = names[node]
        if name == "figcaption" and chars[node] < CAPTION:
            out[node] = True
            continue
        if not flag & ~BODY:
            continue
        share = prose[node] / total
        if flag & HIDDEN:
            out[node] = True
        elif name == "footer" or name == "nav" or name == "aside":
            out[node] = share < SHARE_ELEMENT
        elif name in TEXTS and not flag & REMARK:
            pass
        elif flag & (ASIDE | REMARK):
            out[node] = share < (SHARE_BOTH if flag & BODY and not flag & REMARK else SHARE_ASIDE)
        elif flag & WEAK:
            out[node] = share < SHARE_ASIDE and (prose[node] < WEAK_PROSE or linked[node] > WEAK_LINKS * chars[node])
        elif not flag & BODY:
            out[node] = share < SHARE_META
    return out


def _way_down(page: Page, kept: list[int], out: list[bool]) -> tuple[int, int]:
    """The node that holds nearly all prose that is left, and the article around it (or the page). `kept` is summed up."""
    names, parents = page.names, page.parents
    best = [0] * len(names)  # the child with most prose
    for node in range(len(names) - 1, 0, -1):
        length = kept[node] = 0 if out[node] else kept[node]
        if length:
            up = parents[node]
            kept[up] += length
            if length >= kept[best[up]] or not best[up]:
                best[up] = node
    top = region = 0
    while (below := best[top]) and kept[below] >= NEARLY_ALL * kept[top] and names[below] not in WITHIN:
        top = below
        if names[top] == "article" or names[top] == "main":
            region = top
    return top, region


def _end(parents: list[int], top: int) -> int:
    """The node after the last one in `top`."""
    return next((node for node in range(top + 1, len(parents)) if parents[node] < top), len(parents))


def _with_neighbours(page: Page, states: list[int]) -> list[Line]:
    """The good lines, and the short ones that belong to them."""
    lines, names = page.lines, page.names
    result = []
    before, at, count = BAD, 0, len(lines)
    while at < count:
        if states[at] != SHORT:
            before = states[at]
            if before == GOOD:
                result.append(lines[at])
            at += 1
            continue
        end = at
        while end < count and states[end] == SHORT:
            end += 1
        after = states[end] if end < count else BAD
        for line in lines[at:end]:
            if names[line.node] in HEADINGS:
                keep = after == GOOD
            elif before == after:
                keep = before == GOOD
            else:
                keep = line.text.endswith(SENTENCE_ENDS)
            if keep:
                result.append(line)
        at = end
    return result
