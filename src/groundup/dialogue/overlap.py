"""Test questions among the conversations: what a benchmark will ask must not be tuned on.

The same comparison as the corpus goes through (corpus/decontaminate.py): thirteen words in a row (GPT-3, Brown et al. 2020, appendix
C), half of what is shared by the smaller of the two, or a short question as a whole, whatever its case and signs.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from groundup.corpus.contamination import AllTests
from groundup.dialogue.format.record import Conversation
from groundup.recipe.cleaning.decontaminate import Decontaminate

AT_ONCE = 512  # conversations compared together; what is found does not depend on it


class TestQuestions:
    """The questions of evaluation files, indexed."""

    __test__ = False  # no test of pytest's

    def __init__(self, files: Sequence[str]) -> None:
        """`files`: of any kind that the corpus' decontamination reads, or folders. Raises GroundupError for what cannot be read."""
        with tempfile.TemporaryDirectory() as folder:
            self._tests = AllTests(Decontaminate(files=list(files), held_out=False), Path(folder))
            self._tests.finish()

    def find(self, talks: Sequence[Conversation]) -> list[str | None]:
        """For each conversation the test that stands in it, with file and record; None where there is none."""
        found: list[str | None] = []
        for start in range(0, len(talks), AT_ONCE):
            part = talks[start : start + AT_ONCE]
            rows = [{"text": "\n\n".join(message.content for message in talk.messages), "whole": f"conversation {place}"} for place, talk in enumerate(part)]
            for places in self._tests.find(rows):
                hit = next((one for one in places if one["hit"]), None)
                if hit is None:
                    found.append(None)
                    continue
                name, text = self._tests.about(hit)
                found.append(f"{name['file']}, record {name['record']}: {' '.join(text.split())[:100]}")
        return found
