"""`vsalign describe PHOTOGRAPH`: what is on a photograph and its regions, printed and drawn."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

import numpy as np
from PIL import Image

from vsalign.errors import ConfigurationError, InputError
from vsalign.generation.describe import DescribeOptions
from vsalign.options import parse, with_names
from vsalign.photograph import Described, load
from vsalign.pictures.drawing import draw_alignment
from vsalign.pictures.files import require_format, save_picture
from vsalign.pictures.thumbnails import smaller
from vsalign.regions import ExtractorFiles


@dataclass(frozen=True)
class Options(DescribeOptions):
    """What `vsalign describe` is asked for; the name of the first option may be left out."""

    photograph: str = ""
    """File or URL of the photograph."""
    model: str = ""
    """Folder of the describer of whole photographs; empty: the packaged one."""
    region_model: str = ""
    """Folder of the describer of regions; empty: the packaged one, or --model where that is given."""
    picture: str = ""
    """File (.jpg, .png, .webp) that the photograph is drawn in with its regions; empty: none."""
    drawn: int = 6
    """Regions drawn, by score, each phrase once."""
    longest: int = 896
    """Longer side of the drawn picture in px, at most; a smaller photograph keeps its size."""
    json: bool = False
    """Print JSON."""
    extractor: ExtractorFiles = field(default_factory=ExtractorFiles)
    """Of the extractor that the model was trained on; which one it is, the model says."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.photograph:
            raise ConfigurationError("say which photograph: vsalign describe photo.jpg")
        if self.picture:
            require_format(self.picture, "--picture")
        if not 64 <= self.longest <= 8192 or self.drawn < 0:
            raise ConfigurationError(f"--longest {self.longest}, --drawn {self.drawn}: give 64 to 8192, and 0 or more")


def drawing(pixels: np.ndarray, described: Described, drawn: int, longest: int) -> Image.Image:
    """The photograph with its caption, and the boxes of its first `drawn` different phrases in their colours.

    pixels: (h, w, 3) uint8 of the upright photograph, which may be a smaller copy.
    """
    small = smaller(pixels, longest)
    stretch = np.asarray([small.width / described.width, small.height / described.height] * 2, np.float32)
    boxes = np.asarray([region.box for region in described.regions], np.float32).reshape(-1, 4) * stretch
    places: dict[str, int] = {}
    for place, region in enumerate(described.regions):
        places.setdefault(region.phrase, place)
    phrases = [(phrase, place, number) for number, (phrase, place) in enumerate(list(places.items())[:drawn])]
    return draw_alignment(np.asarray(small), boxes, [(described.caption, None, 0), *phrases])


def main(argv: Sequence[str]) -> int:
    """The command `vsalign describe`."""
    given = with_names(argv, "--photograph")
    about = "Describe a photograph and its regions."
    options = parse(Options, given, prog="vsalign describe", description=about)
    describing = DescribeOptions(options.decode, options.region_beam, options.max_regions)
    photographs = load(options.model, options.region_model, describing, options.extractor)
    try:
        described, pixels = photographs.read(options.photograph)
    except InputError as error:
        raise ConfigurationError(f"{error.message} ({error.reason})") from error
    if options.json:
        print(json.dumps(asdict(described), indent=1, ensure_ascii=False))
    else:
        print(f"{described.caption}  (log-probability {described.log_prob:.2f})")
        for region in described.regions:
            box = ", ".join(f"{side:.0f}" for side in region.box)
            print(f"  {region.phrase:<40} ({box})  score {region.score:.2f}")
    if options.picture:
        save_picture(drawing(pixels, described, options.drawn, options.longest), options.picture)
        if not options.json:
            print(f"drawn in {options.picture}")
    return 0
