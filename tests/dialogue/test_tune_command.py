"""`groundup tune` as a person meets it: an imported model, a method by its name, the linter, the viewer, what is wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from grounds import CONFIG, files, write_rows

from groundup import recipe as recipes
from groundup.cli import main
from groundup.commands.tune import tuned_by
from groundup.dialogue.speaker import Speaker
from groundup.models.build import build
from groundup.recipe.methods import METHODS
from groundup.run import Run, write_atomic
from groundup.tokens.tokenizer import Tokenizer
from groundup.tokens.trainers import bytes_only
from groundup.training import checkpoint
from groundup.training.optimizers import OptimizerSettings, optimizers


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """A folder with a run as `groundup import` leaves it."""
    run = Run.open(tmp_path / "runs" / "theirs", recipes.parse({"name": "theirs", "sources": [{"kind": "files", "path": str(tmp_path)}], "training": {"track": []}}))
    (run.path / "tokenizer").mkdir()
    write_atomic(run.path / "tokenizer" / "tokenizer.json", bytes_only())
    model = build(CONFIG, seed=0)
    state = {"title": "import", "tokenizer": Tokenizer(bytes_only()).digest, "settings": {}, "guard": {}}
    checkpoint.save(run.path / "checkpoints", 0, model, CONFIG, optimizers(model, OptimizerSettings()), state)
    run.close()
    return tmp_path / "runs"


def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    monkeypatch.setattr("sys.argv", ["groundup", "tune", *arguments])
    with pytest.raises(SystemExit) as end:
        main()
    captured = capsys.readouterr()
    return int(end.value.code or 0), captured.out, captured.err


def test_an_imported_model_is_tuned(runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    its = files(tmp_path / "files")
    more = [f"dialogue.pairs={json.dumps(its['pairs'])}", f"dialogue.preferences={json.dumps(its['preferences'])}", "dialogue.steps=3", "dialogue.lora={rank: 2}"]
    code, out, err = command(monkeypatch, capsys, "theirs", *more, "--runs", str(runs), "--method", "dpo", "--json")
    assert code == 0, err
    assert json.loads(out)["method"] == "dpo"
    assert sorted(path.name for path in (runs / "theirs" / "dialogue").iterdir()) == ["1-sft", "2-dpo", "manifest.json"]
    speaker = Speaker.of(runs / "theirs")
    assert speaker.path.parent.name == "2-dpo" and speaker.template is not None
    code, out, err = command(monkeypatch, capsys, "theirs", *more, "--runs", str(runs), "--method", "sft", "--json")
    assert code == 0 and json.loads(out)["method"] == "sft" and (runs / "theirs" / "superseded" / "dialogue-2-dpo-000").is_dir()


def test_lint_and_show(runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    good = write_rows(tmp_path / "good.jsonl", [{"question": "red?", "answer": "yes"}, {"question": "sea?", "answer": "no"}])
    bad = write_rows(tmp_path / "bad.jsonl", [{"question": "red?", "answer": "yes"}, {"messages": [{"role": "user", "content": "x"}]}])
    code, out, _ = command(monkeypatch, capsys, "theirs", f"dialogue.pairs=[{good}]", "--runs", str(runs), "--lint", "--show", "1")
    assert code == 0 and "⟦yes<|end_of_turn|>⟧" in out and "⟦no" not in out and "nothing wrong found" in out
    code, out, err = command(monkeypatch, capsys, "theirs", f"dialogue.pairs=[{good}, {bad}]", "--runs", str(runs), "--lint", "--json")
    assert code == 1 and "not in order" in err
    found = json.loads(out)
    assert not found[good]["failed"] and found[bad]["failed"] and found[bad]["findings"][0]["row"] == 2
    pairs = files(tmp_path / "files")["preferences"][0]
    code, out, _ = command(monkeypatch, capsys, "theirs", f"dialogue.preferences=[{pairs}]", f"dialogue.pairs=[{good}]", "--runs", str(runs), "--method", "dpo", "--lint", "--json")
    assert code == 0 and json.loads(out)[pairs]["conversations"] == 120
    worse = write_rows(tmp_path / "worse.jsonl", [{"prompt": "a", "chosen": "", "rejected": "b"}, {"prompt": "a", "chosen": "b", "rejected": "c"}, {"prompt": "a", "chosen": "b"}])
    code, out, _ = command(monkeypatch, capsys, "theirs", f"dialogue.preferences=[{worse}]", f"dialogue.pairs=[{good}]", "--runs", str(runs), "--method", "dpo", "--lint", "--json")
    assert code == 1 and [(one["rule"], one["row"]) for one in json.loads(out)[worse]["findings"]] == [("blank", 1), ("row", 3)]
    labels = write_rows(tmp_path / "labels.jsonl", [{"prompt": "a", "answer": "b", "good": True}, {"prompt": "a", "answer": "c", "good": False}, {"prompt": "a", "answer": "d"}])
    code, out, _ = command(monkeypatch, capsys, "theirs", f"dialogue.preferences=[{labels}]", f"dialogue.pairs=[{good}]", "--runs", str(runs), "--method", "kto", "--lint", "--json")
    assert code == 1 and json.loads(out)[labels]["conversations"] == 2 and [(one["rule"], one["row"]) for one in json.loads(out)[labels]["findings"]] == [("row", 3)]
    assert not (runs / "theirs" / "dialogue").exists()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["theirs", "--method", "x"], "no method 'x'"), (["theirs"], "no dialogue section"), (["theirs", "--lint"], "no dialogue section"), (["nowhere"], "no such recipe"),
        (["theirs", "dialogue.pairs=[nowhere.jsonl]"], "no such file"), (["theirs", "dialogue.stages=[sfd]"], "does not match any of the expected tags"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_one_line(runs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str], says: str) -> None:
    code, out, err = command(monkeypatch, capsys, *arguments, "--runs", str(runs))
    assert code == 2 and says in err and "Traceback" not in err and out == ""


def test_a_method_brings_what_it_builds_on() -> None:
    plain = recipes.parse({"name": "r", "sources": [{"kind": "files", "path": "x"}]})
    chains = {method: [stage.method for stage in tuned_by(plain, method).dialogue.stages] for method in METHODS}  # type: ignore[union-attr]
    assert chains["ppo"] == ["sft", "reward", "ppo"] and chains["lima"] == ["lima"] and chains["orpo"] == ["orpo"] and chains["grpo"] == ["sft", "grpo"]
    own = recipes.parse({"name": "r", "sources": [{"kind": "files", "path": "x"}], "dialogue": {"stages": ["lima", {"method": "dpo", "beta": 0.5}, "ppo"]}})
    cut = tuned_by(own, "dpo").dialogue
    assert cut is not None and [stage.method for stage in cut.stages] == ["lima", "dpo"] and cut.stages[1].beta == 0.5  # type: ignore[union-attr]
    for name in ("lima", "openchat"):
        path = recipes.shipped(name)
        assert path is not None and recipes.load(path).dialogue.stages[0].method == name  # type: ignore[union-attr]
    listed = recipes.parse({"name": "r", "sources": [{"kind": "files", "path": "x"}], "dialogue": ["sft", "reward", "ppo"]}, ["dialogue.steps=7"])
    assert listed.dialogue is not None and listed.dialogue.steps == 7
    assert [stage.method for stage in listed.dialogue.stages] == ["sft", "reward", "ppo"]  # type: ignore[union-attr]
    assert recipes.parse(yaml.safe_load(recipes.dump(listed))) == listed
