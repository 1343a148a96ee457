"""Telephone numbers in running text: international and national forms, and not dates, prices, ISBNs, ids or columns of figures.

A run of digits with blanks, dots, dashes, slashes and brackets between them is read as groups. Three kinds of evidence:

    its form      +44 20 7946 0958   (212) 555-0187   06 12 34 56 78   0221/4710-0
    a word before tel. 5550187       call me on 986 229 1234
    what speaks against it: a currency, "ISBN", "order no.", a date, equal thousands, more figures on both sides

A number with a plus and a country's code needs no more; a national form must be one that countries use; any other
grouping needs the word before it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

RUN = re.compile(r"[0-9](?:[ \u00a0().\-/–‑]{0,3}[0-9]){6,}")
PIECES = re.compile(r"[0-9](?:(?! [-/–] )[^0-9]{0,3}[0-9])+")
EXTENSION = re.compile(r"[ ,]{0,2}(?:x|ext?\.?|extension|Durchwahl|poste)\s?[0-9]{1,6}\b", re.IGNORECASE)
SEPARATOR = re.compile(r"[^0-9]+")
SEPARATORS = frozenset([" ", "-", ".", "/", ")", ") ", ")-", ").", ")/", " (", "-(", ".(", "(", " - ", " / ", ". ", "–", "‑", "\u00a0", ")\u00a0"])
NEAR = 40  # characters before a number in which a word speaks for or against it
FOR = re.compile(
    r"\b(?:(?:tele)?phones?|tel|te?le?fon[oe]?|téléphone|teléfono|tél|fax|mobile?|móvil|cell(?:ular|phone)?|celular|cellulare|portable|handy|"
    r"call(?:ing|ed|s)?|dial|ring|text me|texting|sms|whatsapp|signal|viber|hotline|helpline|landline|contact|rufnummer|nummer|appele[rz]|"
    r"chiam\w+|llam\w+|bel|ph|reach (?:me|us|him|her|them|you)|(?:my|his|her|their|our|your) number)\b",
    re.IGNORECASE,
)
AGAINST = re.compile(
    r"\b(?:isbn|issn|doi|order|invoice|account|acct|serial|part|patent|version|ref(?:erence)?|case|tracking|ticket|article|item|model|"
    r"id|uid|no\.|pmid|zip|licen[cs]e|passport|ssn|bug|issue|iban|vat|sku|lot|batch|rfc|section|pages?|pp\.?|pin|policy|route|routing|"
    r"customer|member|docket|equation|fig(?:ure)?|table|latitude|longitude|coordinates)\b[\s:#.]*(?:number|no\.?|nr\.?|#|num|code)?[\s:#.]*$",
    re.IGNORECASE,
)
NAMED = re.compile(rf"(?:{FOR.pattern})[^\n\d\"{{}}=]{{0,24}}$", re.IGNORECASE)
FOR_AFTER = re.compile(r"[ ,]?\(?(?:office|fax|mobile|cell|home|work|phone|tel)\b", re.IGNORECASE)  # as in the blocks under letters
DATE = re.compile(
    r"(?:(?:1[0-9]|20|21)[0-9]{2}([-./ ])(?:0?[1-9]|1[0-2])\1(?:0?[1-9]|[12][0-9]|3[01])|"
    r"(?:0?[1-9]|[12][0-9]|3[01])([-./ ])(?:0?[1-9]|[12][0-9]|3[01])\2(?:1[0-9]|20|21)[0-9]{2})(?![0-9])"
)
YEARS = re.compile(r"(?:1[0-9]|20)[0-9]{2}(?: ?[-–/.] ?(?:1[0-9]|20)[0-9]{2})+")
NUMBER = re.compile(r"[0-9]+\.[0-9]+|[0-9]{1,3}(?:\.[0-9]{1,3}){3}(?:/[0-9]+)?")  # a decimal; an address of a machine, right or wrong
MONEY = re.compile(r"(?:[$€£¥₹#§№=]|\b(?:USD|EUR|GBP|Rs))\s?$")

# ITU-T E.164, list of assigned country codes: one digit, two, or else three.
ONE, TWO = frozenset("17"), frozenset(
    """20 27 30 31 32 33 34 36 39 40 41 43 44 45 46 47 48 49 51 52 53 54 55 56 57 58 60 61 62 63 64 65 66 81 82 84 86 90 91 92 93 94 95
    98""".split()
)  # fmt: skip
THREE = frozenset("21 22 23 24 25 26 29 35 37 38 42 50 59 67 68 69 85 88 96 97 99".split())  # their first two digits

# Groupings of national numbers, a digit each: N 2 to 9, other digits themselves, # any. Sources: the countries' numbering plans.
FORMS = [
    "N## N## ####", "1 N## N## ####", "1 N## N######",  # North America
    "0## #### ####", "0### ### ####", "0#### ######", "0#### ### ###", "0### #### ###",  # United Kingdom
    "0# ## ## ## ##", "0## ### ## ##",  # France; Switzerland, Belgium, Sweden
    "[6789]## ### ###", "[6789]## ## ## ##",  # Spain
    "0# #### ####", "04## ### ###", "1[38]00 ### ###",  # Australia
    "0# ########", "0## #######", "0### ######", "0# ### ## ##", "0# #### ###", "0# ### ####",  # Netherlands, Ireland, New Zealand
    "0#### # ####",  # Japan
]  # fmt: skip


def _pattern(forms: list[str]) -> re.Pattern[str]:
    return re.compile("|".join(forms).replace("#", "[0-9]").replace("N", "[2-9]"))


NATIONAL = _pattern(FORMS)
GERMAN = re.compile(r"0[1-9][0-9]{1,4} [0-9]{3,9}(?: [0-9]{1,4})?|0[1-9][0-9]{1,4}(?: [0-9]{2}){2,4}(?: [0-9]{1,3})?")  # area, then two by two


def find(text: str, run: re.Match[str]) -> Iterator[tuple[int, int]]:
    """The telephone numbers in a run of digits (a match of RUN), with their plus, brackets and extension.

    Mostly the run is one or none. It may be two, of which a dash or slash between blanks is the border; and what
    follows a number that is announced may be a number of another kind.
    """
    start, end = run.span()
    if whole := _number(text, start, end):
        yield whole
        return
    pieces = list(PIECES.finditer(text, start, end))
    if len(pieces) > 1:
        found = [number for piece in pieces if (number := _number(text, *piece.span()))]
        if len(found) == len(pieces):
            yield from found
            return
    if NAMED.search(text, max(0, start - NEAR), start) or text[max(0, start - 1) : start] == "+":
        for blank in reversed([found.start() for found in re.finditer(r"(?<=[0-9])[.)]? ", run[0])]):
            number = _number(text, start, start + blank, formal=True)
            if number:
                yield number
                return


def _number(text: str, start: int, end: int, *, formal: bool = False) -> tuple[int, int] | None:
    """Whether digits from `start` to `end` are a telephone number; a `formal` one has a country's form."""
    shown = text[start:end]
    before = text[max(0, start - 2) : start]
    plus = before.endswith(("+", "+("))
    bracket = before.endswith("(")
    if plus:
        start -= 1 + bracket
    elif bracket and ")" in text[start : start + 6]:
        start -= 1
    else:
        bracket = False
    separators = SEPARATOR.findall(shown)
    if not all(separator in SEPARATORS for separator in separators) or _glued(text, start, end) or NUMBER.fullmatch(shown) or shown.startswith("000"):
        return None
    digits = re.sub("[^0-9]", "", shown)
    context = text[max(0, start - NEAR) : start].rstrip("\n").rpartition("\n")[2]
    if MONEY.search(context):
        return None
    if plus:
        good = 8 <= len(digits) <= (13 if formal else 15) and _country(digits)
    elif digits.startswith("00") and _country(digits[2:]) and shown[2] != "0":
        good = 10 <= len(digits) <= 17 and (bool(separators) or FOR.search(context) is not None)
    elif formal:
        good = NATIONAL.fullmatch(SEPARATOR.sub(" ", shown)) is not None
    else:
        good = _national(shown, digits, bracket, context, text[end : end + 10])
    if not good:
        return None
    extension = EXTENSION.match(text, end)
    return start, extension.end() if extension else end


