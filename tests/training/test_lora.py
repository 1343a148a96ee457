"""LoRA starts as the model it is applied to, learns its corrections alone, and merged is what it was unmerged."""

from __future__ import annotations

import pytest
import torch

from groundup.errors import RequestError
from groundup.models.build import build
from groundup.models.config import FAMILIES, ModelConfig
from groundup.models.decoder import Decoder
from groundup.models.parts.stacked import Stacked
from groundup.training import lora
from groundup.training.objectives import next_token
from groundup.training.optimizers import OptimizerSettings, optimizers
from groundup.training.value_head import ScoredDecoder

TINY = ModelConfig(vocabulary=40, context=16, layers=2, width=32, heads=4, kv_heads=2, feedforward=48, init_std=0.2)
CONFIGS = {
    "llama": TINY, "biased": TINY.model_copy(update={"bias": True}),
    "fast": TINY.model_copy(update={"family": "fast", **FAMILIES["fast"], "softcap": 15.0, "ngram_rows": (400, 100)}),
}  # fmt: skip


def batch() -> dict[str, torch.Tensor]:
    tokens = torch.randint(40, (3, 17), generator=torch.Generator().manual_seed(0))
    return {
        "tokens": tokens[:, :-1], "targets": tokens[:, 1:], "weights": torch.ones(3, 16), "positions": torch.arange(16).expand(3, -1),
        "segments": torch.zeros(3, 16, dtype=torch.long),
    }  # fmt: skip


def logits(model: torch.nn.Module) -> torch.Tensor:
    found: torch.Tensor = model.eval()(batch()["tokens"], batch()["positions"])
    model.train()
    return found.detach()


def trained(model: torch.nn.Module, steps: int = 5) -> None:
    optimizer = optimizers(model, OptimizerSettings(learning_rate=1e-2, weight_decay=0.0))
    for _ in range(steps):
        sums = next_token(model, batch())
        (sums.loss_sum / sums.weight_sum).backward()  # type: ignore[no-untyped-call]
        optimizer.step(1.0)
        for parameter in model.parameters():
            parameter.grad = None


@pytest.mark.parametrize("name", CONFIGS)
def test_merged_equals_unmerged(name: str) -> None:
    model = build(CONFIGS[name], seed=0)
    names = {key: value.shape for key, value in model.state_dict().items()}
    classes = {path: type(module) for path, module in model.named_modules()}
    before = {key: value.clone() for key, value in model.state_dict().items()}
    start = logits(model)
    count = lora.apply(model, 4, 8.0, seed=1)
    assert torch.equal(logits(model), start)
    assert count == sum(p.numel() for key, p in model.named_parameters() if "lora_" in key)
    trained(model)
    for key, value in before.items():
        assert torch.equal(model.state_dict()[key], value), key  # what is there already is frozen
    after = logits(model)
    assert (after - start).abs().max() > 1e-3
    state = lora.merged_state(model)
    assert {key: value.shape for key, value in state.items()} == names
    fresh = build(CONFIGS[name])
    fresh.load_state_dict(state)
    torch.testing.assert_close(logits(fresh), after, atol=1e-5, rtol=1e-5)
    lora.merge(model)
    assert {path: type(module) for path, module in model.named_modules()} == classes
    assert all(parameter.requires_grad for parameter in model.parameters())
    torch.testing.assert_close(logits(model), after, atol=1e-5, rtol=1e-5)
    assert {key: value.shape for key, value in model.state_dict().items()} == names


def test_stacked_matrices_have_corrections_of_their_own() -> None:
    layer = Stacked(6, (4, 2, 2))
    low = lora.LowRank.of(layer, 2, 4.0, 0.0, torch.Generator().manual_seed(0))
    with torch.no_grad():
        low.lora_b.normal_()
    x = torch.randn(3, 5, 6)
    parts = []
    for number, (weight, b) in enumerate(zip(layer.weight.split(layer.sizes), low.lora_b.split(layer.sizes), strict=True)):
        a = low.lora_a[2 * number : 2 * number + 2]
        parts.append(x @ (weight + 2.0 * b @ a).T)
    torch.testing.assert_close(low(x), torch.cat(parts, dim=-1))
    assert torch.linalg.matrix_rank(low.correction()) == 6  # 2 of each


def test_dropout_falls_on_the_correction_alone() -> None:
    model = build(TINY, seed=0)
    lora.apply(model, 4, seed=1, dropout=0.5)
    start = logits(model)
    torch.testing.assert_close(model(batch()["tokens"], batch()["positions"]).detach(), start)  # B is 0
    trained(model)
    one, two = (model(batch()["tokens"], batch()["positions"]).detach() for _ in range(2))
    assert not torch.equal(one, two)
    assert torch.equal(logits(model), logits(model))


def test_where_it_goes_is_asked_for() -> None:
    model = build(TINY, seed=0)
    lora.apply(model, 2, seed=0, where=("attention.qkv",))
    assert {path.rpartition(".")[2] for path, module in model.named_modules() if isinstance(module, lora.LowRank)} == {"qkv"}
    with pytest.raises(RequestError, match="no linear layer has moe"):
        lora.apply(build(TINY, seed=0), 2, seed=0, where=("moe",))
    with pytest.raises(RequestError, match="rank 0"):
        lora.apply(build(TINY, seed=0), 0, seed=0)


def test_a_score_goes_on_learning() -> None:
    base = build(TINY, seed=0)
    assert isinstance(base, Decoder)
    scored = ScoredDecoder.of(base, seed=1)
    lora.apply(scored, 2, seed=0)
    assert {key for key, p in scored.named_parameters() if p.requires_grad and "lora_" not in key} == {"score.weight", "score.bias"}
