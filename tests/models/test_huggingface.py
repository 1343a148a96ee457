"""Parity with transformers' own classes on random weights, read and written: logits and gradients, fp32."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from groundup.errors import RequestError
from groundup.models import huggingface
from groundup.models.build import build
from groundup.models.config import ModelConfig, resolved
from groundup.models.encoder import Encoder
from groundup.models.encoder_decoder import EncoderDecoder
from groundup.models.huggingface.folder import INDEX, write_tensors
from groundup.models.huggingface.stock import misfits, stock
from groundup.models.permutation import PermutationModel

transformers = pytest.importorskip("transformers")
V, B, T = 61, 3, 19


def theirs(kind: str) -> nn.Module:
    """A small model of theirs, none of whose weights is zero."""
    torch.manual_seed(0)
    gpt = {"vocab_size": V, "n_positions": 32, "n_embd": 48, "n_layer": 3, "n_head": 4}
    falcon = {
        "vocab_size": V, "hidden_size": 64, "num_hidden_layers": 3, "num_attention_heads": 8, "bias": False, "alibi": False, "parallel_attn": True,
        "new_decoder_architecture": False, "multi_query": True, "max_position_embeddings": 32,
    }  # fmt: skip
    t5 = {"vocab_size": V, "d_model": 48, "d_kv": 8, "d_ff": 96, "num_layers": 2, "num_decoder_layers": 3, "num_heads": 4, "relative_attention_num_buckets": 8,
          "relative_attention_max_distance": 16}  # fmt: skip
    llama = {
        "vocab_size": V, "hidden_size": 48, "num_hidden_layers": 3, "num_attention_heads": 6, "num_key_value_heads": 2, "intermediate_size": 80,
        "max_position_embeddings": 32, "tie_word_embeddings": False,
    }  # fmt: skip
    llama3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 20}
    windows = {"use_sliding_window": True, "sliding_window": 5, "max_window_layers": 1}
    make = {
        "gpt2": lambda: transformers.GPT2LMHeadModel(transformers.GPT2Config(**gpt)),
        "gpt1": lambda: transformers.OpenAIGPTLMHeadModel(transformers.OpenAIGPTConfig(**gpt)),
        "llama": lambda: transformers.LlamaForCausalLM(transformers.LlamaConfig(**llama)),
        "llama-biased": lambda: transformers.LlamaForCausalLM(transformers.LlamaConfig(**llama, attention_bias=True, mlp_bias=True)),
        "llama-attention-bias": lambda: transformers.LlamaForCausalLM(transformers.LlamaConfig(**{**llama, "head_dim": 16}, attention_bias=True)),
        "llama-3.1": lambda: transformers.LlamaForCausalLM(transformers.LlamaConfig(**llama, rope_scaling=llama3, rope_theta=500.0)),
        "llama-linear": lambda: transformers.LlamaForCausalLM(transformers.LlamaConfig(**llama, rope_scaling={"rope_type": "linear", "factor": 2.5})),
        "mistral": lambda: transformers.MistralForCausalLM(transformers.MistralConfig(**llama, sliding_window=5)),
        "mixtral": lambda: transformers.MixtralForCausalLM(transformers.MixtralConfig(**llama, num_local_experts=4, num_experts_per_tok=2)),
        "qwen2": lambda: transformers.Qwen2ForCausalLM(transformers.Qwen2Config(**llama, **windows)),
        "qwen3": lambda: transformers.Qwen3ForCausalLM(transformers.Qwen3Config(**{**llama, "tie_word_embeddings": True}, head_dim=10)),
        "falcon-7b": lambda: transformers.FalconForCausalLM(transformers.FalconConfig(**falcon)),
        "falcon-40b": lambda: transformers.FalconForCausalLM(
            transformers.FalconConfig(**{**falcon, "new_decoder_architecture": True, "num_kv_heads": 2})
        ),
        "falcon-rw": lambda: transformers.FalconForCausalLM(
            transformers.FalconConfig(**{**falcon, "bias": True, "alibi": True, "parallel_attn": False, "multi_query": False})
        ),
        "bert": lambda: transformers.BertForPreTraining(
            transformers.BertConfig(
                vocab_size=V, hidden_size=48, num_hidden_layers=3, num_attention_heads=4, intermediate_size=96, max_position_embeddings=32
            )
        ),
        "t5": lambda: transformers.T5ForConditionalGeneration(transformers.T5Config(**t5)),
        "t5-gated": lambda: transformers.T5ForConditionalGeneration(
            transformers.T5Config(**t5, feed_forward_proj="gated-gelu", tie_word_embeddings=False)
        ),
        "xlnet": lambda: transformers.XLNetLMHeadModel(
            transformers.XLNetConfig(vocab_size=V, d_model=48, n_layer=3, n_head=4, d_inner=96, mem_len=7)
        ),
    }  # fmt: skip
    model: nn.Module = make[kind]().eval()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
        if kind == "t5-gated":  # logits of about 1, as the others', not of 10
            model.shared.weight.mul_(0.1)  # type: ignore[operator, union-attr]
    return model


def ours(model: Any, tmp_path: Path) -> Any:
    model.save_pretrained(tmp_path, safe_serialization=True)
    return huggingface.load(tmp_path).eval()


def tokens(length: int = T, seed: int = 3) -> Tensor:
    return torch.randint(V, (B, length), generator=torch.Generator().manual_seed(seed))


def close(one: Tensor, other: Tensor) -> None:
    torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)


def same_gradient(mine: nn.Module, other: nn.Module, my_logits: Tensor, their_logits: Tensor, target: Tensor) -> None:
    """The gradient of the loss in the embedding, where all of the model's gradients meet."""
    for logits in (my_logits, their_logits):
        F.cross_entropy(logits.flatten(0, 1), target.flatten()).backward()
    mine_grad, their_grad = mine.embedding.weight.grad, other.get_input_embeddings().weight.grad  # type: ignore[union-attr, operator]
    close(mine_grad, their_grad)  # type: ignore[arg-type]
    squares = [sum(float(p.grad.double().square().sum()) for p in model.parameters() if p.grad is not None) for model in (mine, other)]
    assert squares[0] == pytest.approx(squares[1], rel=1e-4)


