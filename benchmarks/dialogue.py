"""Every way from a base model to an assistant, from one base on a CPU: do they work, and what does each gain and cost?

    python benchmarks/dialogue.py --data ../shared/data [--quick] [--runs runs] [--seeds 3] [--minutes 30] [--json]

One base is trained on the pretraining data (kept in --runs, so a second call begins with it). From it, for each seed: SFT, LIMA-style on
1,000 picked, C-RLFT with two classes, DPO after SFT, and SFT + reward model + PPO with pretraining text; on instruct/ and preference/. A
tenth of the prompts (by their text) is held out everywhere. The table, each figure the mean over the seeds:

    reward        of answers to the held-out prompts, by a judge: a reward model of its own seed that no PPO run has seen
    kl            to the seed's SFT model, nats an answer (its own samples, temperature 1)
    distinct-2    different bigrams of words as a share of all (Li et al. 2016)
    ends          answers that come to an end
    follows       answers right by rule, of the held-out tasks that a rule can check (`rule_of`)

and two claims: what PPO gains over SFT on held-out prompts by the reward model that it was trained against, in standard errors (paired by
prompt, over all seeds' prompts), at a KL below the cap; beside it the gain by the judge, which says how much of that is more than the
reward model's mistakes; and the share of exact answers that GRPO reaches on copying, reversing and adding, beside SFT's.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from groundup import recipe as recipes
from groundup.build import build
from groundup.dialogue.author import Asked, Author, logps_of
from groundup.dialogue.format.conversations import read_conversations
from groundup.dialogue.format.preferences import read_rankings
from groundup.dialogue.format.record import Conversation, Message
from groundup.dialogue.link import Ground
from groundup.dialogue.material import held_out
from groundup.dialogue.reward_model import RewardModel
from groundup.dialogue.speaker import Speaker
from groundup.dialogue.tune import chain
from groundup.generation import Engine, SamplingSettings
from groundup.models.decoder import Decoder
from groundup.run import Run, read_json
from groundup.training import checkpoint

KL_CAP = 10.0  # nats an answer: Ziegler et al. 2019 steer to 6, Stiennon et al. 2020 find over-optimisation from about 10 on
HELD_OUT = 0.1
JUDGE_SEED = 99
METHODS: dict[str, list[Any]] = {
    "sft": ["sft"],
    "lima": [{"method": "lima", "epochs": 5, "examples": 1000, "learning_rate_share": 0.2}],
    "openchat": [{"method": "openchat", "classes": {"expert": 1.0, "other": 0.3}, "epochs": 3}],
    "dpo": ["sft", {"method": "dpo", "learning_rate_share": 0.05, "epochs": 2}],
    "ppo": ["sft", {"method": "reward", "epochs": 2, "learning_rate_share": 0.15}, {"method": "ppo", "episodes": 2048, "rollouts": 256, "minibatch": 64, "max_tokens": 64, "kl": 0.1, "lam": 1.0, "pretraining": 0.1}],
}  # fmt: skip
QUICK = {"ppo": {"episodes": 768, "rollouts": 128}, "lima": {"epochs": 2}, "openchat": {"epochs": 1}, "dpo": {"epochs": 1}, "reward": {"epochs": 1}}
TOYS = 18_000  # prompts, a third of each kind; of those that are not held out SFT is shown so many solved
TOY_SFT = {"copy": 250, "reverse": 250, "add": 5000}
TOY_GRPO = {"method": "grpo", "group": 8, "batch": 256, "max_tokens": 12, "learning_rate_share": 0.03, "kl": 0.0}


# --- data ----------------------------------------------------------------------------------------------------------------


def instruct_files(data: Path, work: Path) -> dict[str, Any]:
    """Conversations without the held-out prompts, in two classes, and preferences as they are."""
    rows: list[str] = []
    for name, condition in (("rasbt_instruction_1100.json.gz", "expert"), ("alpaca_en_demo_1k.json.gz", "other"), ("dolly_hhrlhf_1k.jsonl.gz", "other")):
        for _, talk in read_conversations(data / "instruct" / name):
            if not held_out(talk.messages[:-1], HELD_OUT):
                rows.append(Conversation(talk.messages, condition, name).to_json())
    path = work / "conversations.jsonl"
    path.write_text("".join(row + "\n" for row in rows))
    plain = work / "plain.jsonl"
    plain.write_text("".join(json.dumps({**json.loads(row), "condition": None}) + "\n" for row in rows))
    return {"openchat": [str(path)], "pairs": [str(plain)], "preferences": [str(data / "preference" / "rasbt_pref_1100.json.gz")]}


def rule_of(instruction: str, reference: str) -> Callable[[str], bool] | None:
    """A rule that an answer to the instruction must meet, where one can be told: it starts as asked; it says the numbers that the
    reference says; it is the reference, where that is three words or fewer."""
    asked = re.search(r"(?:start|begin)s? with [\"'‘“]([^\"'’”]+)", instruction, re.IGNORECASE)
    if asked:
        return lambda answer: answer.strip().lower().startswith(asked[1].lower())
    numbers = set(re.findall(r"\d+(?:[.,]\d+)*", reference)) - set(re.findall(r"\d+(?:[.,]\d+)*", instruction))
    if numbers:
        return lambda answer: numbers <= set(re.findall(r"\d+(?:[.,]\d+)*", answer))
    if len(reference.split()) <= 3:
        return lambda answer: plain_words(answer) == plain_words(reference)
    return None


def plain_words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


def toys(work: Path) -> dict[str, str]:
    """Copying, reversing and adding: prompts, each with the rule for it, and a few solved ones. SFT is shown little copying and reversing,
    and most sums: GRPO learns where some answers to a prompt are right and some wrong, and of sums that are hardly ever right it would learn nothing."""
    draw, seen = random.Random(5), set()
    asked, solved = [], {kind: list[dict[str, str]]() for kind in TOY_SFT}
    while len(asked) < TOYS:
        kind = draw.choice(list(TOY_SFT))
        if kind == "add":
            a, b = draw.randint(10, 99), draw.randint(10, 99)
            prompt, answer = f"{' '.join(str(a))} + {' '.join(str(b))}", " ".join(str(a + b))
        else:
            letters = [draw.choice("abcdefghij") for _ in range(5)]
            prompt, answer = f"{kind} {' '.join(letters)}", " ".join(letters if kind == "copy" else letters[::-1])
        if prompt in seen:
            continue
        seen.add(prompt)
        asked.append({"prompt": prompt, "verify": {"kind": "exact", "answer": answer}})
        if len(solved[kind]) < TOY_SFT[kind] and not held_out((Message("user", prompt),), HELD_OUT):
            solved[kind].append({"question": prompt, "answer": answer})
    found = {}
    for name, rows in (("solved", [row for some in solved.values() for row in some]), ("asked", asked)):
        found[name] = str(work / f"{name}.jsonl")
        Path(found[name]).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return found


# --- building ------------------------------------------------------------------------------------------------------------


def base(data: Path, runs: Path, minutes: float, quick: bool) -> Run:
    """The base model, built or found in --runs."""
    texts = ["gov_posts_recipes_manuals"] if quick else ["openstax", "gov_posts_recipes_manuals", "web_samples", "wiki_demo"]
    recipe = recipes.parse({
        "name": f"dialogue-base-{minutes:g}{'-quick' if quick else ''}", "seed": 1,
        "sources": [{"kind": "files", "name": name, "path": str(data / "pretrain" / f"{name}.jsonl.zst")} for name in texts],
        "tokens": {"vocabulary": 4096}, "model": {"context": 256}, "training": {"minutes": minutes},
    })  # fmt: skip
    run = Run.open(runs / recipe.name, recipe)
    build(run, until="pretrain")
    run.close()  # it is only read from here on, by another call beside this one too
    return run


def ground(base: Run, runs: Path, name: str, seed: int, dialogue: dict[str, Any]) -> Ground:
    """A run of its own to tune the base in, with another seed."""
    recipe = recipes.parse({**recipes_data(base), "name": name, "seed": seed, "dialogue": dialogue})
    found = checkpoint.newest(base.path / "checkpoints")
    manifest = base.manifest("checkpoints")
    assert found is not None and manifest is not None and recipe.dialogue is not None
    run = Run.open(runs / name, recipe)
    return Ground(
        run, recipe.dialogue, found, (base.path / "tokenizer" / "tokenizer.json").read_text(), read_json(base.path / "plan" / "plan.json"),
        manifest["counts"]["tokens_per_second"], {"pretrain": manifest["digest"]}, None, None, base.path / "tokens",
    )  # fmt: skip


def recipes_data(base: Run) -> dict[str, Any]:
    found: dict[str, Any] = base.recipe.model_dump(mode="json", exclude={"dialogue", "name", "seed"})
    return found


def stages(method: str, quick: bool) -> list[Any]:
    """A method's chain, smaller with --quick."""
    found = [{"method": one} if isinstance(one, str) else dict(one) for one in METHODS[method]]
    return [{**one, **(QUICK.get(one["method"], {}) if quick else {})} for one in found]


