"""`make flickr8k DATA=<folder>`: the paper's road on Flickr8k, from photographs to figures on the dev split.

Every stage goes on where it stopped, so the command can be killed and started again. Settings were chosen on the
`tune` split alone (1,000 training images held out by hash).
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from infra.results import Figure, figure
from infra.road.commands import Road
from vsalign.command import exit_status
from vsalign.errors import MissingInputError
from vsalign.options import parse

TUNE_IMAGES = 1000
BETA = 1.0
"""Of the segments' MRF: about the spread of a word's scores over regions; a guess."""
BEAM = 7
"""The paper's, which compares sentences by their probabilities."""


@dataclass(frozen=True)
class FlickrOptions:
    """What the road is run on."""

    data: str
    """Folder with images/, Flickr8k.token.txt and the split lists; flickr30k_entities beside it is used where found."""
    output: str = "runs/flickr8k"
    """Folder of the tables, models, figures and gallery."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the road; see --help."""
    return exit_status(
        lambda: run(parse(FlickrOptions, argv, prog="python -m infra.road.flickr8k", description=__doc__ or ""))
    )


def run(options: FlickrOptions) -> int:
    """Photographs and captions -> tables -> models -> figures on dev."""
    data = Path(options.data)
    for name in ("images", "Flickr8k.token.txt", "Flickr_8k.trainImages.txt", "Flickr_8k.devImages.txt"):
        if not (data / name).exists():
            raise MissingInputError(f"{data} has no {name}: DATA is the folder with Flickr8k's images/ and lists")
    road = Road(Path(options.output))
    images, regions, captions = str(data / "images"), road.path("regions"), road.path("captions")
    segments, descriptions = road.path("segments"), road.path("descriptions")
    tables = {"regions": regions, "captions": captions}
    models = {name: road.path(name) for name in ("alignment", "mrnn", "mrnn-regions")}

    # Fixed boxes and the paper's recipe: what the recorded figures were measured with.
    road.run("pipelines.extract_regions", images=images, extractor__name="lite", output=regions)
    token_file = str(data / "Flickr8k.token.txt")
    road.run("pipelines.prepare_captions", captions=token_file, images=images, tune=TUNE_IMAGES, output=captions)
    road.run("jobs.train_alignment", **tables, recipe="paper", output=models["alignment"])
    road.run("jobs.align_segments", **tables, model=models["alignment"], beta=BETA, output=segments)
    road.run("jobs.train_mrnn", **tables, recipe="mrnn", output=models["mrnn"])
    road.run(
        "jobs.train_mrnn", **tables, recipe="mrnn", segments=segments, whole_images=False, output=models["mrnn-regions"]
    )
    describers = {"model": models["mrnn"], "region_model": models["mrnn-regions"]}
    dev = _list_of_dev_images(data, road)
    decode: dict[str, int] = {"decode__beam": BEAM, "decode__length_norm": 0}
    road.run("jobs.caption_images", images=dev, root=images, **describers, **decode, output=descriptions)
    road.run(
        "vsalign.cli", "gallery", descriptions=descriptions, **tables, segments=segments, output=road.path("gallery")
    )
    figures = _figures(road, tables, data)
    road.finish("Flickr8k, dev split", figures, road.path("gallery/index.html"))
    return 0


def _figures(road: Road, tables: dict[str, str], data: Path) -> dict[str, Figure]:
    model, captions = road.path("alignment"), tables["captions"]
    ranking = road.figures("ranking", "ranking", **tables, model=model)
    java = shutil.which("java") is not None
    scorers: dict[str, str | bool] = {} if java else {"tokenizer": "simple", "meteor": False}
    descriptions = road.path("descriptions")
    described = road.figures("descriptions", "descriptions", captions=captions, descriptions=descriptions, **scorers)
    nearest = road.figures("nearest", "descriptions", **tables, **scorers)
    values = {
        **{name: ranking[name] for name in ranking if name.startswith(("annotation", "search", "rsum"))},
        **{f"{name.removeprefix('chance_')}_chance": ranking[name] for name in ranking if name.startswith("chance")},
        **{_key(name, java): described[name] for name in described if name != "scored"},
        **{f"{_key(name, java)}_nearest_neighbour": nearest[name] for name in nearest if name != "scored"},
    }
    entities = data.parent / "flickr30k_entities" / "annotations.zip"
    if entities.exists():
        found = road.figures("grounding", "grounding", **tables, model=model, truth=str(entities), rescale=True)
        shares = {name: value for name, value in found.items() if name.endswith(("iou", "pointing"))}
        values |= {f"grounding_{name}": 100 * value for name, value in shares.items()}
    return {f"road.flickr8k_dev.{name}": _figure(name, value) for name, value in values.items()}


def _figure(name: str, value: float) -> Figure:
    unit = "rank" if name.endswith("rank") else "points of 600" if name == "rsum" else "per cent"
    return figure(value, unit, "Flickr8k dev (1,000 images)", "make flickr8k DATA=<folder>")


def _key(metric: str, java: bool) -> str:
    """The metric's key; without Java another one, since the tokens, and so the figures, are others."""
    return metric.lower().replace("-d", "").replace("-", "") + ("" if java else "_simple_tokens")


def _list_of_dev_images(data: Path, road: Road) -> str:
    names = (data / "Flickr_8k.devImages.txt").read_text().split()
    file = road.output / "dev-images.txt"
    file.write_text("".join(f"{data.resolve() / 'images' / name}\n" for name in names))
    return str(file)


if __name__ == "__main__":
    sys.exit(main())
