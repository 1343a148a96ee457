"""Batches: every token once an epoch, documents kept apart, any step from any start the same."""

from __future__ import annotations

import time

import numpy as np
import pytest
import torch

from groundup.errors import GroundupError
from groundup.tokens.loader import BatchPhase, Loader
from groundup.tokens.packing import segments_and_positions
from groundup.tokens.shards import TokenSplit

END = 0


def split_of(lengths: list[int]) -> TokenSplit:
    """Documents in which each token is different, so that a token tells its place."""
    numbers = iter(range(1, 10**9))
    documents = [[next(numbers) for _ in range(length)] for length in lengths]
    tokens = np.array([token for document in documents for token in [*document, END]], dtype=np.uint32)
    starts = np.cumsum([0, *(length + 1 for length in lengths[:-1])])
    return TokenSplit(tokens, starts, np.array(lengths), np.ones(len(tokens) + 1, np.int64), END, "")


def epoch_rows(loader: Loader, epoch: int) -> list[dict[str, torch.Tensor]]:
    """The rows of one epoch, one by one; `loader` has one row a step."""
    return [{name: x[0] for name, x in loader(epoch * loader.windows + n, 0).items()} for n in range(loader.windows)]


def test_the_picture_in_packing() -> None:
    row = np.array([[END, 11, 12, 13, END, 21, 22, END, 31], [12, 13, END, 21, 22, END, END, 31, 32]])
    segments, positions = segments_and_positions(row == END)
    assert segments.tolist() == [[0, 0, 0, 0, 1, 1, 1, 2, 2], [0, 0, 1, 1, 1, 2, 3, 3, 3]]
    assert positions.tolist() == [[0, 1, 2, 3, 0, 1, 2, 0, 1], [0, 1, 0, 1, 2, 0, 0, 1, 2]]


@pytest.mark.parametrize("lengths", [[40, 3, 1, 17, 60, 9], [16], [200], [0, 5, 0, 0, 30], [31, 31]])
@pytest.mark.parametrize("context", [8, 5])
def test_every_token_is_a_target_once_an_epoch(lengths, context) -> None:
    split = split_of(lengths)
    loader = Loader(split, [BatchPhase(9, context, 1, 1)], seed=3)
    for epoch in range(4):
        rows = epoch_rows(loader, epoch)
        assert all((row["weights"] == 1).all() for row in rows)
        targets = torch.cat([row["targets"] for row in rows])
        words = targets[targets != END].tolist()
        assert len(words) == len(set(words))  # none twice
        assert len(targets) == len(split.tokens) - len(split.tokens) % context  # none left out but the rest


def test_targets_follow_their_tokens_and_documents_stay_apart() -> None:
    split = split_of([40, 3, 1, 17, 60, 9])
    document_of = np.repeat(np.arange(len(split.starts)), np.diff([*split.starts, len(split.tokens)]))
    of = {int(token): int(document) for token, document in zip(split.tokens, document_of, strict=True) if token != END}
    after = {int(a): int(b) for a, b in zip(split.tokens[:-1], split.tokens[1:], strict=True) if a != END}
    firsts = {int(split.tokens[start]) for start in split.starts}
    loader = Loader(split, [BatchPhase(9, 8, 1, 1)], seed=1)
    for row in (row for epoch in range(5) for row in epoch_rows(loader, epoch)):
        tokens, targets, segments, positions = (row[name].tolist() for name in ("tokens", "targets", "segments", "positions"))
        assert segments[0] == positions[0] == 0
        assert targets[:-1] == tokens[1:]
        for place, (token, target) in enumerate(zip(tokens, targets, strict=True)):
            if token == END:
                assert target in firsts  # a document's first token is asked for after <|end_of_text|>
                assert positions[place] == 0
            else:
                assert target == after[token]
        for segment in set(segments):  # a segment: <|end_of_text|> or not, then words of one document
            places = [place for place in range(8) if segments[place] == segment]
            assert [positions[place] for place in places] == list(range(len(places)))
            assert END not in [tokens[place] for place in places[1:]]
            known = {of[tokens[place]] for place in places if tokens[place] != END}
            known |= {of[targets[place]] for place in places if targets[place] != END}
            assert len(known) <= 1


