"""What a model is taught: the objective that goes with its kind, and the batches that go with the objective.

    decoder           next-token, prefix
    encoder           masked, masked-and-next-sentence
    encoder-decoder   span-corruption, continuation
    permutation       permutation
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from groundup.errors import RequestError
from groundup.models.config import Kind, ModelConfig
from groundup.recipe import Training
from groundup.recipe.training import Task
from groundup.tokens.loader import Batches, Loader
from groundup.tokens.sentence_pairs import SentencePairs
from groundup.tokens.source_target import SourceTarget
from groundup.tokens.tokenizer import Tokenizer
from groundup.training.objectives import (
    Masked,
    MaskedAndNext,
    NextToken,
    Objective,
    Permutation,
    Prefix,
    SequenceToSequence,
)

TASKS: dict[Kind, tuple[Task, ...]] = {
    "decoder": ("next-token", "prefix"), "encoder": ("masked-and-next-sentence", "masked"), "encoder-decoder": ("span-corruption", "continuation"),
    "permutation": ("permutation",),
}  # fmt: skip
"""By kind of model, its usual one first."""


def task_of(config: ModelConfig, training: Training) -> Task:
    """What the model is taught. Raises RequestError where it cannot learn that."""
    known = TASKS[config.kind]
    task = training.objective or ("continuation" if config.family == "transformer" else known[0])
    if task not in known:
        raise RequestError(
            f"a model of the {config.family} family ({config.kind}) cannot learn {task}", where="training.objective", do=f"Choose {' or '.join(known)}."
        )
    if task == "prefix" and config.windows:
        raise RequestError("windows look back only, a prefix is seen both ways", where="training.objective", do="Leave model.windows out.")
    return task


def objective_of(config: ModelConfig, training: Training, words: Tokenizer) -> Objective:
    """The objective, with the ids it needs."""
    task = task_of(config, training)
    smoothing, z = training.label_smoothing, training.z_loss
    match task:
        case "next-token":
            return NextToken(smoothing, z, training.router_balance, training.router_z)
        case "prefix":
            return Prefix(smoothing, z, training.router_balance, training.router_z)
        case "masked" | "masked-and-next-sentence":
            ordinary = torch.tensor([bool(spelled) for spelled in words.token_bytes])
            kind = Masked if task == "masked" else MaskedAndNext
            return kind(words.special["<|mask|>"], ordinary, begins_word=begins_word(words) if training.whole_words else None)
        case "span-corruption" | "continuation":
            return SequenceToSequence(smoothing, z)
        case "permutation":
            return Permutation()


def batches_of(config: ModelConfig, training: Training, loader: Loader) -> Batches:
    """The batches that the objective reads, made of the loader's text."""
    match task_of(config, training):
        case "span-corruption" | "continuation" as how:
            return SourceTarget(loader, how)
        case "masked-and-next-sentence":
            return SentencePairs(loader.split, loader.phases, loader.seed)
        case _:
            return loader


def begins_word(words: Tokenizer) -> Tensor:
    """Which tokens begin a word, bool (V,): those that start with a space or a sign, all but WordPiece's ## pieces."""
    def begins(spelled: bytes) -> bool:
        first = spelled.decode("utf-8", errors="ignore")[:1]
        return not first.isalnum()

    return torch.tensor([begins(spelled) for spelled in words.token_bytes])


def random_batch(config: ModelConfig, rows: int, context: int, seed: int = 0) -> dict[str, Tensor]:
    """A batch of the shapes that a model of this config trains on, of random tokens; to measure with."""
    draw = torch.Generator().manual_seed(seed)

    def text(length: int, prefix: str = "") -> dict[str, Tensor]:
        tokens = torch.randint(config.vocabulary, (rows, length), generator=draw)
        found: dict[str, Any] = {f"{prefix}positions": torch.arange(length).expand_as(tokens), f"{prefix}segments": torch.zeros_like(tokens)}
        return {**found, prefix.rstrip("_") or "tokens": tokens}

    if config.kind == "encoder-decoder":
        source, target = text(context - context // 2, "source_"), text(context // 2)
        batch = {**source, **target}
    else:
        batch = text(context)
    batch["targets"] = batch["tokens"].roll(-1, 1)
    batch["weights"] = torch.ones(batch["tokens"].shape)
    return batch


def measured_objective(config: ModelConfig) -> Objective:
    """An objective of the same cost as the run's, for random batches."""
    match config.kind:
        case "encoder":
            return Masked(0, torch.ones(config.vocabulary, dtype=torch.bool))
        case "encoder-decoder":
            return SequenceToSequence()
        case "permutation":
            return Permutation()
        case "decoder":
            return NextToken()
