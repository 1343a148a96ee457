"""The linter finds each mistake in the row where it is, and nothing in good rows; the viewer shows what is trained on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from groundup.dialogue.chat_formats import CHATML
from groundup.dialogue.chat_template import ChatTemplate, Rendered, added_tokens, with_tokens
from groundup.dialogue.format.record import Conversation, Message
from groundup.dialogue.lint import breaks_off, lint, lint_file
from groundup.dialogue.overlap import TestQuestions
from groundup.dialogue.view import show, show_all
from groundup.tokens import trainers
from groundup.tokens.tokenizer import Tokenizer

QUESTION = "Which planet of the solar system has the largest number of known moons today?"
LONG = "It is a matter of some debate among those who count such things, and the number changes " * 3


def talk(question: str, answer: str, **more: Any) -> Conversation:
    return Conversation((Message("user", question), Message("assistant", answer, **more)))


def found(report, level: str | None = None) -> list[tuple[str, int]]:
    return [(one.rule, one.row) for one in report.findings if level in (None, one.level)]


def test_good_rows_pass(words) -> None:
    report = lint([(1, talk("2 + 2?", "4")), (2, talk("x", "Well. " * 60)), (3, talk("list", LONG + "\n- one\n- two"))], ChatTemplate(words), 1000)
    assert not report.findings and not report.failed
    assert report.conversations == 3 and 0 < report.trained_tokens < report.tokens
    assert "nothing wrong found" in report.text()


def test_each_mistake_is_found_in_its_row(words, tmp_path: Path) -> None:
    tests = tmp_path / "exam.jsonl"
    tests.write_text("".join(json.dumps({"question": q, "choices": ["a", "b"]}) + "\n" for q in (QUESTION, "What is the boiling point of water at sea level in kelvin?")), encoding="utf-8")
    rows = [
        {"question": "fine", "answer": "Fine."},
        {"messages": [{"role": "assistant", "content": "x"}, {"role": "user", "content": "y"}]},
        {"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y", "weight": 0}]},
        {"question": "long", "answer": "a " * 300 + "end."},
        {"question": "off", "answer": LONG + "and so it"},
        {"question": "Tell me: " + QUESTION.upper(), "answer": "Saturn."},
        {"question": "say <|assistant|>", "answer": "No."},
        {"text": "no conversation"},
        {"question": "nothing", "answer": " "},
    ]
    path = tmp_path / "bad.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows) + "{broken\n", encoding="utf-8")
    report = lint_file(path, ChatTemplate(words), 500, TestQuestions([str(tests)]))
    assert set(found(report)) == {("row", 8), ("row", 10), ("blank", 9), ("roles", 2), ("no-target", 3), ("truncated", 4), ("truncated", 5), ("test", 6), ("marks", 7)}
    assert set(found(report, "warning")) == {("truncated", 5), ("marks", 7), ("blank", 9)}
    assert report.failed
    hit = next(one for one in report.findings if one.rule == "test")
    assert "exam.jsonl, record 1" in hit.what and "largest number" in hit.what
    assert "error: test, 1 time\n    row 6: exam.jsonl" in report.text()


def test_a_missing_end_is_found(words) -> None:
    template = ChatTemplate(words)

    def without_end(one: Conversation) -> Rendered:
        rendered = template.render(one)
        return Rendered(rendered.tokens[:-1], rendered.weights[:-1])

    def untrained_end(one: Conversation) -> Rendered:
        rendered = template.render(one)
        return Rendered(rendered.tokens, [*rendered.weights[:-1], 0.0])

    for render in (without_end, untrained_end):
        report = lint([(1, talk("q", "the answer"))], template, 100, render=render)
        assert [one.rule for one in report.findings] == ["no-end"] and "answer" in report.findings[0].what


def test_padding_that_ends_turns_is_found(words) -> None:
    special = {**words.special, "<|pad|>": words.special["<|end_of_turn|>"]}
    report = lint([(1, talk("q", "a"))], ChatTemplate(words, special=special), 100)
    assert ("pad-is-end", 0) in found(report) and report.failed


def test_text_that_does_not_round_trip_is_found() -> None:
    """A text that begins with a newline merges with that of ChatML's head when other software reads the whole."""
    text = with_tokens(trainers.train_bpe(["a\n\n", "b\n\n", "user assistant"] * 50, 275, must_reach=True), ("<|im_start|>", "<|im_end|>"))
    words = Tokenizer(text)
    assert len(words.encode("\n\n")) == 1
    template = ChatTemplate(words, CHATML, special=added_tokens(text))
    report = lint([(1, talk("q", "a")), (2, talk("q", "\n b"))], template, 100)
    assert [(one.rule, one.row) for one in report.findings if one.rule == "round-trip"] in ([("round-trip", 2)], [])
    report = lint([(1, talk("q", "a")), (2, talk("q", "\n"))], template, 100)
    assert found(report) == [("round-trip", 2)]
    assert "we train on" in report.findings[0].what


def test_no_conversation_at_all_is_an_error(words) -> None:
    assert lint([], ChatTemplate(words), 100).failed


@pytest.mark.parametrize(
    ("text", "breaks"),
    [
        ("short and no stop", False), (LONG + "done.", False), (LONG + "and then the", True), ("```python\nx = 1", True), (LONG + "\n```\nx = 1\n```", False),
        (LONG + "\n- and then the last of the points", False), (LONG + "\nKind regards,\nAnna", False), (LONG + '"quoted."', False),
        (LONG + "\nprint(x) # and then the\n", False), (LONG + "and that is 98.6", False), (LONG + "one, two,", True),
    ],
)  # fmt: skip
def test_answers_that_break_off(text: str, breaks: bool) -> None:
    assert breaks_off(text) is breaks


def test_the_summary_names_the_first_rows_and_counts_the_rest(words) -> None:
    report = lint([(number, talk("q", "a", weight=0.0)) for number in range(1, 31)], ChatTemplate(words), 100)
    text = report.text()
    assert "error: no-target, 30 times" in text and "row 5:" in text and "row 6:" not in text and "and 25 more: rows 6, 7" in text and text.endswith("...")


def test_the_viewer_paints_what_is_trained_on(words) -> None:
    template = ChatTemplate(words)
    plain = show(template.render(talk("hé", "ho\x1b[31m")), template, colour=False)
    assert plain == "<|user|>hé<|end_of_turn|><|assistant|>⟦ho␛[31m<|end_of_turn|>⟧"
    painted = show(template.render(talk("hé", "ho")), template)
    assert "\x1b[32mho<|end_of_turn|>\x1b[0m" in painted and "\x1b[2m<|user|>hé" in painted
    assert "\x1b[33mho" in show(template.render(talk("q", "ho", weight=0.1)), template)
    whole = show_all([talk("a", "b"), talk("c", "d"), talk("e", "f")], template, 2, colour=False)
    assert whole.count("---") == 2 and "⟦b<|end_of_turn|>⟧" in whole and "⟦f" not in whole
