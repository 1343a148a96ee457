"""A Hugging Face folder of a family that this kit does not know, through transformers (extra `eval`): correct, and slower.

Nothing is shared between requests but that texts which are read alike are read once (the four letters after one question). Rows of like
length are read together, padded on the right, where a model that reads from left to right does not look.

Shapes: B rows, T time, V vocabulary.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from groundup.errors import RequestError
from groundup.evaluation.encoding import Pair
from groundup.evaluation.remote_writer import before
from groundup.evaluation.scorer import Scored
from groundup.evaluation.writer import Written, kept
from groundup.tokens.tokenizer import Ids

BATCH_TOKENS = 4096  # of a forward pass, padded
LENGTHS = ("n_positions", "max_position_embeddings", "n_ctx")
USUAL_CONTEXT = 2048  # where its config says nothing; lm-eval's


class TransformersModel:
    """A `Scorer`, a `Writer`, and the words of its tokenizer."""

    def __init__(self, folder: Path) -> None:
        """Raises RequestError where transformers is not installed or cannot open the folder. Code in the folder is never run."""
        try:
            transformers: Any = importlib.import_module("transformers")
        except ImportError:
            raise RequestError(
                "this family of models is read through transformers, which is not installed", where=str(folder), do="pip install 'groundup[eval]'"
            ) from None
        try:
            self._words = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
            model = transformers.AutoModelForCausalLM.from_pretrained(folder, local_files_only=True, trust_remote_code=False, dtype=torch.float32)
        except (OSError, ValueError, ImportError, KeyError) as error:
            words = " ".join(str(error).split())[:200]
            raise RequestError(f"transformers cannot open it: {words}", where=str(folder), do="Name a folder with config.json, weights and a tokenizer.") from None
        self._model = model.eval()
        said = [int(value) for name in LENGTHS if (value := getattr(model.config, name, None))]
        self.context = said[0] if said else USUAL_CONTEXT
        words = self._words
        self.end_of_text = int(words.bos_token_id if words.bos_token_id is not None else words.eos_token_id)
        """What stands for an empty context: the token that begins texts, if there is one, as in lm-eval."""

    def encode_batch(self, texts: Sequence[str]) -> list[Ids]:
        """Tokens of each text, no special ones added."""
        return [np.array(ids, dtype=np.uint32) for ids in self._words(list(texts), add_special_tokens=False)["input_ids"]] if texts else []

    @torch.inference_mode()
    def log_likelihoods(self, pairs: Sequence[Pair]) -> list[Scored]:
        """Of each pair, in their order."""
        users: dict[tuple[int, ...], list[int]] = {}
        for place, (first, after) in enumerate(pairs):
            users.setdefault((*first, *after[:-1]), []).append(place)
        texts = sorted(users, key=len, reverse=True)
        found: list[Scored] = [(0.0, False)] * len(pairs)
        while texts:
            rows = max(1, BATCH_TOKENS // len(texts[0]))
            batch, texts = texts[:rows], texts[rows:]
            read_BT = torch.zeros(len(batch), len(batch[0]), dtype=torch.long)
            for row, text in enumerate(batch):
                read_BT[row, : len(text)] = torch.tensor(text)
            mask_BT = torch.arange(len(batch[0])) < torch.tensor([[len(text)] for text in batch])
            scores_BTV = self._model(input_ids=read_BT, attention_mask=mask_BT.long()).logits
            for row, text in enumerate(batch):
                for place in users[text]:
                    target_T = torch.tensor(pairs[place][1])
                    logs_TV = scores_BTV[row, len(text) - len(target_T) : len(text)].float().log_softmax(-1)
                    total = float(logs_TV.gather(1, target_T[:, None]).double().sum())
                    found[place] = total, bool((logs_TV.argmax(-1) == target_T).all())
        return found

    @torch.inference_mode()
    def write(self, prompts: Sequence[str], until: Sequence[str], max_tokens: int) -> list[Written]:
        """The likeliest text after each prompt, one at a time."""
        room = kept(self.context, max_tokens)
        found: list[Written] = []
        for ids in self.encode_batch(prompts):
            read_1T = torch.tensor(ids[-room:].astype(np.int64))[None]
            pad = self._words.pad_token_id if self._words.pad_token_id is not None else self._words.eos_token_id
            written = self._model.generate(
                read_1T, attention_mask=torch.ones_like(read_1T), do_sample=False, max_new_tokens=max_tokens, pad_token_id=pad,
                stop_strings=list(until) or None, tokenizer=self._words,
            )  # fmt: skip
            text = self._words.decode(written[0, read_1T.shape[1] :], skip_special_tokens=True)
            found.append(Written(before(text, until), len(ids) > room))
        return found
