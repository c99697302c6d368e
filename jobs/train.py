"""What both training jobs share (Ray Train): workers run vsalign's loop, a restart goes on from the last checkpoint."""

from __future__ import annotations

import contextlib
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from jobs.board import Board
from jobs.inputs import everywhere
from jobs.model_folder import TRAINING, ModelFolder
from jobs.session import RayOptions, beside_the_driver, session
from vsalign import errors, progress
from vsalign.allocator import keep_freed_memory
from vsalign.errors import ConfigurationError, RunStopped, StoreError, VsalignError
from vsalign.training.curves import require_tensorboard
from vsalign.training.schedule import Running

SECONDS_BETWEEN_LOOKS = 0.5
NOT_FIGURES = ("epoch", "loss", "seconds", "warning")


@dataclass(frozen=True, kw_only=True)
class TrainOptions(RayOptions):
    """How a model is trained; another number of workers gives another model, other CPUs only other last digits."""

    output: str
    """Folder of the model: a path, or a URL such as gs://bucket/folder that every worker can write."""
    overwrite: bool = False
    """Delete the model and the checkpoints at --output and begin again; without it the same command goes on."""
    num_workers: int = 1
    """Training processes; each takes its own part of the pairs, and an equal part of every step's --batch-size."""
    cpus_per_worker: int = 0
    """CPUs, and threads, of each; 0: those of a local Ray shared equally (on a cluster: 1)."""
    use_gpu: bool = False
    """A GPU for each worker (NCCL between them); with --precision bfloat16 several times faster."""
    max_failures: int = 3
    """Times that training goes on from its last checkpoint after a worker died."""
    checkpoint_steps: int = 0
    """A checkpoint is written after so many steps of an epoch too, where an epoch takes hours; 0: after each epoch."""
    tensorboard: str = ""
    """Folder that curves are written to for TensorBoard (the extra `tensorboard`); empty: none."""

    def __post_init__(self) -> None:
        RayOptions.__post_init__(self)
        if self.num_workers < 1 or min(self.cpus_per_worker, self.max_failures, self.checkpoint_steps) < 0:
            raise ConfigurationError(
                f"--num-workers {self.num_workers}, --cpus-per-worker {self.cpus_per_worker}, --max-failures "
                f"{self.max_failures}, --checkpoint-steps {self.checkpoint_steps}: at least 1, 0, 0 and 0"
            )

    @property
    def threads(self) -> int:
        """Of each worker."""
        shared = self.local_cpus // self.num_workers if self.place == "local" else 1
        return self.cpus_per_worker or max(1, shared)


@dataclass(frozen=True)
class Training:
    """One training run, as it travels to the workers."""

    train: Callable[..., None]
    """vsalign's loop: (config, data, output, work, report, resume, running)."""
    config: Any
    data: Any
    output: str
    threads: int
    running: Running


def train_worker(run: dict[str, Any]) -> None:
    """One worker's whole life: vsalign's loop, from the last checkpoint on."""
    import ray
    import ray.train.torch

    training, board = run["training"], run["board"]
    if ray.get(board.mistake.remote()):
        return  # Ray starts workers again after any failure; this one no restart mends
    keep_freed_memory()
    torch.set_num_threads(training.threads)
    running = replace(training.running, device=str(ray.train.torch.get_device()))

    def report(metrics: dict[str, Any], work: Path | None) -> None:
        ray.train.report(metrics, checkpoint=ray.train.Checkpoint.from_directory(str(work)) if work else None)
        if work and "loss" in metrics:
            board.add.remote(metrics)

    checkpoint = ray.train.get_checkpoint()
    with contextlib.ExitStack() as folders:
        work = Path(folders.enter_context(tempfile.TemporaryDirectory()))
        resume = Path(folders.enter_context(checkpoint.as_directory())) if checkpoint else None
        try:
            training.train(training.config, training.data, training.output, work, report, resume, running)
        except StoreError:
            raise  # no mistake: Ray starts the workers again
        except VsalignError as mistake:
            ray.get(board.refuse.remote(type(mistake).__name__, str(mistake)))
            if ray.train.get_context().get_world_size() > 1:
                raise  # the others may wait for this one; a worker alone just ends, which spares a restart


def train_model(
    stage: str,
    kind: str,
    loop: Callable[..., None],
    config: Any,
    data: Any,
    facts: dict[str, Any],
    options: TrainOptions,
    cache: str = "",
) -> int:
    """Train a model of `kind` by `loop`, or go on with it, and print the last screen; returns the exit status.

    facts: what is recorded of the tables; cache: as Running's. Raises ConfigurationError where a step cannot be shared
    equally, what a worker found to be a person's mistake, and RunStopped where workers died more often than allowed:
    the last checkpoint stands.
    """
    started = time.monotonic()
    if config.batch_size % options.num_workers:
        raise ConfigurationError(
            f"--batch-size {config.batch_size} cannot be shared equally by --num-workers {options.num_workers}: give a "
            "multiple of it"
        )
    url = everywhere(options.output, "--output")
    running = running_of(options, cache)
    configuration = {"training": asdict(config), "num_workers": options.num_workers, **facts}
    folder = ModelFolder(url, kind, stage, configuration, overwrite=options.overwrite)
    if folder.complete:
        folder.sweep()
        return _report(folder, f"{stage}: the model was complete, nothing was done", 0.0)
    if folder.sweep():
        print(f"{stage}: going on from the last checkpoint in {url}/{TRAINING}", file=sys.stderr, flush=True)
    training = Training(loop, config, data, url, options.threads, running)
    with session(options, options.threads * options.num_workers):
        board = beside_the_driver(Board)
        _watch(_Fit(_trainer(folder, training, board, options)), board, stage, config.epochs)
    if not folder.complete:
        raise RunStopped(f"the training ended without a model at {url}: run the same command again, it goes on")
    folder.sweep()
    return _report(folder, f"{stage} finished", time.monotonic() - started)


