"""Ray clusters on this machine, and what runs in them."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
STARTS = 3
"""Of a node."""


def command_line(pid: int) -> str:
    """Of a running process; empty for one that has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""


def family_of(ancestor: int) -> dict[int, str]:
    """The process ids and command lines of all that descend from a process."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
    found = {ancestor}
    while new := {child for child, parent in parents.items() if parent in found} - found:
        found |= new
    return {pid: command_line(pid) for pid in found - {ancestor}}


@dataclass
class Cluster:
    """A Ray cluster on this machine."""

    head: subprocess.Popen[bytes]
    environment: dict[str, str]
    """In which a job finds it, as `ray job submit` makes it."""
    metrics: str
    """Where Prometheus would read."""
    others: list[subprocess.Popen[bytes]] = field(default_factory=list)
    """Its nodes beside the head."""
    dashboard: str = ""
    """Where jobs are submitted."""
    another: Callable[[], subprocess.Popen[bytes]] | None = None
    """Starts one more node."""

    def workers(self, kind: str, node: int = 0) -> list[int]:
        """The process ids of a node's workers and actors of a kind; 0: the head's."""
        family = family_of([self.head, *self.others][node].pid)
        return [pid for pid, command in family.items() if command.startswith("ray::") and kind in command]

    def kill(self, number: int) -> None:
        """As a machine that is taken away: all processes of one of the others, at once."""
        node = self.others[number]
        for pid in [node.pid, *family_of(node.pid)]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        node.wait(10)

    def replace(self, number: int) -> None:
        """Another node in place of one that was killed."""
        assert self.another and self.others[number].poll() is not None
        self.others[number] = self.another()


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@contextlib.contextmanager
def ray_cluster(
    more_nodes: int = 0, dashboard: bool = False, environment: Mapping[str, str] | None = None, more_cpus: int = 2
) -> Iterator[Cluster]:
    """Nodes on this machine, a head of two CPUs and others of `more_cpus`, which ask for a token.

    dashboard: jobs may be submitted. environment: of the nodes, beside this process's.
    """
    folder = Path(tempfile.mkdtemp(prefix="ray", dir="/tmp"))  # short: Ray's sockets below it have at most 107 bytes
    port, metrics, submitting = (free_port() for _ in range(3))
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": f"{random.getrandbits(128):032x}"}
    head = ["--head", f"--port={port}", f"--metrics-export-port={metrics}", f"--temp-dir={folder}", "--num-cpus=2"]
    head += ["--no-monitor"]  # the autoscaler's
    shown = [f"--dashboard-port={submitting}"] if dashboard else ["--include-dashboard=false"]
    nodes: list[subprocess.Popen[bytes]] = []

    def begun(options: list[str]) -> subprocess.Popen[bytes]:
        nodes.append(_node(folder / f"{len(nodes)}.log", {**(environment or {}), **token}, options))
        return nodes[-1]

    def another() -> subprocess.Popen[bytes]:
        return begun([f"--address=127.0.0.1:{port}", f"--num-cpus={more_cpus}"])

    try:
        found_by = {"RAY_ADDRESS": f"127.0.0.1:{port}", **token}
        url = "http://127.0.0.1:"
        first = begun([*head, *shown])
        others = [another() for _ in range(more_nodes)]
        yield Cluster(first, found_by, f"{url}{metrics}/metrics", others, f"{url}{submitting}", another)
    finally:
        for node in nodes:
            for pid in [node.pid, *family_of(node.pid)]:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            node.wait(10)
        shutil.rmtree(folder, ignore_errors=True)


def _node(log: Path, environment: Mapping[str, str], options: list[str]) -> subprocess.Popen[bytes]:
    """A node, once it runs; begun again where a busy machine was too slow for Ray's own patience."""
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", *options, "--disable-usage-stats"]
    command += [f"--dashboard-agent-listen-port={free_port()}"]  # its usual one may be another Ray's
    command += ["--include-log-monitor=false"]  # drivers print no worker's log
    own = {**os.environ, **environment, "OMP_NUM_THREADS": "1", "RAY_metrics_report_interval_ms": "1000"}
    for _ in range(STARTS):
        with open(log, "w") as said:
            node = subprocess.Popen(
                [*command, f"--object-store-memory={100 * 2**20}", "--block"],
                cwd=REPOSITORY,
                env=own,
                stdout=said,
                stderr=said,
            )
        while node.poll() is None:
            if "Ray runtime started" in log.read_text():
                return node
            time.sleep(0.2)
    raise AssertionError(f"no node came up: {log.read_text()}")
