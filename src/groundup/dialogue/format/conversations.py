"""Rows of every published shape as conversations. The shape is seen from a row's fields, row by row:

    ours, OpenAI     messages: [{role, content}]              also condition, source, weight (or loss_weight) of a message
    OpenChat         items: [{role, content, weight}]         system, condition
    ShareGPT         conversations: [{from, value}]           system; from human or user, gpt, assistant, chatgpt, bard, bing
    OpenAssistant    prompt: {text, role, replies: [...]}     the path of the best-ranked replies
    Alpaca           instruction, input, output               system, history; the input follows the instruction after a blank line
    Dolly            instruction, context, response           the context likewise
    Self-Instruct    instruction, instances: [{input, output}]   its first instance
    hh-rlhf          chosen: "\\n\\nHuman: ...\\n\\nAssistant: ..."   the answer that was chosen
    P3 and plain     prompt or inputs or question, and completion or targets or response or answer

A table (CSV) has the same names in its header. Of a P3 row's end a written "<|endoftext|>" is taken off, and of a prompt the
frame that Alpaca put around instructions ("Below is an instruction ... ### Response:"): the chat template says that already.

A row that is none of these, or whose speakers do not take turns, is an error that names file, row, and what to do; one in which somebody
says nothing is told apart (`BlankRow`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from groundup.dialogue.format.record import ROLES, Conversation, Message, Role, order_problem
from groundup.dialogue.format.rows import Bad, BlankRow, Row, refuse, refused, rows
from groundup.errors import RequestError

SPEAKERS: dict[str, Role] = {
    "human": "user", "user": "user", "prompter": "user", "gpt": "assistant", "assistant": "assistant", "chatgpt": "assistant", "bard": "assistant",
    "bing": "assistant", "model": "assistant", "system": "system",
}  # fmt: skip
"""Whom the published sets call what."""
QUESTIONS = ("prompt", "inputs", "inputs_pretokenized", "question", "user")
ANSWERS = ("completion", "targets", "targets_pretokenized", "response", "answer", "output", "assistant")
TURN = re.compile(r"\n\n(Human|Assistant):[ ]?")
FRAME = re.compile(r"^Below is an instruction.*?### Instruction:\s*\n(?P<asked>.*?)(\n\n### Input:\s*\n(?P<input>.*?))?\n+### Response:\s*$", re.DOTALL)
ENDS = ("<|endoftext|>", "</s>")
DO = "Write `messages` with user and assistant in turn, the assistant last."


class Misread(Exception):
    """What is wrong with a row, and what to do."""

    kind: type[RequestError] = RequestError

    def __init__(self, what: str, do: str = DO) -> None:
        super().__init__(what)
        self.do = do

    def at(self, path: Path, number: int) -> RequestError:
        """The error of the row."""
        return refused(path, number, str(self), self.do, self.kind)


class Blank(Misread):
    """Where a text should be, there is nothing in it."""

    kind = BlankRow


class Shape(NamedTuple):
    """A way in which conversations are written down."""

    name: str
    seen: Callable[[Row], bool]
    read: Callable[[Row], Conversation]


def read_conversations(path: Path, bad: Bad | None = None) -> Iterator[tuple[int, Conversation]]:
    """(row number, conversation) of a file in any of the shapes.

    Raises RequestError for the first row that cannot be used, or puts the errors into `bad` and leaves those rows out.
    """
    for number, row in rows(path, bad):
        try:
            made = conversation(row)
            if problem := order_problem(made.messages):
                raise Misread(problem, "After an optional system message, let user and assistant take turns, and the assistant have the last word.")
        except Misread as error:
            refuse(error.at(path, number), bad)
            continue
        yield number, made if made.source else Conversation(made.messages, made.condition, path.name)


def shape_of(row: Row) -> Shape:
    """Which shape a row has. Raises Misread for none."""
    for shape in SHAPES:
        if shape.seen(row):
            return shape
    names = ", ".join(map(str, row)) or "none"
    raise Misread(f"no known shape of conversation; the fields are {names[:200]}", "Name the fields `messages`, or `question` and `answer`.")


def conversation(row: Row) -> Conversation:
    """The conversation of a row, whoever speaks when (`order_problem` looks at that). Raises Misread."""
    return shape_of(row).read(row)


def messages_of(value: Any, where: str = "messages") -> tuple[Message, ...]:
    """Messages from a list of role and content, under any of the names for these; a text alone is the user's."""
    if isinstance(value, str):
        return (Message("user", filled(value, "the prompt has")),)
    if not isinstance(value, list):
        raise Misread(f"`{where}` is not a list", f"Write `{where}` as a list of role and content.")
    return tuple(message_of(one) for one in value)