LLAMAS = ["llama", "llama-biased", "llama-attention-bias", "llama-3.1", "llama-linear", "mistral", "mixtral", "qwen2", "qwen3"]


@pytest.mark.parametrize("kind", ["gpt2", "gpt1", *LLAMAS, "falcon-7b", "falcon-40b", "falcon-rw"])
def test_decoders(kind: str, tmp_path: Path) -> None:
    other = theirs(kind)
    mine = ours(other, tmp_path)
    read = tokens()
    positions = torch.arange(T).expand_as(read)
    my_logits, their_logits = mine(read, positions), other(read).logits
    close(my_logits, their_logits)
    same_gradient(mine, other, my_logits, their_logits, tokens(seed=4))


def test_bert_with_both_heads(tmp_path: Path) -> None:
    """Without token 0: transformers takes it for padding, whose embedding learns nothing."""
    other = theirs("bert")
    mine = ours(other, tmp_path)
    assert isinstance(mine, Encoder)
    read, types = tokens().clamp(min=1), (torch.arange(T) > 8).long().expand(B, T)
    positions = torch.arange(T).expand_as(read)
    found = other(read, token_type_ids=types)
    x_BTD = mine.hidden(read, positions, None, types)
    close(mine.logits(x_BTD), found.prediction_logits)
    close(mine.follows(x_BTD[:, 0]), found.seq_relationship_logits)
    same_gradient(mine, other, mine.logits(x_BTD), found.prediction_logits, tokens(seed=4))


def test_bert_keeps_packed_documents_apart(tmp_path: Path) -> None:
    mine = ours(theirs("bert"), tmp_path)
    read = tokens()
    segments = (torch.arange(T) >= 7).long().expand(B, T)
    positions = torch.where(segments == 0, torch.arange(T), torch.arange(T) - 7)
    packed = mine(read, positions, segments)
    close(packed[:, :7], mine(read[:, :7], torch.arange(7).expand(B, 7)))
    close(packed[:, 7:], mine(read[:, 7:], torch.arange(T - 7).expand(B, T - 7)))


