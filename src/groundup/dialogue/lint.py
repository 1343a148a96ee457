"""What is wrong with conversations before they are trained on: most mistakes of chat tuning make no noise.

    rule          what is found                                                       what comes of it
    row           a row that cannot be read as a conversation                         it stops the tuning
    blank         somebody says nothing                                               the row is left out
    roles         who speaks when is out of order                                     the model learns to answer itself
    no-target     no token has a weight                                               a fine-looking loss, and nothing learned
    no-end        what is said does not end with the end token                        the model never stops
    pad-is-end    padding is the end token, whose weight is 0                         the same
    round-trip    the exported template's text is read as other ids                   it is asked otherwise than it was taught
    truncated     an answer does not fit into the context, or seems to break off      answers without an end
    test          a test question stands among the conversations                      scores that mean nothing
    marks         someone wrote the name of a special token (it stays plain text)     other software may take it for one

Each finding has its row's number in the file. `Report.failed` says whether any of them is an error.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from groundup.dialogue import jinja
from groundup.dialogue.chat_template import ChatTemplate, Rendered
from groundup.dialogue.format.conversations import Misread, conversation
from groundup.dialogue.format.record import Conversation, order_problem
from groundup.dialogue.format.rows import Bad, BlankRow, rows
from groundup.dialogue.overlap import TestQuestions
from groundup.errors import RequestError

Level = Literal["error", "warning"]
LONG_ANSWER = 40  # words: shorter ones often end without a stop, and rightly
CODE = frozenset("{}[]=<>#|`\\/_")  # in a last line: it is none of prose
PAD = "<|pad|>"
SHOWN = 5  # findings of a rule in the summary


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong."""

    rule: str
    row: int
    """Its number in the file; 0: it is about all of them."""
    what: str
    level: Level = "error"


@dataclass
class Report:
    """All that was found."""

    conversations: int = 0
    tokens: int = 0
    trained_tokens: int = 0
    findings: list[Finding] = field(default_factory=list)

    @property
    def failed(self) -> bool:
        """Whether there is any error."""
        return any(one.level == "error" for one in self.findings)

    @property
    def figures(self) -> dict[str, Any]:
        """For programs."""
        return {
            "conversations": self.conversations, "tokens": self.tokens, "trained_tokens": self.trained_tokens, "failed": self.failed,
            "findings": [asdict(one) for one in self.findings],
        }  # fmt: skip

    def text(self) -> str:
        """For people: the counts, then rule by rule how often and the first rows."""
        share = self.trained_tokens / self.tokens if self.tokens else 0.0
        lines = [f"{self.conversations:,} conversations, {self.tokens:,} tokens, {self.trained_tokens:,} of them trained on ({share:.0%})"]
        for (rule, level), number in Counter((one.rule, one.level) for one in self.findings).items():
            its = [one for one in self.findings if (one.rule, one.level) == (rule, level)]
            lines.append(f"{level}: {rule}, {number:,} time{'' if number == 1 else 's'}")
            lines += [f"    row {one.row}: {one.what}" if one.row else f"    {one.what}" for one in its[:SHOWN]]
            if number > SHOWN:
                lines.append(f"    and {number - SHOWN:,} more: rows {', '.join(str(one.row) for one in its[SHOWN : 4 * SHOWN])}{' ...' if number > 4 * SHOWN else ''}")
        if not self.findings:
            lines.append("nothing wrong found")
        return "\n".join(lines)


def lint_file(path: Path, template: ChatTemplate, room: int, tests: TestQuestions | None = None) -> Report:
    """Lint the conversations of a file, rows that cannot be read among the findings. Raises RequestError for a file that cannot."""
    bad: Bad = []
    talks: list[tuple[int, Conversation]] = []
    for number, row in rows(path, bad):
        try:
            talks.append((number, conversation(row)))
        except Misread as error:
            bad.append(error.at(path, number))
    return lint(talks, template, room, tests, bad=bad)


