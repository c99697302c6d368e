"""Eight pictures with a sentence each that only their own features explain, as tables."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vsalign.generation import DescriberConfig
from vsalign.training.describer import DescriberData, DescriberTraining, train_describer

SENTENCES = [
    "a red dog runs", "a red cat sits", "a blue dog sits on a mat", "two blue cats run", "one green bird",
    "a bird sits on a red mat", "two dogs", "a green cat runs to a blue dog",
]  # fmt: skip
DIM = 12


@dataclass(frozen=True)
class Pictures:
    """The tables and their truth."""

    regions: str
    captions: str
    segments: str
    features: dict[str, np.ndarray]
    sentences: dict[str, str]


@pytest.fixture(scope="session")
def pictures(
    tmp_path_factory: pytest.TempPathFactory,
    write_regions: Callable[..., str],
    write_captions: Callable[..., str],
    write_segments: Callable[..., str],
) -> Pictures:
    """In splits `train` and `tune` alike: what is learned can be asked for. Segments: halves on regions 1 and 2."""
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    features = {f"{n}.jpg": rng.standard_normal((3, DIM)).astype(np.float16) for n in range(len(SENTENCES))}
    copies = {f"copy/{image_id}": array for image_id, array in features.items()}
    sentences = dict(zip(features, SENTENCES, strict=True))
    splits = {
        "train": {image_id: [text] for image_id, text in sentences.items()},
        "tune": {f"copy/{image_id}": [text] for image_id, text in sentences.items()},
    }
    pairs = {}
    for images in splits.values():
        for image_id, (text,) in images.items():
            words = len(text.split())
            pairs[image_id, f"{image_id}#0"] = [(0, words // 2, 1), (words // 2, words, 2)]
    items = list(features.items())
    return Pictures(
        write_regions(folder / "regions", [dict(items[:5]), dict(items[5:]), copies]),
        write_captions(folder / "captions", splits),
        write_segments(folder / "segments", pairs, {"name": "lite", "dim": DIM}),
        features,
        sentences,
    )


class Recorder:
    """A folder that a training run reports into: a copy of each epoch's checkpoint in epochN, its model in model."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.work = folder, folder / "work"
        self.work.mkdir(parents=True)
        self.reported: list[dict[str, Any]] = []

    def __call__(self, metrics: dict[str, Any], checkpoint: Path | None) -> None:
        assert checkpoint == self.work
        shutil.copytree(self.work, self.folder / f"epoch{metrics['epoch']}")
        self.reported.append(metrics)


@pytest.fixture
def record() -> type[Recorder]:
    return Recorder


TINY = DescriberTraining(
    model=DescriberConfig(hidden=32, word_dim=12, dropout=0.0),
    epochs=60,
    batch_size=8,
    learning_rate=0.02,
    warmup=5,
    min_count=1,
    patience=60,
    window_images=4,
)

RunDescriber = Callable[..., list[dict[str, Any]]]


@pytest.fixture
def run_describer(record: Callable[[Path], Any]) -> RunDescriber:
    """(configuration, tables, folder, segments, checkpoint to resume) -> the reported metrics; see Recorder."""

    def train(
        config: DescriberTraining, tables: Any, folder: Path, segments: str = "", resume: Path | None = None
    ) -> list[dict[str, Any]]:
        recorder = record(folder)
        data = DescriberData(tables.regions, tables.captions, segments)
        train_describer(config, data, str(folder / "model"), recorder.work, recorder, resume)
        reported: list[dict[str, Any]] = recorder.reported
        return reported

    return train
