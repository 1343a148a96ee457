"""Runs inside: a program that confines itself, and then runs Python that nobody has read. Standard library alone; see sandbox.py.

    sandbox.py  --starts-->  supervisor (this file)  --forks-->  the stranger's code
                                 |                                  process 1 of a process namespace, if permitted:
                                 +-- watches time, processes, files    when it dies, the kernel kills all it has started

It reads one JSON object from stdin and writes one to stdout. What the stranger writes goes to a file.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import math
import os
import resource
import select
import signal
import sys
import time
import traceback
from typing import Any

NEWUSER, NEWIPC, NEWPID, NEWNET = 0x10000000, 0x08000000, 0x20000000, 0x40000000  # linux/sched.h
PDEATHSIG, SUBREAPER, NO_NEW_PRIVS = 1, 36, 38  # linux/prctl.h
CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446  # landlock's system calls, the same on all machines
WRITE_FILE, TRUNCATE, REFER = 1 << 1, 1 << 14, 1 << 13  # linux/landlock.h
CHANGES = WRITE_FILE | sum(1 << bit for bit in range(4, 13))  # write, remove, make
NOBODY = 65534  # a user without rights, on every Linux
POLL, LOOK = 0.005, 0.02  # seconds between looks at the clock, and at processes and files
RAN_OUT_OF_MEMORY = 3  # exit status of ours


def main() -> None:
    """Supervise."""
    task = json.load(sys.stdin)
    libc = ctypes.CDLL(None, use_errno=True)
    namespaces = _unshare(libc)
    libc.prctl(PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    libc.prctl(SUBREAPER, 1, 0, 0, 0)  # orphans come to us
    told, tell = os.pipe()
    began = time.monotonic()
    child = os.fork()
    if child == 0:
        try:
            os.close(told)
            _become_stranger(libc, task, tell, namespaces)
        finally:
            os._exit(1)
    os.close(tell)
    why, status = _watch(child, task, began)
    _kill_all(child)
    said = _said(told)
    files = said.pop(0) == "files" if said and said[0] in ("files", "no files") else False
    if why is None:
        if os.WIFEXITED(status) and os.WEXITSTATUS(status) == 0 and said[:1] == [task["nonce"]]:
            why = "passed"
        elif os.WIFEXITED(status) and os.WEXITSTATUS(status) == RAN_OUT_OF_MEMORY:
            why = "memory"
        elif os.WIFSIGNALED(status) and os.WTERMSIG(status) in (signal.SIGXCPU, signal.SIGKILL):
            why = "time"
        else:
            why = "failed"
    isolation = {"network": namespaces, "processes": namespaces, "files": files}
    json.dump({"why": why, "seconds": time.monotonic() - began, "isolation": isolation}, sys.stdout)
    sys.stdout.flush()


def _unshare(libc: Any) -> bool:
    """A network without devices, and processes of our own; needs no rights where user namespaces are permitted.

    Root is never refused a process. The count goes by the real user, files by the effective one, so root's real user becomes nobody.
    """
    uid, gid = os.geteuid(), os.getegid()
    if uid == 0:
        with contextlib.suppress(OSError):
            os.setresuid(NOBODY, 0, 0)
    if libc.unshare(NEWUSER | NEWPID | NEWNET | NEWIPC) != 0:
        return False
    for name, text in (("setgroups", "deny"), ("uid_map", f"{uid} {uid} 1"), ("gid_map", f"{gid} {gid} 1")):
        with contextlib.suppress(OSError), open(f"/proc/self/{name}", "w") as file:  # noqa: PTH123
            file.write(text)
    return True


def _become_stranger(libc: Any, task: dict[str, Any], tell: int, namespaces: bool) -> None:
    """In the child: give up what can be given up, then run the code and its tests."""
    libc.prctl(PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    output = os.open(task["output"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(output, 1)
    os.dup2(output, 2)
    moved = os.dup2(tell, 3)
    os.closerange(4, 4096)
    os.chdir(task["folder"])
    os.write(moved, b"files\n" if _confine_writes(libc, task["folder"]) else b"no files\n")
    for name, value in (
        (resource.RLIMIT_CPU, task["seconds"]), (resource.RLIMIT_AS, task["memory"]), (resource.RLIMIT_FSIZE, task["file_bytes"]),
        (resource.RLIMIT_NOFILE, 64), (resource.RLIMIT_CORE, 0),
    ):  # fmt: skip
        bound = math.ceil(value)
        resource.setrlimit(name, (bound, bound + 1 if name == resource.RLIMIT_CPU else bound))
    if os.getuid():  # counts a user's processes, in a namespace those within it; does not bind root
        resource.setrlimit(resource.RLIMIT_NPROC, (task["processes"] + (0 if namespaces else task["others"]),) * 2)
    os.nice(10)  # whatever it starts, the supervisor gets its turn
    leave, write, execute = os._exit, os.write, exec  # the answer may put others in their place
    space: dict[str, Any] = {"__name__": "__main__"}
    try:
        answer, tests = (compile(task[name], f"<{name}>", "exec") for name in ("code", "tests"))
        execute(answer, space)
        execute(tests, space)
    except MemoryError:
        leave(RAN_OUT_OF_MEMORY)
    except BaseException:  # an answer that exits has not passed
        try:
            sys.stdout.flush()
            traceback.print_exc()
            sys.stderr.flush()
        finally:
            leave(1)
    try:
        sys.stdout.flush()
    finally:
        write(moved, task["nonce"].encode() + b"\n")
        leave(0)


def _confine_writes(libc: Any, folder: str) -> bool:
    """Landlock: from here on files can be changed below `folder` alone. Returns whether the kernel has it."""
    version = libc.syscall(CREATE_RULESET, None, 0, 1)
    if version < 1:
        return False
    handled = CHANGES | (REFER if version >= 2 else 0) | (TRUNCATE if version >= 3 else 0)
    attribute = ctypes.c_uint64(handled)
    rules = libc.syscall(CREATE_RULESET, ctypes.byref(attribute), 8, 0)
    if rules < 0:
        return False
    for path, rights in ((folder, handled), (os.devnull, handled & (WRITE_FILE | TRUNCATE))):
        place = os.open(path, os.O_PATH)
        rule = (ctypes.c_ubyte * 12).from_buffer_copy(rights.to_bytes(8, sys.byteorder) + place.to_bytes(4, sys.byteorder))
        if libc.syscall(ADD_RULE, rules, 1, ctypes.byref(rule), 0) != 0:
            return False
        os.close(place)
    libc.prctl(NO_NEW_PRIVS, 1, 0, 0, 0)
    done = bool(libc.syscall(RESTRICT_SELF, rules, 0) == 0)
    os.close(rules)
    return done


def _watch(child: int, task: dict[str, Any], began: float) -> tuple[str | None, int]:
    """Wait for the child; returns why it must be stopped, if it must, and its status."""
    looked = began
    while True:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended == child:
            return None, status
        now = time.monotonic()
        if now - began > task["seconds"]:
            return "time", 0
        if now - looked > LOOK:
            looked = now
            if len(_descendants()) > task["processes"]:
                return "processes", 0
            if _size(task["folder"]) > task["folder_bytes"]:
                return "files", 0
        time.sleep(POLL)


def _kill_all(child: int) -> None:
    """Leave nobody. In a namespace of its own the first process takes all with it; else all are stopped, so that none forks, then killed."""
    for _ in range(1000):
        alive = _descendants()
        if child in alive:
            os.kill(child, signal.SIGKILL)
        for number in (signal.SIGSTOP, signal.SIGKILL):
            for process in alive:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(process, number)
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
            time.sleep(0.001)
            continue
        return  # no child is left


def _descendants() -> list[int]:
    """Living processes below this one."""
    parents: dict[int, int] = {}
    for name in os.listdir("/proc"):  # noqa: PTH208
        if name.isdecimal():
            try:
                with open(f"/proc/{name}/stat", "rb") as file:  # noqa: PTH123
                    fields = file.read().rpartition(b")")[2].split()
            except OSError:
                continue
            if fields[0] != b"Z":
                parents[int(name)] = int(fields[1])
    mine, own = {os.getpid()}, os.getpid()
    grew = True
    while grew:
        below = {process for process, parent in parents.items() if parent in mine}
        grew = not below <= mine
        mine |= below
    return sorted(mine - {own})


def _size(folder: str) -> int:
    total = 0
    for path, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                total += os.lstat(os.path.join(path, name)).st_size  # noqa: PTH118
    return total


def _said(told: int) -> list[str]:
    """The lines that came out of the child."""
    said = b""
    while select.select([told], [], [], 0)[0] and (part := os.read(told, 4096)):
        said += part
        if len(said) > 1 << 16:
            break
    return said.decode(errors="replace").splitlines()


if __name__ == "__main__":
    main()
