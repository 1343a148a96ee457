"""A stretch of a model's layers: what a process of a pipeline has, made from the whole model from the outside.

    stage 0                 stage 1                     stage 2
    embedding, layers  -->  layers                 -->  layers, norm, head, loss

A tied embedding lies on the first and on the last stage, relative positions on all. Between an encoder-decoder's stages go the source's
states, with the decoder begun the target's too; between those of a model with shortcuts the stream and the embedding.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import CheckpointPolicy, checkpoint, create_selective_checkpoint_contexts

from groundup.models.build import CLASSES, Model
from groundup.models.config import ModelConfig
from groundup.models.parts.block import Absent
from groundup.training.collectives import beside, cut, join
from groundup.training.objectives import Batch, Objective, Sums
from groundup.training.precision import Precision, autocast
from groundup.training.tensor_parallel import TensorParallel

KEPT = {torch.ops.aten.mm.default, torch.ops.aten.addmm.default, torch.ops.aten.bmm.default}
"""What selective recomputation keeps, attention's kernels beside it."""


class Stage(nn.Module):
    """A stretch of layers, with what comes before them on the first stage and the loss on the last."""

    def __init__(self, model: Model, objective: Objective, precision: Precision, *, first: bool, last: bool) -> None:
        super().__init__()
        self.model, self.objective, self.precision = model, objective, precision
        self.first, self.last = first, last
        self.batches: list[Batch] = []
        """The prepared micro-batches of the step."""
        self.found: dict[int, Sums] = {}
        """The last stage's sums, by micro-batch."""
        self.asides: dict[int, Sums] = {}
        """The other stages' own losses, by micro-batch."""
        self.received: tuple[Tensor, ...] = ()

    def forward(self, *received: Tensor, micro: Tensor) -> Any:
        """From the stage before to the next one; on the last the summed loss, (1,)."""
        number = int(micro)
        batch, self.received = self.batches[number], received
        with autocast(self.precision, batch["tokens"].device.type):
            states = self.objective.states(self.model, batch)
            if not self.last:
                return self._sent(states, number, batch)
            part = self.objective.sums(self.model, states, batch)
        self.found[number] = part
        return part.loss_sum.reshape(1).clone()  # no view, which the pipeline could not cut off

    def _sent(self, states: Any, number: int, batch: Batch) -> Any:
        """What goes on, with this stage's own losses hung on it; no views, which the pipeline cannot cut off."""
        aside = self.objective.aside(self.model, batch)
        if aside is not None:
            self.asides[number] = aside
            states = beside(states, aside.loss_sum)
        whole = tuple(one.clone() if one._is_view() else one for one in (states if isinstance(states, tuple) else (states,)))
        return whole if len(whole) > 1 else whole[0]


def layer_of(name: str) -> str | None:
    """The layer a parameter belongs to: `blocks.3`, `encoder.blocks.3`."""
    head, found, tail = name.partition("blocks.")
    return f"{head}{found}{tail.split('.')[0]}" if found else None


def left_by_layer(model: nn.Module) -> dict[str, set[str]]:
    """The names of each layer's parameters."""
    found: dict[str, set[str]] = {}
    for name, _ in model.named_parameters():
        if (layer := layer_of(name)) is not None:
            found.setdefault(layer, set()).add(name)
    return found


def home_of(model: nn.Module, name: str) -> tuple[nn.Module, str]:
    """The module that a parameter belongs to, and its name there."""
    path, _, attribute = name.rpartition(".")
    return model.get_submodule(path), attribute


def fill_tables(model: Model, config: ModelConfig, device: str, dtype: torch.dtype) -> None:
    """Make the buffers anew that a model built on the meta device has none of."""
    layers = 1 if config.norm == "batch" else 0  # without layers, whose weights would take room for nothing; batch norm alone has tables there
    fewer = {"layers": layers, "decoder_layers": None if config.decoder_layers is None else layers, "vocabulary": 1, "ngram_rows": ()}
    small = CLASSES[config.kind](config.model_copy(update=fewer))
    fresh = dict(small.named_buffers())
    for path, module in model.named_modules():
        for name in module._buffers:
            key = f"{path}.{name}" if path else name
            if key in fresh:
                module._buffers[name] = fresh[key].to(device=device, dtype=dtype if fresh[key].is_floating_point() else None)


