"""`make demo`: the whole road on rendered scenes, then the packaged models on real photographs, in a few minutes.

The photographs are public-domain and CC0 ones that scikit-image ships; the models are those of the distribution
vsalign-models, which were trained on Flickr8k: they know people and dogs outdoors, and say so of a brick wall too.
"""

from __future__ import annotations

import importlib.util
import os
import shlex
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from infra.results import figure
from infra.road.commands import Road
from infra.road.scenes import ScenesOptions, scenes_road
from vsalign.command import exit_status
from vsalign.errors import MissingInputError
from vsalign.options import parse

PHOTOGRAPHS = (
    "astronaut.png", "camera.png", "chelsea.png", "coffee.png", "rocket.jpg", "hubble_deep_field.jpg", "moon.png",
    "brick.png", "grass.png", "gravel.png",
)  # fmt: skip
"""Public domain (NASA, SpaceX) or CC0, by scikit-image's documentation of its data."""
TABLES = ("descriptions", "regions")
SEARCHED = "a man with a camera on a tripod"
SENTENCE = "a smiling woman in an orange suit stands in front of a flag"


@dataclass(frozen=True)
class DemoOptions:
    """Where the demo writes, and its length."""

    output: str = "runs/demo"
    """Folder of the scenes, tables, models, figures and galleries."""
    short: bool = os.environ.get("DEMO_SHORT", "") == "1"
    """A quarter of the scenes and few epochs, for CI: the figures then mean little. DEMO_SHORT=1 sets it."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the demo; see --help."""
    return exit_status(
        lambda: run(parse(DemoOptions, argv, prog="python -m infra.road.demo", description=__doc__ or ""))
    )


def run(options: DemoOptions) -> int:
    """Scenes from nothing to figures; then photographs through the packaged models."""
    road = Road(Path(options.output) / ("short" if options.short else "full"))
    count, alignment, mrnn = (200, 3, 3) if options.short else (800, 8, 6)
    scenes = scenes_road(road, ScenesOptions(str(road.output), count, 0, alignment, mrnn), "make demo")
    photographs(road)
    figures = {key.replace("road.scenes", "road.demo"): value for key, value in scenes.items()}
    if road.fresh:
        figures["road.demo_seconds"] = figure(road.seconds, "s", f"{count} scenes and 10 photographs", "make demo")
    road.finish(f"{count} scenes, dev split", figures, road.path("gallery/index.html"))
    print(f"  gallery of the photographs: {road.path('photographs/gallery/index.html')}")
    index = shlex.quote(road.path("photographs/index"))
    print(f"  search the photographs by a sentence: {sys.executable} -m vsalign.cli serve {index}")
    return 0


def photographs(road: Road) -> None:
    """Real photographs: all described and indexed, one of them in the terminal, and a sentence put on its regions."""
    folder = road.output / "photographs"
    images, descriptions, regions = _copy_photographs(folder / "images"), *(str(folder / name) for name in TABLES)
    road.run("jobs.caption_images", images=images, output=descriptions, keep_regions=regions)
    tables = {"regions": regions, "descriptions": descriptions}
    road.run("vsalign.cli", "index", **tables, output=str(folder / "index"))
    road.run("vsalign.cli", "search", str(folder / "index"), SEARCHED, k=3)
    road.run("vsalign.cli", "gallery", descriptions=descriptions, output=str(folder / "gallery"))
    one = f"{images}/{PHOTOGRAPHS[0]}"
    road.run("vsalign.cli", "describe", one, picture=str(folder / "described.png"))
    road.run("vsalign.cli", "align", one, SENTENCE, output=str(folder / "aligned.png"))


def _copy_photographs(folder: Path) -> str:
    spec = importlib.util.find_spec("skimage")
    if spec is None or spec.origin is None:
        raise MissingInputError(
            "scikit-image, whose photographs the demo shows, is not installed: pip install 'vsalign[demo]'"
        )
    folder.mkdir(parents=True, exist_ok=True)
    for name in PHOTOGRAPHS:
        shutil.copyfile(Path(spec.origin).parent / "data" / name, folder / name)
    return str(folder)


if __name__ == "__main__":
    sys.exit(main())
