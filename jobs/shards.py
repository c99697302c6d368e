"""A table made by a pool of actors (Ray Data): one input shard is a row, and its commit decides what is done."""

from __future__ import annotations

import itertools
import logging
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, NamedTuple, NoReturn, Protocol

from jobs.quarantine import CAREFUL, PULSE, TRIES, Lost, Made, Maker, Shard, Tries
from jobs.session import RayOptions, beside_the_driver, session
from jobs.watching import Monotony, require_few_errors, ticking
from vsalign import errors, progress
from vsalign.allocator import keep_freed_memory, return_freed_memory
from vsalign.chunks import chunks
from vsalign.errors import ConfigurationError, InputError, RunStopped, StoreError, VsalignError
from vsalign.storage import ShardTask, Stage, pending_together
from vsalign.storage.layout import MANIFEST

STOPPED_WORD = "RunStopped"
SHARDS_AT_ONCE = 10_000
"""What Ray Data is given at most: its driver holds a block for each, and more of them have no bound."""


class ShardWork(Protocol):
    """What an actor does, as it travels there; it is made by value, and `load` does what is slow, once an actor."""

    @property
    def uses_gpus(self) -> bool:
        """Whether it is faster with a GPU."""
        return False

    def load(self) -> Maker:
        """What commits shards; its models are loaded."""


@dataclass(frozen=True, kw_only=True)
class ShardOptions(RayOptions):
    """How a table is made by actors."""

    output: str
    """Folder of the table: a path, or a URL such as gs://bucket/folder."""
    overwrite: bool = False
    """Delete the table that is at --output and begin again; without it the same command goes on where it stopped."""
    actors: int = 0
    """Processes that make shards; 0: as many as there are CPUs for."""
    cpus_per_actor: int = 1
    """CPUs, and threads, of each; rows are the same bytes for the same number."""
    gpus_per_actor: float | None = None
    """GPUs of each; 0.5: two actors share one, 0: none is seen. Left out: 1 for pictures where the cluster has GPUs."""
    stall_seconds: int = 900
    """An actor in which nothing is finished for so long is ended and started again; 0: never."""
    max_error_share: float = 1.0
    """The run ends, and can go on, when more than this share of its inputs, 0 to 1, are errors."""

    def __post_init__(self) -> None:
        RayOptions.__post_init__(self)
        if self.actors < 0 or self.cpus_per_actor < 1 or self.stall_seconds < 0:
            raise ConfigurationError(
                f"--actors {self.actors}, --cpus-per-actor {self.cpus_per_actor}, --stall-seconds "
                f"{self.stall_seconds}: at least 0, 1 and 0"
            )
        if (self.gpus_per_actor or 0) < 0 or not 0 <= self.max_error_share <= 1:
            raise ConfigurationError(
                f"--gpus-per-actor {self.gpus_per_actor or 0:g}, --max-error-share {self.max_error_share:g}: at least "
                "0, and from 0 to 1"
            )

    def pool(self, resources: Mapping[str, float], shards: int, uses_gpus: bool) -> Pool:
        """The actors that a cluster of such `resources` (CPU, GPU) gets for so many shards.

        Raises ConfigurationError where it has no machine yet, and nobody said how many.
        """
        if not self.actors and not resources.get("CPU"):
            raise ConfigurationError(
                "the cluster has no CPU yet, so how many actors it has room for is not known: give --actors"
            )
        gpus = self.gpus_per_actor
        if gpus is None:
            gpus = 1.0 if uses_gpus and resources.get("GPU") else 0.0
        room = int(resources.get("CPU", 0)) // self.cpus_per_actor
        if gpus:
            room = min(room, int(resources.get("GPU", 0) / gpus))
        return Pool(min(self.actors or max(1, room), shards), self.cpus_per_actor, gpus)


class Pool(NamedTuple):
    """Actors, and what each has."""

    actors: int
    cpus: int
    gpus: float

    def cost(self, seconds: float) -> str:
        """What they took in so many seconds."""
        hours = self.actors * seconds / 3600
        return f"{hours * self.cpus:.2f} CPU-hours" + (f", {hours * self.gpus:.2f} GPU-hours" if self.gpus else "")


