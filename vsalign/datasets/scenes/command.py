"""The command `vsalign scenes`: rendered pictures with captions and ground truth, written to a folder."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from vsalign.datasets.scenes.files import DEFAULT_SPLITS, write_scenes
from vsalign.options import parse
from vsalign.progress import Summary


@dataclass(frozen=True)
class Shares:
    """The share of the pictures that each split gets; the shares sum to 1, and 0 makes no such split."""

    train: float = DEFAULT_SPLITS["train"]
    """To train on."""

    tune: float = DEFAULT_SPLITS["tune"]
    """To choose settings by."""

    dev: float = DEFAULT_SPLITS["dev"]
    """To measure on."""


@dataclass(frozen=True)
class ScenesOptions:
    """What `vsalign scenes` is asked for."""

    output: str
    """Local folder, new or empty; one that holds just these scenes already is left as it is."""

    count: int = 1000
    """Number of pictures."""

    seed: int = 0
    """Which pictures: the same seed draws the same ones, and a larger count only adds to them."""

    overwrite: bool = False
    """Replace other scenes that the folder holds."""

    splits: Shares = field(default_factory=Shares)


def main(argv: Sequence[str]) -> int:
    """Run `vsalign scenes`."""
    options = parse(
        ScenesOptions,
        argv,
        prog="vsalign scenes",
        description="Draw pictures of coloured shapes, with captions and the true box of every phrase.",
    )
    shares = {split: share for split, share in vars(options.splits).items() if share}
    started = time.monotonic()
    done = write_scenes(options.output, options.count, options.seed, shares, options.overwrite)
    Summary(
        title="scenes finished" if done.written else "scenes: all of them were there",
        rows=done.images,
        output=done.folder,
        seconds=time.monotonic() - started,
        unit="pictures",
        inputs=done.images,
        already=0 if done.written else done.images,
        notes={"captions": done.captions, "phrases": done.phrases, **done.splits},
    ).print()
    return 0