def lint(
    talks: Iterable[tuple[int, Conversation]], template: ChatTemplate, room: int, tests: TestQuestions | None = None, *,
    render: Callable[[Conversation], Rendered] | None = None, bad: Bad | None = None,
) -> Report:  # fmt: skip
    """Lint numbered conversations. `room`: tokens of a row (T) and one; `render`: how they are rendered for training, if otherwise than
    by the template; `bad`: the rows that could not be read."""
    report = Report()
    for error in sorted(bad or [], key=_number):
        blank = isinstance(error, BlankRow)
        report.findings.append(Finding("blank", _number(error), error.what, "warning") if blank else Finding("row", _number(error), f"{error.what}. {error.do}"))
    if template.special.get(PAD) == template.end:
        name = next(name for name, token in template.special.items() if token == template.end)
        report.findings.append(Finding("pad-is-end", 0, f"padding and the end of a turn are both {name}; give padding a token of its own"))
    seen: list[tuple[int, Conversation]] = []
    for number, talk in talks:
        report.conversations += 1
        seen.append((number, talk))
        if problem := order_problem(talk.messages):
            report.findings.append(Finding("roles", number, problem))
        try:
            rendered = render(talk) if render else template.render(talk)
        except RequestError as error:
            report.findings.append(Finding("roles", number, error.what))
            continue
        report.tokens += len(rendered.tokens)
        report.trained_tokens += sum(weight > 0 for weight in rendered.weights[1:])
        report.findings += [Finding(rule, number, what, level) for rule, what, level in _of(talk, rendered, template, room)]
    if tests is not None:
        for (number, _), hit in zip(seen, tests.find([talk for _, talk in seen]), strict=True):
            if hit is not None:
                report.findings.append(Finding("test", number, hit))
    if not report.conversations:
        report.findings.append(Finding("no-target", 0, "there is no conversation"))
    return report


def _of(talk: Conversation, rendered: Rendered, template: ChatTemplate, room: int) -> Iterable[tuple[str, str, Level]]:
    tokens, weights = rendered.tokens, rendered.weights
    if not any(weight > 0 for weight in weights[1:]):
        yield "no-target", "no token has a weight, so nothing is learned from it", "error"
    for place, weight in enumerate(weights):
        last = place + 1 == len(weights) or weights[place + 1] == 0
        if weight > 0 and last and tokens[place] != template.end:
            said = template.tokenizer.decode(tokens[max(0, place - 8) : place + 1])
            yield "no-end", f"what is said ends with {said!r} and no end token", "error"
            break
    if len(tokens) > room:
        yield "truncated", f"{len(tokens):,} tokens, and {room:,} fit into a row", "error"
    for message in talk.messages:
        if message.role == "assistant" and breaks_off(message.content):
            yield "truncated", f"an answer of {len(message.content.split())} words ends with {message.content.rstrip()[-30:]!r}", "warning"
            break
    written = [name for name in template.special if any(name in message.content for message in talk.messages)]
    if written:
        yield "marks", f"someone wrote {', '.join(written)}", "warning"
        return  # its text is certainly read otherwise
    if not order_problem(talk.messages):
        try:
            difference = jinja.round_trip(template, talk)
        except RequestError as error:
            difference = error.what
        if difference is not None:
            yield "round-trip", difference, "error"


def breaks_off(text: str) -> bool:
    """Whether an answer ends within a code block, or a long one in the middle of a sentence; lists and tables end where their lines do."""
    if text.count("```") % 2:
        return True
    last = text.rstrip().rsplit("\n", 1)[-1].lstrip()
    if len(text.split()) < LONG_ANSWER or len(last.split()) < 4 or CODE & set(last) or last[0] in "-*•" or last[0].isdigit():
        return False
    return last[-1].isalpha() or last[-1] in ",-–"


def _number(error: RequestError) -> int:
    number = error.where.rpartition(":")[2]
    return int(number) if number.isdecimal() else 0
