"""The chain end to end on a small model: each method learns what it is for, is cut off and goes on to the same files, merges, and says
what is wrong."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from grounds import files, ground, write_rows

from groundup.dialogue import material
from groundup.dialogue.author import Asked, Author, logps_of
from groundup.dialogue.format.record import Conversation, Message
from groundup.dialogue.link import Ground
from groundup.dialogue.rollouts import Experience, Rollouts
from groundup.dialogue.speaker import Speaker, Speech
from groundup.dialogue.supervised import perplexities
from groundup.dialogue.tune import chain
from groundup.errors import GroundupError, RequestError, Stopped
from groundup.generation import Engine, SamplingSettings
from groundup.models.decoder import Decoder
from groundup.run import Stage, digest_folder
from groundup.training import checkpoint, trainer

SFT: dict[str, Any] = {"steps": 60, "learning_rate_share": 1.0}
REWARD = {"method": "reward", "epochs": 12, "batch": 16, "learning_rate_share": 1.0, "held_out": 0.2}
PPO = {
    "method": "ppo", "episodes": 512, "rollouts": 64, "minibatch": 32, "max_tokens": 8, "learning_rate_share": 0.5, "pretraining": 0.01, "held_out": 0.3,
    "looks": 2,
}  # fmt: skip


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run tuned by SFT, and the files that it was tuned on."""
    folder = tmp_path_factory.mktemp("chain")
    given = ground(folder / "run", {**SFT, "stages": ["sft"]}, home=folder / "files")
    chain(given)
    given.run.close()
    return folder


@pytest.fixture
def after_sft(home: Path, tmp_path: Path) -> Callable[..., Ground]:
    """The same run in a folder of its own, to go on with these stages."""

    def make(stages: list[Any], name: str = "run", **more: Any) -> Ground:
        if not (tmp_path / name).exists():
            shutil.copytree(home / "run", tmp_path / name)
        return ground(tmp_path / name, {**SFT, "stages": ["sft", *stages], **more}, home=home / "files")

    return make