@pytest.mark.parametrize("kind", ["t5", "t5-gated"])
def test_t5(kind: str, tmp_path: Path) -> None:
    other = theirs(kind)
    mine = ours(other, tmp_path)
    assert isinstance(mine, EncoderDecoder)
    source, read = tokens(23, seed=5), tokens()
    my_logits = mine(read, torch.arange(T).expand_as(read), source, torch.arange(23).expand_as(source))
    their_logits = other(input_ids=source, decoder_input_ids=read).logits
    close(my_logits, their_logits)
    same_gradient(mine, other, my_logits, their_logits, tokens(seed=4))


def test_xlnet_both_streams_with_memory(tmp_path: Path) -> None:
    other = theirs("xlnet")
    mine = ours(other, tmp_path)
    assert isinstance(mine, PermutationModel)
    earlier, read = tokens(7, seed=6), tokens()
    generator = torch.Generator().manual_seed(7)
    hidden = torch.rand(B, T, T, generator=generator) < 0.5
    first = other(earlier, use_mems=True)
    my_first = mine.streams(earlier)
    close(mine.logits(my_first.content_BTD), first.logits)
    mapping = torch.eye(T).expand(B, T, T)  # guess every place
    segments = (torch.arange(T) > 9).long().expand(B, T)
    second = other(read, mems=first.mems, perm_mask=hidden.float(), target_mapping=mapping, use_mems=True)
    found = mine.streams(read, hidden, None, my_first.memory, guess=True)
    assert found.query_BTD is not None
    close(mine.logits(found.query_BTD), second.logits)
    typed = other(read, token_type_ids=segments)
    my_logits = mine.logits(mine.streams(read, None, segments).content_BTD)
    close(my_logits, typed.logits)
    same_gradient(mine, other, my_logits, typed.logits, tokens(seed=4))


def test_what_is_none_of_ours_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="no readable model"):
        huggingface.load(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "mamba"}')
    with pytest.raises(RequestError, match=r"no \*.safetensors"):
        huggingface.load(tmp_path)
    with pytest.raises(RequestError, match="a model of type 'mamba'"):
        huggingface.translate({"model_type": "mamba"}, {})


SHAPE: dict[str, Any] = {"vocabulary": V, "context": 32, "layers": 2, "width": 48, "heads": 6}
OWN: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("LlamaForCausalLM", {"family": "llama"}),
    "llama untied, grouped, narrow heads": ("LlamaForCausalLM", {"family": "llama", "tied": False, "kv_heads": 2, "head_size": 6}),
    "llama with biases and a GELU": ("LlamaForCausalLM", {"family": "llama", "bias": True, "activation": "geglu_tanh"}),
    "llama scaled": ("LlamaForCausalLM", {"family": "llama", "rope_scaling": 4.0, "rope_base": 500.0}),
    "llama 3.1": ("LlamaForCausalLM", {"family": "llama", "rope_scaling": 4.0, "rope_wavelengths": (6.0, 24.0)}),
    "mistral": ("MistralForCausalLM", {"family": "llama", "windows": (5,), "kv_heads": 3}),
    "qwen2": ("Qwen2ForCausalLM", {"family": "llama", "attention_bias": "qkv", "windows": (0, 7)}),
    "qwen3": ("Qwen3ForCausalLM", {"family": "llama", "qk_norm_scale": True, "kv_heads": 3, "head_size": 10}),
    "mixtral": ("MixtralForCausalLM", {"family": "moe", "experts": 3, "tied": False}),
    "gpt1": ("OpenAIGPTLMHeadModel", {"family": "gpt1"}),
    "gpt2": ("GPT2LMHeadModel", {"family": "gpt2", "feedforward": 100, "activation": "relu2"}),
    "gpt2 untied": ("GPT2LMHeadModel", {"family": "gpt2", "tied": False}),
    "gpt3": ("GPT2LMHeadModel", {"family": "gpt3"}),
    "falcon": ("FalconForCausalLM", {"family": "falcon"}),
    "falcon grouped behind one norm": ("FalconForCausalLM", {"family": "falcon", "kv_heads": 2, "bias": True}),
    "falcon 40B": ("FalconForCausalLM", {"family": "falcon", "kv_heads": 3, "parallel": "two-norms", "tied": False}),
    "falcon in turn": ("FalconForCausalLM", {"family": "falcon", "kv_heads": 6, "parallel": "no", "rope_scaling": 2.0}),
    "falcon-rw": ("FalconForCausalLM", {"family": "falcon-rw"}),
    "bert": ("BertForPreTraining", {"family": "bert"}),
    "t5": ("T5ForConditionalGeneration", {"family": "t5", "decoder_layers": 3}),
    "t5 gated, untied": ("T5ForConditionalGeneration", {"family": "t5", "activation": "geglu_tanh", "tied": False}),
    "t5 unscaled": ("T5ForConditionalGeneration", {"family": "t5", "logits_scale": 1.0, "head_size": 12}),
    "xlnet": ("XLNetLMHeadModel", {"family": "xlnet"}),
}  # fmt: skip