def running_of(options: TrainOptions, cache: str) -> Running:
    """What the workers are told beside the configuration; raises ConfigurationError for what is not to be had here."""
    if options.use_gpu and options.place == "local" and torch.cuda.device_count() < options.num_workers:
        raise ConfigurationError(
            f"--use-gpu: {options.num_workers} workers want a GPU each, this machine has {torch.cuda.device_count()}: "
            "ask for fewer, or name a cluster by --address"
        )
    curves = ""
    if options.tensorboard:
        require_tensorboard()
        curves = everywhere(options.tensorboard, "--tensorboard")
    return Running(checkpoint_steps=options.checkpoint_steps, tensorboard=curves, cache=cache)


def _trainer(folder: ModelFolder, training: Training, board: Any, options: TrainOptions) -> Any:
    import ray.train
    from ray.train.torch import TorchTrainer

    return TorchTrainer(
        train_worker,
        train_loop_config={"training": training, "board": board},
        scaling_config=ray.train.ScalingConfig(
            num_workers=options.num_workers,
            use_gpu=options.use_gpu,
            resources_per_worker={"CPU": options.threads, **({"GPU": 1} if options.use_gpu else {})},
        ),
        run_config=ray.train.RunConfig(
            name=TRAINING,
            storage_path=folder.path,
            storage_filesystem=folder.filesystem,
            checkpoint_config=ray.train.CheckpointConfig(num_to_keep=2),
            failure_config=ray.train.FailureConfig(max_failures=options.max_failures),
        ),
    )


class _Fit:
    """`fit` in a thread of its own: in the main thread Ray takes Ctrl-C for itself, and nothing could be shown."""

    def __init__(self, trainer: Any) -> None:
        self._trainer = trainer
        self._failure: Exception | None = None
        self.done = threading.Event()
        threading.Thread(target=self._run, name="fit", daemon=True).start()

    def _run(self) -> None:
        try:
            self._trainer.fit()
        except Exception as failure:  # whatever it is, the main thread must hear of it
            self._failure = failure
        finally:
            self.done.set()

    def check(self) -> None:
        """Raise what ended the training, if it was no success."""
        if self._failure is not None:
            print(self._failure, file=sys.stderr)
            raise RunStopped(
                "the workers died or failed too often (the report stands above; --max-failures): the same command goes "
                "on from the last checkpoint"
            ) from self._failure


def _watch(fit: _Fit, board: Any, stage: str, epochs: int) -> None:
    """Show a line an epoch until the training ends; one a minute where an epoch takes longer."""
    import ray

    shown = 0
    seconds: list[float] = []
    spoken = time.monotonic()
    over = False
    while not over:
        over = fit.done.wait(SECONDS_BETWEEN_LOOKS)
        for metrics in ray.get(board.since.remote(shown)):
            shown += 1
            seconds.append(metrics["seconds"])
            spoken = time.monotonic()
            print(epoch_line(stage, metrics, epochs, sum(seconds) / len(seconds)), file=sys.stderr, flush=True)
            if "warning" in metrics:
                print(f"{stage}: {metrics['warning']}", file=sys.stderr, flush=True)
        if time.monotonic() - spoken > progress.SECONDS_BETWEEN_LINES:
            spoken = time.monotonic()
            print(f"{stage}: under way, {shown} epochs done by this run", file=sys.stderr, flush=True)
    if mistake := ray.get(board.mistake.remote()):
        raise getattr(errors, mistake[0])(mistake[1])
    fit.check()


def epoch_line(stage: str, metrics: dict[str, Any], epochs: int, seconds: float) -> str:
    """The line that tells of an epoch; `seconds`: the mean of an epoch, for the time left."""
    done = metrics["epoch"] + 1
    figures = [f"{name} {value:.4g}" for name, value in metrics.items() if name not in NOT_FIGURES]
    parts = [f"loss {metrics['loss']:.4f}", *figures, progress.format_duration(metrics["seconds"])]
    if done < epochs:
        parts.append(f"at most {progress.format_duration((epochs - done) * seconds)} left")
    return f"{stage}: epoch {done} of {epochs}: {', '.join(parts)}"


def _report(folder: ModelFolder, title: str, seconds: float) -> int:
    training = folder.config["training"]
    best = next(metrics for metrics in training["history"] if metrics["epoch"] == training["best_epoch"])
    figures = {name: value for name, value in best.items() if name not in ("epoch", "seconds")}
    progress.Summary(
        title=title,
        rows=len(training["history"]),
        output=folder.url,
        seconds=seconds,
        unit="epochs",
        notes={"best epoch": training["best_epoch"] + 1, **figures},
    ).print()
    return 0
