"""Pictures and extractors of the regions tests."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from vsalign.images import ReadImage
from vsalign.regions.lite import Lite


def picture(seed: int, width: int = 90, height: int = 60) -> np.ndarray:
    """A picture (height, width, 3) uint8 with structure at several scales."""
    random = np.random.default_rng(seed)
    small = Image.fromarray(random.integers(0, 256, (4, 5, 3), dtype=np.uint8))
    return np.asarray(small.resize((width, height), Image.Resampling.BICUBIC))


def png(image: np.ndarray) -> bytes:
    sink = io.BytesIO()
    Image.fromarray(image).save(sink, "PNG")
    return sink.getvalue()


@pytest.fixture(scope="session")
def make_picture() -> Callable[..., np.ndarray]:
    return picture


@pytest.fixture(scope="session")
def read_picture() -> Callable[..., ReadImage]:
    """Picture number `seed` as reading gives it."""

    def read(seed: int, **size: int) -> ReadImage:
        return ReadImage(f"photos/{seed}.png", f"/archive/photos/{seed}.png", png(picture(seed, **size)))

    return read


@pytest.fixture(scope="session")
def lite() -> Lite:
    return Lite(input_size=64)


@pytest.fixture
def coco(tmp_path: Path) -> Callable[..., str]:
    """Writes a COCO JSON of {file_name: (width, height, [bbox, ...])}; a bbox is x, y, width, height (, score)."""

    def write(pictures: dict[str, tuple[int, int, list[list[float]]]]) -> str:
        document: dict[str, list[Any]] = {"images": [], "annotations": []}
        for number, (name, (width, height, boxes)) in enumerate(pictures.items()):
            document["images"].append({"id": number, "file_name": name, "width": width, "height": height})
            for box in boxes:
                score = {"score": box[4]} if len(box) > 4 else {}
                document["annotations"].append({"image_id": number, "bbox": box[:4], **score})
        path = tmp_path / "boxes.json"
        path.write_text(json.dumps(document))
        return str(path)

    return write
