"""Room for further tokens in a model that knows others already."""

from __future__ import annotations

import torch
from torch import Tensor

from groundup.errors import RequestError
from groundup.models.build import Model, build


def widened(model: Model, vocabulary: int, known: int | None = None) -> Model:
    """The same model for a tokenizer of `vocabulary` tokens, of which it has learned the first `known`; all that it has rows for when not given.

    The rows of the others are the mean of the known ones in all that has a row for each token: an embedding's mean is the draw of a
    normal distribution fitted to the embeddings that changes what the model says least (Hewitt 2021, "Initializing new word embeddings for
    pretrained language models"; OpenChat does the same). A matrix may have more rows already than there were tokens; it is never cut.
    """
    size, known = max(vocabulary, model.config.vocabulary), known or model.config.vocabulary
    if size > model.config.vocabulary and model.config.ngram_rows and model.config.vocabulary**2 <= model.config.ngram_rows[0]:
        raise RequestError(
            "its table of token pairs has a row for each pair and none for those of new tokens", where="dialogue.format",
            do="Choose the format plain, whose marks the tokenizer has.",
        )  # fmt: skip
    wide = build(model.config.model_copy(update={"vocabulary": size}))
    theirs = dict(model.named_parameters())
    with torch.no_grad():
        for name, parameter in wide.named_parameters():
            old = theirs[name]
            parameter.copy_(_longer(old, known, size) if old.shape[0] == model.config.vocabulary and _by_token(name) else old)
    return wide.train(model.training)


def _by_token(name: str) -> bool:
    """Whether a parameter has a row for each token."""
    return name in ("embedding.weight", "head.weight", "head_bias") or name.startswith("value_embeddings.")


def _longer(rows: Tensor, known: int, wanted: int) -> Tensor:
    return torch.cat([rows[:known], rows[:known].mean(0, keepdim=True).expand(wanted - known, *rows.shape[1:])])
