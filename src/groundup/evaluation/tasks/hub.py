"""Tasks' files from the Hugging Face hub, where somebody allows it: into the folder of tasks, so that the next time needs no network.

    fetch("arc_easy", folder)      ->   folder/ai2_arc/arc_easy/ARC-Easy/train-00000-of-00001.parquet, test-..., validation-...

Data sets are those that lm-eval 0.4.13 names (`dataset_path` and `dataset_name` of its tasks), and of these only the files that a task reads.
They are fetched into a hidden folder, which `rows.Data` does not look into, and renamed into place when all of them are there.
"""

from __future__ import annotations

import importlib
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from groundup.errors import GroundupError, RequestError
from groundup.progress import say

HIDDEN = ".hub-"
OWN = ".cache"  # of the hub's client, in the folder that it fetches into


@dataclass(frozen=True)
class DataSet:
    """Where a task's files are."""

    repo: str
    files: tuple[str, ...]
    """Patterns, in which * stands for any text."""


DATA_SETS = {
    "arc_challenge": DataSet("allenai/ai2_arc", ("ARC-Challenge/*.parquet",)),
    "arc_easy": DataSet("allenai/ai2_arc", ("ARC-Easy/*.parquet",)),
    "blimp": DataSet("nyu-mll/blimp", ("*/train-*.parquet",)),
    "boolq": DataSet("aps/super_glue", ("boolq/*.parquet",)),
    "copa": DataSet("aps/super_glue", ("copa/*.parquet",)),
    "gsm8k": DataSet("openai/gsm8k", ("main/*.parquet",)),
    "hellaswag": DataSet("Rowan/hellaswag", ("data/*.parquet",)),
    "humaneval": DataSet("openai/openai_humaneval", ("openai_humaneval/*.parquet",)),
    "lambada_openai": DataSet("EleutherAI/lambada_openai", ("data/lambada_test.jsonl",)),
    "lambada_standard": DataSet("cimec/lambada", ("plain_text/test-*.parquet",)),  # its training text is 200 million words
    "mmlu": DataSet("cais/mmlu", ("all/test-*.parquet", "all/dev-*.parquet")),  # each subject's rows name it
    "openbookqa": DataSet("allenai/openbookqa", ("main/*.parquet",)),
    "piqa": DataSet("baber/piqa", ("*.parquet",)),
    "truthfulqa_mc1": DataSet("truthfulqa/truthful_qa", ("multiple_choice/*.parquet",)),
    "truthfulqa_mc2": DataSet("truthfulqa/truthful_qa", ("multiple_choice/*.parquet",)),
    "winogrande": DataSet("allenai/winogrande", ("winogrande_xl/*.parquet",)),
}


def fetch(task: str, folder: Path) -> None:
    """Bring a task's files into `folder`, in place of what was fetched for it before.

    Raises RequestError where the hub's client is not installed, GroundupError where the files cannot be fetched.
    """
    one = DATA_SETS[task]
    files = " and ".join(one.files)
    by_hand = f"put {files} of the data set {one.repo} under {folder} by hand"
    try:
        client: Any = importlib.import_module("huggingface_hub")
    except ImportError:
        raise RequestError(f"the files of {task} are fetched by huggingface_hub, which is not installed", where="--hub", do=f"pip install 'groundup[eval]', or {by_hand}.") from None
    say(f"evaluation: the files of {task}, from the hub ({one.repo})")
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=HIDDEN, dir=folder, ignore_cleanup_errors=True) as hidden:
        fetched = Path(hidden, "fetched")  # new and empty: offline the client takes what is in its folder for the whole
        try:
            client.snapshot_download(repo_id=one.repo, repo_type="dataset", allow_patterns=list(one.files), local_dir=fetched)
        except Exception as error:  # the client has errors of its own, and lets those of what it fetches by through
            words = " ".join(str(error).split())[:200] or type(error).__name__
            raise GroundupError(f"the files of {task} could not be fetched: {words}", where=one.repo, do=f"Connect to the network and try again, or {by_hand}.") from None
        shutil.rmtree(fetched / OWN, ignore_errors=True)
        if not any(path.is_file() for path in fetched.rglob("*")):
            raise GroundupError(f"the data set has no files {files}", where=one.repo, do=f"If they have other names by now, {by_hand}.")
        place = folder / one.repo.partition("/")[2] / task
        place.parent.mkdir(exist_ok=True)
        if place.exists():
            place.rename(Path(hidden, "before"))
        fetched.rename(place)
