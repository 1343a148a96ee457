"""A tokenizer as llama.cpp keeps it: names, types and merges, and the name of the pattern that cuts a text before it merges.

llama.cpp knows patterns by name, each written out by hand in C++, so only a byte-level BPE with one of patterns.py leaves. Its Unigram
has no bytes to fall back to and its other kinds are other algorithms: they would give other tokens, and are refused.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from groundup.dialogue.template import CHAT_TEMPLATE
from groundup.errors import RequestError
from groundup.export.leaving import Leaving
from groundup.tokens.tokenizer import Tokenizer

NORMAL, CONTROL, USER_DEFINED, UNUSED = 1, 3, 4, 5  # llama.cpp's types of tokens


@dataclass(frozen=True)
class Tokens:
    """The lists of the file, by id."""

    pre: str
    names: list[str]
    types: list[int]
    merges: list[str]


def of(words: Tokenizer, text: str, rows: int) -> Tokens:
    """The lists of a tokenizer, filled up to as many tokens as the embedding has rows. Raises RequestError where llama.cpp would cut
    a text otherwise."""
    file = json.loads(text)
    normaliser = (file["normalizer"] or {}).get("type")
    model = file["model"]
    odd = [key for key in ("dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix") if model.get(key)]
    if words.kind != "byte-level" or words.pattern is None or normaliser not in (None, "NFC") or odd or _prefixes(file):
        why = f"a tokenizer of the kind '{words.kind}'" if words.kind != "byte-level" else f"a byte-level tokenizer with {odd[0] if odd else 'cuts of its own'}"
        raise RequestError(
            f"{why}, which llama.cpp would read otherwise", where="tokenizer.json",
            do="Those that leave: byte-level BPE (tokens.kind=bpe) with the pattern of GPT-2, Llama 3 or Qwen 2. Or export --to hf.",
        )  # fmt: skip
    names, types = [f"[PAD{number}]" for number in range(rows)], [UNUSED] * rows
    for name, token in model["vocab"].items():
        names[token], types[token] = name, NORMAL
    for added in file["added_tokens"]:
        names[added["id"]], types[added["id"]] = added["content"], CONTROL if added["special"] else USER_DEFINED
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in model["merges"]]
    return Tokens(words.pattern.gguf, names, types, merges)


def _prefixes(file: dict[str, Any]) -> bool:
    pre = file["pre_tokenizer"]
    return any(part.get("add_prefix_space") for part in pre.get("pretokenizers", [pre]))


def write(writer: Any, tokens: Tokens, leaving: Leaving) -> None:
    """The tokenizer's keys. What stands before the first token of a text is <|end_of_text|>, but llama.cpp is not to put it there: groundup
    does so for an empty prompt alone."""
    special = leaving.words.special
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(tokens.pre)
    writer.add_token_list(tokens.names)
    writer.add_token_types(tokens.types)
    writer.add_token_merges(tokens.merges)
    writer.add_bos_token_id(special["<|end_of_text|>"])
    writer.add_eos_token_id(special[leaving.end])
    writer.add_eot_token_id(special["<|end_of_turn|>"])
    writer.add_pad_token_id(special["<|pad|>"])
    writer.add_add_bos_token(False)
    writer.add_add_eos_token(False)
    writer.add_add_space_prefix(False)
    if leaving.tuned:
        writer.add_chat_template(CHAT_TEMPLATE)