# --- measuring -----------------------------------------------------------------------------------------------------------


def prompts(files: dict[str, Any], speaker: Speaker, room: int) -> tuple[list[Asked], list[tuple[str, str]]]:
    """Held-out prompts, and of each instruction and reference."""
    asked, known = [], []
    for _, one in read_rankings(Path(files["preferences"][0])):
        if held_out(one.prompt, HELD_OUT) and speaker.template is not None:
            tokens = speaker.template.prompt(one.prompt)
            if len(tokens) <= room:
                asked.append(Asked(tuple(tokens)))
                known.append((one.prompt[-1].content, one.answers[0]))
    return asked, known


def measured(given: Ground, sft: Path, judge: RewardModel, files: dict[str, Any], tokens: int) -> dict[str, Any]:
    """The figures of a tuned model; `scores` prompt by prompt, `written` the answers in SFT's words."""
    speaker, before = Speaker.of(given.run.path), Speaker.of(sft)
    assert speaker.template is not None and before.template is not None
    model, reference = speaker.model(), before.model()
    assert isinstance(model, Decoder) and isinstance(reference, Decoder)
    end, pad = speaker.template.end, speaker.words.special["<|pad|>"]
    asked, known = prompts(files, speaker, model.config.context - tokens)
    author = Author(
        model, lambda plain: Engine(plain, speaker.words, slots=32, ends=[end]), SamplingSettings(temperature=1.0, top_k=0, top_p=1.0, min_p=0.0, max_tokens=tokens)
    )
    written = author.write(asked, seed=7)
    # the judge and SFT read what was said after their own prompt (C-RLFT writes prompts in another way)
    theirs, _ = prompts(files, before, 1 << 30)
    said = [one.sequence.tokens[one.sequence.asked :] for one in written]
    sequences = [type(one.sequence)((*prompt.tokens, *answer), len(prompt.tokens)) for one, prompt, answer in zip(written, theirs, said, strict=False)]
    scores = judge.scores(sequences)
    kl = [float((own - other).sum()) for own, other in zip(logps_of(model, [one.sequence for one in written], pad), logps_of(reference, sequences, pad), strict=True)]
    texts = [one.text for one in written]
    bigrams = [pair for text in texts for pair in zip(plain_words(text), plain_words(text)[1:], strict=False)]
    # what is right does not hang on luck: the likeliest answer
    likeliest = author.write(asked, seed=7, greedy=True)
    rules = [(rule, one.text) for (instruction, answer), one in zip(known, likeliest, strict=True) if (rule := rule_of(instruction, answer)) is not None]
    return {
        "scores": scores, "written": sequences, "reward": sum(scores) / len(scores), "kl": sum(kl) / len(kl), "distinct_2": len(set(bigrams)) / max(1, len(bigrams)),
        "ends": sum(one.ended for one in written) / len(written), "follows": sum(rule(text) for rule, text in rules) / max(1, len(rules)), "rules": len(rules),
        "response_tokens": sum(map(len, said)) / len(said), "seconds": round(read_json(given.run.path / "dialogue" / "manifest.json")["seconds"], 1),
    }  # fmt: skip


