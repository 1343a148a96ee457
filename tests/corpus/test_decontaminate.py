"""Decontamination: what of a test is found in which shape, what is left alone, and the same result however the work is cut."""

from __future__ import annotations

import csv
import gzip
import json
import random
import string
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet
from test_pipeline import build, rows

from groundup.corpus import contamination, decontaminate, pipeline
from groundup.corpus.contamination import AllTests
from groundup.corpus.dedup import shingles
from groundup.corpus.evaluation_items import evaluation_files, read
from groundup.errors import GroundupError
from groundup.recipe.cleaning.decontaminate import Decontaminate
from groundup.run import Stage

DATA = next((each for each in (Path(__file__).parents[2].parent / "shared/data", Path(__file__).parents[3].parent / "shared/data") if each.exists()), None)

LONG = "Janet's ducks lay 16 eggs per day. She eats three for breakfast every morning and bakes muffins for her friends every day with four. How much does she make?"
SHORT = "What happens to you if you eat watermelon seeds?"  # nine words
FIVE = "Why do leaves turn red?"
STATEMENT = "The largest moon of the planet Saturn is called"
FOUR = "Why is Mars red?"
ARITHMETIC = "17 * 64 * 59 + 12 - 30 + 4 + 55 - 9 * 71 ="
RECORDS = [
    {"question": LONG, "answer": "18"}, {"question": SHORT, "choices": ["Nothing at all happens", "You grow watermelons in your stomach after a long while"]},
    {"question": FIVE, "answer": "chlorophyll"}, {"question": STATEMENT, "choices": ["Titan", "Io"]}, {"question": FOUR, "answer": "rust"}, {"question": ARITHMETIC},
]  # fmt: skip
WORDS = ["".join(random.Random(number).choices(string.ascii_lowercase, k=3 + number % 6)) for number in range(3000)]


