"""A folder that transformers loads by its own classes, with no code of ours.

    config.json              the stock class and its sizes
    model.safetensors        weights under its names; several files and an index above 5 GB
    tokenizer.json           as it was trained or imported
    tokenizer_config.json    which tokens end and pad a text, and the chat template of a tuned model
    generation_config.json   where writing ends, and the sampling of `groundup chat` and `groundup generate`
    README.md                the model card; beside it the run's report

Both ends stop the writing, as they do here: a base model that was shown conversations may end a turn, an assistant may end the text.
Ids are those of `dialogue/template.py`, with one difference: where a user's own text holds the name of a special token, transformers
makes the token of it, and groundup plain text; `apply_chat_template(..., sanitize_control_tokens=True)` (transformers 5) does as groundup.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from groundup.dialogue.template import CHAT_TEMPLATE
from groundup.export.card import card
from groundup.export.leaving import DTYPES, Leaving, in_dtype
from groundup.generation.engine import END_TOKENS
from groundup.models import huggingface
from groundup.models.huggingface.folder import write_tensors
from groundup.run import write_atomic, write_json

CHAT: dict[str, Any] = {"temperature": 0.7, "top_k": 0, "top_p": 1.0, "min_p": 0.05}  # as `groundup chat`
GENERATE: dict[str, Any] = {"temperature": 0.8, "top_k": 40, "top_p": 0.95, "min_p": 0.05}  # as `groundup generate`


def write(leaving: Leaving, folder: Path, dtype: str) -> None:
    """Write the folder's files. Raises RequestError where no stock class computes the same."""
    config, tensors = huggingface.written(leaving.config, leaving.weights)
    write_tensors(folder, in_dtype(tensors, dtype))
    special = leaving.words.special
    ids: dict[str, Any] = {
        "bos_token_id": special["<|end_of_text|>"], "eos_token_id": special[leaving.end], "pad_token_id": special["<|pad|>"],
    }  # fmt: skip
    if leaving.config.kind == "encoder-decoder":
        ids["decoder_start_token_id"] = special["<|pad|>"]
    write_json(folder / "config.json", {**config, **ids, "torch_dtype": str(DTYPES[dtype]).removeprefix("torch.")})
    write_atomic(folder / "tokenizer.json", leaving.tokenizer_text)
    write_json(folder / "tokenizer_config.json", tokenizer_config(leaving))
    if leaving.config.kind in ("decoder", "encoder-decoder"):
        sampling = {"do_sample": True, **(CHAT if leaving.tuned else GENERATE), "max_length": leaving.config.context}
        write_json(folder / "generation_config.json", {**ids, "eos_token_id": [special[name] for name in END_TOKENS], **sampling})
    write_atomic(folder / "README.md", card(leaving, config["architectures"][0], dtype))
    for path in sorted(leaving.run.path.glob("report.*")):
        shutil.copyfile(path, folder / path.name)


def tokenizer_config(leaving: Leaving) -> dict[str, Any]:
    """What transformers has to know beside tokenizer.json."""
    file = json.loads(leaving.tokenizer_text)
    names = _names(file)

    def called(role: str) -> str:
        return names[leaving.words.special[role]]

    found: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": leaving.config.context, "clean_up_tokenization_spaces": False,
        "model_input_names": ["input_ids", *(["token_type_ids"] if leaving.config.kind == "encoder" else []), "attention_mask"],
        "eos_token": called(leaving.end), "pad_token": called("<|pad|>"),
        "added_tokens_decoder": {str(token["id"]): {key: value for key, value in token.items() if key != "id"} for token in file["added_tokens"]},
    }  # fmt: skip
    if (unknown := _unknown(file["model"])) is not None:
        found["unk_token"] = unknown
    if leaving.config.kind == "encoder":
        found |= {"mask_token": called("<|mask|>"), "cls_token": called("<|class|>"), "sep_token": called("<|end_of_text|>")}
    if leaving.tuned:
        found["chat_template"] = CHAT_TEMPLATE
    return found


def _names(file: dict[str, Any]) -> dict[int, str]:
    """What the tokenizer itself calls each token; a file of others has names of its own."""
    vocab = file["model"]["vocab"]
    listed = {token: name for name, token in vocab.items()} if isinstance(vocab, dict) else {token: name for token, (name, _) in enumerate(vocab)}
    return {**listed, **{added["id"]: added["content"] for added in file["added_tokens"]}}


def _unknown(model: dict[str, Any]) -> str | None:
    """The name of the token for what has none."""
    if model["type"] == "Unigram":
        place = model.get("unk_id")
        return None if place is None else str(model["vocab"][place][0])
    return model.get("unk_token")
