"""A worker process on the driver's machine, as `pipelines.launch` starts it: python -m pipelines.worker DRIVER_PID.

Beam's own worker, but it ends with its driver (Beam's goes on with its bundle when the driver was killed), and leaves
Ctrl-C, which a terminal sends to every process, to the driver.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time

SECONDS_BETWEEN_LOOKS = 0.5


def main(driver: int) -> None:
    """Serve the driver of process id `driver` until it says stop, or is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(driver,), name="end_with_driver", daemon=True).start()
    from apache_beam.runners.worker import sdk_worker_main

    # It warns that there is no folder of staged files: a process on the driver's machine needs none.
    logging.getLogger(sdk_worker_main.__name__).setLevel(logging.ERROR)
    sdk_worker_main.main([])


def _end_with(driver: int) -> None:
    # A process whose parent ends gets another parent; unlike prctl this holds on every Unix.
    while os.getppid() == driver:
        time.sleep(SECONDS_BETWEEN_LOOKS)
    os._exit(1)


if __name__ == "__main__":
    main(int(sys.argv[1]))
