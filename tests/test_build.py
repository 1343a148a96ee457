"""Whole builds through the command line, as a user runs them."""

from __future__ import annotations

import gzip
import json
import math
import os
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from groundup.commands.perplexity import perplexity
from groundup.errors import RequestError
from groundup.tokens.documents import texts
from groundup.tokens.tokenizer import Tokenizer
from groundup.training import checkpoint

WORDS = (
    "river stone night lantern harbour captain letter garden winter voice silver window forest morning bread horse "
    "market thunder shadow candle ocean bridge feather copper meadow whisper hollow tower"
).split()
SMALL = [
    "model.layers=2", "model.width=32", "model.heads=2", "model.context=64", "training.batch_tokens=256",
    "tokens.vocabulary=380", "evaluation.quiz_questions=0",
]  # fmt: skip


def story(number: int) -> str:
    draw = random.Random(number)
    lines = [f"The {draw.choice(WORDS)} and the {draw.choice(WORDS)} met by the {draw.choice(WORDS)}, said {draw.choice(WORDS)}." for _ in range(25)]
    return f"Story {number}\n\n" + "\n".join(lines)


def groundup(*arguments: str, cwd: Path, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run the command in a process of its own, on one thread."""
    return subprocess.run(command(*arguments), cwd=cwd, env=environment(), capture_output=True, text=True, timeout=240, **options)


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "groundup.cli", *arguments]


def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "TERM": "dumb"}


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of small texts, and pairs to tune on."""
    folder = tmp_path_factory.mktemp("library")
    texts = folder / "texts"
    texts.mkdir()
    for number in range(60):
        (texts / f"{number:02d}.txt").write_text(story(number))
    pairs = [{"question": f"Who met in story {n}?", "answer": f"The {WORDS[n % 28]} and the {WORDS[n % 13]}."} for n in range(40)]
    (folder / "pairs.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    (folder / "recipe.yaml").write_text(
        "name: small\nsources: [{kind: files, path: texts}]\n"
        "training: {steps: 60, evaluations: 3, checkpoint_seconds: 0.5}\n"
        "dialogue: {pairs: [pairs.jsonl], steps: 30, questions: ['Who met in story 3?']}\n"
    )
    return folder


@pytest.fixture(scope="module")
def finished(library: Path) -> tuple[Path, dict[str, Any], float]:
    """An undisturbed build: its run folder, its figures, its seconds."""
    start = time.monotonic()
    done = groundup("build", "recipe.yaml", *SMALL, "--json", "--runs", "whole", cwd=library)
    assert done.returncode == 0, done.stderr
    return library / "whole" / "small", json.loads(done.stdout), time.monotonic() - start


def contents(run: Path) -> dict[str, bytes]:
    """Every file of a finished run whose content may not depend on how it came about."""
    left = ("manifest.json", "log.jsonl", ".lock", "report.html", "funnel.html", "plan.json")
    files = [path for path in sorted(run.rglob("*")) if path.is_file() and path.name not in left and path.parts[-3] != "tensorboard"]
    return {str(path.relative_to(run)): path.read_bytes() for path in files}


def test_a_folder_becomes_a_model_with_a_report(finished: tuple[Path, dict[str, Any], float]) -> None:
    run, figures, _ = finished
    assert 0 < figures["bits_per_byte"] < 8
    assert 0 < figures["baselines"]["ngram5_kneser_ney_bits_per_byte"] < 8
    assert figures["steps"] == 60
    assert (run / "report.html").stat().st_size > 10_000
    assert {path.name for path in (run / "checkpoints").glob("step-*")} == {"step-0000054", "step-0000060"}
    assert not [path for path in run.rglob("*") if path.name.startswith(".") and path.name != ".lock"]


def test_the_same_command_again_does_nothing(library: Path, finished: tuple[Path, dict[str, Any], float]) -> None:
    run, figures, _ = finished
    before = contents(run)
    done = groundup("build", "recipe.yaml", *SMALL, "--json", "--runs", "whole", cwd=library)
    again = json.loads(done.stdout)
    assert again["bits_per_byte"] == figures["bits_per_byte"]
    assert contents(run) == before
    assert "pretrain" not in done.stderr


@pytest.mark.slow
def test_killed_at_five_moments_it_ends_in_the_same_bits(library: Path, finished: tuple[Path, dict[str, Any], float]) -> None:
    """Each kill is of a new build at another moment, the last two of one build; then the same command finishes it."""
    run, _, seconds = finished
    expected = contents(run)
    stages: list[str] = []
    draw = random.Random(7)
    for number, moments in enumerate([[0.30], [0.55], [0.70], [0.45, 0.5]]):
        arguments = ("build", "recipe.yaml", *SMALL, "--runs", f"killed-{number}")
        for moment in moments:
            process = subprocess.Popen(command(*arguments), cwd=library, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
            time.sleep(seconds * (moment + draw.uniform(-0.05, 0.05)))
            process.kill()
            process.communicate()
            killed = library / f"killed-{number}" / "small"
            stages += [path.name for path in killed.rglob(".*.partial")]
        done = groundup(*arguments, cwd=library)
        assert done.returncode == 0, done.stderr
        found = contents(library / f"killed-{number}" / "small")
        assert found.keys() == expected.keys()
        assert [name for name in expected if found[name] != expected[name]] == []
    assert stages, "no kill hit a stage at work: the moments are wrong"


def test_generate_and_chat_answer(library: Path, finished: tuple[Path, dict[str, Any], float]) -> None:
    run, _, _ = finished
    done = groundup("generate", str(run), "Who met?", "--n", "2", "--max-tokens", "8", "--json", cwd=library)
    completions = json.loads(done.stdout)["completions"]
    assert len(completions) == 2 and all(0 < one["tokens"] <= 8 or one["finish_reason"] == "stop" for one in completions)
    base = groundup("generate", "small", "The river", "--base", "--temperature", "0", "--max-tokens", "5", "--runs", "whole", cwd=library)
    assert base.stdout.startswith("The river")
    talk = groundup("chat", str(run), "--max-tokens", "6", cwd=library, input="Who met in story 3?\n/reset\nAnd 4?\n/quit\n")
    assert talk.returncode == 0 and len(talk.stdout.splitlines()) >= 2


def test_report_prints_the_figures_of_a_finished_build(library: Path, finished: tuple[Path, dict[str, Any], float]) -> None:
    run, figures, _ = finished
    assert json.loads(groundup("report", str(run), "--json", cwd=library).stdout)["bits_per_byte"] == figures["bits_per_byte"]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("build", "nowhere"), 2, "no such recipe or folder"),
        (("build", "recipe.yaml", "training.stpes=3"), 2, "nearest known key is 'steps'"),
        (("build", "recipe.yaml", "model.width=33", "model.heads=2", "model.layers=1", "--name", "odd"), 2, "width 33 is not divisible"),
        (("build", "recipe.yaml", *SMALL, "tokens.vocabulary=60000", "--name", "large"), 1, "larger than"),
        (("build", "recipe.yaml", *SMALL, "model.context=2000000", "training.batch_tokens=2000000", "--name", "long"), 1, "shorter than one context"),
        (("build", "recipe.yaml", "clean.length.min_characters=100000", "--name", "none"), 1, "no document"),
        (("build", "recipe.yaml", "dialogue.pairs=[gone.jsonl]", "--name", "untaught"), 2, "gone.jsonl: no such file"),
        (("build", "recipe.yaml", "dialogue.stages=[sft, dpo]", "--name", "unpaired"), 2, "dpo has nothing to learn from"),
        (("generate", "nowhere", "x"), 2, "no run here"),
        (("build",), 2, "Missing argument"),
        (("report", "texts"), 2, "no run here"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_a_wrong_request_gets_one_clear_line(library: Path, arguments: tuple[str, ...], code: int, words: str) -> None:
    done = groundup(*arguments, cwd=library)
    assert done.returncode == code, done.stderr
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    if "dialogue" in arguments[-3:][0]:  # what tuning lacks is said before anything is collected
        assert not (library / "runs" / arguments[-1] / "corpus").exists()


def test_a_run_in_use_is_refused(library: Path, finished: tuple[Path, dict[str, Any], float]) -> None:
    import fcntl

    run, _, _ = finished
    with (run / ".lock").open("a+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = groundup("build", "recipe.yaml", *SMALL, "--runs", "whole", cwd=library)
    assert done.returncode == 1 and "in use by another process" in done.stderr


def test_sigterm_saves_and_says_how_to_go_on(library: Path, finished: tuple[Path, dict[str, Any], float]) -> None:
    expected = contents(finished[0])
    arguments = ("build", "recipe.yaml", *SMALL, "--runs", "terminated")
    process = subprocess.Popen(command(*arguments), cwd=library, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    log = library / "terminated" / "small" / "log.jsonl"
    while not (log.is_file() and '"stage": "pretrain", "key"' in log.read_text()):
        assert process.poll() is None
        time.sleep(0.05)
    process.terminate()
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert "stopped and saved at step" in err and "The same command goes on" in err
    assert groundup(*arguments, cwd=library).returncode == 0
    found = contents(library / "terminated" / "small")
    assert [name for name in expected if found.get(name) != expected[name]] == []


def test_bad_files_are_listed_and_harm_nothing(library: Path, tmp_path: Path) -> None:
    texts = tmp_path / "mixed"
    (texts / "deep" / "er").mkdir(parents=True)
    for number in range(30):
        (texts / "deep" / f"{number}.txt").write_text(story(number))
    whole = gzip.compress("".join(json.dumps({"text": story(n)}) + "\n" for n in range(100, 130)).encode())
    (texts / "cut.jsonl.gz").write_bytes(whole[: len(whole) * 2 // 3])
    (texts / "empty.txt").write_bytes(b"")
    (texts / "binary.txt").write_bytes(bytes(range(256)) * 40)
    (texts / "latin.txt").write_bytes(("Il était une fois à la forêt, où l'âne rêvait.\n" * 20).encode("latin-1"))
    (texts / "line.txt").write_text(" ".join(random.Random(1).choices(WORDS, k=400_000)))
    (texts / "broken.txt").symlink_to(texts / "nothing")
    (texts / "secret.txt").write_text(story(3))
    (texts / "secret.txt").chmod(0)
    done = groundup("clean", str(texts), "--runs", str(tmp_path), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    funnel = json.loads((tmp_path / "mixed" / "corpus" / "clean" / "funnel.json").read_text())
    listed = {entry["name"]: json.dumps(entry) for entry in [*funnel["skipped"], *funnel["notes"]]}
    for name in ("cut.jsonl.gz", "empty.txt", "binary.txt", "latin.txt", "line.txt", "broken.txt", "secret.txt"):
        assert any(name in key for key in listed), f"{name} is not in the funnel: {sorted(listed)}"


@pytest.mark.slow
def test_a_full_disk_is_named_and_loses_nothing(library: Path, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=700k", "tmpfs", str(disk)], capture_output=True, check=False).returncode:
        pytest.skip("needs the right to mount a small file system")
    try:
        arguments = ("pretrain", "recipe.yaml", *SMALL, "model.width=128", "--runs", str(disk))
        full = groundup(*arguments, cwd=library)
        assert full.returncode == 1 and "the disk is full" in full.stderr and "Traceback" not in full.stderr
        subprocess.run(["mount", "-o", "remount,size=60m", str(disk)], check=True)
        done = groundup(*arguments, cwd=library)
        assert done.returncode == 0, done.stderr
        assert "tokenizer:" not in done.stderr, "what was finished before is not done again"
        assert not [path for path in (disk / "small").rglob(".*") if path.name != ".lock"]
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_plan_tells_the_settings_and_draws_the_schedule(library: Path, finished: tuple[Path, dict[str, Any], float]) -> None:
    done = groundup("plan", "recipe.yaml", *SMALL, "--json", "--runs", "whole", cwd=library)
    planned = json.loads(done.stdout)
    assert planned["steps"] == 60 and planned["batch_tokens"] == 256 and planned["reasons"]
    drawn = groundup("plan", "recipe.yaml", "training.schedule=wsd", "--schedule", "--out", "schedule.png", cwd=library)
    assert drawn.returncode == 0 and "peak |" in drawn.stdout and "end of the run" in drawn.stdout
    assert (library / "schedule.png").read_bytes().startswith(b"\x89PNG")
    wrong = groundup("plan", "recipe.yaml", "training.schedule=wsd", "training.cooldown=1", "--schedule", cwd=library)
    assert wrong.returncode == 2 and "warmup and cooldown together" in wrong.stderr


@pytest.mark.slow
def test_the_fast_family_with_muon_and_phases_goes_the_whole_way(library: Path) -> None:
    """Trained in two phases with averaged weights, tuned, measured and talked to."""
    small = [one for one in SMALL if not one.startswith("training.batch_tokens")]
    fast = (
        *small, "model.family=fast", "model.ngram_rows=[500,300]", "training.optimizer=muon", "training.ema=0.9", "name=fast",
        'training.phases=[{"until":0.5,"batch_tokens":128,"context":32},{"until":1.0,"batch_tokens":256}]',
    )  # fmt: skip
    done = groundup("build", "recipe.yaml", *fast, "--json", "--runs", "quick", cwd=library)
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)
    assert 0 < figures["bits_per_byte"] < figures["baselines"]["xz9_bits_per_byte"]
    said = groundup("generate", "fast", "Who met in story 3?", "--max-tokens", "8", "--json", "--runs", "quick", cwd=library)
    assert json.loads(said.stdout)["completions"][0]["tokens"] > 0


def test_perplexity_of_its_own_text_is_the_report_s_and_that_of_a_plain_loop(
    finished: tuple[Path, dict[str, Any], float], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, figures, _ = finished
    page = tmp_path / "page.html"
    done = groundup("perplexity", str(run), "--by", "source", "--baselines", "--out", str(page), "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["bits_per_byte"] == pytest.approx(figures["bits_per_byte"], abs=1e-6)
    assert found["baselines"] == figures["baselines"] and list(found["groups"]) == ["files"]
    assert "what surprised the model" in page.read_text()
    perplexity(str(run), stride=1, as_json=True)
    full = json.loads(capsys.readouterr().out)
    words = Tokenizer.load(run / "tokenizer")
    newest, _ = checkpoint.of_run(run, base=True)
    model = checkpoint.load_model(newest, words.digest)
    nats = size = 0.0
    with torch.no_grad():
        for text in texts(run / "corpus/clean", "held-out"):
            read = [words.special["<|end_of_text|>"], *words.encode(text)]
            size += len(text.encode())
            for place in range(1, len(read)):
                before = torch.tensor([read[max(0, place - 64) : place]])
                nats -= float(model(before, torch.arange(before.shape[1])[None], None)[0, -1].double().log_softmax(-1)[read[place]])
    assert full["bits_per_byte"] == pytest.approx(nats / math.log(2) / size, abs=1e-6)
    perplexity(str(run), [run.parent.parent / "texts"], by="source", tuned=True)
    said = capsys.readouterr().out
    assert "60 documents" in said and "per token" in said and "and 20 more" in said
    for options, why in (
        ({"split": "x"}, "split"), ({"by": "x"}, "source or domain"), ({"context": 65}, "64 tokens"), ({"stride": 65}, "leaving"),
        ({"out": tmp_path / "x.png"}, ".html"), ({"paths": [tmp_path / "x.txt"]}, "no such file"),
    ):  # fmt: skip
        with pytest.raises(RequestError, match=why):
            perplexity(str(run), **options)  # type: ignore[arg-type]
