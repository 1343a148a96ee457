"""Rewards that a rule decides: what the answer must be, what it must match, or what its code must pass.

    {"kind": "exact", "answer": "72", "pattern": "#### (.*)"}       1 if what the pattern's first group finds last is the answer
    {"kind": "regex", "pattern": "\\\\d+ apples"}                      1 if it matches anywhere; with "whole": true all of the answer
    {"kind": "python", "tests": "assert add(2, 2) == 4"}            1 if the answer's code passes, in the sandbox

Such a row stands beside a prompt as `verify`. A reward is 1 or 0. Answers are compared without blanks around them and, if both are
numbers, by value ("72.0" is "72", "1,000" is "1000").
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

from groundup.dialogue.sandbox import Limits, run
from groundup.errors import RequestError

Verifier = Callable[[str], float]
"""From an answer to its reward."""
CODE = re.compile(r"```(?:python|py)?[ \t]*\n(.*?)(?:```|\Z)", re.DOTALL)
KINDS = ("exact", "regex", "python")
LONGEST = 20_000  # characters of an answer that a pattern is tried on: some patterns take time quadratic in it


def verifier(row: Mapping[str, Any], where: str = "dialogue.verify", limits: Limits | None = None) -> Verifier:
    """The rule of a row. Raises RequestError that says what is wrong with it."""
    kind = row.get("kind")
    if kind not in KINDS:
        raise RequestError(f"no kind of rule {kind!r}", where=where, do=f"Choose {', '.join(KINDS)}.")
    known = {"exact": {"answer", "pattern"}, "regex": {"pattern", "whole"}, "python": {"tests"}}[kind]
    if unknown := set(row) - known - {"kind"}:
        raise RequestError(f"{kind} knows no {', '.join(sorted(unknown))}", where=where, do=f"Use {', '.join(sorted(known))}.")
    match kind:
        case "exact":
            pattern = _pattern(row["pattern"], where) if "pattern" in row else None
            if pattern is not None and pattern.groups < 1:
                raise RequestError("the pattern has no group", where=where, do="Put brackets around what is the answer: #### (.*)")
            wanted = _text(row, "answer", where)
            return lambda answer: float(exact(answer, wanted, pattern))
        case "regex":
            pattern, whole = _pattern(_text(row, "pattern", where), where), bool(row.get("whole"))
            return lambda answer: float(matches(answer, pattern, whole=whole))
        case _:
            tests = _text(row, "tests", where)
            return lambda answer: float(run(code_of(answer), tests, limits).passed)


def exact(answer: str, wanted: str, pattern: re.Pattern[str] | None = None) -> bool:
    """Whether an answer, or what the pattern's first group finds last in it, is what was wanted."""
    if pattern is not None:
        found = [match[1] for match in pattern.finditer(answer[-LONGEST:]) if match[1] is not None]
        if not found:
            return False
        answer = found[-1]
    answer, wanted = answer.strip(), wanted.strip()
    if answer == wanted:
        return True
    numbers = _number(answer), _number(wanted)
    return numbers[0] is not None and numbers[0] == numbers[1]


def matches(answer: str, pattern: re.Pattern[str], *, whole: bool = False) -> bool:
    """Whether a pattern matches anywhere, or all of the answer without the blanks around it."""
    answer = answer.strip()[:LONGEST]
    return (pattern.fullmatch(answer) if whole else pattern.search(answer)) is not None


def code_of(answer: str) -> str:
    """The code in an answer: its fenced blocks one after the other, or all of it where there are none."""
    blocks = CODE.findall(answer)
    return "\n".join(blocks) if blocks else answer


def _number(text: str) -> Decimal | None:
    try:
        value = Decimal(re.sub(r"(?<=\d),(?=\d{3}\b)", "", text).rstrip("."))
    except InvalidOperation:
        return None
    return value if value.is_finite() else None


def _text(row: Mapping[str, Any], name: str, where: str) -> str:
    value = row.get(name)
    if isinstance(value, int | float) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str) or not value.strip():
        raise RequestError(f"`{name}` is missing or empty", where=where, do=f"Give `{name}` as text.")
    return value


def _pattern(text: Any, where: str) -> re.Pattern[str]:
    try:
        return re.compile(text)
    except (re.error, TypeError) as error:
        raise RequestError(f"not a valid pattern ({error})", where=where, do="Correct `pattern`.") from None