def message_of(value: Any) -> Message:
    """One message."""
    said = value.get("role", value.get("from")) if isinstance(value, dict) else None
    role = SPEAKERS.get(said.lower()) if isinstance(said, str) else None
    if role is None:
        raise Misread(f"the role {said!r} is not known", f"Use {', '.join(ROLES)}; leave conversations with tools out.")
    content = next((value[name] for name in ("content", "value", "text") if name in value), None)
    if isinstance(content, list):  # parts, as multimodal sets write them
        texts = [part.get("text", part.get("value")) for part in content if isinstance(part, dict) and part.get("type") == "text"]
        written = [text for text in texts if isinstance(text, str)]
        if len(written) != len(content):
            raise Misread(f"a message of the {role} has parts that are no text", "Leave out conversations with pictures or sound.")
        content = "".join(written)
    weight = value.get("weight", value.get("loss_weight"))
    if weight is not None and (isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 <= weight < float("inf")):
        raise Misread(f"the weight {weight!r} of a message is no number from 0 on", "Give a number, such as 1 or 0.1, or leave it out.")
    return Message(role, filled(content, f"a message of the {role} has"), weight=None if weight is None else float(weight))


def filled(text: Any, whose: str) -> str:
    """A text that says something. Raises Misread."""
    if not isinstance(text, str) or not text.strip():
        raise (Blank if isinstance(text, str) else Misread)(f"{whose} no text", "Give text that is not empty, or take the row out.")
    return text


def joined(instruction: Any, more: Any) -> str:
    """An instruction and, if there is one, what it is about."""
    asked = filled(instruction, "the instruction has")
    return f"{asked}\n\n{more}" if isinstance(more, str) and more.strip() else asked


def transcript(text: Any) -> tuple[Message, ...]:
    """The turns of an hh-rlhf text; where one speaker has two in a row, they are one."""
    parts = TURN.split(filled(text, "the dialogue has"))
    if parts[0].strip() or len(parts) < 3:
        raise Misread("a dialogue that does not begin with \"\\n\\nHuman:\"", "Write it as hh-rlhf does, or as `messages`.")
    turns: list[Message] = []
    for speaker, said in zip(parts[1::2], parts[2::2], strict=True):
        role: Role = "user" if speaker == "Human" else "assistant"
        if turns and turns[-1].role == role:
            turns[-1] = Message(role, f"{turns[-1].content}\n\n{said.strip()}".strip())
        else:
            turns.append(Message(role, said.strip()))
    for turn in turns:
        filled(turn.content, f"a turn of the {turn.role} has")
    return tuple(turns)


def prompt_of(text: str) -> str:
    """A prompt without Alpaca's frame."""
    match = FRAME.match(text)
    return text if match is None else joined(match["asked"], match["input"])


def answer_of(text: Any) -> str:
    """An answer without a written end-of-text."""
    answer = filled(text, "the answer has")
    for end in ENDS:
        answer = answer.removesuffix(end)
    return filled(answer, "the answer has")


