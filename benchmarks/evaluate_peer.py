"""The lm-eval side of `benchmarks/evaluate.py`; run in a process of its own by an interpreter that has lm-eval.

    python benchmarks/evaluate_peer.py '{"model": "FOLDER", "data": "FOLDER", "batch": 8, "shots": {"arc_challenge": 25, ...}}'

prints one JSON object: seconds and log-likelihoods by task, and the process's peak memory. It imports nothing of groundup. The tasks are lm-eval's
own, told to read the files in DATA instead of the hub's.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.update(HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1")

import lm_eval
from lm_eval.api.task import ConfigurableTask
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks._yaml_loader import load_yaml

YAML = {
    "arc_challenge": "arc/arc_challenge.yaml", "hellaswag": "hellaswag/hellaswag.yaml", "truthfulqa_mc1": "truthfulqa/truthfulqa_mc1.yaml",
    "truthfulqa_mc2": "truthfulqa/truthfulqa_mc2.yaml",
}  # fmt: skip


def task(yaml: str, files: dict[str, str], shots: int, cache: str) -> Any:
    """One of lm-eval's tasks over local files, its requests built."""
    config = load_yaml(Path(lm_eval.__file__).parent / "tasks" / yaml)
    config |= {"dataset_path": "json", "dataset_name": None, "dataset_kwargs": {"data_files": files, "cache_dir": cache}}
    made = ConfigurableTask(config=config)
    made.set_config("num_fewshot", shots)
    made.set_fewshot_seed(1234)
    made.build_all_requests()
    return made


def instances(name: str, data: Path, shots: int, cache: str) -> list[Any]:
    """All requests of a task, MMLU's subjects one after the other."""
    if name == "mmlu":
        found: list[Any] = []
        for path in sorted((data / name).glob("*_test.jsonl")):
            subject = path.name.removesuffix("_test.jsonl")
            files = {"test": str(path), "dev": str(path.with_name(f"{subject}_dev.jsonl"))}
            found += task(f"mmlu/default/mmlu_{subject}.yaml", files, shots, f"{cache}/{subject}").instances
        return found
    folder = data / name.partition("_mc")[0]
    return task(YAML[name], {path.stem: str(path) for path in sorted(folder.glob("*.jsonl"))}, shots, f"{cache}/{name}").instances


def main() -> None:
    spec = json.loads(sys.argv[1])
    model = HFLM(pretrained=spec["model"], device="cpu", batch_size=spec["batch"], dtype="float32")
    seconds: dict[str, float] = {}
    logs: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as cache:
        for name, shots in spec["shots"].items():
            asked = instances(name, Path(spec["data"]), shots, cache)
            began = time.monotonic()
            found = model.loglikelihood(asked, disable_tqdm=True)
            seconds[name] = time.monotonic() - began
            logs[name] = [log for log, _ in found]
    print(json.dumps({"seconds": seconds, "logs": logs, "peak_memory_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20}))


if __name__ == "__main__":
    main()
