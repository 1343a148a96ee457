"""The one training loop: any objective, exact resume, hard to kill.

A step adds up the gradients of its micro-batches' summed losses and divides once by the summed weights, so the
update is the same however a batch is cut. Batches are a pure function of the step, and the random state is seeded by
the step, so a run that goes on from a checkpoint computes the very bits it would have computed.
"""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

import torch

from groundup.errors import Stopped
from groundup.models.decoder import Decoder
from groundup.models.flops import training_flops_per_token
from groundup.progress import bar, say
from groundup.recipe import Training
from groundup.run import Stage, remove_folder
from groundup.training import checkpoint, guards
from groundup.training.objectives import Batch, Forward, Objective
from groundup.training.optimizers import adamw
from groundup.training.precision import Precision, autocast
from groundup.training.schedules import cosine


class Batches(Protocol):
    """Where batches come from: a pure function of the step and the micro-batch."""

    @property
    def micro_batches(self) -> int:
        """Micro-batches a step is cut into."""
        ...

    def __call__(self, step: int, micro: int) -> Batch:
        """The micro-batch's tensors."""
        ...


@dataclass(frozen=True)
class Settings:
    """Everything resolved that the loop needs; kept in each checkpoint for the reader."""

    steps: int
    learning_rate: float
    warmup_steps: int
    final_share: float
    betas: tuple[float, float]
    eps: float
    weight_decay: float
    clip: float
    precision: Precision
    compile: bool
    evaluations: int
    keep_checkpoints: int
    checkpoint_seconds: float
    seed: int

    @classmethod
    def of(
        cls, training: Training, *, steps: int, learning_rate: float, precision: Precision, compile: bool, seed: int
    ) -> Settings:
        """Fill in what a recipe's training section says beside what was derived."""
        return cls(
            steps=steps, learning_rate=learning_rate, warmup_steps=math.ceil(training.warmup * steps),
            final_share=training.final_share, betas=training.betas, eps=training.eps, weight_decay=training.weight_decay,
            clip=training.clip, precision=precision, compile=compile, evaluations=training.evaluations,
            keep_checkpoints=training.keep_checkpoints, checkpoint_seconds=training.checkpoint_seconds, seed=seed,
        )  # fmt: skip


@dataclass(frozen=True)
class Summary:
    """What a finished run of the loop came to."""

    steps: int
    tokens: int
    seconds: float
    tokens_per_second: float
    share_of_peak: float | None
    final_loss: float
    checkpoint: Path


Evaluate = Callable[[Decoder, int], dict[str, Any]]


def train(
    model: Decoder,
    objective: Objective,
    batches: Batches,
    settings: Settings,
    *,
    stage: Stage,
    title: str,
    tokenizer: str,
    peak_flops: float | None = None,
    evaluate: Evaluate | None = None,
    fresh: bool = True,
) -> Summary:
    """Train `model` in place for `settings.steps`, going on from the newest checkpoint in `stage.work` if there is one.

    `tokenizer`: its digest, kept in every checkpoint; `peak_flops`: the machine's measured matrix-product rate (FLOP/s);
    `evaluate(model, step)`: figures to log, called after the step's checkpoint is safe; `fresh`: the model knows nothing
    yet, so its first loss must be near ln(vocabulary).

    Raises Stopped after SIGTERM or Ctrl-C, everything saved; GroundupError from the guards.
    """
    run = stage.run
    optimizer = adamw(model, learning_rate=settings.learning_rate, betas=settings.betas, eps=settings.eps, weight_decay=settings.weight_decay)
    start = 0
    if (path := checkpoint.newest(stage.work)) is not None:
        checkpoint.load_parameters(path, model)
        checkpoint.load_optimizer(path, model, optimizer)
        start = checkpoint.read_state(path)["step"]
        if start:
            say(f"{title}: going on from step {start:,} of {settings.steps:,}")
    seconds = _seconds_before(run.events("train", stage.key), start)
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    forward = torch.compile(model) if settings.compile else model
    flops_per_token = training_flops_per_token(model.config)
    milestone = math.ceil(settings.steps / 10)
    between_evaluations = math.ceil(settings.steps / settings.evaluations) if settings.evaluations else 0
    between_logs = math.ceil(settings.steps / 1000)
    state = {"title": title, "tokenizer": tokenizer, "settings": asdict(settings)}

    def save(step: int) -> float:
        """Write a checkpoint; return the seconds it took."""
        before = time.monotonic()
        checkpoint.save(stage.work, step, model, model.config, optimizer, state)
        _prune(stage.work, milestone, settings)
        return time.monotonic() - before

    def look(step: int) -> None:
        """Measure and log, with the model left as it was."""
        if evaluate is not None:
            model.eval()
            run.log("evaluation", stage=title, key=stage.key, step=step, **evaluate(model, step))
            model.train()

    if evaluate is not None and between_evaluations and start and start % between_evaluations == 0:
        logged = {event["step"] for event in run.events("evaluation", stage.key)}
        if start not in logged:  # cut off between a checkpoint and its evaluation
            look(start)
    model.train()
    loss, done_tokens, counted = math.nan, 0, 0.0
    last_save, save_cost = time.monotonic(), 0.0
    with _stop_flag() as stop, bar(title, settings.steps) as progress:
        progress.advance(start)
        for step in range(start, settings.steps):
            began = time.monotonic()
            learning_rate = settings.learning_rate * cosine(step, settings.steps, settings.warmup_steps, settings.final_share)
            for group in optimizer.param_groups:
                group["lr"] = learning_rate
            torch.manual_seed(settings.seed * 1_000_003 + step)
            loss, norm, tokens = _step(forward, objective, batches, step, settings, parameters, optimizer)
            if step == 0 and fresh:
                guards.check_first_loss(loss, model.config.vocabulary)
            elapsed = time.monotonic() - began
            seconds += elapsed
            if step > start or settings.steps - start == 1:  # the first step after a start warms up caches and kernels
                done_tokens, counted = done_tokens + tokens, counted + elapsed
            rate = done_tokens / counted if counted else tokens / elapsed
            if step % between_logs == 0 or step + 1 == settings.steps:
                run.log(
                    "train", stage=title, key=stage.key, step=step + 1, loss=round(loss, 5), learning_rate=learning_rate,
                    gradient_norm=round(norm, 4), tokens=tokens, tokens_per_second=round(tokens / elapsed, 1), seconds=round(seconds, 3),
                )  # fmt: skip
            progress.advance()
            progress.note(f"loss {loss:.3f}  {rate:,.0f} tokens/s")
            finished = step + 1
            due = time.monotonic() - last_save >= max(settings.checkpoint_seconds, 50 * save_cost)  # under 2 % of the time
            looks = between_evaluations and finished % between_evaluations == 0
            if finished == settings.steps or finished % milestone == 0 or due or looks or stop.is_set():
                save_cost = save(finished)
                last_save = time.monotonic()
            if looks or (finished == settings.steps and settings.evaluations):
                look(finished)
            if stop.is_set() and finished < settings.steps:
                raise Stopped(f"{title}: stopped and saved at step {finished:,} of {settings.steps:,}")
    if start == settings.steps:
        loss = next((event["loss"] for event in reversed(run.events("train", stage.key))), math.nan)
    _prune(stage.work, milestone, settings, finished=True)
    rows = run.events("train", stage.key)
    rate = _median([event["tokens_per_second"] for event in rows])
    tokens_total = settings.steps * (rows[-1]["tokens"] if rows else 0)
    share = rate * flops_per_token / peak_flops if peak_flops else None
    last = checkpoint.newest(stage.work)
    assert last is not None
    return Summary(settings.steps, tokens_total, round(seconds, 3), rate, share, loss, stage.final / last.name)


