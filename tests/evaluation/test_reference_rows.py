"""Published rows: each has a source, their means are the published ones, nothing unverified is shown unasked."""

from __future__ import annotations

import pytest

from groundup.evaluation import table
from groundup.evaluation.reference_rows import CORE_ROWS, ROWS, beside

PUBLISHED = {
    ("falcon-40b-instruct", "old MMLU"): 63.2, ("openchat_8192", "LLaMA-13B tuned"): 58.49, ("openchat_v3.1", "Llama-2-13B tuned"): 60.96, ("openchat_v3.2", "Llama-2-13B tuned"): 60.87,
    ("openchat_v3.2_super", "Llama-2-13B tuned"): 60.13, ("falcon-7b", ""): 47.01, ("falcon-7b-instruct", ""): 46.73, ("falcon-rw-1b", ""): 39.97,
}  # fmt: skip


def test_means_are_the_published_ones() -> None:
    means = {(row.model, row.note): row.mean for row in ROWS if row.verified}
    for key, mean in PUBLISHED.items():
        assert means[key] == pytest.approx(mean, abs=0.06)


def test_every_row_has_a_source_and_says_whether_it_was_looked_up() -> None:
    assert all(row.source for row in ROWS)
    assert all(row.verified != row.source.startswith("recalled") for row in ROWS)
    assert all(0 < score < 100 for row in ROWS for score in (row.arc_challenge, row.hellaswag, row.mmlu, row.truthfulqa_mc2))
    assert all(row.source and 0 < row.core < 1 for row in CORE_ROWS)


def test_rows_to_show() -> None:
    shown = beside()
    assert all(row.verified for row in shown) and shown[0].model == "chance"
    assert [row.mean for row in shown] == sorted(row.mean for row in shown)
    assert len(beside(unverified=True)) == len(ROWS) > len(shown)


def test_core_stands_below_in_its_own_scale() -> None:
    said = table.as_text({"rows": [], "suites": []}, (), CORE_ROWS)
    assert "published CORE:" in said and "gpt2-xl  0.2565  nanochat's README" in said
