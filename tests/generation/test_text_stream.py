"""Text leaves whole and is stopped where it should be, wherever tokens cut it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from groundup.generation.text import TextStream


@pytest.mark.parametrize("cut", range(1, 8))
def test_a_stop_string_is_found_wherever_tokens_cut_it(cut: int) -> None:
    data = b"one\n\nUser:two"
    stream = TextStream(("\n\nUser:", "\nX"))
    shown = ""
    for begin in range(0, len(data), cut):
        shown += stream.push(data[begin : begin + cut])
        if stream.stopped:
            break
    assert stream.stopped and shown == "one"


@given(
    st.text(alphabet="ab€", max_size=20),
    st.lists(st.text(alphabet="ab€", min_size=1, max_size=4), max_size=3),
    st.integers(1, 4),
)
def test_what_is_shown_is_the_text_before_the_first_stop(text: str, stops: list[str], cut: int) -> None:
    """The first to be complete, that is, and of those that begin before it none is complete yet."""
    stream, data, shown = TextStream(stops), text.encode(), ""
    for begin in range(0, len(data), cut):
        shown += stream.push(data[begin : begin + cut])
        if stream.stopped:
            break
    else:
        shown += stream.finish()
    assert "�" not in shown
    if not stream.stopped:
        assert shown == text and not any(stop in text for stop in stops)
    else:
        assert text.startswith(shown) and any(text[len(shown) :].startswith(stop) for stop in stops)
        assert not any(stop in shown for stop in stops)


def test_broken_bytes_become_replacement_characters_at_the_end() -> None:
    stream = TextStream(())
    assert stream.push("é".encode()[:1]) == "" and stream.finish() == "�"
