"""Rewards, advantages and policy losses equal plain NumPy, and nothing hangs on how a step is cut."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from groundup.models.build import build
from groundup.models.config import ModelConfig
from groundup.models.decoder import Decoder
from groundup.training.objectives import Batch
from groundup.training.policy import (
    AdaptiveKL,
    FixedKL,
    advantages,
    group_advantages,
    kl_estimate,
    mixed_weight,
    moments,
    rloo_advantages,
    shaped_rewards,
    token_weights,
    whiten,
    with_unfinished,
)  # fmt: skip
from groundup.training.policy_losses import Policy, Reinforce, clipped_loss, reinforce_loss, value_loss
from groundup.training.value_head import ActorCritic, ScoredDecoder


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


MASK = torch.tensor([[0, 0, 1, 1, 1, 0], [0, 1, 1, 1, 1, 1], [0, 0, 0, 1, 0, 0]]).double()


def test_rewards_are_the_score_minus_kl() -> None:
    score, logps, reference = drawn(3), drawn(3, 6, seed=1), drawn(3, 6, seed=2)
    found = shaped_rewards(score, logps, reference, MASK, beta=0.3)
    for row in range(3):
        places = np.flatnonzero(MASK[row].numpy())
        expected = np.zeros(6)
        expected[places] = -0.3 * (logps[row] - reference[row]).numpy()[places]
        expected[places[-1]] += float(score[row])
        np.testing.assert_allclose(found[row].numpy(), expected, atol=1e-12)
    whole = score - 0.3 * ((logps - reference) * MASK).sum(1)
    torch.testing.assert_close(found.sum(1), whole)
    assert not shaped_rewards(score, logps, reference, torch.zeros(3, 6), 0.3).any()


@pytest.mark.parametrize(("gamma", "lam"), [(1.0, 0.95), (0.9, 0.5), (1.0, 1.0), (1.0, 0.0)])
def test_advantages_are_generalised_advantage_estimation(gamma: float, lam: float) -> None:
    rewards, values = drawn(3, 6, seed=3) * MASK, drawn(3, 6, seed=4)
    found, returns = advantages(rewards, values, MASK, gamma=gamma, lam=lam)
    for row in range(3):
        places = np.flatnonzero(MASK[row].numpy())
        r, v = rewards[row].numpy()[places], np.append(values[row].numpy()[places], 0.0)
        deltas = r + gamma * v[1:] - v[:-1]
        expected = [sum((gamma * lam) ** k * deltas[t + k] for k in range(len(r) - t)) for t in range(len(r))]
        np.testing.assert_allclose(found[row].numpy()[places], expected, atol=1e-12)
        np.testing.assert_allclose(returns[row].numpy()[places], np.array(expected) + v[:-1], atol=1e-12)
    assert not found[MASK == 0].any() and not returns[MASK == 0].any()


def test_answers_packed_in_a_row_do_not_see_each_other() -> None:
    alone, values = drawn(1, 3, seed=5), drawn(1, 3, seed=6)
    found, _ = advantages(alone, values, torch.ones(1, 3))
    row = torch.cat([alone, torch.zeros(1, 1, dtype=torch.float64), alone], dim=1)
    two, _ = advantages(row, torch.cat([values, drawn(1, 1), values], dim=1), torch.tensor([[1, 1, 1, 0, 1, 1, 1]]))
    torch.testing.assert_close(two, torch.cat([found, torch.zeros(1, 1, dtype=torch.float64), found], dim=1))


@given(st.lists(st.integers(1, 2), max_size=2, unique=True), st.booleans())
@settings(max_examples=6, deadline=None)
def test_whitening_does_not_hang_on_cuts(cuts: list[int], shift: bool) -> None:
    x = 1e3 + drawn(3, 6, seed=7)
    edges = [0, *sorted(cuts), 3]
    parts = [slice(start, stop) for start, stop in zip(edges[:-1], edges[1:], strict=True)]
    over = moments(x[parts[0]], MASK[parts[0]])
    for part in parts[1:]:
        over = over + moments(x[part], MASK[part])
    white = torch.cat([whiten(x[part], MASK[part], over, shift=shift) for part in parts])
    shown = x[MASK > 0].numpy()
    expected = (shown - shown.mean()) / shown.std(ddof=1) + (0 if shift else shown.mean())
    np.testing.assert_allclose(white[MASK > 0].numpy(), expected, rtol=1e-6)
    assert not white[MASK == 0].any()


def test_group_baselines() -> None:
    scores = drawn(4, 5, seed=8)
    s = scores.numpy()
    leave_one_out = np.array([[s[p, k] - np.delete(s[p], k).mean() for k in range(5)] for p in range(4)])
    np.testing.assert_allclose(rloo_advantages(scores).numpy(), leave_one_out, atol=1e-12)
    np.testing.assert_allclose(group_advantages(scores).numpy(), (s - s.mean(1, keepdims=True)) / (s.std(1, ddof=1, keepdims=True) + 1e-4), atol=1e-12)
    np.testing.assert_allclose(group_advantages(scores, scale=False).numpy(), s - s.mean(1, keepdims=True), atol=1e-12)
    for found in (rloo_advantages(torch.ones(2, 4)), group_advantages(torch.ones(2, 4))):
        assert not found.any()
    assert rloo_advantages(scores[:, :1]).equal(scores[:, :1])


def test_no_end_is_worse_than_most_ends_wherever_scores_lie() -> None:
    scores, ended = [1.0, 9.0, 3.0, -4.0], [True, False, True, False]
    assert with_unfinished(scores, ended, -1.0) == pytest.approx([1, 1, 3, 1])  # mean 2, deviation 1
    assert with_unfinished([score - 100 for score in scores], ended, -1.0) == pytest.approx([-99, -99, -97, -99])
    assert with_unfinished(scores, [True] * 4, -1.0) == scores
    assert with_unfinished([1.0, 5.0], [True, False], -2.0) == [1.0, 1.0]  # one end: there is no spread
    assert with_unfinished([1.0, 5.0], [False, False], -2.0) == [3.0, 3.0]  # and none: nothing is better than another


def test_tokens_are_weighed_three_ways() -> None:
    assert token_weights(MASK, "token").sum() == MASK.sum()
    assert token_weights(MASK, "sequence").sum(1).tolist() == pytest.approx([1, 1, 1])
    assert token_weights(MASK, "constant", 10).sum().item() == pytest.approx(0.9)
    with pytest.raises(ValueError, match="not by luck"):
        token_weights(MASK, "luck")


def test_losses_equal_the_formulas() -> None:
    new, old, a = 0.3 * drawn(50, seed=1), 0.3 * drawn(50, seed=2), drawn(50, seed=3)
    n, o, adv = new.numpy(), old.numpy(), a.numpy()
    ratio = np.exp(n - o)
    loss, clipped = clipped_loss(new, old, a, 0.2)
    np.testing.assert_allclose(loss.numpy(), -np.minimum(ratio * adv, np.clip(ratio, 0.8, 1.2) * adv))
    assert clipped.numpy().tolist() == (((ratio > 1.2) & (adv > 0)) | ((ratio < 0.8) & (adv < 0))).tolist()
    higher, _ = clipped_loss(new, old, a, 0.2, 0.4)
    np.testing.assert_allclose(higher.numpy(), -np.minimum(ratio * adv, np.clip(ratio, 0.8, 1.4) * adv))
    v, ov, r = (drawn(50, seed=seed) for seed in (4, 5, 6))
    held = ov.numpy() + np.clip(v.numpy() - ov.numpy(), -0.2, 0.2)
    np.testing.assert_allclose(value_loss(v, ov, r)[0].numpy(), 0.5 * np.maximum((v - r).numpy() ** 2, (held - r.numpy()) ** 2))
    np.testing.assert_allclose(value_loss(v, ov, r, None)[0].numpy(), 0.5 * (v - r).numpy() ** 2)
    np.testing.assert_allclose(reinforce_loss(new, a).numpy(), -n * adv)
    np.testing.assert_allclose(kl_estimate(new, old).numpy(), np.exp(o - n) - (o - n) - 1)


def test_the_kl_estimate_is_unbiased_and_never_negative() -> None:
    p, q = torch.softmax(drawn(12, seed=1), 0), torch.softmax(drawn(12, seed=2), 0)
    each = kl_estimate(p.log(), q.log())
    assert (each >= 0).all()
    torch.testing.assert_close((p * each).sum(), (p * (p / q).log()).sum())


def test_controllers_steer_beta() -> None:
    fixed = FixedKL(0.02)
    fixed.update(100.0, 512)
    assert fixed.beta == 0.02
    adaptive = AdaptiveKL(beta=0.1, target=6.0, horizon=10_000)
    adaptive.update(12.0, 1000)  # far above: + 0.2 * 0.1
    assert adaptive.beta == pytest.approx(0.102)
    adaptive.update(0.0, 1000)
    assert adaptive.beta == pytest.approx(0.102 * 0.98)
    adaptive.update(6.3, 1000)
    assert adaptive.beta == pytest.approx(0.102 * 0.98 * (1 + 0.05 * 0.1))
    other = AdaptiveKL()
    other.load(adaptive.state())
    assert other.beta == adaptive.beta


CONFIG = ModelConfig(vocabulary=40, context=64, layers=2, width=16, heads=2, kv_heads=1, feedforward=32, init_std=0.4)


@pytest.fixture(scope="module")
def model() -> ActorCritic:
    policy, other = build(CONFIG, seed=0), build(CONFIG, seed=9)
    assert isinstance(policy, Decoder) and isinstance(other, Decoder)
    return ActorCritic.of(policy, ScoredDecoder.of(other, seed=1)).double()


def rollouts(rows: int = 6, T: int = 10, pretraining: int = 2) -> Batch:
    draw = torch.Generator().manual_seed(0)
    tokens = torch.randint(40, (rows, T + 1), generator=draw)
    weights = torch.zeros(rows, T)
    for row in range(rows - pretraining):
        weights[row, 2 + row % 3 : T - row % 2] = 1
    batch = {
        "tokens": tokens[:, :-1], "targets": tokens[:, 1:], "weights": weights, "positions": torch.arange(T).expand(rows, -1),
        "segments": torch.zeros(rows, T, dtype=torch.long), "pretraining": torch.zeros(rows, T, dtype=torch.float64),
    }  # fmt: skip
    batch["pretraining"][rows - pretraining :] = mixed_weight(27.8, float(weights.sum()), pretraining * T)
    for seed, name in enumerate(("old_logps", "reference_logps", "advantages", "returns", "old_values")):
        batch[name] = drawn(rows, T, seed=seed) * (0.3 if "logps" in name else 1.0) - (3.7 if "logps" in name else 0.0)
    return batch


OBJECTIVES = {"ppo": Policy(value=0.5), "policy": Policy(clip_high=0.3), "grpo": Policy(kl=0.04), "reinforce": Reinforce(kl=0.1)}


@pytest.mark.parametrize("name", OBJECTIVES)
@pytest.mark.parametrize("edges", [(0, 3, 6), (0, 1, 4, 5, 6)])
def test_sums_and_gradients_do_not_hang_on_cuts(model: ActorCritic, name: str, edges: tuple[int, ...]) -> None:
    batch, found = rollouts(), []
    for cut in ((0, 6), edges):
        model.zero_grad()
        sums: dict[str, float] = {}
        for start, stop in zip(cut[:-1], cut[1:], strict=True):
            part = OBJECTIVES[name](model, {key: value[start:stop] for key, value in batch.items()})
            part.loss_sum.backward()  # type: ignore[no-untyped-call]
            for key, value in {"loss": part.loss_sum, "weight": part.weight_sum, **part.metrics}.items():
                sums[key] = sums.get(key, 0.0) + float(value.detach())
        found.append((sums, {key: p.grad.clone() for key, p in model.named_parameters() if p.grad is not None}))
    assert found[1][0] == pytest.approx(found[0][0], rel=1e-6, abs=1e-6)
    assert found[0][0]["weight"] == float(batch["weights"].sum())
    for key, value in found[0][1].items():
        torch.testing.assert_close(found[1][1][key], value, rtol=1e-6, atol=1e-9)


def test_the_objective_is_the_formula_with_pretraining_mixed_in(model: ActorCritic) -> None:
    batch = rollouts()
    sums = Policy(value=0.5)(model, batch)
    with torch.no_grad():
        states = model.hidden(batch["tokens"], batch["positions"])
        logp = torch.log_softmax(states @ model.head_weight.T, -1).gather(2, batch["targets"][..., None])[..., 0]
        values = model.critic.scores(batch["tokens"], batch["positions"])
    mask = batch["weights"] > 0
    policy = clipped_loss(logp[mask], batch["old_logps"][mask], batch["advantages"][mask])[0].mean()
    value = value_loss(values[mask], batch["old_values"][mask], batch["returns"][mask])[0].mean()
    pretraining = -logp[4:].mean()
    expected = policy + 0.5 * value + 27.8 * pretraining
    assert float((sums.loss_sum / sums.weight_sum).detach()) == pytest.approx(float(expected), rel=1e-5)
    assert mixed_weight(27.8, 5.0, 0.0) == 0.0


def test_on_policy_ppo_and_reinforce_have_one_gradient(model: ActorCritic) -> None:
    batch = rollouts(pretraining=0)
    with torch.no_grad():
        states = model.hidden(batch["tokens"], batch["positions"])
        batch["old_logps"] = torch.log_softmax(states @ model.head_weight.T, -1).gather(2, batch["targets"][..., None])[..., 0]
    batch.pop("pretraining")
    gradients = []
    for objective in (Policy(), Reinforce()):
        model.zero_grad()
        objective(model, batch).loss_sum.backward()  # type: ignore[no-untyped-call]
        gradients.append([p.grad.clone() for p in model.parameters() if p.grad is not None])
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-8)


def test_a_rewarded_token_is_written_more_often() -> None:
    """REINFORCE with a group baseline on one place: the token that is rewarded becomes likely."""
    learner = build(CONFIG, seed=3)
    assert isinstance(learner, Decoder)
    optimizer = torch.optim.AdamW(learner.parameters(), lr=1e-2)
    draw = torch.Generator().manual_seed(0)
    prompt = torch.tensor([[1, 2, 3]])
    for _ in range(40):
        with torch.no_grad():
            p = torch.softmax(learner(prompt, torch.arange(3)[None])[0, -1], -1)
        written = torch.multinomial(p, 16, replacement=True, generator=draw)
        score = (written < 20).float()[None]
        batch = {
            "tokens": prompt.expand(16, -1), "targets": torch.stack([torch.tensor([2, 3, int(w)]) for w in written]), "weights": torch.tensor([[0.0, 0.0, 1.0]]).expand(16, -1),
            "positions": torch.arange(3).expand(16, -1), "segments": torch.zeros(16, 3, dtype=torch.long),
            "advantages": rloo_advantages(score)[0][:, None].expand(-1, 3),
        }  # fmt: skip
        optimizer.zero_grad()
        sums = Reinforce()(learner, batch)
        (sums.loss_sum / sums.weight_sum).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    with torch.no_grad():
        assert float(torch.softmax(learner(prompt, torch.arange(3)[None])[0, -1], -1)[:20].sum()) > 0.9
