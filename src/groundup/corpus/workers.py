"""Chains of steps in processes of their own, which can be killed: a document that hangs or crashes one is set aside alone.

    this process, a thread a batch   --batch-->   a worker:  step, step, step   --batch-->
                                     <--place--   shared memory: which step it is in, which row it has come to

Whoever waits looks at the place. If it stays the same while the worker uses up the document's limit of processor time, the
worker is killed, the batch is given to a new one, and the row is dropped by that step before it gets it. Processor time, so that
a busy machine drops no more than an idle one. A worker that dies is started again once: what kills two is the document.

Workers serve any chain, and stay for the next stage.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import pickle
import resource
import select
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import IO, Any

import psutil
import pyarrow as pa

from groundup.corpus import steps
from groundup.corpus.chain import Chain
from groundup.errors import GroundupError

TOO_LONG, CRASHED = "over the time limit", "crashed its worker"
SLEEPING = 10  # times the limit in wall time, for what waits without working
LARGEST = 2 << 30  # resident bytes after which an idle worker is replaced: some libraries never give back what they took
PLACE = struct.Struct("<qii")  # documents begun, step, row
LENGTH = struct.Struct("<cQ")


class StepError(GroundupError):
    """A step failed as a whole: its settings or its files are wrong, not a document."""


@dataclass
class Guarded:
    """A chain as a map over batches, run in workers. Raises StepError where the chain itself fails."""

    chain: Chain
    seconds: float
    """Processor time that one step may take for one document."""
    _packed: bytes = field(default=b"", repr=False)
    _key: bytes = field(default=b"", repr=False)

    def __post_init__(self) -> None:
        self._packed = pickle.dumps(self.chain)
        self._key = hashlib.blake2b(self._packed, digest_size=16).digest()

    def warm(self, count: int) -> None:
        """Start so many workers and have them load the chain, while the first batches are read."""
        workers = [POOL.take() for _ in range(count)]
        for worker in workers:
            with suppress(BrokenPipeError):  # it ended at once: its first batch will say so
                worker.know(self._key, self._packed)
            POOL.give_back(worker)

    def __call__(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        quarantined: dict[int, tuple[int, str]] = {}
        died: tuple[int, int] | None = None
        while True:
            worker = POOL.take()
            try:
                found = worker.run(self._key, self._packed, batch, quarantined, self.seconds)
            except _Died as death:
                worker.stop()
                if death.row < 0 and died == (death.step, death.row):
                    raise StepError(f"its worker process died twice ({death.words or 'no word'})", where="clean", do="See the lines above.") from None
                if died == (death.step, death.row):
                    quarantined[death.row] = (death.step, CRASHED)
                died = (death.step, death.row)
            except _Stuck as stuck:
                worker.stop()
                quarantined[stuck.row] = (stuck.step, TOO_LONG)
            except BaseException:
                worker.stop()
                raise
            else:
                POOL.give_back(worker)
                return found


class _Stuck(Exception):
    def __init__(self, step: int, row: int) -> None:
        self.step, self.row = step, row


class _Died(_Stuck):
    def __init__(self, step: int, row: int, words: str) -> None:
        super().__init__(step, row)
        self.words = words


class Worker:
    """A child process and what it shares with us."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115  (open as long as the worker is)
        self._file.truncate(PLACE.size)
        self._place = mmap.mmap(self._file.fileno(), PLACE.size)
        self._chains: set[bytes] = set()
        paths = os.pathsep.join(path for path in sys.path if path)  # what this process can import, a user's functions too
        self._process = subprocess.Popen(
            [sys.executable, "-m", "groundup.corpus.workers", str(self._file.fileno())], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            pass_fds=[self._file.fileno()], env={**os.environ, "PYTHONPATH": paths},
        )  # fmt: skip
        assert self._process.stdin is not None and self._process.stdout is not None
        self._to, self._from = self._process.stdin, self._process.stdout
        self._known = psutil.Process(self._process.pid)

    def run(self, key: bytes, packed: bytes, batch: pa.RecordBatch, quarantined: dict[int, tuple[int, str]], seconds: float) -> pa.RecordBatch:
        """One batch through a chain. Raises _Stuck, _Died, StepError."""
        self._place[:] = PLACE.pack(0, -1, -1)
        try:
            self.know(key, packed)
            head = pickle.dumps((key, quarantined))
            _send(self._to, b"B", LENGTH.pack(b"H", len(head)) + head + _packed(batch))
            kind, answer = self._answer(seconds)
        except (BrokenPipeError, EOFError):
            _, step, row = PLACE.unpack(self._place[:])
            raise _Died(step, row, f"exit code {self._process.wait()}") from None
        if kind == b"E":
            what, where, do = pickle.loads(answer)  # from our own child
            raise StepError(what, where=where, do=do)
        with pa.ipc.open_stream(answer) as stream:
            return stream.read_next_batch()

    def know(self, key: bytes, packed: bytes) -> None:
        """Give it a chain that it does not have yet."""
        if key not in self._chains:
            _send(self._to, b"C", packed)
            self._chains.add(key)

    def _answer(self, seconds: float) -> tuple[bytes, bytes]:
        before, began, used = None, time.monotonic(), 0.0
        while not select.select([self._from], [], [], min(1.0, seconds / 4))[0]:
            place = PLACE.unpack(self._place[:])
            spent = self._spent()
            if place != before:
                before, began, used = place, time.monotonic(), spent
            elif place[2] >= 0 and (spent - used > seconds or time.monotonic() - began > SLEEPING * seconds):
                raise _Stuck(place[1], place[2])
        return _receive(self._from)

    def _spent(self) -> float:
        try:
            times = self._known.cpu_times()
        except psutil.Error:
            return 0.0  # it is gone, which its pipe says
        return float(times.user + times.system)

    def large(self) -> bool:
        """Whether it holds more memory than a fresh one should."""
        try:
            return bool(self._known.memory_info().rss > LARGEST)
        except psutil.Error:
            return True

    def stop(self) -> None:
        """End it now."""
        self._process.kill()
        self._process.wait()
        for stream in (self._to, self._from, self._file):
            with suppress(BrokenPipeError):
                stream.close()
        self._place.close()