def manifest(given: Ground, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((given.run.path / "dialogue" / name / "manifest.json").read_text())
    return found["counts"]


def capitals(given: Ground) -> float:
    """Share of the answers with a capital letter in them."""
    speaker = Speaker.of(given.run.path)
    assert speaker.template is not None
    engine = speaker.engine()
    settings = SamplingSettings(temperature=1.0, min_p=0.0, seed=1, max_tokens=8)
    found = engine.generate_many([speaker.template.ask(f"{word} 99") for word in ("red", "sea", "moon", "ash", "ten", "no", "yes", "one")] * 4, settings)
    return sum(any(letter.isupper() for letter in one[0].text) for one in found) / len(found)


def test_instructgpt_end_to_end(after_sft: Callable[..., Ground]) -> None:
    """SFT mixes capitals and not; the reward model learns to tell them apart; PPO with pretraining text writes capitals."""
    given = after_sft([REWARD, PPO])
    stage = chain(given)
    assert stage.final.name == "3-ppo"
    judged = manifest(given, "2-reward")
    assert judged["accuracy"] > 0.9 and judged["chance"] == 0.5 and judged["length_accuracy"] == 0.5 and judged["held_out_pairs"] >= 5
    found = manifest(given, "3-ppo")
    assert found["held_out_score"] - found["before"]["held_out_score"] > 2 * found["before"]["held_out_standard_error"]
    assert abs(found["before"]["held_out_kl"]) < 1e-4 < found["held_out_kl"]
    assert capitals(given) > 0.9
    events = given.run.events("train", stage.key)
    assert {"clip_fraction", "entropy", "value_loss", "pretraining", "old_kl"} <= events[-1].keys()
    assert {"score", "kl", "beta", "response_tokens", "ended"} <= given.run.events("rollout", stage.key)[-1].keys()
    whole = json.loads((given.run.path / "dialogue" / "manifest.json").read_text())
    assert whole["chain"] == ["1-sft", "2-reward", "3-ppo"] and whole["speaks"] == "3-ppo" and whole["digest"] == stage.digest
    (wins,) = whole["win_rates"]
    assert (wins["stage"], wins["over"]) == ("3-ppo", "1-sft") and wins["win_rate"] > 0.5 and wins["prompts"] > 5
    assert not (stage.final / "rounds").exists()
    # all that speak answer the same questions, which no later stage has learned from
    assert len(whole["answers"]) == 5 and all(list(row["answers"]) == ["1-sft", "3-ppo"] for row in whole["answers"])
    held = {task.prompt[0].content for task in material.tasks([], given.wish.preferences) if material.held_out(task.prompt, 0.2)}
    assert {row["question"] for row in whole["answers"]} <= held
    assert sum(any(map(str.isupper, row["answers"]["3-ppo"])) for row in whole["answers"]) >= 4
    # what is talked to has no critic
    speaker = Speaker.of(given.run.path)
    assert type(speaker.model()) is Decoder
    assert chain(given).digest == stage.digest  # nothing is left to do


@pytest.mark.parametrize("method", ["dpo", *(pytest.param(name, marks=pytest.mark.slow) for name in ("ipo", "kto", "orpo", "simpo"))])
def test_preferences_make_it_prefer(after_sft: Callable[..., Ground], method: str) -> None:
    beta = {"simpo": 4.0, "orpo": 1.0}.get(method, 0.3)
    given = after_sft([{"method": method, "epochs": 6, "batch": 16, "learning_rate_share": 0.3, "held_out": 0.2, "beta": beta}])
    stage = chain(given)
    found = manifest(given, stage.final.name)
    assert found["held_out_accuracy"] > 0.8, found
    assert capitals(given) > 0.7, capitals(given)


@pytest.mark.parametrize("method", ["grpo", pytest.param("rloo", marks=pytest.mark.slow)])
def test_rules_reward(after_sft: Callable[..., Ground], home: Path, method: str) -> None:
    group = {"method": method, "episodes": 512, "group": 4, "batch": 64, "max_tokens": 8, "learning_rate_share": 0.5, "held_out": 0.3, "kl": 0.01, "looks": 2}
    given = after_sft([group], prompts=files(home / "files")["prompts"])
    chain(given)
    found = manifest(given, f"2-{method}")
    assert found["held_out_score"] > max(0.85, found["before"]["held_out_score"]), found


@pytest.mark.parametrize(
    ("stages", "name", "more"),
    [
        (["sft", {**REWARD, "epochs": 1}, {**PPO, "episodes": 64, "rollouts": 32, "minibatch": 8, "kl_target": 0.5, "kl_horizon": 100}], "3-ppo", {}),
        (["sft", {"method": "dpo", "batch": 16, "epochs": 3}], "2-dpo", {"lora": {"rank": 2}}),
        pytest.param(["sft", {**REWARD, "epochs": 3}], "2-reward", {}, marks=pytest.mark.slow),
        pytest.param(["sft", {"method": "grpo", "episodes": 48, "group": 4, "batch": 8, "max_tokens": 6}], "2-grpo", {"lora": {"rank": 2}}, marks=pytest.mark.slow),
        *(pytest.param(["sft", {"method": name, "batch": 16, "epochs": 2}], f"2-{name}", {}, marks=pytest.mark.slow) for name in ("ipo", "kto", "orpo", "simpo")),
        pytest.param(["sft", {"method": "rloo", "episodes": 32, "group": 4, "batch": 8, "max_tokens": 6}], "2-rloo", {}, marks=pytest.mark.slow),
        pytest.param([{"method": "openchat", "classes": {"g": 1.0, "b": 0.5}, "epochs": 3}], "1-openchat", {}, marks=pytest.mark.slow),
        pytest.param([{"method": "lima", "epochs": 4, "examples": 30, "batch": 16, "choice": "loss"}], "1-lima", {}, marks=pytest.mark.slow),
    ],
)  # fmt: skip
def test_a_stage_that_is_cut_off_goes_on_to_the_same_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stages: list[Any], name: str, more: dict[str, Any]) -> None:
    """Killed within every third step, in the middle of a round of answers too, with checkpoints at others."""
    section = {"steps": 8, "stages": stages, **more}
    if name == "1-openchat":
        rows = [{"messages": [{"role": "user", "content": f"{n}"}, {"role": "assistant", "content": "yes"}], "condition": "gb"[n % 2]} for n in range(20)]
        section["pairs"] = [write_rows(tmp_path / "classes.jsonl", rows)]
    if name in ("2-grpo", "2-rloo"):
        section["prompts"] = files(tmp_path / "files")["prompts"]
    whole = ground(tmp_path / "whole", section, training={"checkpoint_seconds": 0.0})
    expected = chain(whole)
    parts = ground(tmp_path / "parts", section, training={"checkpoint_seconds": 0.0})
    real, calls = trainer._Run._step, [0]

    def dies(*arguments: Any) -> Any:
        calls[0] += 1
        if calls[0] % 3 == 0:
            raise Stopped("killed")
        return real(*arguments)

    monkeypatch.setattr(trainer._Run, "_step", dies)
    for _ in range(40):
        try:
            stage = chain(parts)
            break
        except Stopped:
            # what a kill leaves: checkpoints of now and then, not of every step
            for folder in (parts.run.path / "dialogue").glob(".*.partial"):
                steps = checkpoint.all_steps(folder)
                if len(steps) > 1 and calls[0] % 2:
                    shutil.rmtree(steps[-1][1])
            parts.run.close()
            parts = ground(tmp_path / "parts", section, training={"checkpoint_seconds": 0.0})
    assert calls[0] > 3
    assert digest_folder(stage.final) == digest_folder(expected.final)
    assert (parts.run.path / "dialogue" / name / "manifest.json").is_file()