def prose(seed: int, size: int = 200) -> str:
    rng = random.Random(seed)
    return ". ".join(" ".join(rng.choices(WORDS, k=10)).capitalize() for _ in range(size // 10)) + "."


def row(text: str, number: int = 0) -> dict[str, Any]:
    return {"id": f"d{number}", "whole": f"w{number}", "text": text, "source": "s", "url": "u", "split": "train"}


@pytest.fixture(scope="module")
def tests(tmp_path_factory: pytest.TempPathFactory) -> AllTests:
    folder = tmp_path_factory.mktemp("tests")
    (folder / "test.jsonl").write_text("\n".join(map(json.dumps, RECORDS)))
    found = AllTests(Decontaminate(files=[str(folder / "test.jsonl")]), folder)
    found.finish()
    return found


def hits(tests: AllTests, text: str) -> list[dict[str, Any]]:
    return [one for one in tests.find([row(text)])[0] if one["hit"]]


def shouted(text: str) -> str:
    return " -- ".join(text.upper().replace("?", "").replace(".", "").replace(",", "").split())


def bare(text: str) -> str:
    """As much code that tidies text does it: no marks at all."""
    return "".join(letter for letter in text.lower() if letter.isalnum() or letter.isspace())


def in_a_page(text: str) -> str:
    return f"{prose(1)} Somebody asked: {text} {prose(2)}"


def paragraph(text: str) -> str:
    return f"{prose(3)}\n\n{text}\n\n{prose(4)}"


def changed(text: str, every: int) -> str:
    return " ".join(f"x{place}" if place % every == every - 1 else word for place, word in enumerate(text.split()))


@pytest.mark.parametrize("question", [LONG, SHORT, FIVE, STATEMENT])
@pytest.mark.parametrize("shape", [paragraph, in_a_page, lambda text: paragraph(shouted(text)), lambda text: paragraph(bare(text)), lambda text: text.replace(" ", "\n\t")])
def test_copies_are_found(tests: AllTests, question: str, shape: Any) -> None:
    found = hits(tests, shape(question))
    assert found and tests.about(found[0])[1] == question


def test_the_table(tests: AllTests) -> None:
    """What is found of a question in other words, and what is not looked for."""
    assert hits(tests, paragraph(changed(LONG, 10))) and hits(tests, paragraph(changed(LONG, 6)))
    assert not hits(tests, paragraph(changed(LONG, 3)))  # this is another question
    assert not hits(tests, paragraph(changed(SHORT, 5)))  # of nine words all must be there
    assert not hits(tests, paragraph(FIVE.replace("?", "")).replace(f"\n\n{FIVE[:-1]}\n\n", f" and {FIVE[:-1].lower()} then "))  # within another sentence
    for too_short in (FOUR, ARITHMETIC):
        assert not hits(tests, paragraph(too_short))
    assert tests.files[0].too_short == 2
    assert not hits(tests, paragraph("You grow watermelons in your stomach after a long while"))  # an answer by itself


@given(seed=st.integers(0, 10_000), size=st.integers(13, 60), place=st.integers(0, 150), upper=st.booleans())
@settings(max_examples=60, deadline=None)
def test_a_verbatim_piece_of_thirteen_words_is_always_found(seed: int, size: int, place: int, upper: bool) -> None:
    piece = " ".join(random.Random(seed).sample(WORDS, size))
    words = prose(seed + 1).split()
    index = decontaminate.Pieces([prose(7, 30), piece, prose(8, 50)], 13)
    text = " ".join([*words[:place], piece.upper() if upper else piece, *words[place:]])
    found = index.find(shingles.words(pa.array([prose(9), text], pa.large_string())), 2)
    its = [number for number in range(len(found.test)) if found.test[number] == 1 and found.document[number] == 1]
    assert [found.copied[number] for number in its] == [1.0] and [found.reworded[number] for number in its] == [1.0]
    data = text.encode()
    assert data[found.begin[its[0]] : found.end[its[0]]].decode().lower() == piece
    assert not (found.document == 0).any()


def test_other_scripts(tmp_path: Path) -> None:
    asked = ["Какая планета Солнечной системы имеет самые большие кольца вокруг себя и почему?", "太陽系で一番大きな惑星は何ですか？", "¿Cuál es la capital de la provincia más antigua del país?", "Wie viele Äpfel hatte Jürgen gestern in Öhringen?"]
    (tmp_path / "t.jsonl").write_text("\n".join(json.dumps({"q": text}, ensure_ascii=False) for text in asked), encoding="utf-8")
    tests = AllTests(Decontaminate(files=[str(tmp_path / "t.jsonl")]), tmp_path)
    tests.finish()
    for text in asked:
        found = hits(tests, paragraph(text.upper()))
        assert found and tests.about(found[0])[1] == text
    assert not hits(tests, prose(5))


def test_a_part_of_a_long_piece(tmp_path: Path) -> None:
    """Half of a passage is a copy, a sentence of it a quotation, which remains and is said."""
    passage = prose(11, 400)
    (tmp_path / "t.txt").write_text(passage)
    tests = AllTests(Decontaminate(files=[str(tmp_path / "t.txt")]), tmp_path)
    tests.finish()
    words = passage.split()
    assert hits(tests, f"{prose(1)} {' '.join(words[50:270])} {prose(2)}")
    quoted = tests.find([row(f"{prose(1)} {' '.join(words[50:80])} {prose(2)}")])[0]
    assert [one["hit"] for one in quoted] == [False] and 0 < quoted[0]["copied"] < 0.1
    assert hits(tests, " ".join(words[50:80]))  # nothing but a stretch of a test


def test_a_sample_of_the_held_out_text_still_finds_copies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for most in (10**9, 2_000):
        monkeypatch.setattr(decontaminate, "MOST_GRAMS", most)
        tests = AllTests(Decontaminate(), tmp_path)
        tests.add_held_out([{**row(prose(number, 1000), number)} for number in range(20)])
        tests.finish()
        copies = [row(f"{prose(100)} {prose(number, 1000)}", 50 + number) for number in range(20)]
        found.append([[tests.about(one)[0]["id"] for one in places if one["hit"]] for places in tests.find(copies)])
        assert not any(places for places in tests.find([row(prose(200 + number, 1000), 99) for number in range(20)]))
    assert tests.sample == 1 / 16
    assert found[0] == found[1] == [[f"d{number}"] for number in range(20)]


# --- files ------------------------------------------------------------------------------------------------------------


def test_every_kind_of_file(tmp_path: Path) -> None:
    records = [{"id": f"x{number}", "q": f"Question: {' '.join(WORDS[20 * number : 20 * number + 15])}?\nAnswer:", "n": number} for number in range(20)]
    folder = tmp_path / "tests"
    (folder / "deep").mkdir(parents=True)
    (folder / "a.jsonl").write_text("\n".join(map(json.dumps, records)))
    (folder / "deep" / "b.jsonl.gz").write_bytes(gzip.compress((folder / "a.jsonl").read_bytes()))
    with pa.output_stream(str(folder / "c.jsonl.zst"), compression="zstd") as stream:
        stream.write((folder / "a.jsonl").read_bytes())
    (folder / "d.json").write_text(json.dumps(records))
    (folder / "e.json").write_text(json.dumps({"version": 1, "data": records}))
    parquet.write_table(pa.Table.from_pylist(records), folder / "f.parquet")
    for name, delimiter in (("g.csv", ","), ("h.tsv", "\t")):
        with (folder / name).open("w", newline="") as stream:
            csv.writer(stream, delimiter=delimiter).writerows([["id", "q"], *([each["id"], each["q"]] for each in records)])
    (folder / "i.txt").write_text("\n\n".join(each["q"] for each in records))
    (folder / "readme.md").write_text("no test")
    for name, path in evaluation_files([str(folder)]):
        found = read(name, path, 13)
        assert (name, found.records, found.too_short) == (name, 20, 0)
        asked = {piece.text.removeprefix("Question: ").removesuffix("\nAnswer:") for piece in found.pieces}
        assert asked == {" ".join(WORDS[20 * number : 20 * number + 15]) + "?" for number in range(20)}, name
    assert len(evaluation_files([str(folder)])) == 9


def test_a_table_without_header(tmp_path: Path) -> None:
    with (tmp_path / "x.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([[f"Which of these {WORDS[number]} things is {WORDS[number + 50]} and not another?", "one", "two", "three", "four", "A"] for number in range(3)])
    found = read("x.csv", tmp_path / "x.csv", 13)
    assert found.records == 3 and [piece.record for piece in found.pieces] == [1, 2, 3]
    assert found.pieces[0].field == "column 1"


def test_a_question_in_many_records_is_a_form(tmp_path: Path) -> None:
    records = [{"q": f"{' '.join(WORDS[20 * number : 20 * number + 15])}.\nWhat is the moral of this story?"} for number in range(30)]
    (tmp_path / "x.jsonl").write_text("\n".join(map(json.dumps, records)))
    assert not any(piece.text.startswith("What") for piece in read("x", tmp_path / "x.jsonl", 13).pieces)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("no.jsonl", None, "there is no such file"), ("x.pdf", b"x", "not a kind of evaluation file"), ("x.jsonl", b"{broken", "cannot be read"),
        ("x.parquet", b"PAR1", "cannot be read"), ("x.json.gz", b"no gzip", "cannot be read"), ("x.jsonl", b'{"a": "2 + 2 ="}', "no question or text"),
        ("empty", None, "there is no such file"),
    ],
)  # fmt: skip
def test_files_that_are_wrong(tmp_path: Path, name: str, content: bytes | None, said: str) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "a.txt").write_text(prose(1))
    with pytest.raises(GroundupError, match=said) as error:
        build(tmp_path / "run", tmp_path / "source", decontaminate={"files": [str(tmp_path / name)]})
    assert "clean.decontaminate.files" in str(error.value)


