"""Bytes of tokens in, text that may be shown out: whole characters only, nothing of a stop string."""

from __future__ import annotations

import codecs
from collections.abc import Sequence


class TextStream:
    """One text in the making.

    >>> stream = TextStream(("STOP",))
    >>> stream.push(b"one ST"), stream.push(b"AND ST"), stream.push(b"OP two"), stream.stopped
    ('one ', 'STAND ', '', True)
    """

    def __init__(self, stop: Sequence[str]) -> None:
        self._stop = stop
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._held = ""
        self.stopped = False

    def push(self, data: bytes) -> str:
        """Text that is now certain; sets `stopped` once a stop string is complete."""
        return self._release(self._decoder.decode(data), last=False)

    def finish(self) -> str:
        """What was still held back: the text ended without completing a stop string or a character."""
        return self._release(self._decoder.decode(b"", final=True), last=True)

    def _release(self, new: str, *, last: bool) -> str:
        if not self._stop:
            return new
        text = self._held + new
        places = [place for stop in self._stop if (place := text.find(stop)) >= 0]
        if places:
            self.stopped, self._held = True, ""
            return text[: min(places)]
        keep = 0 if last else max((_overlap(text, stop) for stop in self._stop), default=0)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep]


def _overlap(text: str, stop: str) -> int:
    """Length of the longest end of `text` that begins `stop`."""
    return next(
        (size for size in range(min(len(text), len(stop) - 1), 0, -1) if text.endswith(stop[:size])), 0
    )
