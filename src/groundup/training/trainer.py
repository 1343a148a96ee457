"""The one training loop: any objective, exact resume, hard to kill.

A step adds up the gradients of its micro-batches' summed losses, on one process or many, and divides once by the summed
weights, so the update is the same however a batch is cut. Batches are a pure function of the step, and the random
state is seeded by the step, so a run that goes on from a checkpoint computes the very bits it would have computed.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
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
from groundup.training.engine import Engine, Found, Whole
from groundup.training.memory import keep_freed_memory
from groundup.training.objectives import Objective
from groundup.training.optimizers import OptimizerSettings
from groundup.training.precision import Precision, compiled
from groundup.training.progress import Log, Watch
from groundup.training.schedules import Schedule
from groundup.training.stage import recomputes
from groundup.training.stopping import stop_flag

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
    milestone: int | None = None
    """Steps between checkpoints that are kept; a tenth of the run when not given."""
    loss_falls: bool = True
    """Whether the loss is one that learning makes smaller, so that one that climbs is divergence."""

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
    model: Model | Engine,
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

    `tokenizer`: its digest, kept in every checkpoint; `peak_flops`: the matrix-product rate of a process (FLOP/s);
    `bytes_per_token`: to show the loss in bits per byte; `evaluate(model, step)`: figures to log, called after the
    step's checkpoint is safe, the first of them watched by early stopping (smaller is better); `fresh`: the model knows
    nothing yet, so its first loss must be near ln(vocabulary).

    `model` on its own is the whole of it: in several processes (torch.distributed initialised) they share the micro-batches.
    An engine may have it in parts (`sharded.py`). The first process logs. Raises Stopped after SIGTERM or Ctrl-C,
    everything saved; GroundupError from the guards.
    """
    engine = Whole(model, objective, settings.optimizer, settings.precision, stage.work) if isinstance(model, Model) else model
    return _Run(engine, batches, settings, stage, title, tokenizer, peak_flops, bytes_per_token, evaluate, fresh).run()


