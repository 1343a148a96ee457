"""Guessing ahead from the text itself (prompt lookup, Saxena 2023; n-gram speculation): what followed these words before?

    the cat sat on the mat . the cat      the last two tokens stood before at the beginning: guess `sat on the mat`

The model reads the guesses in one pass and draws at each place what it would have drawn: as long as that is what was guessed,
the next place counts too. So the text is the one that would have been written without guessing, only sooner.
"""

from __future__ import annotations

from collections.abc import Sequence

LONGEST, SHORTEST = 3, 2  # tokens looked up


class Lookup:
    """Where each run of two and three tokens of one text stood last."""

    def __init__(self, tokens: Sequence[int]) -> None:
        self._tokens: list[int] = []
        self._after: dict[tuple[int, ...], int] = {}
        self.extend(tokens)

    def extend(self, tokens: Sequence[int]) -> None:
        """Put tokens at the end of the text."""
        for token in tokens:
            end = len(
                self._tokens
            )  # a run is entered when the next token is there: at the text's end it has no sequel
            for size in range(SHORTEST, LONGEST + 1):
                if end >= size:
                    self._after[tuple(self._tokens[end - size :])] = end
            self._tokens.append(token)

    def guess(self, most: int) -> list[int]:
        """At most so many tokens; none where the last ones are new."""
        for size in range(LONGEST, SHORTEST - 1, -1):
            place = self._after.get(tuple(self._tokens[-size:])) if len(self._tokens) >= size else None
            if place is not None:
                return self._tokens[place : place + most]
        return []
