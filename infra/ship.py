"""A trained model into the distribution vsalign-models: its weights as float16, with the terms of its data.

python -m infra.ship --model DIR --output models/vsalign_models/describer --terms "..." --about "..."
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from vsalign.checkpoint import load_model, read_config, save_model
from vsalign.command import exit_status
from vsalign.options import parse


@dataclass(frozen=True, kw_only=True)
class ShipOptions:
    """What is shipped."""

    model: str
    """Folder of the alignment model or describer that a job trained."""
    output: str
    """Folder to write, below models/vsalign_models."""
    terms: str
    """Of the data it was trained on."""
    about: str = ""
    """What its card says of its data, figures and limits: a paragraph."""


def ship(argv: Sequence[str] | None = None) -> int:
    """Write the folder, and return the exit status."""
    options = parse(ShipOptions, argv, prog="python -m infra.ship", description=__doc__ or "")
    known = load_model(options.model, read_config(options.model)["kind"])
    save_model(
        options.output,
        known.kind,
        known.model,
        known.vocabulary,
        known.extractor,
        without_paths(known.training),
        known.language,
        terms=options.terms,
        about=options.about,
        half=True,
    )
    print(f"written to {options.output}")
    return 0


def without_paths(value: Any) -> Any:
    """The same with the last name alone of every path: the machine that trained a model tells nobody anything."""
    if isinstance(value, dict):
        return {key: without_paths(each) for key, each in value.items()}
    if isinstance(value, list):
        return [without_paths(each) for each in value]
    return PurePosixPath(value).name if isinstance(value, str) and "/" in value else value


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit status (vsalign.command.exit_status)."""
    return exit_status(lambda: ship(argv))


if __name__ == "__main__":
    sys.exit(main())
