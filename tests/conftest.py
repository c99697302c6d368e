"""What every test may rely on: the shared data folder, and that nothing is skipped behind anybody's back.

A test may be skipped only for one of three reasons, each a marker: `shared` (the data folder is absent),
`detectron2` (the package is absent), `gpu` (no CUDA device). Any other skip fails the session; the skips are
counted at the end.
"""

from __future__ import annotations

import importlib.util
import os
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

LONG = bool(os.environ.get("VSALIGN_LONG"))
"""Whether tests that repeat themselves do it as often as the issues ask for."""
SHARED = Path(os.environ.get("VSALIGN_SHARED") or Path(__file__).parents[2] / "shared")


def shared_absent() -> str:
    """Why tests marked `shared` cannot run, or nothing."""
    return "" if (SHARED / "data").is_dir() else f"no data folder {SHARED / 'data'} (VSALIGN_SHARED names another)"


def detectron2_absent() -> str:
    """Why tests marked `detectron2` cannot run, or nothing."""
    return "" if importlib.util.find_spec("detectron2") else "the package detectron2 is not installed"


def gpu_absent() -> str:
    """Why tests marked `gpu` cannot run, or nothing."""
    import torch

    return "" if torch.cuda.is_available() else "no CUDA device"


ALLOWED: dict[str, Callable[[], str]] = {
    "shared": shared_absent,
    "detectron2": detectron2_absent,
    "gpu": gpu_absent,
}


@pytest.fixture(scope="session")
def shared() -> Path:
    """The shared data folder; the test needs `@pytest.mark.shared`."""
    return SHARED


@pytest.fixture(scope="session")
def mutate() -> Callable[[bytes, bytes, np.random.Generator], bytes]:
    """mutate(data, other, rng) -> data with one to eight bytes changed (half of the time in the header), a cut, a piece
    moved, doubled, or taken from `other`."""
    return mutated


def mutated(data: bytes, other: bytes, rng: np.random.Generator) -> bytes:
    """What the fixture `mutate` gives."""
    changed = bytearray(data)
    choice = rng.integers(5)
    if choice <= 1:
        limit = len(changed) if choice else min(len(changed), 200)
        for _ in range(rng.integers(1, 9)):
            changed[rng.integers(limit)] = rng.integers(256)
    elif choice == 2:
        del changed[rng.integers(1, len(changed)) :]
    elif choice == 3:
        start, length = int(rng.integers(len(changed))), int(rng.integers(1, 100))
        changed[start : start + length] = changed[start : start + length] * int(rng.integers(0, 4))
    else:
        start, source = int(rng.integers(len(changed))), int(rng.integers(len(other)))
        changed[start : start + 50] = other[source : source + 50]
    return bytes(changed)


def pytest_configure(config: pytest.Config) -> None:
    # A process of a background job (`make test &`, some CI systems) is born deaf to SIGINT, and so are its children,
    # which tests interrupt. (Popen's preexec_fn would fork: gRPC's threads, where a pipeline ran in this process,
    # wake up in the child and abort it.)
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip the marked tests whose need is absent."""
    for name, absent in ALLOWED.items():
        marked = [item for item in items if item.get_closest_marker(name)]
        reason = absent() if marked else ""
        if reason:
            for item in marked:
                item.add_marker(pytest.mark.skip(reason=reason))


def unexplained(config: pytest.Config) -> list[str]:
    """Ids of what was skipped without one of the three markers; none in a worker of pytest-xdist, which reports."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    skipped = reporter.stats.get("skipped", []) if reporter else []
    return sorted({report.nodeid for report in skipped if not ALLOWED.keys() & getattr(report, "keywords", {}).keys()})


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Fail a session in which something was skipped without one of the three markers."""
    if unexplained(session.config) and exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the number of skipped tests, and which of them nothing excuses."""
    config = terminalreporter.config
    terminalreporter.section("skipped tests")
    terminalreporter.line(f"skipped: {len(terminalreporter.stats.get('skipped', []))}")
    for nodeid in unexplained(config):
        terminalreporter.line(
            f"FAILED: {nodeid} was skipped without the marker {', '.join(ALLOWED)}; mark it or make it run."
        )
