"""Commands as calls: what they print, and that they refuse what cannot be."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from groundup.commands import clean as command
from groundup.errors import RequestError


@pytest.fixture
def recipe(tmp_path: Path) -> str:
    rng = random.Random(0)
    texts = [" ".join("".join(rng.choices("abcdefgh", k=5)) for _ in range(rng.randint(15, 60))) for _ in range(60)]
    (tmp_path / "x.jsonl").write_text("\n".join(json.dumps({"text": text}) for text in texts))
    (tmp_path / "x.yaml").write_text("name: x\nsources: [{kind: files, path: x.jsonl}]\nclean: {held_out: {unit: document}}\n")
    return str(tmp_path / "x.yaml")


def test_a_preview_and_a_comparison_from_the_command_line(recipe: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs, page = tmp_path / "runs", tmp_path / "page.html"

    def clean(overrides: list[str] | None = None, **more: Any) -> str:
        command.clean(recipe, overrides, runs, **more)
        return capsys.readouterr().out

    with pytest.raises(RequestError, match="Run `groundup clean` first"):
        clean(preview=["length.min_characters=200"])
    clean()
    assert (runs / "x" / "funnel.html").is_file()
    found = json.loads(clean(preview=["length.min_characters=200", "unicode.on=false"], as_json=True, out=page))
    assert found["changes"] == {"clean.unicode.on": [True, False], "clean.length.min_characters": [100, 200]}
    assert 0 < found["newly_dropped"]["documents"] == found["now"]["documents"] - found["then"]["documents"]
    assert "what a change would do" in page.read_text()
    assert "nothing was written" in clean(preview=["length.min_characters=200"])
    clean(["clean.length.min_characters=200"], name="y")
    for said in (clean(compare="y", as_json=True, out=page), clean(compare=str(runs / "y"), as_json=True)):
        found = json.loads(said)
        assert (found["one"]["name"], found["other"]["name"]) == ("x", "y")
        assert found["one"]["documents"] > found["other"]["documents"] == found["shared_texts"]
    assert "two corpora" in page.read_text()
    assert "recipe, clean.length.min_characters: 100 | 200" in clean(compare="y")


@pytest.mark.parametrize("options", [{"preview": ["length.on=false"], "compare": "y"}, {"out": Path("x.html")}])
def test_options_that_exclude_each_other(recipe: str, tmp_path: Path, options: dict[str, Any]) -> None:
    with pytest.raises(RequestError):
        command.clean(recipe, None, tmp_path / "runs", **options)
    assert not (tmp_path / "runs").exists()
