"""`vsalign align PICTURE "SENTENCE"`: which phrase an alignment model puts on which region, drawn on the picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from PIL import Image

from vsalign.alignment import Segment, segments
from vsalign.alignment.annotate import Annotator, Pair
from vsalign.alignment.placing import Placing
from vsalign.checkpoint import load_model
from vsalign.datasets.files import file_name, open_bytes
from vsalign.errors import ConfigurationError, InputError
from vsalign.images import DecodeOptions, decode_sized
from vsalign.options import parse, with_names
from vsalign.packaged import alignment_folder
from vsalign.pictures.drawing import draw_alignment, draw_matrix
from vsalign.pictures.files import require_format, save_picture
from vsalign.pictures.thumbnails import smaller
from vsalign.regions import ExtractorFiles, Regions, extractor_of, to_float16
from vsalign.text import tokenize


@dataclass(frozen=True)
class AlignOptions(Placing):
    """What `vsalign align` is asked for; the names of the first two options may be left out."""

    picture: str
    """File or URL of the picture."""
    sentence: str
    """What is said of it."""
    model: str = ""
    """Folder of the alignment model; empty: that of the distribution vsalign-models."""
    image_id: str = ""
    """What the picture is called where the boxes come from (--extractor.boxes); empty: its file's name."""
    output: str = "aligned.png"
    """File (.jpg, .png, .webp) of the drawing: the phrases' boxes, and how much each word likes each region."""
    longest: int = 896
    """Longer side of the drawn picture in px, at most; a smaller picture keeps its size."""
    max_pixels: int = DecodeOptions().max_pixels
    """A picture that announces more is refused before it is decoded."""
    language: str = ""
    """Folder of the sentence encoder of a model of --model.text language; empty: the packaged one."""
    extractor: ExtractorFiles = field(default_factory=ExtractorFiles)
    """Of the extractor that the model was trained on; which one it is, the model says."""

    def __post_init__(self) -> None:
        require_format(self.output, "--output")
        super().__post_init__()
        if not 64 <= self.longest <= 8192:
            raise ConfigurationError(f"--longest {self.longest}: give 64 to 8192")


@dataclass(frozen=True)
class Alignment:
    """A sentence on a picture's regions."""

    boxes: np.ndarray
    """(R, 4) xyxy px."""
    likings: np.ndarray
    """(T, R): what each word likes (vsalign.alignment.placing)."""
    phrases: list[Segment]


@torch.inference_mode()
def align(annotator: Annotator, regions: Regions, words: Sequence[str]) -> Alignment:
    """The phrases of a sentence of one word or more on a picture's regions, as jobs.align_segments would have them."""
    pair = Pair("", "", list(words), to_float16(regions.features, "the picture"), regions.boxes)
    unary, lengths, beta, products = annotator.likings([pair])
    return Alignment(regions.boxes, unary[0].numpy(), segments(unary, lengths, beta, products)[0])


def drawing(
    pixels: np.ndarray, size: tuple[int, int], words: Sequence[str], alignment: Alignment, longest: int
) -> Image.Image:
    """The picture with its phrases, and below it the words x regions matrix, a phrase's cells in its colour.

    pixels: (h, w, 3) uint8 of the upright picture, which may be a smaller copy; size: its own width and height, px.
    """
    small = smaller(pixels, longest)
    stretch = np.asarray([small.width / size[0], small.height / size[1]] * 2, np.float32)
    phrases = [
        (" ".join(words[segment.start : segment.end]), segment.region, number)
        for number, segment in enumerate(alignment.phrases)
    ]
    above = draw_alignment(np.asarray(small), alignment.boxes * stretch, phrases)
    chosen = [
        (segment.region, number)
        for number, segment in enumerate(alignment.phrases)
        for _ in range(segment.start, segment.end)
    ]
    below = draw_matrix(alignment.likings, words, chosen)
    sheet = Image.new("RGB", (max(above.width, below.width), above.height + below.height), "white")
    sheet.paste(above, (0, 0))
    sheet.paste(below, (0, above.height))
    return sheet


def main(argv: Sequence[str]) -> int:
    """The command `vsalign align`."""
    given = with_names(argv, "--picture", "--sentence")
    about = "Draw which phrase of a sentence an alignment model puts on which region of a picture."
    options = parse(AlignOptions, given, prog="vsalign align", description=about)
    words = tokenize(options.sentence)
    if not words:
        raise ConfigurationError(f"the sentence {options.sentence!r} has no words: say what the picture shows")
    trained = load_model(alignment_folder(options.model), "alignment")
    reader = trained.reader(options.language)
    extractor = extractor_of(trained.extractor, options.extractor)
    with open_bytes(options.picture) as file:
        data = file.read()
    try:
        pixels, size = decode_sized(data, options.picture, DecodeOptions(options.max_pixels, extractor.least_side))
        (found,) = extractor.extract([extractor.prepare(options.image_id or file_name(options.picture), pixels, size)])
        alignment = align(Annotator(trained.model, reader, options), found, words)
    except InputError as error:
        raise ConfigurationError(f"{error.message} ({error.reason})") from error
    save_picture(drawing(pixels, size, words, alignment, options.longest), options.output)
    for segment in alignment.phrases:
        box = ", ".join(f"{side:.0f}" for side in alignment.boxes[segment.region])
        phrase = " ".join(words[segment.start : segment.end])
        print(f"{phrase:<32} region {segment.region:>2}  ({box})  score {segment.score:.2f}")
    if unknown := reader.unknown(words):
        print(f"words that the model does not know: {', '.join(unknown)}")
    print(f"drawn in {options.output}")
    return 0
