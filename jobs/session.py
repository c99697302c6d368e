"""A Ray to run in: one of this command's own on this machine, or a cluster that is there.

Ray is imported inside functions, here and in what uses it: its settings are read at that moment.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import sys
import threading
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from jobs.quiet import without_core_log
from vsalign.command import STOPPED, sigterm_as_exit
from vsalign.errors import ConfigurationError, RunStopped

ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # Ray's coming default; without it, it warns
    # Ray Train looks at its workers this often (its default: 2 s); a checkpoint counts from the next look on.
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",
    "RAY_TRAIN_METRICS_ENABLED": "0",
}

SECONDS_TO_CONNECT = 5.0
SECONDS_BETWEEN_LOOKS = 0.1
VITAL = ("raylet", "gcs_server")
"""Processes of a local Ray without which nothing goes on."""


@dataclass(frozen=True, kw_only=True)
class RayOptions:
    """Where a job runs; nothing of it changes a result."""

    address: str = ""
    """local: a Ray of this command's own on this machine. HOST:PORT: the cluster of that head. auto: the one that runs
    on this machine. Empty: the cluster that RAY_ADDRESS names (as under `ray job submit`), else local."""
    num_cpus: int = 0
    """CPUs that a local Ray counts on; 0: those of this machine."""
    object_store_mb: int = 512
    """MB of shared memory of a local Ray; only small things pass through it."""

    def __post_init__(self) -> None:
        if self.num_cpus < 0 or self.object_store_mb < 80:
            raise ConfigurationError(
                f"--num-cpus {self.num_cpus}, --object-store-mb {self.object_store_mb}: at least 0 and 80"
            )
        if self.address.startswith("ray://"):
            raise ConfigurationError(
                f"--address {self.address}: Ray Client is not used; run the command on the cluster, by `ray job submit`"
            )

    @property
    def place(self) -> str:
        """Ray's own word for where it runs: local, auto, or HOST:PORT."""
        return self.address or os.environ.get("RAY_ADDRESS") or "local"

    @property
    def local_cpus(self) -> int:
        """CPUs of a local Ray."""
        return self.num_cpus or cpus_here()


def cpus_here() -> int:
    """CPUs that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextlib.contextmanager
def session(options: RayOptions, cpus: int) -> Iterator[None]:
    """Within it Ray is there, with `cpus` CPUs or more; a local one ends with it, or with this process if it is killed.

    Raises ConfigurationError where no cluster answers, or a local Ray has fewer CPUs.
    """
    local = options.place == "local"
    if local and cpus > options.local_cpus:
        raise ConfigurationError(
            f"{cpus} CPUs are asked for, this machine has {options.local_cpus}: ask for fewer, or let them be "
            f"shared with --num-cpus {cpus}"
        )
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    if local and "RAY_AUTH_MODE" not in os.environ and "ray" not in sys.modules:  # Ray reads it when it is imported
        # Only who has this token, our own processes, may use the local Ray; and none is written to the home folder.
        os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": uuid.uuid4().hex}
    import ray

    with without_core_log():
        try:
            _start(options, local)
            if not local and ray.cluster_resources().get("CPU", 0) < cpus:
                print(
                    f"waiting for {cpus} CPUs: the cluster {options.place} has fewer now", file=sys.stderr, flush=True
                )
            with sigterm_as_exit(), _ended_with_its_ray(local):  # after ray.init, which sets a handler of its own
                yield
        finally:
            ray.shutdown()


def beside_the_driver(actor: type) -> Any:
    """An actor that takes no CPU, on this process's node: it dies with the driver, and with no other machine."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    return ray.remote(num_cpus=0, scheduling_strategy=here)(actor).remote()


def _start(options: RayOptions, local: bool) -> None:
    import ray

    if local:
        try:
            ray.init(
                address="local",
                num_cpus=options.local_cpus,
                object_store_memory=options.object_store_mb * 2**20,
                include_dashboard=False,
                log_to_driver=False,
                logging_level=logging.ERROR,
            )
        except Exception as error:  # it has no narrower one for a part that was killed while it started
            raise RunStopped(
                f"no local Ray came up ({str(error).splitlines()[0]}): run the same command again"
            ) from error
        return
    try:
        host, colon, port = options.place.rpartition(":")
        if colon:
            socket.create_connection((host, int(port)), SECONDS_TO_CONNECT).close()
        ray.init(address=options.place, log_to_driver=False, logging_level=logging.ERROR)
    except (OSError, ValueError, RuntimeError, ray.exceptions.RayError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise ConfigurationError(
            f"no Ray cluster can be used at {options.place} ({reason}): correct --address (or RAY_ADDRESS), or give "
            "--address local"
        ) from error


@contextlib.contextmanager
def _ended_with_its_ray(local: bool) -> Iterator[None]:
    """End this process, with a sentence, when a part of its local Ray died.

    Ray does so later, with status 1 and no word; or at once, where it happens to ask the dead part for something.
    """
    left = threading.Event()

    def watch() -> None:
        from ray._private.worker import _global_node

        while not left.wait(SECONDS_BETWEEN_LOOKS):
            if not (dead := [kind for kind, _ in _global_node.dead_processes() if kind in VITAL]) or left.is_set():
                continue
            print(
                f"error: the {dead[0]} of this command's Ray died (killed for memory?): the run was ended, and the "
                "same command goes on from what is committed",
                file=sys.stderr,
                flush=True,
            )
            _global_node.kill_all_processes(check_alive=False, allow_graceful=False)
            os._exit(STOPPED)

    watcher = threading.Thread(target=watch, name="end_with_ray", daemon=True)
    if local:
        watcher.start()
    try:
        yield
    finally:
        left.set()  # before ray.shutdown ends them
        if local:
            watcher.join()
