"""Parity with transformers' own classes on random weights: logits and gradients, fp32."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from groundup.errors import RequestError
from groundup.models import huggingface
from groundup.models.encoder import Encoder
from groundup.models.encoder_decoder import EncoderDecoder
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
    make = {
        "gpt2": lambda: transformers.GPT2LMHeadModel(transformers.GPT2Config(**gpt)),
        "gpt1": lambda: transformers.OpenAIGPTLMHeadModel(transformers.OpenAIGPTConfig(**gpt)),
        "llama": lambda: transformers.LlamaForCausalLM(
            transformers.LlamaConfig(
                vocab_size=V, hidden_size=48, num_hidden_layers=3, num_attention_heads=6, num_key_value_heads=2, intermediate_size=80,
                max_position_embeddings=32, tie_word_embeddings=False,
            )
        ),
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


@pytest.mark.parametrize("kind", ["gpt2", "gpt1", "llama", "falcon-7b", "falcon-40b", "falcon-rw"])
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
