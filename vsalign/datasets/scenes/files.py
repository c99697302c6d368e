"""Scenes as a data set on disk, in the formats of the field; a folder with `scenes.json` is complete.

images/00000.jpg ...            the pictures; image_id is the name below images/
captions.txt                    Flickr token file, 00000.jpg#0<tab>caption
Scenes.trainImages.txt ...      split lists (train, tune, dev)
phrases.jsonl                   PhraseTruth, one a line
objects.jsonl                   a picture's objects: shape, colour, size, box (x1, y1, x2, y2 px)
boxes.json                      COCO JSON (bbox x, y, width, height): boxes for the `given` extractor
scenes.json                     what was asked for; written last
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vsalign.datasets.files import is_url
from vsalign.datasets.flickr import SPLIT_ENDINGS
from vsalign.datasets.records import PhraseTruth
from vsalign.datasets.scenes.candidates import candidate_boxes
from vsalign.datasets.scenes.drawing import draw, jpeg
from vsalign.datasets.scenes.layout import CANVAS, Scene, SceneObject, make_scene
from vsalign.datasets.scenes.words import phrase_truths, write_captions
from vsalign.errors import ConfigurationError, MissingInputError

VERSION = 1
"""Raised when the same seed gives other scenes."""

MANIFEST = "scenes.json"
STARTED = "scenes.started.json"
DEFAULT_SPLITS = {"train": 0.8, "tune": 0.1, "dev": 0.1}

_GOLDEN = (math.sqrt(5) - 1) / 2


@dataclass(frozen=True)
class ScenesSummary:
    """What a scenes folder holds."""

    folder: str
    images: int
    captions: int
    phrases: int
    splits: dict[str, int]
    """split -> number of pictures."""
    written: bool
    """False where the folder was complete already and nothing was done."""


@dataclass(frozen=True)
class SceneTruth:
    """A picture's objects, as read back: the reference of region descriptions."""

    image_id: str
    width: int
    height: int
    objects: tuple[SceneObject, ...]


def write_scenes(
    folder: str,
    count: int = 1000,
    seed: int = 0,
    splits: Mapping[str, float] | None = None,
    overwrite: bool = False,
) -> ScenesSummary:
    """Render `count` scenes of a seed into a local folder; does nothing where it holds just these already.

    splits: split -> share (sum 1; default train 0.8, tune 0.1, dev 0.1). A picture's split hangs on its index
    and the shares alone, so that more scenes move none. Files appear whole; killed and started again, it ends
    the same.
    Raises ConfigurationError on impossible options, or where the folder holds other scenes (overwrite
    replaces them) or anything else (never touched).
    """
    given = DEFAULT_SPLITS if splits is None else splits
    _check(folder, count, given)
    shares = {split: float(given[split]) for split in SPLIT_ENDINGS if split in given}
    root = Path(folder)
    plan = {"version": VERSION, "seed": seed, "count": count, "splits": shares}
    if (known := _manifest(root / MANIFEST)) is not None and known["plan"] == plan:
        return ScenesSummary(**known["summary"], folder=folder, written=False)
    _claim(root, plan, overwrite)
    (root / "images").mkdir(exist_ok=True)
    summary = _write(root, plan, shares)
    _sweep(root, summary)
    _replace(root / MANIFEST, json.dumps({"plan": plan, "summary": summary}, indent=1) + "\n")
    (root / STARTED).unlink(missing_ok=True)
    return ScenesSummary(**summary, folder=folder, written=True)


def split_of(index: int, splits: Mapping[str, float]) -> str:
    """The split of scene `index`: steps of the golden ratio spread every split evenly over the indexes."""
    position, reached = (index * _GOLDEN) % 1.0, 0.0
    for split, share in splits.items():
        reached += share
        if position < reached:
            return split
    return next(reversed(dict(splits)))


def read_phrases(path: str) -> list[PhraseTruth]:
    """Phrases of a phrases.jsonl (or of the folder that holds it)."""
    return [PhraseTruth.from_json(line) for line in _lines(path, "phrases.jsonl")]


def read_objects(path: str) -> list[SceneTruth]:
    """Pictures with their objects of an objects.jsonl (or of the folder that holds it)."""
    truths = []
    for line in _lines(path, "objects.jsonl"):
        row = json.loads(line)
        objects = tuple(SceneObject(**{**item, "box": tuple(item["box"])}) for item in row.pop("objects"))
        truths.append(SceneTruth(**row, objects=objects))
    return truths