def leave_out(model: Model, layers: range, *, first: bool, last: bool) -> None:
    """Replace what other stages have."""
    config = model.config
    gone: list[str] = []
    if config.kind == "encoder-decoder":
        decoders = config.decoder_layers or config.layers
        gone += [f"encoder.blocks.{n}" for n in range(config.layers) if n not in layers]
        gone += [f"decoder.blocks.{n}" for n in range(decoders) if config.layers + n not in layers]
        gone += ["encoder.distance"] if layers.start >= config.layers else []
        gone += ["decoder.distance"] if layers.stop <= config.layers else []
        gone += ["encoder.norm", "encoder.dropout"] if config.layers - 1 not in layers else []
        gone += ["decoder.norm", "decoder.dropout"] if not last else []
        embeds = first or config.layers in layers or (last and config.tied)
        gone += [] if embeds else ["embedding"]
        gone += [] if last else ["head"]
    else:
        gone += [f"blocks.{n}" for n in range(config.layers) if n not in layers]
        gone += [f"value_embeddings.{n}" for n in range(config.layers) if n not in layers and config.has_value_embedding(n)]
        gone += [] if first else ["places", "types", "embedding_norm", "ngrams"]
        gone += [] if first or (last and config.tied) else ["embedding", "projection"]
        gone += [] if last else ["norm", "head", "transform", "transform_norm", "pooler", "next_sentence"]
        if not last and hasattr(model, "head_bias"):
            model.register_parameter("head_bias", None)
    for name in gone:
        path, _, attribute = name.rpartition(".")
        home = model.get_submodule(path)
        old = getattr(home, attribute, None)
        if isinstance(old, nn.Module):
            if isinstance(home, nn.ModuleDict):
                del home[attribute]
            elif isinstance(home, nn.ModuleList):
                home[int(attribute)] = Absent()
            else:
                setattr(home, attribute, None if attribute == "distance" else Absent())


def cut_along_time(stage: Stage, tensor: TensorParallel, *, first: bool, last: bool) -> None:
    """Cut the stream along time where the layers begin, put it together where they end."""
    model: Any = stage.model
    plain = model.stack

    def stack(x: Tensor, *rest: Any, **named: Any) -> Any:
        if first:
            x = cut(x, tensor.group)
        y = plain(x, *rest, **named)
        return join(y, tensor.group) if last else y

    model.stack = stack


def connect(stage: Stage, config: ModelConfig, tensor: TensorParallel | None) -> None:
    """Let a stage's model begin with what was received and end with what is sent."""
    model: Any = stage.model
    if config.kind == "encoder-decoder":
        _connect_sides(stage, config)
        return
    if tensor is not None and tensor.sequence:
        cut_along_time(stage, tensor, first=stage.first, last=stage.last)
    if not stage.first:
        model.embed = lambda *_, **__: stage.received[0]
    if not config.shortcut:
        return
    plain = model.stack

    def stack(x: Tensor, *rest: Any) -> Any:
        if stage.first:
            first = cut(x, tensor.group) if tensor is not None and tensor.sequence else x
        else:
            first = stage.received[1]
        y = plain(x, *rest, first_BTD=first)
        return y if stage.last else (y, first)

    model.stack = stack


def _connect_sides(stage: Stage, config: ModelConfig) -> None:
    """An encoder-decoder's stage: what is carried is the source's states, and with the decoder begun the target's too."""
    model: Any = stage.model
    encodes = any(not isinstance(block, Absent) for block in model.encoder.blocks)
    decodes = any(not isinstance(block, Absent) for block in model.decoder.blocks)
    begins = decodes and not isinstance(model.decoder.blocks[0], Absent)
    embed, encode, hidden = model.embed, model.encode, model.hidden
    place = {"source": True}

    def embedded(tokens: Tensor, positions: Tensor) -> Tensor:
        if place["source"]:
            return embed(tokens, positions) if stage.first else stage.received[0]
        return embed(tokens, positions) if begins else stage.received[1]

    def encoded(*given: Any) -> Tensor:
        place["source"] = True
        return encode(*given) if encodes else stage.received[0]

    def written(tokens: Tensor, positions: Tensor, segments: Tensor, memory: Tensor, memory_segments: Tensor) -> Any:
        place["source"] = False
        if not decodes:
            return memory
        y = hidden(tokens, positions, segments, memory, memory_segments)
        return y if stage.last else (memory, y)

    model.embed, model.encode, model.hidden = embedded, encoded, written


def layers_in(model: nn.Module) -> list[nn.Module]:
    """A model's layers, whatever its kind."""
    return [module for name, module in model.named_modules() if name.rpartition(".")[0].endswith("blocks")]


def recompute(layer: nn.Module, how: str) -> None:
    """Let the backward pass compute a layer again."""
    if how == "none":
        return
    plain: Callable[..., Any] = layer.forward
    extra: dict[str, Any] = {}
    if how == "selective":

        def policy(_: Any, op: Any, *__: Any, **___: Any) -> CheckpointPolicy:
            kept = op in KEPT or "attention" in str(op)
            return CheckpointPolicy.MUST_SAVE if kept else CheckpointPolicy.PREFER_RECOMPUTE

        extra["context_fn"] = partial(create_selective_checkpoint_contexts, policy)
    layer.forward = lambda *given, **named: checkpoint(plain, *given, use_reentrant=False, **extra, **named)


def recomputes(model: nn.Module) -> bool:
    """Whether any layer is computed again."""
    return any("forward" in vars(layer) for layer in layers_in(model))
