"""Which text a slot holds, and what a new prompt can go on from."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from groundup.generation.slots import WORTH_COPYING, Slots

SYSTEM = list(range(100, 100 + WORTH_COPYING + 4))


class Copies:
    """Remembers what was copied, as (source, target, length)."""

    def __init__(self) -> None:
        self.done: list[tuple[int, int, int]] = []

    def __call__(self, source: int, target: int, length: int) -> None:
        self.done.append((source, target, length))


def test_a_text_goes_on_in_its_own_slot() -> None:
    slots = Slots(3, 64, copies := Copies())
    slot, kept = slots.take(SYSTEM)
    assert (slot, kept) == (0, 0)
    slots.write(slot, [*SYSTEM, 1, 2])
    slots.give_back(slot)
    assert slots.take([*SYSTEM, 1, 2, 3]) == (0, len(SYSTEM) + 2) and copies.done == []


def test_what_a_busy_slot_has_is_copied_to_another() -> None:
    slots = Slots(3, 64, copies := Copies())
    slots.take(SYSTEM)
    slots.write(0, [*SYSTEM, 1, 2])
    assert slots.take([*SYSTEM, 7, 8]) == (1, len(SYSTEM))
    assert copies.done == [(0, 1, len(SYSTEM))] and slots.text(1) == SYSTEM


def test_a_long_conversation_is_not_thrown_away_for_its_beginning() -> None:
    slots = Slots(2, 200, copies := Copies())
    slots.take(SYSTEM)
    slots.write(0, [*SYSTEM, *range(80)])
    slots.give_back(0)
    assert slots.take([*SYSTEM, 500]) == (1, len(SYSTEM))
    assert copies.done == [(0, 1, len(SYSTEM))] and len(slots.text(0)) == len(SYSTEM) + 80


def test_the_last_token_is_always_read_and_the_oldest_text_goes_first() -> None:
    slots = Slots(2, 64, Copies())
    for text in ([1] * 20, [2] * 20):
        slot, _ = slots.take(text)
        slots.write(slot, text)
    slots.give_back(1)
    slots.give_back(0)
    assert slots.take([1] * 20) == (0, 19)
    slots.give_back(0)
    slot, kept = slots.take([3] * 20)
    assert (slot, kept) == (1, 0) and slots.text(1) == []


def test_where_nothing_can_be_shared_nothing_is() -> None:
    slots = Slots(2, 64, None)
    slots.take(SYSTEM)
    slots.write(0, SYSTEM)
    slots.give_back(0)
    assert slots.take(SYSTEM) == (1, 0) and slots.shares(SYSTEM, SYSTEM) == 0


@given(st.lists(st.tuples(st.lists(st.integers(0, 2), min_size=1, max_size=30), st.booleans()), max_size=30))
def test_what_is_kept_is_a_true_beginning(steps: list[tuple[list[int], bool]]) -> None:
    """A memory of its own beside the slots': copies and cuts leave what the slots say."""
    held: dict[int, list[int]] = {}

    def copy(source: int, target: int, length: int) -> None:
        held[target] = held[source][:length]

    slots, busy = Slots(3, 64, copy), []
    for prompt, release in steps:
        if not slots.free:
            slots.give_back(busy.pop(0))
        slot, kept = slots.take(prompt)
        assert kept < len(prompt) and slots.text(slot) == prompt[:kept]
        held[slot] = held.get(slot, [])[:kept]
        assert held[slot] == prompt[:kept]
        held[slot] += prompt[kept:]
        assert slots.write(slot, prompt[kept:]) == kept
        busy.append(slot)
        if release:
            slots.give_back(busy.pop())
