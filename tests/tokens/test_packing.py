"""Packing drops nothing, cuts no document that fits, and asks for each token once."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_loader import END, split_of

from groundup.tokens.loader import BatchPhase, Loader
from groundup.tokens.packing import Concatenated, Planned, best_fit, cut
from groundup.tokens.shards import TokenSplit

PAD = 10**6


def padded(lengths: list[int]) -> TokenSplit:
    split = split_of(lengths)
    return TokenSplit(split.tokens, split.starts, split.byte_counts, split.byte_lengths, END, "", {}, {"<|pad|>": PAD})


def one_at_a_time(lengths: list[int], context: int) -> list[int]:
    """Best-fit decreasing as the textbook has it: the room left in each row, fullest row that takes the piece."""
    room: list[int] = []
    for length in sorted(lengths, reverse=True):
        fitting = [row for row, free in enumerate(room) if free >= length]
        if fitting:
            room[min(fitting, key=lambda row: room[row])] -= length
        else:
            room.append(context - length)
    return sorted(room)


@settings(deadline=None, max_examples=200)
@given(context=st.integers(1, 40), data=st.data())
def test_best_fit_is_the_textbook_s(context: int, data: st.DataObject) -> None:
    lengths = data.draw(st.lists(st.integers(1, context), max_size=60))
    rows = best_fit(np.array(lengths, dtype=np.int64), context)
    filled = np.bincount(rows, weights=lengths, minlength=0) if lengths else np.zeros(0)
    assert sorted((context - filled).astype(int).tolist()) == one_at_a_time(lengths, context)
    assert len(set(rows.tolist())) == len(filled)  # no row is empty


def test_a_piece_longer_than_a_row_is_refused() -> None:
    with pytest.raises(ValueError, match="longer than a row"):
        best_fit(np.array([3, 9]), 8)


@given(lengths=st.lists(st.integers(0, 50), min_size=1, max_size=20), context=st.integers(1, 16))
def test_pieces_are_whole_rows_and_rests(lengths: list[int], context: int) -> None:
    split = padded(lengths)
    starts, sizes = cut(split.starts, split.ends + 1, context)
    covered = np.concatenate([np.arange(start, start + size) for start, size in zip(starts, sizes, strict=True)])
    assert covered.tolist() == list(range(len(split.tokens)))
    assert (sizes == context).sum() == sum((length + 1) // context for length in lengths)


@pytest.mark.parametrize("packing", ["best-fit", "one-document"])
@pytest.mark.parametrize("lengths", [[40, 3, 1, 17, 60, 9], [16], [200], [0, 5, 0, 0, 30], [31, 31], [7] * 20])
def test_every_token_is_asked_for_once_a_pass_and_padding_never(packing: str, lengths: list[int]) -> None:
    split = padded(lengths)
    loader = Loader(split, [BatchPhase(9, 16, 1, 1)], 3, packing=packing)  # type: ignore[arg-type]
    for number in range(2):
        asked: Counter[int] = Counter()
        whole: dict[int, set[int]] = {}
        for step in range(loader.windows):
            row = {name: tensor[0] for name, tensor in loader(number * loader.windows + step, 0).items()}
            real = row["weights"] == 1
            asked.update(row["targets"][real].tolist())
            assert (row["tokens"][~real] == PAD).all()
            assert (row["targets"][~real] == PAD).all()
            assert not set(row["segments"][real].tolist()) & set(row["segments"][~real].tolist())  # padding is nobody's neighbour
            for segment in set(row["segments"][real].tolist()):
                inside = row["segments"] == segment
                assert row["positions"][inside].tolist() == list(range(int(inside.sum())))
                tokens, targets = row["tokens"][inside].tolist(), row["targets"][inside].tolist()
                assert targets[:-1] == tokens[1:]
                if tokens[0] == END:
                    whole.setdefault(len(targets), set()).add(targets[0])
        assert asked == Counter(split.tokens.tolist())
        fitting = [split.tokens[start] for start, length in zip(split.starts, lengths, strict=True) if length + 1 <= 16]
        assert {int(token) for token in fitting} <= {token for firsts in whole.values() for token in firsts}  # none of them cut
        if packing == "one-document":
            assert loader.windows == sum(-(-(length + 1) // 16) for length in lengths)


def test_one_document_rows_hold_one() -> None:
    loader = Loader(padded([3, 5, 2]), [BatchPhase(1, 8, 3, 1)], 0, packing="one-document")
    batch = loader(0, 0)
    assert ((batch["segments"] == 0) == (batch["weights"] == 1)).all()


def test_best_fit_wastes_little_where_lengths_vary() -> None:
    draw = np.random.default_rng(0)
    split = padded([int(x) for x in draw.lognormal(5, 1.2, 4000)])
    planned = Planned(split, 512, PAD, together=True)
    assert planned.padding < 0.003
    assert planned.count * 512 * (1 - planned.padding) == pytest.approx(len(split.tokens))
    assert Planned(split, 512, PAD, together=False).padding > 0.3


def test_pieces_of_a_concatenated_row_are_its_documents() -> None:
    rows = Concatenated(padded([4, 2, 9, 3]), 8)
    for row in range(rows.count):
        block = rows.read(np.array([row]), np.array([3]))
        pieces = rows.pieces(row, 3)
        assert np.concatenate([piece[:-1] for piece in pieces]).tolist() == block.tokens[0].tolist()
        assert np.concatenate([piece[1:] for piece in pieces]).tolist() == block.targets[0].tolist()
        assert all(END not in piece[1:-1] for piece in pieces)


def test_documents_need_not_be_kept_apart() -> None:
    together = Loader(padded([4, 2, 9, 3]), [BatchPhase(1, 8, 2, 1)], 0, separate=False)(0, 0)
    apart = Loader(padded([4, 2, 9, 3]), [BatchPhase(1, 8, 2, 1)], 0)(0, 0)
    assert torch.equal(together["tokens"], apart["tokens"])
    assert (together["segments"] == 0).all()
    assert together["positions"].tolist() == [list(range(8))] * 2
    assert (apart["segments"] > 0).any()
