"""One photograph at a time: `vsalign.load().describe("photo.jpg")`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from vsalign.checkpoint import LoadedModel, load_model
from vsalign.datasets.files import file_name, open_bytes
from vsalign.errors import ModelError, WrongExtractorError
from vsalign.generation import Ensemble
from vsalign.generation.describe import DescribeOptions, Describer, in_float16
from vsalign.images import DecodeOptions, decode_sized
from vsalign.packaged import packaged
from vsalign.regions import ExtractorFiles, extractor_of
from vsalign.regions.extract import Extracted

WHOLE, REGIONS = "describer", "region_describer"
"""The packaged describers."""
REMEDY = "or name the folder of one that jobs.train_mrnn made"


@dataclass(frozen=True)
class DescribedRegion:
    """A part of a photograph, and what is said of it."""

    box: tuple[float, float, float, float]
    """x1, y1, x2, y2 in px of the upright photograph."""
    score: float
    """The detector's, 0 to 1."""
    phrase: str
    log_prob: float
    """Natural log of the phrase's probability."""


@dataclass(frozen=True)
class Described:
    """A photograph, and what is said of it."""

    caption: str
    log_prob: float
    """Natural log of the caption's probability."""
    finished: bool
    """Whether the caption came to an end within max_words."""
    width: int
    """px, upright."""
    height: int
    regions: tuple[DescribedRegion, ...]
    """By falling score."""


class Photographs:
    """An extractor and the describers that were trained on its features."""

    def __init__(
        self,
        whole: LoadedModel,
        regions: LoadedModel,
        options: DescribeOptions | None = None,
        files: ExtractorFiles | None = None,
        max_pixels: int = DecodeOptions.max_pixels,
    ) -> None:
        """Raises WrongExtractorError where the two describers are of different extractors."""
        require_same_extractor(whole, regions)
        self.extractor = extractor_of(whole.extractor, files)
        describer = Describer((whole.model, whole.vocabulary), (regions.model, regions.vocabulary), options)
        self.describer = describer.to((files or ExtractorFiles()).placement().device)
        self.decoding = DecodeOptions(max_pixels, self.extractor.least_side)

    def describe(self, photograph: str) -> Described:
        """What is on a photograph, a file or URL.

        Raises MissingInputError where there is none, InputError where it cannot be used.
        """
        return self.read(photograph)[0]

    def read(self, photograph: str) -> tuple[Described, np.ndarray]:
        """The same, with the pixels (h, w, 3) uint8 that it was read from, which may be a smaller copy."""
        with open_bytes(photograph) as file:
            pixels, size = decode_sized(file.read(), photograph, self.decoding)
        (found,) = self.extractor.extract([self.extractor.prepare(file_name(photograph), pixels, size)])
        image = Extracted(file_name(photograph), photograph, *size, found)
        (row,) = self.describer.describe([in_float16(image)])
        return _described(row), pixels


def _described(row: dict[str, Any]) -> Described:
    regions = [
        DescribedRegion(tuple(region["box"]), region["score"], region["caption"], region["log_prob"])
        for region in row["regions"]
    ]
    facts = {name: row[name] for name in ("caption", "log_prob", "finished", "width", "height")}
    return Described(**facts, regions=tuple(regions))


def load(
    model: str = "",
    region_model: str = "",
    options: DescribeOptions | None = None,
    files: ExtractorFiles | None = None,
) -> Photographs:
    """What describes photographs; by default the models of the distribution vsalign-models.

    model: folder of a describer of whole photographs; region_model: of regions (empty: the packaged one, or `model`
    where that is given). files: of the extractor, where it needs some, and where it runs. Raises MissingInputError
    where there is no such model, ModelError or WrongExtractorError where it cannot be used.
    """
    folders = model_folders(model, region_model)
    whole = load_model(folders[0], "describer")
    regions = whole if folders[0] == folders[1] else load_model(folders[1], "describer")
    return Photographs(whole, regions, options, files)


def model_folders(model: str, region_model: str) -> tuple[str, str]:
    """Where the describers of photographs and of regions are: packaged, where none is named.

    One of photographs that is named describes regions too, unless another is. Raises MissingInputError where
    vsalign-models is absent.
    """
    whole = model or packaged(WHOLE, REMEDY)
    return whole, region_model or (whole if model else packaged(REGIONS, REMEDY))


def require_same_extractor(whole: LoadedModel, regions: LoadedModel) -> None:
    """Raise WrongExtractorError where two describers were trained on features of different extractors."""
    if regions.extractor != whole.extractor:
        raise WrongExtractorError(
            f"the models {whole.url} and {regions.url} were trained on features of {whole.extractor} and "
            f"{regions.extractor}: give two that were trained on the same extractor's"
        )


def together(first: LoadedModel, others: Sequence[LoadedModel]) -> LoadedModel:
    """One describer of several; raises WrongExtractorError or ModelError where they do not go together."""
    for other in others:
        require_same_extractor(first, other)
        if other.vocabulary != first.vocabulary:
            raise ModelError(
                f"the models {first.url} and {other.url} have different vocabularies: train them on the same captions"
            )
    return replace(first, model=Ensemble([first.model, *(other.model for other in others)]))
