"""Step `personal_data`: e-mail addresses, telephone numbers, cards, keys ... replaced by a word for what they are.

Most texts have none, and years and prices stand everywhere; so each kind is looked for from the rarest thing about it: an @, a dot and
figures and a dot, seven digits in one place, the mark of a service's keys. Only where that stands are patterns tried.
Where two kinds claim the same place the more certain wins: what carries a check digit before what has only a form.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from groundup.corpus.steps import Seen, Verdict, judge, phones, secrets
from groundup.corpus.steps.identifiers import IBAN_LENGTHS, is_bitcoin, is_card, is_iban, is_ip
from groundup.recipe.cleaning.personal_data import PersonalData

NAMES = {"key": "KEY", "e-mail": "EMAIL", "iban": "IBAN", "card": "CARD", "crypto": "CRYPTO", "ip": "IP", "mac": "MAC", "ssn": "SSN", "phone": "PHONE"}
"""Kinds and what stands for them, the most certain first."""

LOCAL = re.compile(r"[\w!#$%&'*+/=?^_`{|}~.-]{1,64}\Z")
DOMAIN = re.compile(r"(?:[^\W_](?:[\w-]{0,61}[^\W_])?\.){1,8}[A-Za-z]{2,24}(?![A-Za-z0-9_(])")
OBFUSCATED = re.compile(
    r"[A-Za-z0-9][\w.+-]{0,63} ?[\[(]at[\])] ?[A-Za-z0-9-]+(?:(?:\.| ?[\[({<] ?(?:dot|\.) ?[\])}>] ?)[A-Za-z0-9-]+)*"
    r"(?:\.| ?[\[({<] ?(?:dot|\.) ?[\])}>] ?)[A-Za-z]{2,24}\b",
    re.IGNORECASE,
)
FILES = frozenset(["png", "jpg", "jpeg", "gif", "svg", "webp", "css", "js", "ts", "py", "html", "php"])  # logo@2x.png
MIDDLE = re.compile(r"\.[0-9]{1,3}\.")  # of an IPv4 address: begins with a fixed character, which is fast
IPV4_LEFT, IPV4_RIGHT = re.compile(r"[0-9.]{1,12}\Z"), re.compile(r"[0-9.]*")
COLONS = re.compile(r":[0-9A-Fa-f]{0,4}:")
HEX_LEFT, HEX_RIGHT = re.compile(r"[0-9A-Fa-f:]{0,45}\Z"), re.compile(r"[0-9A-Fa-f:.]{0,45}")
MAC = re.compile(r"(?<![\w:-])[0-9A-Fa-f]{2}(?:(:|-)[0-9A-Fa-f]{2})(?:\1[0-9A-Fa-f]{2}){4}(?![\w:-])")
IP_WORDS = re.compile(r"\b(?:ip|ips|address|dns|server|nameserver|resolver|host|ping|from|router|gateway)\b[^.]{0,20}$", re.IGNORECASE)
VERSION = re.compile(r"(?:\b(?:v|ver|version|revision|release|firmware|build|section|chapter|clause|oid)\.? ?|[vV])$", re.IGNORECASE)
IBAN_START = re.compile(r"[A-Z]{2}[0-9]{2}(?:[ \u00a0-]?[A-Z0-9]){11,30}")
CARD = re.compile(r"(?<![0-9])(?:[0-9]{12,19}|[0-9]{4}([ -])[0-9]{4}\1[0-9]{4}\1[0-9]{1,4}(?:\1[0-9]{3})?|[0-9]{4}([ -])[0-9]{6}\2[0-9]{4,5})(?![0-9])")
SSN = re.compile(r"(?<![\w-])(?!000|666|9)[0-9]{3}-(?!00)[0-9]{2}-(?!0000)[0-9]{4}(?![\w-])")
BITCOIN = re.compile(r"(?<![A-Za-z0-9])(?:[13][1-9A-HJ-NP-Za-km-z]{25,34}|bc1[a-z0-9]{11,71})(?![A-Za-z0-9])")
ETHEREUM = re.compile(r"(?<![A-Za-z0-9])0x[0-9a-fA-F]{40}(?![A-Za-z0-9])")
LEAST_DIGITS, WIDEST_GAP = 7, 4  # of a telephone number, and from one digit of it to the next: 555) - 1234

Span = tuple[int, int, str]


class PersonalDataStep:
    """The step."""

    def __init__(self, settings: PersonalData) -> None:
        self.kinds = frozenset[str](settings.kinds)
        self.private_ips = settings.private_ips
        self.names = {kind: settings.placeholder.replace("{kind}", name) for kind, name in NAMES.items()}

    def __call__(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        return judge(batch, "personal_data", self._mask)

    def _mask(self, seen: Seen) -> Verdict:
        text, counts = self.mask(seen.text)
        return Verdict(text, counts=counts, score=float(sum(counts.values())))

    def mask(self, text: str) -> tuple[str, Counter[str]]:
        """The text with placeholders, and how many of each kind. Masking it again changes nothing."""
        counts: Counter[str] = Counter()
        while found := self.spans(text):  # what is left may look different once its neighbour is gone
            pieces, end = [], 0
            for start, stop, kind in found:
                pieces += [text[end:start], self.names[kind]]
                end = stop
                counts[kind] += 1
            text = "".join([*pieces, text[end:]])
        return text, counts

    def spans(self, text: str) -> list[Span]:
        """Start, end and kind of everything that is masked, in order, none overlapping another."""
        found = [span for span in self._candidates(text) if span[2] in self.kinds]
        if not found:
            return []
        order = list(NAMES)
        taken: list[Span] = []
        for span in sorted(found, key=lambda one: (order.index(one[2]), one[0], -one[1])):
            if all(span[1] <= other[0] or other[1] <= span[0] for other in taken):
                taken.append(span)
        return sorted(taken)

    def _candidates(self, text: str) -> Iterator[Span]:
        if "key" in self.kinds:
            yield from ((start, end, "key") for start, end in secrets.find(text))
        if "e-mail" in self.kinds:
            yield from emails(text)
        if self.kinds & {"ip", "mac"}:
            yield from self._addresses(text)
        if self.kinds & {"phone", "card", "iban", "ssn"}:
            yield from self._numbers(text)
        if "crypto" in self.kinds:
            yield from ((*one.span(), "crypto") for one in BITCOIN.finditer(text) if is_bitcoin(one[0]))
            if "0x" in text:
                yield from ((*one.span(), "crypto") for one in ETHEREUM.finditer(text))

    def _addresses(self, text: str) -> Iterator[Span]:
        for middle in MIDDLE.finditer(text):
            left, right = IPV4_LEFT.search(text, max(0, middle.start() - 12), middle.start()), IPV4_RIGHT.match(text, middle.end())
            start, end = left.start() if left else middle.start(), right.end() if right else middle.end()
            address = text[start:end].rstrip(".")
            before = text[max(0, start - 40) : start]
            if before[-1:].isalnum() or before.endswith(("-", "_", ".")) or text[start + len(address) : start + len(address) + 1].isalnum():
                continue
            plain = max(map(len, address.split("."))) == 1  # 1.2.3.4 is a section or a version, unless it is said to be an address
            if is_ip(address, private=self.private_ips) and not VERSION.search(before) and (not plain or IP_WORDS.search(before)):
                yield start, start + len(address), "ip"
        for colons in COLONS.finditer(text) if ":" in text else ():
            left, right = HEX_LEFT.search(text, max(0, colons.start() - 45), colons.start()), HEX_RIGHT.match(text, colons.start())
            start, end = left.start() if left else colons.start(), right.end() if right else colons.end()
            address = text[start:end].rstrip(".").removesuffix(":" if not text[start:end].endswith("::") else "")
            if text[start - 1 : start].isalnum() or text[start + len(address) : start + len(address) + 1].isalnum():
                continue
            if len(address) > 6 and address.count(":") >= 2 and is_ip(address, private=self.private_ips):
                yield start, start + len(address), "ip"
        if "mac" in self.kinds:
            yield from ((*one.span(), "mac") for one in MAC.finditer(text))

    def _numbers(self, text: str) -> Iterator[Span]:
        """Cards, IBANs, telephone and social security numbers: from where digits stand close together."""
        codes = np.frombuffer(text.encode("ascii", "replace"), np.uint8)
        digits = np.flatnonzero((codes - 48) < 10)
        if len(digits) < 2:
            return
        ends = np.flatnonzero(np.diff(digits, append=digits[-1] + WIDEST_GAP + 1) > WIDEST_GAP)
        sizes = np.diff(ends, prepend=-1)
        long = np.flatnonzero(sizes >= LEAST_DIGITS)
        for place in long.tolist():
            start, end = int(digits[ends[place] - sizes[place] + 1]), int(digits[ends[place]]) + 1
            if "card" in self.kinds:
                for one in CARD.finditer(text, start, end):
                    if is_card(re.sub("[^0-9]", "", one[0])) and not _part_of_word(text, *one.span()):
                        yield *one.span(), "card"
            if "ssn" in self.kinds:
                yield from ((*one.span(), "ssn") for one in SSN.finditer(text, start, end))
            if "phone" in self.kinds:
                for run in phones.RUN.finditer(text, start, end):
                    yield from ((*span, "phone") for span in phones.find(text, run))
        if "iban" in self.kinds:
            inner = digits[(digits > 1) & (digits < len(codes) - 1)]
            capital = (codes[inner - 1] - 65 < 26) & (codes[inner - 2] - 65 < 26) & (codes[inner + 1] - 48 < 10)
            for place in (inner[capital] - 2).tolist():
                if span := iban(text, place):
                    yield *span, "iban"


def emails(text: str) -> Iterator[Span]:
    """E-mail addresses, from their @; and those written with (at) and [dot]."""
    at = text.find("@")
    while at >= 0:
        local = LOCAL.search(text, max(0, at - 64), at)
        domain = DOMAIN.match(text, at + 1)
        if local and domain and domain[0].rsplit(".", 1)[1].lower() not in FILES:
            name = re.split(r"mailto:|[=?&/|`{}']", local[0])[-1].lstrip(".!#$%^*~-'")
            if name and name[-1] != "." and ".." not in name and name != "git":
                yield at - len(name), domain.end(), "e-mail"
        at = text.find("@", at + 1)
    if "(at)" in text or "[at]" in text or "(AT)" in text or "[AT]" in text:
        yield from ((*one.span(), "e-mail") for one in OBFUSCATED.finditer(text))


def iban(text: str, start: int) -> tuple[int, int] | None:
    """The IBAN that begins here, in groups or in one."""
    length = IBAN_LENGTHS.get(text[start : start + 2])
    found = IBAN_START.match(text, start)
    if length is None or found is None or text[start - 1 : start].isalnum():
        return None
    characters, end = "", start
    for end in range(start, found.end()):
        characters += text[end] if text[end].isalnum() else ""
        if len(characters) == length:
            break
    if text[end + 1 : end + 2].isalnum() or not is_iban(characters):
        return None
    return start, end + 1


def _part_of_word(text: str, start: int, end: int) -> bool:
    """Whether letters, or a path or decimal going on, stand at either end."""
    before, after = text[max(0, start - 1) : start], text[end : end + 2]
    return before.isalnum() or before in ("_", ".", "/", "=", "+") or after[:1].isalpha() or after[:1] == "_" or (after[:1] in (".", "/") and after[1:].isdigit())
