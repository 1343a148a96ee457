"""Task files made on the spot, and the public ones where they lie beside this clone."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from groundup.evaluation.tasks.rows import Data

Put = Callable[[str, Sequence[Any]], Data]


@pytest.fixture
def put(tmp_path: Path) -> Put:
    """Write rows as JSON lines under a name; returns the folder's Data."""

    def write(name: str, rows: Sequence[Any]) -> Data:
        path = tmp_path / "tasks" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        data = "".join(json.dumps(row) + "\n" for row in rows).encode()
        path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
        return Data(tmp_path / "tasks")

    return write


@pytest.fixture(scope="session")
def public() -> Path:
    """The folder of public task files."""
    found = next((parent / "shared/data/eval" for parent in Path(__file__).resolve().parents if (parent / "shared/data/eval").is_dir()), None)
    if found is None:
        pytest.skip("needs ../shared/data/eval beside this clone")
    return found
