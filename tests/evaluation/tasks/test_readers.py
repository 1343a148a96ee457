"""Prompts of every task, word for word, from every form of its rows; and what is malformed."""

from __future__ import annotations

from pathlib import Path

import pytest

from groundup.errors import RequestError
from groundup.evaluation.tasks import Data, read_task, suite
from groundup.evaluation.tasks.catalogue import READERS, SUITES
from groundup.evaluation.tasks.gsm8k import NONE, flexible, same_number, strict
from groundup.evaluation.tasks.hellaswag import plain
from groundup.evaluation.tasks.humaneval import program
from groundup.evaluation.tasks.truthfulqa import PRIMER

ARC = {"id": "1", "question": "Why?", "choices": {"text": ["so", "not so", "who knows"], "label": ["1", "2", "3"]}, "answerKey": "2"}
ARC_PUBLISHED = {"question": {"stem": "Why?", "choices": [{"text": text, "label": label} for text, label in zip(("so", "not so", "who knows"), "123", strict=True)]}, "answerKey": "2"}
ARC_GAUNTLET = {"query": "Question: Why?", "choices": ["so", "not so", "who knows"], "gold": 1}


def put_asked(task) -> list[tuple[str, str]]:
    return [(request.context, request.continuation) for item in task.items for request in item.requests]


@pytest.mark.parametrize("row", [ARC, ARC_PUBLISHED, ARC_GAUNTLET])
def test_arc(put, row) -> None:
    put("arc_challenge/train.jsonl", [row])
    task = read_task("arc_challenge", put("arc_challenge/test.jsonl", [row]), shots=1)
    context = "Question: Why?\nAnswer: not so\n\nQuestion: Why?\nAnswer:"
    assert put_asked(task) == [(context, " so"), (context, " not so"), (context, " who knows")]
    assert task.items[0].gold == (1,) and task.items[0].choices == ("so", "not so", "who knows")
    assert task.chance == pytest.approx(1 / 3) and task.metrics[0] == "acc_norm"


def test_openbookqa(put) -> None:
    row = {"question_stem": "The sun is", "choices": {"text": ["hot", "cold"], "label": ["A", "B"]}, "answerKey": " A"}
    assert put_asked(read_task("openbookqa", put("openbookqa/main/test.jsonl", [row]))) == [("The sun is", " hot"), ("The sun is", " cold")]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"answerKey": "E"}, "the right answer is 'E'; there are 1, 2, 3"),
        ({"choices": {"text": [], "label": []}}, "`text` has 0 answers"),
        ({"choices": {"text": ["a", "b"], "label": ["1"]}}, "`label` has 1 answer"),
        ({"choices": ["a", "b"]}, "`choices` is not a record"),
        ({"question": ""}, "`question` is empty"),
    ],
)
def test_malformed_arc(put, change, said: str) -> None:
    data = put("arc_easy/test.jsonl", [ARC, {**ARC, **change}])
    with pytest.raises(RequestError, match=said) as caught:
        read_task("arc_easy", data)
    assert "item 2" in str(caught.value)


HELLASWAG = {
    "activity_label": "Removing ice", "ctx_a": "A man [header] scrapes. [title]", "ctx_b": "then He", "endings": ["[substeps] stops  here.", "goes on.", "x", "y"],
    "label": "1",
}  # fmt: skip


def test_hellaswag(put) -> None:
    put("hellaswag/train.jsonl", [{**HELLASWAG, "ind": number} for number in range(3)])
    task = read_task("hellaswag", put("hellaswag/validation.jsonl", [HELLASWAG]), shots=1)
    context = "Removing ice: A man scrapes.. Then he"
    assert plain(" Removing ice: A man [header] scrapes. [title] Then he") == context
    assert put_asked(task)[:2] == [(f"{context} goes on.\n\n{context}", "  stops here."), (f"{context} goes on.\n\n{context}", " goes on.")]
    assert task.items[0].gold == (1,)