def _national(shown: str, digits: str, bracket: bool, context: str, after: str) -> bool:
    if AGAINST.search(context) or DATE.match(shown) or YEARS.fullmatch(shown):
        return False
    groups = SEPARATOR.sub(" ", shown)
    words = FOR.search(context) is not None or FOR_AFTER.match(after) is not None
    thousands = re.fullmatch(r"[1-9][0-9]{0,2}(?:[ .\u00a0][0-9]{3})+", shown) is not None
    if not words:
        if thousands or _column(shown, context, after):
            return False
        separators = {separator.strip(" ()") for separator in SEPARATOR.findall(shown)}
        if " " in groups and (NATIONAL.fullmatch(groups) or (GERMAN.fullmatch(groups) and 9 <= len(digits) <= 12)):
            return not ("." in separators and groups.count(" ") == 1)  # 0123.456789 is a decimal or a file
        return bracket and 7 <= len(digits) <= 12 and (groups.count(" ") > 1 or len(digits) >= 9)
    if " " not in groups or thousands:  # with nothing but its name to go by, it follows at once
        return 7 <= len(digits) <= 13 and NAMED.search(context) is not None and len(groups) <= 13
    return 7 <= len(digits) <= 13


def _glued(text: str, start: int, end: int) -> bool:
    """Whether the run is part of something longer: a word, a path, a decimal, a percentage."""
    before, after = text[max(0, start - 2) : start], text[end : end + 2]
    if before and (before[-1].isalnum() or before[-1] in "_@&=#~^*%\\<{}"):
        return True
    if before and before[-1] in ".,-/:–" and len(before) == 2 and before[0].isalnum() and (before[0].isdigit() or before[-1] not in ".:"):
        return True
    if not after:
        return False
    if after[0] in "_@%°\\^*=" or (after[0].isalpha() and not re.match("(?:x|ext)[ .]?[0-9]", text[end : end + 6])):
        return True
    return after[0] in ".,-/:" and len(after) == 2 and after[1].isalnum() and (after[0] != "." or after[1].isdigit())


def _column(shown: str, context: str, after: str) -> bool:
    """Whether more figures stand beside it, set off in the same way: a row of a table."""
    return re.search(r"[0-9][ \t|;,]{1,3}$", context) is not None or re.match(r"[ \t|;,]{1,3}[0-9]", after) is not None


def _country(digits: str) -> bool:
    return digits[0] in ONE or digits[:2] in TWO or digits[:2] in THREE
