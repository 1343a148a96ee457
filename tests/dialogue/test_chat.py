"""The conversation as a person meets it: piped lines, commands, a history that outgrows the context, Ctrl-C."""

from __future__ import annotations

import io

import pytest

from groundup.dialogue.chat import Chat, ask, chat
from groundup.dialogue.template import Message, Template
from groundup.generation import Engine, SamplingSettings
from groundup.models.build import build
from groundup.models.config import ModelConfig

SETTINGS = SamplingSettings(seed=0, max_tokens=6)


@pytest.fixture
def engine(words) -> Engine:
    config = ModelConfig(vocabulary=270, context=64, layers=1, width=16, heads=2, kv_heads=2, feedforward=32, init_std=0.3)
    return Engine(build(config, seed=0), words)


def talk(engine, text: str, capsys, template=True) -> tuple[list[str], str]:
    sink = io.StringIO()
    chat(engine, Template(engine.tokenizer) if template else None, SETTINGS, source=io.StringIO(text), sink=sink)
    return sink.getvalue().split("\n"), capsys.readouterr().err


def test_each_piped_line_is_answered_in_turn(engine, capsys) -> None:
    lines = Chat(engine, Template(engine.tokenizer), SETTINGS)
    expected = "".join("".join(lines.answer(text)) + "\n" for text in ("one", "two"))
    sink = io.StringIO()
    chat(engine, Template(engine.tokenizer), SETTINGS, source=io.StringIO("one\n\ntwo"), sink=sink)
    assert sink.getvalue() == expected
    assert [message.role for message in lines.messages] == ["user", "assistant"] * 2


def test_a_next_turn_reads_only_what_is_new(engine) -> None:
    lines = Chat(engine, Template(engine.tokenizer), SETTINGS)
    list(lines.answer("a first question"))
    read, forward = [], engine.runner.forward

    def counted(pieces):
        read.append(sum(len(piece.tokens) for piece in pieces))
        return forward(pieces)

    engine.runner.forward = counted
    said = len(lines.last.tokens)
    list(lines.answer("and"))
    # what ended the first answer, <|user|> and <|end_of_turn|> around three letters, <|assistant|>; an answer cut for
    # length has its last token unread
    assert read[0] == 1 + 2 + 3 + 1 + (said == SETTINGS.max_tokens)


def test_reset_forgets_and_quit_leaves(engine, capsys) -> None:
    once, _ = talk(engine, "one\n", capsys)
    twice, _ = talk(engine, "one\n/reset\none\n/quit\none\n", capsys)
    assert twice == [*once[:-1], *once]
    kept, _ = talk(engine, "one\none\n", capsys)
    assert kept != twice  # with a memory the second answer is another


def test_unknown_commands_are_explained_not_answered(engine, capsys) -> None:
    out, notes = talk(engine, "/help\n", capsys)
    assert out == [""] and "/help is not known" in notes and "/quit" in notes


def test_system_message_is_part_of_every_prompt(engine) -> None:
    lines = Chat(engine, Template(engine.tokenizer), SETTINGS)
    lines.system("Be brief.")
    list(lines.answer("hello"))
    lines.reset()
    assert lines.messages == [Message("system", "Be brief.")]


def test_a_history_longer_than_the_context_loses_its_oldest_turns_and_says_so(engine, capsys) -> None:
    _, notes = talk(engine, "a question of some length\n" * 4, capsys)
    assert "no longer fit" in notes
    _, notes = talk(engine, "short\n", capsys)
    assert "no longer fit" not in notes


def test_interrupting_stops_the_answer_and_not_the_program(engine, capsys) -> None:
    class Interrupts(io.StringIO):
        def __init__(self) -> None:
            super().__init__()
            self.left = 2

        def flush(self) -> None:
            self.left -= 1
            if self.left == 0:
                raise KeyboardInterrupt

    sink = Interrupts()
    chat(engine, None, SETTINGS, source=io.StringIO("one\ntwo\n"), sink=sink)
    assert "(stopped)" in capsys.readouterr().err
    second = io.StringIO()
    chat(engine, None, SETTINGS, source=io.StringIO("two\n"), sink=second)
    assert sink.getvalue().endswith("\n" + second.getvalue())


def test_what_was_said_before_an_interruption_is_kept(engine) -> None:
    lines = Chat(engine, Template(engine.tokenizer), SETTINGS)
    pieces = lines.answer("one")
    first = next(pieces)
    pieces.close()
    assert lines.messages[-1] == Message("assistant", first)


def test_a_base_model_continues_the_text_it_is_given(engine, capsys) -> None:
    out, _ = talk(engine, "  def f(\n", capsys, template=False)
    assert "\n".join(out) == engine.generate("  def f(", SETTINGS)[0].text + "\n"


def test_both_models_are_asked_the_same(engine) -> None:
    answers = ask(engine, engine, ["What?", "Why so?"], max_tokens=5)
    assert [answer["question"] for answer in answers] == ["What?", "Why so?"]
    greedy = SamplingSettings(temperature=0.0, max_tokens=5)
    assert answers[0]["base"] == engine.generate("What?\n", greedy)[0].text
    assert answers[0]["tuned"] == engine.generate(Template(engine.tokenizer).ask("What?"), greedy)[0].text
    assert ask(engine, None, ["What?"])[0]["tuned"] is None