@dataclass
class _Run:
    """The state of one training run."""

    engine: Engine
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
    average: list[Tensor] = field(default_factory=list)
    """The running average of the parameters, where settings.ema is on."""

    def __post_init__(self) -> None:
        keep_freed_memory(sparing=isinstance(self.engine, Whole) and recomputes(self.engine.model))
        settings = self.settings
        self.world, self.parameters = self.engine.world, self.engine.parameters
        self.peak_flops = None if self.peak_flops is None else self.peak_flops * self.world.size
        self.guard = guards.SpikeGuard(settings.spike_sigmas, falls=settings.loss_falls)
        self.matrices = [parameter for parameter in self.parameters if parameter.ndim >= 2]
        self.milestone = settings.milestone or math.ceil(settings.steps / 10)
        self.between_looks = math.ceil(settings.steps / settings.evaluations) if settings.evaluations and self.evaluate else 0
        self.between_logs = math.ceil(settings.steps / 1000)
        self.flops_per_token = training_flops_per_token(self.engine.config)
        self.step_tokens = 0
        self.start = self._restore()
        self.best, self.best_step, self.worse = self._best_so_far()
        if settings.ema and not self.average:
            self.average = [parameter.detach().clone() for parameter in self.parameters]
        if settings.compile and isinstance(self.engine, Whole):
            compiled(self.engine.model)

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
        self.engine.mode(training=True)
        loss, done_tokens, counted = math.nan, 0, 0.0
        last_save, save_cost = time.monotonic(), SAVE_SECONDS_PER_BYTE * sum(p.numel() * p.element_size() for p in self.parameters)
        ahead = Ahead(self.batches, settings.loader_threads, self.world.share) if settings.loader_threads else None
        self.batches = ahead or self.batches
        try:
            with stop_flag() as stop, watch.shown():
                for step in range(start, settings.steps):
                    if self.worse is not None and settings.early_stopping and self.worse >= settings.early_stopping:
                        say(f"{self.title}: no better for {self.worse} evaluations; stopped early, step {self.best_step:,} is kept")
                        break
                    began = time.monotonic()
                    share = settings.schedule(settings.progress(step), settings.progress(step + 1))
                    # what hangs on the clock is the first process's to say
                    due = time.monotonic() - last_save >= max(settings.checkpoint_seconds, 50 * save_cost)  # under 2 % of the time
                    loss, figures, skipped, told = self._step(step, share, stop, due, save_cost < CHEAP_SECONDS)
                    stopping = told.stopping
                    if step == 0 and self.fresh and self.engine.config.family not in guards.SELF_CONFIDENT:
                        guards.check_first_loss(figures.get("cross_entropy", loss), self.engine.config.vocabulary)
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
                    self.engine.settle()
                    self._show(watch, finished, loss, learning_rate, rate)
                    looks = self.between_looks and (finished % self.between_looks == 0 or finished == settings.steps)
                    must = finished == settings.steps or stopping
                    # a checkpoint that costs is written at the milestones that are kept, else when its time has come
                    worth = told.cheap or finished > settings.steps - self.milestone * settings.keep_checkpoints
                    if must or (((finished % self.milestone == 0 and worth) or told.due or looks) and not self.guard.climbing):
                        before = time.monotonic()
                        self._save(finished, wait=bool(must or looks))
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

    def _step(self, step: int, share: float, stop: threading.Event, due: bool, cheap: bool) -> tuple[float, dict[str, Any], str | None, _Wish]:
        """One optimizer step. Returns the mean loss (nats), figures to log, why the step was skipped if it was, and what all
        processes are to do: stop if any was asked to, save if the first one says so."""
        began = time.monotonic()
        found = self.engine.accumulate(self.batches, step, self.settings.seed)
        everyone = self._tell(found, _Wish(stop.is_set(), due, cheap), time.monotonic() - began)
        loss, weight, tokens = everyone.sums.pop("loss"), everyone.sums.pop("weight"), everyone.tokens
        guards.check_weights(weight, step)
        gradients = self.engine.gradients()
        if self.settings.l1 or self.settings.l2:
            torch._foreach_div_(gradients, weight)
            self._penalise()
            norm, scale = self.engine.norm(gradients), 1.0
        else:
            norm, scale = self.engine.norm(gradients) / weight, 1.0 / weight
        guards.check_processes(everyone.bad, step, self.world.size)
        skipped = self.guard.reason_to_skip(loss / weight, norm, step)
        if skipped is None:
            # one pass over the gradients divides by the weights and clips
            torch._foreach_mul_(gradients, scale * min(1.0, self.settings.clip / (norm + 1e-12)))
            self.engine.optimizer.step(share)
            if self.average:
                torch._foreach_lerp_(self.average, [parameter.detach() for parameter in self.parameters], 1 - self.settings.ema)
        self.engine.forget()
        figures = {
            "gradient_norm": round(norm, 4), "tokens": tokens, **everyone.stragglers, **{name: round(value / weight, 5) for name, value in everyone.sums.items()},
        }  # fmt: skip
        return loss / weight, figures, skipped, everyone.wish

    def _tell(self, found: Found, wish: _Wish, seconds: float) -> _Everyone:
        """What all processes found, in one message."""
        if self.world.size == 1:
            bad = {} if found.bad is None else {0: found.bad}
            return _Everyone(found.sums, found.tokens, wish, bad, {})
        if self.metric_names is None:  # once: a process without a micro-batch does not know them
            self.metric_names = self.world.union(set(found.sums) - {"loss", "weight"})
        names = ["loss", "weight", *self.metric_names]
        bad_micro = float(-1 if found.bad is None else found.bad)
        rows = self.world.gather([float(found.tokens), float(wish.stopping), bad_micro, seconds, float(wish.due), float(wish.cheap), *(found.sums.get(name, 0.0) for name in names)])
        whole = rows.nan_to_num(nan=0.0, posinf=0.0, neginf=0.0).sum(0).tolist() if (rows[:, 2] >= 0).any() else rows.sum(0).tolist()
        # each process's own work, waiting for others within it (pipelines, ZeRO) included
        each = [round(one, 4) for one in rows[:, 3].tolist()]
        stragglers = {"slowest_process": each.index(max(each)), "process_seconds": each}
        return _Everyone(
            dict(zip(names, whole[6:], strict=True)), int(whole[0]), _Wish(whole[1] > 0, bool(rows[0, 4]), bool(rows[0, 5])), {rank: int(one) for rank, one in enumerate(rows[:, 2].tolist()) if one >= 0},
            stragglers,
        )  # fmt: skip

    def _penalise(self) -> None:
        """Add the gradients of l2 / 2 |w|^2 and l1 |w| over the matrices."""
        for parameter in self.matrices:
            if parameter.grad is not None and not parameter.grad.is_sparse:
                parameter.grad.add_(parameter.detach(), alpha=self.settings.l2)
                parameter.grad.add_(parameter.detach().sign(), alpha=self.settings.l1)

    def _restore(self) -> int:
        """Load the newest checkpoint; returns its step, 0 without one."""
        path = self.world.agree(checkpoint.newest(self.stage.work) if self.world.first else None)
        if path is None:
            return 0
        average = self.engine.restore(path)
        self.average = [average[name] if name in average else parameter.detach().clone() for name, parameter in zip(self.engine.names, self.parameters, strict=True)] if average else []
        state = checkpoint.read_state(path)
        self.guard.load(state["guard"])
        start = int(state["step"])
        if start and self.world.first:
            say(f"{self.title}: going on from step {start:,} of {self.settings.steps:,}")
        return start

    def _save(self, step: int, *, wait: bool) -> None:
        """Write a checkpoint."""
        state = {"title": self.title, "tokenizer": self.tokenizer, "settings": asdict(self.settings), "guard": self.guard.state()}
        self.engine.save(step, state, dict(zip(self.engine.names, self.average, strict=True)) if self.average else {}, wait=wait)
        if self.world.first:
            self._prune()

    def _look(self, step: int, log: Log, watch: Watch) -> None:
        """Measure and log, with the model left as it was. Every process measures, so that all see the same best."""
        assert self.evaluate is not None
        self.engine.mode(training=False)
        with self._averaged():
            figures = self.evaluate(self.engine.model, step)
        self.engine.mode(training=True)
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
        kept = [parameter.detach().clone() for parameter in self.parameters]
        with torch.no_grad():
            torch._foreach_copy_([*self.parameters], self.average)
        try:
            yield
        finally:
            with torch.no_grad():
                torch._foreach_copy_([*self.parameters], kept)

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
        self.world.wait()  # none reads any more what is pruned now
        if self.world.first:
            self._prune(finished=True)
        rows = self.stage.run.events("train", self.stage.key)
        if self.start == self.settings.steps:
            loss = rows[-1]["loss"] if rows else math.nan
        if rows:
            self.step_tokens = int(rows[-1]["tokens"])
        last = self.world.agree(checkpoint.newest(self.stage.work) if self.world.first else None)
        assert last is not None
        self.engine.keep(last)  # with early stopping an earlier step's
        step = int(checkpoint.read_state(last)["step"])
        self.world.wait()  # all have read it before the first one moves the stage's folder into place
        rate = _median([event["tokens_per_second"] for event in rows])
        share = rate * self.flops_per_token / self.peak_flops if self.peak_flops else None
        return Summary(
            step, round(self.settings.progress(step) * self._tokens()), round(seconds, 3), rate, share, loss, self.guard.skipped,
            self.stage.final / last.name,
        )  # fmt: skip


@dataclass(frozen=True)
class _Wish:
    """What a process would do after the step."""

    stopping: bool
    due: bool
    """Whether the time for a checkpoint has come."""
    cheap: bool
    """Whether a checkpoint costs next to nothing."""


@dataclass(frozen=True)
class _Everyone:
    """What all processes found in a step."""

    sums: dict[str, float]
    tokens: int
    wish: _Wish
    bad: dict[int, int]
    """By process, the first micro-batch whose loss was no number."""
    stragglers: dict[str, Any]
    """Who was slowest, to log."""


def _median(values: list[float]) -> float:
    return sorted(values)[len(values) // 2] if values else 0.0
