"""`judge`: models' answers before a judge, in pairs, with marks, or beside a reference; ratings of verdicts that are there already."""

from __future__ import annotations

import itertools
import json
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from groundup.commands.options import Json, Runs, find_run
from groundup.errors import RequestError
from groundup.progress import say

if TYPE_CHECKING:
    from groundup.evaluation.judge.client import ChatClient
    from groundup.evaluation.judge.matches import Ask
    from groundup.evaluation.judge.questions import Answers, Question

Models = Annotated[list[str], typer.Argument(metavar="MODEL...", help="Runs (folder or name), URLs with the model's name after a # (http://host/v1#name), or .jsonl files of answers.")]
Questions = Annotated[Path, typer.Option(help="JSON lines: the Vicuna questions, MT-bench's, or your own (`question`, or `turns`).")]
References = Annotated[Path | None, typer.Option(help="Right answers that the judge is told, JSON lines.")]
Judge = Annotated[str, typer.Option(help="A tuned run, or a URL with the model's name after a #.")]
MaxTokens = Annotated[int, typer.Option(min=1, help="Tokens of an answer at most.")]
Seed = Annotated[int, typer.Option(help="Of the answers that runs write.")]
Out = Annotated[Path | None, typer.Option(help="Folder for the answers and verdicts, which may be given again in place of models.")]
People = Annotated[Path | None, typer.Option(help="People's votes, JSON lines as MT-bench and Chatbot Arena have them: say how far the judge agrees.")]
VERDICT_TOKENS = 1024  # of a judge, its reasons among them


def pairwise(
    models: Models, questions: Questions, judge: Judge, references: References = None, people: People = None, max_tokens: MaxTokens = 512,
    seed: Seed = 0, out: Out = None, runs: Runs = Path("runs"), as_json: Json = False,
) -> None:  # fmt: skip
    """Every two models against each other, each question in both orders; a win counts where both name the same model."""
    from groundup.evaluation.judge import judge_pair, results
    from groundup.evaluation.judge.votes import read_votes, votes_of, write_verdicts

    if len(models) < 2:
        raise RequestError("one model alone makes no pair", where="judge pairwise", do="Name two or more; `judge single` marks one.")
    votes_of_people = read_votes(_there(people)) if people is not None else None
    ask = _judge(judge, runs)
    asked, spoken = _spoken(models, questions, references, max_tokens, seed, runs, out)
    pairs = list(itertools.combinations(spoken, 2))
    judged, rows = [], []
    for first, second in pairs:
        say(f"judge: {first} against {second}")
        verdicts, unread = judge_pair(asked, spoken[first], spoken[second], ask)
        judged.append((first, second, verdicts))
        rows.append(results.pair(first, second, verdicts, unread))
    votes = [vote for first, second, verdicts in judged for vote in votes_of(verdicts, first, second)]
    found: dict[str, Any] = {"judge": judge, "questions": len(asked), "pairs": rows, "ratings": results.ratings(votes)}
    if out is not None:
        write_verdicts(out / "verdicts.jsonl", judged)
    if votes_of_people is not None:
        found["people"] = results.beside_people(votes, votes_of_people)
    _print(found, as_json)


def single(
    models: Models, questions: Questions, judge: Judge, references: References = None,
    reference: Annotated[str | None, typer.Option(help="A model, named as the others are: also the score in per cent of its.")] = None,
    max_tokens: MaxTokens = 512, seed: Seed = 0, out: Out = None, runs: Runs = Path("runs"), as_json: Json = False,
) -> None:  # fmt: skip
    """Marks from 1 to 10 for each model; with --reference also marks side by side, whose sums make the relative score."""
    from groundup.evaluation.judge import judge_relative, judge_single, results

    ask = _judge(judge, runs)
    asked, spoken = _spoken([*models, *([reference] if reference is not None else [])], questions, references, max_tokens, seed, runs, out)
    names = list(spoken)[: len(models)]
    beside = list(spoken)[-1] if reference is not None else None
    say("judge: marks")
    marks = [results.single(name, judge_single(asked, spoken[name], ask), asked) for name in names]
    found: dict[str, Any] = {"judge": judge, "questions": len(asked), "models": marks}
    if beside is not None:
        say(f"judge: marks beside {beside}")
        found["relative"] = [results.relative(name, beside, judge_relative(asked, spoken[name], spoken[beside], ask)) for name in names]
    _print(found, as_json)