class Pool:
    """Idle workers; as many are made as batches are under way at once."""

    def __init__(self, make: Callable[[], Worker] = Worker) -> None:
        self._make, self._idle, self._lock = make, list[Worker](), threading.Lock()

    def take(self) -> Worker:
        """An idle worker, or a new one."""
        with self._lock:
            if self._idle:
                return self._idle.pop()
        return self._make()

    def give_back(self, worker: Worker) -> None:
        """Keep a worker for the next batch."""
        if worker.large():
            worker.stop()
            return
        with self._lock:
            self._idle.append(worker)


POOL = Pool()


def _packed(batch: pa.RecordBatch) -> pa.Buffer:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as stream:
        stream.write_batch(batch)
    return sink.getvalue()


def _send(stream: IO[bytes], kind: bytes, *parts: Any) -> None:
    stream.write(LENGTH.pack(kind, sum(len(part) for part in parts)))
    for part in parts:
        stream.write(part)
    stream.flush()


def _receive(stream: IO[bytes]) -> tuple[bytes, bytes]:
    head = stream.read(LENGTH.size)
    if len(head) < LENGTH.size:
        raise EOFError
    kind, length = LENGTH.unpack(head)
    found = stream.read(length)
    if len(found) < length:
        raise EOFError
    return kind, found


def serve(place: mmap.mmap, source: IO[bytes], sink: IO[bytes]) -> None:
    """A worker's life: chains and batches in, batches out, until the pipe closes."""
    chains: dict[bytes, Chain] = {}
    begun = current = 0

    def come_to(step: int) -> None:
        nonlocal current
        current = step
        place[:] = PLACE.pack(begun, step, -1)

    def at(row: int) -> None:
        nonlocal begun
        begun += 1
        place[:] = PLACE.pack(begun, current, row)

    steps.at = at
    while True:
        try:
            kind, message = _receive(source)
        except EOFError:
            return
        try:
            if kind == b"C":
                chain: Chain = pickle.loads(message)
                chain.prepare()
                chains[hashlib.blake2b(message, digest_size=16).digest()] = chain
                continue
            length = LENGTH.unpack(message[: LENGTH.size])[1]
            key, quarantined = pickle.loads(message[LENGTH.size : LENGTH.size + length])
            if key not in chains:
                continue  # its preparation failed, and that is the answer already given
            with pa.ipc.open_stream(pa.py_buffer(message).slice(LENGTH.size + length)) as stream:
                batch = stream.read_next_batch()
            _send(sink, b"R", _packed(chains[key](batch, quarantined, come_to)))
        except Exception as error:
            what = (error.what, error.where, error.do) if isinstance(error, GroundupError) else (f"{type(error).__name__}: {error}", "clean", "")
            try:
                _send(sink, b"E", pickle.dumps(what))
            except BrokenPipeError:
                return


def main() -> None:
    """`python -m groundup.corpus.workers FD`: see serve."""
    with open(int(sys.argv[1]), "r+b", closefd=False) as file:
        place = mmap.mmap(file.fileno(), PLACE.size)
    pa.set_cpu_count(1)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a crash leaves no file of all its memory, which takes longer than a document
    sink = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a user's function prints goes to stderr
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the build, whose end closes the pipe
    serve(place, sys.stdin.buffer, sink)


if __name__ == "__main__":
    main()