def _pair(asked: str, answer: str, system: Any = None) -> tuple[Message, ...]:
    first = [Message("system", system)] if isinstance(system, str) and system.strip() else []
    return (*first, Message("user", asked), Message("assistant", answer))


def _extra(row: Row, name: str) -> str:
    value = row.get(name)
    return value if isinstance(value, str) else ""


def _turns(field: str) -> Callable[[Row], Conversation]:
    def read(row: Row) -> Conversation:
        messages = messages_of(row[field], field)
        system = row.get("system")
        if isinstance(system, str) and system.strip() and messages[:1] and messages[0].role != "system":
            messages = (Message("system", system), *messages)
        return Conversation(messages, _extra(row, "condition") or None, _extra(row, "source"))

    return read


def _tree(row: Row) -> Conversation:
    path, node = [], row["prompt"]
    while node:
        path.append(message_of(node))
        replies = children(node)
        node = replies[0] if replies else None
    if path and path[-1].role == "user":
        path.pop()  # nobody answered that
    return Conversation(tuple(path))


def children(node: Row) -> list[Row]:
    """The replies to a message of an OpenAssistant tree that passed review, best rank first; those without a rank last."""
    replies = [one for one in node.get("replies") or [] if isinstance(one, dict) and not one.get("deleted") and one.get("review_result") is not False]
    return sorted(replies, key=lambda one: (one.get("rank") is None, one.get("rank") or 0))


def _alpaca(row: Row) -> Conversation:
    before: list[Message] = []
    for pair in row.get("history") or []:
        if not isinstance(pair, Sequence) or isinstance(pair, str) or len(pair) != 2:
            raise Misread("`history` is no list of pairs", "Write it as [[question, answer], ...].")
        before += _pair(filled(pair[0], "a question of `history` has"), filled(pair[1], "an answer of `history` has"))
    system, *last = _pair(joined(row["instruction"], row.get("input")), answer_of(row["output"]), row.get("system"))
    messages = (system, *before, *last) if system.role == "system" else (*before, system, *last)
    return Conversation(messages, _extra(row, "condition") or None, _extra(row, "source"))


def _dolly(row: Row) -> Conversation:
    return Conversation(_pair(joined(row["instruction"], row.get("context")), answer_of(row["response"])))


def _instances(row: Row) -> Conversation:
    first = next(iter(row["instances"]), None)
    if not isinstance(first, dict):
        raise Misread("`instances` is empty", "Give one with `output`.")
    return Conversation(_pair(joined(row["instruction"], first.get("input")), answer_of(first.get("output"))))


def _named(row: Row) -> Conversation:
    asked, answer = (next(row[name] for name in names if name in row) for names in (QUESTIONS, ANSWERS))
    return Conversation(
        _pair(prompt_of(filled(asked, "the question has")), answer_of(answer), row.get("system")), _extra(row, "condition") or None, _extra(row, "source")
    )


def _has(*names: str) -> Callable[[Row], bool]:
    return lambda row: set(names) <= row.keys()


SHAPES = (
    Shape("messages", _has("messages"), _turns("messages")),
    Shape("openchat", _has("items"), _turns("items")),
    Shape("sharegpt", lambda row: isinstance(row.get("conversations"), list), _turns("conversations")),
    Shape("openassistant", lambda row: isinstance(row.get("prompt"), dict), _tree),
    Shape("self-instruct", lambda row: "instruction" in row and isinstance(row.get("instances"), list), _instances),
    Shape("alpaca", _has("instruction", "output"), _alpaca),
    Shape("dolly", _has("instruction", "response"), _dolly),
    Shape("hh-rlhf", lambda row: isinstance(row.get("chosen"), str) and row["chosen"].startswith("\n\nHuman:"), lambda row: Conversation(transcript(row["chosen"]))),
    Shape("prompt-answer", lambda row: any(name in row for name in QUESTIONS) and any(name in row for name in ANSWERS), _named),
)  # fmt: skip
"""In the order in which they are tried."""