def own(name: str) -> Any:
    """A model of ours, none of whose weights is zero."""
    model = build(resolved(**{**SHAPE, **OWN[name][1]}), seed=1).eval()
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
        if model.config.family == "t5":  # whose embeddings start from N(0, 1): logits of about 1
            model.embedding.weight.mul_(0.1)
    return model


def leave(model: Any, folder: Path, limit: int = 10**9) -> None:
    config, tensors = huggingface.written(model.config, model.state_dict())
    write_tensors(folder, tensors, limit)
    (folder / "config.json").write_text(json.dumps(config))


def says(model: Any, read: Tensor) -> Tensor:
    """Logits of ours, whatever the kind."""
    positions = torch.arange(read.shape[1]).expand_as(read)
    if isinstance(model, EncoderDecoder):
        found: Tensor = model(read, positions, read.flip(1), positions)
        return found
    if isinstance(model, PermutationModel):
        return model.logits(model.streams(read).content_BTD)
    found = model(read, positions)
    return found


@torch.no_grad()
@pytest.mark.parametrize("name", list(OWN))
def test_what_is_written_says_the_same_in_a_stock_class_and_comes_back(name: str, tmp_path: Path) -> None:
    model, wanted = own(name), OWN[name][0]
    assert model.config.portable
    leave(model, tmp_path)
    stock_class = getattr(transformers, wanted)
    other, about = stock_class.from_pretrained(tmp_path, output_loading_info=True)
    assert not about["missing_keys"] and not about["unexpected_keys"] and not about["mismatched_keys"]
    assert json.loads((tmp_path / "config.json").read_text())["architectures"] == [wanted]
    read = tokens()
    mine = says(model, read)
    given = {"input_ids": read.flip(1), "decoder_input_ids": read} if isinstance(model, EncoderDecoder) else {"input_ids": read}
    found = other.eval()(**given)
    torch.testing.assert_close(mine, found.prediction_logits if wanted == "BertForPreTraining" else found.logits, atol=1e-4, rtol=1e-4)
    back = huggingface.load(tmp_path).eval()
    assert all(torch.equal(back.state_dict()[key], value) for key, value in model.state_dict().items())
    torch.testing.assert_close(says(back, read), mine)


def test_a_large_model_is_written_and_read_in_parts(tmp_path: Path) -> None:
    model = own("llama untied, grouped, narrow heads")
    leave(model, tmp_path, limit=20_000)
    index = json.loads((tmp_path / INDEX).read_text())
    assert len(set(index["weight_map"].values())) > 2
    assert index["metadata"]["total_size"] == sum(4 * parameter.numel() for parameter in model.parameters())
    (tmp_path / "consolidated.safetensors").write_bytes(b"a copy in another format, as Mistral's folders have")
    read = tokens()
    for back in (huggingface.load(tmp_path).eval(), transformers.AutoModelForCausalLM.from_pretrained(tmp_path).eval()):
        found = says(back, read) if not hasattr(back, "generate") else back(read).logits
        torch.testing.assert_close(found, says(model, read), atol=1e-4, rtol=1e-4)
    (tmp_path / min(index["weight_map"].values())).unlink()
    with pytest.raises(RequestError, match="a file is missing or damaged"):
        huggingface.load(tmp_path)