def _write(root: Path, plan: dict[str, Any], shares: dict[str, float]) -> dict[str, Any]:
    """All files but the manifest; returns its summary."""
    captions, phrases, objects = [], [], []
    names: dict[str, list[str]] = {split: [] for split in shares}
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for index in range(plan["count"]):
        scene = make_scene(plan["seed"], index)
        _replace(root / "images" / scene.image_id, jpeg(draw(scene)))
        written = write_captions(scene)
        captions += [f"{scene.image_id}#{place}\t{caption.text}" for place, caption in enumerate(written)]
        phrases += [phrase.to_json() for phrase in phrase_truths(scene, written)]
        objects.append(_objects_line(scene))
        names[split_of(index, shares)].append(scene.image_id)
        images.append({"id": index, "file_name": scene.image_id, "width": CANVAS, "height": CANVAS})
        annotations += _annotations(scene, len(annotations))
    for split, members in names.items():
        _replace(root / f"Scenes.{SPLIT_ENDINGS[split]}", "".join(f"{name}\n" for name in members))
    for name, lines in (("captions.txt", captions), ("phrases.jsonl", phrases), ("objects.jsonl", objects)):
        _replace(root / name, "".join(f"{line}\n" for line in lines))
    _replace(root / "boxes.json", json.dumps({"images": images, "annotations": annotations}))
    sizes = {split: len(members) for split, members in names.items()}
    return {"images": len(images), "captions": len(captions), "phrases": len(phrases), "splits": sizes}


def _objects_line(scene: Scene) -> str:
    objects = [asdict(item) for item in scene.objects]
    return json.dumps({"image_id": scene.image_id, "width": CANVAS, "height": CANVAS, "objects": objects})


def _annotations(scene: Scene, first: int) -> list[dict[str, Any]]:
    """COCO annotations of the candidate boxes; bbox is x, y, width, height in px."""
    boxes = np.asarray(candidate_boxes(scene), np.float64)
    sides = np.round(boxes[:, 2:] - boxes[:, :2], 2)
    return [
        {
            "id": first + place,
            "image_id": scene.index,
            "bbox": [*map(float, box[:2]), *map(float, side)],
            "score": 1.0,
        }
        for place, (box, side) in enumerate(zip(boxes, sides, strict=True))
    ]


def _sweep(root: Path, summary: dict[str, Any]) -> None:
    """Remove what a larger or killed run of other scenes left: its pictures, lists, temporary files."""
    for file in root.glob("images/[0-9]*.jpg"):
        if int(file.stem) >= summary["images"]:
            file.unlink()
    kept = {f"Scenes.{SPLIT_ENDINGS[split]}" for split in summary["splits"]}
    for file in [*root.glob("Scenes.*Images.txt"), *root.glob(".*.tmp"), *root.glob("images/.*.tmp")]:
        if file.name not in kept:
            file.unlink()


def _check(folder: str, count: int, shares: Mapping[str, float]) -> None:
    if is_url(folder):
        raise ConfigurationError(f"scenes are rendered to a local folder, not {folder}; copy them from there.")
    if count < 1:
        raise ConfigurationError(f"count is {count}; ask for at least one scene.")
    unknown = [split for split in shares if split not in SPLIT_ENDINGS]
    if unknown:
        raise ConfigurationError(f"split {unknown[0]!r} is unknown; choose among {', '.join(SPLIT_ENDINGS)}.")
    if not shares or any(not 0 < share <= 1 for share in shares.values()) or abs(sum(shares.values()) - 1) > 1e-6:
        raise ConfigurationError(f"the shares of the splits are {shares}; give numbers above 0 with the sum 1.")


def _claim(root: Path, plan: dict[str, Any], overwrite: bool) -> None:
    """Make the folder ours for this plan; refuses one with other scenes or anything else."""
    known = _manifest(root / MANIFEST) or _manifest(root / STARTED)
    if known is None:
        if root.exists() and (not root.is_dir() or any(not _is_temporary(file) for file in root.iterdir())):
            raise ConfigurationError(f"{root} holds something else than scenes; choose an empty or new folder.")
        root.mkdir(parents=True, exist_ok=True)
    elif known["plan"] != plan and not overwrite:
        held = known["plan"]
        differences = [f"{key} {held.get(key)!r}, not {plan[key]!r}" for key in plan if held.get(key) != plan[key]]
        raise ConfigurationError(
            f"{root} holds scenes of {'; '.join(differences)}: choose another folder, or overwrite."
        )
    # The note of what is being written comes first: from here on the folder is ours, and not complete.
    _replace(root / STARTED, json.dumps({"plan": plan}))
    (root / MANIFEST).unlink(missing_ok=True)


def _is_temporary(path: Path) -> bool:
    return path.name.startswith(".") and path.name.endswith(".tmp")


def _manifest(path: Path) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise ConfigurationError(f"{path} is damaged ({error}); delete its folder and write it again.") from error
    complete = isinstance(content, dict) and isinstance(content.get("plan"), dict)
    if not complete or (path.name == MANIFEST and not isinstance(content.get("summary"), dict)):
        raise ConfigurationError(f"{path} is no scenes manifest; choose another folder.")
    return content


def _replace(path: Path, content: str | bytes) -> None:
    """Write a file that appears whole or not at all; the temporary name is this process's own."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.write_bytes(content.encode("utf-8") if isinstance(content, str) else content)
    os.replace(temporary, path)


def _lines(path: str, name: str) -> list[str]:
    file = Path(path, name) if Path(path).is_dir() else Path(path)
    if not file.is_file():
        raise MissingInputError(f"{file} is not there; write the scenes first.")
    return [line for line in file.read_text("utf-8").split("\n") if line]
