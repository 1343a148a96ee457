"""Where the stages of a chain live in a run's folder: `dialogue/<n>-<method>`."""

from __future__ import annotations

import re

FOLDER = "dialogue"
STAGE = re.compile(r"(\d+)-([a-z]+)")
SILENT = ("reward",)
"""Methods whose models score instead of speaking."""
