"""A Hugging Face folder becomes a run whose model says what theirs says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from groundup.errors import RequestError
from groundup.imported import bring_in
from groundup.tokens.tokenizer import Tokenizer
from groundup.training import checkpoint

transformers = pytest.importorskip("transformers")


def folder(tmp_path: Path) -> Path:
    """GPT-2 in small, with a tokenizer of its own that knows one special token."""
    from tokenizers import Tokenizer as Inner
    from tokenizers import decoders, models, pre_tokenizers

    letters = pre_tokenizers.ByteLevel.alphabet()
    inner = Inner(models.BPE(vocab={letter: number for number, letter in enumerate(sorted(letters))}, merges=[]))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    inner.add_special_tokens(["<|endoftext|>"])
    found = tmp_path / "theirs"
    found.mkdir()
    inner.save(str(found / "tokenizer.json"))
    torch.manual_seed(0)
    config = transformers.GPT2Config(vocab_size=257, n_positions=32, n_embd=32, n_layer=2, n_head=4)
    transformers.GPT2LMHeadModel(config).save_pretrained(found)
    return found


def test_an_imported_model_says_what_theirs_says(tmp_path: Path) -> None:
    theirs = folder(tmp_path)
    found = bring_in(theirs, tmp_path / "runs", "small")
    words = Tokenizer.load(tmp_path / "runs" / "small" / "tokenizer")
    model = checkpoint.load_model(tmp_path / "runs" / "small" / "checkpoints" / "step-0000000", words.digest)
    assert found["vocabulary"] == words.size > 257
    tokens = torch.tensor([words.encode("to be or not")])
    with torch.no_grad():
        mine = model(tokens, torch.arange(tokens.shape[1])[None])
        other = transformers.GPT2LMHeadModel.from_pretrained(theirs).eval()(tokens).logits
    torch.testing.assert_close(mine[..., :257], other, atol=1e-5, rtol=1e-5)


def test_through_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    from groundup.cli import main

    theirs = folder(tmp_path)
    for arguments in (["import", str(theirs), "--runs", str(tmp_path / "runs"), "--json"], ["generate", "theirs", "to be", "--runs", str(tmp_path / "runs"), "--json"]):
        monkeypatch.setattr("sys.argv", ["groundup", *arguments])
        with pytest.raises(SystemExit) as end:
            main()
        assert end.value.code == 0
    said = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert said[0]["family"] == "gpt2" and said[1]["completions"][0]["tokens"] > 0


def test_a_taken_name_and_an_empty_folder_are_refused(tmp_path: Path) -> None:
    (tmp_path / "runs" / "there").mkdir(parents=True)
    with pytest.raises(RequestError, match="a run of this name"):
        bring_in(tmp_path, tmp_path / "runs", "there")
    with pytest.raises(RequestError, match="no readable model"):
        bring_in(tmp_path, tmp_path / "runs", "new")
    assert not (tmp_path / "runs" / "new").exists()


def saved(tmp_path: Path, kind: str, inner: object) -> Path:
    """A small model of a kind with this tokenizer."""
    found = tmp_path / kind
    found.mkdir()
    inner.save(str(found / "tokenizer.json"))  # type: ignore[attr-defined]
    torch.manual_seed(0)
    shape = {"vocab_size": 400, "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 48, "max_position_embeddings": 32}
    config, model = {
        "mistral": (transformers.MistralConfig, transformers.MistralForCausalLM), "qwen2": (transformers.Qwen2Config, transformers.Qwen2ForCausalLM),
        "llama": (transformers.LlamaConfig, transformers.LlamaForCausalLM),
    }[kind]  # fmt: skip
    model(config(**shape)).save_pretrained(found)
    return found


def sentencepiece() -> object:
    """As Llama 2's and Mistral's files: blanks written as U+2581, one before the text, bytes for what has no token."""
    from tokenizers import Tokenizer as Inner
    from tokenizers import decoders, models, normalizers

    names = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁", *"abdeghikmnorst", "▁t", "▁th", "▁the"]
    merges = [("▁", "t"), ("▁t", "h"), ("▁th", "e")]
    inner = Inner(models.BPE(vocab={name: token for token, name in enumerate(names)}, merges=merges, byte_fallback=True, fuse_unk=True, unk_token="<unk>"))
    inner.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    inner.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    inner.add_special_tokens(["<unk>", "<s>", "</s>"])
    return inner


def byte_level(pattern: str, special: list[str], *, nfc: bool = False) -> object:
    """As Qwen's and Llama 3's files."""
    from tokenizers import Regex, decoders, models, normalizers, pre_tokenizers
    from tokenizers import Tokenizer as Inner

    from groundup.tokens.patterns import PATTERNS

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    names = [*letters, "th", "the", "Ġthe"]
    inner = Inner(models.BPE(vocab={name: token for token, name in enumerate(names)}, merges=[("t", "h"), ("th", "e"), ("Ġ", "the")]))
    if nfc:
        inner.normalizer = normalizers.NFC()
    split = pre_tokenizers.Split(Regex(PATTERNS[pattern].regex), behavior="isolated")
    inner.pre_tokenizer = pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    inner.decoder = decoders.ByteLevel()
    inner.add_special_tokens(special)
    return inner


@pytest.mark.parametrize(
    "kind, make, ends, called",
    [
        ("mistral", sentencepiece, ("</s>", "<|end_of_turn|>"), "metaspace"),
        ("qwen2", lambda: byte_level("qwen2", ["<|endoftext|>", "<|im_start|>", "<|im_end|>"], nfc=True), ("<|endoftext|>", "<|im_end|>"), "byte-level"),
        ("llama", lambda: byte_level("llama3", ["<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>", "<|finetune_right_pad_id|>"]),
         ("<|end_of_text|>", "<|eot_id|>"), "byte-level"),
    ],
)  # fmt: skip
def test_tokenizers_of_others_keep_their_ids_and_their_ends(kind: str, make: object, ends: tuple[str, str], called: str, tmp_path: Path) -> None:
    from tokenizers import Tokenizer as Inner

    folder = saved(tmp_path, kind, make())  # type: ignore[operator]
    found = bring_in(folder, tmp_path / "runs", kind)
    words = Tokenizer.load(tmp_path / "runs" / kind / "tokenizer")
    theirs = Inner.from_file(str(folder / "tokenizer.json"))
    assert words.kind == called and found["vocabulary"] == 400  # new special tokens take rows that were not in use
    ids = {name: words.special[role] for name, role in zip(ends, ("<|end_of_text|>", "<|end_of_turn|>"), strict=True)}
    adopted = json.loads((tmp_path / "runs" / kind / "tokenizer" / "tokenizer.json").read_text())
    assert ids == {token["content"]: token["id"] for token in adopted["added_tokens"] if token["content"] in ends}
    for text in ("the moth and the sea", " the  the\n", "naïve 国 e\u0301 😀 123"):
        assert words.encode(text) == theirs.encode(text, add_special_tokens=False).ids
    if kind == "llama":
        assert words.special["<|pad|>"] == theirs.token_to_id("<|finetune_right_pad_id|>")
    if kind == "qwen2":
        assert words.encode("e\u0301") == words.encode("\u00e9") and not words.lossless


def test_an_imported_model_leaves_as_it_came(tmp_path: Path) -> None:
    """Qwen 2 in, Qwen 2 out: the class, every tensor, and the ids, which transformers gives by its own class of tokenizer."""
    from groundup.export import export
    from groundup.run import Run

    folder = saved(tmp_path, "qwen2", byte_level("qwen2", ["<|endoftext|>", "<|im_start|>", "<|im_end|>"], nfc=True))
    bring_in(folder, tmp_path / "runs", "q")
    export(Run.read(tmp_path / "runs" / "q"), "hf", tmp_path / "out")
    one, other = (transformers.AutoModelForCausalLM.from_pretrained(path).state_dict() for path in (folder, tmp_path / "out"))
    assert one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
    words, theirs = Tokenizer.load(tmp_path / "runs" / "q" / "tokenizer"), transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
    for text in ("the moth and the sea", "naïve e\u0301 123"):
        assert theirs(text).input_ids == words.encode(text)
    assert theirs.convert_tokens_to_ids("<|user|>") == words.special["<|user|>"]
    assert "brought in from the Hugging Face folder `qwen2`" in (tmp_path / "out" / "README.md").read_text()
