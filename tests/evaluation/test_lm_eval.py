"""The same questions and the same scores as lm-eval 0.4.13, item by item. Needs lm-eval, which is no dependency of the tests:

    pip install 'lm-eval[hf]==0.4.13'; pytest -m slow tests/evaluation/test_lm_eval.py

Public files are cast into the form in which the hub has each task, written once, and read by both.
"""

from __future__ import annotations

import io
import json
import os
import re
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import torch

from groundup.evaluation.cached_lanes import CachedLanes
from groundup.evaluation.encoding import Encoder
from groundup.evaluation.measure import measure
from groundup.evaluation.prefix_scorer import PrefixScorer
from groundup.evaluation.tasks import Data, Task, read_task
from groundup.evaluation.tasks.rows import read
from groundup.models import huggingface
from groundup.tokens.tokenizer import Tokenizer
from groundup.tokens.trainers import train_bpe

lm_eval = pytest.importorskip("lm_eval")
os.environ.update(HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1")
pytestmark = pytest.mark.slow

PUBLIC = next((parent / "shared/data/eval" for parent in Path(__file__).resolve().parents if (parent / "shared/data/eval").is_dir()), None)
ASKED, SHOWN = 25, 60
Rows = list[dict[str, Any]]


def rows(name: str) -> Rows:
    assert PUBLIC is not None
    return [dict(row.values) for row in read(PUBLIC / name)]


def instructions(name: str) -> Rows:
    """Questions of school science out of instructions that were made of them."""
    assert PUBLIC is not None
    with pa.input_stream(str(PUBLIC / "llm_adapters_train_sets.tar.zst")) as stream, tarfile.open(fileobj=io.BytesIO(stream.read())) as tar:
        listed = json.load(tar.extractfile(name))
    found = []
    for number, one in enumerate(listed):
        question, answers = re.match(r"Please choose the correct answer to the question: (.*)\n\n(Answer1: .*)\n\nAnswer format", one["instruction"], re.S).groups()
        texts = [text.strip() for text in re.split(r"Answer\d: ", answers)[1:]]
        labels = list("ABCDE"[: len(texts)])
        found.append({"id": str(number), "question": question, "choices": {"text": texts, "label": labels}, "answerKey": labels[int(one["answer"][-1]) - 1]})
    return found


def truthful() -> Rows:
    def split(targets: dict[str, int]) -> dict[str, list[Any]]:
        return {"choices": list(targets), "labels": list(targets.values())}

    return [{"question": row["question"], **{name: split(row[name]) for name in ("mc1_targets", "mc2_targets")}} for row in rows("truthfulqa_mc_task.json.gz")]


def winograd() -> Rows:
    found = []
    for row in rows("mosaic_gauntlet/language_understanding/winogrande.jsonl.gz"):
        one, other = row["context_options"]
        same = next(place for place, (a, b) in enumerate(zip(one + "|", other + "|", strict=False)) if a != b)
        common = one[: one.rfind(" ", 0, same) + 1]
        found.append({"sentence": f"{common}_ {row['continuation']}", "option1": one[len(common) :], "option2": other[len(common) :], "answer": str(row["gold"] + 1)})
    return found


def yes_or_no() -> Rows:
    found = []
    for number, row in enumerate(rows("mosaic_gauntlet/reading_comprehension/boolq.jsonl.gz")):
        passage, _, question = row["query"].removeprefix("Passage: ").rpartition("\nQuestion: ")
        found.append({"passage": passage, "question": question.removesuffix("?"), "label": row["gold"], "idx": number})
    return found


def causes() -> Rows:
    found = []
    for number, row in enumerate(rows("mosaic_gauntlet/commonsense_reasoning/copa.jsonl.gz")):
        premise, _, connector = row["query"].rpartition(", ")
        found.append({
            "premise": f"{premise}.", "question": "cause" if connector == "because" else "effect", "choice1": row["choices"][0], "choice2": row["choices"][1],
            "label": row["gold"], "idx": number,
        })  # fmt: skip
    return found


def physics() -> Rows:
    return [
        {"goal": row["query"].removeprefix("Question: ").rstrip("\n"), "sol1": row["choices"][0], "sol2": row["choices"][1], "label": row["gold"]}
        for row in rows("mosaic_gauntlet/commonsense_reasoning/piqa.jsonl.gz")
    ]


def books() -> Rows:
    return [
        {"id": str(number), "question_stem": row["query"], "choices": {"text": row["choices"], "label": list("ABCD")}, "answerKey": "ABCD"[row["gold"]]}
        for number, row in enumerate(rows("mosaic_gauntlet/commonsense_reasoning/openbook_qa.jsonl.gz"))
    ]


def passages() -> Rows:
    return [{"text": f"{row['context']} {row['continuation']}"} for row in rows("mosaic_gauntlet/language_understanding/lambada_openai_small.jsonl.gz")]


def subject(name: str) -> Rows:
    return [
        {"question": row["question"], "subject": name, "choices": [row[f"choice{place}"] for place in range(4)], "answer": int(row["answer"])}
        for row in rows(f"mmlu_dev/{name}_dev.csv")
    ]


def minimal_pairs() -> Rows:
    return [row for row in rows("blimp.jsonl.zst") if row["UID"] == "adjunct_island"]


# our name, its yaml, shots, all rows, the split that is asked, the split that is shown
CASES: list[tuple[str, str, int, Callable[[], Rows], str, str]] = [
    ("arc_challenge", "arc/arc_challenge.yaml", 25, lambda: instructions("ARC-Challenge/train.json"), "test", "train"),
    ("arc_easy", "arc/arc_easy.yaml", 3, lambda: instructions("ARC-Easy/train.json"), "test", "train"),
    ("openbookqa", "openbookqa/openbookqa.yaml", 2, books, "test", "train"),
    ("hellaswag", "hellaswag/hellaswag.yaml", 10, lambda: rows("hellaswag_val_1000.jsonl.gz"), "validation", "train"),
    ("mmlu", "mmlu/default/mmlu_high_school_european_history.yaml", 5, lambda: subject("high_school_european_history"), "test", "dev"),
    ("mmlu", "mmlu/default/mmlu_us_foreign_policy.yaml", 2, lambda: subject("us_foreign_policy"), "test", "dev"),
    ("truthfulqa_mc1", "truthfulqa/truthfulqa_mc1.yaml", 0, truthful, "validation", ""),
    ("truthfulqa_mc2", "truthfulqa/truthfulqa_mc2.yaml", 0, truthful, "validation", ""),
    ("lambada_openai", "lambada/lambada_openai.yaml", 0, passages, "test", ""),
    ("lambada_openai", "lambada/lambada_openai.yaml", 2, passages, "test", ""),
    ("piqa", "piqa/piqa.yaml", 3, physics, "validation", "train"),
    ("winogrande", "winogrande/default.yaml", 5, winograd, "validation", "train"),
    ("boolq", "super_glue/boolq/default.yaml", 2, yes_or_no, "validation", "train"),
    ("copa", "super_glue/copa/default.yaml", 2, causes, "validation", "train"),
    ("blimp", "blimp/adjunct_island.yaml", 0, minimal_pairs, "train", ""),
    ("gsm8k", "gsm8k/gsm8k.yaml", 5, lambda: rows("gsm8k_test.jsonl.gz"), "test", "train"),
]
IDS = [f"{name}-{shots}-{place}" for place, (name, _, shots, _, _, _) in enumerate(CASES)]
Both = tuple[Task, Any]


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[int], Both]]:
    """A case by its number: our task, and lm-eval's with its requests built."""
    if PUBLIC is None:
        pytest.skip("needs ../shared/data/eval beside this clone")
    from lm_eval.api.task import ConfigurableTask
    from lm_eval.tasks._yaml_loader import load_yaml

    made: dict[int, Both] = {}

    def make(number: int) -> Both:
        if number not in made:
            name, yaml, shots, read_rows, asked, shown = CASES[number]
            folder = tmp_path_factory.mktemp("cast") / name
            folder.mkdir()
            listed = read_rows()
            parts = {asked: listed[:ASKED]}
            if shown:
                parts[shown] = listed[-SHOWN:]
            for split, part in parts.items():
                stem = f"{part[0]['subject']}_{split}" if name == "mmlu" else split
                (folder / f"{stem}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in part))
            files = {split: str(next(folder.glob(f"*{split}.jsonl"))) for split in parts}
            config = load_yaml(Path(lm_eval.__file__).parent / "tasks" / yaml)
            config |= {"dataset_path": "json", "dataset_name": None, "dataset_kwargs": {"data_files": files, "cache_dir": str(folder / "cache")}}
            theirs = ConfigurableTask(config=config)
            theirs.set_config("num_fewshot", shots)
            theirs.set_fewshot_seed(1234)
            theirs.build_all_requests()
            made[number] = read_task(name, Data(folder), shots), theirs
        return made[number]

    yield make


@pytest.mark.parametrize("number", range(len(CASES)), ids=IDS)
def test_the_same_questions_byte_for_byte(both, number: int) -> None:
    ours, theirs = both(number)
    if ours.kind == "generate":
        assert [item.requests[0].context for item in ours.items] == [one.args[0] for one in theirs.instances]
        assert theirs.instances[0].args[1]["until"] == list(ours.until)
    else:
        asked = [(request.context, request.continuation) for item in ours.items for request in item.requests]
        assert asked == [tuple(one.args[:2]) for one in theirs.instances]


@pytest.fixture(scope="module")
def tokenizer() -> str:
    text = [row["question"] + " " + row["answer"] for row in rows("gsm8k_test.jsonl.gz")[:600]]
    text += [row["ctx"] + " " + " ".join(row["endings"]) for row in rows("hellaswag_val_1000.jsonl.gz")[:300]]
    return train_bpe(text, 2000, must_reach=True)


@pytest.fixture(scope="module", params=["gpt2", "llama"])
def folder(request: pytest.FixtureRequest, tokenizer: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Hugging Face folder with random weights, sharp enough that answers differ."""
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    if request.param == "gpt2":
        config = transformers.GPT2Config(vocab_size=2048, n_positions=640, n_embd=48, n_layer=2, n_head=4, initializer_range=0.2)
        model = transformers.GPT2LMHeadModel(config)
    else:
        config = transformers.LlamaConfig(
            vocab_size=2048, hidden_size=48, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
            max_position_embeddings=640, initializer_range=0.2, tie_word_embeddings=False,
        )  # fmt: skip
        model = transformers.LlamaForCausalLM(config)
    path = tmp_path_factory.mktemp(request.param)
    model.eval().save_pretrained(path, safe_serialization=True)
    (path / "our-tokenizer.json").write_text(tokenizer)
    transformers.PreTrainedTokenizerFast(tokenizer_file=str(path / "our-tokenizer.json"), eos_token="<|end_of_text|>", pad_token="<|pad|>").save_pretrained(path)
    return path


METRICS = {"mc1": "acc", "mc2": "acc"}
SCORED = [number for number, case in enumerate(CASES) if case[0] != "gsm8k"]


@pytest.mark.parametrize("number", SCORED, ids=[IDS[number] for number in SCORED])
def test_the_same_scores_item_by_item(both, folder: Path, tokenizer: str, number: int) -> None:
    """Log-likelihoods to 1e-3, greedy flags and every metric of every item equal; prompts longer than the 640 tokens among them."""
    from lm_eval.models.huggingface import HFLM

    ours, theirs = both(number)
    model = HFLM(pretrained=str(folder), device="cpu", batch_size=4, dtype="float32")
    found = model.loglikelihood(theirs.instances, disable_tqdm=True)
    words = Tokenizer(tokenizer)
    kit = huggingface.load(folder).eval()
    heard: list[tuple[float, bool]] = []

    class Listening(PrefixScorer):
        def log_likelihoods(self, pairs):
            scored = super().log_likelihoods(pairs)
            heard.extend(scored)
            return scored

    scorer = Listening(CachedLanes(kit).lay_out, 640, 2048)
    measured = measure(ours, scorer, Encoder.of(words))
    assert [log for log, _ in heard] == pytest.approx([log for log, _ in found], abs=1e-3)
    assert [greedy for _, greedy in heard] == [greedy for _, greedy in found]
    by_item: dict[int, list[Any]] = {}
    for one, scored in zip(theirs.instances, found, strict=True):
        by_item.setdefault(one.doc_id, []).append((one, scored))
    for result, its in zip(measured.results, by_item.values(), strict=True):
        values = theirs.process_results(its[0][0].doc, [scored for _, scored in its])
        for metric, value in result.values.items():
            name = METRICS.get(metric, metric)
            if name in values and metric != "perplexity":
                assert value == pytest.approx(values[name], abs=1e-4), (metric, ours.items[result.place].name)
    if number == 0:
        assert measured.prompts_cut > 0  # 25 examples are longer than the context
