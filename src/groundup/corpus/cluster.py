"""A Ray cluster as the place where batches go through steps. The only file that imports Ray.

    a shard  --cut-->  pieces of a megabyte, a task each, on whichever node has a processor free  --in order-->  the shard's rows

A piece whose node dies is done again on another one: Ray keeps what it was made of. The driver holds no more pieces than keep
all nodes at work, so its memory does not grow with the corpus. A node whose groundup, Python or libraries are others would make
other survivors: it is refused, before the first piece and again with each.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import logging
import os
import pickle
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from groundup.errors import GroundupError
from groundup.progress import say

PIECE_BYTES = 1 << 20  # of documents a task: about a second's work, a thousand times what Ray takes to hand it out
TRIES = 20  # of a piece whose node or process died; more often it is the piece
WAIT_SECONDS = 60.0  # for a node's first answer; and between two words that no node is left
LIBRARIES = ("emoji", "ftfy", "numpy", "pyarrow", "resiliparse")  # that have a say in what the text becomes
WHERE = "corpus.engine=ray"

RecordBatchMap = Callable[[pa.RecordBatch], pa.RecordBatch]


@functools.cache
def versions() -> dict[str, str]:
    """What the survivors depend on besides the recipe, as it is in this process."""
    folder = Path(__file__).parent
    code = hashlib.blake2b(digest_size=6)
    for path in sorted(path for path in folder.rglob("*") if path.is_file() and path.suffix != ".pyc"):  # word lists and models, too
        code.update(path.read_bytes())
    found = {"python": "{}.{}".format(*sys.version_info), "groundup": importlib.metadata.version("groundup"), "groundup's code": code.hexdigest()}
    return found | {name: importlib.metadata.version(name) for name in LIBRARIES}


def _versions_there() -> dict[str, str]:
    return versions()  # a cached function is not one that Ray sends by its name


_functions: dict[bytes, RecordBatchMap] = {}


def _run(packed: Any, key: bytes, function: bytes, rows: int, wanted: dict[str, str]) -> Any:
    """On a node: a piece through a function, `rows` at a time. Raises GroundupError where the node is another than the driver."""
    _refuse(versions(), wanted)
    if key not in _functions:
        _functions[key] = pickle.loads(function)  # from our own driver
    with pa.ipc.open_stream(packed) as stream:
        batches = stream.read_all().combine_chunks().to_batches(max_chunksize=rows)
    found = [_functions[key](batch) for batch in batches]
    return _packed(found[0].schema, found)


def _packed(schema: pa.Schema, batches: list[pa.RecordBatch]) -> pa.Buffer:
    """Arrow's stream format, which takes a slice alone where pickle would take all it was cut from."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, schema) as stream:
        for batch in batches:
            stream.write_batch(batch)
    return sink.getvalue()


def _refuse(there: dict[str, str], wanted: dict[str, str], node: str = "") -> None:
    if other := [name for name in wanted if there[name] != wanted[name]]:
        raise GroundupError(
            f"a node {node or os.uname().nodename} has another {other[0]} ({there[other[0]]}, here {wanted[other[0]]})", where=WHERE,
            do="Install the same on every node, and restart Ray there.",
        )  # fmt: skip


