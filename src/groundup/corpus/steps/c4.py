"""Step `c4`: the rules of the Colossal Clean Crawled Corpus (Raffel et al. 2020, section 2.2), line by line.

Most texts have none of what is looked for, and a search through a whole text costs less than one through each line: so each
rule is tried on the lines only of a text that has its mark somewhere.
"""

from __future__ import annotations

import re

import pyarrow as pa

from groundup.corpus import words
from groundup.corpus.steps import Seen, Verdict, judge
from groundup.recipe.cleaning.quality import C4 as Settings

CITATION = re.compile(r"\[(?:[0-9]*|edit|citation needed)\]")
TERMINAL = (".", "?", "!", '"', "'")
POLICIES = ("terms of use", "privacy policy", "cookie policy", "uses cookies", "use of cookies", "use cookies")


class C4:
    """The step. `counts` are the lines dropped, by why."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    def __call__(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        return judge(batch, "c4", self._judge)

    def _judge(self, seen: Seen) -> Verdict:
        settings, text = self.settings, seen.text
        lower = text.lower()
        placeholder = "lorem ipsum" in lower
        javascript = settings.javascript and "javascript" in lower
        policies = [policy for policy in POLICIES if policy in lower] if settings.policy else []
        by_line = placeholder or javascript or bool(policies)
        bracket = settings.curly_bracket and "{" in text
        citations = settings.citations and "[" in text
        spaced = words.spaced(seen.language)
        fewest = settings.min_words_per_line if spaced else 1
        long_words = settings.max_word_characters < len(text)
        kept: list[str] = []
        counts: dict[str, int] = {}

        def drop(why: str) -> None:
            counts[why] = counts.get(why, 0) + 1

        for whole in text.splitlines():
            line = whole.strip()
            pieces = line.split()
            if long_words and len(line) > settings.max_word_characters < max(map(len, pieces), default=0):
                drop("lines with too long words")
                continue
            if citations:
                line = CITATION.sub("", line)
            if settings.terminal_punctuation and (not line.endswith(TERMINAL) or line.endswith("...")):
                drop("lines without terminal punctuation")
                continue
            if len(pieces) < fewest:
                if pieces:
                    drop("lines with too few words")
                continue
            low = line.lower() if by_line else ""
            if placeholder and "lorem ipsum" in low:
                return Verdict(text, "lorem ipsum", counts=counts)
            if javascript and "javascript" in low:
                drop("lines on javascript")
                continue
            if bracket and "{" in line:
                return Verdict(text, "curly bracket", counts=counts)
            if any(policy in low for policy in policies):
                drop("lines on policies")
                continue
            kept.append(line)
        found = words.sentences(kept) if spaced else sum(character in words.SENTENCE_ENDS for line in kept for character in line)
        if found < settings.min_sentences:
            return Verdict(text, "too few sentences", float(found), counts)
        return Verdict("\n".join(kept).strip(), None, float(found), counts)
