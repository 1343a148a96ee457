"""The one training loop: any objective, exact resume, hard to kill.

A step adds up the gradients of its micro-batches' summed losses, on one process or many, and divides once by the summed
weights, so the update is the same however a batch is cut. Batches are a pure function of the step, and the random
state is seeded by the step, so a run that goes on from a checkpoint computes the very bits it would have computed.
"""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import Tensor

from groundup.errors import Stopped
from groundup.models.build import Model
from groundup.models.flops import training_flops_per_token
from groundup.progress import say
from groundup.recipe import Training
from groundup.run import Stage, remove_folder
from groundup.tokens.loader import Ahead, Batches
from groundup.training import checkpoint, guards
from groundup.training.memory import keep_freed_memory
from groundup.training.objectives import Objective
from groundup.training.optimizers import OptimizerSettings, optimizers
from groundup.training.parallel import World
from groundup.training.precision import Precision, autocast, compiled
from groundup.training.progress import Log, Watch
from groundup.training.schedules import Schedule

CHEAP_SECONDS = 0.1  # to write a checkpoint
SAVE_SECONDS_PER_BYTE = 5e-9  # of parameters, before one was written: 1.25 s for 270 MB on a laptop's disk, digests included


@dataclass(frozen=True)
class Settings:
    """Everything resolved that the loop needs; kept in each checkpoint for the reader."""

    steps: int
    seed: int
    optimizer: OptimizerSettings = field(default_factory=OptimizerSettings)
    schedule: Schedule = field(default_factory=Schedule)
    phases: tuple[tuple[int, int], ...] = ()
    """(steps, tokens a step) of each phase, so that schedules follow the tokens; empty: all steps weigh the same."""
    clip: float = 1.0
    l1: float = 0.0
    l2: float = 0.0
    ema: float = 0.0
    early_stopping: int | None = None
    spike_sigmas: float | None = 6.0
    precision: Precision = "fp32"
    compile: bool = False
    evaluations: int = 10
    keep_checkpoints: int = 2
    checkpoint_seconds: float = 15.0
    track: tuple[str, ...] = ()
    loader_threads: int = 0

    @classmethod
    def of(
        cls, training: Training, *, steps: int, optimizer: OptimizerSettings, precision: Precision, compile: bool, seed: int,
        phases: tuple[tuple[int, int], ...] = (),
    ) -> Settings:  # fmt: skip
        """Fill in what a recipe's training section says beside what was derived."""
        return cls(
            steps=steps, seed=seed, optimizer=optimizer, schedule=Schedule.of(training), phases=phases, clip=training.clip, l1=training.l1,
            l2=training.l2, ema=training.ema, early_stopping=training.early_stopping, spike_sigmas=training.spike_sigmas,
            precision=precision, compile=compile, evaluations=training.evaluations, keep_checkpoints=training.keep_checkpoints,
            checkpoint_seconds=training.checkpoint_seconds, track=tuple(training.track),
            loader_threads=training.loader_threads,
        )  # fmt: skip

    def progress(self, step: int) -> float:
        """Share of the run that is behind before `step`, by tokens."""
        if not self.phases:
            return step / self.steps
        done, left = 0, step
        for steps, tokens in self.phases:
            done += min(left, steps) * tokens
            left -= min(left, steps)
        return done / sum(steps * tokens for steps, tokens in self.phases)


@dataclass(frozen=True)
class Summary:
    """What a finished run of the loop came to."""

    steps: int
    tokens: int
    seconds: float
    tokens_per_second: float
    share_of_peak: float | None
    final_loss: float
    skipped_steps: int
    checkpoint: Path


Evaluate = Callable[[Any, int], dict[str, Any]]
"""From the model and the step."""


def train(
    model: Model,
    objective: Objective,
    batches: Batches,
    settings: Settings,
    *,
    stage: Stage,
    title: str,
    tokenizer: str,
    peak_flops: float | None = None,
    bytes_per_token: float | None = None,
    evaluate: Evaluate | None = None,
    fresh: bool = True,
) -> Summary:
    """Train `model` in place for `settings.steps`, going on from the newest checkpoint in `stage.work` if there is one.

    `tokenizer`: its digest, kept in every checkpoint; `peak_flops`: the machine's measured matrix-product rate (FLOP/s);
    `bytes_per_token`: to show the loss in bits per byte; `evaluate(model, step)`: figures to log, called after the
    step's checkpoint is safe, the first of them watched by early stopping (smaller is better); `fresh`: the model knows
    nothing yet, so its first loss must be near ln(vocabulary).

    In several processes (torch.distributed initialised) they share the micro-batches; the first one writes and logs.
    Raises Stopped after SIGTERM or Ctrl-C, everything saved; GroundupError from the guards.
    """
    return _Run(model, objective, batches, settings, stage, title, tokenizer, peak_flops, bytes_per_token, evaluate, fresh).run()