def test_pickles_are_never_opened(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    (tmp_path / "pytorch_model.bin").write_bytes(b"cos\nsystem\n(S'touch opened'\ntR.")
    with pytest.raises(RequestError, match=r"only pytorch_model.bin, a pickle"):
        huggingface.load(tmp_path)


@pytest.mark.parametrize(
    "more, why",
    [
        ({"rope_scaling": {"type": "yarn", "factor": 2.0}}, "the rule 'yarn'"), ({"rope_scaling": {"rope_type": "dynamic", "factor": 2.0}}, "'dynamic'"),
        ({"hidden_act": "quick_gelu"}, "hidden_act='quick_gelu'"), ({"mlp_bias": True}, "mlp_bias=True"), ({"partial_rotary_factor": 0.5}, "a share of 0.5"),
        ({"quantization_config": {"bits": 4}}, "quantised"), ({"model_type": "qwen2_moe"}, "a model of type 'qwen2_moe'"),
        ({"model_type": "qwen3", "use_sliding_window": True, "sliding_window": 4, "layer_types": ["chunked_attention"]}, "chunked_attention"),
        ({"model_type": "bert", "is_decoder": True}, "is_decoder=True"), ({"model_type": "gpt2", "scale_attn_by_inverse_layer_idx": True}, "inverse_layer"),
        ({"num_hidden_layers": ...}, "says nothing of 'num_hidden_layers'"),
    ],
)  # fmt: skip
def test_what_is_not_computed_here_is_refused_by_name(more: dict[str, Any], why: str) -> None:
    config = {
        "model_type": "llama", "vocab_size": V, "hidden_size": 48, "num_hidden_layers": 1, "num_attention_heads": 6, "intermediate_size": 80,
        "max_position_embeddings": 32, "rms_norm_eps": 1e-5, **more,
    }  # fmt: skip
    with pytest.raises(RequestError, match=why):
        huggingface.translate({name: value for name, value in config.items() if value is not ...}, {})


@pytest.mark.parametrize(
    "family, more, named",
    [
        ("fast", {"ngram_rows": (64,), "softcap": 15.0}, ["norm_scale", "qk_norm", "embedding_norm", "softcap", "shortcut", "value_embeddings", "ngram_rows", "activation"]),
        ("llama", {"norm": "layer", "position": "alibi", "attention_softcap": 5.0}, ["norm", "position", "attention_softcap"]),
        ("llama", {"windows": (0, 5)}, ["windows"]), ("moe", {"shared_experts": 1, "expert_capacity": 1.5}, ["shared_experts", "expert_capacity"]),
        ("gpt3", {"windows": (0, 5)}, ["windows"]), ("gpt1", {"feedforward": 100}, ["feedforward"]), ("gpt2", {"kv_heads": 2}, ["kv_heads"]),
        ("falcon", {"position": "alibi"}, ["position"]), ("falcon", {"parallel": "no", "kv_heads": 2}, ["kv_heads"]), ("palm", {}, ["norm_bias", "logits_scale", "activation"]),
        ("transformer", {}, ["norm", "position", "embedding_scale"]), ("bert", {"norm_place": "pre"}, ["norm_place"]), ("t5", {"tied": False, "logits_scale": 0.1}, ["logits_scale"]),
        ("llama", {"residual": "rezero", "norm": "none"}, ["norm", "residual"]), ("llama", {"init": "mup"}, ["logits_scale"]),
    ],
)  # fmt: skip
def test_what_no_stock_class_computes_is_refused_with_every_part(family: Any, more: dict[str, Any], named: list[str]) -> None:
    config = resolved(family, **{**SHAPE, **more})
    found = [one.partition("=")[0] for one in misfits(config)]
    assert set(named) <= set(found), found
    assert not config.portable
    with pytest.raises(RequestError, match=f"{stock(config).name}, the nearest, has no .*{named[0]}"):
        huggingface.written(config, {})


def test_what_matters_for_training_alone_keeps_no_model_here() -> None:
    config = resolved("llama", **{**SHAPE, "init": "orthogonal", "residual_dropout": 0.2, "dropout_by_depth": True, "zero_output": True, "relative_buckets": 8})
    assert config.portable and ModelConfig.model_validate(config.model_dump()).portable


def test_names_of_bert_s_time_are_known(tmp_path: Path) -> None:
    """Scales and shifts as gamma and beta: what the folder of the first BERT holds."""
    model = own("bert")
    config, tensors = huggingface.written(model.config, model.state_dict())
    old = {name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): tensor for name, tensor in tensors.items()}
    assert old.keys() != tensors.keys()
    _, weights = huggingface.translate(config, old)
    assert all(torch.equal(weights[name], value) for name, value in model.state_dict().items())