def test_hidden_answers_are_named_as_such(put) -> None:
    with pytest.raises(RequestError, match="hidden test sets"):
        read_task("hellaswag", put("hellaswag/validation.jsonl", [{**HELLASWAG, "label": ""}]))


MMLU = {"question": " Which? ", "choices": ["p", "q", "r", "s"], "answer": 3}


@pytest.mark.parametrize("suffix", ["jsonl", "csv", "csv with header"])
def test_mmlu(put, tmp_path: Path, suffix: str) -> None:
    if suffix == "jsonl":
        put("mmlu/dev/us_history_dev.jsonl", [MMLU] * 2)
        data = put("mmlu/test/us_history_test.jsonl", [MMLU])
    else:
        for split, lines in (("dev", 2), ("test", 1)):
            path = tmp_path / "tasks" / "mmlu" / split / f"us_history_{split}.csv"
            path.parent.mkdir(parents=True)
            header = "question,choice0,choice1,choice2,choice3,answer\n" if "header" in suffix else ""
            path.write_text(header + f" Which? ,p,q,r,s,{'3' if header else 'D'}\n" * lines)
        data = Data(tmp_path / "tasks")
    task = read_task("mmlu", data, shots=2)
    block = "Which?\nA. p\nB. q\nC. r\nD. s\nAnswer:"
    context = f"The following are multiple choice questions (with answers) about us history.\n\n{block} D\n\n{block} D\n\n{block}"
    assert put_asked(task) == [(context, f" {letter}") for letter in "ABCD"]
    assert task.items[0].gold == (3,) and task.items[0].group == "us_history" and task.macro


def test_mmlu_by_the_field_subject(put) -> None:
    put("mmlu/all/dev-00000-of-00001.jsonl", [{**MMLU, "subject": subject} for subject in ("law", "art")])
    data = put("mmlu/all/test-00000-of-00001.jsonl", [{**MMLU, "subject": subject} for subject in ("law", "art", "law")])
    task = read_task("mmlu", data, shots=1)
    assert [item.group for item in task.items] == ["art", "law", "law"]
    assert task.items[0].requests[0].context.startswith("The following are multiple choice questions (with answers) about art.\n\n")
    with pytest.raises(RequestError, match="2 examples of art are asked for, 1 are there"):
        read_task("mmlu", data, shots=2)


@pytest.mark.parametrize(
    ("change", "said"), [({"answer": 4}, "with 4 answers it must be from 0 to 3"), ({"answer": "E"}, "not the place"), ({"choices": ["a", "b", "c"]}, "`choices` has 3 answers; at least 4")]
)
def test_malformed_mmlu(put, change, said: str) -> None:
    with pytest.raises(RequestError, match=said):
        read_task("mmlu", put("mmlu/law_test.jsonl", [{**MMLU, **change}]))


TRUE = {"question": "Is it?", "mc1_targets": {"choices": ["yes", "no"], "labels": [1, 0]}, "mc2_targets": {"choices": ["yes", "aye", "no"], "labels": [1, 1, 0]}}
TRUE_PUBLISHED = {"question": "Is it?", "mc1_targets": {"yes": 1, "no": 0}, "mc2_targets": {"yes": 1, "aye": 1, "no": 0}}


@pytest.mark.parametrize("row", [TRUE, TRUE_PUBLISHED])
def test_truthfulqa(put, row) -> None:
    data = put("truthful_qa/multiple_choice/validation.jsonl", [row])
    put("truthful_qa/generation/validation.jsonl", [{"question": "another"}])
    context = f"{PRIMER}Q: Is it?\nA:"
    one, two = read_task("truthfulqa_mc1", data), read_task("truthfulqa_mc2", data)
    assert put_asked(one) == [(context, " yes"), (context, " no")] and one.items[0].gold == (0,)
    assert put_asked(two) == [(context, " yes"), (context, " aye"), (context, " no")] and two.items[0].gold == (0, 1)
    assert PRIMER.startswith("Q: What is human life expectancy in the United States?\nA: Human life") and PRIMER.endswith("Barcelona, Spain.\n\n")
    with pytest.raises(RequestError, match="without examples of its own"):
        read_task("truthfulqa_mc2", data, shots=1)


