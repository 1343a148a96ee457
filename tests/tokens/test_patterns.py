"""Ten thousand hard strings: the fast engine's ids are those of tokenizers, and of everybody's GPT-2."""

from __future__ import annotations

import functools
import json
import random
import unicodedata
from pathlib import Path

import pytest
import tiktoken
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import decoders, models, pre_tokenizers

from groundup.corpus.document import encodable
from groundup.tokens import tokenizer
from groundup.tokens.patterns import PATTERNS
from groundup.tokens.tokenizer import Tokenizer
from groundup.tokens.trainers import adopt, train_bpe

SHARED = Path(__file__).parents[3] / "shared"
EMOJI = [chr(code) for code in (*range(0x1F300, 0x1F650), *range(0x1F680, 0x1F6FC), *range(0x1F900, 0x1FA00), *range(0x2600, 0x27C0))]
FAMILIES = ["👨‍👩‍👧‍👦", "🏳️‍🌈", "👍🏽", "🇩🇪🇫🇷", "1️⃣", "❤️"]
BITS = [
    "'s", "'S", "'ſ", "'re", "'LL", "’t", "don't", "I'Ve", " ", "  ", "   ", "\n", "\r\n", "\n\n ", " \n", "\t", "\u00a0", "\u2003", "\u3000", "\x85",
    "\u2028", "\x1c", "\x00", "\x7f", "\ufeff", "a", "Z", "ß", "é", "e\u0301", "Å", "ﬁ", "ŉ", "İ", "ı", "K", "ⅷ", "²", "½", "٣", "१२३", "1984", "007",
    "_", "__x__", "-", "---", "!?", "…", "。", "、", "「国」", "国", "々", "〇", "ぁ", "한글", "עברית", "العربية", "\u202b", "हिन्दी", "ไทย", "\u200d", "\u0301",
    "<|end_of_text|>", "<|user|>", "<0x41>", "Ġ", "▁", "\ud7ff", "\ue000", "\ufffd", "\U0010ffff", "𝓐", "𒀀", "def f(x):\n    return x\n", "https://a.b/c?d=1",
]  # fmt: skip


@functools.cache
def hard_strings(count: int = 10_000) -> list[str]:
    draw = random.Random(11)
    letters = [chr(code) for code in range(0x20, 0x30000, 37) if unicodedata.category(chr(code)) not in ("Cs", "Cn")]
    made = ["", *BITS, *EMOJI[:400], *FAMILIES, "".join(EMOJI), " ".join(EMOJI)]
    while len(made) < count:
        bits = draw.choice([BITS, BITS, letters, EMOJI + FAMILIES + BITS])
        made.append("".join(draw.choices(bits, k=draw.randrange(1, 30))))
    return made[:count]


@functools.cache
def made(pattern: str) -> Tokenizer:
    """Trained on strings like the hard ones, so that its merges meet them."""
    draw = random.Random(5)
    text = [" ".join(draw.choices(hard_strings(), k=50)) + " the king's men don't 1984" * 9 for _ in range(150)]
    return Tokenizer(train_bpe(text, 1500, must_reach=True, pattern=pattern))  # type: ignore[arg-type]


@pytest.mark.parametrize("pattern", list(PATTERNS))
def test_ten_thousand_hard_strings(pattern: str) -> None:
    words = made(pattern)
    assert words.engine == "tiktoken"
    strings = hard_strings()
    for text, ours, theirs in zip(strings, words.encode_batch(strings), words.encode_by_library(strings), strict=True):
        assert ours.tolist() == theirs.tolist(), repr(text)
        assert words.comes_back(text, ours)


@pytest.mark.parametrize("pattern", list(PATTERNS))
@settings(deadline=None, max_examples=200)
@given(text=st.text(max_size=60) | st.lists(st.sampled_from(BITS)).map("".join))
def test_any_string(pattern: str, text: str) -> None:
    words = made(pattern)
    assert words.encode(text) == words.encode_by_library([text])[0].tolist()
    assert words.decode(words.encode(text)) == encodable(text)


@pytest.mark.parametrize("run", [3, 40, 2000])
@pytest.mark.parametrize("bit", [" ", "a", "-", "国", "_-", "\n", "1", "é", "々", " \n"])
def test_runs_of_any_length(bit: str, run: int, monkeypatch) -> None:
    """Below and above the length from which tokenizers takes over."""
    monkeypatch.setattr(tokenizer, "LONGEST_RUN", 64)
    for pattern in PATTERNS:
        words = made(pattern)
        for text in (bit * run, f"the {bit * run} end", f"x{bit * run}"):
            assert words.encode(text) == words.encode_by_library([text])[0].tolist()


def test_no_piece_is_longer_than_the_run_it_is_said_to_have() -> None:
    for pattern in PATTERNS.values():
        cut = pre_tokenizers.Split(tokenizers.Regex(pattern.regex), behavior="isolated")
        for text in [*hard_strings()[:4000], "a" * 3000, "々" * 900 + "国。" * 900, "_-" * 2000, "x " + " " * 2000 + "\n" * 2000]:
            longest = max((len(piece.encode()) for piece, _ in cut.pre_tokenize_str(text)), default=0)
            if longest > 2 * 64 + 4:
                assert tokenizer.longest_run(text, 64) > 64
            assert longest <= 2 * tokenizer.longest_run(text) + 4 if text else longest == 0


@pytest.mark.skipif(not (SHARED / "data/artefacts/gpt2_bpe").is_dir(), reason="GPT-2's vocabulary is not here (shared/data)")
def test_gpt_2_adopted_gives_the_ids_of_tiktoken(tmp_path) -> None:
    from tiktoken.load import data_gym_to_mergeable_bpe_ranks

    folder = SHARED / "data/artefacts/gpt2_bpe"
    ranks = data_gym_to_mergeable_bpe_ranks(str(folder / "vocab.bpe"), str(folder / "encoder.json"))
    theirs = tiktoken.Encoding("gpt2", pat_str=PATTERNS["gpt2"].regex, mergeable_ranks=ranks, special_tokens={"<|endoftext|>": 50256})
    merges = [tuple(line.split()) for line in (folder / "vocab.bpe").read_text().splitlines()[1:] if line]
    inner = tokenizers.Tokenizer(models.BPE(vocab=json.loads((folder / "encoder.json").read_text()), merges=merges))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    inner.save(str(tmp_path / "tokenizer.json"))
    words = Tokenizer(adopt(tmp_path))
    assert words.engine == "tiktoken"
    assert words.special["<|end_of_text|>"] == 50256
    assert words.special["<|user|>"] >= 50257
    strings = hard_strings()
    assert [ids.tolist() for ids in words.encode_batch(strings)] == theirs.encode_ordinary_batch(strings)


@pytest.mark.parametrize(
    "text, read", [("\ud800", "\ufffd"), ("a\udc00b", "a\ufffdb"), ("\ud83d\ude00", "😀"), ("\udc00\ud800x", "\ufffd\ufffdx")], ids=ascii
)  # fmt: skip
def test_surrogates_that_no_file_can_hold_are_replaced(text: str, read: str) -> None:
    for pattern in PATTERNS:
        assert made(pattern).decode(made(pattern).encode(text)) == read


@pytest.mark.parametrize("unit", ["a", "abc", "国", "\x00", "= "])
def test_ten_megabytes_without_a_border(unit: str) -> None:
    text = unit * (10_000_000 // len(unit.encode()))
    words = made("qwen2")
    assert words.comes_back(text, words.encode_batch([text])[0])