class ShardActor:
    """A process that makes shards, one after the other."""

    def __init__(
        self, work: ShardWork, threads: int, gpus: float, stall_seconds: float, tries: Any, stage: str
    ) -> None:
        keep_freed_memory()
        if not gpus:
            os.environ["CUDA_VISIBLE_DEVICES"] = ""  # Ray leaves all of them to see
        import torch
        from ray.util.metrics import Counter as Metric

        torch.set_num_threads(threads)
        self._work, self._stall_seconds, self._tries = work, stall_seconds, tries
        self._make: Maker | None = None
        about = {"inputs": "Inputs that are done.", "errors": "Those that could not be used.", "shards": "Commits."}
        self._metrics = {name: Metric(f"vsalign_{name}", text, ("stage",)) for name, text in about.items()}
        for metric in self._metrics.values():
            metric.set_default_tags({"stage": stage})

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Commit the shard of a batch of one task. A person's mistake is a value, which Ray passes on as it is."""
        ((shard,), (plan_file,), (row_group,), (generation,)) = (batch[field.name] for field in fields(ShardTask))
        task = ShardTask(int(shard), str(plan_file), int(row_group), int(generation))
        PULSE.start(self._stall_seconds)
        try:
            made = self._made(task)
        except StoreError:
            raise  # no mistake: the run ends as one that was stopped
        except RunStopped as stopped:
            return _failed(STOPPED_WORD, str(stopped))
        except VsalignError as mistake:
            return _failed(type(mistake).__name__, str(mistake))
        finally:
            PULSE.stop()
            return_freed_memory()
        done = {"inputs": made.result.inputs, "errors": sum(made.result.errors.values()), "rows": made.result.rows}
        for name, metric in self._metrics.items():
            if count := done.get(name, 1):  # Ray refuses 0
                metric.inc(count)
        said = {"common": made.common, "times": made.times, "failure": "", "message": ""}
        return {name: [value] for name, value in {**done, **said}.items()}

    def _made(self, task: ShardTask) -> Made:
        """The shard, committed; from the third try on without the inputs at fault."""
        import ray

        known: Shard = ray.get(self._tries.begin.remote(task.shard))
        if known.begun > TRIES:
            raise RunStopped(
                f"shard {task.shard} ended its actor {TRIES} times ({known.failure or 'killed for memory?'}): the run "
                "was ended, and the same command goes on from what is committed"
            )
        self._make = self._make or self._work.load()
        try:
            return self._make(task, self._tried(self._make, task, known) if known.begun >= CAREFUL else {})
        except (VsalignError, RunStopped):
            raise
        except Exception as error:
            self._leave(self._tries.failed.remote(task.shard, f"{type(error).__name__}: {error}"))

    def _tried(self, make: Maker, task: ShardTask, known: Shard) -> Lost:
        """Try the inputs that were not tried yet, one by one; those at fault."""
        import ray

        for uri, trial in itertools.islice(make.one_by_one(task), known.passed, None):
            ray.get(self._tries.trying.remote(task.shard, uri))
            PULSE.beat()
            try:
                trial()
            except InputError:
                pass  # it is refused anyway
            except Exception as error:
                message = f"{uri}: it could not be described ({type(error).__name__}: {error})"
                self._leave(self._tries.lose.remote(task.shard, message))
            ray.get(self._tries.good.remote(task.shard))
        lost: Lost = ray.get(self._tries.lost.remote(task.shard))
        return lost

    def _leave(self, said: Any) -> NoReturn:
        """End this process, when the other actor knows why: after some failures (a GPU's) nothing succeeds in it."""
        import ray

        traceback.print_exc()
        ray.get(said)
        os._exit(1)


def _failed(failure: str, message: str) -> dict[str, Any]:
    numbers = dict.fromkeys(("inputs", "errors", "rows", "times"), [0])
    return {**numbers, "common": [""], "failure": [failure], "message": [message]}


