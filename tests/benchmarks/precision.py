"""Extraction on a GPU beside the CPU: what float32, bfloat16 and float16 differ by, and how fast each is.

python -m tests.benchmarks.precision --images DIR --json FILE
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch

from tests.benchmarks.record import Measured, photographs, write_record
from vsalign.boxes import box_iou
from vsalign.images import ReadImage
from vsalign.regions import ExtractorConfig, Regions, build_extractor
from vsalign.regions.extract import Extracted, ExtractOptions, extract_images

PLACES = (("cpu", "float32"), ("cuda", "float32"), ("cuda", "bfloat16"), ("cuda", "float16"))


def extracted(
    images: list[ReadImage], name: str, device: str, precision: str, batch: int
) -> tuple[list[Regions], float]:
    """The regions of all pictures, and images a second from encoded bytes; a first pass warms up."""
    extractor = build_extractor(ExtractorConfig(name=name, device=device, precision=precision))  # type: ignore[arg-type]
    options = ExtractOptions(batch_size=batch, decode_threads=max(2, torch.get_num_threads() - 2))
    for _ in range(2):
        began = time.perf_counter()
        found = [each for each in extract_images(images, extractor, options) if isinstance(each, Extracted)]
        seconds = time.perf_counter() - began
    assert len(found) == len(images)
    return [each.regions for each in found], len(images) / seconds


def ulps(ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    """Differences of two arrays, rounded to float16, in units of float16's last place at the larger value."""
    a, b = ours.astype(np.float16), theirs.astype(np.float16)
    place = np.spacing(np.maximum(np.abs(a), np.abs(b)))
    return np.abs(a.astype(np.float64) - b.astype(np.float64)) / place.astype(np.float64)


def feature_error(ours: list[Regions], theirs: list[Regions]) -> list[tuple[str, float, str]]:
    """Of features of the same boxes: the relative error of a vector, and float16 units in the last place."""
    a, b = (np.concatenate([each.features for each in side]) for side in (ours, theirs))
    relative = np.linalg.norm(a - b, axis=1) / np.linalg.norm(b, axis=1)
    apart = ulps(a, b)
    return [
        ("relative_error_mean", 1e6 * float(relative.mean()), "parts per million"),
        ("relative_error_max", 1e6 * float(relative.max()), "parts per million"),
        ("within_2_ulp", 100 * float((apart <= 2).mean()), "per cent of numbers, float16 units in the last place"),
    ]


def box_error(ours: list[Regions], theirs: list[Regions]) -> list[tuple[str, float, str]]:
    """Of detections: the share of boxes in the same place to 0.01 px, and that have a counterpart of IoU >= 0.9."""
    same = [
        np.abs(a.boxes - b.boxes).max(1) <= 0.01 if a.boxes.shape == b.boxes.shape else np.zeros(len(b.boxes), bool)
        for a, b in zip(ours, theirs, strict=True)
    ]
    near = [box_iou(b.boxes, a.boxes).max(1) >= 0.9 for a, b in zip(ours, theirs, strict=True)]
    return [
        ("boxes_in_place", 100 * float(np.concatenate(same).mean()), "per cent within 0.01 px of the CPU's"),
        ("boxes_found", 100 * float(np.concatenate(near).mean()), "per cent with one of the CPU's at IoU >= 0.9"),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, required=True, help="a folder of photographs (*.jpg)")
    parser.add_argument("--count", type=int, default=400, help="photographs")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--json", type=Path, help="where to write the figures")
    asked = parser.parse_args()
    paths = sorted(asked.images.glob("*.jpg"))[: asked.count]
    images = [ReadImage(path.name, str(path), path.read_bytes()) for path in paths]
    figures: dict[str, Measured] = {}
    some = photographs(asked.count, asked.images)
    for name, error in (("lite", feature_error), ("rcnn-lite", box_error)):
        reference: list[Regions] = []
        for device, precision in PLACES if torch.cuda.is_available() else PLACES[:1]:
            regions, rate = extracted(images, name, device, precision, asked.batch)
            reference = reference or regions
            key = f"extract.precision.{name.replace('-', '_')}.{device}_{precision}"
            figures[f"{key}.images_per_s"] = (rate, "images/s", some)
            if device != "cpu":
                figures |= {f"{key}.{what}": (value, unit, some) for what, value, unit in error(regions, reference)}
    write_record(asked.json, figures)


if __name__ == "__main__":
    main()