def test_epochs_differ_in_order_and_cuts() -> None:
    loader = Loader(split_of([100, 50, 80]), [BatchPhase(9, 8, 1, 1)], seed=0)
    first, second = ([tuple(row["targets"].tolist()) for row in epoch_rows(loader, epoch)] for epoch in (0, 1))
    assert first != sorted(first)
    assert set(first) != set(second)


def test_any_step_alone_is_the_step_of_a_whole_run() -> None:
    split = split_of([40, 3, 1, 17, 60, 9])
    make = lambda: Loader(split, [BatchPhase(9, 8, 3, 2)], seed=9)  # noqa: E731
    running = make()
    run = {(step, micro): running(step, micro) for step in range(30) for micro in range(2)}
    fresh = make()
    for step, micro in [(29, 1), (0, 0), (17, 1), (3, 0), (28, 0)]:
        for one in (make()(step, micro), fresh(step, micro)):
            assert all(torch.equal(one[name], run[step, micro][name]) for name in one)


def test_cutting_a_step_into_micro_batches_keeps_its_rows() -> None:
    split = split_of([40, 3, 1, 17, 60, 9])
    whole, cut = Loader(split, [BatchPhase(9, 8, 6, 1)], seed=9), Loader(split, [BatchPhase(9, 8, 2, 3)], seed=9)
    for step in range(12):
        parts = [cut(step, micro) for micro in range(3)]
        assert all(torch.equal(whole(step, 0)[name], torch.cat([part[name] for part in parts])) for name in parts[0])
    assert (whole.parts(0), cut.parts(0)) == (1, 3)


def test_phases_go_on_through_the_epoch_with_rows_of_their_own() -> None:
    """Short rows early, long rows later: together they read what the long rows alone would."""
    split = split_of([40, 3, 1, 17, 60, 9, 200])
    phases = [BatchPhase(3, 4, 2, 1), BatchPhase(2, 4, 4, 2), BatchPhase(9, 8, 1, 2)]
    loader = Loader(split, phases, seed=9)
    plain = Loader(split, [BatchPhase(99, 8, 1, 1)], seed=9)
    read = [loader(step, micro)["targets"] for step in range(8) for micro in range(loader.parts(step))]
    assert [tuple(rows.shape) for rows in read[:4]] == [(2, 4), (2, 4), (2, 4), (4, 4)]
    assert [loader.parts(step) for step in range(6)] == [1, 1, 1, 2, 2, 2]
    targets = torch.cat([rows.flatten() for rows in read])
    expected = torch.cat([plain(step, 0)["targets"].flatten() for step in range(len(targets) // 8)])
    assert torch.equal(targets, expected)
    with pytest.raises(ValueError, match="no whole number of windows"):
        Loader(split, [BatchPhase(1, 4, 1, 1), BatchPhase(1, 8, 1, 1)], seed=9)


def test_the_trainer_s_types() -> None:
    batch = Loader(split_of([100]), [BatchPhase(9, 8, 2, 1)], seed=-5)(0, 0)
    kinds = {name: (tensor.dtype, tuple(tensor.shape), tensor.is_contiguous()) for name, tensor in batch.items()}
    assert kinds.pop("weights") == (torch.float32, (2, 8), True)
    assert set(kinds.values()) == {(torch.int64, (2, 8), True)}
    assert set(kinds) == {"tokens", "targets", "positions", "segments"}


def test_text_shorter_than_a_row_is_an_error() -> None:
    assert Loader(split_of([7]), [BatchPhase(9, 8, 1, 1)], seed=0)(5, 0)["targets"].tolist() != []
    with pytest.raises(GroundupError, match="fewer than one context"):
        Loader(split_of([6]), [BatchPhase(9, 8, 1, 1)], seed=0)


def test_fast_enough_for_any_trainer() -> None:
    split = split_of([1000] * 2000)
    loader = Loader(split, [BatchPhase(9, 512, 8, 1)], seed=0)
    loader(0, 0)
    began = time.perf_counter()
    for step in range(1, 41):
        loader(step, 0)
    assert 40 * 8 * 512 / (time.perf_counter() - began) > 200_000  # tokens a second; a trainer here reaches 10,000
