"""Step `fineweb`: the rules that FineWeb adds (Penedo et al. 2024, section 3.6), against lists and lines cut up."""

from __future__ import annotations

import pyarrow as pa

from groundup.corpus import words
from groundup.corpus.steps import Seen, Verdict, judge
from groundup.corpus.steps.gopher import duplicates
from groundup.recipe.cleaning.quality import FineWeb as Settings


class FineWeb:
    """The step."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    def __call__(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        return judge(batch, "fineweb", self._judge)

    def _judge(self, seen: Seen) -> Verdict:
        reason, figure = self.reason(seen.text, seen.language)
        return Verdict(seen.text, reason, figure)

    def reason(self, text: str, language: str | None = None) -> tuple[str | None, float | None]:
        """Why a text is dropped, and the figure that is out of its range."""
        settings = self.settings
        lines = [line for line in text.split("\n") if line and not line.isspace()]
        if not lines:
            return "empty", None
        if (share := sum(line[-1] in words.SENTENCE_ENDS for line in lines) / len(lines)) < settings.min_punctuated_lines:
            return "too few lines with terminal punctuation", share
        if (share := sum(len(line) <= settings.short_line_characters for line in lines) / len(lines)) > settings.max_short_lines:
            return "too many short lines", share
        breaks = text.count("\n")
        if (share := duplicates(lines)[1] / (len(text) - breaks)) > settings.max_duplicate_line_characters:
            return "characters in duplicate lines", share
        limit = settings.max_line_breaks_per_word
        # every piece between blanks has a word: where the pieces are enough, nothing needs to be split
        if breaks > limit * len(text.split()) and words.spaced(language) and (ratio := breaks / words.count(text)) > limit:
            return "too many line breaks", ratio
        return None, None
