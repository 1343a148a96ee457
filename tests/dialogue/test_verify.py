"""Rules that decide rewards; and the sandbox: good code passes, cheats fail, and what runs wild is killed with all it has started."""

from __future__ import annotations

import os
import re
import socket
import time
from pathlib import Path

import pytest

from groundup.dialogue.sandbox import Limits, run
from groundup.dialogue.verify import code_of, exact, matches, verifier
from groundup.errors import RequestError

ADD, TESTS = "def add(a, b):\n    return a + b\n", "assert add(2, 2) == 4\nassert add(-1, 1) == 0\n"
QUICK = Limits(seconds=0.7, memory=300 << 20, processes=6, file_bytes=1 << 20, folder_bytes=3 << 20)


def test_exact_answers() -> None:
    assert exact(" 72 ", "72") and exact("1,000", "1000") and exact("72.0", "72") and exact("3.50.", "3.5") and not exact("72 apples", "72")
    assert not exact("nan", "NaN") and not exact("", "0")
    hashes = re.compile(r"#### (.*)")
    assert exact("so 1\n#### 3\nno:\n#### 72", "72", hashes) and not exact("72", "72", hashes)


def test_patterns() -> None:
    assert matches("it is 12 apples", re.compile(r"\d+ apples")) and not matches("it is 12 apples", re.compile(r"\d+ apples"), whole=True)
    assert matches(" 12 apples\n", re.compile(r"\d+ apples"), whole=True)


def test_code_is_taken_out_of_its_fences() -> None:
    assert code_of("Here:\n```python\nx = 1\n```\nand\n```\ny = 2\n```") == "x = 1\n\ny = 2\n"
    assert code_of("x = 1") == "x = 1" and code_of("```py\nx = 1") == "x = 1"


def test_rules_are_rows() -> None:
    assert verifier({"kind": "exact", "answer": 72, "pattern": "#### (.*)"})("#### 72") == 1.0
    assert verifier({"kind": "regex", "pattern": "^no"})("yes") == 0.0
    assert verifier({"kind": "python", "tests": TESTS})(f"```python\n{ADD}```") == 1.0
    for row, says in (
        ({"kind": "magic"}, "no kind of rule 'magic'"), ({"kind": "exact"}, "`answer` is missing"), ({"kind": "regex", "pattern": "("}, "not a valid pattern"),
        ({"kind": "exact", "answer": "1", "pattern": "x"}, "no group"), ({"kind": "python", "tests": "x", "time": 3}, "python knows no time"),
    ):  # fmt: skip
        with pytest.raises(RequestError, match=says):
            verifier(row)


def test_good_code_passes_and_bad_code_fails() -> None:
    assert run(ADD, TESTS).passed
    wrong = run(ADD.replace("+", "-"), TESTS)
    assert wrong.why == "failed" and "AssertionError" in wrong.output
    assert run("def add(:", TESTS).why == "failed"
    assert "hello" in run("print('hello')").output


@pytest.mark.parametrize("cheat", ["import builtins; builtins.exec = print", "import os; os._exit = print; 1 / 0", "import sys; sys.exit(0)", "import os; os._exit(0)", "print('passed')\nraise SystemExit", "import os; os.kill(os.getpid(), 9)"])
def test_leaving_early_does_not_pass(cheat: str) -> None:
    assert not run(cheat, TESTS, QUICK).passed


def marked() -> list[int]:
    """Processes with the marker of these tests in their command line."""
    found = []
    for path in Path("/proc").iterdir():
        if path.name.isdecimal():
            try:
                if b"confined.py" in (path / "cmdline").read_bytes() and (path / "stat").read_bytes().rpartition(b")")[2].split()[0] != b"Z":
                    found.append(int(path.name))
            except OSError:
                continue
    return found


@pytest.mark.parametrize(
    ("code", "whys"),
    [
        ("while True: pass", {"time"}),
        ("import time\nwhile True:\n    try: time.sleep(9)\n    except BaseException: pass", {"time"}),
        ("import signal\nfor n in range(1, 32):\n    try: signal.signal(n, signal.SIG_IGN)\n    except Exception: pass\nwhile True: pass", {"time"}),
        ("import os\nwhile True: os.fork()", {"processes", "failed"}),
        ("import os\nwhile True:\n    if os.fork() == 0:\n        os.setsid()\n", {"processes", "failed"}),
        ("x = []\nwhile True: x.append(bytearray(1 << 24))", {"memory", "time"}),
        ("x = 'a' * (1 << 40)", {"memory"}),
        ("f = open('big', 'wb')\nwhile True: f.write(b'x' * 65536)", {"failed"}),
        ("n = 0\nwhile True:\n    n += 1\n    open(f'f{n}', 'wb').write(b'x' * 500_000)", {"files"}),
        ("while True: print('x' * 1000)", {"failed", "time"}),
    ],
)  # fmt: skip
def test_what_runs_wild_is_killed(code: str, whys: set[str]) -> None:
    began = time.monotonic()
    outcome = run(code, "", QUICK)
    assert outcome.why in whys, outcome
    assert time.monotonic() - began < QUICK.seconds + 4
    assert not marked()


def test_children_that_go_on_alone_are_killed() -> None:
    code = "import os, time\nif os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0:\n        time.sleep(60)\n    os._exit(0)\n"
    assert run(code, "", QUICK).passed
    assert not marked()


def test_files_outside_cannot_be_changed(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("x")
    code = f"open('mine', 'w').write('y')\nopen({str(precious)!r}, 'w').write('gone')\n"
    outcome = run(code, "", QUICK)
    if not outcome.isolation.files:
        pytest.skip("this kernel has no Landlock")
    assert outcome.why == "failed" and precious.read_text() == "x"
    assert not run(f"import os; os.remove({str(precious)!r})", "", QUICK).passed and precious.exists()


def test_there_is_no_network() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        outcome = run(f"import socket; socket.create_connection(('127.0.0.1', {port}), 1)", "", QUICK)
    if not outcome.isolation.network:
        pytest.skip("this system does not permit namespaces")
    assert outcome.why == "failed"


def test_nothing_is_left_and_nothing_is_passed_on() -> None:
    os.environ["SECRET_OF_THIS_TEST"] = "x"
    try:
        outcome = run("import os\nprint(sorted(os.environ), os.getcwd())\nassert 'SECRET_OF_THIS_TEST' not in os.environ\nopen('left', 'w').write('x')", "", QUICK)
    finally:
        del os.environ["SECRET_OF_THIS_TEST"]
    assert outcome.passed
    folder = outcome.output.split()[-1]
    assert "groundup-sandbox-" in folder and not Path(folder).exists()