def _step(
    forward: Forward,
    objective: Objective,
    batches: Batches,
    step: int,
    settings: Settings,
    parameters: list[torch.nn.Parameter],
    optimizer: torch.optim.Optimizer,
) -> tuple[float, float, int]:
    """One optimizer step. Returns the mean loss (nats), the gradient's norm before clipping, and the tokens seen."""
    loss_sum, weight_sum, tokens = 0.0, 0.0, 0
    for micro in range(batches.micro_batches):
        batch = batches(step, micro)
        with autocast(settings.precision):
            sums = objective(forward, batch)
        sums.loss_sum.backward()  # type: ignore[no-untyped-call]
        micro_loss = float(sums.loss_sum.detach())
        guards.check_finite(micro_loss, 0.0, step, f"micro-batch {micro}")
        loss_sum, weight_sum = loss_sum + micro_loss, weight_sum + float(sums.weight_sum)
        tokens += batch["tokens"].numel()
    guards.check_weights(weight_sum, step)
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    norm = float(torch.nn.utils.get_total_norm(gradients)) / weight_sum
    guards.check_finite(loss_sum / weight_sum, norm, step, "all micro-batches")
    # one pass over the gradients divides by the weights and clips
    torch._foreach_mul_(gradients, min(1.0, settings.clip / (norm + 1e-12)) / weight_sum)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return loss_sum / weight_sum, norm, tokens


def _prune(folder: Path, milestone: int, settings: Settings, *, finished: bool = False) -> None:
    """Keep the last checkpoints at milestones and the newest of all; at the end milestones alone (so that two equal
    runs leave equal folders, whenever the clock asked for a checkpoint)."""
    steps = checkpoint.all_steps(folder)
    kept = [step for step, _ in steps if step % milestone == 0 or step == settings.steps][-settings.keep_checkpoints :]
    if not finished:
        kept += [step for step, _ in steps][-2:]  # two, so that a damaged newest one has one before it
    for step, path in steps:
        if step not in kept:
            remove_folder(path)


def _seconds_before(events: list[dict[str, Any]], start: int) -> float:
    """Training seconds that earlier tries spent up to the step this one starts from."""
    return max((event["seconds"] for event in events if event["step"] <= start), default=0.0)


def _median(values: list[float]) -> float:
    return sorted(values)[len(values) // 2] if values else 0.0


@contextmanager
def _stop_flag() -> Iterator[threading.Event]:
    """An event that SIGTERM or the first Ctrl-C sets; a second Ctrl-C interrupts at once."""
    flag = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield flag
        return

    def handle(number: int, frame: FrameType | None) -> None:
        if flag.is_set() and number == signal.SIGINT:
            raise KeyboardInterrupt
        flag.set()
        say("stopping after this step; a second Ctrl-C stops at once")

    before = {number: signal.signal(number, handle) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield flag
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
