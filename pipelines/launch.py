"""How a stage's graph is started, watched and ended; what is computed is told by the stage's own file."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import sys
import threading
import time
import traceback
import uuid
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, NoReturn

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.runner import PipelineState

from pipelines.beam_options import pipeline, read_beam_options, require_reachable, runs_here, worker_count
from pipelines.commit import FinishTable, raise_mistake
from pipelines.dataflow import is_dataflow, is_local, is_template, prepare
from pipelines.watchdog import Watchdog
from vsalign import progress
from vsalign.command import sigterm_as_exit
from vsalign.errors import ConfigurationError, RunStopped, StoreError, VsalignError
from vsalign.options import options_of
from vsalign.storage import Output, ShardTask, Stage
from vsalign.storage.layout import MANIFEST
from vsalign.storage.shards import check_shard

Build = Callable[[beam.Pipeline], beam.PCollection]
"""Puts a stage's graph on a pipeline; what `CommitShard` yields comes out of it."""

SECONDS_BETWEEN_LOOKS = 0.5
LOOKING_SHARE = 0.05
"""A listing of an object store may take seconds: looking for progress takes at most this share of the time."""


@dataclass(frozen=True, kw_only=True)
class LaunchOptions:
    """What every Beam stage is told about its run; nothing of it changes a row."""

    output: str
    """Folder of the table: a path, or a URL such as gs://bucket/folder."""
    overwrite: bool = False
    """Delete the table that is at --output and begin again; without it the same command goes on where it stopped."""
    workers: int = 0
    """Worker processes on this machine; 0: everything in this process. Not for runners that bring their own."""
    stall_timeout: float = 1800.0
    """Seconds without a committed shard and without any computing after which a run here is ended; 0: never. Computing
    of --workers is seen on Linux alone: elsewhere such a run is not ended."""
    dry_run: bool = False
    """List the inputs and build the graph, as the runner would get it, and stop: nothing is written or submitted."""
    detach: bool = False
    """Leave when the job is submitted: its own last step finishes the table. For a service, such as Dataflow."""

    def __post_init__(self) -> None:
        if not self.output.strip():
            raise ConfigurationError("--output is empty: name the table's folder")
        if self.workers < 0 or self.stall_timeout < 0:
            raise ConfigurationError(
                f"--workers {self.workers}, --stall-timeout {self.stall_timeout:g}: neither may be negative"
            )


@dataclass(frozen=True)
class Engine:
    """Beam as a command's options set it up."""

    options: PipelineOptions
    workers: int
    """Worker processes on this machine; 0: none of ours."""
    stall_timeout: float
    prog: str
    dry_run: bool = False
    detach: bool = False

    @classmethod
    def of(cls, rest: list[str], launch: LaunchOptions, prog: str) -> Engine:
        """From what the command's own options left over; raises ConfigurationError for what cannot be meant."""
        own = [spelling for option in options_of(type(launch)).values() for spelling in option.spellings]
        options = read_beam_options(rest, own, prog)
        workers = worker_count(options, launch.workers)
        require_reachable(launch.output, options, workers)
        if is_dataflow(options):
            prepare(options, launch.dry_run)
        if launch.detach and runs_here(options):
            raise ConfigurationError("--detach leaves a job to a service: name one, as in --runner=DataflowRunner")
        runnable = pipeline(options, workers)  # raises where the runner is not there or refuses its options
        shutil.rmtree(runnable.local_tempdir, ignore_errors=True)  # Beam deletes it after a run alone
        detach = launch.detach or is_template(options)
        return cls(options, workers, launch.stall_timeout, prog, launch.dry_run, detach)

    @property
    def must_submit(self) -> bool:
        """Whether there is a job even where nothing is left to do: a template's launcher waits for one."""
        return is_template(self.options)

    def place(self, output: Output) -> Output:
        """Where the table is planned: at its place, or for a dry run in this process's memory."""
        return replace(output, url=f"memory://dry-run-{uuid.uuid4().hex}") if self.dry_run else output

    def reachable(self, shards: Iterable[list[dict[str, Any]]]) -> Iterator[list[dict[str, Any]]]:
        """The planned shards; raises ConfigurationError for inputs that Dataflow's machines cannot read."""
        for rows in shards:
            if is_dataflow(self.options) and is_local(rows[0]["uri"]):
                raise ConfigurationError(
                    f"{rows[0]['uri']} is on this machine, whose files Dataflow's do not see: copy the inputs to a "
                    "bucket and name them there"
                )
            yield rows

    def run(self, build: Build, stage: Stage, tasks: list[ShardTask], unit: str) -> bool:
        """Run the graph that `build` puts on a pipeline and that commits `tasks`; shows its progress.

        Returns whether all is done, and the table to be finished: not so for a dry run, or where the job is left to a
        service. Raises what a worker raised for a person's mistake, and RunStopped where a worker died, stood still or
        failed: what is committed stands. Ctrl-C and SIGTERM end the workers too.
        """
        root = pipeline(self.options, self.workers)
        if self.dry_run or self.detach:
            self._leave_to_the_runner(root, build, stage, len(tasks), unit)
            return False
        graph = _Graph(root, build)
        here = runs_here(self.options)
        commits = _Commits(stage, tasks, unit)
        with sigterm_as_exit(), commits.progress, Watchdog(self.stall_timeout if here else 0, self.workers) as watchdog:
            graph.start()
            while not graph.done.wait(commits.pause):
                commits.look()
                watchdog.check(commits.seen)
            commits.look()
        graph.check()
        return True

    def _submitted(self, root: beam.Pipeline) -> Any:
        try:
            return root.run()
        except Exception as error:  # the service's, by its client: no rights, no quota, no network
            raise RunStopped(f"the job could not be submitted ({type(error).__name__}: {error})") from error

    def _leave_to_the_runner(self, root: beam.Pipeline, build: Build, stage: Stage, shards: int, unit: str) -> None:
        """Build the graph, submit it where this is no dry run, and say what comes of it."""
        committed = build(root)
        name = type(root.runner).__name__
        if self.detach:
            _ = committed | "Finish" >> FinishTable(stage.output, stage.begun)
        if not self.dry_run or is_dataflow(self.options):  # a dry run of Dataflow's translates, and submits nothing
            result = self._submitted(root)
        if self.dry_run:
            print(f"dry run: the graph of {shards:,} shards of {unit} is built for {name}; nothing was written")
        elif is_template(self.options):
            print(f"the template of {shards:,} shards of {unit} is written")
        else:
            job = result.job_id() if callable(getattr(result, "job_id", None)) else ""
            print(f"{shards:,} shards of {unit} are left to {name}{f', job {job}' if job else ''}")
            print(f"`vsalign status {stage.folder.url}` says how far it is; the job's last step finishes the table")


