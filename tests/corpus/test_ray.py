"""Cleaning on a Ray cluster: the same bytes as here, whatever dies on the way."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from groundup import recipe as recipes
from groundup.corpus import engine, pipeline
from groundup.corpus.chain import Chain, Named
from groundup.corpus.collect import collect
from groundup.corpus.document import SCHEMA, Document
from groundup.corpus.pipeline import clean
from groundup.corpus.steps.perplexity import Perplexity
from groundup.corpus.workers import Guarded, StepError
from groundup.errors import GroundupError
from groundup.recipe.corpus import Corpus
from groundup.run import Run, Stage, digest_folder

pytest.importorskip("ray", reason="Ray is not installed (pip install 'groundup[cluster]')")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

SHARD_CHARACTERS = 100_000
CLEANING: dict[str, Any] = {"gopher_quality": {"on": True}, "gopher_repetition": {"on": True}, "duplicates": {"paragraphs": True, "near": {"on": True}}}
WORDS = "the of and to in is that it was for on with as be at by this had not are but from or have an they which one were all we when there can more if no said who so what up out about into them".split()


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One and a half megabytes: pages and texts with copies, near copies, another language and broken characters among them."""
    rng = random.Random(0)
    folder = tmp_path_factory.mktemp("source")
    vocabulary = WORDS * 4 + ["".join(rng.choices("abcdefghijklmnoprst", k=rng.randint(3, 9))) for _ in range(3000)]

    def paragraph() -> str:
        return "\n".join((" ".join(rng.choices(vocabulary, k=rng.randint(8, 20))).capitalize() + ".") for _ in range(rng.randint(2, 5)))

    written: list[str] = []
    for number in range(500):
        if number % 9 == 8:  # a near copy: one word more
            text = written[rng.randrange(len(written))] + " again"
        else:
            text = "\n\n".join(paragraph() for _ in range(rng.randint(2, 12)))
        written.append(text)
        if number % 3 == 0:
            blocks = "".join(f"<p>{block}</p>" for block in text.split("\n\n"))
            (folder / f"{number:04}.html").write_text(f"<html><head><title>x</title></head><body><nav>Home | News</nav><article>{blocks}</article></body></html>")
        elif number % 7 == 0:
            (folder / f"{number:04}.txt").write_text(text.replace("'", "â€™") + "\nDies ist ein Satz auf Deutsch, der nichts sagt. " * 60)
        else:
            (folder / f"{number:04}.txt").write_text(text)
    return folder


@contextmanager
def cluster() -> Iterator[Any]:
    """Two nodes on loopback; the first one has the head."""
    from ray.cluster_utils import Cluster

    folder = tempfile.mkdtemp(prefix="gu-ray-", dir="/tmp")  # a socket's path has 107 characters at most
    Path(folder, "ray").mkdir()
    nodes = Cluster()
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("RAY_TMPDIR", folder)  # where Ray notes the address of the cluster that `auto` means: not that of a real one
            nodes.add_node(num_cpus=1, object_store_memory=100 << 20, include_dashboard=False, temp_dir=folder)
            nodes.add_node(num_cpus=1, object_store_memory=100 << 20)
            yield nodes
    finally:
        nodes.shutdown()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with cluster() as nodes:
        yield nodes.address


def build(folder: Path, source: Path, address: str | None = None, **settings: Any) -> Stage:
    corpus = {"engine": "ray", "address": address} if address else {}
    recipe = recipes.parse({"name": "x", "sources": [{"kind": "files", "path": str(source)}], "corpus": corpus, "clean": {**CLEANING, **settings}})
    run = Run.open(folder, recipe)
    try:
        return clean(run, collect(run))
    finally:
        run.close()


@pytest.fixture(scope="module", autouse=True)
def small() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline, "SHARD_CHARACTERS", SHARD_CHARACTERS)
        yield


@pytest.fixture(scope="module")
def native(small: None, tmp_path_factory: pytest.TempPathFactory, source: Path) -> Path:
    """The folder `corpus` as this machine alone makes it."""
    return build(tmp_path_factory.mktemp("native"), source).final.parent


