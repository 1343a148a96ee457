"""What a chain of tuning learns from: the files that a recipe names, as records, and which of them are only measured on."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import TypeVar

from groundup.dialogue import reference_pages
from groundup.dialogue.definitions import Entry
from groundup.dialogue.format.conversations import read_conversations
from groundup.dialogue.format.preferences import read_labelled, read_rankings
from groundup.dialogue.format.prompts import Task, read_tasks
from groundup.dialogue.format.record import Conversation, Labelled, Message, Ranking
from groundup.dialogue.format.rows import Bad, BlankRow, rows
from groundup.errors import GroundupError, RequestError
from groundup.progress import say
from groundup.run import Stage, digest, digest_file

REFERENCE_PAGES = "reference-pages"
T = TypeVar("T")


def exist(names: Sequence[str], where: str) -> list[Path]:
    """The named files. Raises RequestError for one that is missing."""
    paths = [Path(name).expanduser() for name in names if name != REFERENCE_PAGES]
    for path in paths:
        if not path.is_file():
            raise RequestError("no such file", where=str(path), do=f"Correct {where}.")
    return paths


def contents(names: Sequence[str], where: str) -> str:
    """A digest of the contents of the named files, so that a changed file is noticed. Raises RequestError for one that is missing."""
    return digest([digest_file(path) for path in exist(names, where)])


def conversations(names: Sequence[str], collected: Stage | None, cleaned: Stage | None) -> tuple[list[Conversation], list[Entry]]:
    """The conversations of these sources, and the held-out definitions beside them."""
    talks: list[Conversation] = []
    held_out: list[Entry] = []
    for name in names:
        if name != REFERENCE_PAGES:
            talks += (talk for _, talk in _read(read_conversations, name))
        elif collected is not None and cleaned is not None:
            reference = reference_pages.load(collected.final, cleaned.final)
            talks += reference_pages.pairs(reference.train)
            held_out += reference.held_out
    if not talks:
        raise GroundupError(
            f"no question-answer pairs in {', '.join(names) or 'an empty list'}", where="dialogue.pairs",
            do="Crawl pages with definition lists, name a file of conversations, or leave the dialogue section out.",
        )  # fmt: skip
    return talks, held_out


def rankings(names: Sequence[str]) -> list[Ranking]:
    """The rankings of these files."""
    return [one for name in names for _, one in _read(read_rankings, name)]


def labelled(names: Sequence[str]) -> list[Labelled]:
    """The labelled answers of these files; of a ranking the best answer was liked, and the worst was not."""
    found: list[Labelled] = []
    for name in names:
        if holds_labels(name):
            found += (one for _, one in _read(read_labelled, name))
            continue
        for _, one in _read(read_rankings, name):
            better, worse = (one.answers[one.ranks.index(rank)] for rank in (min(one.ranks), max(one.ranks)))
            found += (Labelled(one.prompt, answer, good, one.source) for answer, good in ((better, True), (worse, False)))
    return found


def holds_labels(name: str) -> bool:
    """Whether a file's rows are single answers that were liked or not, by its first one; else they are rankings."""
    _, first = next(iter(rows(Path(name).expanduser())), (0, {}))
    return "good" in first or "label" in first


def tasks(prompts: Sequence[str], preferences: Sequence[str]) -> list[Task]:
    """The prompts of these files, or else those of the preferences; each once."""
    if prompts:
        found: Iterable[Task] = (task for name in prompts for task in _read(read_tasks, name))
    else:
        found = (Task(one.prompt) for one in rankings(preferences))
    once: dict[str, Task] = {}
    for task in found:
        once.setdefault(said(task.prompt), task)
    return list(once.values())


def _read(reader: Callable[[Path, Bad], Iterable[T]], name: str) -> list[T]:
    """The records of a file, without rows in which somebody says nothing: those are counted aloud. Raises RequestError for any other that cannot be read."""
    bad: Bad = []
    found = list(reader(Path(name).expanduser(), bad))
    if (wrong := next((error for error in bad if not isinstance(error, BlankRow)), None)) is not None:
        raise wrong
    if bad:
        _say(f"{bad[0].where}: {bad[0].what}; left out, {len(bad):,} such in this file (groundup tune --lint names them)")
    return found


@cache
def _say(text: str) -> None:
    """Once a process, however often a file is read."""
    say(text)


def said(messages: Sequence[Message]) -> str:
    """A prompt as one text, for telling prompts apart."""
    return "\n".join(f"{message.role}: {message.content}" for message in messages)


def held_out(prompt: Sequence[Message], share: float) -> bool:
    """Whether a prompt belongs to the share that nothing is learned from: it hangs on its text alone, so that all stages hold out the same."""
    drawn = int.from_bytes(hashlib.blake2b(said(prompt).encode(), digest_size=4).digest(), "big")
    return drawn < share * 2**32
