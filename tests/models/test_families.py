"""What must hold of every decoder of the kit, whatever its parts."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from pydantic import ValidationError

from groundup.generation.cache import Piece
from groundup.generation.few_rows import suits
from groundup.generation.runner import CachedRunner
from groundup.models.build import build, parameters
from groundup.models.config import FAMILIES, KINDS, ModelConfig, resolved
from groundup.models.decoder import Decoder
from groundup.models.parts.position import Relative, alibi_slopes
from groundup.models.parts.window import windowed_attention
from groundup.training.optimizers import OptimizerSettings, optimizers

SHAPE: dict[str, Any] = {"vocabulary": 64, "context": 16, "layers": 2, "width": 32, "heads": 4, "kv_heads": 4, "feedforward": 48}
VARIANTS: dict[str, dict[str, Any]] = {
    **{family: {"family": family, **FAMILIES[family]} for family in FAMILIES if family not in KINDS},
    "falcon 40B": {"family": "falcon", **FAMILIES["falcon"], "parallel": "two-norms", "kv_heads": 2},
    "palm": {"family": "palm", **FAMILIES["palm"], "kv_heads": 1, "head_size": 12, "logits_scale": 32**-0.5},
    "gpt3 banded": {"family": "gpt3", **FAMILIES["gpt3"], "windows": (0, 5)},
    "windows": {"windows": (4, 7)},
    "alibi windows": {"windows": (4,), "position": "alibi"},
    "t5 positions": {"position": "relative", "relative_buckets": 8, "relative_distance": 12},
    "sinusoidal": {"position": "sinusoidal"},
    "no positions": {"position": "none"},
    "rezero": {"norm": "none", "residual": "rezero"},
    "deepnet": {"norm_place": "post", "residual": "deepnet"},
    "softcapped scores": {"attention_softcap": 5.0},
    "factorised": {"embedding_rank": 8},
    "factorised untied": {"embedding_rank": 8, "tied": False},
    "experts": {"experts": 4, "experts_a_token": 2, "shared_experts": 1},
    "relu2 gated relu": {"activation": "reglu", "bias": True},
    "biases of q, k, v": {"attention_bias": "qkv", "kv_heads": 2},
    "biases of attention": {"attention_bias": "all"},
    "norms of q, k": {"qk_norm_scale": True, "kv_heads": 2, "head_size": 12},
    "slowed rotation": {"rope_scaling": 8.0, "rope_wavelengths": (5.0, 40.0)},
}  # fmt: skip


def config(name: str) -> ModelConfig:
    wanted = {**SHAPE, **VARIANTS[name]}
    if wanted.get("family") == "fast":
        wanted["ngram_rows"] = (4096, 200)
    return ModelConfig(**wanted)


def woken(shape: ModelConfig) -> Decoder:
    """A model none of whose weights is zero, so that every part takes part."""
    model = build(shape, seed=1).eval()
    assert isinstance(model, Decoder)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return model


def some(rows: int = 2, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    tokens = torch.randint(64, (rows, 16), generator=torch.Generator().manual_seed(seed))
    return tokens, torch.arange(16).expand_as(tokens)


@pytest.mark.parametrize("name", list(VARIANTS))
def test_the_closed_form_counts_every_parameter(name: str) -> None:
    assert parameters(config(name)) == sum(parameter.numel() for parameter in build(config(name)).parameters())


@pytest.mark.parametrize("name", list(VARIANTS))
def test_no_token_sees_a_later_one(name: str) -> None:
    model = woken(config(name))
    tokens, positions = some()
    before = model(tokens, positions)
    tokens[:, 9:] = 0
    after = model(tokens, positions)
    torch.testing.assert_close(after[:, :9], before[:, :9])
    assert not torch.allclose(after[:, 9:], before[:, 9:])


@pytest.mark.parametrize("name", list(VARIANTS))
def test_packed_documents_give_what_each_gives_alone(name: str) -> None:
    model = woken(config(name))
    tokens, _ = some(rows=1)
    lengths = (5, 8, 3)
    positions = torch.cat([torch.arange(length) for length in lengths])[None]
    segments = torch.repeat_interleave(torch.arange(3), torch.tensor(lengths))[None]
    packed = model(tokens, positions, segments)
    start = 0
    for length in lengths:
        alone = model(tokens[:, start : start + length], torch.arange(length)[None])
        torch.testing.assert_close(packed[:, start : start + length], alone, atol=1e-4, rtol=1e-4)
        start += length


@torch.no_grad()
@pytest.mark.parametrize("kernels", [True, False], ids=["kernels", "torch"])
@pytest.mark.parametrize("name", list(VARIANTS))
def test_decoding_computes_what_the_model_does(name: str, kernels: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two texts, read in parts of any size, together and one after the other; by the kernels where they know all parts, and by torch."""
    model = woken(config(name))
    if not kernels:
        monkeypatch.setattr("groundup.generation.runner.suits", lambda model: False)
    elif not suits(model):
        pytest.skip("the kernels do not know this model, or there is no C compiler")
    tokens, positions = some()
    whole = model(tokens, positions)
    runner = CachedRunner(model, pad=0, precision="fp32", slots=3, context=16)
    done = [0, 0]
    for sizes in ((9, 0), (1, 4), (2, 1), (1, 1), (1, 1), (1, 2), (0, 3), (1, 4)):
        pieces = [
            Piece(slot, tokens[row, done[row] : done[row] + size].tolist(), wanted=size)
            for row, (slot, size) in enumerate(zip((0, 1), sizes, strict=True)) if size
        ]  # fmt: skip
        found = runner.forward(pieces)
        wanted = [whole[row, done[row] : done[row] + size] for row, size in enumerate(sizes)]
        torch.testing.assert_close(found, torch.cat(wanted), atol=1e-4, rtol=1e-4)
        done = [place + size for place, size in zip(done, sizes, strict=True)]
    assert done == [16, 16]


