"""One stream of rows, whoever reads it: 1, 2 or 4 processes, 0 or 4 threads, from the beginning or from anywhere."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from test_loader import END
from test_packing import PAD

from groundup.errors import GroundupError
from groundup.tokens.loader import Ahead, Batch, BatchPhase, Loader
from groundup.tokens.shards import SourceRange, TokenSplit
from groundup.training.parallel import World

LENGTHS = {"books": [30, 9, 80, 4], "web": [3, 5, 1, 2, 8, 6, 7], "code": [50, 50]}
WEIGHTS = {"books": 2.0, "web": 1.0, "code": 1.0}
PHASES = [BatchPhase(5, 8, 4, 4), BatchPhase(99, 16, 2, 8)]
SPECIAL = {"<|pad|>": PAD, "<|fim_prefix|>": PAD + 1, "<|fim_middle|>": PAD + 2, "<|fim_suffix|>": PAD + 3}


def mixed() -> TokenSplit:
    numbers = iter(range(1, 10**6))
    tokens: list[int] = []
    starts: list[int] = []
    sources = {}
    for name, lengths in LENGTHS.items():
        sources[name] = SourceRange(len(tokens), sum(lengths) + len(lengths), len(starts), len(lengths), sum(lengths))
        for length in lengths:
            starts.append(len(tokens))
            tokens += [*(next(numbers) for _ in range(length)), END]
    sizes = np.array([length for lengths in LENGTHS.values() for length in lengths])
    return TokenSplit(np.array(tokens, np.uint32), np.array(starts), sizes, np.ones(PAD + 9, np.int64), END, "", sources, SPECIAL)


def loader(packing: str) -> Loader:
    return Loader(mixed(), PHASES, 7, packing=packing, weights=WEIGHTS)  # type: ignore[arg-type]


def equal(one: Batch, other: Batch) -> bool:
    return all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("packing", ["concatenate", "best-fit"])
def test_ranks_threads_and_resuming_change_nothing(packing: str) -> None:
    whole = loader(packing)
    expected = {(step, micro): whole(step, micro) for step in range(12) for micro in range(whole.parts(step))}
    for ranks in (1, 2, 4):
        for threads in (0, 4):
            for begin in (0, 1, 7):
                read = {}
                for rank in range(ranks):
                    world = World(rank, ranks)
                    plain = loader(packing)
                    source = Ahead(plain, threads, world.share) if threads else plain
                    for step in range(begin, 12):
                        for micro in world.share(source.parts(step)):
                            read[step, micro] = source(step, micro)
                    if isinstance(source, Ahead):
                        source.close()
                assert set(read) == {place for place in expected if place[0] >= begin}
                assert all(equal(read[place], expected[place]) for place in read)


def test_reading_ahead_follows_a_jump() -> None:
    plain = loader("concatenate")
    source = Ahead(plain, 2)
    for step, micro in [(0, 0), (0, 1), (9, 3), (9, 4), (2, 0), (2, 1)]:
        assert equal(source(step, micro), plain(step, micro))
    source.close()


def test_reading_ahead_ends_where_a_process_has_no_more_shares() -> None:
    plain = Loader(mixed(), [BatchPhase(2, 8, 2, 4), BatchPhase(99, 8, 2, 1)], 7)
    source = Ahead(plain, 2, World(3, 4).share)
    assert [equal(source(step, 3), plain(step, 3)) for step in (0, 1)] == [True, True]
    source.close()


def test_an_error_while_reading_ahead_is_raised_where_its_batch_is_asked_for() -> None:
    class Broken:
        def parts(self, step: int) -> int:
            return 1

        def __call__(self, step: int, micro: int) -> Batch:
            if step == 2:
                raise OSError("the disk is gone")
            return {"tokens": torch.tensor([step])}

    source = Ahead(Broken(), 3)
    assert [int(source(step, 0)["tokens"]) for step in (0, 1)] == [0, 1]
    with pytest.raises(OSError, match="disk is gone"):
        source(2, 0)
    source.close()


def test_the_mixture_has_the_shares_asked_for() -> None:
    whole = loader("concatenate")
    split = mixed()
    of = {int(token): name for name in split.sources for token in split.source(name).tokens if token != END}
    counts = dict.fromkeys(LENGTHS, 0)
    for step in range(30):
        for micro in range(whole.parts(step)):
            for token in whole(step, micro)["targets"].flatten().tolist():
                if token != END:
                    counts[of[token]] += 1
    total = sum(counts.values())
    assert counts["books"] / total == pytest.approx(0.5, abs=0.03)
    assert counts["code"] / total == pytest.approx(0.25, abs=0.03)


def test_a_row_holds_one_source() -> None:
    split = mixed()
    of = {int(token): name for name in split.sources for token in split.source(name).tokens if token != END}
    batch = loader("best-fit")(6, 0)
    for row, weights in zip(batch["targets"].tolist(), batch["weights"].tolist(), strict=True):
        assert len({of[token] for token, weight in zip(row, weights, strict=True) if weight and token != END}) == 1


def test_a_source_without_weight_or_text_is_named() -> None:
    with pytest.raises(GroundupError, match="no weight for the source code"):
        Loader(mixed(), PHASES, 7, weights={"books": 1, "web": 1})
    with pytest.raises(GroundupError, match="the source video left no training text"):
        Loader(mixed(), PHASES, 7, weights={**WEIGHTS, "video": 1})
    assert "web" not in Loader(mixed(), PHASES, 7, weights={**WEIGHTS, "web": 0}).sources
    with pytest.raises(GroundupError, match="the source web has 39 tokens, fewer than one context of 64"):
        Loader(mixed(), [BatchPhase(1, 64, 1)], 7, weights=WEIGHTS)


def test_sources_are_stretches_of_the_split() -> None:
    split = mixed()
    for name, lengths in LENGTHS.items():
        one = split.source(name)
        assert [len(one.document(number)) for number in range(len(one.starts))] == lengths
        assert one.tokens[-1] == END
    assert sum(len(split.source(name).tokens) for name in LENGTHS) == len(split.tokens)
    with pytest.raises(KeyError):
        split.source("video")
    assert replace(split, sources={}).sources == {}
