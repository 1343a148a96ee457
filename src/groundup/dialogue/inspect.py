"""What a chain would learn from, before it learns: linted and shown in the words of the run's tokenizer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from groundup.dialogue import material, reference_pages
from groundup.dialogue.chat_template import ChatTemplate
from groundup.dialogue.format.conversations import read_conversations
from groundup.dialogue.format.preferences import read_labelled, read_rankings
from groundup.dialogue.format.record import Conversation, Message
from groundup.dialogue.format.rows import Bad
from groundup.dialogue.lint import Report, lint, lint_file
from groundup.dialogue.overlap import TestQuestions
from groundup.dialogue.tune import files_of, ready, speech_of
from groundup.dialogue.view import show_all
from groundup.errors import RequestError
from groundup.run import Run, read_json

ANY = 1 << 40  # tokens: no context is known yet, so that nothing is too long


@dataclass(frozen=True)
class Inspected:
    """The conversations of a recipe's chain."""

    run: Run
    template: ChatTemplate
    files: dict[str, list[str]]
    """By what they are (`pairs`, `preferences`, or `labels` for kto), those that the chain's stages read."""
    room: int
    """Tokens of a conversation at most."""

    @classmethod
    def of(cls, run: Run) -> Inspected:
        """Of a run whose tokenizer is there. Raises RequestError where there is nothing to look at."""
        wish = run.recipe.dialogue
        if wish is None:
            raise RequestError("the recipe has no dialogue section", where=run.recipe.name, do="Add one, or say --method.")
        ready(wish)
        files: dict[str, list[str]] = {}
        for stage in wish.stages:
            files.update({"labels" if stage.method == "kto" else kind: names for kind, names in files_of(stage, wish).items() if kind != "prompts"})
        plan, context = run.path / "plan" / "plan.json", run.recipe.model.context
        room = int(read_json(plan)["model"]["context"]) if plan.is_file() else context or ANY
        speech = speech_of((run.path / "tokenizer" / "tokenizer.json").read_text(encoding="utf-8"), wish)
        return cls(run, speech.template, files, room + 1)

    def lint(self) -> dict[str, Report]:
        """By file, what is wrong; of preferences, each answer is a conversation."""
        tested = self.run.recipe.clean.decontaminate.files
        tests = TestQuestions(tested) if tested else None
        found = {}
        for kind, name in self._names():
            path = Path(name).expanduser()
            if kind == "pairs" and name != material.REFERENCE_PAGES:
                found[name] = lint_file(path, self.template, self.room, tests)
            else:
                bad: Bad = []
                talks = list(self._talks(kind, name, bad))
                found[name] = lint(talks, self.template, self.room, tests, bad=bad)
        return found

    def shown(self, number: int, *, colour: bool) -> str:
        """The first conversations of each file as text, without rows that cannot be read (`lint` has those)."""
        return "\n".join(f"{name}\n{show_all((talk for _, talk in self._talks(kind, name, [])), self.template, number, colour=colour)}" for kind, name in self._names())

    def _names(self) -> list[tuple[str, str]]:
        return [(kind, name) for kind, names in self.files.items() for name in names]

    def _talks(self, kind: str, name: str, bad: Bad) -> Iterator[tuple[int, Conversation]]:
        if name == material.REFERENCE_PAGES:
            run = self.run
            pages = reference_pages.load(run.path / "corpus" / "collected", run.path / "corpus" / "clean")
            yield from enumerate(reference_pages.pairs(pages.train), 1)
        elif kind == "pairs":
            yield from read_conversations(Path(name).expanduser(), bad)
        elif kind == "labels" and material.holds_labels(name):
            for number, label in read_labelled(Path(name).expanduser(), bad):
                yield number, Conversation((*label.prompt, Message("assistant", label.answer)), None, label.source)
        else:
            for number, one in read_rankings(Path(name).expanduser(), bad):
                for answer in one.answers:
                    yield number, Conversation((*one.prompt, Message("assistant", answer)), None, one.source)