@pytest.mark.parametrize("window", [1, 3, 4, 16])
@pytest.mark.parametrize("both_ways", [False, True])
def test_the_blocked_window_is_the_masked_one(window: int, both_ways: bool) -> None:
    draw = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(2, heads, 13, 8, generator=draw, requires_grad=True) for heads in (4, 2, 2))
    segments = torch.tensor([[0] * 6 + [1] * 7, [0] * 13])
    apart = torch.arange(13)[:, None] - torch.arange(13)[None, :]
    near = (apart.abs() < window) if both_ways else (apart >= 0) & (apart < window)
    mask = near & (segments[:, :, None] == segments[:, None, :])
    expected = torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask[:, None], enable_gqa=True)
    found = windowed_attention(q, k, v, window, segments, both_ways=both_ways)
    torch.testing.assert_close(found, expected)
    for one, other in zip(
        torch.autograd.grad(found.square().sum(), (q, k, v)), torch.autograd.grad(expected.square().sum(), (q, k, v)), strict=True
    ):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)


def test_alibi_s_slopes_are_the_paper_s() -> None:
    assert alibi_slopes(8) == [2**-power for power in range(1, 9)]
    assert alibi_slopes(6)[:4] == [2**-2, 2**-4, 2**-6, 2**-8]
    assert alibi_slopes(6)[4:] == [2**-1, 2**-3]


def test_t5_s_buckets() -> None:
    """Of 32, one way: 0 to 15 alone, then in a logarithm to 127, all farther ones together."""
    buckets = Relative(1, 32, 128, both_ways=False).bucket(torch.tensor([-3, 0, 1, 15, 16, 17, 20, 63, 64, 127, 128, 5000]))
    assert buckets.tolist() == [0, 0, 1, 15, 16, 16, 17, 26, 26, 31, 31, 31]