class Cluster:
    """A connection to a cluster that runs. Raises GroundupError where there is none, or where a node is of another make."""

    def __init__(self, address: str) -> None:
        os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
        try:
            import ray
        except ImportError:
            raise GroundupError("Ray is not installed", where=WHERE, do="pip install 'groundup[cluster]', on every node.") from None
        self._ray: Any = ray
        ray._private.worker._worker_logs_enabled = False  # it would say on stdout, which is not its own, that a node has died
        terminate = signal.getsignal(signal.SIGTERM)
        try:
            found = ray._private.services.canonicalize_bootstrap_address(address) or ""  # what "auto" stands for
            host, _, port = found.rpartition(":")
            socket.create_connection((host, int(port)), 10.0).close()  # Ray itself would try for minutes
            ray.init(
                address=found, log_to_driver=False, logging_level=logging.CRITICAL, include_dashboard=False,
                runtime_env={"env_vars": {"DO_NOT_TRACK": "true", "RAY_USAGE_STATS_ENABLED": "0"}},
            )  # fmt: skip
        except (OSError, RuntimeError, ValueError) as error:
            raise GroundupError(
                f"no Ray cluster answers at '{address}' ({' '.join(str(error).split())[:200]})", where=WHERE,
                do="Run `ray start --head` here, or `ray start --address=HEAD:6379` to join one, from the same environment.",
            ) from None  # fmt: skip
        signal.signal(signal.SIGTERM, terminate)  # Ray's own would end the process without the build's last words
        self._task = ray.remote(num_cpus=1, max_retries=TRIES)(_run)
        self._wanted = versions()
        self._kept: dict[bytes, Any] = {}
        self._under_way = 0
        self._nodes = set[str]()
        try:
            self._check()
        except BaseException:
            self.close()
            raise

    def map(self, table: pa.Table, function: RecordBatchMap, rows: int) -> Iterator[pa.RecordBatch]:
        """Begin at once to take a table through a function, so many rows at a time; its results in the rows' order."""
        whole = table.combine_chunks()
        count = max(1, round(PIECE_BYTES / max(1.0, whole.nbytes / max(1, whole.num_rows)) / rows)) * rows
        packed = pickle.dumps(function)
        key = hashlib.blake2b(packed, digest_size=16).digest()
        if key not in self._kept:
            self._kept[key] = self._ray.put(packed)
        pieces = [whole.slice(start, count).to_batches() for start in range(0, whole.num_rows, count)]
        refs = [self._task.remote(_packed(table.schema, piece), key, self._kept[key], rows, self._wanted) for piece in pieces]
        self._under_way += len(refs)
        return self._in_order(refs)

    def full(self) -> bool:
        """Whether there are pieces enough under way to keep every node at work while results are taken in."""
        return self._under_way >= 2 * max(1, int(self._processors()))

    def close(self) -> None:
        """Leave the cluster, which ends this build's processes there."""
        self._ray.shutdown()

    def _in_order(self, refs: list[Any]) -> Iterator[pa.RecordBatch]:
        refs.reverse()
        while refs:
            packed = self._get(refs[-1])
            refs.pop()  # with it goes what Ray kept of the piece
            self._under_way -= 1
            with pa.ipc.open_stream(packed) as stream:
                yield from stream
        self._look()

    def _get(self, ref: Any) -> Any:
        errors = self._ray.exceptions
        while True:
            try:
                return self._ray.get(ref, timeout=WAIT_SECONDS)
            except errors.GetTimeoutError:
                self._look()
                if not self._processors():
                    say("clean: the cluster has no node left that computes; waiting for one")
            except errors.RayTaskError as error:
                if isinstance(error.cause, GroundupError):
                    raise error.cause from None
                raise GroundupError(f"a task failed on a node: {_last(error)}", where=WHERE, do="See Ray's logs there.") from error
            except errors.RayError as error:
                raise GroundupError(
                    f"a piece was lost ({type(error).__name__}: {_last(error)})", where=WHERE,
                    do="Finished shards are kept: see that the cluster is well and run the same command again.",
                ) from error  # fmt: skip

    def _processors(self) -> float:
        return float(sum(node["Resources"].get("CPU", 0.0) for node in self._alive()))

    def _alive(self) -> list[dict[str, Any]]:
        nodes: list[dict[str, Any]] = self._ray.nodes()
        return [node for node in nodes if node["Alive"]]

    def _look(self) -> None:
        """Say it where nodes have come or gone."""
        now = {node["NodeID"] for node in self._alive()}
        if lost := self._nodes - now:
            say(f"clean: {len(lost)} of the cluster's {len(self._nodes)} nodes lost; their pieces go to the others")
        if come := now - self._nodes:
            say(f"clean: {len(come)} nodes joined the cluster")
        self._nodes = now

    def _check(self) -> None:
        """Raises GroundupError for a node that cannot do this build's work."""
        ask = self._ray.remote(num_cpus=0, max_retries=0)(_versions_there)
        on = self._ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy
        nodes = self._alive()
        asked = [ask.options(scheduling_strategy=on(node["NodeID"], soft=False)).remote() for node in nodes]
        for node, ref in zip(nodes, asked, strict=True):
            name = node["NodeManagerHostname"]
            try:
                there = self._ray.get(ref, timeout=WAIT_SECONDS)
            except self._ray.exceptions.RayError as error:
                gone = self._ray.exceptions.TaskUnschedulableError, self._ray.exceptions.NodeDiedError
                if isinstance(error, gone) or node["NodeID"] not in {one["NodeID"] for one in self._alive()}:
                    continue  # it died just now: its pieces go to the others
                raise GroundupError(
                    f"node {name} cannot run groundup ({_last(error)})", where=WHERE,
                    do="Install 'groundup[cluster]' there, the same as here, and restart Ray from that environment.",
                ) from None  # fmt: skip
            _refuse(there, self._wanted, name)
        self._nodes = {node["NodeID"] for node in nodes}


def _last(error: BaseException) -> str:
    return str(error).strip().splitlines()[-1][:200] if str(error).strip() else type(error).__name__
