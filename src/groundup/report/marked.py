"""Two versions of a text with their difference marked, for the eye."""

from __future__ import annotations

import re
import unicodedata
from difflib import SequenceMatcher

from markupsafe import Markup, escape

from groundup.report.words import visible

PIECE = re.compile(r"\w+|.", re.DOTALL)
ALIKE = 0.4  # share of pieces in common, blanks aside, below which what is common is chance: the rest is marked as a whole
BLANKS = re.compile(r"^ +| +$| {2,}| +(?=[\n\t])|(?<=[\n\t]) +")
INKLESS = ("Cc", "Cf", "Cs", "Co", "Cn", "Zs", "Zl", "Zp")  # Unicode's categories
CLIPPED = "…"  # at the end of a sample


def marked(before: str, after: str) -> tuple[Markup, Markup]:
    """Both texts as HTML: what only the first has in <del>, what only the second has in <ins>, nothing in them invisible.

    A sample that was clipped ends where it ends, not where the text does: what stands at the end of one alone is not marked.
    """
    clipped = before.endswith(CLIPPED) and after.endswith(CLIPPED)
    one, other = (PIECE.findall(text.removesuffix(CLIPPED) if clipped else text) for text in (before, after))
    operations = _operations(one, other)
    if clipped and operations:
        ends = ["".join(pieces[start:end]) for pieces, start, end in ((one, *operations[-1][1:3]), (other, *operations[-1][3:]))]
        if ends[0].startswith(ends[1]) or ends[1].startswith(ends[0]):
            operations[-1] = ("equal", *operations[-1][1:])
    left, right = Markup(""), Markup("")
    for kind, start, end, begin, stop in operations:
        old, new = "".join(one[start:end]), "".join(other[begin:stop])
        left += _plain(old) if kind == "equal" else Markup("<del>{}</del>").format(shown(old)) if old else Markup("")
        right += _plain(new) if kind == "equal" else Markup("<ins>{}</ins>").format(shown(new)) if new else Markup("")
    tail = Markup(CLIPPED) if clipped else Markup("")
    return left + tail, right + tail


def _operations(one: list[str], other: list[str]) -> list[tuple[str, int, int, int, int]]:
    matcher = SequenceMatcher(None, one, other, autojunk=False)
    inked = [sum(not piece.isspace() for piece in pieces) for pieces in (one, other)]
    common = sum(not piece.isspace() for block in matcher.get_matching_blocks() for piece in one[block.a : block.a + block.size])
    if 2 * common >= ALIKE * sum(inked):
        return [*matcher.get_opcodes()]
    most, start = min(len(one), len(other)), 0
    while start < most and one[start] == other[start]:
        start += 1
    end = 0
    while end < most - start and one[-1 - end] == other[-1 - end]:
        end += 1
    ends = len(one) - end, len(other) - end
    found = [("equal", 0, start, 0, start), ("replace", start, ends[0], start, ends[1]), ("equal", ends[0], len(one), ends[1], len(other))]
    return [operation for operation in found if operation[1] < operation[2] or operation[3] < operation[4]]


def shown(text: str) -> str:
    """A changed piece with what has no ink named: others by their number, blanks as · and ↵, but not one between two words."""
    blanks = BLANKS.sub(lambda run: "·" * len(run[0]), text)
    return "".join(_named(letter) for letter in blanks)


def _named(letter: str) -> str:
    if letter in " \n\t":
        return {" ": " ", "\n": "↵\n", "\t": "⇥"}[letter]
    return f"[U+{ord(letter):04X}]" if unicodedata.category(letter) in INKLESS else letter


def _plain(text: str) -> Markup:
    return escape(visible(text))