def paired(one: Sequence[float], other: Sequence[float]) -> float:
    """The mean gain in its standard errors."""
    gain = torch.tensor(one, dtype=torch.float64) - torch.tensor(other, dtype=torch.float64)
    return float(gain.mean() / (gain.std() / len(gain) ** 0.5))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with pretrain/, instruct/ and preference/")
    parser.add_argument("--runs", type=Path, help="where runs are kept; a temporary folder when not given")
    parser.add_argument("--quick", action="store_true", help="one seed, small budgets")
    parser.add_argument("--seeds", type=int)
    parser.add_argument("--minutes", type=float, help="of pretraining")
    parser.add_argument("--only", nargs="*", choices=[*METHODS, "grpo"], help="these alone (sft with any but grpo)")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    minutes = arguments.minutes or (3.0 if arguments.quick else 30.0)
    with tempfile.TemporaryDirectory() as temporary:
        runs = arguments.runs or Path(temporary)
        runs.mkdir(parents=True, exist_ok=True)
        found = everything(arguments.data.resolve(), runs, minutes, arguments.seeds or (1 if arguments.quick else 3), arguments.quick, arguments.only or [*METHODS, "grpo"])
    print(json.dumps(found) if arguments.json else as_text(found))


def everything(data: Path, runs: Path, minutes: float, seeds: int, quick: bool, only: Sequence[str]) -> dict[str, Any]:
    trained = base(data, runs, minutes, quick)
    tag = f"{minutes:g}{'-quick' if quick else ''}"
    found: dict[str, Any] = {"minutes": minutes, "seeds": seeds}
    if set(only) & set(METHODS):
        found |= compared(data, runs, trained, tag, seeds, quick, only)
    if "grpo" in only:
        found |= exact_answers(runs, trained, tag, seeds, passes=8 if quick else 6, episodes=128_000 if quick else 102_400)
    return found