@pytest.mark.parametrize(
    "wrong, why",
    [
        ({"heads": 5}, "not divisible"), ({"norm": "none"}, "diverges"), ({"parallel": "one-norm", "norm_place": "post"}, "must be pre"),
        ({"residual": "deepnet"}, "must be post"), ({"experts": 2, "experts_a_token": 3}, "experts a token"), ({"kv_heads": 3}, "share"),
        ({"windows": (4,), "position": "relative"}, "do not go together"),
        ({"qk_norm": True, "qk_norm_scale": True}, "set one"), ({"rope_wavelengths": (9.0, 4.0)}, "rising"),
    ],
)  # fmt: skip
def test_senseless_mixes_are_refused_with_the_reason(wrong: dict[str, Any], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        ModelConfig(**{**SHAPE, **wrong})


def test_experts_share_the_work_and_capacity_bounds_it() -> None:
    shape = config("experts")
    model = woken(shape)
    tokens, positions = some()
    model(tokens, positions)
    balance, z = (one.detach() for one in model.router_losses())
    assert 2 * 1.0 <= float(balance) < 2 * 4.0 + 1e-3  # two layers; 1 when even, the number of experts at worst
    assert float(z) > 0
    squeezed = woken(shape.model_copy(update={"expert_capacity": 0.25}))
    roomy = woken(shape.model_copy(update={"expert_capacity": 100.0}))
    torch.testing.assert_close(roomy(tokens, positions), model(tokens, positions))
    assert not torch.allclose(squeezed(tokens, positions), model(tokens, positions))


@pytest.mark.parametrize("wrong, why", [
    ({"family": "t5", "windows": (4,)}, "no windows"), ({"family": "bert", "experts": 4}, "no experts"), ({"family": "t5", "position": "rotary"}, "sinusoidal, relative or no"),
    ({"family": "xlnet", "norm": "rms"}, "post-norm"), ({"family": "llama", "decoder_layers": 2}, "no decoder_layers"), ({"family": "t5", "residual": "rezero"}, "no residual"),
    ({"family": "bert", "init": "mup"}, "worked out for decoders"), ({"family": "t5", "attention_bias": "qkv"}, "no attention_bias"),
    ({"family": "bert", "qk_norm_scale": True}, "no qk_norm_scale"),
])  # fmt: skip
def test_a_kind_refuses_what_it_would_ignore(wrong: dict[str, Any], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        resolved(**{**SHAPE, **wrong})


def growth(width: int, **more: Any) -> list[float]:
    """Mean size of each layer's output, less what it was at the start, after a few steps of AdamW at one rate."""
    shape = resolved("llama", vocabulary=64, context=16, layers=4, width=width, heads=width // 16, init_std=0.1, tied=False, base_width=32, **more)
    model = build(shape, seed=1)
    assert isinstance(model, Decoder)
    settings = OptimizerSettings(learning_rate=0.01, weight_decay=0.0, hidden_factor=32 / width if shape.init == "mup" else 1.0)
    optimizer = optimizers(model, settings)
    found: list[torch.Tensor] = []
    handles = [block.register_forward_hook(lambda module, given, out: found.append(out.detach())) for block in model.blocks]
    tokens, positions = some(rows=4)
    sizes = []
    for step in range(6):
        found.clear()
        loss = torch.nn.functional.cross_entropy(model(tokens, positions).flatten(0, 1), tokens.roll(-1, 1).flatten())
        if step == 0:
            first = [one.clone() for one in found]
        sizes = [float((one - before).abs().mean()) for one, before in zip(found, first, strict=True)]
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step(1.0)
        model.zero_grad(set_to_none=True)
    for handle in handles:
        handle.remove()
    return sizes


def test_with_mup_a_step_moves_a_wide_model_as_far_as_a_narrow_one() -> None:
    """The coordinate check of Yang et al. 2022: activations change as much at eight times the width; without muP they run away."""
    narrow, wide = growth(32, init="mup"), growth(256, init="mup")
    plain_narrow, plain_wide = growth(32), growth(256)
    ratios = [b / a for a, b in zip(narrow, wide, strict=True)]
    plain = [b / a for a, b in zip(plain_narrow, plain_wide, strict=True)]
    assert all(0.5 < ratio < 2 for ratio in ratios), ratios
    assert plain[-1] > 2 * ratios[-1], (plain, ratios)


def test_with_depth_s_share_more_layers_add_no_more() -> None:
    """CompleteP: 16 layers add up to what 4 do."""
    def size(layers: int, residual: str) -> float:
        model = build(resolved("llama", **{**SHAPE, "layers": layers, "residual": residual, "init": "normal", "init_std": 0.3}), seed=1)
        assert isinstance(model, Decoder)
        tokens, positions = some()
        x = model.embed(tokens, positions)
        y = x
        with torch.no_grad():
            rotary = model.rotary(positions) if model.rotary is not None else None
            for block in model.blocks:
                y = block(y, rotary, None, None)
        return float((y - x).detach().square().mean().sqrt())

    assert size(16, "depth") / size(4, "depth") < 0.75 * size(16, "plain") / size(4, "plain")
