"""The versions that the images are built from: what this environment has of vsalign's dependencies.

python -m infra.constraints        write infra/docker/constraints.txt again
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

FILE = Path(__file__).parent / "docker" / "constraints.txt"
EXTRAS = ("beam", "dataflow", "ray", "gcs", "s3", "onnx", "language")
"""What the images install."""


def installed(name: str, extras: Iterable[str]) -> dict[str, str]:
    """The versions of all that a distribution needs here, by name, itself left out."""
    found: dict[str, str] = {}
    seen: set[tuple[str, str]] = set()
    waiting = [(name, extra) for extra in ("", *extras)]
    while waiting:
        one, extra = waiting.pop()
        if (one, extra) in seen:
            continue
        seen.add((one, extra))
        try:
            held = distribution(one)
        except PackageNotFoundError:  # of another system, by a marker that only its extra asks for
            continue
        found[canonicalize_name(one)] = held.version.partition("+")[0]
        for needed in map(Requirement, held.requires or []):
            if needed.marker is None or needed.marker.evaluate({"extra": extra}):
                waiting += [(needed.name, more) for more in ("", *needed.extras)]
    return {needed: version for needed, version in sorted(found.items()) if needed != name}


def main() -> int:
    """The command."""
    FILE.write_text("".join(f"{name}=={version}\n" for name, version in installed("vsalign", EXTRAS).items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