class _Graph:
    """The running pipeline, in a thread of its own: FnApiRunner blocks, and for ever when a worker was killed."""

    def __init__(self, root: beam.Pipeline, build: Build) -> None:
        self._root = root
        self.done = threading.Event()
        self._failure: BaseException | None = None
        build(root)

    def start(self) -> None:
        threading.Thread(target=self._run, name="beam_graph", daemon=True).start()

    def check(self) -> None:
        """Raise what ended the graph, if it was no success."""
        if self._failure is None:
            return
        if isinstance(self._failure, VsalignError):
            raise self._failure
        print("".join(traceback.format_exception(self._failure)), file=sys.stderr, end="")
        raise RunStopped(
            "a worker failed (the report stands above): the run was ended, and the same command goes on from what is "
            "committed"
        ) from self._failure

    def _run(self) -> None:
        try:
            result = self._root.run()
            state = result.wait_until_finish()
            if state != PipelineState.DONE:
                raise RuntimeError(f"the runner ended the pipeline in the state {state}")
            raise_mistake(result)
        except BaseException as failure:  # whatever it is, the main thread must hear of it
            self._failure = failure
        finally:
            self.done.set()


class _Commits:
    """The shards that were committed since the start, seen in the output folder: true on every runner."""

    def __init__(self, stage: Stage, tasks: list[ShardTask], unit: str) -> None:
        self._folder = stage.folder
        self._awaited = {task.rows_file: task for task in tasks}
        self.seen, self.pause = 0, SECONDS_BETWEEN_LOOKS
        already = stage.inputs_done(tasks)
        planned = stage.planned_inputs(tasks)
        total = None if planned is None else planned + already
        self.progress = progress.Progress(total, unit, already=already)

    def look(self) -> None:
        """Count what was committed since the last look."""
        started = time.monotonic()
        with contextlib.suppress(StoreError):  # looked at again next time: only the progress line waits for it
            for name in self._awaited.keys() & set(self._folder.names()):
                result = check_shard(self._folder, self._awaited[name])
                if result is not None:
                    del self._awaited[name]
                    self.seen += 1
                    self.progress.add(result.inputs, sum(result.errors.values()))
        self.progress.add(0)
        self.pause = max(SECONDS_BETWEEN_LOOKS, (time.monotonic() - started) / LOOKING_SHARE)


def is_complete(stage: Stage, tasks: list[ShardTask]) -> bool:
    """Whether the table was finished by an earlier run, with nothing left to do."""
    return not tasks and stage.folder.exists(MANIFEST)


def leave(status: int) -> NoReturn:
    """End the process without the interpreter's own end.

    Threads that Beam leaves behind stand in native code, which aborts the process, after all is done, where the
    interpreter goes away below it (seen in 3 of 73 runs); and where a worker was killed they wait for ever.
    """
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
