"""photographs + captions/ + true boxes -> the detector of the rcnn-lite extractor (Ray Train).

python -m jobs.train_detector --images DIR --captions URL --truth FILE --output URL
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

from jobs.inputs import everywhere, open_table
from jobs.train import TrainOptions, train_model
from vsalign.command import exit_status
from vsalign.datasets.phrases import TruthOptions, require_truth
from vsalign.errors import ConfigurationError
from vsalign.images import list_images
from vsalign.images.options import PictureOptions
from vsalign.options import parse
from vsalign.regions.backbone import LITE
from vsalign.regions.timm_network import PRETRAINED
from vsalign.training import detector
from vsalign.training.detector import DetectorTraining, split_captions
from vsalign.training.detector_pictures import DetectorData

PROG = "python -m jobs.train_detector"
STAGE = "train_detector"


@dataclass(frozen=True, kw_only=True)
class Options(DetectorTraining, TruthOptions, PictureOptions, TrainOptions):
    """What train_detector is told."""

    captions: str
    """Captions table of the same pictures: their splits, and the sentences whose phrases have boxes."""
    backbone: str = LITE
    """The frozen network below: lite, or timm:NAME, any CNN of timm with maps at strides 8, 16, 32. The detector's
    folder then holds its weights too."""
    backbone_weights: str = ""
    """timm:NAME's: a local state dict (.safetensors, .pth) that every worker can read, or pretrained, which timm
    downloads."""
    terms: str = ""
    """Terms of the pictures and boxes, which the weights carry: for the model card, and said whenever they are used."""

    def __post_init__(self) -> None:
        DetectorTraining.__post_init__(self)
        TrainOptions.__post_init__(self)
        if self.use_gpu:
            raise ConfigurationError("--use-gpu: the detector is trained on CPUs, its backbone is frozen; leave it out")

    @property
    def training(self) -> DetectorTraining:
        """The part that makes the detector what it is."""
        return DetectorTraining(**{field.name: getattr(self, field.name) for field in fields(DetectorTraining)})


def train_detector(argv: Sequence[str] | None = None) -> int:
    """Train the detector that `argv` asks for, and return the exit status."""
    about = "Trains the detector of the rcnn-lite extractor on phrases with boxes, and writes its folder."
    options = parse(Options, argv, prog=PROG, description=about)
    captions = open_table(options.captions, "captions")
    images = replace(options.source(), input=everywhere(options.images, "--images"))
    truth = everywhere(options.truth, "--truth")
    require_truth(truth, options.rescale)
    listing = list_images(images)
    weights = options.backbone_weights
    if weights not in ("", PRETRAINED):
        weights = everywhere(weights, "--backbone-weights")
    data = DetectorData(
        images, captions.url, truth, options.rescale, options.terms, backbone=options.backbone, backbone_weights=weights
    )
    for split in (options.train_split, options.validation_split):
        split_captions(data, split)  # it refuses a split that has none
    facts = {
        "images": listing.facts(),
        "captions": captions.facts(),
        "truth": truth,
        "rescale": options.rescale,
        "backbone": data.network(options.model.input_size).identity(),
    }
    return train_model(STAGE, "detector", detector.train_detector, options.training, data, facts, options)


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit status (vsalign.command.exit_status)."""
    return exit_status(lambda: train_detector(argv))


if __name__ == "__main__":
    # Workers import what they do by its module's name, which __main__ is not.
    from jobs import train_detector as module

    sys.exit(module.main())
