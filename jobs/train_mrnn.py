"""regions/ + captions/ (+ segments/) -> a describer (Ray Train): the Multimodal RNN, or one with attention.

python -m jobs.train_mrnn --regions URL --captions URL [--segments URL] --output URL
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Literal

from jobs.inputs import everywhere, model_facts, open_table
from jobs.train import TrainOptions, train_model
from vsalign.command import exit_status
from vsalign.errors import ConfigurationError
from vsalign.options import parse
from vsalign.training import describer
from vsalign.training.describer import DescriberData, DescriberTraining
from vsalign.training.texts import captions_of

PROG = "python -m jobs.train_mrnn"
RECIPES = describer.RECIPES
STAGE = "train_mrnn"


@dataclass(frozen=True, kw_only=True)
class Options(DescriberTraining, TrainOptions):
    """What train_mrnn is told."""

    regions: str
    """Regions table."""
    captions: str
    """Captions table of the same pictures."""
    segments: str = ""
    """Segments table of the same captions: regions with their inferred phrases are learned too."""
    recipe: Literal["attention", "cider", "mrnn", "regions"] = "attention"
    """What stands for the options that are not given. mrnn: the paper's equations and optimiser, the defaults named
    here. attention: what describes whole images best. cider: a second training, of a model that --start names, by
    CIDEr-D. regions: what describes regions best, from --segments alone."""

    def __post_init__(self) -> None:
        DescriberTraining.__post_init__(self)
        TrainOptions.__post_init__(self)
        if not (self.whole_images or self.segments):
            raise ConfigurationError(
                "without whole images (--no-whole-images, --recipe regions) name a segments table by --segments"
            )

    @property
    def training(self) -> DescriberTraining:
        """The part that makes the model what it is."""
        values = {field.name: getattr(self, field.name) for field in fields(DescriberTraining)}
        values["start"] = self.start and everywhere(self.start, "--start")
        return DescriberTraining(**values)


def train_mrnn(argv: Sequence[str] | None = None) -> int:
    """Train the model that `argv` asks for, and return the exit status."""
    about = "Trains a describer on captions and inferred phrases, and writes its folder."
    options = parse(Options, argv, prog=PROG, description=about, recipes=RECIPES)
    regions, captions = open_table(options.regions, "regions"), open_table(options.captions, "captions")
    for split in (options.train_split, options.validation_split):
        captions_of(captions, split)  # it refuses a split that has none
    facts = {"regions": regions.facts(), "captions": captions.facts()}
    segments = open_table(options.segments, "segments") if options.segments else None
    if segments:
        facts["segments"] = segments.facts()
    if options.start:
        facts["start"] = model_facts(options.training.start, "describer")
    data = DescriberData(regions.url, captions.url, segments.url if segments else "")
    return train_model(STAGE, "describer", describer.train_describer, options.training, data, facts, options)


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit status (vsalign.command.exit_status)."""
    return exit_status(lambda: train_mrnn(argv))


if __name__ == "__main__":
    # Workers import what they do by its module's name, which __main__ is not.
    from jobs import train_mrnn as module

    sys.exit(module.main())