@pytest.mark.parametrize(
    ("targets", "said"),
    [({"yes": 0, "no": 0}, "0 true answers"), ({"yes": 1, "no": 2}, "label 0 or 1"), ({"yes": 1}, "two answers at least"), ({"": 1, "no": 0}, "the only true answer of `mc1_targets` is empty"), ({"choices": ["a", "b"], "labels": [1]}, "label 0 or 1 for each")],
)
def test_malformed_truthfulqa(put, targets, said: str) -> None:
    with pytest.raises(RequestError, match=said):
        read_task("truthfulqa_mc1", put("truthfulqa/validation.jsonl", [{**TRUE, "mc1_targets": targets}]))


@pytest.mark.parametrize("row", [{"text": "He came and said: no"}, {"context": "He came and said:", "continuation": "no"}])
def test_lambada(put, row) -> None:
    task = read_task("lambada_openai", put("lambada_openai/test.jsonl", [row, {"text": "one two"}]), shots=0)
    assert put_asked(task)[0] == ("He came and said:", " no") and task.kind == "greedy" and task.chance == 0.0
    shown = read_task("lambada_openai", put("lambada_openai/test.jsonl", [row]), shots=1)
    assert put_asked(shown)[0][0] == "He came and said:  no\n\nHe came and said:"  # lm-eval's two blanks
    with pytest.raises(RequestError, match="no last word"):
        read_task("lambada_openai", put("lambada_openai/test.jsonl", [{"text": "word"}]))


@pytest.mark.parametrize("row", [{"goal": "How?", "sol1": "so", "sol2": "thus", "label": 1}, {"query": "Question: How?\n", "choices": ["so", "thus"], "gold": 1}])
def test_piqa(put, row) -> None:
    put("piqa/train.jsonl", [{**row, "n": n} for n in range(2)])
    task = read_task("piqa", put("piqa/validation.jsonl", [row]), shots=1)
    context = "Question: How?\nAnswer: thus\n\nQuestion: How?\nAnswer:"
    assert put_asked(task) == [(context, " so"), (context, " thus")] and task.chance == 0.5


@pytest.mark.parametrize(
    "row",
    [
        {"sentence": "Ann met Bo so _ was glad.", "option1": "Ann", "option2": "Bo", "answer": "2"},
        {"context_options": ["Ann met Bo so Ann", "Ann met Bo so Bo"], "continuation": "was glad.", "gold": 1},
    ],
)
def test_winogrande(put, row) -> None:
    put("winogrande_xl/train.jsonl", [{**row, "n": n} for n in range(2)])
    task = read_task("winogrande", put("winogrande_xl/validation.jsonl", [row]), shots=1)
    shown = "Ann met Bo so Bo was glad.\n\n"
    assert put_asked(task) == [(f"{shown}Ann met Bo so Ann", " was glad."), (f"{shown}Ann met Bo so Bo", " was glad.")]
    assert task.items[0].gold == (1,)


@pytest.mark.parametrize(("change", "said"), [({"sentence": "no blank"}, "needs a blank"), ({"answer": "3"}, "neither 1 nor 2"), ({"option2": ""}, "`option2` is empty")])
def test_malformed_winogrande(put, change, said: str) -> None:
    row = {"sentence": "Ann met Bo so _ was glad.", "option1": "Ann", "option2": "Bo", "answer": "2"}
    with pytest.raises(RequestError, match=said):
        read_task("winogrande", put("winogrande/validation.jsonl", [{**row, **change}]))


