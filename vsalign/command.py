"""How a command ends: exit statuses, and one sentence for what went wrong."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from typing import NoReturn

from vsalign.errors import RunStopped, StoreError, VsalignError

STOPPED = 4
"""Exit status of a run that ended before its output was whole through no fault of the command: start it again."""


class Terminated(SystemExit):
    """SIGTERM, on its way up."""


def exit_status(command: Callable[[], int | None]) -> int:
    """Run a command and return its exit status; what went wrong is one sentence on stderr.

    0, or what the command returns (3: an archive ended early); 2 a person's mistake; 4 (STOPPED) a worker died, stood
    still or failed, or a store did not answer; 130 and 143 after Ctrl-C and SIGTERM.
    """
    try:
        return command() or 0
    except VsalignError as error:
        print("error: " + str(error).replace("\n", " "), file=sys.stderr)
        return STOPPED if isinstance(error, StoreError) else 2
    except RunStopped as stopped:
        print(f"error: {stopped}", file=sys.stderr)
        return STOPPED
    except KeyboardInterrupt:
        print("stopped by the keyboard; the same command goes on from what is committed.", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader of a pipe (`| head`) left; Python would complain again when it flushes stdout at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except SystemExit as stop:
        if stop.code is None or isinstance(stop.code, int):
            return stop.code or 0
        print(stop.code, file=sys.stderr)
        return 1


@contextlib.contextmanager
def sigterm_as_exit() -> Iterator[None]:
    """Make SIGTERM (a preempted machine, a service's stop) unwind the stack, so that workers end too."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: object) -> NoReturn:
        raise Terminated(128 + number)

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    except Terminated:  # said when all within is closed, so that it is the last line
        print("stopped by SIGTERM; the same command goes on from what is committed.", file=sys.stderr)
        raise
    finally:
        signal.signal(signal.SIGTERM, before)