@dataclass
class _Run:
    """The state of one training run."""

    model: Model
    objective: Objective
    batches: Batches
    settings: Settings
    stage: Stage
    title: str
    tokenizer: str
    peak_flops: float | None
    bytes_per_token: float | None
    evaluate: Evaluate | None
    fresh: bool
    metric_names: list[str] | None = None
    average: dict[str, Tensor] = field(default_factory=dict)
    """The running average of the weights, where settings.ema is on."""

    def __post_init__(self) -> None:
        keep_freed_memory()
        settings = self.settings
        self.world = World.present()
        self.guard = guards.SpikeGuard(settings.spike_sigmas)
        self.optimizer = optimizers(self.model, settings.optimizer)
        self.parameters = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        self.matrices = [parameter for parameter in self.parameters if parameter.ndim >= 2]
        self.milestone = math.ceil(settings.steps / 10)
        self.between_looks = math.ceil(settings.steps / settings.evaluations) if settings.evaluations and self.evaluate else 0
        self.between_logs = math.ceil(settings.steps / 1000)
        self.flops_per_token = training_flops_per_token(self.model.config)
        self.step_tokens = 0
        self.start = self._restore()
        self.best, self.best_step, self.worse = self._best_so_far()
        if settings.ema and not self.average:
            self.average = {name: parameter.detach().clone() for name, parameter in self.model.named_parameters()}
        if settings.compile:
            compiled(self.model)

    def run(self) -> Summary:
        """From the newest checkpoint to the end."""
        settings, start = self.settings, self.start
        earlier = self.stage.run.events("train", self.stage.key)
        seconds = max((event["seconds"] for event in earlier if event["step"] <= start), default=0.0)
        watch = Watch(self.title, settings.steps, self.bytes_per_token)
        log = Log(self.stage.run, self.title, self.stage.key, settings.track, start, asdict(settings), silent=not self.world.first)
        looked = {event["step"] for event in self.stage.run.events("evaluation", self.stage.key)}
        if self.between_looks and start and start % self.between_looks == 0 and start not in looked:
            self._look(start, log, watch)  # cut off between a checkpoint and its evaluation
        self.model.train()
        loss, done_tokens, counted = math.nan, 0, 0.0
        last_save, save_cost = time.monotonic(), SAVE_SECONDS_PER_BYTE * sum(p.numel() * p.element_size() for p in self.parameters)
        ahead = Ahead(self.batches, settings.loader_threads, self.world.share) if settings.loader_threads else None
        self.batches = ahead or self.batches
        try:
            with _stop_flag() as stop, watch.shown():
                for step in range(start, settings.steps):
                    if self.worse is not None and settings.early_stopping and self.worse >= settings.early_stopping:
                        say(f"{self.title}: no better for {self.worse} evaluations; stopped early, step {self.best_step:,} is kept")
                        break
                    began = time.monotonic()
                    share = settings.schedule(settings.progress(step), settings.progress(step + 1))
                    torch.manual_seed((settings.seed * 1_000_003 + step) * self.world.size + self.world.rank)
                    loss, figures, skipped, stopping = self._step(step, share, stop)
                    if step == 0 and self.fresh and self.model.config.family not in guards.SELF_CONFIDENT:
                        guards.check_first_loss(figures.get("cross_entropy", loss), self.model.config.vocabulary)
                    elapsed = time.monotonic() - began
                    seconds += elapsed
                    tokens = self.step_tokens = figures["tokens"]
                    if step > start or settings.steps - start == 1:  # the first step after a start warms up caches and kernels
                        done_tokens, counted = done_tokens + tokens, counted + elapsed
                    rate = done_tokens / counted if counted else tokens / elapsed
                    learning_rate = settings.optimizer.learning_rate * share
                    if skipped:
                        log.write("skipped", step + 1, reason=skipped)
                        say(f"{self.title}: step {step:,} skipped: {skipped}")
                    elif step % self.between_logs == 0 or step + 1 == settings.steps:
                        log.write(
                            "train", step + 1, loss=round(loss, 5), learning_rate=learning_rate,
                            tokens_per_second=round(tokens / elapsed, 1), seconds=round(seconds, 3), **figures,
                        )  # fmt: skip
                    finished = step + 1
                    self._show(watch, finished, loss, learning_rate, rate)
                    due = time.monotonic() - last_save >= max(settings.checkpoint_seconds, 50 * save_cost)  # under 2 % of the time
                    looks = self.between_looks and (finished % self.between_looks == 0 or finished == settings.steps)
                    must = finished == settings.steps or stopping
                    # a checkpoint that costs is written at the milestones that are kept, else when its time has come
                    worth = save_cost < CHEAP_SECONDS or finished > settings.steps - self.milestone * settings.keep_checkpoints
                    if must or (((finished % self.milestone == 0 and worth) or due or looks) and not self.guard.climbing):
                        before = time.monotonic()
                        self._save(finished)
                        last_save, save_cost = time.monotonic(), time.monotonic() - before
                    if looks:
                        self._look(finished, log, watch)
                    if stopping and finished < settings.steps:
                        raise Stopped(f"{self.title}: stopped and saved at step {finished:,} of {settings.steps:,}")
        finally:
            log.close()
            if ahead is not None:
                ahead.close()
        return self._finish(loss, seconds)

    def _step(self, step: int, share: float, stop: threading.Event) -> tuple[float, dict[str, Any], str | None, bool]:
        """One optimizer step. Returns the mean loss (nats), figures to log, why the step was skipped if it was, and
        whether any process was asked to stop."""
        sums: dict[str, Tensor] = {}
        tokens = 0
        for micro in self.world.share(self.batches.parts(step)):
            batch = self.batches(step, micro)
            with autocast(self.settings.precision):
                part = self.objective(self.model, batch)
            part.loss_sum.backward()  # type: ignore[no-untyped-call]
            for name, value in {"loss": part.loss_sum, "weight": part.weight_sum, **part.metrics}.items():
                sums[name] = sums.get(name, torch.zeros((), dtype=torch.float64)) + value.detach().double()
            tokens += int(batch["read"]) if "read" in batch else batch["tokens"].numel()
        loss, weight, tokens, stopping, metrics = self._add_up(sums, tokens, stop.is_set())
        guards.check_weights(weight, step)
        gradients = self._gradients()
        if self.settings.l1 or self.settings.l2:
            torch._foreach_div_(gradients, weight)
            self._penalise()
            norm, scale = float(torch.nn.utils.get_total_norm(gradients)), 1.0
        else:
            norm, scale = float(torch.nn.utils.get_total_norm(gradients)) / weight, 1.0 / weight
        skipped = self.guard.reason_to_skip(loss / weight, norm, step)
        if skipped is None:
            # one pass over the gradients divides by the weights and clips
            torch._foreach_mul_(gradients, scale * min(1.0, self.settings.clip / (norm + 1e-12)))
            self.optimizer.step(share)
            if self.average:
                now = dict(self.model.named_parameters())
                torch._foreach_lerp_(list(self.average.values()), [now[name].detach() for name in self.average], 1 - self.settings.ema)
        for parameter in self.parameters:
            parameter.grad = None
        figures = {"gradient_norm": round(norm, 4), "tokens": tokens, **{name: round(value / weight, 5) for name, value in metrics.items()}}
        return loss / weight, figures, skipped, stopping

    def _add_up(self, sums: dict[str, Tensor], tokens: int, stopping: bool) -> tuple[float, float, int, bool, dict[str, float]]:
        """The sums over all processes, and their gradients too. A process without a micro-batch adds zeros."""
        if self.world.size > 1:
            if self.metric_names is None:  # once: a process without a micro-batch does not know them
                self.metric_names = self.world.union(set(sums) - {"loss", "weight"})
            names = self.metric_names
            values = torch.stack([torch.as_tensor(float(sums.get(name, 0.0)), dtype=torch.float64) for name in ("loss", "weight", *names)])
            values = torch.cat([values, torch.tensor([float(tokens), float(stopping)], dtype=torch.float64)])
            for parameter in self.parameters:
                if parameter.grad is None:
                    parameter.grad = torch.zeros_like(parameter)
                elif parameter.grad.is_sparse:
                    parameter.grad = parameter.grad.to_dense()
            self.world.add([parameter.grad for parameter in self.parameters if parameter.grad is not None])
            self.world.add([values])
            loss, weight, *metrics = values[:-2].tolist()
            return loss, weight, int(values[-2]), bool(values[-1] > 0), dict(zip(names, metrics, strict=True))
        rest = {name: float(value) for name, value in sums.items() if name not in ("loss", "weight")}
        return float(sums["loss"]), float(sums["weight"]), tokens, stopping, rest

    def _gradients(self) -> list[Tensor]:
        """What the gradients hold: of a sparse one the rows that were touched, each once."""
        for parameter in self.parameters:
            if parameter.grad is not None and parameter.grad.is_sparse:
                parameter.grad = parameter.grad.coalesce()
        found = [parameter.grad for parameter in self.parameters if parameter.grad is not None]
        return [gradient.values() if gradient.is_sparse else gradient for gradient in found]

    def _penalise(self) -> None:
        """Add the gradients of l2 / 2 |w|^2 and l1 |w| over the matrices."""
        for parameter in self.matrices:
            if parameter.grad is not None and not parameter.grad.is_sparse:
                parameter.grad.add_(parameter.detach(), alpha=self.settings.l2)
                parameter.grad.add_(parameter.detach().sign(), alpha=self.settings.l1)

    def _restore(self) -> int:
        """Load the newest checkpoint; returns its step, 0 without one."""
        path = checkpoint.newest(self.stage.work)
        if path is None:
            return 0
        checkpoint.load_parameters(path, self.model)
        checkpoint.load_optimizer(path, self.model, self.optimizer)
        self.average = checkpoint.load_average(path)
        state = checkpoint.read_state(path)
        self.guard.load(state["guard"])
        start = int(state["step"])
        if start and self.world.first:
            say(f"{self.title}: going on from step {start:,} of {self.settings.steps:,}")
        return start

    def _save(self, step: int) -> None:
        """Write a checkpoint; all processes hold the same, the first one writes."""
        if self.world.first:
            state = {"title": self.title, "tokenizer": self.tokenizer, "settings": asdict(self.settings), "guard": self.guard.state()}
            checkpoint.save(self.stage.work, step, self.model, self.model.config, self.optimizer, state, self.average)
            self._prune()
        self.world.wait()

    def _look(self, step: int, log: Log, watch: Watch) -> None:
        """Measure and log, with the model left as it was. Every process measures, so that all see the same best."""
        assert self.evaluate is not None
        self.model.eval()
        with self._averaged():
            figures = self.evaluate(self.model, step)
        self.model.train()
        name, value = next(iter(figures.items()))
        watch.held_out = f"{value:.3f} {name.replace('_', ' ')}"
        if value < self.best:
            self.best, self.best_step, self.worse = value, step, 0
        else:
            self.worse += 1
        log.write("evaluation", step, **figures)

    def _best_so_far(self) -> tuple[float, int, int]:
        """The best watched figure up to the start, its step, and evaluations since then."""
        best, best_step, worse = math.inf, 0, 0
        for event in self.stage.run.events("evaluation", self.stage.key):
            value = next((value for name, value in event.items() if name not in ("event", "time", "stage", "key", "step")), math.inf)
            if event["step"] <= self.start:
                best, best_step, worse = (value, event["step"], 0) if value < best else (best, best_step, worse + 1)
        return best, best_step, worse

    @contextmanager
    def _averaged(self) -> Iterator[None]:
        """The averaged weights in the model while the block runs."""
        if not self.average:
            yield
            return
        own = dict(self.model.named_parameters())
        kept = {name: own[name].detach().clone() for name in self.average}
        checkpoint.use(self.average, self.model)
        try:
            yield
        finally:
            checkpoint.use(kept, self.model)

    def _show(self, watch: Watch, step: int, loss: float, learning_rate: float, rate: float) -> None:
        if self.world.first:
            left = (1 - self.settings.progress(step)) * self._tokens() / rate
            watch.show(step, loss, learning_rate, rate, rate * self.flops_per_token / self.peak_flops if self.peak_flops else None, left)

    def _tokens(self) -> int:
        """Tokens of the whole run."""
        if self.settings.phases:
            return sum(steps * tokens for steps, tokens in self.settings.phases)
        return self.settings.steps * self.step_tokens

    def _prune(self, *, finished: bool = False) -> None:
        """Keep the last checkpoints at milestones, the newest of all, and with early stopping the best; at the end
        milestones alone (so that two equal runs leave equal folders, whenever the clock asked for a checkpoint)."""
        stopping, steps = self.settings.early_stopping, checkpoint.all_steps(self.stage.work)
        last = self.best_step if stopping and finished and self.best_step else self.settings.steps
        kept = [step for step, _ in steps if step <= last and (step % self.milestone == 0 or step == last)][-self.settings.keep_checkpoints :]
        if not finished:
            kept += [step for step, _ in steps][-2:]  # two, so that a damaged newest one has one before it
            kept += [self.best_step] if stopping else []
        for step, path in steps:
            if step not in kept:
                remove_folder(path)

    def _finish(self, loss: float, seconds: float) -> Summary:
        """Tidy up and sum up."""
        if self.world.first:
            self._prune(finished=True)
        self.world.wait()
        rows = self.stage.run.events("train", self.stage.key)
        if self.start == self.settings.steps:
            loss = rows[-1]["loss"] if rows else math.nan
        if rows:
            self.step_tokens = int(rows[-1]["tokens"])
        last = checkpoint.newest(self.stage.work)
        assert last is not None
        checkpoint.load_parameters(last, self.model)  # with early stopping an earlier step's
        checkpoint.use(checkpoint.load_average(last), self.model)
        rate = _median([event["tokens_per_second"] for event in rows])
        share = rate * self.flops_per_token / self.peak_flops if self.peak_flops else None
        step = int(checkpoint.read_state(last)["step"])
        return Summary(
            step, round(self.settings.progress(step) * self._tokens()), round(seconds, 3), rate, share, loss, self.guard.skipped,
            self.stage.final / last.name,
        )  # fmt: skip


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
