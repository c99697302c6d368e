"""A trained describer into the distribution vsalign-models: its weights as float16, with the terms of its data.

python -m infra.ship --model DIR --output models/vsalign_models/describer --terms "..."
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vsalign.checkpoint import load_model, save_model
from vsalign.command import exit_status
from vsalign.options import parse


@dataclass(frozen=True, kw_only=True)
class ShipOptions:
    """What is shipped."""

    model: str
    """Folder of the describer that jobs.train_mrnn made."""
    output: str
    """Folder to write, below models/vsalign_models."""
    terms: str
    """Of the data it was trained on."""


def ship(argv: Sequence[str] | None = None) -> int:
    """Write the folder, and return the exit status."""
    options = parse(ShipOptions, argv, prog="python -m infra.ship", description=__doc__ or "")
    known = load_model(options.model, "describer")
    training = dict(known.training)
    if configuration := training.get("configuration"):  # a path of the machine that trained it tells nobody anything
        training["configuration"] = {**configuration, "start": Path(configuration.get("start", "")).name}
    arguments = known.kind, known.model, known.vocabulary, known.extractor, training
    save_model(options.output, *arguments, terms=options.terms, half=True)
    print(f"written to {options.output}")
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit status (vsalign.command.exit_status)."""
    return exit_status(lambda: ship(argv))


if __name__ == "__main__":
    sys.exit(main())
