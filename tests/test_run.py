"""A run folder survives anything: locks, cuts at any instant, changed recipes, newer manifests."""

import json
from pathlib import Path

import pytest

from groundup import recipe as recipes
from groundup.errors import GroundupError
from groundup.run import Run, Stage

RECIPE = recipes.parse({"name": "x", "sources": [{"kind": "files", "path": "here"}]})


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run.open(tmp_path / "run", RECIPE)


def stage(run: Run, setting: int = 1, upstream: str = "a", keep: bool = False) -> Stage:
    return run.stage("bake", "cake", depends={"setting": setting}, inputs={"upstream": upstream}, keep=keep)


def bake(run: Run, text: str = "cake", **arguments: object) -> Stage:
    baked = stage(run, **arguments)  # type: ignore[arg-type]
    (baked.work / "cake.txt").write_text(text)
    baked.finish({"crumbs": 7})
    return baked


def test_a_finished_stage_is_skipped_until_what_it_depends_on_changes(run: Run) -> None:
    bake(run)
    again = stage(run)
    assert again.done and again.manifest is not None and again.manifest["counts"] == {"crumbs": 7}
    assert not stage(run, setting=2).done
    assert not stage(run, upstream="b").done
    assert (run.path / "cake" / "cake.txt").exists(), "the old result stays until the new one is whole"


def test_a_stage_that_was_cut_off_finds_its_own_work(run: Run) -> None:
    first = stage(run)
    (first.work / "shard-0").write_text("done")
    (first.work / ".shard-1.tmp").write_text("half")
    second = stage(run)
    assert not second.done
    assert (second.work / "shard-0").read_text() == "done"
    assert not (second.work / ".shard-1.tmp").exists()
    assert not (stage(run, setting=2).work / "shard-0").exists(), "work of another key is not mixed in"


def test_a_cut_between_manifest_and_rename_is_finished(run: Run) -> None:
    baked = bake(run)
    (baked.final).rename(baked.work)
    assert stage(run).done
    assert (run.path / "cake" / "cake.txt").exists() and not baked.work.exists()


def test_the_digest_follows_the_content(run: Run) -> None:
    one = bake(run, text="plain").digest
    assert bake(run, text="plain", setting=2).digest == one
    assert bake(run, text="iced", setting=3).digest != one


def test_what_took_long_is_set_aside_never_deleted(run: Run) -> None:
    first = stage(run, keep=True)
    (first.work / "model.safetensors").write_text("weeks of work")
    first.finish({})
    second = stage(run, setting=2, keep=True)
    (second.work / "model.safetensors").write_text("new")
    second.finish({})
    assert (run.path / "superseded" / "cake-000" / "model.safetensors").read_text() == "weeks of work"


def test_a_second_process_is_refused_by_name(run: Run) -> None:
    with pytest.raises(GroundupError, match=r"in use by another process \(pid \d+\)"):
        Run.open(run.path, RECIPE)
    run.close()
    Run.open(run.path, RECIPE).close()


def test_a_manifest_from_a_newer_version_is_refused(run: Run) -> None:
    path = bake(run).final / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": 99}))
    with pytest.raises(GroundupError, match="newer groundup"):
        stage(run)


def test_a_torn_log_line_is_cut_off(run: Run) -> None:
    run.log("train", step=1)
    with (run.path / "log.jsonl").open("a") as file:
        file.write('{"event": "train", "st')
    run.close()
    again = Run.open(run.path, RECIPE)
    again.log("train", step=2)
    assert [event["step"] for event in again.events("train")] == [1, 2]