def rate(
    verdicts: Annotated[list[Path], typer.Argument(metavar="VERDICTS...", help="JSON lines: what `judge pairwise --out` wrote, or people's votes.")],
    people: People = None, as_json: Json = False,
) -> None:  # fmt: skip
    """Bradley-Terry strengths and Elo ratings of the models in verdicts, with 95 % intervals."""
    from groundup.evaluation.judge import results
    from groundup.evaluation.judge.votes import read_votes

    votes = [vote for path in verdicts for vote in read_votes(_there(path))]
    found: dict[str, Any] = {"matches": len(votes), "ratings": results.ratings(votes)}
    if people is not None:
        found["people"] = results.beside_people(votes, read_votes(_there(people)))
    _print(found, as_json)


def _print(found: dict[str, Any], as_json: bool) -> None:
    from groundup.evaluation.judge.results import as_text

    print(json.dumps(found, ensure_ascii=False) if as_json else as_text(found))


def _spoken(
    models: Sequence[str], questions: Path, references: Path | None, max_tokens: int, seed: int, runs: Path, out: Path | None
) -> tuple[list[Question], dict[str, Answers]]:
    """The questions, and the answers of all models by name, in their order."""
    from groundup.evaluation.judge import read_questions
    from groundup.evaluation.judge.questions import NEEDS_REFERENCE, write_answers

    asked = read_questions(_there(questions), _there(references) if references else None)
    if lacking := sum(question.category in NEEDS_REFERENCE and not question.references for question in asked):
        say(f"judge: {lacking} questions of {', '.join(NEEDS_REFERENCE)} without a right answer that the judge is told; --references gives them")
    speakers: dict[str, Callable[[Sequence[Question]], Answers]] = {}
    for model in models:
        name, speak = _speaker(model, runs, max_tokens, seed)
        if name in speakers:
            raise RequestError(f"two models are called {name}", where="judge", do="Name each once; give files of answers other names.")
        speakers[name] = speak
    found: dict[str, Answers] = {}
    for name, speak in speakers.items():
        say(f"judge: answers of {name}")
        found[name] = speak(asked)
        if out is not None:
            out.mkdir(parents=True, exist_ok=True)
            write_answers(out / f"{re.sub(r'[^A-Za-z0-9._-]+', '-', name)}.jsonl", name, found[name])
    return asked, found


def _speaker(what: str, runs: Path, max_tokens: int, seed: int) -> tuple[str, Callable[[Sequence[Question]], Answers]]:
    """A model's name, and what has it answer."""
    from groundup.dialogue.answers import answers, by_engine, by_server
    from groundup.evaluation.judge import read_answers

    if what.startswith(("http://", "https://")):
        client, name = _client(what, max_tokens)
        return name, lambda asked: answers(asked, by_server(client))
    if what.endswith((".jsonl", ".jsonl.gz", ".jsonl.zst")):
        given = read_answers(_there(Path(what)))
        return Path(what).name.partition(".jsonl")[0], lambda asked: given
    from groundup.dialogue.speak import open_engine

    run = find_run(what, runs)
    return run.path.resolve().name, lambda asked: answers(asked, by_engine(*open_engine(run, base=False), max_tokens, seed))


def _judge(what: str, runs: Path) -> Ask:
    from groundup.dialogue.answers import judge_by_engine
    from groundup.dialogue.speak import open_engine

    if what.startswith(("http://", "https://")):
        return _client(what, VERDICT_TOKENS)[0]
    run = find_run(what, runs)
    return judge_by_engine(*open_engine(run, base=False), str(run.path), VERDICT_TOKENS)


def _there(path: Path) -> Path:
    found = path.expanduser()
    if not found.is_file():
        raise RequestError("there is no such file", where=str(path), do="Correct the path.")
    return found


def _client(what: str, max_tokens: int) -> tuple[ChatClient, str]:
    """A model behind a URL, and its name."""
    from groundup.evaluation.endpoint import Endpoint
    from groundup.evaluation.judge.client import ChatClient
    from groundup.evaluation.subject import KEY

    url, _, name = what.partition("#")
    if not name:
        raise RequestError("a server has models by name", where=what, do=f"Write it after a #: {url}#NAME.")
    return ChatClient(Endpoint(url, os.environ.get(KEY)), name, max_tokens=max_tokens), name
