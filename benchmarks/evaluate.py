"""The Open LLM Leaderboard's four tasks beside lm-eval's `hf` model: the same weights, the same questions, the same scores, and the time.

    python benchmarks/evaluate.py --data FOLDER [--peers .venv-peers/bin/python] [--items 12] [--rounds 3] [--run RUN] [--json]
    python benchmarks/evaluate.py --data FOLDER --shapes llama-1m --items 640 --rounds 1        the same answers over all questions there are

Two shapes of random weights, saved by transformers (a llama of 6 M with 2,048 places, a GPT-2 of 30 M with 1,024 and its 50,257 tokens), and
with --run a trained run of ours, exported. Of each, in turn and each in a process of its own (A B A B), medians: the seconds from prompts to
log-likelihoods, tokens counted anew, of ARC-Challenge after 25 examples, HellaSwag after 10, MMLU after 5 and TruthfulQA; loading the model and
writing the prompts are left out on both sides. lm-eval reads `--batch` rows at once in float32.

`ratio_to_lm_eval`: the whole leaderboard's time (1,172, 10,042, 14,042 and 817 questions) by the seconds a question took here. MMLU's examples are
shared by a subject's questions, of which there are 246 on average and here as many as --items, in four subjects (the quartiles' middles by the
length of their examples): what a real run gains from that is more. `same_choice_share`: items of which both find the same answer likeliest, summed and per character; then the largest difference of any two
log-likelihoods. DATA is the folder of published files that docs/evaluation.md names; questions for MMLU, of which only the examples are
there, are ARC-easy's and LogiQA's. Run it on an otherwise idle machine.
"""

from __future__ import annotations

import argparse
import io
import json
import re
import resource
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path
from typing import Any

FULL = {"arc_challenge": 1172, "hellaswag": 10_042, "mmlu": 14_042, "truthfulqa": 817}
SHOTS = {"arc_challenge": 25, "hellaswag": 10, "mmlu": 5, "truthfulqa_mc1": 0, "truthfulqa_mc2": 0}
SUBJECTS = 4
POOL = 120  # examples to draw from
SHAPES = ("llama-6m", "gpt2-30m", "llama-1m")
HERE = Path(__file__).resolve().parent
Rows = list[dict[str, Any]]


