"""Notices that a local run is dead: FnApiRunner waits for ever when a worker process is killed or stands still."""

from __future__ import annotations

import logging
import os
import shlex
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

import grpc

from vsalign.errors import RunStopped

BUSY = 0.05
"""Share of one core, averaged over the time-out, below which workers stand still: a guess, far below decoding one
picture and far above a worker that waits."""

LOOKS_SHARE = 0.05
"""Part of the time-out between two looks at the processes: each walks through all of the machine's."""

PROC = Path("/proc")
"""Where Linux shows its processes; other systems show no worker's CPU time."""

WORKER_MODULE = "pipelines.worker"

WAITING_THREAD = "run_worker"
"""Beam's thread in the driver that waits for the end of a worker process, and raises when it failed."""

_DATA_LOG = logging.getLogger("apache_beam.runners.worker.data_plane")
"""Logs a traceback for every connection that broke."""


class Watchdog:
    """While entered, `check` raises RunStopped once a worker process has died, or nothing moved for `timeout` s.

    Something moves when a shard is committed or the processes that do the work use the CPU, so that a shard may take
    longer than the time-out; where the CPU time of `workers` processes cannot be seen, none is taken for still.
    Leaving by an exception kills the worker processes.
    """

    def __init__(self, timeout: float, workers: int = 0, clock: Callable[[], float] = time.monotonic) -> None:
        self._timeout = timeout if not workers or (PROC / "self" / "stat").exists() else 0
        self._workers, self._clock = workers, clock
        self._moved, self._committed, self._cpu = clock(), 0, 0.0
        self._looked = self._moved
        self._died: str | None = None

    def __enter__(self) -> Watchdog:
        self._thread_hook = threading.excepthook
        threading.excepthook = self._notice
        _DATA_LOG.addFilter(_is_no_broken_connection)
        self._moved = self._clock()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            threading.excepthook = self._thread_hook
            _DATA_LOG.removeFilter(_is_no_broken_connection)
            return
        # The hook and the filter stay: the threads that waited for these processes are still to raise.
        for worker in worker_processes():
            _kill(worker)

    def check(self, committed: int) -> None:
        """Raise RunStopped where the run is dead; `committed` shards were made so far."""
        if self._died is not None:
            raise RunStopped(
                f"a worker process died ({self._died}; killed for memory?): the run was ended, and the same command "
                "goes on from what is committed"
            )
        now = self._clock()
        if not self._timeout or now - self._looked < LOOKS_SHARE * self._timeout:
            return
        self._looked = now
        cpu = sum(map(cpu_seconds, worker_processes())) if self._workers else time.process_time()
        if committed != self._committed or abs(cpu - self._cpu) > BUSY * self._timeout:
            self._moved, self._committed, self._cpu = now, committed, cpu
        elif now - self._moved > self._timeout:
            raise RunStopped(
                f"no shard was committed and nothing was computed for {self._timeout:g} s (--stall-timeout): the run "
                "was ended, and the same command goes on from what is committed"
            )

    def _notice(self, failure: threading.ExceptHookArgs) -> None:
        name = failure.thread.name if failure.thread is not None else ""
        if name == WAITING_THREAD:
            self._died = str(failure.exc_value)
        elif not isinstance(failure.exc_value, grpc.RpcError):  # a broken connection says nothing new
            self._thread_hook(failure)


def _is_no_broken_connection(record: logging.LogRecord) -> bool:
    return not str(record.msg).startswith("Failed to read inputs in the data plane")


def worker_processes() -> list[int]:
    """The process ids of this driver's workers on this machine; empty where there is no /proc to look them up."""
    found = []
    for folder in PROC.glob("[0-9]*"):
        try:
            parent = int(_stat(folder)[1])
            command = (folder / "cmdline").read_bytes().split(b"\0") if parent == os.getpid() else []
        except (OSError, IndexError, ValueError):  # it has ended meanwhile
            continue
        if WORKER_MODULE.encode() in command:
            found.append(int(folder.name))
    return found


def cpu_seconds(process: int) -> float:
    """User and system time that a process has used; 0 where there is no /proc."""
    try:
        fields = _stat(PROC / str(process))
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    except (OSError, IndexError, ValueError):
        return 0.0


def worker_command() -> str:
    """The shell command of a worker process of this driver."""
    return f"exec {shlex.quote(sys.executable)} -m {WORKER_MODULE} {os.getpid()}"


def _stat(folder: Path) -> list[str]:
    """The fields of /proc/PID/stat from the state on; the name before them may hold blanks and brackets."""
    return (folder / "stat").read_text(errors="replace").rpartition(")")[2].split()


def _kill(process: int) -> None:
    try:
        os.kill(process, signal.SIGKILL)
    except ProcessLookupError:
        return
