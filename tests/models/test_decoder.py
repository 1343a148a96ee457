"""The decoder against transformers' own formulae where they are short, and against what must hold of any."""

import torch
from torch.nn import functional as F

from groundup.models.build import build, parameters
from groundup.models.config import ModelConfig
from groundup.models.flops import matmul_parameters
from groundup.models.parts.position import Rotary, rotate

LLAMA_7B = ModelConfig(vocabulary=32_000, context=2048, layers=32, width=4096, heads=32, kv_heads=32, feedforward=11_008, tied=False)


def batch(config: ModelConfig, rows: int = 2, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    tokens = torch.randint(config.vocabulary, (rows, config.context), generator=torch.Generator().manual_seed(seed))
    return tokens, torch.arange(config.context).expand_as(tokens)


def test_the_closed_form_counts_every_parameter(tiny: ModelConfig) -> None:
    for config in (tiny, tiny.model_copy(update={"tied": False, "kv_heads": 4})):
        assert parameters(config) == sum(parameter.numel() for parameter in build(config).parameters())
    assert parameters(LLAMA_7B) == 6_738_415_616  # the published model's own count
    assert matmul_parameters(LLAMA_7B) == 6_738_415_616 - 65 * 4096 - 32_000 * 4096


def test_no_token_sees_a_later_one(tiny: ModelConfig) -> None:
    model = build(tiny, seed=1).eval()
    tokens, positions = batch(tiny)
    before = model(tokens, positions)
    tokens[:, 9:] = 0
    after = model(tokens, positions)
    torch.testing.assert_close(after[:, :9], before[:, :9])
    assert not torch.allclose(after[:, 9:], before[:, 9:])


def test_packed_documents_give_what_each_gives_alone(tiny: ModelConfig) -> None:
    model = build(tiny, seed=1).eval()
    tokens, _ = batch(tiny, rows=1)
    lengths = (5, 8, 3)
    positions = torch.cat([torch.arange(length) for length in lengths])[None]
    segments = torch.repeat_interleave(torch.arange(3), torch.tensor(lengths))[None]
    packed = model(tokens, positions, segments)
    start = 0
    for length in lengths:
        alone = model(tokens[:, start : start + length], torch.arange(length)[None])
        torch.testing.assert_close(packed[:, start : start + length], alone, atol=1e-5, rtol=1e-4)
        start += length


def test_rotation_keeps_lengths_and_depends_on_distance_alone() -> None:
    rotary = Rotary(8, 32, 10_000.0)
    q, k = torch.randn(2, 1, 1, 1, 8)

    def score(at_q: int, at_k: int) -> torch.Tensor:
        return (rotate(q, *rotary(torch.tensor([[at_q]]))) * rotate(k, *rotary(torch.tensor([[at_k]])))).sum()

    torch.testing.assert_close(score(9, 4), score(25, 20))
    torch.testing.assert_close(rotate(q, *rotary(torch.tensor([[17]]))).norm(), q.norm())


def test_grouped_heads_equal_repeated_ones(tiny: ModelConfig) -> None:
    """A model with 2 kv-heads is one with 4 whose keys and values are equal in pairs."""
    grouped = build(tiny, seed=3).eval()
    full = build(tiny.model_copy(update={"kv_heads": 4}), seed=4).eval()
    state = grouped.state_dict()
    H = tiny.head_width
    for layer in range(tiny.layers):
        name = f"blocks.{layer}.attention.qkv.weight"
        q, k, v = state[name].split((4 * H, 2 * H, 2 * H))
        state[name] = torch.cat([q, *(x.view(2, H, -1).repeat_interleave(2, 0).flatten(0, 1) for x in (k, v))])
    full.load_state_dict(state)
    tokens, positions = batch(tiny)
    torch.testing.assert_close(full(tokens, positions), grouped(tokens, positions))


def test_initialisation_is_seeded_and_starts_near_ignorance(tiny: ModelConfig) -> None:
    one, two, other = build(tiny, seed=1), build(tiny, seed=1), build(tiny, seed=2)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))
    assert not torch.equal(one.embedding.weight, other.embedding.weight)
    tokens, positions = batch(tiny)
    loss = F.cross_entropy(one(tokens, positions).flatten(0, 1), torch.randint(tiny.vocabulary, (2 * tiny.context,)))
    assert abs(loss.item() - torch.tensor(float(tiny.vocabulary)).log().item()) < 0.05