def cast(data: Path, items: int, folder: Path) -> None:
    """The published files in the hub's form, which both sides read."""
    from groundup.evaluation.tasks.rows import read

    def rows(name: str) -> Rows:
        return [dict(row.values) for row in read(data / name)]

    def put(name: str, listed: Rows) -> None:
        path = folder / f"{name}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(json.dumps(row) + "\n" for row in listed))

    science = _science(data)
    put("arc_challenge/test", science[:items])
    put("arc_challenge/train", science[-POOL:])
    swag = rows("hellaswag_val_1000.jsonl.gz")
    put("hellaswag/validation", swag[:items])
    put("hellaswag/train", swag[-POOL:])

    def split(targets: dict[str, int]) -> dict[str, list[Any]]:
        return {"choices": list(targets), "labels": list(targets.values())}

    truthful = rows("truthfulqa_mc_task.json.gz")[:items]
    put("truthfulqa/validation", [{"question": row["question"], **{name: split(row[name]) for name in ("mc1_targets", "mc2_targets")}} for row in truthful])
    files = sorted((data / "mmlu_dev").glob("*_dev.csv"), key=lambda path: path.stat().st_size)  # those of usual length, short to long
    questions = _four_answers(rows("mosaic_gauntlet/world_knowledge/arc_easy.jsonl.gz"), rows("mosaic_gauntlet/symbolic_problem_solving/logi_qa.jsonl.gz"))
    for number, path in enumerate(files[len(files) // (2 * SUBJECTS) :: len(files) // SUBJECTS][:SUBJECTS]):
        subject = path.name.removesuffix("_dev.csv")
        shown = [
            {"question": row["question"], "subject": subject, "choices": [row[f"choice{place}"] for place in range(4)], "answer": int(row["answer"])}
            for row in rows(f"mmlu_dev/{path.name}")
        ]
        put(f"mmlu/{subject}_dev", shown)
        put(f"mmlu/{subject}_test", [{**one, "subject": subject} for one in questions[number * items : (number + 1) * items]])


def _science(data: Path) -> Rows:
    """ARC-Challenge's questions out of the instructions that were made of them."""
    import pyarrow as pa

    with pa.input_stream(str(data / "llm_adapters_train_sets.tar.zst")) as stream, tarfile.open(fileobj=io.BytesIO(stream.read())) as tar:
        file = tar.extractfile("ARC-Challenge/train.json")
        assert file is not None
        listed = json.load(file)
    found: Rows = []
    for number, one in enumerate(listed):
        match = re.match(r"Please choose the correct answer to the question: (.*)\n\n(Answer1: .*)\n\nAnswer format", one["instruction"], re.DOTALL)
        assert match is not None
        texts = [text.strip() for text in re.split(r"Answer\d: ", match[2])[1:]]
        labels = list("ABCDE"[: len(texts)])
        found.append({"id": str(number), "question": match[1], "choices": {"text": texts, "label": labels}, "answerKey": labels[int(one["answer"][-1]) - 1]})
    return found


def _four_answers(easy: Rows, logic: Rows) -> Rows:
    """Three of ARC-easy's, one of LogiQA's, and so on: short and long, as MMLU's are."""
    found: Rows = []
    for number, one in enumerate(logic):
        text, _, answers = one["query"].removeprefix("Context: ").rpartition("\nChoices: ")
        choices = [part.strip() for part in re.split(r"(?:^|\n)[A-D]\. ", answers)[1:]]
        if len(choices) == 4 and all(choices):
            found.append({"question": text, "choices": choices, "answer": int(one["gold"])})
        its = [row for row in easy[3 * number : 3 * number + 3] if len(row["choices"]) == 4]
        found += [{"question": row["query"].removeprefix("Question: "), "choices": row["choices"], "answer": int(row["gold"])} for row in its]
    return found


def make(shape: str, folder: Path, tokenizer: str) -> None:
    """A model of random weights, so sharp that its answers differ, saved by transformers."""
    import torch
    import transformers

    torch.manual_seed(0)
    if shape == "gpt2-30m":
        gpt2 = transformers.GPT2Config(vocab_size=50_257, n_positions=1024, n_embd=384, n_layer=6, n_head=6, initializer_range=0.06, bos_token_id=0, eos_token_id=0)
        transformers.GPT2LMHeadModel(gpt2).save_pretrained(folder)
    else:
        width, layers = (256, 6) if shape == "llama-6m" else (64, 3)
        llama = transformers.LlamaConfig(
            vocab_size=8192, hidden_size=width, num_hidden_layers=layers, num_attention_heads=4, intermediate_size=11 * width // 4, max_position_embeddings=2048,
            initializer_range=0.06, tie_word_embeddings=True,
        )  # fmt: skip
        transformers.LlamaForCausalLM(llama).save_pretrained(folder)
    (folder / "tokenizer.json").write_text(tokenizer)
    words = transformers.PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"), eos_token="<|end_of_text|>", pad_token="<|pad|>")
    words.save_pretrained(folder)


def texts(data: Path) -> list[str]:
    """What the tokenizer is trained on."""
    return [line for path in sorted(data.rglob("*.jsonl")) for line in path.read_text().splitlines()]


def ours(model: Path, data: Path) -> dict[str, Any]:
    """Seconds and log-likelihoods by task."""
    from groundup.evaluation.measure import measure
    from groundup.evaluation.subject import of_folder
    from groundup.evaluation.tasks import Data, read_task

    subject = of_folder(model)
    heard: list[float] = []
    plain = subject.scorer.log_likelihoods

    def listening(pairs: Any) -> Any:
        found = plain(pairs)
        heard.extend(log for log, _ in found)
        return found

    subject.scorer.log_likelihoods = listening  # type: ignore[method-assign]
    seconds: dict[str, float] = {}
    logs: dict[str, list[float]] = {}
    for name, shots in SHOTS.items():
        task = read_task(name, Data(data / name.partition("_mc")[0]), shots)
        heard.clear()
        measured = measure(task, subject.scorer, subject.encoder)
        seconds[name], logs[name] = measured.seconds, list(heard)
    scorer: Any = subject.scorer
    return {
        "seconds": seconds, "logs": logs, "peak_memory_gib": _peak(), "tokens_read": getattr(scorer, "tokens_read", None), "tokens_asked": getattr(scorer, "tokens_asked", None),
    }  # fmt: skip


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def compare(mine: dict[str, list[float]], its: dict[str, list[float]], data: Path) -> tuple[int, int, float]:
    """Choices that agree, of how many, and the largest difference of a log-likelihood."""
    from groundup.evaluation.tasks import Data, read_task

    same = total = 0
    largest = 0.0
    for name, shots in SHOTS.items():
        task = read_task(name, Data(data / name.partition("_mc")[0]), shots)
        assert len(mine[name]) == len(its[name]), name
        begin = 0
        for item in task.items:
            span = slice(begin, begin + len(item.requests))
            begin = span.stop
            largest = max(largest, *(abs(one - other) for one, other in zip(mine[name][span], its[name][span], strict=True)))
            lengths = [len(choice) for choice in item.choices] or [1] * len(item.requests)
            for sizes in ([1] * len(lengths), lengths):
                chosen = [max(range(len(sizes)), key=lambda place: logs[name][span][place] / sizes[place]) for logs in (mine, its)]
                same, total = same + (chosen[0] == chosen[1]), total + 1
    return same, total, largest


def run(command: list[str]) -> dict[str, Any]:
    """One measurement in a process of its own."""
    began = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, timeout=3600)
    if done.returncode:
        raise SystemExit(f"{command[:2]}: {done.stderr[-1500:]}")
    print(f"  {Path(command[1]).name} {time.monotonic() - began:.0f} s", file=sys.stderr)
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def whole(seconds: dict[str, float], data: Path) -> float:
    """The whole leaderboard's seconds by those of a question; TruthfulQA's two scores are two questions to one text."""
    total = 0.0
    for name, full in FULL.items():
        files = [path for path in (data / name).glob("*.jsonl") if path.stem.endswith(("test", "validation"))]
        asked = sum(len(path.read_text().splitlines()) for path in files)
        total += full / asked * sum(value for task, value in seconds.items() if task.partition("_mc")[0] == name)
    return total


def one_shape(name: str, folder: Path, cast_to: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Both sides in turn."""
    found: dict[str, list[dict[str, Any]]] = {"groundup": [], "lm-eval": []}
    spec = {"model": str(folder), "data": str(cast_to), "batch": arguments.batch, "shots": SHOTS}
    for number in range(arguments.rounds):
        print(f"{name}, round {number + 1}", file=sys.stderr)
        found["groundup"].append(run([sys.executable, __file__, "--worker", str(folder), "--data", str(cast_to)]))
        found["lm-eval"].append(run([str(arguments.peers), str(HERE / "evaluate_peer.py"), json.dumps(spec)]))
    same, total, largest = compare(found["groundup"][0]["logs"], found["lm-eval"][0]["logs"], cast_to)
    middle = {who: {task: statistics.median(one["seconds"][task] for one in its) for task in SHOTS} for who, its in found.items()}
    ratios = [whole(its["seconds"], cast_to) / whole(mine["seconds"], cast_to) for mine, its in zip(*found.values(), strict=True)]
    first = found["groundup"][0]
    return {
        "shape": name, "ratio_to_lm_eval": round(statistics.median(ratios), 2), "lowest": round(min(ratios), 2), "highest": round(max(ratios), 2),
        "ratio_by_task": {task: round(middle["lm-eval"][task] / middle["groundup"][task], 2) for task in SHOTS},
        "seconds": {who: {task: round(value, 2) for task, value in its.items()} for who, its in middle.items()},
        "peak_memory_gib": {who: round(max(one["peak_memory_gib"] for one in its), 2) for who, its in found.items()},
        "tokens_read_share": round(first["tokens_read"] / first["tokens_asked"], 3), "same_choice_share": same / total, "choices": total,
        "largest_log_likelihood_difference": largest,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--peers", type=Path, default=Path(".venv-peers/bin/python"), help="Interpreter that has lm-eval (make peers).")
    parser.add_argument("--items", type=int, default=12, help="Questions of each task, and of each MMLU subject.")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch", type=int, default=8, help="lm-eval's batch size.")
    parser.add_argument("--shapes", nargs="*", default=list(SHAPES[:2]), choices=list(SHAPES))
    parser.add_argument("--run", type=Path, help="A run of ours, exported and evaluated too.")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        print(json.dumps(ours(arguments.worker, arguments.data)))
        return
    if not arguments.peers.exists():
        raise SystemExit(f"no {arguments.peers}: run `make peers`, or name an interpreter that has lm-eval with --peers")
    from groundup.tokens.trainers import train_bpe

    shapes: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as home:
        cast_to = Path(home) / "data"
        cast(arguments.data, arguments.items, cast_to)
        tokenizer = train_bpe(texts(cast_to), 8000, must_reach=False)
        for name in arguments.shapes:
            folder = Path(home) / name
            folder.mkdir()
            make(name, folder, tokenizer)
            shapes.append(one_shape(name, folder, cast_to, arguments))
        if arguments.run:
            from groundup.export import export
            from groundup.run import Run

            folder = Path(home) / "exported"
            export(Run.read(arguments.run), "hf", folder, base=True, dtype=None, quantize=None)
            shapes.append(one_shape(arguments.run.name, folder, cast_to, arguments))
    result = {
        "items": arguments.items, "rounds": arguments.rounds, "batch": arguments.batch, "ratio_to_lm_eval": min(one["ratio_to_lm_eval"] for one in shapes),
        "same_choice_share": sum(one["same_choice_share"] * one["choices"] for one in shapes) / sum(one["choices"] for one in shapes),
        "largest_log_likelihood_difference": max(one["largest_log_likelihood_difference"] for one in shapes), "shapes": shapes,
    }  # fmt: skip
    if arguments.json:
        print(json.dumps(result))
        return
    for one in shapes:
        print(f"{one['shape']}: {one['ratio_to_lm_eval']} times lm-eval's speed ({one['lowest']} to {one['highest']}); {one['ratio_by_task']}")
        print(f"  seconds {one['seconds']}\n  peak memory {one['peak_memory_gib']} GiB; {one['tokens_read_share']:.1%} of the tokens read")
        print(f"  same choice {one['same_choice_share']:.4%} of {one['choices']:,}, log-likelihoods apart {one['largest_log_likelihood_difference']:.2e} at most")


if __name__ == "__main__":
    main()