Waves = Sequence[tuple[ShardWork, list[ShardTask]]]
"""Shards to make, and by whom, one wave after the other."""


def make_shards(
    stage: Stage,
    work: ShardWork,
    options: ShardOptions,
    unit: str,
    waves: Callable[[list[ShardTask]], Waves] | None = None,
    beside: Sequence[Stage] = (),
) -> int:
    """Commit what is pending of a planned table, finish it, and print the last screen; returns the exit status.

    waves: of the shards that are left, where not all are `work`'s. beside: tables of the same plan whose shards `work`
    commits too, before this one's. Raises what an actor found to be a person's mistake, and RunStopped where actors
    died or failed: what is committed stands.
    """
    stages = [stage, *beside]
    tasks = pending_together(stages)
    name = stage.output.stage
    if not tasks and all(each.folder.exists(MANIFEST) for each in stages):
        return _report(stage, f"{name}: the table was complete, nothing was done", unit, None)
    already = stage.inputs_done(tasks)
    if tasks:
        total = stage.planned_inputs(tasks)
        monotony = Monotony(unit)
        shown = progress.Progress(None if total is None else total + already, unit, already=already, label=name)
        with session(options, options.cpus_per_actor * max(1, options.actors)), ticking(shown):
            left = waves(tasks) if waves else [(work, tasks)]
            for done in itertools.chain.from_iterable(
                _results(some, own, options, shown, name)
                for own, every in left
                for some in chunks(every, SHARDS_AT_ONCE)
            ):
                if done["failure"]:
                    kind = RunStopped if done["failure"] == STOPPED_WORD else getattr(errors, done["failure"])
                    raise kind(done["message"])
                shown.add(done["inputs"], done["errors"])
                monotony.add(done)
                require_few_errors(options.max_error_share, shown.done - already, shown.errors, unit)
    for each in beside:
        print(f"{each.output.table}: {each.finish().rows:,} rows in {each.output.url}")
    return _report(stage, f"{name} finished", unit, already, shown.cost if tasks else None)


def _results(
    tasks: list[ShardTask], work: ShardWork, options: ShardOptions, shown: progress.Progress, stage: str
) -> Iterator[dict[str, Any]]:
    """What each shard came to, as it is done."""
    import ray

    pool = options.pool(ray.cluster_resources(), len(tasks), work.uses_gpus)
    shown.cost = shown.cost or pool.cost  # that of the first shards, which are as many as any that follow
    context = ray.data.DataContext.get_current()
    context.use_datasource_v2 = False  # the new one makes one block, so one actor's work, of many small inputs
    context.enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)  # what it logs as an error, it raises too
    tries = beside_the_driver(Tries)
    shards = ray.data.from_items([asdict(task) for task in tasks], override_num_blocks=len(tasks))
    results = shards.map_batches(
        ShardActor,
        batch_size=1,
        fn_constructor_kwargs={
            "work": work,
            "threads": options.cpus_per_actor,
            "gpus": pool.gpus,
            "stall_seconds": options.stall_seconds,
            "tries": tries,
            "stage": stage,
        },
        # One shard under way an actor: whoever is free takes the next.
        compute=ray.data.ActorPoolStrategy(size=pool.actors, max_tasks_in_flight_per_actor=1),
        num_cpus=options.cpus_per_actor,
        num_gpus=pool.gpus or None,
    )
    try:
        yield from results.iter_rows()
    except ray.exceptions.RayError as error:
        print(error, file=sys.stderr)
        raise RunStopped(
            "an actor died or failed (the report stands above; killed for memory?): the run was ended, and the same "
            "command goes on from what is committed"
        ) from error


def _report(
    stage: Stage, title: str, unit: str, already: int | None, cost: Callable[[float], str] | None = None
) -> int:
    """Finish the table and print what it holds; `already`: inputs of earlier runs, None where nothing was done."""
    summary = stage.finish()
    notes = {"cost": cost(summary.seconds)} if cost else {}
    return progress.last_screen(title, summary.output, unit, asdict(summary), already, notes)