@pytest.mark.parametrize(
    "row",
    [
        {"passage": "A text.", "question": "is it so", "label": 1},
        {"passage": "A text.", "question": "is it so", "answer": True},
        {"query": "Passage: A text.\nQuestion: is it so?", "choices": ["no", "yes"], "gold": 1},
    ],
)
def test_boolq(put, row) -> None:
    task = read_task("boolq", put("boolq/validation.jsonl", [row]))
    context = "A text.\nQuestion: is it so?\nAnswer:"
    assert put_asked(task) == [(context, " no"), (context, " yes")] and task.items[0].gold == (1,)


@pytest.mark.parametrize(
    "row",
    [
        {"premise": "It rained.", "question": "effect", "choice1": "The street got wet.", "choice2": "The sun came.", "label": 0},
        {"query": "It rained, therefore", "choices": ["the street got wet.", "the sun came."], "gold": 0},
    ],
)
def test_copa(put, row) -> None:
    task = read_task("copa", put("super_glue/copa/validation.jsonl", [row]))
    assert put_asked(task) == [("It rained therefore", "  the street got wet."), ("It rained therefore", "  the sun came.")]


def test_blimp(put) -> None:
    put("blimp/b_paradigm.jsonl", [{"sentence_good": "Good.", "sentence_bad": "Bad good."}])
    task = read_task("blimp", put("blimp/a.jsonl", [{"sentence_good": "It is.", "sentence_bad": "It are.", "UID": "agreement"}]))
    assert put_asked(task) == [("", " It is."), ("", " It are."), ("", " Good."), ("", " Bad good.")]
    assert [item.group for item in task.items] == ["agreement", "b_paradigm"] and task.macro


@pytest.mark.parametrize(
    "row", [{"question": "2+2?", "answer": "It is\n#### 1,004"}, {"context": "2+2?", "chain_of_thought": "It is", "answer": "1,004"}]
)
def test_gsm8k(put, row) -> None:
    put("gsm8k/main/train.jsonl", [row])
    task = read_task("gsm8k", put("gsm8k/main/test.jsonl", [row]), shots=1)
    assert put_asked(task) == [("Question: 2+2?\nAnswer: It is\n#### 1,004\n\nQuestion: 2+2?\nAnswer:", "")]
    answer = task.items[0].answer
    for text, strictly, leniently in (
        ("so\n#### 1004", True, True), ("so\n#### $1,004.", False, True), ("it makes $1,004.", False, True), ("#### 1004 or #### 7", True, False), ("none", False, False),
    ):  # fmt: skip
        assert (same_number(strict(text), answer), same_number(flexible(text), answer)) == (strictly, leniently), text
    assert strict("none") == NONE == flexible("none")
    with pytest.raises(RequestError, match="no `#### number`"):
        read_task("gsm8k", put("gsm8k/main/test.jsonl", [{"question": "q", "answer": "4"}]), shots=0)


def test_humaneval(put) -> None:
    row = {"task_id": "T/0", "prompt": "def f():\n", "test": "def check(c):\n    assert c() == 1\n", "entry_point": "f"}
    task = read_task("humaneval", put("openai_humaneval/test.jsonl", [row]))
    assert program(task.items[0], "    return 1\n") == "def f():\n    return 1\n\ndef check(c):\n    assert c() == 1\n\ncheck(f)\n"


def test_the_catalogue(put) -> None:
    assert all(part.task in READERS for name in SUITES for part in suite(name))
    assert [(part.task, part.shots) for part in suite("open-llm-v1") if part.averaged] == [("arc_challenge", 25), ("hellaswag", 10), ("mmlu", 5), ("truthfulqa_mc2", 0)]
    assert [(part.task, part.shots) for part in suite("gsm8k")] == [("gsm8k", 5)]
    data = put("piqa/validation.jsonl", [{"goal": "How?", "sol1": "so", "sol2": "thus", "label": 1}])
    for call in (lambda: suite("open-llm-v9"), lambda: read_task("arc", data), lambda: read_task("piqa", data, shots=-1)):
        with pytest.raises(RequestError):
            call()
    assert read_task("piqa", data).prompt_hash == read_task("piqa", data).prompt_hash
