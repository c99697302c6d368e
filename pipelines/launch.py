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
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.runner import PipelineState

from pipelines.beam_options import pipeline, read_beam_options, require_reachable, runs_here, worker_count
from pipelines.commit import raise_mistake
from pipelines.watchdog import Watchdog
from vsalign import progress
from vsalign.command import sigterm_as_exit
from vsalign.errors import ConfigurationError, RunStopped, StoreError, VsalignError
from vsalign.options import options_of
from vsalign.storage import ShardTask, Stage
from vsalign.storage.layout import MANIFEST
from vsalign.storage.shards import check_shard

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

    @classmethod
    def of(cls, rest: list[str], launch: LaunchOptions, prog: str) -> Engine:
        """From what the command's own options left over; raises ConfigurationError for what cannot be meant."""
        own = [spelling for option in options_of(type(launch)).values() for spelling in option.spellings]
        options = read_beam_options(rest, own, prog)
        workers = worker_count(options, launch.workers)
        require_reachable(launch.output, options, workers)
        runnable = pipeline(options, workers)  # raises where the runner is not there or refuses its options
        shutil.rmtree(runnable.local_tempdir, ignore_errors=True)  # Beam deletes it after a run alone
        return cls(options, workers, launch.stall_timeout, prog)

    def run(self, build: Callable[[beam.Pipeline], Any], stage: Stage, tasks: list[ShardTask], unit: str) -> None:
        """Run the graph that `build` puts on a pipeline and that commits `tasks`; shows its progress.

        Raises what a worker raised for a person's mistake, and RunStopped where a worker died, stood still or failed:
        what is committed stands. Ctrl-C and SIGTERM end the workers too.
        """
        graph = _Graph(pipeline(self.options, self.workers), build)
        here = runs_here(self.options)
        commits = _Commits(stage, tasks, unit)
        with sigterm_as_exit(), commits.progress, Watchdog(self.stall_timeout if here else 0, self.workers) as watchdog:
            graph.start()
            while not graph.done.wait(commits.pause):
                commits.look()
                watchdog.check(commits.seen)
            commits.look()
        graph.check()


class _Graph:
    """The running pipeline, in a thread of its own: FnApiRunner blocks, and for ever when a worker was killed."""

    def __init__(self, root: beam.Pipeline, build: Callable[[beam.Pipeline], Any]) -> None:
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