# --- a corpus ---------------------------------------------------------------------------------------------------------


def told(stage: Stage) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    lines = (stage.final / "contamination.jsonl").read_text().splitlines()
    return json.loads((stage.final / "contamination.json").read_text()), [json.loads(line) for line in lines]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Documents; each also with a few words of its own before and after, so whichever is held out has a copy."""
    folder = tmp_path / "source"
    folder.mkdir()
    for number in range(40):
        (folder / f"{number:02}.txt").write_text(prose(number))
        if number < 20:
            (folder / f"{number:02}-copy.txt").write_text(f"{prose(500 + number, 40)} {prose(number).upper()} {prose(600 + number, 40)}")
    (folder / "book.txt").write_text(f"{prose(700, 4000)} {LONG} {prose(701, 4000)}")
    (folder / "page.txt").write_text(f"{prose(702)} {SHORT} {prose(703)}")
    (folder / "quotes.txt").write_text(f"{prose(704)} {' '.join(prose(39).split()[:20])} {prose(705)}")
    (tmp_path / "test.jsonl").write_text("\n".join(map(json.dumps, RECORDS)))
    return folder


def with_tests(source: Path, **changes: Any) -> dict[str, Any]:
    return {"decontaminate": {"files": [str(source.parent / "test.jsonl")], **changes}, "held_out": {"unit": "document", "fraction": 0.2}}


def test_the_held_out_copy_stays_and_the_others_go(tmp_path: Path, source: Path) -> None:
    stage = build(tmp_path / "run", source, **with_tests(source))
    kept = {one["url"]: one for one in rows(stage)}
    held = {url for url, one in kept.items() if one["split"] == "held-out"}
    pairs = [(f"{number:02}.txt", f"{number:02}-copy.txt") for number in range(20)]
    apart = [pair for pair in pairs if len(held & set(pair)) == 1]
    assert len(held) > 5
    for pair in pairs:
        there = set(pair) & set(kept)
        assert there == (held & set(pair) or set(pair))  # of a pair that the split parted, the training copy is gone
    everything = build(tmp_path / "all", source, **with_tests(source, on=False))
    gone = {one["url"] for one in rows(everything)} - set(kept)
    parted = {url for pair in pairs for url in pair if len({one["split"] for one in rows(everything) if one["url"] in pair}) == 2}
    assert gone == {url for url in parted if url not in held} | ({"page.txt"} - held)
    assert not apart or gone
    summary, hits = told(stage)
    assert summary["dropped"] == len(gone) and {hit["document"]["url"] for hit in hits} == gone | ({"book.txt"} - held)
    if "book.txt" not in held:
        assert LONG not in kept["book.txt"]["text"] and len(kept["book.txt"]["text"].split()) > 7800
        assert summary["cut"] == 1
    step = json.loads((stage.final / "funnel.json").read_text())["steps"][-1]
    assert step["step"] == "decontaminate" and step["documents_in"] - step["documents_out"] == len(gone)
    hit = next(hit for hit in hits if hit["test"]["file"] == "test.jsonl")
    assert hit["test"]["record"] in (1, 2) and hit["test"]["field"] == "question" and hit["test"]["text"] in (LONG, SHORT)
    assert hit["test"]["text"][:20] in hit["document"]["text"]
    if "39.txt" in held and "quotes.txt" not in held:
        assert summary["remaining"] >= 1


def test_what_remains_is_said(tmp_path: Path, source: Path) -> None:
    (tmp_path / "passages.txt").write_text(prose(39))
    stage = build(tmp_path / "run", source, decontaminate={"files": [str(tmp_path / "passages.txt")], "held_out": False}, held_out={"unit": "document"})
    summary, hits = told(stage)
    assert [hit["document"]["url"] for hit in hits] == ["39.txt"]
    (left,) = summary["strongest_remaining"]
    assert left["document"]["url"] == "quotes.txt" and 0 < left["copied"] < 0.5
    assert summary["remaining"] == 1 and summary["tests"][0]["documents_remaining"] == 1
    shared = " ".join(prose(39).split()[:20])
    assert shared in left["document"]["text"] and shared in left["test"]["text"]


def test_the_same_for_any_shards_and_any_cut(tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def result(stage: Stage) -> Any:
        return rows(stage), told(stage), json.loads((stage.final / "funnel.json").read_text())

    whole = build(tmp_path / "whole", source, **with_tests(source))
    expected = result(whole)
    monkeypatch.setattr(contamination, "BATCH_BYTES", 3_000)
    monkeypatch.setattr(pipeline, "SHARD_CHARACTERS", 20_000)
    many = build(tmp_path / "many", source, **with_tests(source))
    assert result(many) == expected and len(list(many.final.glob("part-*"))) > 3

    class Killed(BaseException):
        pass

    write = pipeline.engine.write
    parts = 0

    def killed(path: Path, *rest: Any) -> int:
        nonlocal parts
        parts += path.name.startswith("part-")
        if parts == 3:
            raise Killed
        return write(path, *rest)

    monkeypatch.setattr(pipeline.engine, "write", killed)
    with pytest.raises(Killed):
        build(tmp_path / "cut", source, **with_tests(source))
    monkeypatch.setattr(pipeline.engine, "write", write)
    assert build(tmp_path / "cut", source, **with_tests(source)).digest == many.digest


def test_a_changed_test_file_runs_the_stage_again(tmp_path: Path, source: Path) -> None:
    settings = {**with_tests(source), "held_out": {"unit": "document", "fraction": 0.03}}
    assert "page.txt" not in {one["url"] for one in rows(build(tmp_path / "run", source, **settings))}
    (tmp_path / "test.jsonl").write_text(json.dumps(RECORDS[0]))
    assert "page.txt" in {one["url"] for one in rows(build(tmp_path / "run", source, **settings))}


def test_a_text_is_not_compared_with_its_own_tail(tmp_path: Path) -> None:
    """A refrain stands in the head and in the tail: nothing is taken."""
    refrain = prose(1, 60)
    (tmp_path / "song.txt").write_text("\n\n".join(f"{prose(10 + number, 60)}\n\n{refrain}" for number in range(40)))
    stage = build(tmp_path / "run", tmp_path / "song.txt")
    assert [one["split"] for one in rows(stage)] == ["train", "held-out"]
    assert sum(one["text"].count(refrain[:60]) for one in rows(stage)) == 40
    assert told(stage)[0]["hits"] == 0


def test_when_all_or_most_is_a_copy(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for number in range(30):
        (source / f"{number:02}.txt").write_text(f"{prose(1)} {number}")
    with pytest.raises(GroundupError, match="all text to train on stands in"):
        build(tmp_path / "all", source, held_out={"unit": "document"})
    for number in range(8):
        (source / f"{number:02}.txt").write_text(prose(100 + number))
    (tmp_path / "t.txt").write_text(prose(1))
    stage = build(tmp_path / "most", source, held_out={"unit": "document"}, decontaminate={"files": [str(tmp_path / "t.txt")]})
    assert "decontamination took" in told(stage)[0]["warning"] and "decontamination took" in capsys.readouterr().err


def test_clean_text_is_left_alone(tests: AllTests) -> None:
    assert not any(places for places in tests.find([row(prose(1000 + number), number) for number in range(300)]))


@pytest.mark.slow
def test_real_text_against_real_tests(tmp_path: Path) -> None:
    """At most one document in ten thousand that has no test's text in it; benchmarks/decontaminate.py has all files and figures."""
    if DATA is None:
        pytest.skip("needs ../shared/data beside this clone")
    files = [str(DATA / "eval" / name) for name in ("TruthfulQA.csv.gz", "gsm8k_test.jsonl.gz", "mmlu_dev", "mosaic_gauntlet/world_knowledge/arc_easy.jsonl.gz")]
    tests = AllTests(Decontaminate(files=files), tmp_path)
    tests.finish()
    flagged, seen = [], 0
    for name in ("web_samples", "gov_posts_recipes_manuals", "openstax", "fortunes"):
        with pa.input_stream(str(DATA / "pretrain" / f"{name}.jsonl.zst")) as stream:
            texts = [json.loads(line)["text"] for line in stream.read().decode().split("\n") if line.strip()]
        for start in range(0, len(texts), 500):
            batch = [row(text, start + number) for number, text in enumerate(texts[start : start + 500])]
            seen += len(batch)
            flagged += [tests.about(places[0])[1] for places in tests.find(batch) if places and places[0]["hit"]]
    # a quotation that is both a test and a fortune, and questions that textbooks ask too
    known = ("That's one small step for a man", "This question refers to the following information", "What is your favorite color")
    assert seen > 20_000
    assert sum(not text.startswith(known) for text in flagged) <= seen / 10_000
