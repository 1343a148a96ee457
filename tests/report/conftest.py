"""Fixtures of the report: a fabricated, finished run."""

from __future__ import annotations

from pathlib import Path

import pytest
from fabricated import fabricate

from groundup.run import Run


@pytest.fixture
def finished(tmp_path: Path) -> Run:
    """A finished, tuned run."""
    return fabricate(tmp_path / "runs" / "demo")
