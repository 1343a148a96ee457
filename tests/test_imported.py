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