def assert_same(corpus: Path, native: Path) -> None:
    """What was kept and what each step did are the same files, but for the manifest's seconds."""
    assert digest_folder(corpus / "clean") == digest_folder(native / "clean")
    for name in ("clean", "steps"):
        ours, theirs = ({path.relative_to(folder / name): path.read_bytes() for path in (folder / name).rglob("*") if path.is_file() and path.name != "manifest.json"} for folder in (corpus, native))
        assert ours.keys() == theirs.keys() and len(list((corpus / "clean").glob("part-*"))) > 8
        assert [path for path in ours if ours[path] != theirs[path]] == []


def when(folder: Path, shards: int, act: Callable[[], object]) -> threading.Thread:
    """Do something as soon as so many shards are written."""

    def wait() -> None:
        while len(list(folder.glob("corpus/steps/documents-*/*.json"))) < shards:
            time.sleep(0.01)
        act()

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    return thread


def test_a_cluster_makes_the_same_files(tmp_path: Path, source: Path, native: Path, address: str, capfd: pytest.CaptureFixture[str]) -> None:
    capfd.readouterr()
    stage = build(tmp_path / "ray", source, address)
    out, err = capfd.readouterr()
    assert_same(stage.final.parent, native)
    assert out == "" and "ray" not in err.lower(), (out, err)
    again = build(tmp_path / "ray", source)  # where it is made is not what is made: nothing is done anew
    assert again.digest == stage.digest and (again.final / "manifest.json").stat().st_mtime_ns == (stage.final / "manifest.json").stat().st_mtime_ns


def test_a_node_is_killed(tmp_path: Path, source: Path, native: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with cluster() as nodes:
        killer = when(tmp_path / "ray", 3, lambda: nodes.remove_node(nodes.worker_nodes.copy().pop(), allow_graceful=False))
        stage = build(tmp_path / "ray", source, nodes.address)
        killer.join()
    assert_same(stage.final.parent, native)
    out, err = capfd.readouterr()
    assert out == "" and "1 of the cluster's 2 nodes lost" in err


SCRIPT = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[4])
import test_ray
test_ray.pipeline.SHARD_CHARACTERS = test_ray.SHARD_CHARACTERS
test_ray.build(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
"""


def test_the_driver_is_killed(tmp_path: Path, source: Path, native: Path, address: str) -> None:
    folder = tmp_path / "ray"
    for shards in (2, 7):
        process = subprocess.Popen([sys.executable, "-c", SCRIPT, str(folder), str(source), address, str(Path(__file__).parent)])
        when(folder, shards, partial(process.send_signal, signal.SIGKILL)).join()
        assert process.wait(60) == -signal.SIGKILL
        assert not (folder / "corpus" / "clean").exists()
    assert_same(build(folder, source, address).final.parent, native)


def test_a_chain_that_cannot_begin_is_the_same_error(tmp_path: Path, address: str) -> None:
    chain = Chain([Named("perplexity", Perplexity(tmp_path / "nowhere", 1.0), {})], 0)
    table = pa.Table.from_pylist([Document("s", "x", "some text", "u").row()], SCHEMA)
    with engine.on(Corpus(engine="ray", address=address)), pytest.raises(StepError, match="nowhere"):
        list(engine.map_table(table, Guarded(chain, 1.0), chain.schema))


@pytest.mark.parametrize("address", ["127.0.0.1:9", "auto", "nonsense"])
def test_no_cluster(tmp_path: Path, source: Path, address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:9")
    with pytest.raises(GroundupError, match=rf"no Ray cluster answers at '{address}'.*ray start --head"):
        build(tmp_path / "ray", source, address)


def test_no_ray(tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(GroundupError, match=r"Ray is not installed. pip install 'groundup\[cluster\]'"):
        build(tmp_path / "ray", source, "auto")


@pytest.mark.parametrize(("there", "words"), [
    ("raise ImportError('no groundup here')", "cannot run groundup .*no groundup here"), ("", "has another groundup's code"),
])  # fmt: skip
def test_a_node_of_another_make_is_refused(tmp_path: Path, source: Path, there: str, words: str) -> None:
    package = tmp_path / "there" / "groundup"
    shutil.copytree(Path(pipeline.__file__).parents[1], package, ignore=shutil.ignore_patterns("__pycache__"))
    (package / ("__init__.py" if there else "corpus/store.py")).write_text(there)
    with cluster() as nodes:
        nodes.add_node(num_cpus=1, object_store_memory=100 << 20, env_vars={"PYTHONPATH": str(package.parent), **os.environ})
        with pytest.raises(GroundupError, match=words):
            build(tmp_path / "ray", source, nodes.address)