def test_the_engines_log_probabilities_are_the_trainers(home: Path) -> None:
    speaker = Speaker.of(home / "run")
    assert speaker.template is not None
    model, template = speaker.model(), speaker.template
    assert isinstance(model, Decoder)
    author = Author(model, lambda plain: Engine(plain, speaker.words, slots=8, ends=[template.end]), SamplingSettings(temperature=1.0, min_p=0.0, max_tokens=12))
    prompts = [Asked(tuple(template.ask(f"{word} {n}"))) for n, word in enumerate(("red", "sea", "moon"))]
    written = author.write(prompts, seed=3, n=4, logprobs=True)
    assert (len(written) == 12 and {one.ended for one in written} == {True, False}) or all(one.ended for one in written)
    for one, ours in zip(written, logps_of(model, [one.sequence for one in written], speaker.words.special["<|pad|>"]), strict=True):
        assert len(one.logps) == len(ours) == len(one.sequence.tokens) - one.sequence.asked
        torch.testing.assert_close(torch.tensor(one.logps), ours, atol=1e-4, rtol=0)


@pytest.mark.parametrize("stages", [["sft"], pytest.param(["sft", {**REWARD, "epochs": 2}, {**PPO, "episodes": 64, "rollouts": 64}], marks=pytest.mark.slow)])
def test_low_rank_learns_and_is_merged(tmp_path: Path, stages: list[Any]) -> None:
    given = ground(tmp_path / "run", {**SFT, "stages": stages, "lora": {"rank": 4}})
    stage = chain(given)
    path = checkpoint.newest(stage.final)
    assert path is not None
    form = checkpoint.read_state(path)["form"]
    assert form["lora"]["rank"] == 4
    speaker = Speaker.of(given.run.path)
    assert sorted(speaker.model().state_dict()) == sorted(checkpoint.load_model(given.base).state_dict())
    if len(stages) == 1:
        assert manifest(given, "1-sft")["final_loss"] < 2.0


