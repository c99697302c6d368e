"""regions/ + captions/ -> the alignment model (Ray Train): which words belong to which region, from whole sentences.

python -m jobs.train_alignment --regions URL --captions URL --output URL
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
from vsalign.language import identity_of
from vsalign.options import parse
from vsalign.training import alignment
from vsalign.training.alignment import AlignmentData, AlignmentTraining
from vsalign.training.texts import captions_of
from vsalign.training.word_vectors import require_word_dim, teacher_of

PROG = "python -m jobs.train_alignment"
RECIPES = alignment.RECIPES
STAGE = "train_alignment"


@dataclass(frozen=True, kw_only=True)
class Options(AlignmentTraining, TrainOptions):
    """What train_alignment is told."""

    regions: str
    """Regions table."""
    captions: str
    """Captions table of the same pictures."""
    cache: str = ""
    """Folder on each worker's disk in which the sentence encoder's states of the training captions are kept for the
    next run, which takes them from there; empty: they are kept as long as the run lasts."""
    recipe: Literal["best", "student", "paper"] = "best"
    """What stands for the options that are not given. paper: its equations and optimiser, the defaults named here.
    best: what ranks best; it wants the extra `language`. student: a model that needs it no more, taught by one of the
    recipe best (--teacher)."""

    def __post_init__(self) -> None:
        AlignmentTraining.__post_init__(self)
        TrainOptions.__post_init__(self)

    @property
    def training(self) -> AlignmentTraining:
        """The part that makes the model what it is."""
        values = {field.name: getattr(self, field.name) for field in fields(AlignmentTraining)}
        for name in ("language", "word_vectors", "teacher"):
            values[name] = values[name] and everywhere(values[name], f"--{name.replace('_', '-')}")
        return AlignmentTraining(**values)


def train_alignment(argv: Sequence[str] | None = None) -> int:
    """Train the model that `argv` asks for, and return the exit status."""
    about = "Trains the alignment model on images with whole sentences, and writes its folder."
    options = parse(Options, argv, prog=PROG, description=about, recipes=RECIPES)
    regions, captions = open_table(options.regions, "regions"), open_table(options.captions, "captions")
    for split in (options.train_split, options.validation_split):
        captions_of(captions, split)  # it refuses a split that has none
    require_word_dim(options.training)
    alignment.require_language(options.training)
    data = AlignmentData(regions.url, captions.url)
    facts = {"regions": regions.facts(), "captions": captions.facts()}
    if options.teacher:
        teacher_of(options.training, regions)
        facts["teacher"] = model_facts(options.training.teacher, "alignment")
    if options.model.text == "language":
        facts["language"] = identity_of(options.training.language)
    if "://" in options.cache:
        raise ConfigurationError(f"--cache {options.cache}: name a folder on the workers' disks, no URL")
    cache = options.cache and everywhere(options.cache, "--cache")
    return train_model(STAGE, "alignment", alignment.train_alignment, options.training, data, facts, options, cache)


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit status (vsalign.command.exit_status)."""
    return exit_status(lambda: train_alignment(argv))


if __name__ == "__main__":
    # Workers import what they do by its module's name, which __main__ is not.
    from jobs import train_alignment as module

    sys.exit(module.main())