def compared(data: Path, runs: Path, trained: Run, tag: str, seeds: int, quick: bool, only: Sequence[str]) -> dict[str, Any]:
    """The table, and what PPO gains."""
    files = instruct_files(data, runs)
    common = {"pairs": files["pairs"], "preferences": files["preferences"], "minutes": 1.5 if quick else 3.0}
    tokens = 64
    table: dict[str, list[dict[str, Any]]] = {}
    judged = ground(trained, runs, f"judge-{tag}", JUDGE_SEED, {**common, "stages": stages("ppo", quick)[:2]})
    chain(judged)
    accuracy = judged.run.manifest("dialogue/2-reward")["counts"]  # type: ignore[index]
    words = Speaker.of(judged.run.path)
    judge = RewardModel.load(judged.run.path / "dialogue" / "2-reward", words.words.digest, words.words.special["<|pad|>"])
    by_judge: dict[str, list[float]] = {"ppo": [], "sft": []}
    by_own: dict[str, list[float]] = {"ppo": [], "sft": []}
    for seed in range(1, seeds + 1):
        first: Path | None = None
        answers: list[Any] = []
        for method in [name for name in METHODS if name == "sft" or name in only]:
            more = {**common, "stages": stages(method, quick)}
            if method == "openchat":  # its classes stand in front of each turn; the marks are those of all
                more["pairs"] = files["openchat"]
            given = ground(trained, runs, f"{method}-{tag}-{seed}", seed, more)
            if first is not None and more["stages"][0]["method"] == "sft" and not (given.run.path / "dialogue").exists():
                shutil.copytree(first / "dialogue" / "1-sft", given.run.path / "dialogue" / "1-sft")  # the same, and trained already
            began = time.perf_counter()
            chain(given)
            first = first or given.run.path
            row = measured(given, first, judge, files, tokens)
            say(f"{method}, seed {seed}: {time.perf_counter() - began:.0f} s, reward {row['reward']:.3f}, kl {row['kl']:.2f}")
            if method == "sft":
                answers = row["written"]
            if method == "ppo":
                own = RewardModel.load(given.run.path / "dialogue" / "2-reward", words.words.digest, judge.pad)
                by_own["sft"] += own.scores(answers)
                by_own["ppo"] += own.scores(row["written"])
            if method in by_judge:
                by_judge[method] += row["scores"]
            table.setdefault(method, []).append({name: value for name, value in row.items() if name not in ("scores", "written")})
            given.run.close()
    ppo = {
        "ppo_reward_gain_in_standard_errors": paired(by_own["ppo"], by_own["sft"]), "ppo_judge_gain_in_standard_errors": paired(by_judge["ppo"], by_judge["sft"]),
        "ppo_kl": sum(row["kl"] for row in table["ppo"]) / seeds,
    } if "ppo" in table else {}  # fmt: skip
    return {
        "table": {method: {name: sum(row[name] for row in rows) / len(rows) for name in rows[0]} for method, rows in table.items()},
        "by_seed": table, "judge": {name: accuracy.get(name) for name in ("accuracy", "standard_error", "length_accuracy", "chance", "expected_calibration_error", "held_out_pairs")},
        "kl_cap": KL_CAP, **ppo,
    }  # fmt: skip


