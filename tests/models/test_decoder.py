"""The decoder against transformers' own formulae where they are short, and against what must hold of any."""

import torch

from groundup.models.build import build, matmul_parameters, parameters
from groundup.models.config import ModelConfig
from groundup.models.decoder import Decoder
from groundup.models.parts.embedding import NgramEmbedding
from groundup.models.parts.position import Rotary, rotate

LLAMA_7B = ModelConfig(vocabulary=32_000, context=2048, layers=32, width=4096, heads=32, kv_heads=32, feedforward=11_008, tied=False)


def batch(config: ModelConfig, rows: int = 2, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    tokens = torch.randint(config.vocabulary, (rows, config.context), generator=torch.Generator().manual_seed(seed))
    return tokens, torch.arange(config.context).expand_as(tokens)


def test_the_closed_form_counts_every_parameter(tiny: ModelConfig, quick: ModelConfig) -> None:
    others = [{"tied": False, "kv_heads": 4}, {"norm": "layer"}, {"norm": "batch"}, {"norm": "layer", "norm_scale": False}]
    for config in (tiny, quick, *(tiny.model_copy(update=other) for other in others)):
        assert parameters(config) == sum(parameter.numel() for parameter in build(config).parameters())
    assert parameters(LLAMA_7B) == 6_738_415_616  # the published model's own count
    assert matmul_parameters(LLAMA_7B) == 6_738_415_616 - 65 * 4096 - 32_000 * 4096


def woken(config: ModelConfig) -> Decoder:
    """A model none of whose weights is zero, so that every part takes part."""
    model = build(config, seed=1).eval()
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return model


def test_no_token_sees_a_later_one(either: ModelConfig) -> None:
    model = woken(either)
    tokens, positions = batch(either)
    before = model(tokens, positions)
    tokens[:, 9:] = 0
    after = model(tokens, positions)
    torch.testing.assert_close(after[:, :9], before[:, :9])
    assert not torch.allclose(after[:, 9:], before[:, 9:])


def test_packed_documents_give_what_each_gives_alone(either: ModelConfig) -> None:
    model = woken(either)
    tokens, _ = batch(either, rows=1)
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
    loss = -one(tokens, positions).log_softmax(-1).mean()  # of targets drawn evenly, expected
    assert abs(loss.item() - torch.tensor(float(tiny.vocabulary)).log().item()) < 0.05


def test_ngram_rows_follow_the_tokens_within_a_document_alone() -> None:
    tables = NgramEmbedding(10, (100, 50), 4)
    tokens = torch.tensor([[1, 2, 3, 1, 2, 3], [7, 2, 3, 9, 2, 3]])
    positions = torch.tensor([[0, 1, 2, 3, 4, 5], [0, 1, 2, 0, 1, 2]])
    out = tables(tokens, positions)
    assert torch.equal(out[0, 0], torch.zeros(4)) and torch.equal(out[1, 3], torch.zeros(4))  # nothing before
    assert torch.equal(out[0, 5], out[0, 2])  # the same three tokens
    assert torch.equal(out[0, 1], tables.tables[0].weight[21])  # a pair, unhashed: one before is all there is
    assert not torch.equal(out[0, 2], out[1, 2])  # the third token back differs
    step_by_step = [tables(tokens[:, n : n + 1], positions[:, n : n + 1], tokens[:, :n]) for n in range(6)]
    assert torch.equal(torch.cat(step_by_step, dim=1), out)


def test_hashing_spreads_over_the_table() -> None:
    rows = 1000
    tables = NgramEmbedding(2048, (rows,), 1)
    tables.tables[0].weight.data = torch.arange(rows)[:, None].float()
    tokens = torch.randint(2048, (1, 20_000), generator=torch.Generator().manual_seed(0))
    counts = torch.bincount(tables(tokens, torch.ones_like(tokens)).flatten().long(), minlength=rows).double()
    assert (counts - 20).square().sum() / 20 < rows + 6 * (2 * rows) ** 0.5  # chi-squared of a uniform spread


def test_softcap_bounds_the_logits(quick: ModelConfig) -> None:
    model = woken(quick)
    with torch.no_grad():
        model.head_weight.mul_(1000)
        assert model(*batch(quick)).abs().max() <= quick.softcap


def test_batch_norm_keeps_running_statistics(tiny: ModelConfig) -> None:
    model = build(tiny.model_copy(update={"norm": "batch"}), seed=1)
    tokens, positions = batch(tiny)
    x = model.blocks[0].attention_norm(3 + 2 * torch.randn(4, 16, 32))
    assert x.mean((0, 1)).abs().max() < 1e-5 and (x.var((0, 1), unbiased=False) - 1).abs().max() < 1e-2
    model.eval()
    before = model(tokens, positions)
    assert torch.equal(model(tokens[:1], positions[:1]), before[:1])  # in evaluation a row does not see the others


def test_dropout_kinds_and_depth(tiny: ModelConfig) -> None:
    deep = tiny.model_copy(update={"layers": 4, "residual_dropout": 0.3, "dropout_by_depth": True})
    assert [round(deep.residual_dropout_at(layer), 6) for layer in range(4)] == [0.0, 0.1, 0.2, 0.3]
    tokens, positions = batch(tiny)
    for kind in ("embedding_dropout", "attention_dropout", "residual_dropout"):
        model = build(tiny.model_copy(update={kind: 0.5}), seed=1)
        assert not torch.equal(model(tokens, positions), model(tokens, positions)), kind
        model.eval()
        assert torch.equal(model(tokens, positions), model(tokens, positions)), kind
