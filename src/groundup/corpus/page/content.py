"""Which lines of a page are its main content."""

from __future__ import annotations

from groundup.corpus.page.cues import ASIDE, BODY, HIDDEN, META, REMARK, WEAK
from groundup.corpus.page.parse import Line, Page

HEADINGS = frozenset(["h1", "h2", "h3", "h4", "h5", "h6"])
ENDINGS = (".", "!", "?", "”", "\"", "…", "»", "“", ")", "。", "！", "？", "،", "؟", ";", "'", "’")
TEXT_ELEMENTS = HEADINGS | {"p", "blockquote", "pre"}
UNITS = frozenset(["ul", "ol", "dl", "table", "pre", "blockquote"])
D = {}
T = dict(down=0.85, asidebody=0.05, aside=0.4, meta=0.2, text=1, weak=0.4, cap=200, lead=1)


def main_lines(page: Page) -> list[Line]:
    names, parents, flags, lines = page.names, page.parents, page.flags, page.lines
    size = len(names)
    chars, linked, prose = [0] * size, [0] * size, [0] * size
    good = []
    for line in lines:
        node, length = line.node, len(line.text)
        chars[node] += length
        linked[node] += line.linked
        is_good = length >= 60 and line.linked * 2 < length or length >= 25 and line.linked * 4 < length and line.text.endswith(ENDINGS)
        good.append(is_good)
        if is_good:
            prose[node] += length
    kept = prose[:]
    for node in range(size - 1, 0, -1):
        up = parents[node]
        chars[up] += chars[node]
        linked[up] += linked[node]
        prose[up] += prose[node]
    total = prose[0]
    # what says that it is not content, unless most of the prose stands there
    out = [False] * size
    for node in range(1, size):
        if out[parents[node]]:
            out[node] = True
            kept[node] = 0
            continue
        flag, name = flags[node], names[node]
        if not flag and name not in ("figcaption",):
            continue
        share = prose[node] / total if total else 0
        if flag & HIDDEN:
            out[node] = True
        elif name == "footer" or name == "nav" or name == "aside":
            out[node] = share < 0.5
        elif T['text'] and name in TEXT_ELEMENTS and not flag & REMARK:
            pass
        elif flag & WEAK and not flag & (ASIDE | REMARK):
            out[node] = share < T['aside'] and (prose[node] < 80 or linked[node] > T['weak'] * chars[node])
        elif flag & (ASIDE | REMARK):
            limit = T['asidebody'] if flag & BODY and not flag & REMARK else T['aside']
            out[node] = share < limit
        elif flag & META and not flag & BODY or name == "figcaption" and chars[node] < T['cap']:
            out[node] = share < T['meta']
        if out[node]:
            kept[node] = 0
    for node in range(size - 1, 0, -1):
        kept[parents[node]] += kept[node]
    # down to the node that has nearly all of it
    best = [0] * size  # child with most prose
    for node in range(1, size):
        up = parents[node]
        if kept[node] > (kept[best[up]] if best[up] else 0):
            best[up] = node
    top = region = 0
    while best[top] and kept[best[top]] >= T['down'] * kept[top] and names[best[top]] not in ("p", "li", "td", "tr", "dd", "ul", "ol"):
        top = best[top]
        if names[top] in ("article", "main"):
            region = top
    inside = [False] * size
    inside[region] = True
    drop = [False] * size
    within = [False] * size
    within[top] = True
    unit = [0] * size
    for node in range(region + 1, size):
        up = parents[node]
        if inside[up] and not out[node]:
            if names[node] not in HEADINGS and linked[node] > 0.5 * chars[node] and chars[node] < 0.5 * chars[top] and names[node] not in ("p", "td", "tr"):
                continue
            inside[node] = True
            within[node] = within[up] or node == top
            unit[node] = unit[up] or (node if names[node] in UNITS else 0)
    if region == 0:
        for node in range(1, size):
            pass
    # state
    state = []
    seen_h1 = False
    for line, is_good in zip(lines, good, strict=True):
        node, length = line.node, len(line.text)
        if names[node] == "h1" or names[parents[node]] == "h1":
            seen_h1 = True
        if not inside[node]:
            state.append(0)
        elif line.linked * 2 >= length and names[node] not in HEADINGS and length < 200:
            state.append(0)
        elif not within[node] and not is_good:
            state.append(1 if names[node] in HEADINGS else 0)
        elif not within[node] and region == 0 and not (T['lead'] and seen_h1 and node < top):
            state.append(0)
        elif is_good:
            state.append(2)
        elif unit[node] and chars[unit[node]] >= 80 and linked[unit[node]] < 0.3 * chars[unit[node]]:
            state.append(2)
        else:
            state.append(1)
    D.update(top=top, region=region, out=out, inside=inside, within=within, state=state, kept=kept, total=total)
    result = []
    i, n = 0, len(lines)
    before = 0
    while i < n:
        if state[i] == 2:
            result.append(lines[i])
            before = 2
            i += 1
        elif state[i] == 0:
            before = 0
            i += 1
        else:
            j = i
            while j < n and state[j] == 1:
                j += 1
            after = state[j] if j < n else 0
            for k in range(i, j):
                line = lines[k]
                if names[line.node] in HEADINGS:
                    keep = after == 2 
                elif before == 2 and after == 2:
                    keep = True
                else:
                    keep = (before == 2 or after == 2) and line.text.endswith(ENDINGS)
                if keep:
                    result.append(line)
            i = j
    return result