def exact_answers(runs: Path, trained: Run, tag: str, seeds: int, passes: int, episodes: int) -> dict[str, Any]:
    """What GRPO makes of the toys; `passes` of SFT before it, `episodes` of its own: a smaller base needs more."""
    toy = toys(runs)
    shares = []
    for seed in range(1, seeds + 1):
        given = ground(trained, runs, f"grpo-{tag}-{seed}", seed, {
            "pairs": [toy["solved"]], "prompts": [toy["asked"]], "max_epochs": passes, "minutes": 60, "learning_rate_share": 1.0,
            "stages": ["sft", {**TOY_GRPO, "episodes": episodes, "held_out": HELD_OUT}],
        })  # fmt: skip
        chain(given)
        counts = given.run.manifest("dialogue/2-grpo")["counts"]  # type: ignore[index]
        shares.append(exact(given, toy["asked"]))
        say(f"grpo, seed {seed}: from {shares[-1][0]:.1%} to {shares[-1][1]:.1%} exact ({counts['steps']} steps)")
        given.run.close()
    return {
        "sft_exact_answer_share": sum(one for one, _ in shares) / seeds, "grpo_exact_answer_share": sum(one for _, one in shares) / seeds,
        "exact_answer_shares_by_seed": shares,
    }  # fmt: skip


def exact(given: Ground, asked: str) -> tuple[float, float]:
    """The share of held-out toys whose likeliest answer is right, before GRPO and after."""
    shares = []
    rows = [row for row in map(json.loads, Path(asked).read_text().splitlines()) if held_out((Message("user", row["prompt"]),), HELD_OUT)][:600]
    for folder in ("1-sft", "2-grpo"):
        speaker = Speaker.at(given.run.path / "dialogue" / folder)
        assert speaker.template is not None
        answers = speaker.engine().generate_many([speaker.template.ask(row["prompt"]) for row in rows], SamplingSettings(temperature=0.0, max_tokens=16))
        shares.append(sum(one[0].text.strip() == row["verify"]["answer"] for one, row in zip(answers, rows, strict=True)) / len(rows))
    return shares[0], shares[1]


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def as_text(found: dict[str, Any]) -> str:
    lines = [f"base: {found['minutes']:g} minutes; seeds: {found['seeds']}"]
    if "table" in found:
        judge = found["judge"]
        lines += [
            f"judge: {judge['accuracy']:.1%} of {judge['held_out_pairs']} held-out pairs right; the longer answer wins: {judge['length_accuracy']:.1%}; chance: 50 %",
            "",
            "| | reward | KL | distinct-2 | ends | follows | tokens | seconds |", "|---|---:|---:|---:|---:|---:|---:|---:|",
        ]  # fmt: skip
        for method, row in found["table"].items():
            lines.append(
                f"| {method} | {row['reward']:.3f} | {row['kl']:.2f} | {row['distinct_2']:.3f} | {row['ends']:.1%} | {row['follows']:.1%} | {row['response_tokens']:.0f} | {row['seconds']:.0f} |"
            )
    if "ppo_kl" in found:
        lines.append(f"\nPPO over SFT: {found['ppo_reward_gain_in_standard_errors']:.1f} standard errors at KL {found['ppo_kl']:.2f} (cap {found['kl_cap']:g}); by the judge {found['ppo_judge_gain_in_standard_errors']:.1f}")
    if "grpo_exact_answer_share" in found:
        lines.append(f"exact answers on copy, reverse, add: SFT {found['sft_exact_answer_share']:.1%}, GRPO {found['grpo_exact_answer_share']:.1%}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
