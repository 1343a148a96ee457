"""Preference losses equal plain NumPy formulas, and their sums do not hang on how a batch is cut or packed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from groundup.models.build import build
from groundup.models.config import ModelConfig
from groundup.models.decoder import Decoder
from groundup.training.objectives import Batch, Sums
from groundup.training.preference import DPO, IPO, KTO, ORPO, Reward, SimPO, answer_logps
from groundup.training.preference_losses import (
    calibration,
    dpo_loss,
    expected_calibration_error,
    ipo_loss,
    kto_kl,
    kto_loss,
    orpo_loss,
    reward_loss,
    simpo_loss,
)  # fmt: skip
from groundup.training.value_head import ActorCritic, ScoredDecoder

ArrayLike = np.ndarray


def sigmoid(x: ArrayLike) -> ArrayLike:
    return 1 / (1 + np.exp(-x))


def logps(*shape: int, seed: int = 0, scale: float = 20.0) -> torch.Tensor:
    return -scale * torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def close(ours: torch.Tensor, theirs: ArrayLike) -> None:
    np.testing.assert_allclose(ours.numpy(), theirs, rtol=1e-6, atol=1e-8)


def test_pair_losses_equal_the_formulas() -> None:
    lw, ll, rw, rl = logps(4, 9).unbind(0)
    w, l, a, b = (x.numpy() for x in (lw, ll, rw, rl))  # noqa: E741
    close(reward_loss(lw, ll), -np.log(sigmoid(w - l)))
    h = 0.3 * ((w - a) - (l - b))
    ratio = (lw - rw) - (ll - rl)
    close(dpo_loss(ratio, 0.3), -np.log(sigmoid(h)))
    close(dpo_loss(ratio, 0.3, 0.2), -0.8 * np.log(sigmoid(h)) - 0.2 * np.log(sigmoid(-h)))
    close(ipo_loss(ratio, 0.3), (h / 0.3 - 1 / 0.6) ** 2)
    close(simpo_loss(lw, ll, 2.0, 0.5), -np.log(sigmoid(2 * w - 2 * l - 0.5)))
    odds = np.log(np.exp(w) / (1 - np.exp(w))) - np.log(np.exp(l) / (1 - np.exp(l)))
    loss, log_odds = orpo_loss(lw, ll, 0.1)
    close(log_odds, odds)
    close(loss, -w - 0.1 * np.log(sigmoid(odds)))


def test_orpo_is_finite_at_the_edges() -> None:
    edge = torch.tensor([0.0, -1e-9, -200.0], dtype=torch.float64, requires_grad=True)
    loss, _ = orpo_loss(edge, edge.flip(0), 0.1)
    (gradient,) = torch.autograd.grad(loss.sum(), edge)
    assert loss.isfinite().all() and gradient.isfinite().all()


def test_kto_equals_the_formula() -> None:
    ratio, mismatched = logps(6, seed=1) - logps(6, seed=2), logps(6, seed=3, scale=2.0) - logps(6, seed=4, scale=2.0)
    good, groups = torch.tensor([1, 0, 1, 1, 0, 0]).bool(), torch.tensor([0, 0, 0, 1, 1, 1])
    z = [max(0.0, float(mismatched[groups == group].mean())) for group in (0, 1)]
    kl = kto_kl(mismatched.requires_grad_(), groups, 2)
    assert not kl.requires_grad
    close(kl, np.array(z))
    r, m = ratio.numpy(), np.array(z)[groups.numpy()]
    expected = np.where(good, 1.5 * (1 - sigmoid(0.2 * (r - m))), 0.5 * (1 - sigmoid(0.2 * (m - r))))
    close(kto_loss(ratio, good, kl[groups], 0.2, 1.5, 0.5), expected)


def test_calibration_counts_claims_and_hits() -> None:
    rows = calibration(torch.tensor([0.0, 0.1, 5.0, 5.0, 5.0, -5.0]))
    assert [row["pairs"] for row in rows] == [2, 4]
    assert [row["accuracy"] for row in rows] == [0.75, 0.75]
    assert rows[1]["confidence"] == pytest.approx(float(sigmoid(np.array(5.0))))
    assert expected_calibration_error(rows) == pytest.approx(sum(row["pairs"] * abs(row["confidence"] - row["accuracy"]) for row in rows) / 6)


CONFIG = ModelConfig(vocabulary=40, context=64, layers=2, width=16, heads=2, kv_heads=1, feedforward=32, init_std=0.4)
VOCABULARY = 40


def prompts(count: int, answers: int, seed: int) -> list[list[tuple[list[int], int]]]:
    """For each prompt its answers: (tokens of both, how many are the prompt's)."""
    draw = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        asked = draw.integers(0, VOCABULARY, draw.integers(2, 5)).tolist()
        found.append([(asked + draw.integers(0, VOCABULARY, draw.integers(1, 6)).tolist(), len(asked)) for _ in range(answers)])
    return found


def packed(elements: list[list[tuple[list[int], int]]], length: int, *, scored: bool = False, kto: bool = False) -> Batch:
    """All of the elements in one micro-batch, first fit; answers of an element are in order of preference."""
    sequences = [sequence for element in elements for sequence in element]
    rows: list[list[int]] = []
    for number, (tokens, _) in enumerate(sequences):
        row = next((row for row in rows if sum(len(sequences[n][0]) for n in row) + len(tokens) <= length), None)
        if row is None:
            rows.append(row := [])
        row.append(number)
    B = len(rows)
    batch = {name: torch.zeros(B, length, dtype=torch.long) for name in ("tokens", "targets", "positions", "segments")}
    batch |= {"answers": torch.full((B, length), -1), "weights": torch.zeros(B, length)}
    ends, lengths = torch.zeros(len(sequences), 2, dtype=torch.long), torch.zeros(len(sequences))
    for at_row, numbers in enumerate(rows):
        at = 0
        for segment, number in enumerate(numbers, 1):
            tokens, asked = sequences[number]
            span = slice(at, at + len(tokens))
            batch["tokens"][at_row, span] = torch.tensor(tokens)
            batch["targets"][at_row, at : at + len(tokens) - 1] = torch.tensor(tokens[1:])
            batch["positions"][at_row, span] = torch.arange(len(tokens))
            batch["segments"][at_row, span] = segment
            batch["answers"][at_row, at + asked - 1 : at + len(tokens) - 1] = number
            ends[number], lengths[number] = torch.tensor([at_row, at + len(tokens) - 1]), len(tokens) - asked
            at += len(tokens)
    batch["lengths"], batch["reference"] = lengths, torch.tensor([-float(sum(tokens) % 17) for tokens, _ in sequences])
    if scored:
        batch["ends"] = ends
    pairs, weights, groups, offset = [], [], [], 0
    for group, element in enumerate(elements):
        K = len(element)
        pairs += [(offset + i, offset + j) for i in range(K) for j in range(i + 1, K)]
        weights += [2 / (K * (K - 1))] * (K * (K - 1) // 2)
        groups += [group] * K
        offset += K
    if kto:
        batch |= {"groups": torch.tensor(groups), "good": torch.tensor([sum(tokens) % 3 == 0 for tokens, _ in sequences]), "mismatched": torch.arange(len(sequences)) % 2 == 1}
    else:
        batch |= {"pairs": torch.tensor(pairs), "pair_weights": torch.tensor(weights)}
    return batch


OBJECTIVES = {
    "dpo": DPO(beta=0.3, pair_smoothing=0.1), "ipo": IPO(beta=0.3), "orpo": ORPO(weight=0.5), "simpo": SimPO(), "kto": KTO(beta=0.2, liked=1.5), "reward": Reward(center=0.1),
}  # fmt: skip


@pytest.fixture(scope="module")
def model() -> Decoder:
    made = build(CONFIG, seed=0)
    assert isinstance(made, Decoder)
    return ScoredDecoder.of(made, seed=1).double()


def together(parts: list[Sums]) -> dict[str, float]:
    found: dict[str, float] = {}
    for part in parts:
        for name, value in {"loss": part.loss_sum, "weight": part.weight_sum, **part.metrics}.items():
            found[name] = found.get(name, 0.0) + float(value.detach())
    return found


@pytest.mark.parametrize("name", OBJECTIVES)
@settings(max_examples=4, deadline=None)
@given(cuts=st.lists(st.integers(1, 5), max_size=3), length=st.sampled_from([12, 24, 64]), seed=st.integers(0, 9))
def test_sums_do_not_hang_on_cuts_or_packing(model: Decoder, name: str, cuts: list[int], length: int, seed: int) -> None:
    objective, elements = OBJECTIVES[name], prompts(6, 4, seed)
    how = {"scored": name == "reward", "kto": name == "kto"}
    whole = together([objective(model, packed(elements, 64, **how))])
    edges = [0, *sorted(set(cuts)), 6]
    parts = together([objective(model, packed(elements[start:stop], length, **how)) for start, stop in zip(edges[:-1], edges[1:], strict=True)])
    assert parts.keys() == whole.keys()
    for key, value in whole.items():
        assert parts[key] == pytest.approx(value, abs=1e-6, rel=1e-6), key
    if name != "kto":
        assert whole["weight"] == pytest.approx(6)  # a prompt weighs 1, however many answers it has


@pytest.mark.parametrize("name", OBJECTIVES)
def test_gradients_do_not_hang_on_cuts_either(model: Decoder, name: str) -> None:
    objective, elements = OBJECTIVES[name], prompts(4, 2, 3)
    how = {"scored": name == "reward", "kto": name == "kto"}
    gradients = []
    for edges in ([0, 4], [0, 1, 4]):
        model.zero_grad()
        for start, stop in zip(edges[:-1], edges[1:], strict=True):
            objective(model, packed(elements[start:stop], 24, **how)).loss_sum.backward()
        gradients.append({key: p.grad.clone() for key, p in model.named_parameters() if p.grad is not None})
    assert gradients[0].keys() == gradients[1].keys() and len(gradients[0]) > 5
    for key, value in gradients[0].items():
        torch.testing.assert_close(gradients[1][key], value, atol=1e-9, rtol=1e-6)


def test_log_probabilities_are_the_models(model: Decoder) -> None:
    elements = prompts(3, 2, 5)
    batch = packed(elements, 24)
    states = DPO().states(model, batch)
    found = answer_logps(model, states, batch)
    for number, (tokens, asked) in enumerate(sequence for element in elements for sequence in element):
        logits = model(torch.tensor([tokens]), torch.arange(len(tokens))[None])[0].double()
        logp = F.log_softmax(logits[:-1], dim=-1).gather(1, torch.tensor(tokens[1:])[:, None])[asked - 1 :]
        assert float(found.sums_A[number].detach()) == pytest.approx(float(logp.detach().sum()), abs=1e-4)  # the model's own logits are float32
        assert float(found.lengths_A[number]) == len(tokens) - asked


def test_the_dpo_objective_is_equation_7(model: Decoder) -> None:
    batch = packed(prompts(5, 2, 7), 24)
    sums = DPO(beta=0.3)(model, batch)
    with torch.no_grad():
        found = answer_logps(model, DPO().states(model, batch), batch).sums_A.numpy()
    ratio = (found - batch["reference"].numpy()).reshape(5, 2)
    assert float((sums.loss_sum / sums.weight_sum).detach()) == pytest.approx(float(np.mean(-np.log(sigmoid(0.3 * (ratio[:, 0] - ratio[:, 1]))))), abs=1e-5)
    assert float(sums.metrics["accuracy"]) == (ratio[:, 0] > ratio[:, 1]).sum()


def test_a_prompt_of_k_answers_is_equation_1(model: Decoder) -> None:
    """-1 / C(K, 2) times the sum over the pairs, averaged over prompts with different K."""
    elements = [*prompts(2, 4, 1), *prompts(2, 2, 2)]
    batch = packed(elements, 32, scored=True)
    sums = Reward()(model, batch)
    expected, offset = [], 0
    with torch.no_grad():
        states = model.hidden(batch["tokens"], batch["positions"], batch["segments"])
        rewards = model.score(states[batch["ends"][:, 0], batch["ends"][:, 1]])[:, 0].numpy()  # type: ignore[operator]
    for element in elements:
        r = rewards[offset : offset + len(element)]
        pairs = [-np.log(sigmoid(r[i] - r[j])) for i in range(len(r)) for j in range(i + 1, len(r))]
        expected.append(np.mean(pairs))
        offset += len(element)
    assert float((sums.loss_sum / sums.weight_sum).detach()) == pytest.approx(float(np.mean(expected)), abs=1e-5)


def test_a_scored_decoder_is_the_decoder_with_a_score() -> None:
    base = build(CONFIG, seed=0)
    assert isinstance(base, Decoder)
    scored = ScoredDecoder.of(base, seed=1)
    tokens, positions = torch.randint(VOCABULARY, (2, 9)), torch.arange(9).expand(2, -1)
    assert torch.equal(scored(tokens, positions), base(tokens, positions))
    assert {name for name, _ in scored.named_parameters()} == {name for name, _ in base.named_parameters()} | {"score.weight", "score.bias"}
    critic = ActorCritic.of(base, scored)
    assert torch.equal(critic(tokens, positions), base(tokens, positions))
    assert torch.equal(critic.critic.scores(tokens, positions), scored.scores(tokens, positions))


def test_preferences_are_learned(model: Decoder) -> None:
    """A few steps of each objective raise its accuracy to 1 on four pairs."""
    for name, objective in OBJECTIVES.items():
        learner = ScoredDecoder.of(build(CONFIG, seed=2), seed=3)  # type: ignore[arg-type]
        batch = packed(prompts(4, 2, 11), 32, scored=name == "reward", kto=name == "kto")
        if name == "kto":
            batch["mismatched"][:] = False
            batch["good"] = torch.arange(8) % 2 == 0
        if name == "ipo":
            objective = replace(objective, beta=0.1)
        optimizer = torch.optim.AdamW(learner.parameters(), lr=1e-2)
        first = None
        for _ in range(25):
            optimizer.zero_grad()
            sums = objective(learner, batch)
            (sums.loss_sum / sums.weight_sum).backward()
            optimizer.step()
            first = first if first is not None else float(sums.loss_sum)
        assert float(sums.loss_sum) < first, name
        assert float(sums.metrics["accuracy"] / sums.weight_sum) == 1.0, name