def test_lima_keeps_every_epoch_and_takes_the_asked_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "judging.py").write_text("def second(paths):\n    return len(paths) - 1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    for choice, expected in (("last", 5), (3, 3), ("judging:second", 4)):
        given = ground(tmp_path / f"run-{expected}", {"stages": [{"method": "lima", "epochs": 5, "examples": 20, "batch": 8, "choice": choice}]})
        stage = chain(given)
        found = manifest(given, "1-lima")
        (kept,) = checkpoint.all_steps(stage.final)
        assert found["chosen_epoch"] == expected and kept[0] == found["chosen_step"] == found["epochs"][expected - 1]["step"]
        assert len(checkpoint.all_steps(stage.final / "epochs")) == 4 and found["conversations"] == 20
    config = json.loads((kept[1] / "config.json").read_text())
    assert config["residual_dropout"] == 0.3 and config["dropout_by_depth"]
    with pytest.raises(RequestError, match="no epoch 9 of 2"):
        chain(ground(tmp_path / "bad", {"stages": [{"method": "lima", "epochs": 2, "choice": 9}]}))


def test_the_best_class_is_asked_for_at_inference(tmp_path: Path) -> None:
    """Two classes answer differently; what is asked for in neither comes as the better one's."""
    rows = [{"messages": [{"role": "user", "content": f"{n}"}, {"role": "assistant", "content": "Y" if n % 2 else "n"}], "condition": "g" if n % 2 else "b"} for n in range(30)]
    given = ground(tmp_path / "run", {"pairs": [write_rows(tmp_path / "classes.jsonl", rows)], "stages": [{"method": "openchat", "classes": {"g": 1.0, "b": 0.5}, "epochs": 25, "learning_rate_share": 1.0}]})
    chain(given)
    speaker = Speaker.of(given.run.path)
    assert speaker.template is not None and speaker.template.format.condition == "g"
    answers = {}
    for condition in (None, "g", "b"):
        prompt = speaker.template.prompt([Message("user", "3")], condition)
        answers[condition] = speaker.engine().generate(prompt, SamplingSettings(temperature=0.0, max_tokens=6))[0].text
    assert answers[None] == answers["g"] == " Y" and answers["b"] == " n"
    bad = ground(tmp_path / "other", {"pairs": [write_rows(tmp_path / "none.jsonl", [{"question": "q", "answer": "a"}])], "stages": ["openchat"]})
    with pytest.raises(RequestError, match="without a class"):
        chain(bad)


def test_another_chain_sets_the_old_one_aside(tmp_path: Path) -> None:
    first = ground(tmp_path / "run", {"steps": 2, "stages": ["sft", {"method": "dpo", "epochs": 1}]})
    chain(first)
    first.run.close()
    second = ground(tmp_path / "run", {"steps": 2, "stages": ["sft", {"method": "simpo", "epochs": 1}]})
    stage = chain(second)
    assert stage.final.name == "2-simpo" and sorted(path.name for path in (second.run.path / "dialogue").iterdir() if path.is_dir()) == ["1-sft", "2-simpo"]
    assert [path.name for path in (second.run.path / "superseded").iterdir()] == ["dialogue-2-dpo-000"]
    sft = Stage(second.run, "1-sft", "dialogue/1-sft", manifest_key(second, "1-sft"), keep=True)
    assert sft.done
    # files that only lie elsewhere are the same files
    second.run.close()
    third = ground(tmp_path / "run", {"steps": 2, "stages": ["sft", {"method": "simpo", "epochs": 1}]}, home=tmp_path / "moved")
    assert chain(third).digest == stage.digest and len(list((third.run.path / "superseded").iterdir())) == 1


def manifest_key(given: Ground, name: str) -> str:
    return str(json.loads((given.run.path / "dialogue" / name / "manifest.json").read_text())["key"])


def test_what_is_wrong_is_said(tmp_path: Path, after_sft: Callable[..., Ground]) -> None:
    prompts = write_rows(tmp_path / "prompts.jsonl", [{"prompt": "a"}, {"prompt": "b"}])
    mixed = write_rows(tmp_path / "mixed.jsonl", [{"prompt": "a"}, {"prompt": "b", "verify": {"kind": "exact", "answer": "x"}}])
    long = write_rows(tmp_path / "long.jsonl", [{"prompt": "a" * 90, "chosen": "b", "rejected": "c"}])
    cases: list[tuple[list[Any], dict[str, Any], type[Exception], str]] = [
        (["ppo"], {"prompts": [prompts]}, RequestError, "Put `reward` before it"), (["ppo"], {}, RequestError, "Put `reward` before it"),
        ([{"method": "grpo", "batch": 4, "group": 2}], {"prompts": [mixed]}, RequestError, "of 2 prompts have no rule"),
        (["dpo"], {"preferences": []}, RequestError, "dpo has nothing to learn from"),
        (["dpo"], {"preferences": [str(tmp_path / "none.jsonl")]}, RequestError, "no such file"),
        (["dpo"], {"preferences": [long]}, GroundupError, "no preference is left"),
        ([{"method": "grpo", "batch": 4, "group": 2}], {"prompts": [long]}, GroundupError, "no prompt is left"),
    ]  # fmt: skip
    for stages, more, kind, words in cases:
        given = after_sft(stages, **more)
        with pytest.raises(kind, match=words):
            chain(given)
        given.run.close()
    alone = ground(tmp_path / "alone", {"stages": ["reward"]})
    with pytest.raises(RequestError, match="without a stage that speaks"):
        chain(alone)


def test_a_model_in_parts_is_refused_where_it_must_be_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from groundup.dialogue import link as links
    from groundup.training.layout import Layout

    monkeypatch.setattr(links, "layout", lambda *_, **__: Layout(tp=2))
    given = ground(tmp_path / "run", {"steps": 1, "stages": ["sft"], "lora": {"rank": 2}})
    with pytest.raises(RequestError, match="keeps the whole model on each process"):
        chain(given)


def test_the_thousand_are_picked_by_what_the_base_finds_likely(home: Path) -> None:
    """Perplexity of all that the assistant says, each turn in its place; what does not fit is never picked."""
    speaker = Speaker.of(home / "run")
    assert speaker.template is not None
    model, speech = speaker.model(), Speech.of(speaker.text, speaker.template.format)
    assert isinstance(model, Decoder)
    talk = Conversation((Message("user", "red"), Message("assistant", "RED"), Message("user", "sea"), Message("assistant", "no")))
    long = Conversation((Message("user", "x" * 99), Message("assistant", "y")))
    found = perplexities(model, speech, [long, talk])
    rendered = speaker.template.render(talk)
    logits = model(torch.tensor([rendered.tokens]), torch.arange(len(rendered.tokens))[None])[0].log_softmax(-1)
    said = [logits[place - 1, token].item() for place, (token, weight) in enumerate(zip(rendered.tokens, rendered.weights, strict=True)) if weight]
    assert found[0] == math.inf and found[1] == pytest.approx(math.exp(-sum(said) / len(said)), rel=1e-4)


def test_groups_of_one_score_teach_nothing_and_are_left_out(after_sft: Callable[..., Ground], home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where KL is free; the round's figures are of all answers."""
    group = {"method": "grpo", "episodes": 64, "group": 2, "batch": 32, "max_tokens": 8, "held_out": 0.3, "kl": 0.0, "looks": 0}
    given = after_sft([group], prompts=files(home / "files")["prompts"])
    kept: list[list[Experience]] = []
    real = Rollouts._keep
    monkeypatch.setattr(Rollouts, "_keep", lambda self, number, experience: (kept.append(list(experience)), real(self, number, experience)))
    stage = chain(given)
    rounds = given.run.events("rollout", stage.key)
    assert len(rounds) == len(kept) == 2 and all(0 < one["teaching"] < 1 and 0 < one["score"] < 1 for one in rounds)
    assert [len(some) for some in kept] == [round(32 * one["teaching"]) for one in rounds]
    assert all((one.advantages != 0).all() for some in kept for one in some)


def test_rounds_hang_on_seed_number_and_weights_alone(home: Path) -> None:
    """Two authors, one of whom has written before, write the same."""
    speaker = Speaker.of(home / "run")
    assert speaker.template is not None
    def author() -> Author:
        model = speaker.model()
        assert isinstance(model, Decoder)
        return Author(model, lambda plain: Engine(plain, speaker.words, slots=4, ends=[speaker.template.end]), SamplingSettings(max_tokens=8))

    prompts = [Asked(tuple(speaker.template.ask(f"q{n}"))) for n in range(9)]
    one, other = author(), author()
    one.write(prompts[:5], 1, n=2)
    assert one.write(prompts, 7, n=2) == other.write(prompts, 7, n=2)
