"""Which items of tasks stand in the text that a model was trained on: the corpus's own search, the other way round.

    task files ──pieces──> index        corpus/decontaminate.py: 13 words in a row, short questions whole, reworded ones word by word
    clean corpus ──batches──> hits      a document that holds a test: which record of which file, so which item

What `clean.decontaminate` takes out beforehand is found here where it was not asked to: the same rules say what a hit is.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from groundup.corpus.contamination import BATCH_BYTES, AllTests
from groundup.corpus.document import lots
from groundup.errors import GroundupError
from groundup.evaluation.tasks.item import Task
from groundup.evaluation.tasks.rows import record_name
from groundup.recipe.cleaning.decontaminate import Decontaminate


def contaminated(tasks: Sequence[Task], texts: Iterable[str], settings: Decontaminate | None = None) -> list[frozenset[int]]:
    """Of each task, the places of its items that stand in the texts. `settings`: their `ngram` and `share` count."""
    files = list(dict.fromkeys(path for task in tasks for path in task.files))
    chosen = (settings or Decontaminate()).model_copy(update={"held_out": False, "files": [str(path) for path in files]})
    try:
        tests = AllTests(chosen, Path())
    except GroundupError:  # nothing in the files is long enough to be looked for
        return [frozenset() for _ in tasks]
    tests.finish()
    owners = [
        [record_name(path, number) for number in (piece.record, *its.also.get(piece.text, ()))]
        for path, its in zip(files, tests.files, strict=True) for piece in its.pieces
    ]  # fmt: skip
    found: set[str] = set()
    for batch in lots(({"text": text, "whole": "corpus"} for text in texts), BATCH_BYTES):
        for places in tests.find(batch):
            for one in places:
                if one["hit"]:
                    found.update(owners[one["test"]])
    return [frozenset(place for place, item in enumerate(task.items) if item.name in found) for task in tasks]
